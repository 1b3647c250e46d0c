//! Schedules that a dry run would create.

use std::collections::HashMap;

use uuid::Uuid;

use super::super::reply::{Difference, Outcome, Reply, ScheduleView};
use crate::schedule::Schedule;

/// Schedules that a dry run would create, by creator and name: others of the same request may follow them.
#[derive(Default)]
pub(super) struct Coming(HashMap<(String, String), Uuid>);

impl Coming {
    /// The id that a dry run has given to the schedule of a creator and a name.
    pub(super) fn find(&self, creator: String, name: String) -> Option<Uuid> {
        self.0.get(&(creator, name)).copied()
    }

    /// Notes what a dry run would create.
    pub(super) fn note(&mut self, reply: &Reply<ScheduleView>) {
        let would_be = |d: &Difference| d.dry_run && d.outcome == Outcome::Created;
        if reply.difference.as_deref().is_some_and(would_be) {
            let ScheduleView { id, created_by, name, .. } = &reply.data;
            self.0.insert((created_by.clone(), name.clone()), *id);
        }
    }

    /// Whether one of them is the schedule that this one follows.
    pub(super) fn has(&self, schedule: &Schedule) -> bool {
        let upstream = schedule.spec.timing.follows();
        upstream.is_some_and(|after| self.0.values().any(|id| *id == after.schedule_id))
    }
}
