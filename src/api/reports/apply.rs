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

/// Ends an attempt whose cancellation waits for its command to be sent: a report of its worker shows that it was sent.
/// Returns whether it ended the attempt.
pub(super) fn stop_if_asked(
    attempt: &mut Attempt,
    news: &News,
    by: Uuid,
    now: DateTime<Utc>,
) -> bool {
    let is_heard = matches!(news, News::Ends(_) | News::Lives(_));
    if !is_heard || !matches!(*attempt.phase, Phase::Claimed { .. }) {
        return false;
    }
    let Some(cancel) = attempt.cancel.clone() else { return false };
    attempt.on(AttemptEvent::End { by, report: Box::new(cancel.report(now)) }).is_ok()
}

/// Applies a report to an attempt; returns whether a write is needed.
pub(super) fn apply(
    attempt: &mut Attempt,
    news: &News,
    delivery: &Delivery,
    by: Uuid,
    now: DateTime<Utc>,
) -> Result<bool, ApiError> {
    let id = attempt.execution_id;
    let event = match news {
        News::Ends(report) => AttemptEvent::End { by, report: report.clone() },
        News::Stops(cancel) => AttemptEvent::Stop { by, report: Box::new(cancel.report(now)) },
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
    match (refused, news) {
        (Refused::HasEnded(Some(ending)), news) if news.ending() == Some(ending) => Ok(false),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::DeliveryMode;

    fn success(at: DateTime<Utc>) -> Box<Report> {
        Box::new(Report { is_final: true, ..Report::new(Ending::Success, at) })
    }

    #[test]
    fn whoever_is_heard_of_what_is_to_be_stopped_stops_it() {
        let (now, by) = (DateTime::UNIX_EPOCH, Uuid::from_u128(1));
        let delivery = Delivery { mode: DeliveryMode::Job, ..Delivery::default() };
        let stop = News::Stops(Cancel::new("erin".to_owned(), None));
        for heard in [News::Ends(success(now)), News::Lives(Some(40))] {
            let claimed = Phase::Claimed { by, at: now, until: now };
            let mut attempt = Attempt::new(Uuid::nil(), now, 1, claimed);
            assert!(!stop_if_asked(&mut attempt, &heard, by, now));
            assert!(apply(&mut attempt, &stop, &delivery, by, now).unwrap());
            assert!(!stop_if_asked(&mut attempt, &stop, by, now), "a user has not got the command");
            assert!(stop_if_asked(&mut attempt, &heard, by, now));
            assert_eq!(status(&attempt).0, ExecutionStatus::Cancelled);
            let refused = apply(&mut attempt, &heard, &delivery, by, now).unwrap_err();
            assert_eq!(refused.code, Code::Conflict);
            assert!(!apply(&mut attempt, &stop, &delivery, by, now).unwrap(), "asked again");
        }
    }
}
