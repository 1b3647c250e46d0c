//! One request's share of the bound on requests that are worked on at once.
//!
//! A transport lets so many requests in; what waits for others after that (a worker, a time) is no work and holds no
//! permit, or a crowd of callers that wait would keep out everybody else. Where each caller that waits costs the
//! transport something else, such as a connection, it has a bound for those too: one caller more keeps its permit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permit under which a request is worked on, while it is.
#[derive(Clone, Debug, Default)]
pub struct Permit(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    permit: Option<OwnedSemaphorePermit>,
    /// Where those who wait have their places, if these are bounded.
    waiting: Option<Arc<Semaphore>>,
    has_waited: bool,
}

impl Permit {
    /// The request is worked on from now on. When it waits, it takes a place in `waiting`.
    pub(super) fn hold(&self, permit: OwnedSemaphorePermit, waiting: Option<Arc<Semaphore>>) {
        *self.held() = Held { permit: Some(permit), waiting, has_waited: false };
    }

    /// All that is left is to wait.
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

    /// It is done.
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
