//! Acting on a claim: deliver, record.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::claim::Accepted;
use super::urgency::Urgent;
use super::{Shared, finish};
use crate::execution::{Claim, ErrorType, Execution, ExecutionStatus, Outcome, payload};
use crate::failpoint::failpoint;
use crate::jetstream::deliver::Command;
use crate::jetstream::history::Recorded;
use crate::jetstream::publish::TrustLost;
use crate::load::Stage;
use crate::metrics::{Lock, LockFailure};
use crate::plan::retry_at;
use crate::schedule::{
    Attempt, Cancel, DeliveryMode, Phase, Schedule, ScheduleType, Sends, Status,
};

/// An attempt whose command is ready to be sent: what can be done before it is due has been.
pub(crate) struct Prepared {
    execution: Box<Execution>,
    command: Command,
}

/// Prepares an attempt under an accepted claim.
pub(crate) fn prepare(shared: &Shared, accepted: &Accepted, attempt: &Attempt) -> Prepared {
    let schedule = &accepted.schedule;
    let claim = Claim { instance: shared.members.me(), revision: accepted.written.revision };
    let mut execution = Box::new(Execution::started(schedule, attempt, claim, shared.clock.now()));
    execution.timings.due_at = Some(accepted.due_at(attempt));
    if let Phase::Claimed { at, .. } = *attempt.phase {
        execution.timings.claimed_at = Some(at);
    }
    let token = attempt.token.as_deref();
    let command = Command::new(schedule, &execution, &payload(schedule, attempt), token);
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
        Box::pin(finish::dead_letter(shared, schedule, attempt, &outcome, true)).await;
        return Some(Box::new(outcome));
    }
    let lock = if recovered { Lock::Takeover } else { Lock::Claim };
    if !shared.trusts(accepted, attempt) {
        return expired(shared, attempt, lock, recovered);
    }
    let Prepared { mut execution, command } = prepared;
    // A command that may have been sent by others may have been sent since their claim.
    let began = match *attempt.phase {
        Phase::Claimed { at, .. } if recovered => at,
        _ => shared.clock.now(),
    };
    (execution.started_at, execution.time) = (Some(began), began);
    failpoint("after_claim");
    let outcome = run(shared, accepted, attempt, &mut execution, command, recovered).await;
    drop(urgent);
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(TrustLost { maybe_sent }) => return expired(shared, attempt, lock, maybe_sent),
    };
    failpoint("after_deliver");
    let now = shared.clock.now();
    let acknowledged = match schedule.sends(attempt).delivery.mode {
        DeliveryMode::Publish => matches!(outcome, Outcome::Success { .. }),
        DeliveryMode::Job => matches!(outcome, Outcome::HandedOver),
        DeliveryMode::Request | DeliveryMode::Core => false,
    };
    execution.timings.acknowledged_at = acknowledged.then_some(now);
    execution.end(outcome, now);
    shared.urgency.quiet().await;
    let ended = conclude(shared, schedule, attempt, execution).await;
    shared.metrics.claim_held(lock, accepted.written.sent.elapsed());
    Some(ended)
}

/// Lets go of an attempt whose claim may no longer be trusted.
fn expired(
    shared: &Shared,
    attempt: &Attempt,
    lock: Lock,
    maybe_sent: bool,
) -> Option<Box<Execution>> {
    shared.metrics.claim_failed(lock, LockFailure::Expired);
    warn!(execution_id = %attempt.execution_id, maybe_sent, "claim not trusted any more; claiming again");
    None
}

/// Records an event of an execution that says what came of it, with what follows from a failure.
pub(super) async fn conclude(
    shared: &Shared,
    schedule: &Schedule,
    attempt: &Attempt,
    mut execution: Box<Execution>,
) -> Box<Execution> {
    execution.retry_at = retry(shared, schedule, attempt, &execution);
    execution.will_retry = execution.retry_at.is_some();
    let ended = record(shared, schedule, attempt, execution).await;
    failpoint("after_record");
    if ended.status == ExecutionStatus::Failed {
        Box::pin(finish::dead_letter(shared, schedule, attempt, &ended, false)).await;
    }
    log(&ended);
    ended
}

