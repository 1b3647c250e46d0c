//! Explanations of ledgers that are written here by hand. Those of real runs are judged by the simulator's checker.

mod causes;
mod not_due;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::schedule::{Author, CreateSchedule, Rules, Writer, new_schedule};

const ID: Uuid = Uuid::from_u128(9);

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

/// A schedule that was created at midnight.
fn schedule(fields: Value) -> Schedule {
    let mut request = json!({ "name": "n", "target_command": "cmd.a" });
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let request: CreateSchedule = serde_json::from_value(request).unwrap();
    let writer = Writer { instance: ID, token: 0 };
    new_schedule(&request, &Rules::default(), ID, at("00:00:00"), "me", "c", writer).unwrap().0
}

fn none() -> &'static PausesOfAll {
    Box::leak(Box::default())
}

/// What is known of a schedule that was never without an instance, nor paused with all others.
fn no_calendars() -> &'static Calendars {
    static NONE: std::sync::LazyLock<Calendars> = std::sync::LazyLock::new(Calendars::default);
    &NONE
}

fn known<'a>(
    schedule: &'a Schedule,
    changes: &'a [ChangeEvent],
    ledger: Vec<Acted>,
    now: DateTime<Utc>,
) -> Known<'a> {
    Known {
        schedule,
        changes,
        ledger,
        downtimes: &[],
        pauses: none(),
        calendars: no_calendars(),
        group: None,
        now,
    }
}

fn change(event: &str, time: &str, more: Value) -> ChangeEvent {
    let mut change = json!({ "event_id": ID, "event": event, "time": at(time), "schedule_id": ID, "name": "n",
                             "revision": 1, "actor": "anna", "correlation_id": "c" });
    change.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(change).unwrap()
}

/// An execution that began so many milliseconds after its time.
fn acted(scheduled_for: &str, status: ExecutionStatus, late_ms: i64) -> Acted {
    let at = at(scheduled_for);
    Acted {
        execution: Uuid::from_u128(at.timestamp_millis().unsigned_abs().into()),
        occurrence: at.timestamp_millis().unsigned_abs(),
        scheduled_for: at,
        status,
        started_at: at + TimeDelta::milliseconds(late_ms),
        ended_at: Some(at + TimeDelta::milliseconds(late_ms + 10)),
        event: None,
    }
}

/// The outcome, the times and their number of each line.
fn lines(told: &[ExplainedTime]) -> Vec<(Became, String, u64)> {
    let line = |time: &ExplainedTime| {
        let clock = |at: DateTime<Utc>| at.format("%H:%M").to_string();
        let last = time.last.map(|last| format!("-{}", clock(last))).unwrap_or_default();
        (time.outcome, clock(time.scheduled_for) + &last, time.count)
    };
    told.iter().map(line).collect()
}

#[test]
fn a_timing_that_was_replaced_has_its_own_times() {
    let mut schedule =
        schedule(json!({ "schedule_type": "cron", "cron_expression": "*/20 * * * *" }));
    schedule.next_run_at = Some(at("02:20:00"));
    schedule.last_scheduled_for = Some(at("02:00:00"));
    let was = json!({ "changes": [
        { "field": "cron_expression", "old": "30 * * * *", "new": "*/20 * * * *" },
        { "field": "priority", "old": 1, "new": 2 },
    ] });
    let changes = [change("created", "00:00:00", json!({})), change("updated", "01:35:00", was)];
    let ledger = vec![
        acted("00:30:00", ExecutionStatus::Success, 0),
        acted("01:30:00", ExecutionStatus::Failed, 2500),
        acted("01:40:00", ExecutionStatus::Success, 0),
    ];
    let downtimes = [Downtime { from: at("01:29:00"), to: at("01:30:02") }];
    let now = at("02:10:00");
    let known = Known { downtimes: &downtimes, ..known(&schedule, &changes, ledger, now) };
    let told = explain(&known, at("00:00:00"), at("03:00:00"));
    assert_eq!(
        lines(&told),
        [
            (Became::Success, "00:30".to_owned(), 1),
            (Became::Failed, "01:30".to_owned(), 1),
            (Became::Success, "01:40".to_owned(), 1),
            (Became::Forgotten, "02:00".to_owned(), 1),
            (Became::Coming, "02:20-03:00".to_owned(), 3),
        ]
    );
    assert_eq!((told[1].late_ms, told[1].down), (Some(2500), Some(downtimes[0])));
    // What the event does not say is not known.
    let cut = change("updated", "01:35:00", json!({ "truncated": true }));
    let changes = [changes[0].clone(), cut];
    let known = Known { changes: &changes, ledger: Vec::new(), ..known };
    let told = explain(&known, at("00:00:00"), at("02:10:00"));
    assert_eq!(lines(&told), [(Became::Forgotten, "01:40-02:00".to_owned(), 2)]);
}

