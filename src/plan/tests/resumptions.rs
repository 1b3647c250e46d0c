//! Tests of pauses that end by themselves.

use super::*;
use crate::schedule::{
    ChangeKind, Resumption, ScheduleEvent, UpdateSchedule, apply_update, parse_fields,
};
use crate::stored::format::FORMAT;

/// A record that is paused until a time.
fn paused_until(mut record: Schedule, at: DateTime<Utc>) -> Schedule {
    let now = super::at("00:00:00");
    let resumption = Resumption::new(at, now, Duration::days(365), "pause-1").unwrap();
    record.pause(Some("why"), Some(resumption)).unwrap();
    record
}

#[test]
fn a_pause_ends_at_its_time_and_what_was_due_before_is_skipped() {
    let (mut record, trigger) = minutely();
    record.consecutive_failures = 3;
    let record = paused_until(record, at("00:05:00"));
    assert_eq!(wake_at(&record, &knows()), Some(at("00:05:00")));
    assert_eq!(plan(&record, &trigger, at("00:04:59.999"), &knows(), lease()), None);
    let plan = plan(&record, &trigger, at("00:05:00.020"), &knows(), lease()).unwrap();
    assert_eq!(ranges(&plan), [(SkipCause::Paused, at("00:00:00"), at("00:04:00"), 5)]);
    assert_eq!(plan.schedule.attempts, [plan.skip[0].0.clone()], "it is in the record until then");
    assert!(plan.fire.is_empty(), "what is due now waits for nothing but the next write");
    let resumed = &plan.schedule;
    assert_eq!(*resumed.status, Status::Active);
    assert_eq!(resumed.next_run_at, Some(at("00:05:00")), "what is due exactly then runs");
    assert_eq!((resumed.resume_at(), &resumed.pause_reason), (None, &None));
    assert_eq!(resumed.consecutive_failures, 0);
    assert_eq!(resumed.revision, record.revision + 1);
    assert_eq!(resumed.updated_by.as_deref().map(String::as_str), Some("scheduler"));
    assert_eq!(resumed.updated_at, at("00:05:00.020"));
    let [change] = &resumed.events[..] else { panic!("{:?}", resumed.events) };
    assert_eq!(change.kind, ChangeKind::Resumed);
    let event: serde_json::Value = serde_json::from_str(change.body.get()).unwrap();
    for (field, value) in [
        ("actor", "scheduler"),
        ("resumed_by", "scheduler"),
        ("correlation_id", "pause-1"),
        ("next_run_at", "2026-01-01T00:05:00Z"),
        ("resumed_at", "2026-01-01T00:05:00.020Z"),
    ] {
        assert_eq!(event[field], value, "{event}");
    }
    let next = acted(resumed, &trigger, at("00:05:00.030"));
    assert_eq!(next.last_scheduled_for, Some(at("00:05:00")));
}

#[test]
fn who_is_late_to_resume_skips_no_more_than_who_is_on_time() {
    let all = r#"{"schedule_type":"cron","cron_expression":"* * * * *","catch_up":"all"}"#;
    let (record, trigger) = schedule(all);
    let record = paused_until(record, at("00:03:30"));
    let late = plan(&record, &trigger, at("00:06:10"), &knows(), lease()).unwrap();
    let prompt = plan(&record, &trigger, at("00:03:30"), &knows(), lease()).unwrap();
    assert_eq!(late.schedule.events, prompt.schedule.events, "one event, whoever announces it");
    assert_eq!(ranges(&late), [(SkipCause::Paused, at("00:00:00"), at("00:03:00"), 4)]);
    let then = plan(&late.schedule, &trigger, at("00:06:10"), &knows(), lease()).unwrap();
    let times: Vec<_> = then.fire.iter().map(|attempt| attempt.scheduled_for).collect();
    assert_eq!(times, [at("00:04:00"), at("00:05:00"), at("00:06:00")], "these are late");
}