/// When a failed attempt is made again, by the record as it is now; by that which it was `claimed` under
/// where the record is left to newer versions since.
fn retry(
    shared: &Shared,
    claimed: &Schedule,
    attempt: &Attempt,
    ended: &Execution,
) -> Option<DateTime<Utc>> {
    let final_error = ended.uncertain
        || ended.error_type == Some(ErrorType::NotAllowed)
        || matches!(&*attempt.phase, Phase::Reported { report, .. } if report.is_final);
    if ended.status != ExecutionStatus::Failed || final_error {
        return None;
    }
    let entry = shared.index.get(ended.schedule_id);
    let schedule = match &entry {
        Some(entry) => &*entry.schedule,
        None if shared.index.is_left(ended.schedule_id) => claimed,
        None => return None,
    };
    if schedule.status == Status::Deleted {
        return None;
    }
    let error_type = ended.error_type.as_ref().map(ErrorType::as_str);
    retry_at(schedule, attempt.number, ended.id, error_type, ended.time)
}

/// Writes an outcome to the history; returns the outcome that counts. That is the first one written
/// for the execution, which is another instance's where we and it both acted.
pub(super) async fn record(
    shared: &Shared,
    schedule: &Schedule,
    attempt: &Attempt,
    ended: Box<Execution>,
) -> Box<Execution> {
    let recording = shared.load.enter(Stage::Recording);
    let recorded = shared.history.record(&ended).await;
    drop(recording);
    match recorded {
        Recorded::New | Recorded::Lost => {
            tell(shared, schedule, attempt, &ended);
            ended
        }
        Recorded::Duplicate => {
            let known = Box::pin(known_outcome(shared, attempt)).await;
            // Ours, whose acknowledgement was lost.
            let is_ours = known.as_ref().is_some_and(|known| known.lock_id == ended.lock_id);
            if is_ours && ended.status.is_final() {
                tell(shared, schedule, attempt, &ended);
            }
            known.map_or(ended, Box::new)
        }
    }
}

/// Counts an outcome, and makes a span of it.
fn tell(shared: &Shared, schedule: &Schedule, attempt: &Attempt, ended: &Execution) {
    count(shared, schedule.spec.timing.schedule_type, ended);
    #[cfg(feature = "otlp")]
    if let Some(exporter) = &shared.spans
        && let Some(span) = super::spans::span(schedule, attempt, ended)
    {
        exporter.export(span);
    }
    #[cfg(not(feature = "otlp"))]
    let _ = attempt;
}

