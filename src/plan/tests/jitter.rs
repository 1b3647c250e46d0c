//! Tests of changes while an occurrence waits for its jitter: it is not due, so none of them drops it.

use super::*;
use crate::execution::Outcome;
use crate::schedule::{Rules, ScheduleEvent, SkipCause, UpdateSchedule, apply_update, restore};

/// A schedule due every 30 s, each time up to 25 s later.
fn spread() -> (Schedule, Trigger) {
    schedule(r#"{"schedule_type":"interval","interval_seconds":30,"jitter_seconds":25}"#)
}

/// What users can do to a schedule, and undo again.
#[derive(Clone, Copy, Debug)]
enum Changing {
    Pausing,
    SwitchingOff,
    TheSameTiming,
    AnotherJitter(u64),
    Deleting,
}

/// Changes a schedule as the API does.
fn change(record: &mut Schedule, trigger: &Trigger, changing: Changing, now: DateTime<Utc>) {
    let update = |record: &mut Schedule, update: &UpdateSchedule| {
        record.skip_due(trigger, now, SkipCause::Changed, ME);
        apply_update(update, record, &Rules::default(), now).unwrap();
    };
    match changing {
        Changing::Pausing => {
            record.on(ScheduleEvent::Pause).unwrap();
            record.skip_due(trigger, now, SkipCause::Paused, ME);
            record.on(ScheduleEvent::Resume).unwrap();
        }
        Changing::SwitchingOff => {
            for is_active in [Some(false), Some(true)] {
                let switch = UpdateSchedule { is_active, ..UpdateSchedule::default() };
                update(record, &switch);
            }
        }
        Changing::TheSameTiming => {
            let same = UpdateSchedule { interval_seconds: Some(30), ..UpdateSchedule::default() };
            update(record, &same);
        }
        Changing::AnotherJitter(seconds) => {
            let other = UpdateSchedule { jitter_seconds: Some(seconds), ..Default::default() };
            update(record, &other);
        }
        Changing::Deleting => {
            record.skip_due(trigger, now, SkipCause::Deleted, ME);
            record.on(ScheduleEvent::Delete).unwrap();
            record.next_run_at = None;
            restore(record, trigger, now).unwrap();
        }
    }
}

/// Acts on what is due until `now`, each occurrence at its time; returns the nominal times.
fn run(
    record: &mut Schedule,
    trigger: &Trigger,
    view: &Knows,
    now: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let mut ran = Vec::new();
    while let Some(wake) = wake_at(record, view).filter(|wake| *wake <= now) {
        let plan = plan(record, trigger, wake, view, lease()).unwrap();
        assert_eq!(ranges(&plan), [], "nothing is late");
        *record = plan.schedule;
        for attempt in &plan.fire {
            ran.push(attempt.scheduled_for);
            let ended = end(record, attempt, Outcome::success(), wake);
            settle(record, &ended, false);
        }
    }
    ran
}

#[test]
fn a_change_right_after_the_nominal_time_leaves_the_occurrence() {
    for changing in [
        Changing::Pausing,
        Changing::SwitchingOff,
        Changing::TheSameTiming,
        Changing::AnotherJitter(20),
        Changing::Deleting,
    ] {
        let (mut record, trigger) = spread();
        let nominal = trigger
            .occurrences_after(at("00:00:00"))
            .map(|next| next.at)
            .find(|at| record.jitter(*at) > Duration::seconds(3))
            .unwrap();
        record.next_run_at = Some(nominal);
        let now = nominal + Duration::milliseconds(1500);
        change(&mut record, &trigger, changing, now);
        assert_eq!(record.next_run_at, Some(nominal), "{changing:?}");
        assert!(record.attempts.is_empty(), "{changing:?}: {:?}", record.attempts);
        let due = record.due(nominal);
        let fires = plan(&record, &trigger, due, &knows(), lease()).unwrap().fire;
        assert_eq!(fires[0].scheduled_for, nominal, "{changing:?}");
    }
}

#[test]
fn what_is_due_is_skipped_by_a_change_and_what_waits_for_its_jitter_is_not() {
    let (mut record, trigger) = spread();
    // No instance ran for a while.
    let (first, now) = (record.next_run_at.unwrap(), at("00:10:03"));
    let due: Vec<_> = trigger
        .occurrences_after(first - Duration::milliseconds(1))
        .map(|next| next.at)
        .take_while(|at| record.due(*at) <= now)
        .collect();
    record.skip_due(&trigger, now, SkipCause::Paused, ME);
    let Phase::Skipped { range, .. } = *record.attempts[0].phase else { panic!() };
    assert_eq!(range.count, due.len() as u64);
    assert_eq!(Some(&range.last), due.last());
    assert!(record.due(record.next_run_at.unwrap()) > now);
}

#[test]
fn a_new_timing_keeps_a_waiting_occurrence_only_if_it_has_it() {
    let (mut record, trigger) = spread();
    let now = at("00:00:00.100");
    assert!(record.due(at("00:00:00")) > now);
    record.skip_due(&trigger, now, SkipCause::Changed, ME);
    let updated = |update: UpdateSchedule| {
        let mut record = record.clone();
        apply_update(&update, &mut record, &Rules::default(), now).unwrap();
        (record.next_run_at.unwrap(), record.attempts.len())
    };
    let minutely = UpdateSchedule { interval_seconds: Some(60), ..UpdateSchedule::default() };
    assert_eq!(updated(minutely), (at("00:00:00"), 0));
    let no_jitter = UpdateSchedule { jitter_seconds: Some(0), ..UpdateSchedule::default() };
    assert_eq!(updated(no_jitter), (at("00:00:00"), 0), "it is due at once");
    let start_at = Some(at("00:00:10"));
    let moved = UpdateSchedule { start_at, ..UpdateSchedule::default() };
    assert_eq!(updated(moved), (at("00:00:10"), 0));
    let start_at = Some(at("00:00:00") - Duration::seconds(1));
    let moved = UpdateSchedule { start_at, ..UpdateSchedule::default() };
    assert_eq!(updated(moved), (at("00:00:29"), 0), "times before the change were never planned");
}

#[test]
fn a_restoration_plans_no_time_from_before_the_creation() {
    let hourly = r#"{"schedule_type":"cron","cron_expression":"0 * * * *","jitter_seconds":3600}"#;
    let (mut record, trigger) = schedule(hourly);
    (record.created_at, record.next_run_at) = (at("00:00:01"), Some(at("01:00:00")));
    change(&mut record, &trigger, Changing::Deleting, at("00:00:02"));
    assert_eq!(record.next_run_at, Some(at("01:00:00")));
}

proptest::proptest! {
    /// Whatever is done to a schedule and undone, at whatever moment, each time runs once.
    #[test]
    fn changes_cost_no_occurrence(
        lead in 0_i64..=500,
        steps in proptest::collection::vec((0_i64..40_000, 0_u64..5, 0_u64..=25), 1..60),
    ) {
        let (mut record, trigger) = spread();
        let view = Knows { lead: Duration::milliseconds(lead), ..knows() };
        let (mut now, mut ran) = (at("00:00:00"), Vec::new());
        for (wait, kind, seconds) in steps {
            now += Duration::milliseconds(wait);
            ran.extend(run(&mut record, &trigger, &view, now));
            let changing = match kind {
                0 => Changing::Pausing,
                1 => Changing::SwitchingOff,
                2 => Changing::TheSameTiming,
                3 => Changing::AnotherJitter(seconds),
                _ => Changing::Deleting,
            };
            change(&mut record, &trigger, changing, now);
            proptest::prop_assert!(record.attempts.is_empty(), "{:?}: {:?}", changing, record.attempts);
        }
        ran.extend(run(&mut record, &trigger, &view, now + Duration::seconds(60)));
        for (n, at) in (0..).zip(&ran) {
            proptest::prop_assert_eq!(*at, self::at("00:00:00") + Duration::seconds(30) * n);
        }
        proptest::prop_assert!(*ran.last().unwrap() >= now);
    }
}
