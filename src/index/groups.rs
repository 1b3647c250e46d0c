//! The concurrency groups, as the watch or an own write last showed them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::live::Live;
use super::{Index, Shown};
use crate::schedule::Group;
use crate::schedule::keyed::{Keyed as _, Known};
use crate::stored::damage::Damage;

/// What is known of the groups.
#[derive(Default)]
pub(super) struct Groups {
    live: Live<Group>,
    /// The latest revision of each that the watch has shown, by its key. Only what users change counts it up.
    shown: Mutex<HashMap<String, u64>>,
}

impl Groups {
    fn shown(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    /// The groups.
    pub fn groups(&self) -> Arc<Known<Group>> {
        self.groups.live.all()
    }

    /// Tells when any of them changes.
    pub fn groups_changed(&self) -> watch::Receiver<()> {
        self.groups.live.changed()
    }

    /// How many more executions of a group may be under way; none of one that is not there.
    pub fn group_room(&self, name: &str) -> usize {
        self.groups().get(name).map_or(0, |group| group.room())
    }

    /// Takes in a group as this instance wrote or read it, unless something newer is known.
    pub fn know_group(&self, group: Group, revision: u64) {
        let key = Group::key(&group.name);
        self.groups.live.change(|known| known.take_in(&key, revision, Some(Ok(group))));
    }

    /// Takes in what the watch showed of the key of a group, unless something newer is known. What users change counts among
    /// what holds for all schedules; what the engine does not.
    pub(super) fn take_in_group(
        &self,
        key: &str,
        revision: u64,
        held: Option<Result<Group, Damage>>,
    ) {
        let by_users =
            held.as_ref().and_then(|held| held.as_ref().ok()).map(|group| group.revision);
        if let Some(Err(damage)) = &held {
            damage.tell(key, revision, "group cannot be read; its schedules wait");
        }
        self.groups.live.change(|known| known.take_in(key, revision, held));
        if self.groups.shown().insert(key.to_owned(), by_users.unwrap_or_default()) != by_users {
            self.note_revision(revision);
        }
    }

    /// Forgets what is not newer than a revision and was not shown: it is not in the bucket any more.
    pub(super) fn forget_groups(&self, shown: &Shown, revision: u64) {
        self.groups.live.change(|known| known.retain(revision, |key| shown.has_named(key)));
        self.groups.shown().retain(|key, _| shown.has_named(key));
    }

    /// Forgets everything, because the bucket is a different one.
    pub(super) fn clear_groups(&self) {
        self.groups.live.clear();
        self.groups.shown().clear();
    }
}
