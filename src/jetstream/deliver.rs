//! Sending a command.
//!
//! Whatever the mode, the message is the same: the user's payload untouched, and headers that tell
//! a receiver what it needs to drop what it has already seen. `request` and `core` are sent once.
//!
//! # Publishing until its fate is known
//!
//! A `publish` whose acknowledgement does not come may be stored, lost, or stored later. Reporting
//! it as failed would be followed by another attempt under another id, and then both could be
//! stored. So it is sent again under the same `Nats-Msg-Id`, and the stream drops what it has.
//!
//! The stream remembers ids only for its duplicate window. A message that may have been sent longer
//! ago than half of that, by us or by the instance that we took the attempt over from, is first
//! looked for in the stream itself. Nothing is sent while the connection is down: the client would
//! queue it and send it whenever it comes back.
//!
//! (What happens rarely is boxed: a firing is a future, thousands are under way at once, and each is
//! as large as its largest step.)
//!
//! Once one try has been of unknown fate, no later refusal proves that none was stored: the attempt
//! then ends as a failure that is not retried, and says so.

use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use async_nats::{Client, HeaderMap, HeaderValue, RequestErrorKind};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::StreamExt as _;
use tracing::debug;

use super::{WriteError, names};
use crate::clock;
use crate::execution::{ErrorType, Execution, Outcome, Response};
use crate::schedule::{DeliveryMode, Payload, Schedule};

/// Pause between tries to publish.
const RETRY: Duration = Duration::from_millis(250);
/// Time spent on unanswered tries, while connected, after which a publish is given up: less than the
/// least lease, so that nobody takes over what is still tried.
pub(crate) const MAX_UNANSWERED: Duration = Duration::from_secs(240);
/// How long to search a stream for a message.
const SEARCH: Duration = Duration::from_secs(30);

