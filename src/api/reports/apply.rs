//! What a report makes of an attempt, by how far that has come.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use crate::clock;
use crate::execution::ExecutionStatus;
use crate::moment::Moment as _;
use crate::schedule::{Attempt, Cancel, Delivery, Ending, Phase, Report};

/// What a report makes of an attempt.
pub(super) enum Change {
    /// It ended.
    Ends(Box<Report>),
    /// It is under way.
    Lives(Option<u8>),
    /// It is to be stopped.
    Stops(Cancel),
}

/// Applies a change to an attempt; whether it is to be written.
pub(super) fn apply(
    attempt: &mut Attempt,
    change: &Change,
    delivery: &Delivery,
    by: Uuid,
) -> Result<bool, ApiError> {
    let (id, now) = (attempt.execution_id, clock::now());
    match (&mut attempt.phase, change) {
        (Phase::Reported { report, .. }, Change::Ends(again)) if report.ending == again.ending => {
            Ok(false)
        }
        (Phase::Reported { report, .. }, Change::Stops(_))
            if report.ending == Ending::Cancelled =>
        {
            Ok(false)
        }
        (Phase::Reported { report, .. }, _) => Err(has_ended(id, status_of(report.ending))),
        (Phase::Skipped { .. } | Phase::Corrected { .. }, _) => {
            Err(has_ended(id, ExecutionStatus::Skipped))
        }
        (Phase::Waiting { .. }, Change::Stops(cancel)) => {
            let report = Box::new(cancel.report(now));
            attempt.phase = Phase::Reported { by, since: now, report };
            Ok(true)
        }
        (Phase::Waiting { .. }, _) => {
            Err(ApiError::new(Code::Conflict, format!("execution {id} has not begun")))
        }
        (Phase::Claimed { at: since, .. } | Phase::Running { since, .. }, Change::Ends(report)) => {
            let (since, report) = (*since, report.clone());
            attempt.phase = Phase::Reported { by, since, report };
            Ok(true)
        }
        (Phase::Running { since, .. }, Change::Stops(cancel)) => {
            let (since, report) = (*since, Box::new(cancel.report(now)));
            attempt.phase = Phase::Reported { by, since, report };
            Ok(true)
        }
        (Phase::Claimed { .. }, Change::Stops(cancel)) if delivery.mode.takes_time() => {
            let asked = attempt.cancel.is_some();
            attempt.cancel.get_or_insert_with(|| Box::new(cancel.clone()));
            Ok(!asked)
        }
        (Phase::Claimed { .. }, Change::Stops(_)) => {
            let message = format!("the command of execution {id} is being sent");
            Err(ApiError::new(Code::NotAllowed, message))
        }
        (Phase::Running { heard_at, progress, .. }, Change::Lives(now_at)) => {
            *heard_at = Some(now);
            *progress = now_at.or(*progress);
            Ok(true)
        }
        // Quicker than the service itself: the command is out.
        (Phase::Claimed { at: since, .. }, Change::Lives(progress)) => {
            if attempt.cancel.is_some() {
                return Ok(false);
            }
            let timeout = Duration::seconds(i64::from(delivery.timeout_seconds));
            let (since, deadline, progress) = (*since, now.later(timeout), *progress);
            let (heartbeat_seconds, heard_at) = (delivery.heartbeat_seconds, Some(now));
            attempt.phase =
                Phase::Running { since, deadline, heartbeat_seconds, heard_at, progress };
            Ok(true)
        }
    }
}

pub(super) fn status(attempt: &Attempt) -> (ExecutionStatus, Option<DateTime<Utc>>) {
    match &attempt.phase {
        Phase::Reported { report, .. } => (status_of(report.ending), None),
        Phase::Running { deadline, .. } => (ExecutionStatus::Running, Some(*deadline)),
        Phase::Waiting { .. }
        | Phase::Claimed { .. }
        | Phase::Skipped { .. }
        | Phase::Corrected { .. } => (ExecutionStatus::Running, None),
    }
}

fn status_of(ending: Ending) -> ExecutionStatus {
    match ending {
        Ending::Success => ExecutionStatus::Success,
        Ending::Failed => ExecutionStatus::Failed,
        Ending::Cancelled => ExecutionStatus::Cancelled,
    }
}

pub(super) fn has_ended(id: Uuid, status: ExecutionStatus) -> ApiError {
    ApiError::new(Code::Conflict, format!("execution {id} has ended: {}", status.as_str()))
}
