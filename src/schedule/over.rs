//! When a schedule is over, and how it ends then.
//!
//! Whoever takes something away from a schedule asks here afterwards: whoever settles an execution, resumes, restores or
//! plans. A schedule that is paused meanwhile ends when it is resumed, one that is deleted when it is restored; so how its
//! only occurrence ended is noted in the record.

use chrono::{DateTime, Utc};

use super::{Finish, Schedule, ScheduleEvent, ScheduleType, Status};
use crate::moment::Moment as _;

impl Schedule {
    /// Whether the schedule has had as many occurrences as it may.
    pub fn has_had_all(&self) -> bool {
        self.spec.timing.max_runs.is_some_and(|most| self.occurrence_count.get() >= most)
    }

    /// Whether its calendars may leave a time open one day, although they leave none now.
    pub fn may_come_later(&self, now: DateTime<Utc>) -> bool {
        let timing = &self.spec.timing;
        timing.has_calendars() && !self.has_had_all() && timing.end_at.is_none_or(|end| end >= now)
    }

    /// When it is over because its `end_at` has passed, if it has nothing left to do but wait for its calendars to leave a
    /// time open until then.
    pub(crate) fn over_at(&self) -> Option<DateTime<Utc>> {
        let end = self.spec.timing.end_at?.later(chrono::Duration::milliseconds(1));
        let waits = self.status == Status::Active && self.spec.timing.has_calendars();
        (waits && self.finish(end).is_some()).then_some(end)
    }

    /// How it ends, if nothing is left to do for it at `now` and nothing more can come.
    pub(crate) fn finish(&self, now: DateTime<Utc>) -> Option<Finish> {
        let kind = self.spec.timing.schedule_type;
        let follows = kind == ScheduleType::Dependent && !self.has_had_all();
        let comes = self.next_run_at.is_some() || self.may_come_later(now) || follows;
        if comes || !self.attempts.is_empty() || self.backfill.is_some() {
            return None;
        }
        let succeeded = || {
            let only = self.standing.as_ref().and_then(|standing| standing.only_succeeded);
            // Former versions did not note it. A run by hand is a success too, and no occurrence.
            only.unwrap_or_else(|| {
                self.last_scheduled_for.is_some() && self.success_count.get() > 0
            })
        };
        Some(if kind.recurs() || succeeded() { Finish::Completed } else { Finish::Failed })
    }

    /// Ends it, if it is over at `now`. One that is paused or deleted stays so until that ends.
    pub(crate) fn end_if_over(&mut self, now: DateTime<Utc>) {
        if let Some(how) = self.finish(now) {
            // Refused for those, and for one that has ended.
            let _ = self.on(ScheduleEvent::Finish(how));
        }
    }

    /// Notes how an occurrence ended, if it can have no other; `false` while it has a time that is still to come.
    pub(crate) fn note_only(&mut self, succeeded: bool) {
        let noted = self.standing.as_ref().and_then(|standing| standing.only_succeeded);
        if !self.spec.timing.schedule_type.recurs() && noted != Some(succeeded) {
            self.standing.get_or_insert_default().only_succeeded = Some(succeeded);
        }
    }
}
