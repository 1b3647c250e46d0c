//! How late the engine is: what is due and not acted on, worked out from what was to be done.
//!
//! A schedule is noted when its time has come, and is let go of when a write was accepted that acts on it,
//! ours or another instance's, or when its record says that nothing is due any more. A claim that fails,
//! or is not answered, so leaves it noted. What a rate limit holds back is not late by that.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::Ordering;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::run::Engine;
use crate::index::Entry;
use crate::plan::View as _;

/// Schedules of which something is due, by since when.
#[derive(Default)]
pub(crate) struct Overdue {
    since: HashMap<Uuid, DateTime<Utc>>,
    order: BTreeSet<(DateTime<Utc>, Uuid)>,
}

impl Overdue {
    /// Notes since when something of a schedule is due, unless that is known.
    pub(crate) fn note(&mut self, id: Uuid, since: DateTime<Utc>) {
        let since = *self.since.entry(id).or_insert(since);
        self.order.insert((since, id));
    }

    /// Nothing of the schedule is due, or it was acted on.
    pub(crate) fn clear(&mut self, id: Uuid) {
        if let Some(since) = self.since.remove(&id) {
            self.order.remove(&(since, id));
        }
    }

    /// Since when what is due longest is.
    pub(crate) fn oldest(&self) -> Option<DateTime<Utc>> {
        self.order.first().map(|(since, _)| *since)
    }
}

impl Engine {
    /// Notes that a schedule is to be acted on, which is so since `wake`.
    pub(super) fn note_due(&mut self, entry: &Entry, wake: DateTime<Utc>, now: DateTime<Utc>) {
        // What waited for room, or is for at once, has been due since there is nothing to wait for. An
        // occurrence that is claimed ahead is not due yet.
        let waits = entry.schedule.spec.delivery.mode.takes_time();
        let at_once = waits || wake == DateTime::UNIX_EPOCH;
        let since = if at_once { now } else { wake + self.shared.lead() };
        self.overdue.note(entry.schedule.id, since);
    }

    /// Says how busy and how late the engine is. At each turn of the loop: what was said before is over.
    pub(super) fn say_load(&self) {
        let load = &self.shared.load;
        load.timers.store(self.queue.timers(), Ordering::Relaxed);
        load.waiting.store(self.queue.waiting(), Ordering::Relaxed);
        load.armed.store(self.armory.len(), Ordering::Relaxed);
        load.instances.store(self.shared.members.count(), Ordering::Relaxed);
        // The next timer too: if the loop does not turn, it is late by that.
        let next = self.queue.next().into_iter().chain(self.armory.next());
        load.set_next_due(next.chain(self.overdue.oldest()).min());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_what_has_been_due_longest_and_not_acted_on() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        let ids = [1, 2, 3].map(Uuid::from_u128);
        let mut overdue = Overdue::default();
        assert_eq!(overdue.oldest(), None);
        overdue.note(ids[0], at(30));
        overdue.note(ids[1], at(10));
        overdue.note(ids[2], at(20));
        overdue.note(ids[1], at(40));
        assert_eq!(overdue.oldest(), Some(at(10)), "a second try changes nothing");
        overdue.clear(ids[1]);
        overdue.clear(ids[1]);
        assert_eq!(overdue.oldest(), Some(at(20)));
        overdue.note(ids[1], at(40));
        overdue.clear(ids[2]);
        overdue.clear(ids[0]);
        assert_eq!(overdue.oldest(), Some(at(40)));
        overdue.clear(ids[1]);
        assert_eq!((overdue.oldest(), overdue.since.len()), (None, 0));
    }
}