#[test]
fn who_paused_it_is_known_even_if_the_pause_is_over_or_never_announced() {
    let mut schedule = schedule(json!({ "schedule_type": "cron", "cron_expression": "0 * * * *" }));
    schedule.next_run_at = Some(at("09:00:00"));
    schedule.last_scheduled_for = Some(at("08:00:00"));
    let reason = json!({ "reason": "holidays" });
    let changes = [
        change("created", "00:30:00", json!({})),
        change("paused", "01:30:00", reason),
        change("resumed", "04:30:00", json!({})),
        change(
            "updated",
            "05:30:00",
            json!({ "changes": [{ "field": "is_active", "old": true, "new": false }] }),
        ),
        change(
            "updated",
            "07:30:00",
            json!({ "changes": [{ "field": "is_active", "old": false, "new": true }] }),
        ),
    ];
    let now = at("08:10:00");
    let known = known(&schedule, &changes, Vec::new(), now);
    let told = explain(&known, at("00:00:00"), at("09:00:00"));
    assert_eq!(
        lines(&told),
        [
            (Became::NotDue, "00:00".to_owned(), 1),
            (Became::Forgotten, "01:00".to_owned(), 1),
            (Became::Paused, "02:00-04:00".to_owned(), 3),
            (Became::Forgotten, "05:00".to_owned(), 1),
            (Became::SwitchedOff, "06:00-07:00".to_owned(), 2),
            (Became::Forgotten, "08:00".to_owned(), 1),
            (Became::Coming, "09:00".to_owned(), 1),
        ]
    );
    assert_eq!(told[2].reason, "the schedule is paused by anna at 2026-01-01T01:30:00Z: holidays");
    assert_eq!(told[4].change.as_ref().map(|change| change.event.as_str()), Some("updated"));
    // Only the end of the pause is still known, and of the creation what the record says.
    let known = Known { changes: &changes[2..3], ..known };
    let told = explain(&known, at("00:00:00"), at("05:00:00"));
    assert_eq!(
        lines(&told),
        [(Became::Paused, "00:00-04:00".to_owned(), 5), (Became::Forgotten, "05:00".to_owned(), 1)]
    );
}

#[test]
fn a_schedule_that_is_restored_is_as_it_was_deleted() {
    let fields = json!({ "schedule_type": "cron", "cron_expression": "0 * * * *" });
    let mut schedule = schedule(fields);
    schedule.next_run_at = Some(at("06:00:00"));
    let changes = [
        change("created", "00:30:00", json!({})),
        change("paused", "00:40:00", json!({})),
        change("deleted", "01:30:00", json!({})),
        change("restored", "02:30:00", json!({})),
        change("resumed", "04:30:00", json!({})),
    ];
    let now = at("05:10:00");
    let known = known(&schedule, &changes, Vec::new(), now);
    let told = explain(&known, at("00:00:00"), at("04:30:00"));
    assert_eq!(
        lines(&told),
        [
            (Became::NotDue, "00:00".to_owned(), 1),
            (Became::Paused, "01:00".to_owned(), 1),
            (Became::NotDue, "02:00".to_owned(), 1),
            (Became::Paused, "03:00-04:00".to_owned(), 2)
        ]
    );
    let change = |line: &ExplainedTime| line.change.as_ref().unwrap().event.clone();
    assert_eq!(told[1..].iter().map(change).collect::<Vec<_>>(), ["paused", "deleted", "paused"]);
}

#[test]
fn all_fields_of_a_timing_are_put_back() {
    let schema = schemars::schema_for!(crate::schedule::TimingFields);
    let mut fields: Vec<_> =
        schema.get("properties").unwrap().as_object().unwrap().keys().collect();
    fields.sort();
    let mut known = periods::IN_TIMING;
    known.sort_unstable();
    assert_eq!(fields, known);
}

