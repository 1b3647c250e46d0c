//! Gives up a command that goes to a stream.
//!
//! An instance whose publish is refused does not know whether another one has taken the attempt over and had its copy
//! stored, nor whether the worker of a job has reported. Both are compare-and-swaps on the record, so giving up is one
//! too: the first of all these writes counts. A crash after the write leaves a report, which is written to the history
//! like a worker's. Commands sent by `request` and `core` may be repeated, so there the first outcome in the history
//! counts.

use std::sync::Arc;

use tracing::info;

use super::Shared;
use super::rewrite::{RETRY, catch_up, rewrite};
use crate::execution::{ErrorType, Execution};
use crate::failpoint::failpoint;
use crate::jetstream::WriteError;
use crate::port::Nats;
use crate::schedule::{Attempt, AttemptEvent, Ending, Report, Schedule};

/// Writes into the record that an attempt failed as `ended` says; returns whether that counts.
pub(super) async fn give_up(
    shared: &Shared<impl Nats>,
    attempt: &Attempt,
    ended: &Execution,
) -> bool {
    loop {
        let sight = shared.store.sight();
        let Some(entry) = shared.index.get(ended.schedule_id) else {
            // We may not write a newer version's records, and for a deleted one nobody is left to report.
            return true;
        };
        let mut schedule = Schedule::clone(&entry.schedule);
        let is_ours = |one: &&mut Attempt| {
            one.execution_id == attempt.execution_id && one.phase == attempt.phase
        };
        let Some(claimed) = schedule.attempts.iter_mut().find(is_ours) else {
            info!(execution_id = %ended.id, "refusal ignored: the attempt was taken over or already reported");
            return false;
        };
        let (by, report) = (shared.members.me(), Box::new(report(ended)));
        if claimed.on(AttemptEvent::End { by, report }).is_err() {
            return false;
        }
        schedule.sign(shared.writer());
        match rewrite(shared, &entry, Arc::new(schedule), sight.at(entry.revision)).await {
            Ok(_) => {
                failpoint("after_giving_up");
                return true;
            }
            Err(WriteError::Conflict) => {
                catch_up(shared, &entry).await;
            }
            // The record has no room for it.
            Err(WriteError::TooLarge(_)) => return true,
            Err(error) => {
                let what = "a command that was refused cannot be given up";
                shared.retries.fail(what, ended.schedule_id, Some(ended.id), &error);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

fn report(ended: &Execution) -> Report {
    Report {
        error_type: ended.error_type.as_ref().map(|error| ErrorType::as_str(error).to_owned()),
        message: ended.error_message.clone(),
        uncertain: ended.uncertain,
        ..Report::new(Ending::Failed, ended.time)
    }
}
