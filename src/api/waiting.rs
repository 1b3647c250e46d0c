//! Waiting for the outcome of a requested execution (`wait_ms`).

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::error::{ApiError, Code};
use super::{Api, Caller};
use crate::execution::Execution;
use crate::jetstream::history::{MAX_WAITING, Waiter};
use crate::port::Nats;

/// Pause before fetching an outcome again after a failed attempt.
const RETRY: Duration = Duration::from_millis(250);

/// A place among the waiting callers, and how long its caller wants to wait.
pub(super) struct Wait {
    waiter: Waiter,
    patience: Duration,
}

impl<N: Nats> Api<N> {
    /// Takes a place among the callers that wait for an execution, if the caller wants to wait. Call it before anything
    /// is done: a request refused for lack of a place must not be half done.
    ///
    /// # Errors
    /// `limit_exceeded`: too many are waiting.
    pub(super) fn wait_for(&self, execution: Uuid, ms: u64) -> Result<Option<Wait>, ApiError> {
        if ms == 0 {
            return Ok(None);
        }
        let Some(waiter) = self.history.await_outcome(execution) else {
            let message = format!(
                "{MAX_WAITING} callers wait for outcomes, which is the limit; ask without wait_ms, and for the \
                 execution later"
            );
            return Err(ApiError::new(Code::LimitExceeded, message));
        };
        Ok(Some(Wait { waiter, patience: Duration::from_millis(ms) }))
    }

    /// The finished execution, if it ends in time. A waiting request is not worked on and asks NATS for nothing.
    pub(super) async fn outcome(&self, wait: Option<Wait>, caller: &Caller) -> Option<Execution> {
        let Wait { waiter, patience } = wait?;
        let deadline = Instant::now() + patience;
        caller.permit.waits();
        tokio::select! {
            biased;
            found = self.fetched(waiter) => Some(found),
            () = tokio::time::sleep_until(deadline) => None,
            // An instance that stops answers as much as it can while somebody still listens.
            () = self.health.last_answers() => None,
        }
    }

    async fn fetched(&self, mut waiter: Waiter) -> Execution {
        loop {
            if let Ok(Some(execution)) = self.history.ended(&mut waiter).await {
                return execution;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}
