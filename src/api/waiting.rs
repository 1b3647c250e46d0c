//! Waiting for the outcome of an execution that a request has asked for (`wait_ms`).

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::error::{ApiError, Code};
use super::{Api, Caller};
use crate::execution::Execution;
use crate::jetstream::history::{MAX_WAITING, Waiter};
use crate::port::Nats;

/// Pause before an outcome that could not be fetched is fetched again.
const RETRY: Duration = Duration::from_millis(250);

/// A place among those who wait, and how long its caller wants to.
pub(super) struct Wait {
    waiter: Waiter,
    deadline: Duration,
}

impl<N: Nats> Api<N> {
    /// A place among those who wait for an execution, if its caller wants to. To be taken before anything is done: a
    /// request that is refused for it must not be half done.
    ///
    /// # Errors
    /// `limit_exceeded`: too many wait.
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
        Ok(Some(Wait { waiter, deadline: Duration::from_millis(ms) }))
    }

    /// The outcome, if it comes in time. While a caller waits, its request is not worked on and asks NATS for nothing.
    pub(super) async fn outcome(&self, wait: Option<Wait>, caller: &Caller) -> Option<Execution> {
        let Wait { waiter, deadline } = wait?;
        let deadline = Instant::now() + deadline;
        caller.permit.waits();
        tokio::select! {
            biased;
            found = self.fetched(waiter) => Some(found),
            () = tokio::time::sleep_until(deadline) => None,
            // Who stops answers what it can while there is somebody to hear it.
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
