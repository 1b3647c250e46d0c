use super::super::tests::*;
use super::super::{plan, settle};
use super::*;
use crate::execution::Outcome;
use crate::schedule::SkipCause;

const ME: Uuid = Uuid::from_u128(1);

/// A schedule due every ten seconds from midnight, acted on for the first half minute.
fn running() -> (Schedule, Trigger) {
    let (mut record, trigger) = schedule(
        r#"{"schedule_type":"interval","interval_seconds":10,"start_at":"2026-01-01T00:00:00Z"}"#,
    );
    (record.last_scheduled_for, record.next_run_at) = (Some(at("00:00:30")), Some(at("00:00:40")));
    (record, trigger)
}

/// Plans at each second of a minute; returns the nominal times that fired.
fn fired(record: &mut Schedule, trigger: &Trigger, from: DateTime<Utc>) -> Vec<String> {
    let mut times = Vec::new();
    for second in 0..60 {
        let now = from + Duration::seconds(second);
        let Some(plan) = plan(record, trigger, now, &knows(), Duration::seconds(300)) else {
            continue;
        };
        *record = plan.schedule;
        for attempt in plan.fire {
            times.push(attempt.scheduled_for.format("%H:%M:%S").to_string());
            settle(record, &end(record, &attempt, Outcome::success(), now), false);
        }
    }
    times
}

#[test]
fn what_an_instance_did_whose_clock_was_fast_by_weeks_silences_nothing() {
    let (mut record, trigger) = running();
    let (now, far) = (at("00:00:55"), at("00:00:40") + Duration::days(40));
    assert!(!lies_ahead(&record, now));
    let range = |last, count| SkippedRange { cause: SkipCause::Coalesced, last, count };
    let fast = range(far - Duration::seconds(10), 345_600);
    let acted = ActedAhead {
        made: vec![far, at("00:01:20")],
        skipped: vec![(Uuid::from_u128(5), at("00:00:40"), fast)],
    };
    (record.last_scheduled_for, record.next_run_at) = (Some(far), Some(far));
    assert!(lies_ahead(&record, now));
    correct(&mut record, &trigger, &acted, now, ME);
    assert!(!lies_ahead(&record, now), "once is enough");
    assert_eq!(record.acted_ahead, [at("00:01:20"), far]);
    // Two of them were really due by now: the history keeps those, under the same id.
    let corrected = &record.attempts[0];
    assert_eq!(corrected.execution_id, Uuid::from_u128(5));
    let phase = Phase::Corrected { by: ME, range: range(at("00:00:50"), 2) };
    assert_eq!(corrected.phase, phase);
    record.attempts.clear();
    let times = fired(&mut record, &trigger, now);
    assert_eq!(times, ["00:01:00", "00:01:10", "00:01:30", "00:01:40", "00:01:50"]);
    assert_eq!(record.acted_ahead, [far], "what has passed is forgotten");
}

#[test]
fn a_clock_of_nats_that_is_set_back_doubles_nothing_and_silences_nothing_for_longer() {
    let (mut record, trigger) = running();
    let now = at("00:00:35");
    (record.last_scheduled_for, record.next_run_at) = (Some(at("00:00:50")), Some(at("00:01:00")));
    let acted = ActedAhead { made: vec![at("00:00:40"), at("00:00:50")], skipped: Vec::new() };
    correct(&mut record, &trigger, &acted, now, ME);
    assert_eq!(fired(&mut record, &trigger, now), ["00:01:00", "00:01:10", "00:01:20", "00:01:30"]);
}

#[test]
fn a_range_that_is_not_in_the_history_yet_is_cut_and_one_that_was_never_due_goes() {
    let (mut record, trigger) = running();
    let (now, far) = (at("00:00:55"), at("00:00:40") + Duration::days(40));
    let skipped = |first, last, count| {
        let range = SkippedRange { cause: SkipCause::Coalesced, last, count };
        Attempt::new(Uuid::from_u128(9), first, 1, Phase::Skipped { by: ME, range })
    };
    *record.attempts = vec![
        skipped(at("00:00:40"), far, 345_600),
        skipped(far, far + Duration::seconds(20), 3),
        Attempt::new(Uuid::from_u128(9), far, 2, Phase::Waiting { due_at: far }),
    ];
    record.last_scheduled_for = Some(far);
    correct(&mut record, &trigger, &ActedAhead::default(), now, ME);
    assert_eq!(record.attempts.len(), 2);
    let Phase::Skipped { range, .. } = *record.attempts[0].phase else { panic!() };
    assert_eq!((range.last, range.count), (at("00:00:50"), 2));
    assert_eq!(record.attempts[1].phase, Phase::Waiting { due_at: now }, "a retry does not wait");
    assert_eq!(record.next_run_at, Some(at("00:01:00")));
}

#[test]
fn kept_times_are_bounded() {
    let (mut record, trigger) = running();
    let now = at("00:00:55");
    let made = (1..500).map(|n| now + Duration::seconds(10 * n - 5)).collect();
    record.last_scheduled_for = Some(now + Duration::days(1));
    correct(&mut record, &trigger, &ActedAhead { made, skipped: Vec::new() }, now, ME);
    assert_eq!(record.acted_ahead.len(), MAX_KEPT);
    assert_eq!(record.acted_ahead[0], at("00:01:00"), "the nearest ones");
}
