//! Ending attempts by somebody's word: a worker's report, a worker that is lost, a cancellation.
//!
//! The record holds the report; who takes it up writes it to the history and settles it, like an
//! outcome of its own. A crash in between leaves the report, and whoever takes it up next writes the
//! same outcome under the same id.

use std::borrow::Cow;

use tracing::warn;

use super::Shared;
use super::claim::Accepted;
use super::execute::{conclude, known_outcome, record, skip};
use crate::execution::{Claim, ErrorType, Execution, ExecutionStatus, Outcome, Response, payload};
use crate::failpoint::failpoint;
use crate::jetstream::deliver::{Command, Publication};
use crate::jetstream::names;
use crate::schedule::{Attempt, Ending, Phase, Report, Schedule};

/// Ends an attempt as its report says; returns its final event, which is in the history.
pub(crate) async fn finish(
    shared: &Shared,
    accepted: &Accepted,
    attempt: &Attempt,
) -> Box<Execution> {
    let schedule = &accepted.schedule;
    let claim = Claim { instance: shared.members.me(), revision: accepted.written.revision };
    if let Phase::Corrected { range, .. } = &*attempt.phase {
        let corrected = Execution::corrected(schedule, attempt, *range, claim, shared.clock.now());
        return record(shared, schedule, attempt, Box::new(corrected)).await;
    }
    // Whoever had it before may have got so far.
    if let Some(known) = Box::pin(known_outcome(shared, attempt)).await {
        Box::pin(dead_letter(shared, schedule, attempt, &known, true)).await;
        return Box::new(known);
    }
    let (since, report) = match &*attempt.phase {
        Phase::Reported { since, report, .. } => (since, report),
        Phase::Skipped { range, .. } => return skip(shared, accepted, attempt, *range).await,
        _ => return Box::new(Execution::started(schedule, attempt, claim, shared.clock.now())),
    };
    failpoint("before_finish");
    let mut execution = match shared.history.get(attempt.execution_id).await {
        // What was sent, whatever the schedule says now.
        Ok(Some(started)) => Box::new(Execution { lock_id: claim, ..started }),
        _ => Box::new(Execution::started(schedule, attempt, claim, *since)),
    };
    execution.end(outcome(report), report.at);
    if report.ending == Ending::Cancelled && attempt.token.is_some() {
        tell_to_stop(shared, &execution).await;
    }
    conclude(shared, schedule, attempt, execution).await
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
            uncertain: false,
        },
        Ending::Cancelled => {
            Outcome::Cancelled { by: report.by.clone(), reason: report.message.clone() }
        }
    }
}

/// Tells the worker. Best effort: a worker that misses it is refused when it reports.
async fn tell_to_stop(shared: &Shared, execution: &Execution) {
    let body = serde_json::json!({
        "execution_id": execution.id,
        "schedule_id": execution.schedule_id,
        "cancelled_by": execution.cancelled_by,
        "reason": execution.error_message,
    });
    let subject = names::cancel_subject(execution.id);
    if let Err(error) = shared.js.client().publish(subject, body.to_string().into()).await {
        warn!(execution_id = %execution.id, %error, "worker not told to stop");
    }
}

/// Sends the command of an execution that failed for good to where the schedule wants it. After its
/// outcome is recorded, and `again` if a crash came between: under an id of its own, so a stream keeps
/// it once.
pub(crate) async fn dead_letter(
    shared: &Shared,
    schedule: &Schedule,
    attempt: &Attempt,
    ended: &Execution,
    again: bool,
) {
    let Some(target) = &schedule.spec.dead_letter else { return };
    if ended.status != ExecutionStatus::Failed || ended.will_retry {
        return;
    }
    if !shared.config.allowed_targets.iter().any(|pattern| pattern.allows(target)) {
        warn!(
            target = target.as_str(),
            "dead letter not sent: its subject is not in the allow-list"
        );
        return;
    }
    let sent = ended.command_payload.as_ref().map(Cow::Borrowed);
    let payload = sent.unwrap_or_else(|| payload(schedule, attempt));
    let Command { mut headers, body } = Command::new(schedule, ended, &payload, None);
    let error_type = ended.error_type.as_ref().map_or("", ErrorType::as_str);
    headers.insert(names::ERROR_TYPE, names::header_text(error_type).as_ref());
    let message = ended.error_message.as_deref().unwrap_or_default();
    headers.insert(names::ERROR_MESSAGE, names::header_text(message).as_ref());
    let id = format!("{}.dead", ended.id);
    headers.insert(names::MESSAGE_ID, id.as_str());
    let subject = target.as_str();
    // It is sent after the outcome, whoever does it.
    let since = again.then_some(ended.time);
    let publication = Publication { subject, id, headers, body, since };
    // No claim is needed: whoever sends it sends the same.
    let Ok(Outcome::Failed { error_type, message, uncertain, .. }) =
        shared.delivery.publish(publication, || true).await
    else {
        return;
    };
    if error_type == ErrorType::NoStream {
        warn!(subject, "no stream keeps dead letters; whoever listens has it");
    } else {
        let error_type = error_type.as_str();
        warn!(subject, error_type, error = message, uncertain, "dead letter not sent");
    }
}