#[test]
fn many_alike_are_one_line_and_attempts_at_one_time_are_one() {
    let mut schedule =
        schedule(json!({ "schedule_type": "interval", "interval_seconds": 60, "max_runs": 8 }));
    schedule.next_run_at = Some(at("00:06:00"));
    schedule.last_scheduled_for = Some(at("00:05:00"));
    schedule.occurrence_count = 6.into();
    let mut ledger: Vec<_> = ["00:00:00", "00:01:00", "00:02:00", "00:03:00"]
        .map(|time| acted(time, ExecutionStatus::Success, 3))
        .to_vec();
    ledger[2].started_at += TimeDelta::milliseconds(20);
    let failed = acted("00:04:00", ExecutionStatus::Failed, 0);
    let again = Acted { execution: ID, status: ExecutionStatus::Success, ..failed.clone() };
    ledger.extend([failed, again, acted("00:05:00", ExecutionStatus::Running, 0)]);
    let changes = [change("created", "00:00:00", json!({}))];
    let now = at("00:05:01");
    let known = known(&schedule, &changes, ledger, now);
    let told = explain(&known, at("00:00:00"), at("01:00:00"));
    assert_eq!(
        lines(&told),
        [
            (Became::Success, "00:00-00:03".to_owned(), 4),
            (Became::Success, "00:04".to_owned(), 1),
            (Became::Running, "00:05".to_owned(), 1),
            (Became::Coming, "00:06-00:07".to_owned(), 2),
            (Became::NotDue, "00:08-01:00".to_owned(), 53),
        ]
    );
    assert_eq!((told[0].late_ms, told[0].execution_id), (Some(23), None));
    assert_eq!((told[1].attempts, told[1].reason.as_str()), (Some(2), "ran, at attempt 2"));
}

#[test]
fn what_was_cancelled_before_it_was_sent_was_not_late() {
    let mut schedule = schedule(json!({ "schedule_type": "interval", "interval_seconds": 60 }));
    schedule.next_run_at = Some(at("00:02:00"));
    schedule.last_scheduled_for = Some(at("00:01:00"));
    schedule.occurrence_count = 2.into();
    let unsent = acted("00:00:00", ExecutionStatus::Cancelled, 5000);
    let late = acted("00:01:00", ExecutionStatus::Failed, 5000);
    let changes = [change("created", "00:00:00", json!({}))];
    let known = known(&schedule, &changes, vec![unsent, late], at("00:01:30"));
    let told = explain(&known, at("00:00:00"), at("00:01:30"));
    assert_eq!((told[0].outcome, told[0].late_ms), (Became::Cancelled, None));
    assert_eq!((told[1].outcome, told[1].late_ms), (Became::Failed, Some(5000)));
}

#[test]
fn clock_changes_are_marked() {
    let fields = json!({ "schedule_type": "cron", "cron_expression": "30 2 * * *", "timezone": "Europe/Berlin" });
    let mut schedule = schedule(fields);
    schedule.next_run_at = Some("2026-03-29T01:00:00Z".parse().unwrap());
    let changes = [change("created", "00:00:00", json!({}))];
    let now = "2026-03-28T12:00:00Z".parse().unwrap();
    let known = known(&schedule, &changes, Vec::new(), now);
    let told = explain(&known, now, "2026-03-29T12:00:00Z".parse().unwrap());
    assert_eq!((told.len(), told[0].moved), (1, Some(Moved::DstGap)));
}

#[test]
fn an_occurrence_whose_retry_is_promised_has_not_failed() {
    let mut schedule = schedule(json!({ "schedule_type": "interval", "interval_seconds": 60 }));
    // The attempt is still being settled: the record does not have the retry yet.
    schedule.next_run_at = Some(at("00:02:00"));
    let event = json!({ "id": ID, "event_id": "e", "time": at("00:01:01"), "schedule_id": ID, "schedule_name": "n",
                        "created_by": "me", "scheduled_for": at("00:01:00"), "status": "failed", "attempt_number": 1,
                        "correlation_id": "c", "command_sent": "cmd.a", "error_type": "timeout",
                        "retry_at": at("00:01:30"), "lock_id": { "instance": ID, "revision": 1 } });
    let event = serde_json::from_value(event).unwrap();
    let failed = Acted { event: Some(event), ..acted("00:01:00", ExecutionStatus::Failed, 0) };
    let changes = [change("created", "00:00:00", json!({}))];
    let (ledger, now) = (vec![failed], at("00:01:02"));
    let known = known(&schedule, &changes, ledger, now);
    let told = explain(&known, at("00:01:00"), at("00:01:30"));
    assert_eq!(lines(&told), [(Became::Waiting, "00:01".to_owned(), 1)]);
    let reason = "failed, timeout; tried again at 2026-01-01T00:01:30Z";
    assert_eq!(told[0].reason, reason);
}

