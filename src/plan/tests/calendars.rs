//! Tests of schedules whose calendars change.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::*;
use crate::names::calendar_key;
use crate::schedule::{
    Author, Backfill, Calendar, Calendars, Content, PutCalendar, ScheduleEvent, ScheduleType,
    UpdateSchedule, apply_update,
};

/// A calendar that covers spans of the day, put at a time.
pub(super) fn covering(spans: &[(&str, &str)], put_at: DateTime<Utc>) -> Calendars {
    let spans: Vec<_> =
        spans.iter().map(|(start, end)| json!({ "start": at(start), "end": at(end) })).collect();
    let put: PutCalendar = serde_json::from_value(json!({ "name": "a", "spans": spans })).unwrap();
    let content: Content = put.content(put_at).unwrap();
    let mut calendar = Calendar { name: "a".to_owned(), ..Calendar::default() };
    let author = Author { actor: "me", correlation_id: "c" };
    let version = Uuid::from_u128(u128::from(put_at.timestamp().cast_unsigned()));
    calendar.put(content, version, Uuid::nil(), put_at, author);
    let mut calendars = Calendars::default();
    calendars.take_in(&calendar_key("a"), 1, Some(Ok(calendar)));
    calendars
}

/// A schedule that fires each minute and leaves the calendar out, as it is after its first occurrence.
fn leaving_out(calendars: &Calendars) -> (Schedule, Trigger) {
    let (record, _) = minutely();
    let (mut record, rules) =
        (record, Rules { calendars: Arc::new(calendars.clone()), ..Rules::default() });
    let update: UpdateSchedule = serde_json::from_value(json!({ "exclude": ["a"] })).unwrap();
    apply_update(&update, &mut record, &rules, at("00:00:00")).unwrap();
    let trigger = trigger(&record, calendars);
    (record, trigger)
}

fn trigger(record: &Schedule, calendars: &Calendars) -> Trigger {
    record.spec.timing.trigger(record.id, calendars).unwrap()
}

#[test]
fn what_a_calendar_leaves_out_is_neither_due_nor_an_entry() {
    let calendars = covering(&[("00:01:00", "00:05:00")], at("00:00:00"));
    let (record, trigger) = leaving_out(&calendars);
    let first = plan(&record, &trigger, at("00:00:00.010"), &knows(), lease()).unwrap();
    assert_eq!(first.fire.len(), 1);
    assert_eq!(first.schedule.next_run_at, Some(at("00:05:00")));
    let late = plan(
        &acted(&record, &trigger, at("00:00:00.010")),
        &trigger,
        at("00:06:20"),
        &knows(),
        lease(),
    );
    let late = late.unwrap();
    assert_eq!(ranges(&late), [(SkipCause::Coalesced, at("00:05:00"), at("00:05:00"), 1)]);
    assert_eq!(late.fire[0].scheduled_for, at("00:06:00"));
}

#[test]
fn a_calendar_counts_from_when_it_was_changed_however_late_somebody_plans_by_it() {
    let before = covering(&[("00:01:00", "01:00:00")], at("00:00:00"));
    let (record, old) = leaving_out(&before);
    let record = acted(&record, &old, at("00:00:00.010"));
    assert_eq!(record.next_run_at, Some(at("01:00:00")));
    assert!(!record.is_outdated(&before));
    // It is put again at 00:03:30, and leaves all open.
    let after = covering(&[], at("00:03:30"));
    let new = trigger(&record, &after);
    assert!(record.is_outdated(&after));
    for now in ["00:03:30", "00:03:59", "00:05:10"] {
        let planned = plan(&record, &new, at(now), &knows(), lease()).unwrap();
        assert_eq!(planned.schedule.next_run_at, Some(at("00:04:00")), "{now}");
        assert!(planned.fire.is_empty() && planned.skip.is_empty());
        assert!(!planned.schedule.is_outdated(&after));
        assert_eq!(plan(&planned.schedule, &new, at("00:03:40"), &knows(), lease()), None);
    }
    // What it shuts is not due any more, although it was planned.
    let shut = covering(&[("00:00:30", "00:10:00")], at("00:00:40"));
    let (open, _) = leaving_out(&covering(&[], at("00:00:00")));
    let open = acted(&open, &trigger(&open, &covering(&[], at("00:00:00"))), at("00:00:00.010"));
    let new = trigger(&open, &shut);
    let planned = plan(&open, &new, at("00:01:30"), &knows(), lease()).unwrap();
    assert_eq!(planned.schedule.next_run_at, Some(at("00:10:00")));
    assert!(planned.skip.is_empty(), "it was never due");
}

