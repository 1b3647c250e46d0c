//! Schedules that a dry run would create.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

use super::super::reply::{ApplyOutcome, Difference, Reply, ScheduleView};
use crate::schedule::Schedule;

/// Schedules that a dry run would create, by creator and name: others of the same request may follow them.
#[derive(Default)]
pub(super) struct Coming {
    ids: HashMap<(String, String), Uuid>,
    /// How many each creator would get, also of those that are not noted yet.
    places: Mutex<HashMap<String, usize>>,
}

impl Coming {
    /// The id that a dry run has given to the schedule of a creator and a name.
    pub(super) fn find(&self, creator: String, name: String) -> Option<Uuid> {
        self.ids.get(&(creator, name)).copied()
    }

    /// Notes what a dry run would create.
    pub(super) fn note(&mut self, reply: &Reply<ScheduleView>) {
        let would_be = |d: &Difference| d.dry_run && d.outcome == ApplyOutcome::Created;
        if reply.difference.as_deref().is_some_and(would_be) {
            let ScheduleView { id, created_by, name, .. } = &reply.data;
            self.ids.insert((created_by.clone(), name.clone()), *id);
        }
    }

    /// Takes a place for one more schedule of a creator; false if there is none left of the `room`.
    pub(super) fn takes_place(&self, creator: &str, room: usize) -> bool {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = places.entry(creator.to_owned()).or_default();
        let is_free = *taken < room;
        *taken += usize::from(is_free);
        is_free
    }

    /// Whether one of them is the schedule that this one follows.
    pub(super) fn has(&self, schedule: &Schedule) -> bool {
        let upstream = schedule.spec.timing.follows();
        upstream.is_some_and(|after| self.ids.values().any(|id| *id == after.schedule_id))
    }
}
