//! Records that are left to newer versions.

use uuid::Uuid;

use super::Index;
use super::record::Newer;
use super::state::Left;
use crate::names::{SCHEDULE_KEY_PREFIX, name_key};

impl Index {
    /// Leaves a record to newer versions: it is counted and keeps its name, but appears in no other reply,
    /// and this version does not act on it.
    pub(super) fn leave(&self, revision: u64, record: Newer) {
        let id = record.id;
        tracing::debug!(schedule_id = %id, revision, reason = record.reason, "record left to newer versions");
        let changed = self.write(|state| {
            if state.revision(id).is_some_and(|known| known >= revision) {
                return false;
            }
            state.forget(id);
            state.set_aside.remove(&format!("{SCHEDULE_KEY_PREFIX}{id}"));
            if record.is_live {
                state.reserved.remove(&name_key(&record.created_by, &record.name));
                state.count_for(&record.created_by, 1);
            }
            state.dependents.change(None, record.following());
            state.newer.insert(id, Left { revision, record });
            true
        });
        if changed {
            let _ = self.changes.send(id);
        }
    }

    /// Whether a schedule's record is left to newer versions.
    pub fn is_left(&self, id: Uuid) -> bool {
        self.read(|state| state.newer.contains_key(&id))
    }

    /// The format that a schedule's record needs, if it is left to newer versions.
    pub fn needs_newer(&self, id: Uuid) -> Option<u16> {
        self.read(|state| state.newer.get(&id).map(|left| left.record.needs))
    }

    /// Number of records left to newer versions, and the highest format that one of them needs.
    pub fn left_to_newer(&self) -> (usize, u16) {
        self.read(|state| {
            let needs = state.newer.values().map(|left| left.record.needs).max();
            (state.newer.len(), needs.unwrap_or(0))
        })
    }
}
