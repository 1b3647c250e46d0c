//! Tests of what is said of schedules that fail, are overdue, and recover.

use serde_json::{Value, json};

use super::*;
use crate::schedule::{
    ChangeKind, Ending, ScheduleEvent, UpdateSchedule, apply_update, parse_fields, restore,
};

fn events(record: &Schedule) -> Vec<Value> {
    record.events.iter().map(|event| serde_json::from_str(event.body.get()).unwrap()).collect()
}

fn names(record: &Schedule) -> Vec<Value> {
    events(record).iter().map(|event| event["event"].clone()).collect()
}

fn minutely_with(more: Value) -> (Schedule, Trigger) {
    let mut fields =
        json!({ "schedule_type": "cron", "cron_expression": "* * * * *", "max_retries": 0 });
    fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    schedule(&fields.to_string())
}

/// The record after what is due at `now` was claimed and has ended.
fn acted(record: &Schedule, trigger: &Trigger, now: &str, outcome: Outcome) -> Schedule {
    let now = at(now);
    let plan = plan(record, trigger, now, &knows(), lease()).unwrap();
    let mut record = plan.schedule.clone();
    let [attempt] = &plan.fire[..] else { panic!("{:?}", plan.fire) };
    assert!(settle(&mut record, &end(&plan.schedule, attempt, outcome, now), false));
    record
}

fn by_hand(record: &Schedule, trigger: &Trigger, now: &str, outcome: Outcome) -> Schedule {
    let manual: Manual =
        serde_json::from_value(json!({ "correlation_id": "c", "by": "me" })).unwrap();
    let mut record = record.clone();
    record.attempts.push(Attempt::manual(Uuid::from_u128(77), at(now), manual));
    acted(&record, trigger, now, outcome)
}