/// Counts an outcome, once for all instances: who wrote it counts it.
fn count(shared: &Shared, kind: ScheduleType, ended: &Execution) {
    // What it corrects was counted when it was skipped, and counters do not go back.
    if ended.status == ExecutionStatus::Corrected {
        return;
    }
    if let Some(range) = ended.skipped {
        shared.metrics.skipped(kind, range.cause, range.count);
        return;
    }
    let duration = ended.duration_ms.and_then(|ms| u64::try_from(ms).ok());
    shared.metrics.ended(kind, ended.status, duration.map(Duration::from_millis));
    if ended.will_retry {
        shared.metrics.retried(kind, ended.attempt_number + 1);
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
    let skipped = Box::new(Execution::skipped(schedule, attempt, range, claim, shared.clock.now()));
    failpoint("after_skip");
    let skipped = record(shared, schedule, attempt, skipped).await;
    log(&skipped);
    skipped
}

async fn run(
    shared: &Shared,
    accepted: &Accepted,
    attempt: &Attempt,
    execution: &mut Execution,
    command: Command,
    earlier: bool,
) -> Result<Outcome, TrustLost> {
    let schedule = &accepted.schedule;
    let Sends { target, delivery: how, .. } = schedule.sends(attempt);
    if !shared.config.allowed_targets.iter().any(|pattern| pattern.allows(target)) {
        let text = format!("{} is not in the allow-list", target.as_str());
        return Ok(Outcome::failed(ErrorType::NotAllowed, text));
    }
    let now = shared.clock.now();
    execution.timings.sent_at = Some(now);
    let lateness = execution.timings.due_at.and_then(|due| (now - due).to_std().ok());
    let kind = schedule.spec.timing.schedule_type;
    shared.metrics.sent(kind, lateness.unwrap_or_default());
    let stage = match how.mode {
        DeliveryMode::Request => Stage::WaitingReply,
        DeliveryMode::Publish | DeliveryMode::Job | DeliveryMode::Core => Stage::Delivering,
    };
    let _in_stage = shared.load.enter(stage);
    let execution = &*execution;
    let trusted = || shared.trusts(accepted, attempt);
    let delivery = shared.delivery.deliver(how, execution, command, earlier, trusted);
    match how.mode {
        DeliveryMode::Publish | DeliveryMode::Core => delivery.await,
        // Only these take long enough for anybody to see them running.
        DeliveryMode::Request if cancel(shared, execution).is_some() => {
            Ok(cancelled(shared, execution))
        }
        DeliveryMode::Request => {
            let stopped = shared.stopped(execution.id);
            let (outcome, _) = tokio::try_join!(
                async {
                    tokio::select! {
                        outcome = delivery => outcome,
                        () = stopped.cancelled() => Ok(cancelled(shared, execution)),
                    }
                },
                // What is not sent need not be known to have been begun.
                async { Ok(shared.history.record(execution).await) }
            )?;
            Ok(outcome)
        }
        DeliveryMode::Job => Ok(match delivery.await? {
            Outcome::Success { .. } => Outcome::HandedOver,
            outcome => outcome,
        }),
    }
}

/// The wish that an execution be stopped, as its record says.
fn cancel(shared: &Shared, execution: &Execution) -> Option<Cancel> {
    let entry = shared.index.get(execution.schedule_id)?;
    let mut attempts = entry.schedule.attempts.iter();
    attempts.find(|attempt| attempt.execution_id == execution.id)?.cancel.as_deref().cloned()
}

/// The end of an execution that is to be stopped.
fn cancelled(shared: &Shared, execution: &Execution) -> Outcome {
    let cancel = cancel(shared, execution);
    let (by, reason) = cancel.map_or((None, None), |cancel| (Some(cancel.by), cancel.reason));
    Outcome::Cancelled { by, reason }
}

/// The outcome that an attempt's former instance recorded, if it got so far.
pub(super) async fn known_outcome(shared: &Shared, attempt: &Attempt) -> Option<Execution> {
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

fn log(execution: &Execution) {
    let (execution_id, schedule_id) = (execution.id, execution.schedule_id);
    let correlation_id = &execution.correlation_id;
    match execution.status {
        ExecutionStatus::Failed => warn!(
            %execution_id,
            %schedule_id,
            correlation_id,
            attempt = execution.attempt_number,
            error_type = execution.error_type.as_ref().map(ErrorType::as_str),
            error = execution.error_message,
            retry_at = execution.retry_at.map(|at| at.to_rfc3339()),
            "execution failed"
        ),
        ExecutionStatus::Skipped | ExecutionStatus::Corrected => info!(
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
        ExecutionStatus::Running => {
            tracing::debug!(%execution_id, %schedule_id, correlation_id, "a worker has the command");
        }
        ExecutionStatus::Success => tracing::debug!(
            %execution_id,
            %schedule_id,
            correlation_id,
            duration_ms = execution.duration_ms,
            "execution succeeded"
        ),
    }
}
