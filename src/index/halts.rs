//! Pauses of all schedules, as the watch last showed them, and which of them every decision under way goes by.
//!
//! Whoever decides what to claim holds the pauses that it goes by until its claim is written. So once nobody holds
//! older ones, nothing more is claimed against the latest, and the instance may say so.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use tokio::sync::watch;

use super::Index;
use crate::schedule::PausesOfAll;

/// Pauses of all schedules at one revision.
#[derive(Debug, Default)]
pub struct KnownPauses {
    /// Revision of the key in the bucket; 0 if there is none.
    pub revision: u64,
    /// The pauses.
    pub pauses: PausesOfAll,
}

#[derive(Default)]
pub(super) struct Halts {
    latest: RwLock<Arc<KnownPauses>>,
    /// Those before, which somebody may still hold.
    older: Mutex<Vec<Weak<KnownPauses>>>,
    changed: watch::Sender<()>,
}

impl Index {
    /// The pauses of all schedules. Hold them until what is decided by them is written.
    pub fn pauses(&self) -> Arc<KnownPauses> {
        Arc::clone(&self.halts.latest.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Revision of the pauses that everything goes by that is decided or being written.
    pub fn honoured_pauses(&self) -> u64 {
        let mut older = self.halts.older.lock().unwrap_or_else(PoisonError::into_inner);
        older.retain(|held| held.strong_count() > 0);
        let held = older.iter().filter_map(Weak::upgrade).map(|held| held.revision);
        // Read under the lock: who takes them meanwhile takes the latest.
        held.chain([self.pauses().revision]).min().unwrap_or_default()
    }

    /// Tells when the pauses of all schedules change.
    pub fn pauses_changed(&self) -> watch::Receiver<()> {
        self.halts.changed.subscribe()
    }

    /// Takes in pauses, unless newer ones are known.
    pub fn take_in_pauses(&self, revision: u64, pauses: PausesOfAll) {
        self.replace_pauses(KnownPauses { revision, pauses }, |known| known.revision < revision);
    }

    /// Forgets them, if they are not newer than a revision: they are not in the bucket any more.
    pub(super) fn forget_pauses(&self, revision: u64) {
        let is_known = |known: &KnownPauses| (1..=revision).contains(&known.revision);
        self.replace_pauses(KnownPauses::default(), is_known);
    }

    fn replace_pauses(&self, by: KnownPauses, is_older: impl Fn(&KnownPauses) -> bool) {
        let mut older = self.halts.older.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latest = self.halts.latest.write().unwrap_or_else(PoisonError::into_inner);
        if !is_older(&latest) {
            return;
        }
        older.retain(|held| held.strong_count() > 0);
        older.push(Arc::downgrade(&latest));
        *latest = Arc::new(by);
        drop((latest, older));
        self.halts.changed.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_honoured_once_nothing_is_decided_by_older_ones() {
        let (index, _changes) = Index::new();
        assert_eq!(index.honoured_pauses(), 0);
        let before = index.pauses();
        index.take_in_pauses(7, PausesOfAll::default());
        assert_eq!((index.pauses().revision, index.honoured_pauses()), (7, 0));
        let between = index.pauses();
        index.take_in_pauses(9, PausesOfAll::default());
        index.take_in_pauses(8, PausesOfAll::default());
        drop(before);
        assert_eq!((index.pauses().revision, index.honoured_pauses()), (9, 7));
        drop(between);
        assert_eq!(index.honoured_pauses(), 9);
        let changed = index.pauses_changed();
        index.clear();
        assert_eq!((index.pauses().revision, index.honoured_pauses()), (0, 0));
        assert!(changed.has_changed().unwrap());
    }
}
