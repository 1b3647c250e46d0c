//! Folds the outcome of an execution into the record.

use chrono::{DateTime, Duration, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{MAX_WAITING, SCHEDULER, alerts, room};
use crate::execution::{Execution, ExecutionStatus};
use crate::moment::Moment as _;
use crate::schedule::{
    Attempt, AttemptEvent, Author, Cancel, Change, ChangeKind, EndedOccurrence, Ending, Phase,
    Schedule, Status, execution_id,
};
use crate::stored::Unknown;

/// When an attempt whose execution `id` failed at `now` is tried again, by the schedule's policy. `None` if it is not:
/// its retries are used up, failures of its kind are not tried again, or too many others are waiting already.
pub fn retry_at(
    schedule: &Schedule,
    number: u32,
    id: Uuid,
    error_type: Option<&str>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let spec = &schedule.spec;
    let waiting = |attempt: &&Attempt| attempt.waits();
    let too_many = schedule.attempts.iter().filter(waiting).count() >= MAX_WAITING;
    let is_final = error_type.is_some_and(|t| spec.retry.non_retryable.iter().any(|n| n == t));
    if number > u32::from(spec.max_retries) || too_many || is_final {
        return None;
    }
    Some(now.later(spec.retry.delay(number, id)))
}

/// Folds an event of an execution into the record; `followed` says whether other schedules wait for its end. Does
/// nothing, and returns false, if the record no longer holds the attempt, so settling twice has no further effect.
pub fn settle(schedule: &mut Schedule, ended: &Execution, followed: bool) -> bool {
    let Some(index) = schedule.attempts.iter().position(|a| a.execution_id == ended.id) else {
        return false;
    };
    if ended.status == ExecutionStatus::Running {
        return hand_over(schedule, index, ended);
    }
    let attempt = schedule.attempts.remove(index);
    // The others were waiting for this one. What was skipped was in nobody's way.
    let was_under_way = matches!(
        *attempt.phase,
        Phase::Claimed { .. } | Phase::Running { .. } | Phase::Reported { .. }
    );
    if was_under_way && room(schedule) == 1 {
        schedule.let_go(ended.time);
    }
    let was_made = matches!(ended.status, ExecutionStatus::Success | ExecutionStatus::Failed);
    count(schedule, ended, attempt.is_by_hand());
    let goes_on = ended.retry_at.is_some() || ended.status == ExecutionStatus::Corrected;
    // One of its former times says nothing of that which it has since.
    let is_former = schedule.next_run_at.is_some()
        || schedule.last_scheduled_for.is_some_and(|last| attempt.scheduled_for < last);
    if attempt.manual.is_none() && !goes_on && !is_former {
        schedule.note_only(ended.status == ExecutionStatus::Success);
    }
    let stopped = attempt.cancel.clone().or_else(|| {
        let reason = Some("the schedule was deleted".to_owned());
        let cancel = Cancel::new(SCHEDULER.to_owned(), reason);
        (schedule.status == Status::Deleted).then(|| Box::new(cancel))
    });
    if let Some(due_at) = ended.retry_at {
        let mut retry = attempt.retry(schedule.id, due_at);
        // The retry was promised, so its end is recorded too.
        if let Some(cancel) = stopped {
            let (by, report) = (ended.lock_id.instance, Box::new(cancel.report(ended.time)));
            // Ignored: a waiting attempt can always be stopped.
            let _ = retry.on(AttemptEvent::Stop { by, report });
        }
        schedule.attempts.push(retry);
    } else if was_made && followed {
        schedule.ended.push(EndedOccurrence {
            execution_id: ended.id,
            success: ended.status == ExecutionStatus::Success,
            trace: ended.trace,
            correlation_id: ended.correlation_id.clone(),
            at: ended.completed_at.unwrap_or(ended.time),
            unknown: Unknown::default(),
        });
    }
    schedule.end_if_over(ended.time);
    true
}

/// Counts an outcome. It may be settled after one that ended later; then it says nothing of how the schedule stands. A
/// run by hand that fails says nothing of the schedule's occurrences; one that succeeds shows that all is well.
pub(crate) fn count(schedule: &mut Schedule, ended: &Execution, by_hand: bool) {
    let at = ended.completed_at.unwrap_or(ended.time);
    let was_followed = schedule.last_success_at().is_some_and(|success| success > at);
    let made = matches!(ended.status, ExecutionStatus::Success | ExecutionStatus::Failed);
    if made {
        schedule.run_count.add();
        schedule.last_run_at = schedule.last_run_at.max(ended.started_at);
    }
    match ended.status {
        ExecutionStatus::Success => {
            schedule.success_count.add();
            alerts::succeeded(schedule, ended, at);
        }
        ExecutionStatus::Failed => {
            schedule.failure_count.add();
            if ended.retry_at.is_some() || was_followed {
                return;
            }
            schedule.standing.get_or_insert_default().last_outcome = Some(Ending::Failed);
            if !by_hand {
                schedule.consecutive_failures = schedule.consecutive_failures.saturating_add(1);
                alerts::failing(schedule, ended, at);
                pause_on_failure(schedule, ended);
            }
        }
        ExecutionStatus::Cancelled if !was_followed => {
            schedule.standing.get_or_insert_default().last_outcome = Some(Ending::Cancelled);
        }
        ExecutionStatus::Cancelled
        | ExecutionStatus::Skipped
        | ExecutionStatus::Corrected
        | ExecutionStatus::Running => {}
    }
}

/// Hands the attempt over to the worker that has its command and will report; stops it if it was to be stopped
/// meanwhile.
fn hand_over(schedule: &mut Schedule, index: usize, started: &Execution) -> bool {
    let delivery = schedule.sends(&schedule.attempts[index]).delivery;
    let timeout = Duration::seconds(i64::from(delivery.timeout_seconds));
    let heartbeat_seconds = delivery.heartbeat_seconds;
    let attempt = &mut schedule.attempts[index];
    let since = started.started_at.unwrap_or(started.time);
    // Counted from when the worker had it: an attempt that was taken over began long before.
    let deadline = started.time.later(timeout);
    if attempt.on(AttemptEvent::HandOver { since, deadline, heartbeat_seconds }).is_err() {
        return false;
    }
    attempt.unpin_payload();
    if let Some(cancel) = attempt.cancel.take() {
        let (by, report) = (started.lock_id.instance, Box::new(cancel.report(started.time)));
        // Ignored: a running attempt can always be stopped.
        let _ = attempt.on(AttemptEvent::Stop { by, report });
    }
    true
}

/// Pauses a recurring schedule that has failed too often in a row, and notes that as a change.
fn pause_on_failure(schedule: &mut Schedule, ended: &Execution) {
    let failures = schedule.consecutive_failures;
    let enough =
        schedule.spec.pause_on_failure.is_some_and(|most| failures >= u32::from(most.get()));
    let recurs = schedule.spec.timing.schedule_type.recurs();
    let acts = enough && recurs && schedule.status == Status::Active;
    let reason = format!("{failures} occurrences failed in a row");
    if !acts || schedule.pause(Some(&reason), None).is_err() {
        return;
    }
    let now = ended.completed_at.unwrap_or(ended.time);
    schedule.updated_at = now;
    schedule.updated_by = Some(SCHEDULER.into());
    // Derived, not drawn, so that deciding again gives the same id.
    let event_id = execution_id(ended.id, now, 0);
    schedule.note_change(event_id);
    let details = json!({
        "reason": reason, "resume_at": null, "paused_by": SCHEDULER, "paused_at": now,
    });
    let author = Author { actor: SCHEDULER, correlation_id: &ended.correlation_id };
    let paused = Change::new(event_id, ChangeKind::Paused, schedule, author, now, details);
    schedule.events.push(paused);
}
