//! Tests of planning: a record and a time in, what must be done out.

mod alerts;
mod calendars;
mod extremes;
mod groups;
mod halts;
mod jitter;
mod lateness;
mod pinned;
mod policies;
mod resumptions;
mod taken_over;

use std::collections::HashSet;

use super::*;
use crate::execution::{Claim, ErrorType, Execution, ExecutionStatus, Outcome};
use crate::schedule::{CreateSchedule, Ending, Manual, Origin, Rules, Writer, new_schedule};
use crate::stored::{Count, Unknown};

/// What one instance knows, set by the test.
pub(super) struct Knows {
    pub(super) me: Uuid,
    pub(super) running: HashSet<Uuid>,
    pub(super) gone: HashSet<Uuid>,
    pub(super) lead: Duration,
}

impl View for Knows {
    fn me(&self) -> Uuid {
        self.me
    }

    fn is_running(&self, execution: Uuid) -> bool {
        self.running.contains(&execution)
    }

    fn is_gone(&self, instance: Uuid) -> bool {
        self.gone.contains(&instance)
    }

    fn lead(&self) -> Duration {
        self.lead
    }

    fn listening_since(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }

    fn deleted_retention(&self) -> Duration {
        Duration::days(30)
    }
}

pub(super) const ME: Uuid = Uuid::from_u128(1);
pub(super) const OTHER: Uuid = Uuid::from_u128(2);

pub(super) fn knows() -> Knows {
    Knows { me: ME, running: HashSet::new(), gone: HashSet::new(), lead: Duration::zero() }
}