#[test]
fn a_pause_of_which_nothing_was_due_leaves_no_entry() {
    let (record, trigger) = minutely();
    let record = acted(&record, &trigger, at("00:00:00.010"));
    let record = paused_until(record, at("00:00:30"));
    let plan = plan(&record, &trigger, at("00:00:30"), &knows(), lease()).unwrap();
    assert!(plan.skip.is_empty() && plan.schedule.attempts.is_empty());
    assert_eq!(plan.schedule.next_run_at, Some(at("00:01:00")));
}

#[test]
fn only_the_pause_in_force_ends_by_itself() {
    let (record, trigger) = minutely();
    let paused = paused_until(record, at("00:05:00"));
    let sleeps = |record: &Schedule| {
        assert_eq!(record.resume_at(), None);
        assert_eq!(wake_at(record, &knows()), None);
        assert_eq!(plan(record, &trigger, at("01:00:00"), &knows(), lease()), None);
    };
    let mut again = paused.clone();
    again.pause(None, None).unwrap();
    sleeps(&again);
    let mut later = paused.clone();
    later = paused_until(later, at("02:00:00"));
    assert_eq!(wake_at(&later, &knows()), Some(at("02:00:00")));
    let mut resumed = paused.clone();
    resumed.resume(&trigger, at("00:01:30"), at("00:01:30"), ME).unwrap();
    assert_eq!((resumed.resume_at(), resumed.next_run_at), (None, Some(at("00:02:00"))));
    resumed.pause(None, None).unwrap();
    resumed.attempts.retain(|_| false);
    sleeps(&resumed);
}

#[test]
fn a_deleted_schedule_is_not_resumed_and_one_that_is_restored_is() {
    let (record, trigger) = minutely();
    let mut record = paused_until(record, at("00:05:00"));
    record.on(ScheduleEvent::Delete).unwrap();
    assert_eq!(plan(&record, &trigger, at("00:06:00"), &knows(), lease()), None);
    crate::schedule::restore(&mut record, &trigger, at("00:06:30")).unwrap();
    assert_eq!((*record.status, record.resume_at()), (Status::Paused, Some(at("00:05:00"))));
    let plan = plan(&record, &trigger, at("00:06:30"), &knows(), lease()).unwrap();
    assert_eq!(*plan.schedule.status, Status::Active);
    assert!(plan.skip.is_empty(), "of its time as a deleted schedule nothing is recorded");
    assert_eq!(plan.schedule.next_run_at, Some(at("00:07:00")));
}

#[test]
fn a_schedule_with_nothing_left_ends_when_its_pause_does() {
    let once = r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:02:00Z"}"#;
    let (record, trigger) = schedule(once);
    let missed = paused_until(record.clone(), at("00:05:00"));
    let plan = |record: &Schedule, now| plan(record, &trigger, now, &knows(), lease()).unwrap();
    let resumed = plan(&missed, at("00:05:00"));
    assert_eq!(ranges(&resumed), [(SkipCause::Paused, at("00:02:00"), at("00:02:00"), 1)]);
    assert_eq!(resumed.schedule.next_run_at, None);
    // Its only occurrence ran just before the pause was written.
    let fired = plan(&record, at("00:02:00"));
    let mut ran = paused_until(fired.schedule.clone(), at("00:05:00"));
    settle(
        &mut ran,
        &end(&fired.schedule, &fired.fire[0], Outcome::success(), at("00:02:01")),
        false,
    );
    assert_eq!(*ran.status, Status::Paused);
    assert_eq!(*plan(&ran, at("00:05:00")).schedule.status, Status::Completed);
}

/// The record after its next occurrence was claimed, paused meanwhile, and ended in some way.
fn ended_while_paused(json: &str, ending: ExecutionStatus) -> (Schedule, Trigger) {
    let (record, trigger) = schedule(json);
    let due = record.next_run_at.unwrap();
    let fired = plan(&record, &trigger, due, &knows(), lease()).unwrap();
    let mut paused = paused_until(fired.schedule.clone(), at("00:05:00"));
    let mut ended = end(&fired.schedule, &fired.fire[0], Outcome::success(), at("00:02:01"));
    ended.status = ending;
    assert!(settle(&mut paused, &ended, false));
    (paused, trigger)
}