#[test]
fn what_was_claimed_ahead_is_not_claimed_again() {
    let (record, old) = leaving_out(&covering(&[], at("00:00:00")));
    let record = acted(&record, &old, at("00:00:00.010"));
    let ahead = Knows { lead: Duration::seconds(1), ..knows() };
    let early = plan(&record, &old, at("00:00:59.800"), &ahead, lease()).unwrap();
    assert_eq!(early.fire[0].scheduled_for, at("00:01:00"));
    let after = covering(&[("00:02:00", "00:03:00")], at("00:00:59.900"));
    let new = trigger(&early.schedule, &after);
    let planned = plan(&early.schedule, &new, at("00:00:59.950"), &knows(), lease()).unwrap();
    assert_eq!(planned.schedule.next_run_at, Some(at("00:03:00")));
}

#[test]
fn what_is_shut_for_good_waits_for_a_change_and_is_not_over() {
    let shut = covering(&[("00:00:30", "23:59:59")], at("00:00:00"));
    let (record, _) = leaving_out(&shut);
    let only: UpdateSchedule =
        serde_json::from_value(json!({ "exclude": [], "only": ["a"] })).unwrap();
    let rules = Rules { calendars: Arc::new(covering(&[], at("00:00:00"))), ..Rules::default() };
    let mut record = record;
    apply_update(&only, &mut record, &rules, at("00:00:10")).unwrap();
    assert_eq!((record.next_run_at, record.status.as_str()), (None, "active"));
    assert_eq!(wake_at(&record, &knows()), None);
    // Nor is it when an execution by hand ends, or when it is resumed.
    record.pause(None, None).unwrap();
    let nothing = trigger(&record, &rules.calendars);
    record.resume(&nothing, at("00:00:20"), at("00:00:20"), ME).unwrap();
    assert_eq!(record.status.as_str(), "active");
    let opened = covering(&[("00:05:00", "00:07:00")], at("00:04:00"));
    let new = trigger(&record, &opened);
    let planned = plan(&record, &new, at("00:04:00"), &knows(), lease()).unwrap();
    assert_eq!(planned.schedule.next_run_at, Some(at("00:05:00")));
    // A calendar that is lost shuts it again; that is no reason to forget what it had.
    let lost = trigger(&planned.schedule, &Calendars::default());
    let held = plan(&planned.schedule, &lost, at("00:04:10"), &knows(), lease()).unwrap();
    assert_eq!(
        (held.schedule.next_run_at, &held.schedule.planned_with[..]),
        (None, &[Uuid::nil()][..])
    );
}

#[test]
fn paused_schedules_are_planned_again_and_deleted_ones_are_not() {
    let (record, _) = leaving_out(&covering(&[], at("00:00:00")));
    let after = covering(&[("00:00:00", "00:30:00")], at("00:02:00"));
    let new = trigger(&record, &after);
    let mut paused = record.clone();
    paused.pause(None, None).unwrap();
    paused.next_run_at = Some(at("00:03:00"));
    let planned = plan(&paused, &new, at("00:02:00"), &knows(), lease()).unwrap();
    assert_eq!(
        (planned.schedule.status.as_str(), planned.schedule.next_run_at),
        ("paused", Some(at("00:30:00")))
    );
    let mut deleted = record;
    deleted.on(ScheduleEvent::Delete).unwrap();
    assert!(!deleted.is_outdated(&after));
    assert_eq!(plan(&deleted, &new, at("00:02:00"), &knows(), lease()), None);
}

#[test]
fn what_was_due_before_the_change_stays_due() {
    let before = covering(&[], at("00:00:00"));
    let (record, old) = leaving_out(&before);
    let record = acted(&record, &old, at("00:00:00.010"));
    let after = covering(&[("00:00:30", "00:10:00")], at("00:01:00.500"));
    let new = trigger(&record, &after);
    let planned = plan(&record, &new, at("00:01:01"), &knows(), lease()).unwrap();
    assert_eq!(planned.schedule.next_run_at, Some(at("00:01:00")));
    let fired = plan(&planned.schedule, &new, at("00:01:01"), &knows(), lease()).unwrap();
    assert_eq!(fired.fire[0].scheduled_for, at("00:01:00"));
    assert_eq!(fired.schedule.next_run_at, Some(at("00:10:00")));
    // Nobody knows what a calendar that is gone had said.
    let gone = trigger(&record, &Calendars::default());
    let held = plan(&record, &gone, at("00:01:01"), &knows(), lease()).unwrap();
    assert_eq!(held.schedule.next_run_at, None);
}

