//! Values derived from an attempt: its command's body, and the ids by which its execution is found again.

use std::borrow::Cow;

use uuid::Uuid;

use super::ExecutionStatus;
use crate::names::header_line;
use crate::schedule::{Attempt, Payload, Schedule, Sends, Status, Values, render};
use crate::trace_context::TraceContext;

/// The body of an attempt's command.
pub fn payload<'a>(schedule: &'a Schedule, attempt: &'a Attempt) -> Cow<'a, Payload> {
    let Sends { name, payload, is_template, zone, .. } = schedule.sends(attempt);
    if !is_template {
        return Cow::Borrowed(payload);
    }
    let correlation_id = correlation_id(schedule, attempt);
    let values = Values {
        schedule_id: schedule.id,
        schedule_name: name,
        execution_id: attempt.execution_id,
        correlation_id: &correlation_id,
        attempt: attempt.number,
        scheduled_for: attempt.scheduled_for,
        zone,
    };
    Payload::from_text(render(payload, &values)).map_or(Cow::Borrowed(payload), Cow::Owned)
}

/// The correlation id of an occurrence: the id of its first attempt; for a run by hand, and for a command
/// without a schedule of its own, that of the request. It has the form of a header value, so that commands,
/// events and searches agree, whatever was written into the record.
pub fn correlation_id(schedule: &Schedule, attempt: &Attempt) -> String {
    if let Some(manual) = &attempt.manual {
        return header_line(&manual.correlation_id).into_owned();
    }
    if schedule.purge && schedule.status != Status::Deleted {
        return header_line(&schedule.correlation_id).into_owned();
    }
    crate::schedule::execution_id(schedule.id, attempt.scheduled_for, 1).to_string()
}

/// The trace of an attempt: that of the request that asked for it, or of the request that made the schedule
/// what it is; otherwise one of its occurrence.
pub(super) fn trace_context(schedule: &Schedule, attempt: &Attempt) -> TraceContext {
    let id = attempt.execution_id;
    let own = attempt.manual.as_ref().and_then(|manual| manual.trace);
    let occurrence =
        Uuid::try_parse(&correlation_id(schedule, attempt)).ok().filter(|id| !id.is_nil());
    let first = occurrence
        .unwrap_or_else(|| crate::schedule::execution_id(schedule.id, attempt.scheduled_for, 1));
    // The receiver of the command decides for itself what it records.
    TraceContext::for_execution(id, first, own.or(schedule.sends(attempt).trace), true)
}

/// The `Nats-Msg-Id` of an event in the history. All final events of an execution share one id, so the stream
/// itself refuses a second outcome, whatever it is.
pub fn event_id(execution: Uuid, status: ExecutionStatus) -> String {
    let event = match status {
        ExecutionStatus::Running => "started",
        // Kept beside the outcome that it corrects.
        ExecutionStatus::Corrected => "corrected",
        _ => "outcome",
    };
    format!("{execution}.{event}")
}
