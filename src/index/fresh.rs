//! Freshness of the index: whether it has taken in all that was stored by a moment.
//!
//! A watch that was cut off shows nothing for a while and does not say so. Callers that need to know ask, and
//! the task that follows the bucket answers by comparing what was shown with what the stream holds.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use super::{Entry, Index};
use crate::schedule::Writer;

/// Longest time that a live watch takes to show what is stored.
const SHOWN: Duration = Duration::from_millis(200);

/// State of the index's freshness.
#[derive(Default)]
pub(super) struct Fresh {
    wanted: Notify,
    /// Moment by which everything stored has been taken in.
    at: watch::Sender<Option<Instant>>,
    /// A schedule for which the bucket has an older revision than is known here.
    doubted: Mutex<Option<(Uuid, u64)>>,
    /// Latest writes of this instance, the latest first.
    written: Mutex<VecDeque<Wrote>>,
}

/// A record that this instance has written.
#[derive(Clone, Copy, Debug)]
pub struct Wrote {
    /// The schedule.
    pub id: Uuid,
    /// Its revision in the bucket.
    pub revision: u64,
    /// The writer of the record.
    pub writer: Writer,
}

/// Maximum number of writes remembered.
const MOST_WRITTEN: usize = 64;

impl Index {
    /// Whether all that was stored by a moment has been taken in; if not, has that checked.
    pub fn is_fresh_since(&self, moment: Instant) -> bool {
        let is_fresh = self.fresh.at.borrow().is_some_and(|at| at >= moment);
        if !is_fresh {
            self.fresh.wanted.notify_one();
        }
        is_fresh
    }

    /// Waits, for at most `within`, until the watch has shown everything up to a revision; returns whether it
    /// has. If that takes long, the watch may be silent, and is checked.
    pub async fn sees(&self, revision: u64, within: Duration) -> bool {
        let is_seen =
            |within| async move { timeout(within, self.until_seen(revision)).await.is_ok() };
        if is_seen(within.min(SHOWN)).await {
            return true;
        }
        self.is_fresh_since(Instant::now());
        is_seen(within.saturating_sub(SHOWN)).await
    }

    /// Reports that the bucket has an older revision of a schedule than this known one, so it has lost
    /// something. Has that checked.
    pub fn doubt(&self, id: Uuid, revision: u64) {
        *self.doubt_of() = Some((id, revision));
        self.fresh.wanted.notify_one();
    }

    /// The latest such report.
    pub fn doubted(&self) -> Option<(Uuid, u64)> {
        *self.doubt_of()
    }

    /// Withdraws the report: it is wrong, or everything that was known has been forgotten.
    pub fn settle_doubt(&self) {
        *self.doubt_of() = None;
    }

    /// Takes in a record that this instance has written; the watch may not have shown it yet, and may never
    /// show it.
    pub fn wrote(&self, entry: Entry) {
        let Entry { revision, ref schedule, .. } = entry;
        let wrote = Wrote { id: schedule.id, revision, writer: schedule.writer };
        self.insert(entry);
        let mut written = self.fresh.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.truncate(MOST_WRITTEN - 1);
        written.push_front(wrote);
    }

    /// This instance's latest writes that the watch has not shown yet, the latest first.
    pub fn written_unseen(&self) -> Vec<Wrote> {
        let seen = self.seen();
        let written = self.fresh.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.iter().filter(|wrote| wrote.revision > seen).copied().collect()
    }

    /// Forgets the latest writes: the bucket is a different one, or all of it is known.
    pub(super) fn forget_written(&self) {
        self.fresh.written.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn doubt_of(&self) -> MutexGuard<'_, Option<(Uuid, u64)>> {
        self.fresh.doubted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a caller wants to know about freshness.
    pub async fn freshness_wanted(&self) {
        self.fresh.wanted.notified().await;
    }

    /// Notes that all that was stored by a moment has been taken in.
    pub fn note_fresh_at(&self, moment: Instant) {
        self.fresh.at.send_if_modified(|at| {
            let is_later = at.is_none_or(|at| moment > at);
            *at = (*at).max(Some(moment));
            is_later
        });
    }

    /// Watches the moment by which everything stored has been taken in.
    pub fn freshness(&self) -> watch::Receiver<Option<Instant>> {
        self.fresh.at.subscribe()
    }
}