#[test]
fn a_schedule_is_failing_from_its_nth_failure_until_a_success_and_both_are_said_once() {
    let (record, trigger) = minutely_with(json!({ "failing_after": 2 }));
    let once = acted(&record, &trigger, "00:00:00", failure());
    assert_eq!((names(&once), once.failing_since()), (vec![], None));
    let twice = acted(&once, &trigger, "00:01:00", failure());
    assert_eq!(names(&twice), ["failing"]);
    assert_eq!(twice.failing_since(), Some(at("00:01:00")));
    let event = &events(&twice)[0];
    for (field, value) in [
        ("actor", json!("scheduler")),
        ("consecutive_failures", json!(2)),
        ("error_type", json!("timeout")),
        ("error_message", json!("late")),
        ("failing_since", json!("2026-01-01T00:01:00Z")),
        ("time", json!("2026-01-01T00:01:00Z")),
        ("revision", json!(1)),
        ("last_success_at", json!(null)),
    ] {
        assert_eq!(event[field], value, "{field}: {event}");
    }
    let thrice = acted(&twice, &trigger, "00:02:00", failure());
    assert_eq!(names(&thrice), ["failing"], "once is enough");
    let well = acted(&thrice, &trigger, "00:03:00", Outcome::success());
    assert_eq!(names(&well), ["failing", "recovered"]);
    assert_eq!((well.failing_since(), well.last_outcome()), (None, Some(Ending::Success)));
    let event = &events(&well)[1];
    assert_eq!(event["recovered_from"], json!(["failing"]));
    assert_eq!(event["failing_since"], "2026-01-01T00:01:00Z");
    assert_eq!(event["last_success_at"], "2026-01-01T00:03:00Z");
    assert_eq!(well.revision, record.revision, "nobody has changed it");
    let again = acted(&well, &trigger, "00:04:00", Outcome::success());
    assert_eq!(names(&again).len(), 2);
    // Derived ids: deciding again gives the same.
    let same = acted(&thrice, &trigger, "00:03:00", Outcome::success());
    assert_eq!(well.events, same.events);
    let ids: HashSet<_> = well.events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn a_failure_counts_once_its_last_attempt_has_failed() {
    let (record, trigger) = minutely_with(json!({ "max_retries": 1, "retry_delay_seconds": 5 }));
    let tried = acted(&record, &trigger, "00:00:00", failure());
    assert_eq!((names(&tried), tried.last_outcome()), (vec![], None));
    let failed = acted(&tried, &trigger, "00:00:05", failure());
    assert_eq!(
        (names(&failed), failed.last_outcome()),
        (vec![json!("failing")], Some(Ending::Failed))
    );
}

#[test]
fn runs_by_hand_that_fail_say_nothing_and_those_that_succeed_show_that_all_is_well() {
    let (record, trigger) = minutely_with(json!({ "failing_after": 2, "pause_on_failure": 2 }));
    let record = acted(&record, &trigger, "00:00:00", failure());
    let record = by_hand(&record, &trigger, "00:00:10", failure());
    assert_eq!((record.consecutive_failures, names(&record)), (1, vec![]));
    assert_eq!((*record.status, record.last_outcome()), (Status::Active, Some(Ending::Failed)));
    let record = acted(&record, &trigger, "00:01:00", failure());
    assert_eq!(names(&record), ["failing", "paused"]);
    assert!(record.failing_since().is_some(), "it is failing although it is paused");
    let record = by_hand(&record, &trigger, "00:01:10", Outcome::success());
    assert_eq!((record.consecutive_failures, record.failing_since()), (0, None));
    assert_eq!(names(&record), ["failing", "paused", "recovered"]);
    let ids: HashSet<_> = record.events.iter().map(|event| event.event_id).collect();
    assert_eq!(ids.len(), 3, "an outcome may have several events");
}

#[test]
fn a_schedule_without_a_success_is_overdue_once() {
    let (record, trigger) = minutely_with(json!({ "expect_success_within_seconds": 150 }));
    let record = acted(&record, &trigger, "00:00:00", Outcome::success());
    assert_eq!(record.success_expected_by(), Some(at("00:02:30")));
    let record = acted(&record, &trigger, "00:01:00", failure());
    let record = acted(&record, &trigger, "00:02:00", failure());
    // It says so a little later, when all would know of a success.
    let wake = wake_at(&record, &knows()).unwrap();
    assert_eq!(wake, at("00:02:32"));
    assert_eq!(plan(&record, &trigger, wake.just_before(), &knows(), lease()), None);
    let late = plan(&record, &trigger, wake, &knows(), lease()).unwrap();
    assert!(late.fire.is_empty());
    let late = late.schedule;
    assert_eq!(names(&late), ["failing", "overdue"]);
    assert_eq!(late.overdue_since(), Some(at("00:02:30")));
    let event = &events(&late)[1];
    assert_eq!(event["expect_success_within_seconds"], 150);
    assert_eq!(event["overdue_since"], "2026-01-01T00:02:30Z");
    assert_eq!(event["last_success_at"], "2026-01-01T00:00:00Z");
    assert_eq!(event["last_outcome"], "failed");
    assert_eq!(plan(&late, &trigger, at("00:02:40"), &knows(), lease()), None, "it is said");
    assert_eq!(wake_at(&late, &knows()), Some(at("00:03:00")));
    let well = acted(&late, &trigger, "00:03:00", Outcome::success());
    assert_eq!(names(&well), ["failing", "overdue", "recovered"]);
    assert_eq!(events(&well)[2]["recovered_from"], json!(["failing", "overdue"]));
    assert_eq!((well.overdue_since(), well.success_expected_by()), (None, Some(at("00:05:30"))));
}

#[test]
fn what_is_due_and_overdue_at_once_is_one_write() {
    let (record, trigger) = minutely_with(json!({ "expect_success_within_seconds": 58 }));
    let record = acted(&record, &trigger, "00:00:00", Outcome::success());
    let plan = plan(&record, &trigger, at("00:01:00"), &knows(), lease()).unwrap();
    assert_eq!((plan.fire.len(), names(&plan.schedule)), (1, vec![json!("overdue")]));
}

/// The history has an outcome that the record does not have yet: it may be the success.
struct KnowsEnds(Knows);

impl View for KnowsEnds {
    fn me(&self) -> Uuid {
        self.0.me()
    }

    fn is_running(&self, execution: Uuid) -> bool {
        self.0.is_running(execution)
    }

    fn is_gone(&self, instance: Uuid) -> bool {
        self.0.is_gone(instance)
    }

    fn has_ended(&self, _: Uuid) -> bool {
        true
    }

    fn lead(&self) -> Duration {
        self.0.lead()
    }

    fn listening_since(&self) -> DateTime<Utc> {
        self.0.listening_since()
    }

    fn deleted_retention(&self) -> Duration {
        self.0.deleted_retention()
    }
}

#[test]
fn it_is_not_overdue_while_an_outcome_is_to_be_noted() {
    let (record, trigger) = minutely_with(
        json!({ "expect_success_within_seconds": 10, "end_at": "2026-01-01T00:00:30Z" }),
    );
    let plan = plan(&record, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let (mut knows, record) = (knows(), plan.schedule);
    knows.running.insert(record.attempts[0].execution_id);
    assert_eq!(wake_at(&record, &knows), Some(at("00:00:12")));
    assert!(super::plan(&record, &trigger, at("00:00:12"), &knows, lease()).is_some());
    let knows = KnowsEnds(knows);
    assert_eq!(wake_at(&record, &knows), None);
    assert_eq!(super::plan(&record, &trigger, at("00:00:12"), &knows, lease()), None);
}

#[test]
fn nothing_is_expected_of_what_does_not_fire_and_it_is_expected_anew_of_what_fires_again() {
    let now = at("00:10:00");
    let (new, trigger) = minutely_with(json!({ "expect_success_within_seconds": 60 }));
    let new = acted(&new, &trigger, "00:00:00", Outcome::success());
    let rules = Rules {
        allowed_targets: vec![crate::schedule::TargetPattern::parse("cmd.>").unwrap()],
        ..Rules::default()
    };
    let update = |record: &mut Schedule, fields: &str| {
        let update: UpdateSchedule = parse_fields(fields.as_bytes()).unwrap();
        apply_update(&update, record, &rules, now).unwrap();
    };
    let overdue = plan(&new, &trigger, at("00:05:00"), &knows(), lease()).unwrap().schedule;
    assert!(overdue.overdue_since().is_some());
    type Change<'a> = &'a dyn Fn(&mut Schedule);
    let pause = |record: &mut Schedule| record.pause(None, None).unwrap();
    let resume = |record: &mut Schedule| record.resume(&trigger, now, now, ME).unwrap();
    let switch =
        |on: bool| move |record: &mut Schedule| update(record, &format!(r#"{{"is_active":{on}}}"#));
    let forget = |record: &mut Schedule| update(record, r#"{"expect_success_within_seconds":0}"#);
    let expect = |record: &mut Schedule| update(record, r#"{"expect_success_within_seconds":60}"#);
    let delete = |record: &mut Schedule| record.on(ScheduleEvent::Delete).unwrap();
    let restore = |record: &mut Schedule| restore(record, &trigger, now).unwrap();
    let changes: [(Change<'_>, Change<'_>); 4] = [
        (&pause, &resume),
        (&switch(false), &switch(true)),
        (&forget, &expect),
        (&delete, &restore),
    ];
    for (n, (stop, go_on)) in changes.into_iter().enumerate() {
        let (mut before, mut stopped) = (overdue.clone(), new.clone());
        stop(&mut before);
        assert_eq!(before.overdue_since(), None, "{n}");
        stop(&mut stopped);
        assert_eq!(stopped.success_expected_by(), None, "{n}");
        let said = |record: &Schedule| names(record).contains(&json!("overdue"));
        let plan = |record: &Schedule, now| plan(record, &trigger, now, &knows(), lease());
        assert!(plan(&stopped, now).is_none_or(|plan| !said(&plan.schedule)), "{n}");
        go_on(&mut stopped);
        assert_eq!(stopped.success_expected_by(), Some(at("00:11:00")), "{n}");
        assert!(said(&plan(&stopped, at("00:11:02")).unwrap().schedule), "{n}");
    }
    // Nor of what has had its last occurrence.
    let mut over = overdue.clone();
    over.on(ScheduleEvent::Finish(crate::schedule::Finish::Completed)).unwrap();
    assert_eq!((over.overdue_since(), over.success_expected_by()), (None, None));
    // Other changes leave it as it is.
    let mut other = new.clone();
    update(&mut other, r#"{"priority":9,"expect_success_within_seconds":90}"#);
    assert_eq!(other.success_expected_by(), Some(at("00:01:30")));
}

#[test]
fn a_success_is_expected_from_when_the_schedule_begins() {
    for (more, by) in [
        (
            json!({ "schedule_type": "one_time", "scheduled_at": "2026-01-01T05:00:00Z" }),
            "05:00:30",
        ),
        (
            json!({ "schedule_type": "interval", "interval_seconds": 60, "start_at": "2026-01-01T06:00:00Z" }),
            "06:00:30",
        ),
        (
            json!({ "schedule_type": "interval", "interval_seconds": 60, "start_at": "2025-01-01T06:00:00Z" }),
            "00:00:30",
        ),
        (json!({ "schedule_type": "immediate" }), "00:00:30"),
    ] {
        let mut fields = json!({ "expect_success_within_seconds": 30 });
        fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let (record, _) = schedule(&fields.to_string());
        assert_eq!(record.success_expected_by(), Some(at(by)), "{more}");
    }
}

#[test]
fn what_cannot_be_announced_is_left_for_later_and_no_record_grows_without_end() {
    let (mut record, trigger) = minutely_with(json!({}));
    let mut minute = 0;
    let mut next = |record: &Schedule, outcome: Outcome| {
        let now = format!("00:{minute:02}:00");
        minute += 1;
        acted(record, &trigger, &now, outcome)
    };
    for _ in 0..20 {
        record = next(&record, failure());
        record = next(&record, Outcome::success());
    }
    let said = names(&record);
    assert_eq!(said.len(), 8);
    assert!(said.chunks(2).all(|pair| pair == ["failing", "recovered"]));
    record = next(&record, failure());
    record.events.clear();
    assert_eq!(record.failing_since(), None);
    record = next(&record, failure());
    assert_eq!(names(&record), ["failing"], "there is room again, and it still fails");
}

#[test]
fn nothing_is_said_of_single_commands() {
    let (mut record, trigger) = schedule(
        r#"{"schedule_type":"immediate","max_retries":0,"expect_success_within_seconds":1}"#,
    );
    record.purge = true;
    let record = acted(&record, &trigger, "00:00:00", failure());
    assert!(record.events.is_empty());
}

#[test]
fn times_that_lie_ahead_are_put_back() {
    let (record, trigger) = minutely_with(json!({ "expect_success_within_seconds": 60 }));
    let mut record = acted(&record, &trigger, "00:00:00", Outcome::success());
    record.standing.as_mut().unwrap().last_success_at = Some(at("23:00:00"));
    record.alerts_mut().expected_since = Some(at("22:00:00"));
    correct::correct(&mut record, &trigger, &correct::ActedAhead::default(), at("00:01:00"), ME);
    assert_eq!(record.success_expected_by(), Some(at("00:02:00")));
}

#[test]
fn kinds_have_names_of_their_own() {
    for (kind, name) in [
        (ChangeKind::Failing, "failing"),
        (ChangeKind::Overdue, "overdue"),
        (ChangeKind::Recovered, "recovered"),
    ] {
        assert_eq!(kind.event(), name);
        assert_eq!(serde_json::from_value::<ChangeKind>(json!(name)).unwrap(), kind);
    }
}

#[test]
fn only_records_that_ask_for_it_need_a_version_that_knows_it() {
    for (more, needs) in [
        (json!({}), 1),
        (json!({ "failing_after": 1, "expect_success_within_seconds": 0 }), 1),
        (json!({ "failing_after": 2 }), 3),
        (json!({ "expect_success_within_seconds": 1 }), 3),
    ] {
        let (record, trigger) = minutely_with(more.clone());
        assert_eq!(record.needs, needs, "{more}");
        let record = acted(&record, &trigger, "00:00:00", failure());
        let stored = serde_json::to_vec(&record).unwrap();
        assert_eq!(Schedule::read(&stored).unwrap(), record);
    }
}

#[test]
fn what_is_settled_late_counts_and_changes_nothing_else() {
    let (record, trigger) = minutely_with(json!({ "expect_success_within_seconds": 100 }));
    let claimed = |record: &Schedule, now| {
        let plan = plan(record, &trigger, now, &knows(), lease()).unwrap();
        let attempt = plan.fire[0].clone();
        (plan.schedule, attempt)
    };
    let (record, first) = claimed(&record, at("00:00:00"));
    let (mut record, second) = claimed(&record, at("00:01:00"));
    let success = end(&record, &first, Outcome::success(), at("00:00:01"));
    let failed = end(&record, &second, failure(), at("00:01:01"));
    // The failure comes first, and the schedule is overdue since 100 s after its creation.
    settle(&mut record, &failed, false);
    let mut record = plan(&record, &trigger, at("00:01:42"), &knows(), lease()).unwrap().schedule;
    assert_eq!(names(&record), ["failing", "overdue"]);
    settle(&mut record, &success, false);
    assert_eq!(names(&record), ["failing", "overdue", "recovered"]);
    assert_eq!(events(&record)[2]["recovered_from"], json!(["overdue"]));
    assert_eq!(record.failing_since(), Some(at("00:01:01")), "it ended before it failed");
    assert_eq!((record.consecutive_failures, record.last_outcome()), (1, Some(Ending::Failed)));
    assert_eq!(record.last_success_at(), Some(at("00:00:01")));
    assert_eq!(record.success_count.get(), 1);
    // A failure that ended before the last success.
    let (record, third) = claimed(&record, at("00:02:00"));
    let (record, fourth) = claimed(&record, at("00:03:00"));
    let mut record = record;
    let failed = end(&record, &third, failure(), at("00:02:10"));
    let success = end(&record, &fourth, Outcome::success(), at("00:03:01"));
    settle(&mut record, &success, false);
    settle(&mut record, &failed, false);
    assert_eq!((record.consecutive_failures, record.failure_count.get()), (0, 2));
    assert_eq!((record.failing_since(), record.last_outcome()), (None, Some(Ending::Success)));
    // A success that lies so far back that the schedule is overdue all the same.
    let (record, fifth) = claimed(&record, at("00:04:00"));
    let overdue = plan(&record, &trigger, at("00:04:44"), &knows(), lease()).unwrap();
    let mut record = overdue.schedule;
    assert_eq!(record.overdue_since(), Some(at("00:04:41")));
    let success = end(&record, &fifth, Outcome::success(), at("00:03:01"));
    settle(&mut record, &success, false);
    assert!(record.overdue_since().is_some());
}
