//! What the index holds, and how it is kept in step.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use super::dependents::Dependents;
use super::orders::Orders;
use super::record::Newer;
use super::rows::Rows;
use super::{ComingSchedule, Entry, SetAside, Vanished};
use crate::schedule::{Schedule, Status};

/// A record that is left to newer versions, at one revision.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) revision: u64,
    pub(super) record: Newer,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) entries: HashMap<Uuid, Arc<Entry>>,
    /// Records that are left to newer versions.
    pub(super) newer: HashMap<Uuid, Left>,
    /// Revisions at which keys were deleted, so that an older read cannot bring them back.
    pub(super) deleted: HashMap<Uuid, (u64, Instant)>,
    pub(super) set_aside: BTreeMap<String, SetAside>,
    /// Schedules that vanished from the bucket.
    pub(super) vanished: Option<Vanished>,
    pub(super) per_creator: HashMap<String, usize>,
    /// By key.
    pub(super) coming: HashMap<String, ComingSchedule>,
    /// How often the bucket has been replayed.
    pub(super) replay: u64,
    /// Who follows whom.
    pub(super) dependents: Dependents,
    /// Those that are not deleted, in every order.
    pub(super) live: Orders,
    /// Those that were deleted softly.
    pub(super) deleted_softly: Orders,
    /// Both, for filters.
    pub(super) rows: Rows,
}

impl State {
    /// Whether there is a schedule that counts against its creator's limit.
    pub fn has(&self, id: Uuid) -> bool {
        self.entries.get(&id).is_some_and(|entry| is_live(&entry.schedule))
            || self.newer.get(&id).is_some_and(|left| left.record.is_live)
    }

    /// The revision of the record that is known, if there is one.
    pub fn there(&self, id: Uuid) -> Option<u64> {
        let entry = self.entries.get(&id).map(|entry| entry.revision);
        entry.or_else(|| self.newer.get(&id).map(|left| left.revision))
    }

    /// The latest revision that is known of a record, be it that of its deletion.
    pub fn revision(&self, id: Uuid) -> Option<u64> {
        self.there(id).max(self.deleted.get(&id).map(|(revision, _)| *revision))
    }

    /// Forgets the record of a schedule.
    pub fn forget(&mut self, id: Uuid) {
        if let Some(old) = self.entries.remove(&id) {
            self.arrange(Some(&old.schedule), None);
            self.count(&old.schedule, -1);
        }
        self.forget_newer(id);
    }

    /// Forgets a record that was left to newer versions.
    pub fn forget_newer(&mut self, id: Uuid) {
        let Some(Left { record, .. }) = self.newer.remove(&id) else { return };
        if record.is_live {
            self.count_for(&record.created_by, -1);
        }
        self.dependents.change(record.following(), None);
    }

    /// Keeps all that follows from schedules in step with a schedule that comes, changes or goes.
    pub fn arrange(&mut self, old: Option<&Schedule>, new: Option<&Schedule>) {
        self.dependents.arrange(old, new);
        // Nobody but the engine sees the others.
        let (old, new) = (old.filter(|s| !s.purge), new.filter(|s| !s.purge));
        match (old, new) {
            (Some(old), Some(new)) => self.rows.change(old, new),
            (Some(old), None) => self.rows.remove(old.id),
            (None, Some(new)) => self.rows.insert(new),
            (None, None) => {}
        }
        let deleted = |schedule: &&Schedule| !is_live(schedule);
        for (orders, old, new) in [
            (&mut self.live, old.filter(|s| is_live(s)), new.filter(|s| is_live(s))),
            (&mut self.deleted_softly, old.filter(deleted), new.filter(deleted)),
        ] {
            match (old, new) {
                (Some(old), Some(new)) => orders.change(old, new),
                (Some(old), None) => orders.remove(old),
                (None, Some(new)) => orders.insert(new),
                (None, None) => {}
            }
        }
    }

    /// Counts a schedule for its creator.
    pub fn count(&mut self, schedule: &Schedule, by: isize) {
        if is_live(schedule) {
            self.count_for(&schedule.created_by, by);
        }
    }

    pub(super) fn count_for(&mut self, creator: &str, by: isize) {
        let count = self.per_creator.entry(creator.to_owned()).or_default();
        *count = count.saturating_add_signed(by);
        if *count == 0 {
            self.per_creator.remove(creator);
        }
    }
}

/// Whether a schedule counts against its creator's limit.
pub(super) fn is_live(schedule: &Schedule) -> bool {
    schedule.status != Status::Deleted && !schedule.purge
}
