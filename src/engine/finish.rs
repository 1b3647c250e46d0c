//! Ends attempts as a report says: a worker's, one about a lost worker, or a cancellation.
//!
//! The record holds the report. The instance that takes it up writes it to the history and settles it, like an outcome
//! of its own. After a crash in between the report is still there, and the next instance writes the same outcome under
//! the same id.

use tracing::warn;

use super::Shared;
use super::claim::Accepted;
use super::dead_letter::Concluded;
use super::record::{conclude, known, known_outcome, record, skip};
use crate::execution::{ErrorType, Execution, Outcome, Response};
use crate::failpoint::{failpoint, pause};
use crate::names;
use crate::port::{Nats, Outgoing};
use crate::schedule::{Attempt, Ending, Phase, Report};

/// Ends an attempt as its report says; returns its final event, which is in the history.
pub(crate) async fn finish(
    shared: &Shared<impl Nats>,
    accepted: &Accepted,
    attempt: &Attempt,
) -> Concluded {
    let schedule = &accepted.schedule;
    let new = |execution| Concluded { execution, again: false };
    let claim = shared.claim_of(accepted.written.revision);
    if let Phase::Corrected { range, .. } = &*attempt.phase {
        let corrected = Execution::corrected(schedule, attempt, *range, claim, shared.clock.now());
        pause("before_corrected");
        let corrected = record(shared, schedule, attempt, Box::new(corrected)).await;
        failpoint("after_corrected");
        return new(corrected);
    }
    // The attempt's former instance may have recorded the outcome already.
    if let Some(known) = Box::pin(known_outcome(shared, attempt)).await {
        return Concluded { execution: Box::new(known), again: true };
    }
    let (since, report) = match &*attempt.phase {
        Phase::Reported { since, report, .. } => (since, report),
        Phase::Skipped { range, .. } => return new(skip(shared, accepted, attempt, *range).await),
        _ => {
            let started = Execution::started(schedule, attempt, claim, shared.clock.now());
            return new(Box::new(started));
        }
    };
    failpoint("before_finish");
    // What was sent, whatever the schedule says now.
    let mut execution = match Box::pin(known(shared, attempt)).await {
        Some(started) => Box::new(Execution { lock_id: claim, ..started }),
        None => Box::new(Execution::started(schedule, attempt, claim, *since)),
    };
    execution.end(outcome(report), report.at);
    if report.ending == Ending::Cancelled && attempt.token.is_some() {
        tell_to_stop(shared, &execution).await;
    }
    new(conclude(shared, schedule, attempt, execution).await)
}

fn outcome(report: &Report) -> Outcome {
    let response = match &report.response {
        Some(response) => Some(Response::keep(response.as_bytes())),
        None => report.truncated.then_some(Response { payload: None, truncated: true }),
    };
    match report.ending {
        Ending::Success => Outcome::Success { response_event: None, response },
        Ending::Failed => Outcome::Failed {
            error_type: ErrorType::from(report.error_type.clone().unwrap_or_default()),
            message: report.message.clone().unwrap_or_default(),
            response,
            uncertain: report.uncertain,
        },
        Ending::Cancelled => {
            Outcome::Cancelled { by: report.by.clone(), reason: report.message.clone() }
        }
    }
}

/// Tells the worker to stop. Best effort: a worker that misses it is refused when it reports.
async fn tell_to_stop(shared: &Shared<impl Nats>, execution: &Execution) {
    let body = serde_json::json!({
        "execution_id": execution.id,
        "schedule_id": execution.schedule_id,
        "cancelled_by": execution.cancelled_by,
        "reason": execution.error_message,
    });
    let (subject, body) = (names::cancel_subject(execution.id), body.to_string().into());
    let message = Outgoing { subject, body, ..Outgoing::default() };
    if let Err(error) = shared.nats.publish(message).await {
        warn!(execution_id = %execution.id, %error, "worker not told to stop");
    }
}
