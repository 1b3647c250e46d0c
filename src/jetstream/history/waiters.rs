//! Callers that wait for the outcome of an execution.
//!
//! Waiting asks nothing of NATS: the index learns of every outcome anyway, and wakes the callers that wait for it. A
//! caller takes a place first and then looks into the index, and the index has an outcome before it wakes anybody, so
//! none is missed. Dropping a place gives it back, whatever becomes of the caller.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use uuid::Uuid;

/// Most callers that wait at once: each is a task and a pending reply, some kilobytes.
pub const MAX_WAITING: usize = 10_000;
/// Outcomes fetched at once for the callers that were woken.
const FETCHES: usize = 64;

/// The callers that wait.
#[derive(Debug)]
pub(super) struct Waiters {
    executions: Mutex<BTreeMap<Uuid, watch::Sender<bool>>>,
    places: Arc<Semaphore>,
    pub(super) fetches: Semaphore,
}

/// A place among the callers that wait.
#[derive(Debug)]
pub struct Waiter {
    waiters: Arc<Waiters>,
    pub(super) execution: Uuid,
    has_ended: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
}

impl Waiters {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            executions: Mutex::default(),
            places: Arc::new(Semaphore::new(MAX_WAITING)),
            fetches: Semaphore::new(FETCHES),
        })
    }

    /// Takes a place, if one is free.
    pub(super) fn join(self: &Arc<Self>, execution: Uuid) -> Option<Waiter> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let has_ended = self.lock().entry(execution).or_default().subscribe();
        Some(Waiter { waiters: Arc::clone(self), execution, has_ended, _place: place })
    }

    /// Tells the callers that the index has the outcome of an execution.
    pub(super) fn tell(&self, execution: Uuid) {
        if let Some(has_ended) = self.lock().get(&execution) {
            has_ended.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Uuid, watch::Sender<bool>>> {
        self.executions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiter {
    /// Returns once the index has the outcome; at once if it already had it.
    pub(super) async fn told(&mut self) {
        // Cannot fail: the sender lives as long as this place is taken.
        let _ = self.has_ended.wait_for(|has_ended| *has_ended).await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut executions = self.waiters.lock();
        // The count includes this waiter's own receiver.
        if executions.get(&self.execution).is_some_and(|sender| sender.receiver_count() <= 1) {
            executions.remove(&self.execution);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn all_who_wait_for_an_execution_are_woken_and_nobody_else() {
        let awaited = Waiters::new();
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut waiters = [awaited.join(one).unwrap(), awaited.join(one).unwrap()];
        let mut stranger = awaited.join(other).unwrap();
        awaited.tell(one);
        for waiter in &mut waiters {
            waiter.told().await;
        }
        let told = tokio::time::timeout(Duration::from_millis(20), stranger.told()).await;
        assert!(told.is_err(), "its execution goes on");
    }

    #[tokio::test]
    async fn a_place_is_given_back_when_its_caller_goes() {
        let awaited = Waiters::new();
        let execution = Uuid::from_u128(1);
        let (first, second) = (awaited.join(execution).unwrap(), awaited.join(execution).unwrap());
        drop(first);
        assert_eq!(awaited.lock().len(), 1, "another waits for it");
        drop(second);
        assert!(awaited.lock().is_empty());
        let all: Vec<_> = (0..MAX_WAITING).map_while(|_| awaited.join(execution)).collect();
        assert_eq!(all.len(), MAX_WAITING);
        assert!(awaited.join(execution).is_none(), "there is a bound");
        drop(all);
        assert!(awaited.join(execution).is_some());
        assert!(awaited.lock().is_empty());
    }
}
