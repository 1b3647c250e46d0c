//! Spans of executions, for a collector of traces.

use crate::execution::{ErrorType, Execution};
use crate::otlp::{Kind, Span};
use crate::schedule::{Attempt, Schedule};

/// The span of an execution that has ended: the parent of whatever the receiver of its command does.
pub(super) fn span(schedule: &Schedule, attempt: &Attempt, ended: &Execution) -> Option<Span> {
    if !ended.status.is_final() {
        return None;
    }
    let own = attempt.manual.as_ref().and_then(|manual| manual.trace);
    let context = ended.trace?;
    // The schedule may have been changed since, within another trace.
    let parent = own
        .or_else(|| schedule.trace.as_deref().copied())
        .filter(|one| one.trace_id() == context.trace_id());
    let parent = parent.map(|parent| parent.span_id());
    let text = |value: &dyn std::fmt::Display| value.to_string();
    let mut attributes = vec![
        ("messaging.system", "nats".to_owned()),
        ("messaging.operation.type", "send".to_owned()),
        ("messaging.destination.name", ended.command_sent.clone()),
        ("messaging.message.id", text(&ended.id)),
        ("scheduler.schedule.id", text(&ended.schedule_id)),
        ("scheduler.schedule.name", ended.schedule_name.clone()),
        ("scheduler.scheduled_for", ended.scheduled_for.to_rfc3339()),
        ("scheduler.attempt", text(&ended.attempt_number)),
        ("scheduler.status", ended.status.as_str().to_owned()),
        ("scheduler.correlation_id", ended.correlation_id.clone()),
    ];
    let error_type = ended.error_type.as_ref().map(ErrorType::as_str);
    attributes.extend(error_type.map(|error_type| ("error.type", error_type.to_owned())));
    let failed = ended.status == crate::execution::ExecutionStatus::Failed;
    Some(Span {
        name: "execution",
        kind: Kind::Producer,
        context,
        parent,
        start: ended.started_at.unwrap_or(ended.time),
        end: ended.completed_at.unwrap_or(ended.time),
        attributes,
        error: failed.then(|| ended.error_message.clone().unwrap_or_default()),
    })
}