/// A command, ready to be sent.
pub struct Command {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Command {
    /// The command of an execution of a schedule.
    pub fn new(
        schedule: &Schedule,
        execution: &Execution,
        payload: &Payload,
        token: Option<&str>,
    ) -> Self {
        let mut headers = headers(schedule, execution);
        if let Some(token) = token {
            headers.insert(names::TOKEN, token);
            headers.insert(names::CANCEL_SUBJECT, names::cancel_subject(execution.id));
        }
        Self { headers, body: payload.to_bytes() }
    }
}

/// Sends the command of an execution and reports what became of it.
///
/// `earlier` says that another instance, or this one under an older claim, may have sent it since
/// the execution started.
pub async fn deliver(
    js: &jetstream::Context,
    schedule: &Schedule,
    execution: &Execution,
    command: Command,
    earlier: bool,
) -> Outcome {
    let Command { headers, body } = command;
    match schedule.spec.delivery.mode {
        DeliveryMode::Publish | DeliveryMode::Job => {
            publish(js, execution, headers, body, earlier).await
        }
        DeliveryMode::Request => Box::pin(request(js, schedule, headers, body)).await,
        DeliveryMode::Core => Box::pin(core(js, schedule, headers, body)).await,
    }
}

async fn publish(
    js: &jetstream::Context,
    execution: &Execution,
    headers: HeaderMap,
    body: Bytes,
    earlier: bool,
) -> Outcome {
    let subject = execution.command_sent.as_str();
    let message = PublishMessage::build().payload(body).headers(headers);
    let since = execution.started_at.unwrap_or(execution.scheduled_for);
    let mut maybe_sent = earlier;
    let mut unanswered = Duration::ZERO;
    loop {
        connected(&js.client()).await;
        let tried = Instant::now();
        if maybe_sent {
            match Box::pin(earlier_copy(js, execution, since)).await {
                Earlier::Remembered => {}
                Earlier::Stored => return Outcome::success(),
                Earlier::NeverAcknowledged(stream) => {
                    let text = format!("stream {stream} acknowledges nothing (no_ack)");
                    return Outcome::uncertain(ErrorType::Refused, text);
                }
                Earlier::Unknown => {
                    tokio::time::sleep(RETRY).await;
                    unanswered += tried.elapsed();
                    if unanswered >= MAX_UNANSWERED {
                        return given_up("the stream does not say whether it has the command");
                    }
                    continue;
                }
            }
        }
        let sent = match js.send_publish(subject.to_owned(), message.clone()).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        let error = match sent.map_err(WriteError::from) {
            Ok(_) => return Outcome::success(),
            // The same answer comes when JetStream is out of reach for a moment: only its own word
            // that no stream captures the subject is final.
            Err(WriteError::NoStream) => {
                if Box::pin(captured(js, subject)).await == Some(false) {
                    let text = format!("no stream captures {subject}");
                    return Outcome::failed_after(maybe_sent, ErrorType::NoStream, text);
                }
                WriteError::NoStream
            }
            Err(error @ (WriteError::Refused(_) | WriteError::Conflict)) => {
                return Outcome::failed_after(maybe_sent, ErrorType::Refused, error.to_string());
            }
            Err(error) => {
                maybe_sent = true;
                error
            }
        };
        debug!(subject, %error, "publishing again under the same id");
        tokio::time::sleep(RETRY).await;
        unanswered += tried.elapsed();
        if unanswered >= MAX_UNANSWERED {
            return given_up(&error.to_string());
        }
    }
}

fn given_up(reason: &str) -> Outcome {
    let seconds = MAX_UNANSWERED.as_secs();
    let text = format!("no acknowledgement in {seconds} s of trying: {reason}");
    Outcome::uncertain(ErrorType::Timeout, text)
}

/// What a stream says of a message that may have been sent before.
enum Earlier {
    /// The stream still remembers ids of that time: it drops a copy by itself.
    Remembered,
    /// It holds the message.
    Stored,
    /// It never acknowledges, so nobody can know.
    NeverAcknowledged(String),
    /// It does not answer.
    Unknown,
}

async fn earlier_copy(
    js: &jetstream::Context,
    execution: &Execution,
    since: DateTime<Utc>,
) -> Earlier {
    let subject = execution.command_sent.as_str();
    let stream = match js.stream_by_subject(subject).await {
        Ok(name) => js.get_stream(name).await,
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => {
            return Earlier::Remembered;
        }
        Err(_) => return Earlier::Unknown,
    };
    let Ok(stream) = stream else {
        return Earlier::Unknown;
    };
    let config = &stream.cached_info().config;
    if config.no_ack {
        return Earlier::NeverAcknowledged(config.name.clone());
    }
    let age = (clock::now() - since).to_std().unwrap_or_default();
    if age < config.duplicate_window / 2 {
        return Earlier::Remembered;
    }
    match tokio::time::timeout(SEARCH, holds(js, &stream, execution, since)).await {
        Ok(Some(true)) => Earlier::Stored,
        Ok(Some(false)) => Earlier::Remembered,
        Ok(None) | Err(_) => Earlier::Unknown,
    }
}

/// Whether a stream holds the command of an execution that was claimed at `since`; `None` if it
/// does not say.
async fn holds(
    js: &jetstream::Context,
    stream: &Stream,
    execution: &Execution,
    since: DateTime<Utc>,
) -> Option<bool> {
    let id = execution.id.to_string();
    // Clocks differ; half a minute more to read costs little.
    let start = since - chrono::Duration::seconds(30);
    let config = push::OrderedConfig {
        deliver_subject: js.client().new_inbox(),
        deliver_policy: DeliverPolicy::ByStartTime { start_time: start },
        filter_subject: execution.command_sent.clone(),
        headers_only: true,
        ..Default::default()
    };
    let mut consumer = stream.create_consumer(config).await.ok()?;
    if consumer.info().await.ok()?.num_pending == 0 {
        return Some(false);
    }
    let mut messages = consumer.messages().await.ok()?;
    while let Some(message) = messages.next().await {
        let message = message.ok()?;
        let found = message.headers.as_ref().and_then(|headers| headers.get(names::MESSAGE_ID));
        if found.is_some_and(|found| found.as_str() == id) {
            return Some(true);
        }
        if message.info().ok()?.pending == 0 {
            return Some(false);
        }
    }
    None
}

/// Waits until the connection is up.
pub(crate) async fn connected(client: &Client) {
    while client.connection_state() != State::Connected {
        tokio::time::sleep(RETRY).await;
    }
}

async fn request(
    js: &jetstream::Context,
    schedule: &Schedule,
    headers: HeaderMap,
    body: Bytes,
) -> Outcome {
    let timeout = Duration::from_secs(u64::from(schedule.spec.delivery.timeout_seconds));
    let request = async_nats::Request::new().headers(headers).payload(body).timeout(Some(timeout));
    let subject = schedule.spec.target_command.as_str();
    match js.client().send_request(subject.to_owned(), request).await {
        Ok(reply) => {
            let response = Some(Response::keep(&reply.payload));
            let error = reply.headers.as_ref().and_then(|headers| {
                let text = headers.get(names::SERVICE_ERROR)?.as_str();
                let code = headers.get(names::SERVICE_ERROR_CODE).map_or("", |code| code.as_str());
                Some(format!("{code} {text}").trim().to_owned())
            });
            if let Some(message) = error {
                let error_type = ErrorType::ServiceError;
                return Outcome::Failed { error_type, message, response, uncertain: false };
            }
            if is_stream_ack(&reply.payload) {
                let text = format!("a stream captures {subject} and answered before any worker");
                return Outcome::uncertain(ErrorType::Captured, text);
            }
            Outcome::Success { response_event: Some(reply.subject.to_string()), response }
        }
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders => {
                Outcome::failed(ErrorType::NoResponders, format!("nobody listens on {subject}"))
            }
            RequestErrorKind::TimedOut => {
                let text = format!("no reply within {} s", timeout.as_secs());
                Outcome::failed(ErrorType::Timeout, text)
            }
            _ => Outcome::failed(ErrorType::Connection, error.to_string()),
        },
    }
}

