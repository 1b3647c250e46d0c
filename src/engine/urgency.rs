//! Lets claims and commands go before bookkeeping.
//!
//! When many schedules are due at once, work that could wait makes them late: writing outcomes to the history. So
//! outcomes wait while more than a few claims and commands are under way. Their number and their waiting time are
//! bounded, because a crash makes us look for every outcome that is not recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// Longest time that an outcome waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most claims and commands alongside which bookkeeping goes on: so few are not delayed by it.
const FEW: usize = 64;
/// Most outcomes that wait at once; beyond it, commands wait for a place too.
const MOST_WAITING: usize = 20_000;
/// Most outcomes that are written at once.
const MOST_WRITTEN: usize = 1_024;

/// Counts the urgent work under way, and bounds the outcomes that wait for it.
pub(crate) struct Urgency {
    under_way: AtomicUsize,
    quiet: Notify,
    waiting: Semaphore,
    written: Semaphore,
}

/// A piece of urgent work; it ends when dropped.
pub(crate) struct Urgent(Arc<Urgency>);

/// A place among the outcomes that wait to be written, or are being written.
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

    /// Waits for a place among the outcomes that wait.
    pub(crate) async fn place(&self) -> Turn<'_> {
        // The semaphore is never closed.
        self.waiting.acquire().await.ok()
    }

    /// Waits until few claims and commands are under way, at most for a while.
    pub(crate) async fn quiet(&self) {
        // Registered before the check, so that the end of the last piece of work is not missed.
        let quiet = self.quiet.notified();
        if self.under_way.load(Ordering::SeqCst) > FEW {
            let _ = tokio::time::timeout(PATIENCE, quiet).await;
        }
    }

    /// Waits for a place among the outcomes that are being written.
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
