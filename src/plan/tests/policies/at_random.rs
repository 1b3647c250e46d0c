//! All policies at once, at random.

use super::*;

/// A schedule under random policies, its record, and the outcome of each nominal time.
struct World {
    record: Schedule,
    trigger: Trigger,
    view: Knows,
    now: DateTime<Utc>,
    outcomes: Vec<(DateTime<Utc>, u64)>,
    /// Whether it belongs to a group, which has a slot for it now and then.
    is_grouped: bool,
}

impl World {
    /// Plans until nothing is due; each wake must lead to a plan, and each plan must change something.
    fn plan(&mut self, choices: &mut impl Iterator<Item = u8>) {
        let admitted = !self.is_grouped || choices.next().unwrap_or(0).is_multiple_of(2);
        let terms = Terms { admitted, ..lease().into() };
        for _ in 0..2000 {
            let wakes = wake_at(&self.record, &self.view);
            let wants = wants_slot(&self.record, &self.view).filter(|_| admitted);
            let wakes = wakes.into_iter().chain(wants.map(|wanted| wanted.at)).min();
            let wakes = wakes.is_some_and(|wake| wake <= self.now);
            let found = plan(&self.record, &self.trigger, self.now, &self.view, terms);
            assert!(wakes || found.is_none(), "nobody would have looked: {:?}", self.record);
            assert!(!wakes || found.is_some(), "woken for nothing: {:?}", self.record);
            let Some(plan) = found else { return };
            assert!(plan.schedule != self.record);
            self.record = plan.schedule.clone();
            let claim = Claim { instance: ME, revision: 1 };
            for (attempt, range) in &plan.skip {
                let ended = Execution::skipped(&self.record, attempt, *range, claim, self.now);
                self.outcomes.push((attempt.scheduled_for, range.count));
                settle(&mut self.record, &ended, false);
            }
            for attempt in &plan.finish {
                let Phase::Reported { report, .. } = &*attempt.phase else { panic!() };
                let outcome = match report.ending {
                    Ending::Failed => failure(),
                    _ => Outcome::Cancelled { by: None, reason: None },
                };
                self.end(attempt, outcome);
            }
            for attempt in &plan.fire {
                self.view.running.insert(attempt.execution_id);
                if self.record.spec.delivery.mode == DeliveryMode::Job {
                    self.view.running.remove(&attempt.execution_id);
                    let started = Execution::started(&self.record, attempt, claim, self.now);
                    settle(&mut self.record, &started, false);
                } else if !self.record.spec.delivery.mode.takes_time() {
                    let fails = choices.next().unwrap_or(0).is_multiple_of(4);
                    self.end(attempt, if fails { failure() } else { Outcome::success() });
                }
            }
        }
        panic!("never done: {:?}", self.record);
    }

    fn end(&mut self, attempt: &Attempt, outcome: Outcome) {
        self.view.running.remove(&attempt.execution_id);
        let ended = end(&self.record, attempt, outcome, self.now);
        if attempt.number == 1 {
            self.outcomes.push((attempt.scheduled_for, 1));
        }
        settle(&mut self.record, &ended, false);
    }

    /// Ends some of what is under way.
    fn end_some(&mut self, choices: &mut impl Iterator<Item = u8>, all: bool) {
        for attempt in self.record.attempts.clone() {
            if is_under_way(&attempt) && (all || choices.next().unwrap_or(0).is_multiple_of(2)) {
                let outcome = match (&attempt.cancel, choices.next().unwrap_or(0) % 3) {
                    (Some(_), _) => Outcome::Cancelled { by: None, reason: None },
                    (None, 0) => failure(),
                    (None, _) => Outcome::success(),
                };
                self.end(&attempt, outcome);
            }
        }
    }
}

proptest::proptest! {
    /// Under any policies and events, no wake is for nothing, every wake leads somewhere, and every occurrence ends in
    /// one outcome.
    #[test]
    fn under_all_policies_every_occurrence_ends_once(
        mode in 0..3_usize,
        overlap in 0..4_usize,
        catch_up in 0..3_usize,
        jitter in 0..2_u32,
        max_runs in 0..20_u64,
        grace in 1..100_u32,
        is_grouped: bool,
        steps in proptest::collection::vec((0_i64..60_000, proptest::num::u8::ANY), 1..40),
    ) {
        let mode = ["publish", "request", "job"][mode];
        let overlap = ["skip", "allow", "buffer_one", "cancel_other"][overlap];
        let catch_up = ["latest", "all", "none"][catch_up];
        let heartbeat = if mode == "job" { r#","heartbeat_seconds":20"# } else { "" };
        let (record, trigger) = schedule(&format!(
            r#"{{"schedule_type":"interval","interval_seconds":3,"catch_up":"{catch_up}","overlap":"{overlap}",
                "jitter_seconds":{},"max_runs":{max_runs},"misfire_grace_seconds":{grace},"max_instances":3,
                "delivery":{{"mode":"{mode}","timeout_seconds":40{heartbeat}}}}}"#, jitter * 3
        ));
        let (view, now) = (knows(), at("00:00:00"));
        let is_grouped = is_grouped && mode != "publish";
        let mut record = record;
        std::sync::Arc::make_mut(&mut record.spec).group = is_grouped.then(|| "g".to_owned().into());
        let mut world = World { record, trigger, view, now, outcomes: Vec::new(), is_grouped };
        let mut choices = steps.iter().map(|(_, choice)| *choice).cycle();
        for (wait, _) in &steps {
            world.now += Duration::milliseconds(*wait);
            world.plan(&mut choices);
            world.end_some(&mut choices, false);
        }
        // No new occurrences, and those under way come to their end.
        world.is_grouped = false;
        world.record.next_run_at = None;
        for _ in 0..200 {
            world.now += Duration::seconds(100);
            world.end_some(&mut choices, true);
            world.plan(&mut choices);
            world.record.next_run_at = None;
        }
        proptest::prop_assert!(world.record.attempts.is_empty(), "{:?}", world.record.attempts);
        world.outcomes.sort_unstable();
        let mut expected = at("00:00:00");
        for (first, count) in &world.outcomes {
            proptest::prop_assert_eq!(*first, expected, "{:?}", world.outcomes);
            expected += Duration::seconds(3) * i32::try_from(*count).unwrap();
        }
        let most = world.record.spec.timing.max_runs.unwrap_or(u64::MAX);
        proptest::prop_assert!(world.record.occurrence_count.get() <= most);
    }
}