#[test]
fn how_a_schedule_ends_does_not_depend_on_when_it_is_found_to_be_over() {
    let once = r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:02:00Z"}"#;
    let immediate = r#"{"schedule_type":"immediate"}"#;
    let bounded = r#"{"schedule_type":"cron","cron_expression":"* * * * *","max_runs":1}"#;
    for (json, ending, status) in [
        (once, ExecutionStatus::Success, Status::Completed),
        (once, ExecutionStatus::Failed, Status::Failed),
        (immediate, ExecutionStatus::Success, Status::Completed),
        (immediate, ExecutionStatus::Failed, Status::Failed),
        (immediate, ExecutionStatus::Cancelled, Status::Failed),
        (bounded, ExecutionStatus::Success, Status::Completed),
        (bounded, ExecutionStatus::Failed, Status::Completed),
    ] {
        let (paused, trigger) = ended_while_paused(json, ending);
        let told = format!("{json} {ending:?}");
        let resumed = plan(&paused, &trigger, at("00:05:00"), &knows(), lease()).unwrap();
        assert_eq!(*resumed.schedule.status, status, "resumed by itself: {told}");
        let mut by_hand = paused.clone();
        by_hand.resume(&trigger, at("00:04:00"), at("00:04:00"), ME).unwrap();
        assert_eq!(*by_hand.status, status, "resumed by hand: {told}");
        let mut restored = paused.clone();
        restored.on(ScheduleEvent::Delete).unwrap();
        crate::schedule::restore(&mut restored, &trigger, at("00:04:00")).unwrap();
        assert_eq!(*restored.status, status, "restored: {told}");
        // A run by hand says nothing of the schedule's own occurrence, whenever it ends.
        let mut run = paused.clone();
        let mut manual = Attempt::new(run.id, at("00:03:00"), 1, claimed());
        manual.manual = Some(Box::new(by_user()));
        run.attempts.push(manual.clone());
        run.resume(&trigger, at("00:04:00"), at("00:04:00"), ME).unwrap();
        let mut ended = end(&run, &manual, Outcome::success(), at("00:04:01"));
        if status == Status::Completed {
            ended.status = ExecutionStatus::Failed;
        }
        assert!(settle(&mut run, &ended, false));
        assert_eq!(*run.status, status, "with a run by hand: {told}");
    }
}

#[test]
fn a_time_that_was_given_later_ends_it_by_itself() {
    let once = r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:02:00Z"}"#;
    let (record, trigger) = schedule(once);
    // It was only run by hand, and its time passes while it is deleted.
    let mut run = record.clone();
    let mut manual = Attempt::new(run.id, at("00:01:00"), 1, claimed());
    manual.manual = Some(Box::new(by_user()));
    run.attempts.push(manual.clone());
    let ended = end(&run, &manual, Outcome::success(), at("00:01:01"));
    assert!(settle(&mut run, &ended, false));
    // It succeeded, and got another time, which passes while it is deleted.
    let fired = plan(&record, &trigger, at("00:02:00"), &knows(), lease()).unwrap();
    let mut moved = fired.schedule.clone();
    let ended = end(&moved, &fired.fire[0], Outcome::success(), at("00:02:01"));
    assert!(settle(&mut moved, &ended, false));
    assert_eq!(*moved.status, Status::Completed);
    let rules = Rules {
        allowed_targets: vec![crate::schedule::TargetPattern::parse("cmd.>").unwrap()],
        ..Rules::default()
    };
    let later = br#"{"scheduled_at":"2026-01-01T00:05:00Z"}"#;
    let later: UpdateSchedule = parse_fields(later).unwrap();
    apply_update(&later, &mut moved, &rules, at("00:03:00")).unwrap();
    assert_eq!(*moved.status, Status::Active);
    for mut record in [run, moved] {
        record.on(ScheduleEvent::Delete).unwrap();
        crate::schedule::restore(&mut record, &trigger, at("00:10:00")).unwrap();
        assert_eq!(*record.status, Status::Failed, "{record:?}");
    }
}

fn claimed() -> Phase {
    Phase::Claimed { by: ME, at: at("00:03:00"), until: at("00:08:00") }
}

