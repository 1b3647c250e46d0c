//! Claims and commands go before bookkeeping.
//!
//! When many schedules are due at once, what makes them late is work that could wait: writing
//! outcomes to the history. So while more than a few claims and commands are under way, outcomes wait. In number and age
//! that has bounds of its own: an outcome that is not recorded is an outcome that a crash makes us look for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Longest time that an outcome waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// Claims and commands that may be under way beside bookkeeping: with so few it is in nobody's way.
const FEW: usize = 64;
/// Outcomes that may wait at once. The commands of others wait for a place, too.
const MOST_WAITING: usize = 20_000;
/// Outcomes that are written at once.
const MOST_WRITTEN: usize = 1_024;

/// How much urgent work is under way.
pub(crate) struct Urgency {
    under_way: AtomicUsize,
    quiet: Notify,
    waiting: Semaphore,
    written: Semaphore,
}

/// A piece of urgent work; over when dropped.
pub(crate) struct Urgent(Arc<Urgency>);

/// A place among the outcomes that wait to be written, or are written.
pub(crate) type Turn<'a> = Option<SemaphorePermit<'a>>;

impl Default for Urgency {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            quiet: Notify::new(),
            waiting: Semaphore::new(MOST_WAITING),
            written: Semaphore::new(MOST_WRITTEN),
        }
    }
}

impl Urgency {
    /// Begins a piece of urgent work.
    pub(crate) fn begin(self: &Arc<Self>) -> Urgent {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Urgent(Arc::clone(self))
    }

    /// A place for an outcome that waits.
    pub(crate) async fn place(&self) -> Turn<'_> {
        // It is never closed.
        self.waiting.acquire().await.ok()
    }

    /// Waits until few claims and commands are under way, for a while at most.
    pub(crate) async fn quiet(&self) {
        // Registered before the look, so that the end of the last piece is not missed.
        let quiet = self.quiet.notified();
        if self.under_way.load(Ordering::SeqCst) > FEW {
            let _ = tokio::time::timeout(PATIENCE, quiet).await;
        }
    }

    /// A place for an outcome that is written.
    pub(crate) async fn writing(&self) -> Turn<'_> {
        self.written.acquire().await.ok()
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == FEW + 1 {
            self.0.quiet.notify_waiters();
        }
    }
}
