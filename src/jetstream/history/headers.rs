//! Reads an event from its headers: they say all that the index needs, so it never reads a body.

use async_nats::HeaderMap;
use chrono::{DateTime, SecondsFormat, Utc};
use uuid::Uuid;

use crate::execution::{ErrorType, Execution, ExecutionStatus};
use crate::history_index::Event;
use crate::names;
use crate::port::headers::Headers;
use crate::text::within;

/// Longest encoded error type, in bytes; a worker may have made it up.
const MAX_ERROR_TYPE: usize = 1536;

/// Longest encoded subject of a command, in bytes; that of a record written by hand may have any length.
const MAX_COMMAND: usize = 765;

/// The subject of a command as its header writes it.
pub(crate) fn command_header(command: &str) -> String {
    names::header_text(&within(command, MAX_COMMAND)).into_owned()
}

/// An error type as its header writes it.
pub(crate) fn error_header(error_type: &str) -> String {
    names::header_text(&within(error_type, MAX_ERROR_TYPE)).into_owned()
}

pub(super) fn event_headers(execution: &Execution) -> Headers {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut headers = Headers::default();
    headers.line(names::MESSAGE_ID, &execution.event_id);
    headers.line(names::EXECUTION_ID, &execution.id.to_string());
    headers.line(names::SCHEDULED_FOR, &text(execution.scheduled_for));
    headers.line(names::CORRELATION_ID, &execution.correlation_id);
    headers.line(names::STARTED_AT, &text(execution.started_at.unwrap_or(execution.time)));
    if !execution.command_sent.is_empty() {
        headers.text(names::COMMAND_SENT, &within(&execution.command_sent, MAX_COMMAND));
    }
    if let Some(duration_ms) = execution.duration_ms {
        headers.line(names::DURATION_MS, &duration_ms.to_string());
    }
    if let Some(error_type) = execution.error_type.as_ref().map(ErrorType::as_str) {
        headers.text(names::ERROR_TYPE, &within(error_type, MAX_ERROR_TYPE));
    }
    if let Some(range) = &execution.skipped {
        headers.number(names::SKIPPED_COUNT, range.count);
    }
    headers
}

/// Reads an event from its subject and headers; it was stored at `stored_at`.
///
/// Events of earlier versions have no duration, error type or count: they are taken to have lasted until they were
/// stored, and their count to be one. Those before format 7 do not say what was sent: only their bodies do.
pub(super) fn event<'a>(
    sequence: u64,
    subject: &str,
    headers: &'a HeaderMap,
    stored_at: DateTime<Utc>,
) -> Option<Event<'a>> {
    let rest = subject.strip_prefix(names::EXECUTION_EVENT_PREFIX)?.strip_prefix('.')?;
    let (event, schedule) = rest.split_once('.')?;
    let text = |name: &str| Some(headers.get(name)?.as_str());
    let time =
        |name: &str| Some(DateTime::parse_from_rfc3339(text(name)?).ok()?.timestamp_millis());
    let status = ExecutionStatus::from_event(event)?;
    let started_at_ms = time(names::STARTED_AT)?;
    let until_stored = match status {
        ExecutionStatus::Success | ExecutionStatus::Failed => {
            stored_at.timestamp_millis().saturating_sub(started_at_ms).max(0)
        }
        _ => 0,
    };
    Some(Event {
        sequence,
        execution: Uuid::try_parse(text(names::EXECUTION_ID)?).ok()?,
        schedule: Uuid::try_parse(schedule).ok()?,
        status,
        correlation: text(names::CORRELATION_ID).unwrap_or_default(),
        scheduled_for_ms: time(names::SCHEDULED_FOR).unwrap_or(started_at_ms),
        started_at_ms,
        duration_ms: text(names::DURATION_MS)
            .and_then(|text| text.parse().ok())
            .unwrap_or(until_stored),
        error: text(names::ERROR_TYPE),
        command: text(names::COMMAND_SENT),
        skipped: text(names::SKIPPED_COUNT).and_then(|text| text.parse().ok()).unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_earlier_versions_are_read() {
        let (execution, schedule) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut headers = HeaderMap::new();
        headers.insert(names::EXECUTION_ID, execution.to_string());
        headers.insert(names::STARTED_AT, "2026-01-01T00:00:00.500Z");
        headers.insert(names::CORRELATION_ID, "c");
        let stored_at = "2026-01-01T00:00:02Z".parse().unwrap();
        let subject = names::execution_subject("failed", schedule);
        let read = event(7, &subject, &headers, stored_at).unwrap();
        assert_eq!((read.sequence, read.execution, read.schedule), (7, execution, schedule));
        assert_eq!((read.duration_ms, read.error, read.skipped), (1500, None, 1));
        headers.insert(names::DURATION_MS, "30");
        headers.insert(names::ERROR_TYPE, "timeout");
        let read = event(7, &subject, &headers, stored_at).unwrap();
        assert_eq!((read.duration_ms, read.error), (30, Some("timeout")));
        assert_eq!(read.command, None);
        headers.insert(names::COMMAND_SENT, "cmd.a");
        let read = event(7, &subject, &headers, stored_at).unwrap();
        assert_eq!(read.command, Some(command_header("cmd.a")).as_deref());
        assert!(event(7, "evt.scheduler.execution.odd.x", &headers, stored_at).is_none());
        assert!(event(7, &subject, &HeaderMap::new(), stored_at).is_none());
    }
}
