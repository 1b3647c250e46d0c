//! Reasons say what held then.

use super::*;
use crate::names::calendar_key;
use crate::schedule::{Calendar, PutCalendar};

/// A range that was skipped, and decided at a time.
fn skipped(first: &str, last: &str, count: u64, cause: &str, decided: &str) -> Acted {
    let event = json!({ "id": ID, "event_id": "e", "time": at(decided), "schedule_id": ID, "schedule_name": "n",
                        "created_by": "me", "scheduled_for": at(first), "status": "skipped", "attempt_number": 1,
                        "correlation_id": "c", "command_sent": "cmd.a", "lock_id": { "instance": ID, "revision": 1 },
                        "skipped": { "cause": cause, "last": at(last), "count": count } });
    let event = Some(serde_json::from_value(event).unwrap());
    Acted { event, ended_at: None, ..acted(first, ExecutionStatus::Skipped, 0) }
}

fn updated(time: &str, field: &str, old: Value, new: Value) -> ChangeEvent {
    let changes = json!({ "changes": [{ "field": field, "old": old, "new": new }] });
    change("updated", time, changes)
}

fn hourly(more: Value) -> Schedule {
    let mut fields = json!({ "schedule_type": "cron", "cron_expression": "0 * * * *" });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    schedule(fields)
}

fn reason(schedule: &Schedule, changes: &[ChangeEvent], skipped: Acted) -> String {
    let (at, now) = (skipped.scheduled_for, super::at("12:00:00"));
    let told = explain(&known(schedule, changes, vec![skipped], now), at, at);
    told[0].reason.clone()
}

#[test]
fn what_was_missed_names_the_grace_of_then() {
    let schedule = hourly(json!({ "misfire_grace_seconds": 3600 }));
    let created = change("created", "00:00:00", json!({}));
    let longer = |time| updated(time, "misfire_grace_seconds", json!(1), json!(3600));
    let missed = || skipped("01:00:00", "01:00:00", 1, "missed", "01:10:00");
    let said =
        |grace: &str| format!("skipped, because nothing acted on it within its grace of {grace} s");
    let unknown =
        "skipped, because nothing acted on it in time; what its grace was then is not known";
    for (changes, reasoned) in [
        (vec![created.clone(), longer("00:30:00")], said("3600")),
        (vec![created.clone(), longer("02:00:00")], said("1")),
        // It changed before anybody decided.
        (vec![created.clone(), longer("01:05:00")], unknown.to_owned()),
        // Of an older change nothing is known.
        (vec![ChangeEvent { revision: 7, ..longer("02:00:00") }], unknown.to_owned()),
        (vec![ChangeEvent { revision: 2, ..longer("02:00:00") }], said("1")),
    ] {
        assert_eq!(reason(&schedule, &changes, missed()), reasoned, "{changes:?}");
    }
    let none = updated("02:00:00", "catch_up", json!("none"), json!("latest"));
    assert_eq!(
        reason(&schedule, &[created, none], missed()),
        "skipped, because nothing acted on it in time, and catch_up was none"
    );
    // Without the audit, what holds now holds since the last change.
    let mut changed = schedule;
    assert_eq!(reason(&changed, &[], missed()), said("3600"));
    (changed.revision, changed.updated_at) = (5, at("00:50:00"));
    assert_eq!(reason(&changed, &[], missed()), said("3600"));
    changed.updated_at = at("01:30:00");
    assert_eq!(reason(&changed, &[], missed()), unknown);
}

#[test]
fn each_limit_is_told_apart() {
    let created = [change("created", "00:00:00", json!({}))];
    let limit = || skipped("01:00:00", "01:00:00", 1, "limit", "01:00:01");
    let all = hourly(json!({ "catch_up": "all" }));
    let follows = schedule(json!({ "schedule_type": "dependent", "after": { "schedule_id": ID } }));
    let said = |schedule: &Schedule| reason(schedule, &created, limit());
    assert_eq!(said(&all), "skipped, because more than 1000 were to be made up for");
    let latest = hourly(json!({}));
    let latest = said(&latest);
    assert!(latest.contains("as may be at once, 16, or"), "{latest}");
    let full = said(&follows);
    assert!(full.contains("its record had no room for another"), "{full}");
    let since =
        [created[0].clone(), updated("01:00:00.500", "catch_up", json!("latest"), json!("all"))];
    let unknown = reason(&all, &since, limit());
    assert!(unknown.starts_with("skipped, because of a limit; which, is not known: "), "{unknown}");
}

