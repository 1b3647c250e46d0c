//! How busy and how late the engine is, derived from what it has to do.
//!
//! A schedule is overdue from when its time has come until a write that acts on it was accepted, ours or another
//! instance's, or its record says that nothing is due any more. A claim that fails, or gets no answer, leaves it
//! overdue. A command that a rate limit holds back is not late.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Core, Outlook};
use crate::index::Entry;

/// How much there is to do, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CoreLoad {
    /// Schedules with a timer.
    pub(crate) timers: usize,
    /// Schedules that are due and wait for a permit.
    pub(crate) waiting: usize,
    /// Claims made ahead of their time that wait for it.
    pub(crate) armed: usize,
    /// Whether some of those claims are due, and wait for a permit or for the next step.
    pub(crate) is_behind: bool,
    /// When the next timer is due, or since when the work that has waited longest is. The next timer counts because the
    /// engine is late by it if the loop does not turn.
    pub(crate) next_due: Option<DateTime<Utc>>,
}

impl<A> Core<A> {
    /// How busy and how late the engine is.
    pub(crate) fn load(&self, now: DateTime<Utc>) -> CoreLoad {
        let timer = self.table.next_due();
        let oldest = self.overdue.first().map(|(since, _)| *since);
        CoreLoad {
            timers: self.table.timers(),
            waiting: self.ready,
            armed: self.armory.len(),
            is_behind: self.armory.is_due(now),
            next_due: timer.into_iter().chain(self.armory.next()).chain(oldest).min(),
        }
    }

    /// Notes that a schedule has been due since `due`.
    pub(super) fn note_due(
        &mut self,
        entry: &Entry,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) {
        // What waited for room or for the end of a pause of all, or is due at once, counts only from now, when nothing
        // is left to wait for. An occurrence that is claimed ahead is not due yet.
        let waits = entry.schedule.spec.delivery.mode.takes_time();
        let has_waited = waits || due == outlook.halt().until;
        let is_for_at_once = has_waited || due == DateTime::UNIX_EPOCH;
        let since = if is_for_at_once { now } else { due + outlook.lead() };
        let id = entry.schedule.id;
        let since = *self.state(id).overdue_since.get_or_insert(since);
        self.overdue.insert((since, id.as_u128()));
    }

    /// Notes that nothing of a schedule is due, or that it was acted on.
    pub(super) fn clear_overdue(&mut self, id: Uuid) {
        if let Some(since) = self.table.get_mut(id).and_then(|state| state.overdue_since.take()) {
            self.overdue.remove(&(since, id.as_u128()));
        }
    }
}
