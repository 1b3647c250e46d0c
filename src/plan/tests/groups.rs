//! Tests of schedules that belong to a concurrency group.

use super::halts::{Halted, until};
use super::*;

/// A job of every minute in a group, with further `fields`.
fn grouped(fields: &str) -> (Schedule, Trigger) {
    let (mut record, trigger) = schedule(&format!(
        r#"{{"schedule_type":"cron","cron_expression":"* * * * *","delivery":{{"mode":"job","timeout_seconds":600}}{fields}}}"#
    ));
    std::sync::Arc::make_mut(&mut record.spec).group = Some("g".to_owned().into());
    (record, trigger)
}

fn full() -> Terms {
    Terms { admitted: false, ..lease().into() }
}

/// The record after planning at a time without a slot, with what was skipped settled.
fn waits(record: &Schedule, trigger: &Trigger, now: &str) -> Schedule {
    let plan = plan(record, trigger, at(now), &knows(), full()).unwrap();
    assert!(plan.fire.is_empty());
    settled(plan, at(now))
}

/// The record of a plan after what it skips was settled.
fn settled(plan: Plan, now: DateTime<Utc>) -> Schedule {
    let mut record = plan.schedule;
    let claim = Claim { instance: ME, revision: 1 };
    for (attempt, range) in &plan.skip {
        let skipped = Execution::skipped(&record, attempt, *range, claim, now);
        settle(&mut record, &skipped, false);
    }
    record
}

fn waiting(record: &Schedule) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let due = |attempt: &Attempt| match *attempt.phase {
        Phase::Waiting { due_at } => Some((attempt.scheduled_for, due_at)),
        _ => None,
    };
    record.attempts.iter().filter_map(due).collect()
}

#[test]
fn what_finds_no_slot_waits_by_the_policy_and_keeps_its_time() {
    let first = (at("00:00:00"), at("00:00:00"));
    let (second, third) = ((at("00:01:00"), at("00:01:00")), (at("00:02:00"), at("00:02:00")));
    for (policy, expected) in [
        (r#","overlap":"skip""#, vec![first]),
        (r#","overlap":"buffer_one""#, vec![first, second]),
        (r#","overlap":"cancel_other""#, vec![(third.0, first.1)]),
        (r#","overlap":"allow","max_instances":3"#, vec![first, second, third]),
        (r#","overlap":"skip","catch_up":"all""#, vec![first]),
    ] {
        let (mut record, trigger) = grouped(policy);
        for now in ["00:00:00", "00:01:00", "00:02:00"] {
            let wakes = wake_at(&record, &knows()).is_some_and(|wake| wake <= at(now));
            // What waits for those before it wakes nobody.
            let acts = plan(&record, &trigger, at(now), &knows(), full()).is_some();
            assert_eq!(wakes, acts, "{policy} at {now}");
            if acts {
                record = waits(&record, &trigger, now);
            }
        }
        assert_eq!(waiting(&record), expected, "{policy}");
        let wanted = wants_slot(&record, &knows()).unwrap();
        assert_eq!(wanted.since, Some(expected[0].1), "{policy}: a skip moves nobody");
        let made = plan(&record, &trigger, at("00:02:30"), &knows(), lease()).unwrap();
        assert_eq!(made.fire.len(), 1, "{policy}: one slot, one claim");
        assert_eq!(made.fire[0].scheduled_for, expected[0].0, "{policy}");
        let (_, due) = made.due[0];
        assert_eq!(
            due, expected[0].0,
            "{policy}: it was not due before its time, whatever its place"
        );
    }
}

#[test]
fn with_catch_up_all_an_occurrence_runs_however_late_its_slot_comes() {
    let (record, trigger) = grouped(r#","catch_up":"all","misfire_grace_seconds":60"#);
    let record = waits(&record, &trigger, "00:00:00");
    let made = plan(&record, &trigger, at("02:00:00"), &knows(), lease()).unwrap();
    assert_eq!(made.fire.first().map(|one| one.scheduled_for), Some(at("00:00:00")));
    assert_eq!(made.due.len(), 1, "its lateness counts from when there was room");
}

#[test]
fn what_falls_into_a_pause_of_all_is_skipped_when_that_ends() {
    for policy in [r#","catch_up":"all""#, ""] {
        let (record, trigger) = grouped(policy);
        let view: Halted = until(at("00:05:30"));
        assert_eq!(wake_at(&record, &view), Some(at("00:05:30")), "{policy}");
        let now = at("00:05:30");
        let skipped = plan(&record, &trigger, now, &view, full()).unwrap();
        assert_eq!(
            ranges(&skipped),
            [(SkipCause::Paused, at("00:00:00"), at("00:05:00"), 6)],
            "{policy}"
        );
        assert_eq!(wake_at(&settled(skipped, now), &view), Some(at("00:06:00")), "{policy}");
    }
}

#[test]
fn who_has_much_to_make_up_for_takes_turns_with_others() {
    let (mut record, _) = grouped(r#","catch_up":"all""#);
    record.last_run_at = Some(at("00:30:00"));
    let wanted = wants_slot(&record, &knows()).unwrap();
    assert_eq!((wanted.at, wanted.since), (at("00:00:00"), Some(at("00:30:00"))));
}

#[test]
fn what_is_left_of_a_backfill_goes_behind_what_waits() {
    let (mut record, _) = grouped("");
    record.next_run_at = Some(at("01:00:00"));
    record.backfill = Some(Box::new(crate::schedule::Backfill {
        id: OTHER,
        next: at("00:00:00"),
        until: at("00:30:00"),
        by: "me".to_owned(),
        correlation_id: "c".to_owned(),
        trace: None,
        unknown: Unknown::default(),
    }));
    let wanted = wants_slot(&record, &knows()).unwrap();
    assert_eq!((wanted.at, wanted.since), (DateTime::UNIX_EPOCH, None));
    let due_at = at("00:10:00");
    record.attempts.push(Attempt::new(record.id, due_at, 1, Phase::Waiting { due_at }));
    assert_eq!(wants_slot(&record, &knows()).unwrap().since, None);
    record.backfill = None;
    assert_eq!(wants_slot(&record, &knows()).unwrap().since, Some(due_at));
}
