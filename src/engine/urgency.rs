//! Lets claims and commands go before bookkeeping.
//!
//! When many schedules are due at once, work that could wait makes them late: writing outcomes to the history. So
//! outcomes wait while more than a few claims and commands are under way, or commands that are due have not even begun.
//! Their number and their waiting time are bounded, because a crash makes us look for every outcome that is not
//! recorded. While the history takes nothing, commands beyond that number go out at the pace at which they give up
//! waiting with their permits, and a schedule stops at the attempts that its record holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::core::MAX_ARMED;

/// Most claims and commands alongside which bookkeeping goes on: so few are not delayed by it.
const FEW: usize = 64;
/// Most outcomes that wait at once; beyond it, commands wait for a place too. All that was armed for a burst can go out before.
const MOST_WAITING: usize = MAX_ARMED;

/// Counts the urgent work under way, and bounds the outcomes that wait for it.
pub(crate) struct Urgency {
    under_way: AtomicUsize,
    /// Whether commands that are due wait for others to be out.
    is_behind: AtomicBool,
    quiet: Notify,
    waiting: Semaphore,
}

/// A piece of urgent work; it ends when dropped.
pub(crate) struct Urgent(Arc<Urgency>);

/// A place among the outcomes that are not recorded yet; given back when dropped.
pub(crate) struct Place(Arc<Urgency>);

impl Default for Urgency {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            is_behind: AtomicBool::new(false),
            quiet: Notify::new(),
            waiting: Semaphore::new(MOST_WAITING),
        }
    }
}

impl Urgency {
    /// Begins a piece of urgent work.
    pub(crate) fn begin(self: &Arc<Self>) -> Urgent {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Urgent(Arc::clone(self))
    }

    /// Says whether commands that are due wait for others to be out.
    pub(crate) fn set_behind(&self, is_behind: bool) {
        if self.is_behind.swap(is_behind, Ordering::SeqCst) && !is_behind {
            self.quiet.notify_waiters();
        }
    }

    /// Waits for a place among the outcomes that wait.
    pub(crate) async fn place(self: &Arc<Self>) -> Place {
        if self.is_full() {
            self.quiet.notify_waiters();
        }
        // The semaphore is never closed.
        if let Ok(place) = self.waiting.acquire().await {
            place.forget();
        }
        Place(Arc::clone(self))
    }

    /// Whether commands have to wait for outcomes to be recorded.
    fn is_full(&self) -> bool {
        self.waiting.available_permits() == 0
    }

    /// Waits until few claims and commands are under way and none is due, or outcomes have taken all places, or until
    /// `at_last`.
    pub(crate) async fn quiet(&self, at_last: Instant) {
        loop {
            // Registered before the check, so that the end of the last piece of work is not missed.
            let quiet = self.quiet.notified();
            let is_quiet = self.under_way.load(Ordering::SeqCst) <= FEW
                && !self.is_behind.load(Ordering::SeqCst);
            if is_quiet || self.is_full() || timeout_at(at_last, quiet).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Urgent {
    fn drop(&mut self) {
        if self.0.under_way.fetch_sub(1, Ordering::SeqCst) == FEW + 1 {
            self.0.quiet.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.add_permits(1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bookkeeping_waits_for_what_is_under_way_and_for_what_is_due_but_not_for_ever() {
        let urgency = Arc::new(Urgency::default());
        let at_last = Instant::now() + Duration::from_secs(2);
        let few: Vec<_> = (0..FEW).map(|_| urgency.begin()).collect();
        assert!(urgency.quiet(at_last).now_or_never().is_some(), "few do not disturb it");
        let one_more = urgency.begin();
        urgency.set_behind(true);
        let mut quiet = std::pin::pin!(urgency.quiet(at_last));
        assert!(quiet.as_mut().now_or_never().is_none());
        drop(one_more);
        assert!(quiet.as_mut().now_or_never().is_none(), "commands are due");
        urgency.set_behind(false);
        assert!(quiet.now_or_never().is_some());
        let _more = urgency.begin();
        urgency.quiet(at_last).await;
        assert_eq!(Instant::now(), at_last);
        drop(few);
    }

    #[tokio::test]
    async fn so_many_outcomes_wait_and_no_more() {
        let urgency = Arc::new(Urgency::default());
        let mut places = Vec::new();
        for _ in 0..MOST_WAITING {
            places.push(urgency.place().await);
        }
        // Commands wait for outcomes now, so these do not wait for commands.
        urgency.set_behind(true);
        let in_an_hour = Instant::now() + Duration::from_secs(3600);
        places.pop();
        let mut quiet = std::pin::pin!(urgency.quiet(in_an_hour));
        assert!(quiet.as_mut().now_or_never().is_none());
        places.push(urgency.place().await);
        assert!(urgency.place().now_or_never().is_none());
        assert!(quiet.now_or_never().is_some());
        places.pop();
        let patience = Duration::from_secs(5);
        assert!(tokio::time::timeout(patience, urgency.place()).await.is_ok());
    }
}