fn by_user() -> Manual {
    Manual {
        payload: None,
        correlation_id: "run-1".to_owned(),
        by: "anna".to_owned(),
        trace: None,
        origin: Origin::User,
        retry_of: None,
        unknown: Unknown::default(),
    }
}

#[test]
fn one_that_follows_and_had_all_ends_when_it_is_resumed_or_restored() {
    let follows = r#"{"schedule_type":"dependent","max_runs":1,
                      "after":{"schedule_id":"01a20ccc-9a26-7184-b3f1-d278394ab0aa"}}"#;
    let (record, trigger) = schedule(follows);
    let mut had_all = record.clone();
    had_all.occurrence_count.add();
    for (record, status) in [(record, Status::Active), (had_all, Status::Completed)] {
        let paused = paused_until(record, at("00:05:00"));
        let resumed = plan(&paused, &trigger, at("00:05:00"), &knows(), lease()).unwrap();
        assert_eq!(*resumed.schedule.status, status);
        let mut restored = resumed.schedule;
        restored.status = Status::Active.into();
        restored.on(ScheduleEvent::Delete).unwrap();
        crate::schedule::restore(&mut restored, &trigger, at("00:06:00")).unwrap();
        assert_eq!(*restored.status, status);
    }
}

#[test]
fn another_time_counts_by_itself() {
    let once = r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:02:00Z"}"#;
    let (mut paused, _) = ended_while_paused(once, ExecutionStatus::Success);
    let again = r#"{"scheduled_at":"2026-01-01T00:10:00Z"}"#;
    let again = serde_json::from_str(again).unwrap();
    crate::schedule::apply_update(&again, &mut paused, &Rules::default(), at("00:03:00")).unwrap();
    let trigger = paused.spec.timing.trigger(paused.id, &crate::schedule::Calendars::default());
    paused.resume(&trigger.unwrap(), at("00:11:00"), at("00:11:00"), ME).unwrap();
    let [skipped] = &paused.attempts[..] else { panic!("{:?}", paused.attempts) };
    let Phase::Skipped { range, .. } = *skipped.phase else { panic!("{skipped:?}") };
    let ended = Execution::skipped(
        &paused,
        skipped,
        range,
        Claim { instance: ME, revision: 1 },
        at("00:11:01"),
    );
    assert!(settle(&mut paused, &ended, false));
    assert_eq!(*paused.status, Status::Failed);
}

#[test]
fn one_that_is_switched_off_stays_so() {
    let (mut record, trigger) = minutely();
    record.is_active = false;
    let record = paused_until(record, at("00:05:00"));
    let resumed = plan(&record, &trigger, at("00:05:00"), &knows(), lease()).unwrap();
    assert!(*resumed.schedule.status == Status::Active && !resumed.schedule.fires());
    assert_eq!(resumed.skip.len(), 1);
}

#[test]
fn a_retry_that_waited_is_made_and_is_not_late() {
    let (record, trigger) = minutely();
    let fired = plan(&record, &trigger, at("00:00:00"), &knows(), lease()).unwrap();
    let mut record = fired.schedule.clone();
    settle(&mut record, &end(&fired.schedule, &fired.fire[0], failure(), at("00:00:01")), false);
    let record = paused_until(record, at("00:00:40"));
    let resumed = plan(&record, &trigger, at("00:00:41"), &knows(), lease()).unwrap().schedule;
    let made = plan(&resumed, &trigger, at("00:00:41"), &knows(), lease()).unwrap();
    assert_eq!(made.fire[0].number, 2);
    assert_eq!(made.due, [(made.fire[0].execution_id, at("00:00:40"))]);
}

#[test]
fn only_records_that_use_it_need_a_version_that_knows_it() {
    let (record, trigger) = minutely();
    let mut paused = paused_until(record, at("00:05:00"));
    paused.sign(paused.writer);
    assert_eq!((paused.format, paused.needs), (FORMAT, 2));
    let mut resumed = plan(&paused, &trigger, at("00:05:00"), &knows(), lease()).unwrap().schedule;
    resumed.sign(resumed.writer);
    assert_eq!((resumed.format, resumed.needs), (FORMAT, 1));
}