pub(super) fn at(text: &str) -> DateTime<Utc> {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

pub(super) fn lease() -> Duration {
    Duration::seconds(300)
}

pub(super) fn schedule(json: &str) -> (Schedule, Trigger) {
    let mut fields: serde_json::Value = serde_json::from_str(json).unwrap();
    fields["name"] = "n".into();
    fields["target_command"] = "cmd.a".into();
    if fields.get("retry").is_none() {
        fields["retry"] = serde_json::json!({ "jitter": 0 });
    }
    let request: CreateSchedule = serde_json::from_str(&fields.to_string()).unwrap();
    let rules = Rules { max_retries: 2, retry_delay_seconds: 10, ..Rules::default() };
    let writer = Writer { instance: ME, token: 0 };
    let id = Uuid::from_u128(9);
    new_schedule(&request, &rules, id, at("00:00:00"), "me", "c", writer).unwrap()
}

pub(super) fn minutely() -> (Schedule, Trigger) {
    schedule(r#"{"schedule_type":"cron","cron_expression":"* * * * *"}"#)
}

pub(super) fn end(
    schedule: &Schedule,
    attempt: &Attempt,
    outcome: Outcome,
    now: DateTime<Utc>,
) -> Execution {
    let claim = Claim { instance: ME, revision: 1 };
    let mut ended = Execution::started(schedule, attempt, claim, now);
    ended.end(outcome, now);
    if ended.status == ExecutionStatus::Failed && !ended.uncertain {
        let error_type = ended.error_type.as_ref().map(ErrorType::as_str);
        ended.retry_at = retry_at(schedule, attempt.number, ended.id, error_type, now);
    }
    ended
}

pub(super) fn failure() -> Outcome {
    Outcome::failed(ErrorType::Timeout, "late".to_owned())
}

pub(super) fn ranges(plan: &Plan) -> Vec<(SkipCause, DateTime<Utc>, DateTime<Utc>, u64)> {
    let range = |(attempt, range): &(Attempt, SkippedRange)| {
        (range.cause, attempt.scheduled_for, range.last, range.count)
    };
    plan.skip.iter().map(range).collect()
}

/// The record after what is due at `now` was claimed and made.
pub(super) fn acted(record: &Schedule, trigger: &Trigger, now: DateTime<Utc>) -> Schedule {
    let plan = plan(record, trigger, now, &knows(), lease()).unwrap();
    let mut record = plan.schedule.clone();
    for attempt in &plan.fire {
        assert!(settle(&mut record, &end(&plan.schedule, attempt, Outcome::success(), now), false));
    }
    record
}

#[test]
fn nothing_is_done_before_it_is_due() {
    let (schedule, trigger) = minutely();
    let before = schedule.next_run_at.unwrap() - Duration::milliseconds(1);
    assert_eq!(plan(&schedule, &trigger, before, &knows(), lease()), None);
    assert_eq!(wake_at(&schedule, &knows()), schedule.next_run_at);
}

#[test]
fn what_is_due_is_claimed_and_the_next_time_set() {
    let (schedule, trigger) = minutely();
    let plan = plan(&schedule, &trigger, at("00:00:00.250"), &knows(), lease()).unwrap();
    assert_eq!(plan.fire.len(), 1);
    assert_eq!(plan.fire[0].scheduled_for, at("00:00:00"));
    assert_eq!(plan.fire[0].number, 1);
    assert_eq!(plan.schedule.attempts, plan.fire);
    assert_eq!(plan.schedule.next_run_at, Some(at("00:01:00")));
    assert_eq!(plan.schedule.last_scheduled_for, Some(at("00:00:00")));
    assert!(plan.skip.is_empty() && plan.recover.is_empty());
}

#[test]
fn an_occurrence_is_claimed_ahead_and_a_backlog_is_not() {
    let (schedule, trigger) = minutely();
    let mut view = knows();
    view.lead = Duration::milliseconds(500);
    let schedule = plan(&schedule, &trigger, at("00:00:00"), &view, lease()).unwrap().schedule;
    view.running.extend(schedule.attempts.iter().map(|attempt| attempt.execution_id));
    assert_eq!(wake_at(&schedule, &view), Some(at("00:00:59.500")));
    assert_eq!(plan(&schedule, &trigger, at("00:00:59.499"), &view, lease()), None);
    let ahead = plan(&schedule, &trigger, at("00:00:59.500"), &view, lease()).unwrap();
    assert_eq!(ahead.fire[0].scheduled_for, at("00:01:00"));
    assert_eq!(ahead.schedule.next_run_at, Some(at("00:02:00")));
    // An occurrence that is due is never given up for one that is not.
    let late = plan(&schedule, &trigger, at("00:01:59.900"), &view, lease()).unwrap();
    assert_eq!(late.fire[0].scheduled_for, at("00:01:00"));
    assert_eq!(late.schedule.next_run_at, Some(at("00:02:00")));
}

#[test]
fn of_a_backlog_the_latest_fires_and_the_rest_is_one_entry() {
    let (schedule, trigger) = minutely();
    let plan = plan(&schedule, &trigger, at("01:30:10"), &knows(), lease()).unwrap();
    assert_eq!(plan.fire[0].scheduled_for, at("01:30:00"));
    assert_eq!(ranges(&plan), [(SkipCause::Coalesced, at("00:00:00"), at("01:29:00"), 90)]);
    assert_eq!(plan.schedule.next_run_at, Some(at("01:31:00")));
}

#[test]
fn what_is_later_than_its_grace_is_missed() {
    let (schedule, trigger) = schedule(
        r#"{"schedule_type":"cron","cron_expression":"0 * * * *","misfire_grace_seconds":60}"#,
    );
    let on_time = plan(&schedule, &trigger, at("00:01:00"), &knows(), lease()).unwrap();
    assert_eq!(on_time.fire.len(), 1, "the grace includes its end");
    let late = plan(&schedule, &trigger, at("02:01:00.001"), &knows(), lease()).unwrap();
    assert_eq!(ranges(&late), [(SkipCause::Missed, at("00:00:00"), at("02:00:00"), 3)]);
    assert!(late.fire.is_empty());
    assert_eq!(late.schedule.next_run_at, Some(at("03:00:00")));
}

#[test]
fn a_year_of_seconds_is_decided_at_once() {
    let (schedule, trigger) = schedule(r#"{"schedule_type":"interval","interval_seconds":1}"#);
    let now = at("00:00:00") + Duration::days(365);
    let plan = plan(&schedule, &trigger, now, &knows(), lease()).unwrap();
    assert_eq!(ranges(&plan)[0].3, 365 * 86_400);
    assert_eq!(plan.fire[0].scheduled_for, now);
    assert_eq!(plan.schedule.attempts.len(), 2);
}

#[test]
fn schedules_that_do_not_fire_do_nothing() {
    for change in [
        |s: &mut Schedule| s.status = Status::Paused.into(),
        |s: &mut Schedule| s.status = Status::Deleted.into(),
        |s: &mut Schedule| s.is_active = false,
    ] {
        let (mut schedule, trigger) = minutely();
        change(&mut schedule);
        assert_eq!(plan(&schedule, &trigger, at("00:05:00"), &knows(), lease()), None);
        assert_eq!(wake_at(&schedule, &knows()), None);
    }
}

#[test]
fn requests_do_not_overlap_and_publishes_may() {
    for (mode, fires) in [("request", 0), ("publish", 1)] {
        let (schedule, trigger) = schedule(&format!(
            r#"{{"schedule_type":"interval","interval_seconds":1,"delivery":{{"mode":"{mode}"}}}}"#
        ));
        let first = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
        let mut view = knows();
        view.running.insert(first.fire[0].execution_id);
        let second = plan(&first.schedule, &trigger, at("00:00:01"), &view, lease()).unwrap();
        assert_eq!(second.fire.len(), fires, "{mode}");
        let causes: Vec<_> = ranges(&second).iter().map(|range| range.0).collect();
        assert_eq!(causes, vec![SkipCause::Overlap; 1 - fires], "{mode}");
    }
}

#[test]
fn a_record_never_grows_without_bound() {
    let (mut schedule, trigger) = schedule(r#"{"schedule_type":"interval","interval_seconds":1}"#);
    let mut view = knows();
    for second in 0..200 {
        let now = at("00:00:00") + Duration::seconds(second);
        if let Some(plan) = plan(&schedule, &trigger, now, &view, lease()) {
            view.running.extend(plan.schedule.attempts.iter().map(|a| a.execution_id));
            schedule = plan.schedule;
        }
    }
    assert_eq!(schedule.attempts.len(), MAX_ATTEMPTS);
    let claimed = schedule.attempts.iter().filter(|a| matches!(*a.phase, Phase::Claimed { .. }));
    assert_eq!(claimed.count(), MAX_CLAIMED);
    assert_eq!(wake_at(&schedule, &view), None, "a full record waits for something to be settled");
}

#[test]
fn success_is_counted_and_the_attempt_forgotten() {
    let (schedule, trigger) = minutely();
    let plan = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let mut record = plan.schedule;
    let ended = end(&record, &plan.fire[0], Outcome::success(), at("00:00:01"));
    assert!(settle(&mut record, &ended, false));
    let counts = [record.run_count, record.success_count, record.failure_count];
    assert_eq!(counts.map(Count::get), [1, 1, 0]);
    assert_eq!(record.last_run_at, Some(at("00:00:01")));
    assert!(record.attempts.is_empty());
    let settled = record.clone();
    assert!(!settle(&mut record, &ended, false), "settling twice is settling once");
    assert_eq!(record, settled);
}

#[test]
fn failures_are_tried_again_with_growing_waits_until_used_up() {
    let (schedule, trigger) =
        schedule(r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:00:01Z"}"#);
    let mut record = schedule;
    let mut now = at("00:00:01");
    let mut waits = Vec::new();
    let mut numbers = Vec::new();
    while let Some(plan) = plan(&record, &trigger, now, &knows(), lease()) {
        let attempt = plan.fire[0].clone();
        numbers.push(attempt.number);
        record = plan.schedule;
        let ended = end(&record, &attempt, failure(), now);
        settle(&mut record, &ended, false);
        if let Some(wake) = wake_at(&record, &knows()) {
            waits.push((wake - now).num_seconds());
            assert_eq!(
                super::plan(&record, &trigger, wake - Duration::milliseconds(1), &knows(), lease()),
                None
            );
            now = wake;
        }
    }
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(waits, [10, 20]);
    assert_eq!(record.status, Status::Failed);
    assert_eq!(record.failure_count.get(), 3);
}

#[test]
fn an_uncertain_failure_is_not_tried_again() {
    let (schedule, trigger) = minutely();
    let plan = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let mut record = plan.schedule;
    let outcome = Outcome::uncertain(ErrorType::Timeout, "?".to_owned());
    let ended = end(&record, &plan.fire[0], outcome, at("00:00:01"));
    settle(&mut record, &ended, false);
    assert!(record.attempts.is_empty());
}

#[test]
fn an_immediate_schedule_is_completed_by_its_success() {
    let (schedule, trigger) = schedule(r#"{"schedule_type":"immediate"}"#);
    let plan = plan(&schedule, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let mut record = plan.schedule;
    assert_eq!((record.next_run_at, *record.status), (None, Status::Active));
    let ended = end(&record, &plan.fire[0], Outcome::success(), at("00:00:00"));
    settle(&mut record, &ended, false);
    assert_eq!(record.status, Status::Completed);
}

proptest::proptest! {
    /// Whatever happens, and whenever, every occurrence is fired or skipped exactly once, in order.
    #[test]
    fn every_occurrence_is_accounted_for_exactly_once(
        every in 1_u32..120,
        steps in proptest::collection::vec((0_i64..400_000, proptest::bool::ANY), 1..60),
        grace in 1_u32..400,
    ) {
        let (mut record, trigger) = schedule(&format!(
            r#"{{"schedule_type":"interval","interval_seconds":{every},"misfire_grace_seconds":{grace}}}"#
        ));
        let mut now = at("00:00:00");
        let mut expected = now;
        let mut view = knows();
        for (wait, fails) in steps {
            now += Duration::milliseconds(wait);
            let Some(plan) = plan(&record, &trigger, now, &view, lease()) else { continue };
            record = plan.schedule.clone();
            let mut acted: Vec<(DateTime<Utc>, u64)> = Vec::new();
            for (attempt, range) in &plan.skip {
                acted.push((attempt.scheduled_for, range.count));
                let claim = Claim { instance: ME, revision: 1 };
                let ended = Execution::skipped(&record, attempt, *range, claim, now);
                settle(&mut record, &ended, false);
            }
            for attempt in &plan.fire {
                if attempt.number == 1 {
                    acted.push((attempt.scheduled_for, 1));
                }
                let outcome = if fails { failure() } else { Outcome::success() };
                let ended = end(&record, attempt, outcome, now);
                settle(&mut record, &ended, false);
            }
            acted.sort();
            for (first, count) in acted {
                proptest::prop_assert_eq!(first, expected);
                expected += Duration::seconds(i64::from(every)) * i32::try_from(count).unwrap();
            }
            proptest::prop_assert!(expected > now, "all that was due is decided");
            proptest::prop_assert_eq!(record.next_run_at, Some(expected));
            view.running.clear();
        }
    }
}
