//! One request's share of the limit on requests that are worked on at once.
//!
//! A transport admits a fixed number of requests. Waiting for others after that (a worker, a time) is no work and holds
//! no permit, or a crowd of waiting callers would keep out everybody else. Where each waiting caller costs the
//! transport something else, such as a connection, these are limited too: a caller beyond that limit keeps its permit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permit under which a request is worked on, for as long as it is.
#[derive(Clone, Debug, Default)]
pub struct Permit(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    permit: Option<OwnedSemaphorePermit>,
    /// Places for waiting callers, if these are limited.
    waiting: Option<Arc<Semaphore>>,
    has_waited: bool,
}

impl Permit {
    /// Notes that work on the request begins under `permit`; when it waits, it takes a place in `waiting`.
    pub(super) fn hold(&self, permit: OwnedSemaphorePermit, waiting: Option<Arc<Semaphore>>) {
        *self.held() = Held { permit: Some(permit), waiting, has_waited: false };
    }

    /// Notes that nothing is left to do but wait: the permit goes back if there is a place to wait in.
    pub(super) fn waits(&self) {
        let mut held = self.held();
        if std::mem::replace(&mut held.has_waited, true) {
            return;
        }
        match held.waiting.take() {
            None => held.permit = None,
            Some(waiting) => {
                if let Ok(place) = waiting.try_acquire_owned() {
                    held.permit = Some(place);
                }
            }
        }
    }

    /// Notes that the request is done.
    pub(super) fn end(&self) {
        *self.held() = Held::default();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_gives_the_permit_back_if_there_is_a_place_to_wait_in() {
        let (working, waiting) = (Arc::new(Semaphore::new(2)), Arc::new(Semaphore::new(1)));
        let work = |waiting: Option<&Arc<Semaphore>>| {
            let permit = Permit::default();
            let held = Arc::clone(&working).try_acquire_owned().unwrap();
            permit.hold(held, waiting.map(Arc::clone));
            permit
        };
        let permits = [work(Some(&waiting)), work(Some(&waiting))];
        permits.iter().for_each(Permit::waits);
        assert_eq!((working.available_permits(), waiting.available_permits()), (1, 0));
        permits[0].waits();
        assert_eq!((working.available_permits(), waiting.available_permits()), (1, 0), "once more");
        permits.iter().for_each(Permit::end);
        assert_eq!((working.available_permits(), waiting.available_permits()), (2, 1));
        work(None).waits();
        assert_eq!(working.available_permits(), 2, "without a bound");
    }
}