/// Whether a reply is the acknowledgement of a stream and not a worker's: nothing but its fields.
fn is_stream_ack(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the shape matters")]
    struct Ack {
        stream: String,
        seq: u64,
        domain: Option<String>,
        duplicate: Option<bool>,
    }
    serde_json::from_slice::<Ack>(body).is_ok()
}

async fn core(
    js: &jetstream::Context,
    schedule: &Schedule,
    headers: HeaderMap,
    body: Bytes,
) -> Outcome {
    let subject = schedule.spec.target_command.as_str().to_owned();
    connected(&js.client()).await;
    match js.client().publish_with_headers(subject, headers, body).await {
        Ok(()) => Outcome::success(),
        Err(error) => Outcome::failed(ErrorType::Connection, error.to_string()),
    }
}

/// Whether a stream captures a subject; `None` if JetStream does not say.
pub async fn captured(js: &jetstream::Context, subject: &str) -> Option<bool> {
    match js.stream_by_subject(subject).await {
        Ok(_) => Some(true),
        Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

fn headers(schedule: &Schedule, execution: &Execution) -> HeaderMap {
    let scheduled_for = execution.scheduled_for.to_rfc3339_opts(SecondsFormat::Millis, true);
    let id = execution.id.to_string();
    let mut headers = HeaderMap::new();
    headers.insert(names::SCHEDULE_ID, schedule.id.to_string());
    headers.insert(names::SCHEDULE_NAME, names::header_text(&schedule.spec.name).as_ref());
    headers.insert(names::EXECUTION_ID, id.as_str());
    headers.insert(names::ATTEMPT, HeaderValue::from(u64::from(execution.attempt_number)));
    headers.insert(names::SCHEDULED_FOR, scheduled_for);
    headers.insert(names::REVISION, HeaderValue::from(execution.lock_id.revision));
    headers.insert(names::CORRELATION_ID, execution.correlation_id.as_str());
    if let Some(trace) = execution.trace {
        headers.insert(names::TRACEPARENT, trace.to_string());
    }
    headers.insert(names::MESSAGE_ID, id);
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_acknowledgement_is_taken_for_one() {
        assert!(is_stream_ack(br#"{"stream":"COMMANDS","seq":11}"#));
        assert!(is_stream_ack(br#"{"stream":"C","seq":1,"domain":"hub","duplicate":true}"#));
        assert!(!is_stream_ack(br#"{"stream":"COMMANDS","seq":11,"rows":3}"#));
        assert!(!is_stream_ack(br#"{"ok":true}"#));
        assert!(!is_stream_ack(b""));
    }
}
