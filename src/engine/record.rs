//! Records the outcome of an attempt, and what follows from it: a retry, a dead letter, counters, a span.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tracing::{info, warn};

use super::Shared;
use super::claim::Accepted;
use crate::execution::{ErrorType, Execution, ExecutionStatus};
use crate::failpoint::{failpoint, panic_at};
use crate::jetstream::history::{QueryError, Recorded};
use crate::load::Stage;
use crate::plan::retry_at;
use crate::port::Nats;
use crate::schedule::{Attempt, Phase, Schedule, ScheduleType, Status};

/// Records an event that says what became of an execution, and whether it is tried again.
pub(super) async fn conclude(
    shared: &Shared<impl Nats>,
    schedule: &Schedule,
    attempt: &Attempt,
    mut execution: Box<Execution>,
) -> Box<Execution> {
    execution.retry_at = retry(shared, schedule, attempt, &execution);
    execution.will_retry = execution.retry_at.is_some();
    let ended = record(shared, schedule, attempt, execution).await;
    failpoint("after_record");
    log(&ended);
    ended
}

/// When a failed attempt is made again, by the record as it is now; if that has been left to newer versions since, by
/// the one that the attempt was `claimed` under.
fn retry(
    shared: &Shared<impl Nats>,
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

/// Writes an outcome to the history; returns the outcome that counts. That is the first one written for the execution,
/// which is another instance's if both acted and it was first.
pub(super) async fn record(
    shared: &Shared<impl Nats>,
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
            // It is our own, whose acknowledgement was lost.
            let is_ours = known.as_ref().is_some_and(|known| known.lock_id == ended.lock_id);
            if is_ours && ended.status.is_final() {
                tell(shared, schedule, attempt, &ended);
            }
            known.map_or(ended, Box::new)
        }
    }
}

/// Counts an outcome and makes a span of it.
fn tell(shared: &Shared<impl Nats>, schedule: &Schedule, attempt: &Attempt, ended: &Execution) {
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

/// Counts an outcome, once for all instances: the instance that wrote it counts it.
fn count(shared: &Shared<impl Nats>, kind: ScheduleType, ended: &Execution) {
    // The occurrence was counted when it was skipped, and counters do not go back.
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
    shared: &Shared<impl Nats>,
    accepted: &Accepted,
    attempt: &Attempt,
    range: crate::schedule::SkippedRange,
) -> Box<Execution> {
    let schedule = &accepted.schedule;
    let claim = shared.claim_of(accepted.written.revision);
    let skipped = Box::new(Execution::skipped(schedule, attempt, range, claim, shared.clock.now()));
    failpoint("after_skip");
    panic_at("while_skipping");
    let skipped = record(shared, schedule, attempt, skipped).await;
    log(&skipped);
    skipped
}

/// The outcome that an attempt's former instance recorded, if it got that far.
pub(super) async fn known_outcome(
    shared: &Shared<impl Nats>,
    attempt: &Attempt,
) -> Option<Execution> {
    until_read(attempt, || shared.history.outcome(attempt.execution_id)).await
}

/// The latest event of an attempt, by whichever instance.
pub(super) async fn known(shared: &Shared<impl Nats>, attempt: &Attempt) -> Option<Execution> {
    until_read(attempt, || shared.history.get(attempt.execution_id)).await
}

/// Asks the history until it answers: no answer does not mean that there is nothing.
async fn until_read<F: Future<Output = Result<Option<Execution>, QueryError>>>(
    attempt: &Attempt,
    ask: impl Fn() -> F,
) -> Option<Execution> {
    loop {
        match ask().await {
            Ok(known) => return known,
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn no_answer_of_the_history_is_not_taken_for_nothing() {
        let (asked, at) = (AtomicUsize::new(0), DateTime::UNIX_EPOCH);
        let phase = Phase::Waiting { due_at: at };
        let attempt = Attempt::new(Uuid::from_u128(1), at, 1, phase);
        let ask = || async {
            match asked.fetch_add(1, Ordering::Relaxed) {
                0..3 => Err(QueryError::Loading("history")),
                _ => Ok(None),
            }
        };
        assert!(until_read(&attempt, ask).await.is_none());
        assert_eq!(asked.load(Ordering::Relaxed), 4);
    }
}
