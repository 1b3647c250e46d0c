//! Acting on a claim: deliver, record.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::urgency::Urgent;
use super::work::Accepted;
use super::{Shared, TRUST};
use crate::clock;
use crate::execution::{Claim, ErrorType, Execution, ExecutionStatus, Outcome, payload};
use crate::failpoint::failpoint;
use crate::jetstream::deliver::{self, Command};
use crate::jetstream::history::Recorded;
use crate::plan::retry_at;
use crate::schedule::{Attempt, DeliveryMode, Phase, Schedule, Status};

/// An attempt whose command is ready to be sent: what can be done before it is due has been.
pub(crate) struct Prepared {
    execution: Box<Execution>,
    command: Command,
}

/// Prepares an attempt under an accepted claim.
pub(crate) fn prepare(shared: &Shared, accepted: &Accepted, attempt: &Attempt) -> Prepared {
    let schedule = &accepted.schedule;
    let claim = Claim { instance: shared.members.me(), revision: accepted.written.revision };
    let mut execution = Box::new(Execution::started(schedule, attempt, claim, clock::now()));
    if let Phase::Claimed { at, .. } = attempt.phase {
        execution.timings.claimed_at = Some(at);
    }
    let command = Command::new(schedule, &execution, payload(schedule, attempt));
    Prepared { execution, command }
}

/// Makes one attempt under an accepted claim; returns its final event, which is in the history.
///
/// `None` if the claim may no longer be trusted: the attempt is then claimed again.
pub(crate) async fn attempt(
    shared: &Shared,
    accepted: &Accepted,
    attempt: &Attempt,
    prepared: Prepared,
    recovered: bool,
    urgent: Option<Urgent>,
) -> Option<Box<Execution>> {
    let schedule = &accepted.schedule;
    if recovered && let Some(outcome) = Box::pin(known_outcome(shared, attempt)).await {
        info!(execution_id = %attempt.execution_id, "outcome found in the history");
        return Some(Box::new(outcome));
    }
    if !trusted(accepted.written.sent) {
        warn!(execution_id = %attempt.execution_id, "claim too old to act on; claiming again");
        return None;
    }
    let Prepared { mut execution, command } = prepared;
    // A command that may have been sent by others may have been sent since their claim.
    let began = match attempt.phase {
        Phase::Claimed { at, .. } if recovered => at,
        _ => clock::now(),
    };
    (execution.started_at, execution.time) = (Some(began), began);
    failpoint("after_claim");
    let outcome = run(shared, schedule, &mut execution, command, recovered).await;
    drop(urgent);
    failpoint("after_deliver");
    let now = clock::now();
    execution.end(outcome, now);
    execution.retry_at = retry(shared, schedule, attempt, &execution, now);
    execution.will_retry = execution.retry_at.is_some();
    shared.urgency.quiet().await;
    let ended = record(shared, attempt, execution).await;
    failpoint("after_record");
    log(&ended);
    Some(ended)
}

/// When a failed attempt is made again, by the record as it is now.
fn retry(
    shared: &Shared,
    schedule: &Schedule,
    attempt: &Attempt,
    ended: &Execution,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let final_error = ended.uncertain || ended.error_type == Some(ErrorType::NotAllowed);
    if ended.status != ExecutionStatus::Failed || final_error {
        return None;
    }
    match shared.index.get(schedule.id) {
        Some(entry) if entry.schedule.status != Status::Deleted => {
            retry_at(&entry.schedule, attempt.number, now)
        }
        _ => None,
    }
}

/// Writes an outcome to the history; returns the outcome that counts. That is the first one written
/// for the execution, which is another instance's where we and it both acted.
async fn record(shared: &Shared, attempt: &Attempt, ended: Box<Execution>) -> Box<Execution> {
    match shared.history.record(&ended).await {
        Recorded::New => ended,
        Recorded::Duplicate => {
            Box::pin(known_outcome(shared, attempt)).await.map_or(ended, Box::new)
        }
    }
}

/// Writes a skipped occurrence to the history.
pub(crate) async fn skip(
    shared: &Shared,
    accepted: &Accepted,
    attempt: &Attempt,
    range: crate::schedule::SkippedRange,
) -> Box<Execution> {
    let schedule = &accepted.schedule;
    let claim = Claim { instance: shared.members.me(), revision: accepted.written.revision };
    let skipped = Box::new(Execution::skipped(schedule, attempt, range, claim, clock::now()));
    failpoint("after_skip");
    let skipped = record(shared, attempt, skipped).await;
    log(&skipped);
    skipped
}

async fn run(
    shared: &Shared,
    schedule: &Schedule,
    execution: &mut Execution,
    command: Command,
    earlier: bool,
) -> Outcome {
    let target = &schedule.spec.target_command;
    if !shared.config.allowed_targets.iter().any(|pattern| pattern.allows(target)) {
        let text = format!("{} is not in the allow-list", target.as_str());
        return Outcome::failed(ErrorType::NotAllowed, text);
    }
    execution.timings.sent_at = Some(clock::now());
    let execution = &*execution;
    if schedule.spec.delivery.mode == DeliveryMode::Request {
        // Only requests take long enough for anybody to see them running.
        let (outcome, _) = tokio::join!(
            deliver::deliver(&shared.js, schedule, execution, command, earlier),
            shared.history.record(execution)
        );
        outcome
    } else {
        deliver::deliver(&shared.js, schedule, execution, command, earlier).await
    }
}

/// The outcome that an attempt's former instance recorded, if it got so far.
async fn known_outcome(shared: &Shared, attempt: &Attempt) -> Option<Execution> {
    loop {
        match shared.history.outcome(attempt.execution_id).await {
            Ok(outcome) => return outcome,
            Err(error) => {
                warn!(execution_id = %attempt.execution_id, %error, "waiting for the history");
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

fn trusted(claim_sent: Instant) -> bool {
    claim_sent.elapsed() < TRUST
}

fn log(execution: &Execution) {
    let (execution_id, schedule_id) = (execution.id, execution.schedule_id);
    let correlation_id = &execution.correlation_id;
    match execution.status {
        ExecutionStatus::Failed => warn!(
            %execution_id,
            %schedule_id,
            correlation_id,
            attempt = execution.attempt_number,
            error_type = execution.error_type.map(ErrorType::as_str),
            error = execution.error_message,
            retry_at = execution.retry_at.map(|at| at.to_rfc3339()),
            "execution failed"
        ),
        ExecutionStatus::Skipped => info!(
            %execution_id,
            %schedule_id,
            cause = execution.skipped.map(|range| range.cause.as_str()),
            count = execution.skipped.map(|range| range.count),
            "occurrences skipped"
        ),
        ExecutionStatus::Cancelled => info!(
            %execution_id,
            %schedule_id,
            correlation_id,
            reason = execution.error_message,
            "execution cancelled"
        ),
        ExecutionStatus::Success | ExecutionStatus::Running => tracing::debug!(
            %execution_id,
            %schedule_id,
            correlation_id,
            duration_ms = execution.duration_ms,
            "execution succeeded"
        ),
    }
}
