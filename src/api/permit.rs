//! One request's share of the bound on requests that are worked on at once.
//!
//! A transport lets so many requests in; what waits for others after that (a worker, a time) is no work and holds no
//! permit, or a crowd of callers that wait would keep out everybody else.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

/// The permit under which a request is worked on, while it is.
#[derive(Clone, Debug, Default)]
pub struct Permit(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Permit {
    /// The request is worked on from now on.
    pub(super) fn hold(&self, permit: OwnedSemaphorePermit) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }

    /// All that is left is to wait, or nothing.
    pub(super) fn give_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