fn calendar(name: &str, version: u128, days: Value) -> Calendar {
    let put: PutCalendar = serde_json::from_value(json!({ "name": name, "days": days })).unwrap();
    let now = "2025-12-01T00:00:00Z".parse().unwrap();
    let mut calendar = Calendar { name: name.to_owned(), ..Calendar::default() };
    let author = Author { actor: "anna", correlation_id: "c" };
    calendar.put(put.content(now).unwrap(), Uuid::from_u128(version), Uuid::nil(), now, author);
    calendar
}

#[test]
fn only_the_calendars_of_then_that_have_a_time_leave_it_out() {
    let mut calendars = Calendars::default();
    for (revision, calendar) in (1..)
        .zip([calendar("A", 1, json!(["2026-01-01"])), calendar("B", 2, json!(["2000-01-01"]))])
    {
        calendars.take_in(&calendar_key(&calendar.name), revision, Some(Ok(calendar)));
    }
    let created = change("created", "00:00:00", json!({}));
    let mut schedule = hourly(json!({}));
    let mut told = |named: Value, before: Value, only: Value| {
        let timing = &mut Arc::make_mut(&mut schedule.spec).timing;
        timing.exclude = serde_json::from_value(named.clone()).unwrap();
        timing.only = serde_json::from_value(only).unwrap();
        let changes = match named == before {
            true => vec![created.clone()],
            false => vec![created.clone(), updated("03:30:00", "exclude", before, named)],
        };
        let now = at("04:30:00");
        let known = Known { calendars: &calendars, ..known(&schedule, &changes, Vec::new(), now) };
        let told = explain(&known, at("01:00:00"), at("03:00:00"));
        let told = told.into_iter().filter(|line| line.outcome == Became::Excluded);
        let told: Vec<_> = told.map(|line| (line.count, line.reason, line.calendars)).collect();
        let [(3, reason, Some(names))] = &told[..] else { panic!("{told:?}") };
        (reason.clone(), names.join(" "))
    };
    let a = ("left out by the calendar A".to_owned(), "A".to_owned());
    let none = json!([]);
    assert_eq!(told(json!(["A", "B"]), json!(["A", "B"]), none.clone()), a);
    assert_eq!(told(json!(["B"]), json!(["A"]), none.clone()), a);
    assert_eq!(told(none.clone(), json!(["A"]), none.clone()), a);
    let two = ("left out by the calendars A, B".to_owned(), "A B".to_owned());
    assert_eq!(told(json!(["A"]), json!(["A"]), json!(["B"])), two);
    let b = ("left out by the calendar B".to_owned(), "B".to_owned());
    assert_eq!(told(none.clone(), none, json!(["B"])), b);
}

#[test]
fn the_execution_in_the_way_may_have_begun_long_before_the_span() {
    let schedule = hourly(json!({}));
    let changes = [change("created", "00:00:00", json!({}))];
    let long =
        Acted { ended_at: Some(at("03:00:05")), ..acted("01:00:00", ExecutionStatus::Success, 0) };
    let execution = long.execution;
    let ledger = vec![long, skipped("03:00:00", "03:00:00", 1, "overlap", "03:00:00.005")];
    let known = known(&schedule, &changes, ledger, at("03:30:00"));
    let told = explain(&known, at("03:00:00"), at("03:10:00"));
    let [line] = &told[..] else { panic!("{told:?}") };
    assert_eq!(line.blocked_by, Some(execution));
    // One that was claimed, and began only after it had been skipped.
    let late = acted("02:00:00", ExecutionStatus::Success, 3_700_000);
    let execution = late.execution;
    let ledger = vec![late, skipped("03:00:00", "03:00:00", 1, "overlap", "03:00:00.005")];
    let known = Known { ledger, ..known };
    let told = explain(&known, at("03:00:00"), at("03:10:00"));
    assert_eq!(told[0].blocked_by, Some(execution));
}

#[test]
fn what_changed_the_times_is_the_change_of_the_times() {
    let schedule = hourly(json!({}));
    let changes = [
        change("created", "00:00:00", json!({})),
        updated("01:00:00.200", "priority", json!(1), json!(2)),
        updated("01:00:00.400", "cron_expression", json!("0 * * * *"), json!("30 * * * *")),
    ];
    let ledger = vec![skipped("01:00:00", "01:00:00", 1, "changed", "01:00:01")];
    let known = known(&schedule, &changes, ledger, at("01:10:00"));
    let told = explain(&known, at("01:00:00"), at("01:00:00"));
    assert_eq!(told[0].change.as_ref().unwrap().time, at("01:00:00.400"));
}

