//! Effect of a report on an attempt, depending on the attempt's state.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use crate::execution::ExecutionStatus;
use crate::moment::Moment as _;
use crate::schedule::{Attempt, AttemptEvent, Cancel, Delivery, Ending, Phase, Refused, Report};

/// What a report says of an attempt.
pub(super) enum News {
    /// It has ended.
    Ends(Box<Report>),
    /// It is under way.
    Lives(Option<u8>),
    /// It should be stopped.
    Stops(Cancel),
}

impl News {
    /// How the attempt ends by this report.
    fn ending(&self) -> Option<Ending> {
        match self {
            Self::Ends(report) => Some(report.ending),
            Self::Stops(_) => Some(Ending::Cancelled),
            Self::Lives(_) => None,
        }
    }
}

/// Applies a report to an attempt; returns whether a write is needed.
pub(super) fn apply(
    attempt: &mut Attempt,
    change: &News,
    delivery: &Delivery,
    by: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, ApiError> {
    let id = attempt.execution_id;
    let event = match change {
        News::Ends(report) => AttemptEvent::End { by, report: report.clone() },
        News::Stops(cancel) => AttemptEvent::Stop { by, report: Box::new(cancel.report(now)) },
        // It is about to be told to stop.
        News::Lives(_)
            if matches!(*attempt.phase, Phase::Claimed { .. }) && attempt.cancel.is_some() =>
        {
            return Ok(false);
        }
        News::Lives(progress) => AttemptEvent::Hear {
            at: now,
            progress: *progress,
            // The worker may be quicker than the service itself.
            deadline: now.later(Duration::seconds(i64::from(delivery.timeout_seconds))),
            heartbeat_seconds: delivery.heartbeat_seconds,
        },
    };
    let refused = match attempt.on(event) {
        Ok(()) => return Ok(true),
        Err(refused) => refused,
    };
    match (refused, change) {
        (Refused::HasEnded(Some(ending)), change) if change.ending() == Some(ending) => Ok(false),
        (Refused::HasEnded(Some(ending)), _) => Err(has_ended(id, status_of(ending))),
        (Refused::HasEnded(None), _) => Err(has_ended(id, ExecutionStatus::Skipped)),
        (Refused::IsBeingSent, News::Stops(cancel)) if delivery.mode.takes_time() => {
            let asked = attempt.cancel.is_some();
            attempt.cancel.get_or_insert_with(|| Box::new(cancel.clone()));
            Ok(!asked)
        }
        (Refused::IsBeingSent, _) => {
            let message = format!("the command of execution {id} is being sent");
            Err(ApiError::new(Code::NotAllowed, message))
        }
        (Refused::NotBegun | Refused::OutOfTurn, _) => {
            Err(ApiError::new(Code::Conflict, format!("execution {id} has not begun")))
        }
    }
}

pub(super) fn status(attempt: &Attempt) -> (ExecutionStatus, Option<DateTime<Utc>>) {
    match &*attempt.phase {
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
