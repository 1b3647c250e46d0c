//! Tests of pauses of all schedules.

use super::*;
use crate::schedule::{Manual, Origin, PausesOfAll};

/// The same as [`Knows`], while all schedules are paused until a time, and claims may be made so early.
pub(super) struct Halted(Knows, Halt, Duration);

impl View for Halted {
    fn me(&self) -> Uuid {
        self.0.me()
    }
    fn is_running(&self, execution: Uuid) -> bool {
        self.0.is_running(execution)
    }
    fn is_gone(&self, instance: Uuid) -> bool {
        self.0.is_gone(instance)
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
    fn halt(&self) -> Halt {
        self.1
    }
    fn reach(&self, _: &Schedule) -> Duration {
        self.2
    }
}

pub(super) fn until(until: DateTime<Utc>) -> Halted {
    let lead = Duration::milliseconds(500);
    Halted(Knows { lead, ..knows() }, Halt { until }, lead)
}

fn open() -> Halted {
    let mut all = PausesOfAll::default();
    let by = crate::schedule::Author { actor: "a", correlation_id: "c" };
    all.pause(ME, at("00:00:00"), by, None, None);
    Halted(knows(), all.halt(), Duration::zero())
}

fn waiting(record: &mut Schedule, due_at: DateTime<Utc>, origin: Option<Origin>) {
    let mut attempt = Attempt::new(record.id, due_at, 2, Phase::Waiting { due_at });
    attempt.manual = origin.map(|origin| {
        Box::new(Manual {
            payload: None,
            correlation_id: "c".to_owned(),
            by: "me".to_owned(),
            trace: None,
            origin,
            retry_of: None,
            unknown: Unknown::default(),
        })
    });
    record.attempts.push(attempt);
}

#[test]
fn what_is_due_before_its_end_is_one_entry_and_what_is_due_then_is_claimed_ahead() {
    let (record, trigger) = minutely();
    let view = until(at("00:05:00"));
    assert_eq!(wake_at(&record, &view), Some(at("00:05:00")));
    assert_eq!(plan(&record, &trigger, at("00:04:59.999"), &view, lease()), None);
    let first = plan(&record, &trigger, at("00:05:00"), &view, lease()).unwrap();
    assert_eq!(ranges(&first), [(SkipCause::Paused, at("00:00:00"), at("00:04:00"), 5)]);
    let fired: Vec<_> = first.fire.iter().map(|attempt| attempt.scheduled_for).collect();
    assert_eq!(fired, [at("00:05:00")], "what is due exactly then runs");
    assert_eq!(first.schedule.revision, record.revision, "no user has changed it");
    // One whose time is not before the end is claimed ahead although all are paused still.
    let (mut record, trigger) = minutely();
    record.next_run_at = Some(at("00:05:00"));
    assert_eq!(wake_at(&record, &view), Some(at("00:04:59.500")));
    let ahead = plan(&record, &trigger, at("00:04:59.600"), &view, lease()).unwrap();
    assert_eq!((ahead.fire.len(), ahead.skip.len()), (1, 0));
}

#[test]
fn after_its_end_one_knows_until_when_there_is_nothing_but_an_entry_to_write() {
    let (record, trigger) = minutely();
    let view = until(at("00:05:10"));
    let only = |record: &Schedule, now| only_skips(record, &trigger, now, &view);
    let skips = OnlySkips { until: Some(at("00:05:59.500")) };
    assert_eq!(only(&record, at("00:05:09.999")), None, "all are paused still");
    for now in ["00:05:10", "00:05:59.499"] {
        assert_eq!(only(&record, at(now)), Some(skips), "{now}");
        let plan = plan(&record, &trigger, at(now), &view, lease()).unwrap();
        assert_eq!((plan.fire.len(), plan.skip.len()), (0, 1), "{now}");
        assert_eq!(only(&plan.schedule, at(now)), None, "it is written");
    }
    assert_eq!(only(&record, at("00:05:59.500")), None, "it is claimed ahead");
    // Work that writes entries claims nothing early, and what may be claimed by now takes its entry along.
    let not_early = Terms { early: false, ..Terms::from(lease()) };
    let entry = plan(&record, &trigger, at("00:05:59.600"), &view, not_early).unwrap();
    assert_eq!((entry.fire.len(), entry.skip.len()), (0, 1));
    let early = Halted { 2: Duration::seconds(3), ..until(at("00:05:10")) };
    assert_eq!(only_skips(&record, &trigger, at("00:05:57"), &early), None);
    // An occurrence that is due exactly then is none that is skipped.
    assert_eq!(only_skips(&record, &trigger, at("00:05:00"), &until(at("00:05:00"))), None);
    for (due_at, origin) in [("00:00:30", None), ("00:05:00", Some(Origin::User))] {
        let mut record = record.clone();
        waiting(&mut record, at(due_at), origin);
        assert_eq!(only(&record, at("00:05:10")), None, "{origin:?} is made");
    }
    let mut later = record.clone();
    waiting(&mut later, at("00:05:30"), Some(Origin::User));
    assert_eq!(only(&later, at("00:05:10")), Some(OnlySkips { until: Some(at("00:05:30")) }));
    let (last, trigger) =
        schedule(r#"{"schedule_type":"one_time","scheduled_at":"2026-01-01T00:01:00Z"}"#);
    let skips = only_skips(&last, &trigger, at("00:05:10"), &view);
    assert_eq!(skips, Some(OnlySkips { until: None }), "it has no other time");
}

#[test]
fn while_nobody_lifts_it_nothing_is_claimed_but_what_users_run_by_hand() {
    let (mut record, trigger) = minutely();
    waiting(&mut record, at("00:00:30"), None);
    waiting(&mut record, at("00:00:31"), Some(Origin::Backfill));
    let now = at("10:00:00");
    assert_eq!(plan(&record, &trigger, now, &open(), lease()), None);
    assert!(wake_at(&record, &open()).is_none_or(|at| at > now));
    waiting(&mut record, at("00:00:32"), Some(Origin::User));
    assert_eq!(wake_at(&record, &open()), Some(at("00:00:32")));
    let by_hand = plan(&record, &trigger, now, &open(), lease()).unwrap();
    assert_eq!(by_hand.fire.len(), 1);
    assert_eq!(by_hand.fire[0].manual.as_ref().map(|manual| manual.origin), Some(Origin::User));
    // Once it is over, what waited is due from then on, by hand or not.
    let view = until(at("09:00:00"));
    let after = plan(&record, &trigger, now, &view, lease()).unwrap();
    let due: Vec<_> = after.due.iter().map(|(_, due_at)| *due_at).collect();
    assert_eq!(due, [at("09:00:00"), at("09:00:00"), at("00:00:32")]);
}

#[test]
fn a_schedule_is_not_overdue_by_the_time_that_all_were_paused() {
    let (record, trigger) = schedule(
        r#"{"schedule_type":"cron","cron_expression":"0 0 2 1 *","expect_success_within_seconds":60}"#,
    );
    assert!(wake_at(&record, &knows()).unwrap() < at("00:02:00"));
    assert!(wake_at(&record, &until(at("05:00:00"))).unwrap() > at("05:01:00"));
    let plan_at = |now, view: &Halted| plan(&record, &trigger, now, view, lease());
    assert_eq!(plan_at(at("06:00:00"), &open()), None);
    let overdue = plan_at(at("06:00:00"), &until(at("05:00:00"))).unwrap();
    assert_eq!(overdue.schedule.overdue_since(), Some(at("05:01:00")));
}
