//! The values of one kind, each with a key of its own, as the watch or an own write last showed them.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::watch;

use crate::schedule::keyed::{Keyed, Known};

/// The values of one kind, and who is told when one changes.
pub(super) struct Live<T: Keyed> {
    known: RwLock<Arc<Known<T>>>,
    changed: watch::Sender<()>,
}

impl<T: Keyed> Default for Live<T> {
    fn default() -> Self {
        Self { known: RwLock::default(), changed: watch::Sender::default() }
    }
}

impl<T: Keyed> Live<T> {
    /// All values of the kind.
    pub(super) fn all(&self) -> Arc<Known<T>> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells when any of them changes.
    pub(super) fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Changes what is known; `change` says whether that is news.
    pub(super) fn change(&self, change: impl FnOnce(&mut Known<T>) -> bool) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_news = change(Arc::make_mut(&mut known));
        drop(known);
        if is_news {
            self.changed.send_replace(());
        }
    }

    /// Forgets everything, because the bucket is a different one.
    pub(super) fn clear(&self) {
        self.change(|known| {
            *known = Known::default();
            true
        });
    }
}
