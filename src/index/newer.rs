//! Records that are left to newer versions.

use uuid::Uuid;

use super::Index;
use super::record::Newer;
use super::state::State;
use crate::jetstream::names::{SCHEDULE_KEY_PREFIX, name_key};

/// A record that is left to newer versions, at one revision.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) revision: u64,
    pub(super) record: Newer,
}

impl Index {
    /// Leaves a record to newer versions: it is counted, keeps its name and is told of by no other
    /// answer; nobody here acts on it.
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
                state.coming.remove(&name_key(&record.created_by, &record.name));
                state.count_for(&record.created_by, 1);
            }
            state.dependents.change(None, follows(&record));
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

    /// How many records are left to newer versions, and the most that one needs.
    pub fn left_to_newer(&self) -> (usize, u16) {
        self.read(|state| {
            let needs = state.newer.values().map(|left| left.record.needs).max();
            (state.newer.len(), needs.unwrap_or(0))
        })
    }
}

impl State {
    /// Forgets a record that was left to newer versions.
    pub(super) fn forget_newer(&mut self, id: Uuid) {
        let Some(Left { record, .. }) = self.newer.remove(&id) else { return };
        if record.is_live {
            self.count_for(&record.created_by, -1);
        }
        self.dependents.change(follows(&record), None);
    }
}

fn follows(record: &Newer) -> Option<(Uuid, (Uuid, crate::schedule::On))> {
    let (upstream, on) = record.follows.filter(|_| record.is_live)?;
    Some((upstream, (record.id, on)))
}