#[test]
fn a_schedule_whose_last_times_are_left_out_ends_with_them() {
    let shut = covering(&[("00:01:00", "23:59:59")], at("00:00:00"));
    let (mut record, trigger) = leaving_out(&shut);
    Arc::make_mut(&mut record.spec).timing.end_at = Some(at("00:05:00"));
    record.next_run_at = None;
    // Until then a calendar may still open one of its times.
    assert_eq!(wake_at(&record, &knows()), Some(at("00:05:00.001")));
    assert_eq!(plan(&record, &trigger, at("00:05:00"), &knows(), lease()), None);
    let ended = plan(&record, &trigger, at("00:05:00.001"), &knows(), lease()).unwrap().schedule;
    assert_eq!(ended.status.as_str(), "completed");
    assert_eq!(wake_at(&ended, &knows()), None);
    // One that follows another goes on as long as that does: nobody looks at it in vain.
    let mut follower = record.clone();
    Arc::make_mut(&mut follower.spec).timing.schedule_type = ScheduleType::Dependent;
    assert_eq!(wake_at(&follower, &knows()), None);
    // One that is paused waits for its resumption.
    record.pause(None, None).unwrap();
    assert_eq!(wake_at(&record, &knows()), None);
}

#[test]
fn a_backfill_leaves_out_what_calendars_leave_out_by_then_and_waits_for_one_that_is_lost() {
    let before = covering(&[], at("00:00:00"));
    let (mut record, old) = leaving_out(&before);
    let now = at("00:10:00.500");
    let spec = Arc::make_mut(&mut record.spec);
    // One after the other.
    spec.delivery.mode = DeliveryMode::Request;
    record.next_run_at = Some(at("00:11:00"));
    record.backfill = Some(Box::new(Backfill {
        id: Uuid::from_u128(77),
        next: at("00:01:00"),
        until: at("00:05:00"),
        by: "me".to_owned(),
        trace: None,
        correlation_id: "c".to_owned(),
        unknown: Unknown::default(),
    }));
    let first = plan(&record, &old, now, &knows(), lease()).unwrap();
    let times = |plan: &Plan| plan.fire.iter().map(|it| it.scheduled_for).collect::<Vec<_>>();
    assert_eq!(times(&first), [at("00:01:00")]);
    let mut record = first.schedule;
    let ended = end(&record, &first.fire[0], Outcome::success(), now);
    settle(&mut record, &ended, false);
    // One that is lost has no times: those of the backfill are not over.
    let lost = trigger(&record, &Calendars::default());
    let held = plan(&record, &lost, now, &knows(), lease()).unwrap().schedule;
    assert!(held.backfill.is_some());
    assert_eq!(plan(&held, &lost, now, &knows(), lease()), None);
    assert_eq!(wake_at(&held, &knows()), None);
    // The next time lies in what is left out now, and the last two as well.
    let after = covering(&[("00:01:30", "00:02:30"), ("00:04:00", "00:30:00")], at("00:06:00"));
    let new = trigger(&held, &after);
    record = plan(&held, &new, now, &knows(), lease()).unwrap().schedule;
    let second = plan(&record, &new, now, &knows(), lease()).unwrap();
    assert_eq!(times(&second), [at("00:03:00")]);
    assert_eq!(second.schedule.backfill, None);
    // If all that is left is left out and nothing else can come, the schedule is over.
    let mut last = held;
    last.next_run_at = None;
    Arc::make_mut(&mut last.spec).timing.max_runs = Some(0);
    let shut = covering(&[("00:00:30", "00:30:00")], at("00:06:00"));
    let none = trigger(&last, &shut);
    last = plan(&last, &none, now, &knows(), lease()).unwrap().schedule;
    assert_eq!((last.backfill.is_some(), last.status.as_str()), (true, "active"));
    last = plan(&last, &none, now, &knows(), lease()).unwrap().schedule;
    assert_eq!((last.backfill, last.status.as_str()), (None, "completed"));
}
