//! Times that were never due: outside `start_at` and `end_at`, while the schedule was not there, or behind the last
//! occurrence that it may have.

use chrono::{DateTime, TimeDelta, Utc};

use super::periods::{Standing, Then};
use super::reason::shown;
use super::teller::{Teller, times_of};
use super::{Became, causing};
use crate::moment::Moment as _;
use crate::schedule::{ScheduleType, Status, Timing};
use crate::trigger::Trigger;

impl Teller<'_> {
    /// Tells the times of a period that lie outside `start_at` and `end_at`.
    pub(super) fn tell_outside(&mut self, n: usize, from: DateTime<Utc>, to: DateTime<Utc>) {
        let Some((timing, endless)) = self.endless(n) else { return };
        let (starts, ends) = (timing.start_at, timing.end_at);
        if let Some(starts) = starts {
            let reason = format!("not due: before start_at, {}", shown(starts));
            self.push_not_due(&endless, from, to.min(starts.just_before()), reason);
        }
        if let Some(ends) = ends {
            let reason = format!("not due: after end_at, {}", shown(ends));
            self.push_not_due(&endless, from.max(ends.later(STEP)), to, reason);
        }
    }

    /// Tells the times of a period in which the schedule was not there.
    pub(super) fn tell_absent(&mut self, n: usize, from: DateTime<Utc>, to: DateTime<Utc>) {
        let schedule = self.known.schedule;
        let (period, next) = (&self.periods[n], self.periods.get(n + 1));
        let deleted = period.begun.filter(|change| change.event == "deleted");
        if deleted.is_none() && n == 0 {
            // By the times that it was created with.
            let Some(next) = next.filter(|next| next.standing != Standing::None) else { return };
            let Some(trigger) = next.trigger.clone().filter(|_| self.recurs(n + 1)) else { return };
            let reason = format!("not due: the schedule was created at {}", shown(next.from));
            return self.push_not_due(&trigger, from, to, reason);
        }
        let Some(trigger) = period.trigger.clone().filter(|_| self.recurs(n)) else { return };
        let (change, at) = match (deleted, schedule.deleted_at.as_deref()) {
            (Some(change), _) => (Some(causing(change)), change.time),
            (None, Some(at)) if next.is_none() && schedule.status == Status::Deleted => (None, *at),
            _ => return,
        };
        let by = change.as_ref().map(|change| change.actor.clone());
        let by = by.or_else(|| schedule.deleted_by.as_ref().map(|by| by.to_string()));
        let by = by.map(|by| format!(" by {by}")).unwrap_or_default();
        let reason = format!("not due: the schedule was deleted{by} at {}", shown(at));
        let before = self.told.len();
        self.push_not_due(&trigger, from.max(at), to, reason);
        self.told[before..].iter_mut().for_each(|told| told.change.clone_from(&change));
    }

    /// Tells the times behind the last that the schedule has had.
    pub(super) fn tell_after_last(&mut self, from: DateTime<Utc>, to: DateTime<Utc>) {
        let Some(n) = self.periods.len().checked_sub(1) else { return };
        let from = from.max(self.periods[n].from);
        self.tell_outside(n, from, to);
        let schedule = self.known.schedule;
        if let Some(trigger) = self.periods[n].trigger.clone()
            && schedule.has_had_all()
        {
            let all = schedule.occurrence_count.get();
            let reason = format!("not due: the schedule has had all of its {all} occurrences");
            self.push_not_due(&trigger, from, to, reason);
        }
    }

    /// Tells the times ahead that `max_runs` leaves no occurrences for.
    pub(super) fn tell_too_many(&mut self, n: usize, from: DateTime<Utc>, to: DateTime<Utc>) {
        let Some(trigger) = self.periods[n].trigger.clone().filter(|_| from <= to) else { return };
        let last = self.last_allowed(&trigger, from, to);
        if let Some(most) = self.known.schedule.spec.timing.max_runs
            && last != Some(to)
        {
            let from = last.map_or(from, |last| last.later(STEP));
            let reason = format!("not due: by then the schedule has had its {most} occurrences");
            self.push_not_due(&trigger, from, to, reason);
        }
    }

    fn push_not_due(
        &mut self,
        trigger: &Trigger,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        reason: String,
    ) {
        if let Some(mut told) = times_of(trigger, from, to, Became::NotDue) {
            told.reason = reason;
            self.told.push(told);
        }
    }

    /// Whether the schedule had more times than one in a period.
    fn recurs(&self, n: usize) -> bool {
        self.periods[n].then.as_deref().is_some_and(Then::has_times)
    }

    /// The timing of a period, and its times without `start_at` and `end_at`, if those leave some out.
    fn endless(&self, n: usize) -> Option<(Timing, Trigger)> {
        let then = self.periods[n].then.as_deref().filter(|then| then.has_times())?;
        let mut timing = then.timing.clone();
        let mut endless = Timing { end_at: None, ..timing.clone() };
        if timing.schedule_type == ScheduleType::Cron {
            endless.start_at = None;
        } else {
            // An interval has no times before its first.
            timing.start_at = None;
        }
        (timing.start_at.is_some() || timing.end_at.is_some())
            .then(|| endless.plain_trigger(self.known.schedule.id).ok())
            .flatten()
            .map(|trigger| (timing, trigger))
    }
}

impl Then {
    fn has_times(&self) -> bool {
        matches!(self.timing.schedule_type, ScheduleType::Cron | ScheduleType::Interval)
    }
}

const STEP: TimeDelta = TimeDelta::milliseconds(1);
