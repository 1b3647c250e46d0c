//! Reading a stored record: its instants become ones that can be shown and calculated with.

use std::sync::Arc;

use super::instant::{first, mend};
use super::{Phase, Schedule, ScheduleType, Timing};
use crate::trigger::{IntervalTrigger, Trigger};

impl Schedule {
    /// Reads a stored record and mends its instants.
    ///
    /// # Errors
    /// The part that cannot be read.
    pub fn read(stored: &[u8]) -> Result<Self, serde_json::Error> {
        let mut schedule: Self = serde_json::from_slice(stored)?;
        schedule.mend_instants();
        Ok(schedule)
    }

    /// Mends the instants of a record that was written by hand or by an earlier version.
    fn mend_instants(&mut self) {
        // The only owner so far, so this copies nothing.
        let timing: &mut Timing = &mut Arc::make_mut(&mut self.spec).timing;
        if let (ScheduleType::Interval, Some(start), Some(every_seconds)) =
            (timing.schedule_type, timing.start_at, timing.interval_seconds)
            && start < first()
        {
            // A later anchor that yields the same occurrences.
            let interval = Trigger::Interval(IntervalTrigger { start, every_seconds });
            timing.start_at = interval.next_after(first());
        }
        for at in [&mut timing.scheduled_at, &mut timing.start_at, &mut timing.end_at] {
            at.iter_mut().for_each(mend);
        }
        for at in [&mut self.next_run_at, &mut self.last_scheduled_for, &mut self.last_run_at] {
            at.iter_mut().for_each(mend);
        }
        self.deleted_at.iter_mut().for_each(|at| mend(at));
        self.resumption.iter_mut().for_each(|resumption| mend(&mut resumption.at));
        self.standing.iter_mut().for_each(|standing| standing.each_instant(mend));
        for at in [&mut self.created_at, &mut self.updated_at] {
            mend(at);
        }
        for attempt in &mut self.attempts {
            mend(&mut attempt.scheduled_for);
            match attempt.phase.within() {
                Phase::Waiting { due_at } => mend(due_at),
                Phase::Claimed { at, until, .. } => [at, until].into_iter().for_each(mend),
                Phase::Running { since, deadline, heard_at, .. } => {
                    [since, deadline].into_iter().chain(heard_at).for_each(mend);
                }
                Phase::Reported { since, report, .. } => {
                    [since, &mut report.at].into_iter().for_each(mend);
                }
                Phase::Skipped { range, .. } | Phase::Corrected { range, .. } => {
                    mend(&mut range.last);
                }
            }
        }
        if let Some(backfill) = &mut self.backfill {
            [&mut backfill.next, &mut backfill.until].into_iter().for_each(mend);
        }
        self.acted_ahead.iter_mut().for_each(mend);
        self.ended.iter_mut().for_each(|ended| mend(&mut ended.at));
    }
}
