//! Tests of the time from which an attempt counts as late.

use super::*;
use crate::execution::Outcome;
use crate::stored::Unknown;

fn with(fields: &str) -> (Schedule, Trigger) {
    schedule(&format!(r#"{{"schedule_type":"cron","cron_expression":"* * * * *",{fields}}}"#))
}

/// Plans at a time and returns when the attempts that fire were due.
fn due(record: &mut Schedule, trigger: &Trigger, view: &mut Knows, now: &str) -> Vec<String> {
    let Some(plan) = plan(record, trigger, at(now), view, lease()) else { return Vec::new() };
    view.running.extend(plan.fire.iter().chain(&plan.finish).map(|attempt| attempt.execution_id));
    *record = plan.schedule;
    let text = |at: DateTime<Utc>| at.format("%H:%M:%S%.3f").to_string();
    let due = plan.fire.iter().map(|attempt| {
        let waited = plan.due.iter().find(|(id, _)| *id == attempt.execution_id);
        text(waited.map_or_else(|| record.due_at(attempt), |(_, due)| *due))
    });
    due.collect()
}

fn end_first(record: &mut Schedule, outcome: Outcome, now: &str) {
    let attempt = record.attempts.iter().find(|attempt| is_under_way(attempt)).unwrap().clone();
    let ended = end(record, &attempt, outcome, at(now));
    settle(record, &ended, false);
}

#[test]
fn an_occurrence_is_due_at_its_nominal_time_and_jitter() {
    let (mut record, trigger) = with(r#""jitter_seconds":20"#);
    let expected = at("00:00:00") + record.jitter(at("00:00:00"));
    assert_ne!(expected, at("00:00:00"));
    let late = due(&mut record, &trigger, &mut knows(), "00:00:40");
    assert_eq!(late, [expected.format("%H:%M:%S%.3f").to_string()]);
}

#[test]
fn a_retry_is_due_when_it_was_promised() {
    let (mut record, trigger) = with(r#""retry":{"initial_seconds":7,"jitter":0}"#);
    let mut view = knows();
    due(&mut record, &trigger, &mut view, "00:00:00.100");
    end_first(&mut record, failure(), "00:00:02");
    assert_eq!(due(&mut record, &trigger, &mut view, "00:00:09.250"), ["00:00:09.000"]);
    let claimed = record.attempts.last().unwrap();
    assert_eq!(record.due_at(claimed), at("00:00:09.250"), "who takes it over knows no more");
}

#[test]
fn a_buffered_occurrence_is_due_when_there_is_room() {
    let (mut record, trigger) =
        with(r#""overlap":"buffer_one","jitter_seconds":5,"delivery":{"mode":"request"}"#);
    let mut view = knows();
    due(&mut record, &trigger, &mut view, "00:00:06");
    assert!(due(&mut record, &trigger, &mut view, "00:01:06").is_empty());
    let waiting = record.attempts.last().unwrap().clone();
    assert_eq!(record.due_at(&waiting), at("00:01:00") + record.jitter(at("00:01:00")));
    end_first(&mut record, Outcome::success(), "00:01:45");
    assert_eq!(due(&mut record, &trigger, &mut view, "00:01:45.500"), ["00:01:45.000"]);
}

#[test]
fn the_report_of_a_job_makes_room_before_it_is_settled() {
    let (mut record, trigger) = with(
        r#""overlap":"buffer_one","max_retries":0,
           "delivery":{"mode":"job","timeout_seconds":90,"heartbeat_seconds":null}"#,
    );
    let mut view = knows();
    due(&mut record, &trigger, &mut view, "00:00:00");
    let claimed = record.attempts[0].clone();
    let claim = crate::execution::Claim { instance: ME, revision: 1 };
    let started = crate::execution::Execution::started(&record, &claimed, claim, at("00:00:00"));
    settle(&mut record, &started, false);
    assert!(due(&mut record, &trigger, &mut view, "00:01:00").is_empty());
    assert_eq!(due(&mut record, &trigger, &mut view, "00:01:30.700"), ["00:01:30.700"], "lost");
}

#[test]
fn what_a_pause_held_back_is_due_when_it_ends() {
    let (mut record, trigger) = with(r#""retry":{"initial_seconds":7,"jitter":0}"#);
    let mut view = knows();
    due(&mut record, &trigger, &mut view, "00:00:00");
    end_first(&mut record, failure(), "00:00:02");
    record.let_go(at("00:00:05"));
    assert_eq!(record.due_at(&record.attempts[0]), at("00:00:09"), "its time has not come");
    record.let_go(at("00:00:30"));
    assert_eq!(due(&mut record, &trigger, &mut view, "00:00:30.100"), ["00:00:30.000"]);
}

#[test]
fn runs_beside_the_schedule_s_times_are_due_when_they_were_asked_for() {
    let (mut record, trigger) = minutely();
    let manual = |origin| Manual {
        payload: None,
        correlation_id: "c".to_owned(),
        by: "me".to_owned(),
        trace: None,
        origin,
        retry_of: None,
        unknown: Unknown::default(),
    };
    record.next_run_at = None;
    let by_hand = Attempt::manual(Uuid::from_u128(7), at("00:00:10"), manual(Origin::User));
    let mut dependent =
        Attempt::manual(Uuid::from_u128(8), at("00:00:11"), manual(Origin::Upstream));
    dependent.scheduled_for = at("00:00:01");
    *record.attempts = vec![by_hand, dependent];
    record.backfill = Some(Box::new(crate::schedule::Backfill {
        id: Uuid::from_u128(9),
        next: at("00:00:00"),
        until: at("00:00:00"),
        by: "me".to_owned(),
        correlation_id: "c".to_owned(),
        trace: None,
        unknown: Unknown::default(),
    }));
    let found = due(&mut record, &trigger, &mut knows(), "00:00:12");
    assert_eq!(found, ["00:00:10.000", "00:00:11.000", "00:00:12.000"]);
}
