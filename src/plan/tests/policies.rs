//! Tests of overlap, catch-up, limits in time, and jobs.

mod at_random;

use super::*;
use crate::execution::{Claim, Execution, ExecutionStatus, Outcome};
use crate::schedule::{Backfill, SkipCause, execution_id};
use crate::stored::Unknown;

fn times(plan: &Plan) -> Vec<DateTime<Utc>> {
    plan.fire.iter().map(|attempt| attempt.scheduled_for).collect()
}

/// A schedule that is due every minute, with further fields.
fn minutely_with(fields: &str) -> (Schedule, Trigger) {
    schedule(&format!(r#"{{"schedule_type":"cron","cron_expression":"* * * * *",{fields}}}"#))
}

fn job(fields: &str) -> (Schedule, Trigger) {
    let delivery = r#""delivery":{"mode":"job","timeout_seconds":600,"heartbeat_seconds":30}"#;
    minutely_with(&format!("{delivery}{fields}"))
}

/// The record after the first attempt's command was handed over to a worker.
fn handed_over(plan: &Plan, now: DateTime<Utc>) -> Schedule {
    let mut record = plan.schedule.clone();
    for attempt in &plan.fire {
        let claim = Claim { instance: ME, revision: 1 };
        let started = Execution::started(&record, attempt, claim, now);
        assert!(settle(&mut record, &started, false));
    }
    record
}

#[test]
fn catching_up_on_all_runs_them_in_order_and_as_many_as_may_be_under_way() {
    let (schedule, trigger) = minutely_with(r#""catch_up":"all","misfire_grace_seconds":3600"#);
    let now = at("02:00:30");
    let first = plan(&schedule, &trigger, now, &knows(), lease()).unwrap();
    assert_eq!(ranges(&first), [(SkipCause::Missed, at("00:00:00"), at("01:00:00"), 61)]);
    assert_eq!(times(&first).len(), MAX_CLAIMED);
    assert_eq!(times(&first)[0], at("01:01:00"));
    let mut record = first.schedule;
    assert_eq!(record.next_run_at, Some(at("01:17:00")));
    assert_eq!(wake_at(&record, &KnowsAll), None, "the rest waits for these");
    let mut ran = first.fire.clone();
    while let Some(attempt) = ran.pop() {
        let ended = end(&record, &attempt, Outcome::success(), now);
        settle(&mut record, &ended, false);
    }
    let second = plan(&record, &trigger, now, &knows(), lease()).unwrap();
    assert_eq!(times(&second)[0], at("01:17:00"));
}

/// An instance that is acting on everything that it has claimed.
struct KnowsAll;

impl View for KnowsAll {
    fn me(&self) -> Uuid {
        ME
    }
    fn is_running(&self, _: Uuid) -> bool {
        true
    }
    fn is_gone(&self, _: Uuid) -> bool {
        false
    }
    fn lead(&self) -> Duration {
        Duration::zero()
    }
    fn listening_since(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn deleted_retention(&self) -> Duration {
        Duration::days(30)
    }
}

#[test]
fn a_year_of_seconds_is_one_entry_per_cause_however_it_is_caught_up() {
    for (catch_up, fired, causes) in [
        ("latest", 1, vec![SkipCause::Coalesced]),
        ("none", 1, vec![SkipCause::Missed]),
        ("all", MAX_CLAIMED, vec![SkipCause::Missed, SkipCause::Limit]),
    ] {
        let (mut schedule, trigger) = schedule(&format!(
            r#"{{"schedule_type":"interval","interval_seconds":1,"catch_up":"{catch_up}","misfire_grace_seconds":86400}}"#
        ));
        schedule.next_run_at = Some(at("00:00:00"));
        let now = at("00:00:00") + Duration::days(365);
        let plan = plan(&schedule, &trigger, now, &knows(), lease()).unwrap();
        assert_eq!(plan.fire.len(), fired, "{catch_up}");
        let found: Vec<_> = ranges(&plan).iter().map(|range| range.0).collect();
        assert_eq!(found, causes, "{catch_up}");
        let skipped: u64 = ranges(&plan).iter().map(|range| range.3).sum();
        let next = plan.schedule.next_run_at.unwrap();
        let decided = u64::try_from((next - at("00:00:00")).num_seconds()).unwrap();
        assert_eq!(skipped + plan.fire.len() as u64, decided, "{catch_up}: none is lost");
    }
}

#[test]
fn catching_up_on_none_skips_what_is_more_than_a_moment_late() {
    let (schedule, trigger) = minutely_with(r#""catch_up":"none""#);
    let on_time = plan(&schedule, &trigger, at("00:00:04"), &knows(), lease()).unwrap();
    assert_eq!(on_time.fire.len(), 1);
    let late = plan(&schedule, &trigger, at("00:00:06"), &knows(), lease()).unwrap();
    assert_eq!(ranges(&late), [(SkipCause::Missed, at("00:00:00"), at("00:00:00"), 1)]);
    assert!(late.fire.is_empty());
}

#[test]
fn a_job_runs_until_its_worker_reports_and_the_next_is_skipped() {
    let (schedule, trigger) = job("");
    let first = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let token = first.fire[0].token.clone().unwrap();
    assert!(token.starts_with(&schedule.id.simple().to_string()), "{token}");
    let record = handed_over(&first, at("00:00:01"));
    let Phase::Running { deadline, .. } = *record.attempts[0].phase else { panic!() };
    assert_eq!(deadline, at("00:10:01"));
    assert_eq!(wake_at(&record, &knows()), Some(at("00:01:00")), "it may wait in the stream");
    let mut heard = record.clone();
    if let Phase::Running { heard_at, .. } = &mut *heard.attempts[0].phase {
        *heard_at = Some(at("00:00:50"));
    }
    let second = plan(&heard, &trigger, at("00:01:00"), &knows(), lease()).unwrap();
    assert_eq!(ranges(&second), [(SkipCause::Overlap, at("00:01:00"), at("00:01:00"), 1)]);
    assert!(second.fire.is_empty());
}

#[test]
fn a_worker_that_is_silent_is_lost_and_one_that_is_late_times_out() {
    let (schedule, trigger) = job("");
    let first = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let record = handed_over(&first, at("00:00:01"));
    let mut begun = record.clone();
    if let Phase::Running { heard_at, .. } = &mut *begun.attempts[0].phase {
        *heard_at = Some(at("00:00:02"));
    }
    assert_eq!(wake_at(&begun, &knows()), Some(at("00:00:32")));
    let lost = plan(&begun, &trigger, at("00:00:32"), &knows(), lease()).unwrap();
    let Phase::Reported { report, since, .. } = &*lost.finish[0].phase else { panic!() };
    assert_eq!((report.error_type.as_deref(), *since), (Some("worker_lost"), at("00:00:01")));
    assert!(!report.is_final);
    let mut heard = record.clone();
    if let Phase::Running { heard_at, .. } = &mut *heard.attempts[0].phase {
        *heard_at = Some(at("00:10:00"));
    }
    let late = plan(&heard, &trigger, at("00:10:01"), &knows(), lease()).unwrap();
    let Phase::Reported { report, .. } = &*late.finish[0].phase else { panic!() };
    assert_eq!(report.error_type.as_deref(), Some("timeout"));
}

#[test]
fn overlap_policies_allow_buffer_or_cancel() {
    let (schedule, trigger) = job(r#","overlap":"allow","max_instances":2"#);
    let first = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let record = handed_over(&first, at("00:00:50"));
    let second = plan(&record, &trigger, at("00:01:00"), &knows(), lease()).unwrap();
    assert_eq!(times(&second), [at("00:01:00")]);
    let mut record = handed_over(&second, at("00:01:50"));
    for attempt in &mut record.attempts {
        if let Phase::Running { heard_at, .. } = &mut *attempt.phase {
            *heard_at = Some(at("00:01:59"));
        }
    }
    let third = plan(&record, &trigger, at("00:02:00"), &knows(), lease()).unwrap();
    assert_eq!(ranges(&third)[0].0, SkipCause::Overlap, "two are under way");

    let (schedule, trigger) = job(r#","overlap":"buffer_one""#);
    let first = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let record = handed_over(&first, at("00:00:59"));
    let buffered = plan(&record, &trigger, at("00:01:00"), &knows(), lease()).unwrap();
    assert!(buffered.fire.is_empty() && buffered.skip.is_empty());
    assert!(matches!(*buffered.schedule.attempts[1].phase, Phase::Waiting { .. }));
    let mut record = buffered.schedule;
    if let Phase::Running { heard_at, .. } = &mut *record.attempts[0].phase {
        *heard_at = Some(at("00:01:59"));
    }
    let next = plan(&record, &trigger, at("00:02:00"), &knows(), lease()).unwrap();
    assert_eq!(ranges(&next)[0].0, SkipCause::Overlap, "one waits already");
    let mut record = next.schedule;
    let running = record.attempts[0].clone();
    let ended = end(&record, &running, Outcome::success(), at("00:02:10"));
    settle(&mut record, &ended, false);
    let then = plan(&record, &trigger, at("00:02:10"), &knows(), lease()).unwrap();
    assert_eq!(times(&then), [at("00:01:00")], "what waited runs");

    let (schedule, trigger) = job(r#","overlap":"cancel_other""#);
    let first = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let record = handed_over(&first, at("00:00:59"));
    let other = plan(&record, &trigger, at("00:01:00"), &knows(), lease()).unwrap();
    assert_eq!(times(&other), [at("00:01:00")]);
    let Phase::Reported { report, .. } = &*other.finish[0].phase else { panic!() };
    assert_eq!(report.ending, Ending::Cancelled);
    assert_eq!(report.by.as_deref(), Some("scheduler"));
}

#[test]
fn a_request_that_is_cancelled_by_the_next_makes_room_when_it_has_ended() {
    let (schedule, trigger) =
        minutely_with(r#""delivery":{"mode":"request"},"overlap":"cancel_other""#);
    let first = plan(&schedule, &trigger, at("00:00:00"), &KnowsAll, lease()).unwrap();
    let second = plan(&first.schedule, &trigger, at("00:01:00"), &KnowsAll, lease()).unwrap();
    assert!(second.fire.is_empty());
    let mut record = second.schedule;
    assert!(record.attempts[0].cancel.is_some(), "it is told to stop");
    let third = plan(&record, &trigger, at("00:02:00"), &KnowsAll, lease()).unwrap();
    assert_eq!(ranges(&third), [(SkipCause::Overlap, at("00:01:00"), at("00:01:00"), 1)]);
    record = third.schedule;
    let running = record.attempts[0].clone();
    let outcome = Outcome::Cancelled { by: None, reason: None };
    let ended = end(&record, &running, outcome, at("00:02:01"));
    assert_eq!(ended.status, ExecutionStatus::Cancelled);
    settle(&mut record, &ended, false);
    let then = plan(&record, &trigger, at("00:02:01"), &KnowsAll, lease()).unwrap();
    assert_eq!(times(&then), [at("00:02:00")], "the newest waited");
}

#[test]
fn occurrences_end_with_end_at_and_max_runs() {
    let (mut record, trigger) = minutely_with(r#""max_runs":2"#);
    for minute in 0..2 {
        let now = at("00:00:00") + Duration::minutes(minute);
        let plan = plan(&record, &trigger, now, &knows(), lease()).unwrap();
        record = plan.schedule;
        let ended = end(&record, &plan.fire[0], Outcome::success(), now);
        settle(&mut record, &ended, false);
    }
    assert_eq!((record.next_run_at, *record.status), (None, Status::Completed));
    let (record, trigger) = minutely_with(r#""end_at":"2026-01-01T00:02:30Z""#);
    let last = plan(&record, &trigger, at("00:02:20"), &knows(), lease()).unwrap();
    assert_eq!(times(&last), [at("00:02:00")]);
    assert_eq!(last.schedule.next_run_at, None);
}

#[test]
fn jitter_delays_each_occurrence_the_same_for_all_and_never_makes_it_early() {
    let (schedule, trigger) = minutely_with(r#""jitter_seconds":60"#);
    let mut record = schedule;
    for _ in 0..50 {
        let next = record.next_run_at.unwrap();
        let due = next + record.jitter(next);
        assert!(due >= next && due < next + Duration::seconds(60));
        assert_eq!(wake_at(&record, &knows()), Some(due));
        let before = due - Duration::milliseconds(1);
        assert_eq!(plan(&record, &trigger, before, &knows(), lease()), None);
        let plan = plan(&record, &trigger, due, &knows(), lease()).unwrap();
        assert_eq!(times(&plan), [next]);
        record = plan.schedule;
        let ended = end(&record, &plan.fire[0], Outcome::success(), due);
        settle(&mut record, &ended, false);
    }
}

#[test]
fn failures_in_a_row_pause_a_schedule_and_say_so_once() {
    let (mut record, trigger) = minutely_with(r#""pause_on_failure":2,"max_retries":0"#);
    let mut now = at("00:00:00");
    for outcome in [failure(), Outcome::success(), failure(), failure()] {
        let plan = plan(&record, &trigger, now, &knows(), lease()).unwrap();
        record = plan.schedule;
        let ended = end(&record, &plan.fire[0], outcome, now);
        settle(&mut record, &ended, false);
        assert!(!settle(&mut record, &ended, false));
        now += Duration::minutes(1);
    }
    assert_eq!(record.status, Status::Paused);
    assert_eq!(record.consecutive_failures, 2);
    assert_eq!(record.revision, 2);
    let said: Vec<_> = record.events.iter().map(|event| event.kind.event()).collect();
    assert_eq!(said, ["failing", "recovered", "failing", "paused"]);
    assert!(record.events[3].body.get().contains("2 occurrences failed in a row"));
}

#[test]
fn an_error_that_is_not_retryable_is_not_tried_again() {
    let (record, trigger) = minutely_with(r#""retry":{"non_retryable":["timeout"]}"#);
    let plan = plan(&record, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    assert_eq!(end(&plan.schedule, &plan.fire[0], failure(), at("00:00:01")).retry_at, None);
}

#[test]
fn a_backfill_runs_each_time_of_its_span_once_beside_the_others() {
    let (mut record, trigger) = minutely();
    let id = Uuid::from_u128(77);
    record.backfill = Some(Box::new(Backfill {
        id,
        next: at("00:00:00") - Duration::minutes(40),
        until: at("00:00:00") - Duration::minutes(1),
        by: "me".to_owned(),
        trace: None,
        correlation_id: "c".to_owned(),
        unknown: Unknown::default(),
    }));
    let mut ran = Vec::new();
    let now = at("00:00:00");
    while let Some(plan) = plan(&record, &trigger, now, &knows(), lease()) {
        record = plan.schedule;
        for attempt in &plan.fire {
            if attempt.manual.is_some() {
                assert_eq!(attempt.execution_id, execution_id(id, attempt.scheduled_for, 1));
                ran.push(attempt.scheduled_for);
            }
            let ended = end(&record, attempt, Outcome::success(), now);
            settle(&mut record, &ended, false);
        }
    }
    assert_eq!(ran.len(), 40);
    assert!(ran.is_sorted_by(|a, b| a < b));
    assert_eq!((record.occurrence_count.get(), record.success_count.get()), (1, 41));
    assert_eq!(record.backfill, None);
}

#[test]
fn ends_are_noted_for_those_that_follow() {
    let (record, trigger) = minutely_with(r#""max_retries":0"#);
    let plan = plan(&record, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    for (outcome, success) in [(Outcome::success(), true), (failure(), false)] {
        let mut record = plan.schedule.clone();
        let ended = end(&record, &plan.fire[0], outcome, at("00:00:01"));
        settle(&mut record, &ended, true);
        assert_eq!(record.ended.len(), 1);
        assert_eq!(record.ended[0].success, success);
    }
}
