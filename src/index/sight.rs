//! Sights: whether what was read is still there.
//!
//! A server that lost power may have lost the last of what it acknowledged, and then it assigns the same
//! revisions again. It accepts a write that expects such a revision, although the write was not decided from
//! what is there now. So a decision notes how often the bucket had lost something when it was read. A write
//! waits until the bucket has been looked at since the connection was made, and is not sent if the bucket has
//! lost something meanwhile.
//!
//! A gap remains: a write that the client holds back while it reconnects is sent before anything can look.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::Index;

/// Basis of a decision: how often the bucket had lost something when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight(u64);

/// A revision at which a key may be written, and the basis of that decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The revision that the key must still have; 0: it must not exist.
    pub revision: u64,
    /// The losses known when the bucket was read.
    pub sight: Sight,
}

impl Sight {
    /// Pairs the sight with a revision that has been read since.
    pub fn at(self, revision: u64) -> At {
        At { revision, sight: self }
    }
}

/// Known losses and looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Looked {
    /// How often the bucket has lost something.
    losses: u64,
    /// How often the connection had been made by the last look.
    connects: u64,
}

/// Result of the latest look. Waiters are woken in the order in which they came.
#[derive(Default)]
pub(super) struct Looks {
    last: Mutex<Looked>,
    changed: Notify,
}

impl Looks {
    fn last(&self) -> MutexGuard<'_, Looked> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn until(&self, connects: u64) -> Looked {
        loop {
            // Registered before the look, so that no change is missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let last = *self.last();
            if last.connects >= connects {
                return last;
            }
            changed.await;
        }
    }
}

impl Index {
    /// The basis of a decision that is made from what is read from now on.
    pub fn sight(&self) -> Sight {
        Sight(self.looks.last().losses)
    }

    /// Waits, for at most `within`, until the bucket has been looked at since the `connects`-th connection;
    /// returns the sight that holds then, if it has been looked at.
    pub async fn looked(&self, connects: u64, within: Duration) -> Option<Sight> {
        let looked = timeout(within, self.looks.until(connects)).await.ok()?;
        Some(Sight(looked.losses))
    }

    /// Notes that the bucket still has everything that it showed, by a look after the `connects`-th
    /// connection.
    pub fn note_whole(&self, connects: u64) {
        let mut last = self.looks.last();
        if connects > last.connects {
            last.connects = connects;
            self.looks.changed.notify_waiters();
        }
    }

    /// Notes a loss, which invalidates everything read before.
    pub(super) fn lost(&self) {
        self.looks.last().losses += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn what_was_read_before_a_loss_is_not_written_on() {
        let (index, _changes) = Index::new();
        let before = index.sight();
        assert_eq!(index.looked(1, SOON).await, None, "nobody has looked");
        index.note_whole(1);
        assert_eq!(index.looked(1, SOON).await, Some(before));
        assert_eq!(index.looked(2, SOON).await, None, "not since the connection was made again");
        // Found, and then all is read anew.
        index.clear();
        index.note_whole(2);
        let now = index.looked(2, SOON).await;
        assert_eq!(now, Some(index.sight()));
        assert_ne!(now, Some(before));
        index.note_whole(1);
        assert_eq!(index.looked(2, SOON).await, now, "a look that came late");
    }
}
