//! Tests that planning never panics and always goes on, whatever times and settings a record holds.

use proptest::prelude::*;

use super::correct::{ActedAhead, correct, lies_ahead};
use super::*;
use crate::execution::{Claim, Execution, Outcome};
use crate::schedule::{Backfill, Resumption, SkipCause};

/// Times near both ends of time, of what can be shown and of what cron knows, and near each other.
fn instant() -> impl Strategy<Value = DateTime<Utc>> {
    let anchor = prop_oneof![
        Just(DateTime::<Utc>::MIN_UTC),
        Just(DateTime::<Utc>::MAX_UTC),
        Just("0000-01-01T00:00:00Z".parse().unwrap()),
        Just("9999-12-31T23:59:59.999Z".parse().unwrap()),
        Just("2199-12-31T23:59:59Z".parse().unwrap()),
        Just(at("00:00:00")),
    ];
    let offset = prop_oneof![Just(0_i64), -5_000..5_000_i64, -40_000_000_000..40_000_000_000_i64];
    (anchor, offset).prop_map(|(at, ms)| at.later(Duration::milliseconds(ms)))
}

fn seconds() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(1), 2..100_000_u32, Just(u32::MAX)]
}

/// The contents of a record, in numbers.
#[derive(Clone, Debug)]
struct Extremes {
    times: Vec<DateTime<Utc>>,
    seconds: Vec<u32>,
    factor: f64,
    kind: usize,
}

fn extremes() -> impl Strategy<Value = Extremes> {
    let factor = prop_oneof![Just(0.0), Just(-1e300), Just(1e300), Just(f64::NAN), 0.0..10.0];
    let times = proptest::collection::vec(instant(), 16);
    (times, proptest::collection::vec(seconds(), 6), factor, 0..6_usize)
        .prop_map(|(times, seconds, factor, kind)| Extremes { times, seconds, factor, kind })
}

const KINDS: [&str; 6] = [
    r#"{"schedule_type":"interval","interval_seconds":1}"#,
    r#"{"schedule_type":"interval","interval_seconds":1,"catch_up":"all"}"#,
    r#"{"schedule_type":"interval","interval_seconds":1,"delivery":{"mode":"job"},"overlap":"buffer_one"}"#,
    r#"{"schedule_type":"cron","cron_expression":"0 0 1 1 *","catch_up":"all"}"#,
    r#"{"schedule_type":"cron","cron_expression":"*/7 * * * * *","timezone":"Europe/Berlin"}"#,
    r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T01:00:00Z","delivery":{"mode":"request"}}"#,
];

/// A record as somebody may have written it by hand.
fn record(extremes: &Extremes) -> (Schedule, Trigger) {
    let Extremes { times, seconds, factor, kind } = extremes;
    let (mut record, _) = schedule(KINDS[*kind]);
    let spec = std::sync::Arc::make_mut(&mut record.spec);
    let timing = &mut spec.timing;
    if let Some(every) = &mut timing.interval_seconds {
        *every = seconds[0];
        timing.start_at = Some(times[0]);
    } else if timing.scheduled_at.is_some() {
        timing.scheduled_at = Some(times[0]);
    }
    timing.end_at = Some(times[1]).filter(|_| *factor > 1.0);
    // Loops look back as far as the jitter is long.
    timing.jitter_seconds = seconds[1].min(1000);
    spec.misfire_grace_seconds = seconds[2];
    spec.delivery.timeout_seconds = seconds[3];
    spec.delivery.heartbeat_seconds = Some(seconds[4]);
    spec.retry.initial_seconds = seconds[5];
    (spec.retry.multiplier, spec.retry.jitter, spec.retry.max_seconds) =
        (*factor, *factor, seconds[0]);
    record.next_run_at = Some(times[2]);
    record.last_scheduled_for = Some(times[3]);
    record.last_run_at = Some(times[4]);
    record.deleted_at = Some(Box::new(times[5]));
    record.acted_ahead = vec![times[6]].into();
    // Some are paused until a time.
    if times[0] < times[1] {
        let (at, correlation_id) = (times[2], "c".to_owned());
        let resumption = Resumption { at, correlation_id, unknown: Unknown::default() };
        record.pause(None, Some(resumption)).unwrap();
    }
    let attempt = |n: u32, phase| Attempt::new(record.id, times[7], n, phase);
    let range = SkippedRange { cause: SkipCause::Missed, last: times[8], count: u64::MAX };
    *record.attempts = vec![
        attempt(1, Phase::Waiting { due_at: times[9] }),
        attempt(2, Phase::Claimed { by: OTHER, at: times[10], until: times[11] }),
        attempt(
            3,
            Phase::Running {
                since: times[10],
                deadline: times[12],
                heartbeat_seconds: Some(seconds[4]),
                heard_at: Some(times[13]),
                progress: None,
            },
        ),
        attempt(4, Phase::Skipped { by: OTHER, range }),
    ];
    record.backfill = Some(Box::new(Backfill {
        id: Uuid::from_u128(77),
        next: times[14],
        until: times[15],
        by: "me".to_owned(),
        trace: None,
        correlation_id: "c".to_owned(),
        unknown: Unknown::default(),
    }));
    let trigger = record.spec.timing.plain_trigger(record.id).unwrap();
    (record, trigger)
}

/// An instance that knows little, and only since some moment.
struct Since(DateTime<Utc>);

impl View for Since {
    fn me(&self) -> Uuid {
        ME
    }
    fn is_running(&self, _: Uuid) -> bool {
        false
    }
    fn is_gone(&self, _: Uuid) -> bool {
        true
    }
    fn lead(&self) -> Duration {
        Duration::milliseconds(500)
    }
    fn listening_since(&self) -> DateTime<Utc> {
        self.0
    }
    fn deleted_retention(&self) -> Duration {
        Duration::days(36_500)
    }
}

proptest! {
    #[test]
    fn no_time_and_no_setting_is_a_panic(extremes in extremes(), now in instant(), since in instant()) {
        let (mut record, trigger) = record(&extremes);
        let view = Since(since);
        let _ = (wake_at(&record, &view), lies_ahead(&record, now), record.in_jitter(now));
        let _ = (record.claimed_until(), record.first_not_due(&trigger, now, now));
        if let Some(plan) = plan(&record, &trigger, now, &view, Duration::days(1)) {
            record = plan.schedule;
            for attempt in plan.fire.iter().chain(&plan.recover) {
                let claim = Claim { instance: ME, revision: 1 };
                let mut ended = Execution::started(&record, attempt, claim, since);
                settle(&mut record.clone(), &ended, true);
                ended.end(Outcome::success(), now);
                ended.retry_at = retry_at(&record, 1, ended.id, None, now);
                settle(&mut record, &ended, true);
            }
        }
        let mut corrected = record.clone();
        correct(&mut corrected, &trigger, &ActedAhead::default(), now, ME);
        record.skip_due(&trigger, now, SkipCause::Paused, ME);
        record.let_go(now);
    }

    #[test]
    fn a_trigger_finds_its_times_from_any_to_any_other(
        extremes in extremes(),
        (from, to) in (instant(), instant()),
    ) {
        let (_, trigger) = record(&extremes);
        let next = trigger.next_after(from);
        prop_assert!(next.is_none_or(|next| next > from));
        prop_assert!(trigger.latest_at_or_before(from).is_none_or(|latest| latest <= from));
        let _ = trigger.count_in(from, to);
    }
}
