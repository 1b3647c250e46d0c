//! Writes events to the history.
//!
//! An event's id is its `Nats-Msg-Id`, and all outcomes of an execution share one, so the stream itself refuses a
//! second outcome. It remembers ids only for its duplicate window. The instance that had the execution before us may
//! have sent an outcome at any time from its claim on; once that is longer ago than the stream is sure to remember, the
//! history is searched for one first.
//!
//! An event that the stream refuses for good is written without its bodies, and then in its least form. If the stream
//! refuses that too, nothing is left to write: the event is given up, logged, and counted as trouble.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::Serialize;
use tracing::{error, warn};
use uuid::Uuid;

use super::History;
use super::headers::event_headers;
use crate::execution::{Execution, ExecutionStatus};
use crate::guards::{Guard, Guards as _};
use crate::jetstream::event::{Event, policy};
use crate::jetstream::publish::{Earlier, Fate, Publishing, Sent, until_known};
use crate::jetstream::writes::OurStream;
use crate::names;
use crate::port::headers::Headers;
use crate::port::{Append, Nats};
use crate::schedule::write_instant;
use crate::stored;

/// Result of writing an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the history.
    New,
    /// The history already had one with its id, ours or another instance's.
    Duplicate,
    /// The stream refuses it even in its least form, so the history does not have it.
    Lost,
}

/// An event that is being written.
struct Recording<'a, N: Nats> {
    history: &'a History<N>,
    execution: &'a Execution,
    subject: String,
    event: Event<'a, N>,
    headers: Headers,
    body: Bytes,
    form: Form,
}

/// How much of an event is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Whole,
    WithoutBodies,
    Least,
}

impl<N: Nats> History<N> {
    /// Writes an event; returns once the stream has it, however long that takes, or refuses its least form. If
    /// cancelled, it may or may not be written.
    pub async fn record(&self, execution: &Execution) -> Recorded {
        let subject = names::execution_subject(execution.status.event(), execution.schedule_id);
        let (mut headers, body) = encode(execution);
        if !N::Guards::hold(Guard::OutcomeId) {
            headers.line(names::MESSAGE_ID, &self.nats.new_inbox());
        }
        let mut recording = Recording {
            history: self,
            execution,
            subject,
            event: Event::new(&self.lines, &self.writes, OurStream::Executions),
            headers,
            body,
            form: Form::Whole,
        };
        let known = until_known(&mut recording, policy(Some(first_sent(execution)))).await;
        match known.map(|known| known.fate) {
            Ok(Fate::Stored { duplicate: false }) => Recorded::New,
            Ok(Fate::Stored { duplicate: true }) => Recorded::Duplicate,
            Ok(fate) => {
                let (execution_id, reason) = (execution.id, format!("{fate:?}"));
                error!(%execution_id, reason, "history refuses an event in its least form: it is lost");
                recording.event.lost(&reason);
                Recorded::Lost
            }
            // No trust is needed, so it cannot be lost: it is the same event whoever writes it.
            Err(_) => Recorded::Lost,
        }
    }

    /// How long the stream is sure to drop a copy by itself: half of its duplicate window; the rest is allowed for the
    /// way.
    fn remembered(&self) -> Duration {
        Duration::from_millis(self.mirror.index.window_ms.load(Ordering::Relaxed)) / 2
    }
}

/// When an event may first have been sent: not before the execution was claimed.
fn first_sent(execution: &Execution) -> DateTime<Utc> {
    let times = [execution.timings.claimed_at, execution.started_at];
    times.into_iter().flatten().fold(execution.time, DateTime::min)
}

/// Whether a final event is in the history, given the latest event of its execution: a correction comes after the
/// outcome that it corrects.
fn is_there(event: &Execution, latest: &Execution) -> bool {
    latest.event_id == event.event_id || event.status != ExecutionStatus::Corrected
}

fn encode(execution: &Execution) -> (Headers, Bytes) {
    // What is valid can be written.
    let mut body = stored::encode(execution).unwrap_or_default();
    let aliases = serde_json::to_vec(&Aliases::of(execution)).unwrap_or_default();
    if let [b'{', aliases @ ..] = &aliases[..]
        && body.pop_if(|last| *last == b'}').is_some()
    {
        body.push(b',');
        body.extend_from_slice(aliases);
    }
    (event_headers(execution), body.into())
}

/// What the Python service called some fields of its events. Those who listen find them here; whoever reads the history for
/// the service leaves them out.
#[derive(Serialize)]
struct Aliases<'a> {
    execution_id: Uuid,
    target_command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_instant")]
    failed_at: Option<DateTime<Utc>>,
    /// Otherwise left out where it is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    will_retry: Option<bool>,
}

