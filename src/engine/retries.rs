//! Warnings of writes that are tried again: in an outage thousands of records wait for theirs.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;
use tracing::field::display;
use tracing::{debug, warn};
use uuid::Uuid;

use crate::jetstream::reminder::Reminder;

/// The warnings that were logged lately, so that many alike are one line.
#[derive(Debug, Default)]
pub(super) struct Retries(Mutex<Reminder>);

impl Retries {
    /// Says that `what` failed for a schedule, or one of its executions, and will be tried again: as a warning, but for
    /// a while only once for all that fail alike. Returns whether it was one.
    pub(super) fn fail(
        &self,
        what: &'static str,
        schedule_id: Uuid,
        execution: Option<Uuid>,
        error: &impl Display,
    ) -> bool {
        let execution_id = execution.map(display);
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = said.is_due(&format!("{what}: {error}"), Instant::now());
        match is_due {
            true => warn!(%schedule_id, execution_id, %error, "{what}; will retry"),
            false => debug!(%schedule_id, execution_id, %error, "{what}; will retry"),
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_alike_for_many_is_one_warning() {
        let retries = Retries::default();
        let fail = |what, n| retries.fail(what, Uuid::from_u128(n), None, &"no answer");
        assert_eq!([fail("told", 1), fail("told", 2), fail("given up", 3)], [true, false, true]);
    }
}
