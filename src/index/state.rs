//! State of the index, and how its parts are kept in step.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use tokio::time::Instant;
use uuid::Uuid;

use super::counts::Tally;
use super::dependents::Dependents;
use super::listed::Listed;
use super::record::Newer;
use super::{Entry, ReservedName, SetAside, Vanished};
use crate::schedule::Schedule;

/// Schedules by id; the ids are in the schedules.
#[derive(Default)]
pub(super) struct Entries(HashSet<ById>);

struct ById(Arc<Entry>);

impl Borrow<Uuid> for ById {
    fn borrow(&self) -> &Uuid {
        &self.0.schedule.id
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.schedule.id == other.0.schedule.id
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, to: &mut H) {
        self.0.schedule.id.hash(to);
    }
}

impl Entries {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn get(&self, id: Uuid) -> Option<&Arc<Entry>> {
        self.0.get(&id).map(|found| &found.0)
    }

    /// Adds an entry, and returns the one that it replaces.
    pub fn insert(&mut self, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        self.0.replace(ById(entry)).map(|old| old.0)
    }

    pub fn remove(&mut self, id: Uuid) -> Option<Arc<Entry>> {
        self.0.take(&id).map(|old| old.0)
    }

    pub fn values(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.0.iter().map(|found| &found.0)
    }
}

/// A record left to newer versions, at one revision.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) revision: u64,
    pub(super) record: Newer,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) entries: Entries,
    /// Records left to newer versions.
    pub(super) newer: HashMap<Uuid, Left>,
    /// Revisions at which keys were deleted, so that an older read cannot bring them back.
    pub(super) deleted: HashMap<Uuid, (u64, Instant)>,
    pub(super) set_aside: BTreeMap<String, SetAside>,
    /// Schedules that vanished from the bucket.
    pub(super) vanished: Option<Vanished>,
    pub(super) per_creator: HashMap<String, usize>,
    /// Names reserved for schedules that do not exist yet, by key.
    pub(super) reserved: HashMap<String, ReservedName>,
    /// How often the bucket has been replayed.
    pub(super) replay: u64,
    /// Which schedules follow which.
    pub(super) dependents: Dependents,
    /// Schedules that lists show.
    pub(super) listed: Listed,
    /// How many there are.
    pub(super) tally: Tally,
}

impl State {
    /// Whether there is a schedule that counts against its creator's limit.
    pub fn has(&self, id: Uuid) -> bool {
        self.entries.get(id).is_some_and(|entry| entry.schedule.is_live())
            || self.newer.get(&id).is_some_and(|left| left.record.is_live)
    }

    /// The revision of the record that is known here, whether it is acted on or left to newer versions.
    pub fn there(&self, id: Uuid) -> Option<u64> {
        let entry = self.entries.get(id).map(|entry| entry.revision);
        entry.or_else(|| self.newer.get(&id).map(|left| left.revision))
    }

    /// The latest known revision of a record, which may be that of its deletion.
    pub fn revision(&self, id: Uuid) -> Option<u64> {
        self.there(id).max(self.deleted.get(&id).map(|(revision, _)| *revision))
    }

    /// Forgets the record of a schedule.
    pub fn forget(&mut self, id: Uuid) {
        if let Some(old) = self.entries.remove(id) {
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

    /// Keeps everything derived from schedules in step when one is added, changed or removed.
    pub fn arrange(&mut self, old: Option<&Schedule>, new: Option<&Entry>) {
        let schedule = new.map(|new| &*new.schedule);
        self.dependents.arrange(old, schedule);
        self.tally.arrange(old, schedule);
        // Only the engine sees the others.
        let (old, new) = (old.filter(|s| !s.purge), new.filter(|new| !new.schedule.purge));
        self.listed.arrange(old, new);
    }

    /// Counts a schedule for its creator.
    pub fn count(&mut self, schedule: &Schedule, by: isize) {
        if schedule.is_live() {
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
