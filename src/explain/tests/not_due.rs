//! Times that were never due.

use super::*;
use crate::schedule::{Finish, ScheduleEvent};

fn told(schedule: &Schedule, changes: &[ChangeEvent], from: &str, to: &str) -> Vec<ExplainedTime> {
    let known = known(schedule, changes, Vec::new(), at("02:10:00"));
    explain(&known, at(from), at(to))
}

/// The outcome, the first time, the number and the sentence of each line.
fn reasons(told: &[ExplainedTime]) -> Vec<(Became, u64, &str)> {
    told.iter().map(|time| (time.outcome, time.count, time.reason.as_str())).collect()
}

#[test]
fn times_outside_of_start_and_end_are_said_to_be_so() {
    let fields = json!({ "schedule_type": "cron", "cron_expression": "*/10 * * * *",
                         "start_at": at("02:30:00"), "end_at": at("03:00:00") });
    let schedule = schedule(fields);
    let changes = [change("created", "00:00:00", json!({}))];
    let told = told(&schedule, &changes, "02:00:00", "03:30:00");
    assert_eq!(
        reasons(&told),
        [
            (Became::NotDue, 3, "not due: before start_at, 2026-01-01T02:30:00Z"),
            (Became::Coming, 4, "lies ahead"),
            (Became::NotDue, 3, "not due: after end_at, 2026-01-01T03:00:00Z"),
        ]
    );
}

#[test]
fn after_its_end_a_schedule_says_what_ended_it() {
    let changes = [change("created", "00:00:00", json!({}))];
    let mut ended = schedule(json!({ "schedule_type": "interval", "interval_seconds": 600,
                                     "start_at": at("00:00:00"), "end_at": at("01:00:00") }));
    let mut had_all = schedule(json!({ "schedule_type": "interval", "interval_seconds": 600,
                                       "start_at": at("00:00:00"), "max_runs": 7 }));
    had_all.occurrence_count = 7.into();
    for (one, reason) in [
        (&mut ended, "not due: after end_at, 2026-01-01T01:00:00Z"),
        (&mut had_all, "not due: the schedule has had all of its 7 occurrences"),
    ] {
        (one.next_run_at, one.last_scheduled_for) = (None, Some(at("01:00:00")));
        one.on(ScheduleEvent::Finish(Finish::Completed)).unwrap();
        let told = told(one, &changes, "00:30:00", "02:00:00");
        assert_eq!(reasons(&told).last(), Some(&(Became::NotDue, 6, reason)));
    }
}

#[test]
fn before_its_creation_and_after_its_deletion_it_was_not_there() {
    let fields = json!({ "schedule_type": "cron", "cron_expression": "*/10 * * * *" });
    let mut schedule = schedule(fields);
    schedule.on(ScheduleEvent::Delete).unwrap();
    schedule.deleted_at = Some(Box::new(at("01:45:00")));
    let deleted = change("deleted", "01:45:00", json!({}));
    let changes = [change("created", "01:25:00", json!({})), deleted];
    let all = told(&schedule, &changes, "01:00:00", "02:00:00");
    let absent = |told: &[ExplainedTime]| {
        let absent = told.iter().filter(|one| one.outcome == Became::NotDue);
        absent.map(|one| (one.count, one.reason.clone())).collect::<Vec<_>>()
    };
    assert_eq!(
        absent(&all),
        [
            (3, "not due: the schedule was created at 2026-01-01T01:25:00Z".to_owned()),
            (2, "not due: the schedule was deleted by anna at 2026-01-01T01:45:00Z".to_owned()),
        ]
    );
    assert_eq!(all.last().unwrap().change.as_ref().unwrap().event, "deleted");
    // Of one that ran only once there are no others.
    let once =
        super::schedule(json!({ "schedule_type": "one_time", "scheduled_at": at("02:00:00") }));
    let changes = [change("created", "02:05:00", json!({}))];
    assert_eq!(absent(&told(&once, &changes, "01:00:00", "02:00:00")), []);
}
