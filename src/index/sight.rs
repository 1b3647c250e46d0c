//! Whether what was read is still there.
//!
//! A server that lost its power may have lost the last of what it acknowledged, and then it gives the same revisions
//! again. A write that expects such a revision is taken for one that was decided from what is there now. So whoever decides
//! notes how often the bucket had lost something when it was read. Whoever writes waits until the bucket has been looked at
//! since the connection was made, and writes nothing if it has lost something meanwhile.
//!
//! What is left: a write that the client holds back while it reconnects is sent before anybody can look.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::Index;

/// What a decision goes by: how often the bucket had lost something when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight(u64);

/// A revision at which a key may be written, and what that is decided from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// The revision that the key must still have; 0: it must not exist.
    pub revision: u64,
    /// What the bucket had lost when it was read.
    pub sight: Sight,
}

impl Sight {
    /// A revision that has been read since.
    pub fn at(self, revision: u64) -> At {
        At { revision, sight: self }
    }
}

/// What is known of losses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Looked {
    /// How often the bucket has lost something.
    losses: u64,
    /// How often the connection had been made at the last look.
    connects: u64,
}

/// How it was found when it was looked at. Those who wait are told in the order in which they came.
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
    /// What a decision goes by that is made from what is read from now on.
    pub fn sight(&self) -> Sight {
        Sight(self.looks.last().losses)
    }

    /// Waits until the bucket has been looked at since the connection was made so often, for a time; what holds then, if
    /// somebody has looked.
    pub async fn looked(&self, connects: u64, within: Duration) -> Option<Sight> {
        let looked = timeout(within, self.looks.until(connects)).await.ok()?;
        Some(Sight(looked.losses))
    }

    /// Says that the bucket has all that it showed, by a look after the connection was made so often.
    pub fn is_whole(&self, connects: u64) {
        let mut last = self.looks.last();
        if connects > last.connects {
            last.connects = connects;
            self.looks.changed.notify_waiters();
        }
    }

    /// Whatever was read before is worth nothing.
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
        index.is_whole(1);
        assert_eq!(index.looked(1, SOON).await, Some(before));
        assert_eq!(index.looked(2, SOON).await, None, "not since the connection was made again");
        // Found, and then all is read anew.
        index.clear();
        index.is_whole(2);
        let now = index.looked(2, SOON).await;
        assert_eq!(now, Some(index.sight()));
        assert_ne!(now, Some(before));
        index.is_whole(1);
        assert_eq!(index.looked(2, SOON).await, now, "a look that came late");
    }
}