impl<'a> Aliases<'a> {
    fn of(execution: &'a Execution) -> Self {
        let failed = execution.status == ExecutionStatus::Failed;
        Self {
            execution_id: execution.id,
            target_command: &execution.command_sent,
            failed_at: execution.completed_at.filter(|_| failed),
            will_retry: (failed && !execution.will_retry).then_some(false),
        }
    }
}

/// Leaves out what events say twice.
pub(super) fn leave_aliases_out(execution: &mut Execution) {
    for name in ["execution_id", "target_command", "failed_at"] {
        execution.unknown.take(name);
    }
}

impl<N: Nats> Publishing for Recording<'_, N> {
    type Place = ();

    fn now(&self) -> DateTime<Utc> {
        self.history.clock.now()
    }

    fn is_connected(&self) -> bool {
        self.event.is_connected()
    }

    async fn enter(&self, _: &(impl Fn() -> bool + Sync)) -> Option<()> {
        Some(())
    }

    async fn search(&self, since: DateTime<Utc>) -> Earlier {
        // A second event that is not an outcome changes nothing.
        let age = (self.history.clock.now() - since).to_std().unwrap_or_default();
        if !N::Guards::hold(Guard::HistorySearch) {
            return Earlier::Remembered;
        }
        if !self.execution.status.is_final() || age < self.history.remembered() {
            return Earlier::Remembered;
        }
        match self.history.outcome(self.execution.id).await {
            Ok(Some(latest)) if is_there(self.execution, &latest) => Earlier::Stored,
            Ok(_) => Earlier::Remembered,
            Err(error) => Earlier::Unknown(error.to_string()),
        }
    }

    async fn send(&self, may: &(impl Fn() -> bool + Sync)) -> Sent {
        let (subject, headers) = (self.subject.clone(), self.headers.clone());
        self.event.send(Append { subject, headers, body: self.body.clone() }, may).await
    }

    fn reduce(&mut self, reason: &str) -> bool {
        let (form, lesser) = match self.form {
            Form::Whole => (Form::WithoutBodies, self.execution.without_bodies()),
            Form::WithoutBodies => (Form::Least, self.execution.least()),
            Form::Least => return false,
        };
        warn!(execution_id = %self.execution.id, reason, ?form, "history refuses an event; trying a lesser form");
        self.form = form;
        (self.headers, self.body) = encode(&lesser);
        true
    }

    fn failed(&mut self, sent: &Sent) {
        if let Some(error) = self.event.failed(sent) {
            warn!(execution_id = %self.execution.id, error, "history cannot be written; will retry");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn event(text: &str) -> Execution {
        let (id, at) = (Uuid::from_u128(1), "2026-01-01T00:00:05Z");
        let event = json!({
            "id": id, "event_id": "e", "time": at, "schedule_id": id, "schedule_name": text,
            "created_by": text, "scheduled_for": at, "status": "failed", "attempt_number": 1,
            "correlation_id": text, "command_sent": text, "command_payload": { "text": text },
            "response_payload": text, "response_event": text, "error_message": text,
            "error_type": text, "cancelled_by": text, "triggered_by": text, "unheard_of": text,
            "started_at": "2026-01-01T00:00:03Z",
            "timings": { "claimed_at": "2026-01-01T00:00:02Z", "unheard_of": text },
            "lock_id": { "instance": id, "revision": 1 },
        });
        serde_json::from_str(&event.to_string()).unwrap()
    }

    #[test]
    fn the_least_form_is_small_however_long_its_texts_are() {
        for text in ["x".repeat(100_000), "\u{1}é".repeat(100_000)] {
            let (headers, body) = encode(&event(&text).least());
            let headers: usize = async_nats::HeaderMap::from(headers)
                .iter()
                .flat_map(|(_, values)| values)
                .map(|v| v.as_str().len())
                .sum();
            assert!(body.len() + headers < 16_384, "{} {headers}", body.len());
            let read: Execution = serde_json::from_slice(&body).unwrap();
            assert!(read.truncated && read.error_message.unwrap().ends_with('…'));
        }
        let short = event("short");
        assert_eq!(short.least().error_message, short.error_message);
    }

    #[test]
    fn an_event_may_have_been_sent_since_its_execution_was_claimed() {
        assert_eq!(first_sent(&event("")).to_rfc3339(), "2026-01-01T00:00:02+00:00");
    }

    #[test]
    fn a_correction_is_not_there_because_what_it_corrects_is() {
        let skipped = event("");
        let corrected = Execution {
            status: ExecutionStatus::Corrected,
            event_id: "c".to_owned(),
            ..skipped.clone()
        };
        assert!(is_there(&skipped, &skipped) && is_there(&corrected, &corrected));
        assert!(is_there(&skipped, &corrected) && !is_there(&corrected, &skipped));
    }
}
