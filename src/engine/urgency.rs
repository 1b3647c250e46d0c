//! Claims and commands go before bookkeeping.
//!
//! When many schedules are due at once, what makes them late is work that could wait: writing
//! outcomes to the history. So a record waits while claims or commands are under way, but never for
//! long, since an outcome that is not recorded is an outcome that a crash makes us look for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// Longest time that bookkeeping waits.
const PATIENCE: Duration = Duration::from_millis(50);

/// How much urgent work is under way.
#[derive(Default)]
pub(crate) struct Urgency {
    under_way: AtomicUsize,
    quiet: Notify,
}

/// A piece of urgent work; over when dropped.
pub(crate) struct Urgent(Arc<Urgency>);

impl Urgency {
    /// Begins a piece of urgent work.
    pub(crate) fn begin(self: &Arc<Self>) -> Urgent {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Urgent(Arc::clone(self))
    }

    /// Waits until nothing urgent is under way, for a short while at most.
    pub(crate) async fn quiet(&self) {
        // Registered before the look, so that the end of the last piece is not missed.
        let quiet = self.quiet.notified();
        if self.under_way.load(Ordering::SeqCst) > 0 {
            let _ = tokio::time::timeout(PATIENCE, quiet).await;
        }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.quiet.notify_waiters();
        }
    }
}
