//! Tests that claimed attempts send what they were claimed with, through updates, takeovers and retries.

use std::sync::Arc;

use super::*;
use crate::execution::{Claim, Execution, Outcome, payload};
use crate::schedule::{Delivery, Payload, Pins, Spec, Target};

fn body(text: &str) -> Payload {
    serde_json::from_str(text).unwrap()
}

/// The record after an update, as the service makes one.
fn updated(old: &Schedule, change: impl Fn(&mut Spec)) -> Schedule {
    let mut new = old.clone();
    change(Arc::make_mut(&mut new.spec));
    new.pin(old);
    // Through its stored form.
    serde_json::from_str(&serde_json::to_string(&new).unwrap()).unwrap()
}

/// Changes the target, name, body and mode.
fn other(spec: &mut Spec) {
    spec.name = "other".into();
    spec.target_command = Target::parse("cmd.other").unwrap();
    spec.command_payload = body(r#"{"v":2}"#);
    spec.payload_template = false;
    spec.delivery.known = Delivery { timeout_seconds: 5, ..Delivery::default() };
}

fn claim() -> Claim {
    Claim { instance: OTHER, revision: 7 }
}

/// The plan of another instance for a record whose instance is gone.
fn taken_over(record: &Schedule, trigger: &Trigger, now: DateTime<Utc>) -> Plan {
    let view = Knows { me: OTHER, gone: [ME].into(), ..knows() };
    plan(record, trigger, now, &view, lease()).unwrap()
}

#[test]
fn who_takes_an_attempt_over_sends_what_it_was_claimed_with_and_a_retry_what_is_said_then() {
    let (record, trigger) = schedule(
        r#"{"schedule_type":"cron","cron_expression":"* * * * *","payload_template":true,
            "command_payload":{"v":"${schedule.name} at ${scheduled_for:%H:%M %Z}"},
            "delivery":{"mode":"request","timeout_seconds":3000}}"#,
    );
    let first = plan(&record, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    // Two updates: what was kept first counts.
    let record = updated(&updated(&first.schedule, other), |spec| {
        spec.timing.timezone = chrono_tz::Tz::Europe__Berlin;
        spec.command_payload = body(r#"{"v":3}"#);
    });
    let now = at("00:00:10");
    let plan = taken_over(&record, &trigger, now);
    let attempt = &plan.recover[0];
    let sends = plan.schedule.sends(attempt);
    assert_eq!((sends.name, sends.target.as_str()), ("n", "cmd.a"));
    assert_eq!(sends.delivery.mode, DeliveryMode::Request);
    assert_eq!(payload(&plan.schedule, attempt).as_str(), r#"{"v":"n at 00:00 UTC"}"#);
    let started = Execution::started(&plan.schedule, attempt, claim(), now);
    assert_eq!((started.command_sent.as_str(), started.schedule_name.as_str()), ("cmd.a", "n"));
    // Nobody takes over a reply that is still awaited.
    let Phase::Claimed { until, .. } = *attempt.phase else { panic!("{attempt:?}") };
    assert!(until >= now + Duration::seconds(3000), "{until}");

    let mut record = plan.schedule.clone();
    let ended = end(&record, attempt, failure(), now);
    assert!(settle(&mut record, &ended, false));
    let retry = &record.attempts[0];
    assert_eq!((retry.number, &retry.pinned), (2, &None));
    assert_eq!(record.sends(retry).target.as_str(), "cmd.other");
    assert_eq!(payload(&record, retry).as_str(), r#"{"v":3}"#);
}

#[test]
fn nothing_is_stored_where_nothing_changes_that_is_sent() {
    let (record, trigger) = minutely();
    let claimed = plan(&record, &trigger, at("00:00:00"), &knows(), lease()).unwrap().schedule;
    let same = updated(&claimed, |spec| (spec.priority, spec.max_retries) = (9, 0));
    assert_eq!(same.attempts, claimed.attempts);
    let waiting = Phase::Waiting { due_at: at("01:00:00") };
    let mut record = record;
    record.attempts.push(Attempt::new(record.id, at("00:00:00"), 2, waiting));
    assert_eq!(updated(&record, other).attempts, record.attempts, "it is not claimed yet");
}

#[test]
fn a_run_with_a_payload_of_its_own_needs_no_other() {
    let (mut record, trigger) = minutely();
    let manual = Manual {
        payload: Some(body(r#"{"own":1}"#)),
        correlation_id: "c".to_owned(),
        by: "me".to_owned(),
        trace: None,
        origin: Origin::User,
        retry_of: None,
        unknown: Unknown::default(),
    };
    record.next_run_at = None;
    record.attempts.push(Attempt::manual(Uuid::from_u128(5), at("00:00:00"), manual));
    let claimed = plan(&record, &trigger, at("00:00:01"), &knows(), lease()).unwrap().schedule;
    let mut new = claimed.clone();
    other(Arc::make_mut(&mut new.spec));
    assert_eq!(new.pin(&claimed), Pins::Fields, "no payload is kept");
    assert_eq!(payload(&new, &new.attempts[0]).as_str(), r#"{"own":1}"#);
    assert_eq!(new.sends(&new.attempts[0]).target.as_str(), "cmd.a");
}

#[test]
fn an_occurrence_that_is_claimed_ahead_stays_due_when_it_was() {
    let (record, trigger) =
        schedule(r#"{"schedule_type":"cron","cron_expression":"0 * * * *","jitter_seconds":1800}"#);
    let due = record.due(at("00:00:00"));
    assert!(due > at("00:00:01"), "{due}");
    let view = Knows { lead: Duration::milliseconds(500), ..knows() };
    let ahead = due - Duration::milliseconds(400);
    let claimed = plan(&record, &trigger, ahead, &view, lease()).unwrap().schedule;
    assert_eq!(claimed.claimed_until(), Some(due));
    let now = updated(&claimed, |spec| spec.timing.jitter_seconds = 0);
    assert_eq!(now.claimed_until(), Some(due), "the reply to the update waits until then");
    assert_eq!(now.due(at("01:00:00")), at("01:00:00"));
}

#[test]
fn what_a_worker_has_is_in_the_history_and_keeps_its_times_but_no_payload() {
    let (record, trigger) = schedule(
        r#"{"schedule_type":"cron","cron_expression":"* * * * *","command_payload":{"v":1},
            "delivery":{"mode":"job","timeout_seconds":600}}"#,
    );
    let plan = plan(&record, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    // The update comes before the worker has the command.
    let mut record = updated(&plan.schedule, other);
    assert!(record.attempts[0].pinned.as_ref().unwrap().command_payload.is_some());
    let mut started = Execution::started(&plan.schedule, &plan.fire[0], claim(), at("00:00:01"));
    started.end(Outcome::HandedOver, at("00:00:01"));
    assert!(settle(&mut record, &started, false));
    let attempt = &record.attempts[0];
    let Phase::Running { deadline, .. } = *attempt.phase else { panic!("{attempt:?}") };
    assert_eq!(deadline, at("00:10:01"));
    assert_eq!(attempt.pinned.as_ref().unwrap().command_payload, None);
    // If the history does not have it, nothing is said of the payload.
    let told = Execution::started(&record, attempt, claim(), at("00:00:01"));
    assert_eq!(
        (told.command_sent.as_str(), &told.command_payload, told.truncated),
        ("cmd.a", &None, true)
    );
    let late = taken_over(&record, &trigger, at("00:10:01"));
    let Phase::Reported { report, .. } = &*late.finish[0].phase else { panic!() };
    assert_eq!(report.message.as_deref(), Some("no report within 600 s"));

    // And if the update comes after that.
    let mut running = plan.schedule.clone();
    assert!(settle(&mut running, &started, false));
    let record = updated(&running, other);
    let pinned = record.attempts[0].pinned.as_ref().unwrap();
    assert_eq!((&pinned.command_payload, pinned.other_payload), (&None, true));
}

#[test]
fn commands_that_take_no_time_are_not_waited_for_after_an_update() {
    let (record, trigger) = schedule(
        r#"{"schedule_type":"cron","cron_expression":"* * * * *","delivery":{"mode":"publish"}}"#,
    );
    let claimed = plan(&record, &trigger, at("00:00:00"), &knows(), lease()).unwrap().schedule;
    let record = updated(&claimed, |spec| spec.delivery.known.mode = DeliveryMode::Job);
    assert_eq!(room(&record), 1);
    assert_eq!(taken_over(&record, &trigger, at("00:00:05")).recover[0].token, None);
}