#[test]
fn a_pause_of_all_explains_what_was_due_meanwhile_and_what_comes() {
    let mut schedule = schedule(json!({ "schedule_type": "cron", "cron_expression": "0 * * * *" }));
    (schedule.next_run_at, schedule.last_scheduled_for) =
        (Some(at("03:00:00")), Some(at("02:00:00")));
    let by = Author { actor: "anna", correlation_id: "c" };
    let mut pauses = PausesOfAll::default();
    pauses.pause(ID, at("00:30:00"), by, Some("a leak"), Some(at("01:30:00")));
    let mut skipped = acted("01:00:00", ExecutionStatus::Skipped, 0);
    let event = json!({ "id": ID, "event_id": "e", "time": at("01:30:01"), "schedule_id": ID, "schedule_name": "n",
                        "created_by": "me", "scheduled_for": at("01:00:00"), "status": "skipped", "attempt_number": 1,
                        "correlation_id": "c", "command_sent": "cmd.a", "lock_id": { "instance": ID, "revision": 1 },
                        "skipped": { "cause": "paused", "last": at("01:00:00"), "count": 1 } });
    skipped.event = Some(serde_json::from_value(event).unwrap());
    let ledger = vec![skipped, acted("02:00:00", ExecutionStatus::Success, 0)];
    let changes = [change("created", "00:00:00", json!({}))];
    let now = at("02:30:00");
    let known = Known { pauses: &pauses, ..known(&schedule, &changes, ledger, now) };
    let told = explain(&known, at("00:30:00"), at("04:00:00"));
    assert_eq!(
        told[0].reason,
        "skipped, because all schedules were paused by anna at 2026-01-01T00:30:00Z: a leak"
    );
    assert_eq!(told[0].change.as_ref().map(|change| change.time), Some(at("00:30:00")));
    assert_eq!(lines(&told[2..]), [(Became::Coming, "03:00-04:00".to_owned(), 2)]);
    // One that is on, with an end and without.
    let mut on = pauses.clone();
    on.pause(ID, at("02:20:00"), by, None, Some(at("03:30:00")));
    let told = explain(
        &Known { pauses: &on, ledger: known.ledger.clone(), ..known },
        at("02:30:00"),
        at("04:00:00"),
    );
    let paused = (Became::Paused, "03:00".to_owned(), 1);
    assert_eq!(lines(&told), [paused, (Became::Coming, "04:00".to_owned(), 1)]);
    assert_eq!(told[0].reason, "all schedules are paused by anna at 2026-01-01T02:20:00Z");
    on.pause(ID, at("02:25:00"), by, None, None);
    let told = explain(
        &Known { pauses: &on, ledger: Vec::new(), ..known },
        at("02:30:00"),
        at("04:00:00"),
    );
    assert_eq!(lines(&told), [(Became::Paused, "03:00-04:00".to_owned(), 2)]);
}

#[test]
fn what_waited_for_its_jitter_through_one_change_is_dropped_by_the_next() {
    let mut schedule = schedule(json!({ "schedule_type": "interval", "interval_seconds": 3600,
                                        "jitter_seconds": 3000, "start_at": at("00:00:00") }));
    let due = schedule.due(at("01:00:00"));
    assert!(due > at("01:00:02"), "a jitter that the test can go by: {due}");
    (schedule.next_run_at, schedule.last_scheduled_for) =
        (Some(at("01:30:00")), Some(at("01:15:00")));
    let payload = json!({ "changes": [{ "field": "priority", "old": 1, "new": 2 }] });
    let timing = json!({ "changes": [{ "field": "interval_seconds", "old": 3600, "new": 900 },
                                     { "field": "jitter_seconds", "old": 3000, "new": 0 }] });
    (
        Arc::make_mut(&mut schedule.spec).timing.interval_seconds,
        Arc::make_mut(&mut schedule.spec).timing.jitter_seconds,
    ) = (Some(900), 0);
    let changes = [
        change("created", "00:00:00", json!({})),
        change("updated", "01:00:01", payload),
        change("updated", "01:00:02", timing),
    ];
    let ledger = vec![
        acted("00:00:00", ExecutionStatus::Success, 0),
        acted("01:15:00", ExecutionStatus::Success, 0),
    ];
    let now = at("01:20:00");
    let known = known(&schedule, &changes, ledger, now);
    let told = explain(&known, at("00:30:00"), at("01:20:00"));
    assert_eq!(
        lines(&told),
        [(Became::Skipped, "01:00".to_owned(), 1), (Became::Success, "01:15".to_owned(), 1)]
    );
    assert_eq!(told[0].cause, Some(SkipCause::Changed));
    assert_eq!(told[0].change.as_ref().map(|change| change.time), Some(at("01:00:02")));
}