#[test]
fn what_waits_says_for_whom() {
    use crate::schedule::{Group, Phase, Slot};
    let request = json!({ "delivery": { "mode": "request" }, "overlap": "buffer_one" });
    let mut schedule = hourly(request);
    let (now, other) = (at("01:00:10"), Uuid::from_u128(77));
    let waiting = Phase::Waiting { due_at: at("01:00:00") };
    schedule.attempts.push(Attempt::new(ID, at("01:00:00"), 1, waiting));
    schedule.next_run_at = Some(at("02:00:00"));
    let changes = [change("created", "00:00:00", json!({}))];
    let told = |schedule: &Schedule, group: Option<&Group>| {
        let known = Known { group, ..known(schedule, &changes, Vec::new(), now) };
        let told = explain(&known, at("01:00:00"), at("01:00:00"));
        (told[0].reason.clone(), told[0].blocked_by)
    };
    assert_eq!(told(&schedule, None), ("is about to be made".to_owned(), None));
    let mut off = schedule.clone();
    off.is_active = false;
    assert_eq!(told(&off, None).0, "waits until the schedule is switched on");
    off.pause(None, None).unwrap();
    assert_eq!(told(&off, None).0, "waits until the pause has ended");

    let mut behind = schedule.clone();
    let claimed = Phase::Claimed { by: ID, at: at("00:00:00"), until: at("02:00:00") };
    let before = Attempt::new(ID, at("00:00:00"), 1, claimed);
    behind.attempts.push(before.clone());
    let reason = format!("waits until execution {} has ended", before.execution_id);
    assert_eq!(told(&behind, None), (reason.clone(), Some(before.execution_id)));
    // There is room beside that one: it waits for something else, such as the rate of its target.
    let mut beside = behind.clone();
    let spec = Arc::make_mut(&mut beside.spec);
    spec.overlap = crate::schedule::Overlap::Allow;
    spec.max_instances = 2;
    assert_eq!(told(&beside, None), ("is about to be made".to_owned(), None));

    let name = |schedule: &mut Schedule| {
        let group = serde_json::from_value(json!("g")).unwrap();
        Arc::make_mut(&mut schedule.spec).group = Some(group);
    };
    name(&mut schedule);
    name(&mut behind);
    let slot = |n: u128| Slot {
        execution_id: Uuid::from_u128(other.as_u128() + n),
        schedule_id: ID,
        revision: 1,
        by: ID,
        at: now,
        unknown: crate::stored::Unknown::default(),
    };
    let group = |limit: u16, slots: Vec<Slot>| Group { limit, slots, ..Group::default() };
    assert_eq!(told(&behind, Some(&group(1, vec![slot(0)]))).0, reason);
    assert_eq!(
        told(&schedule, Some(&group(1, vec![slot(0)]))).0,
        format!("waits for a slot of the group g: all are taken, by execution {other}")
    );
    let many = told(&schedule, Some(&group(5, (0..5).map(slot).collect()))).0;
    assert!(many.ends_with(" and 2 more"), "{many}");
    assert_eq!(
        told(&schedule, Some(&group(2, vec![slot(0)]))).0,
        "waits for its turn in the group g"
    );
    assert_eq!(
        told(&schedule, Some(&group(0, Vec::new()))).0,
        "waits, because the group g holds everything: its limit is 0"
    );
    assert_eq!(told(&schedule, None).0, "waits for a slot of the group g, which is not there");
}

#[test]
fn what_came_later_was_in_nobodys_way() {
    let schedule = hourly(json!({ "delivery": { "mode": "request" } }));
    let under_way = |first: &str, until: &str| Acted {
        ended_at: Some(at(until)),
        ..acted(first, ExecutionStatus::Success, 0)
    };
    let before = under_way("00:00:00", "01:30:00");
    let later = under_way("03:00:00", "03:30:00");
    // Another instance wrote the entry, long after the decision.
    let skip = skipped("01:00:00", "01:00:00", 1, "overlap", "03:10:00");
    let expected = before.execution;
    let known = known(&schedule, &[], vec![before, skip, later], at("04:00:00"));
    let told = explain(&known, at("01:00:00"), at("01:00:00"));
    assert_eq!(told[0].blocked_by, Some(expected), "{told:?}");
}
