//! Sending a command.
//!
//! Whatever the mode, the message is the same: the user's payload untouched, and headers that tell
//! a receiver what it needs to drop what it has already seen.

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::context::GetStreamByNameErrorKind;
use async_nats::jetstream::message::PublishMessage;
use async_nats::{HeaderMap, HeaderValue, RequestErrorKind};
use chrono::SecondsFormat;
use tracing::debug;

use super::{WriteError, names};
use crate::execution::{ErrorType, Execution, Outcome, Response};
use crate::schedule::{DeliveryMode, Schedule};

/// Pause between tries to publish while NATS is out of reach.
const RETRY: Duration = Duration::from_millis(250);

/// Sends the command of an execution and reports what became of it.
///
/// `publish` is repeated under the same `Nats-Msg-Id` for as long as its fate is unknown: the
/// stream drops what it already has, and a failure reported too early would be followed by another
/// attempt, under another id. `request` and `core` are sent once.
pub async fn deliver(
    js: &jetstream::Context,
    schedule: &Schedule,
    execution: &Execution,
) -> Outcome {
    let headers = headers(schedule, execution);
    match schedule.spec.delivery.mode {
        DeliveryMode::Publish => publish(js, schedule, headers).await,
        DeliveryMode::Request => request(js, schedule, headers).await,
        DeliveryMode::Core => core(js, schedule, headers).await,
    }
}

async fn publish(js: &jetstream::Context, schedule: &Schedule, headers: HeaderMap) -> Outcome {
    let subject = schedule.spec.target_command.as_str();
    let message = PublishMessage::build()
        .payload(schedule.spec.command_payload.to_bytes())
        .headers(headers);
    loop {
        let sent = match js.send_publish(subject.to_owned(), message.clone()).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        match sent.map_err(WriteError::from) {
            Ok(_) => {
                return Outcome::Success {
                    response_event: None,
                    response: None,
                };
            }
            // The same answer comes when JetStream is out of reach for a moment: only its own word
            // that no stream captures the subject is final.
            Err(WriteError::NoStream) if captured(js, subject).await == Some(false) => {
                return failed(ErrorType::NoStream, format!("no stream captures {subject}"));
            }
            Err(error @ (WriteError::Refused(_) | WriteError::Conflict)) => {
                return failed(ErrorType::Refused, error.to_string());
            }
            Err(error) => {
                debug!(subject, %error, "publishing again under the same id");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

async fn request(js: &jetstream::Context, schedule: &Schedule, headers: HeaderMap) -> Outcome {
    let timeout = Duration::from_secs(u64::from(schedule.spec.delivery.timeout_seconds));
    let request = async_nats::Request::new()
        .headers(headers)
        .payload(schedule.spec.command_payload.to_bytes())
        .timeout(Some(timeout));
    let subject = schedule.spec.target_command.as_str();
    match js.client().send_request(subject.to_owned(), request).await {
        Ok(reply) => {
            let response = Some(Response::keep(&reply.payload));
            let error = reply.headers.as_ref().and_then(|headers| {
                let text = headers.get(names::SERVICE_ERROR)?.as_str();
                let code = headers
                    .get(names::SERVICE_ERROR_CODE)
                    .map_or("", |code| code.as_str());
                Some(format!("{code} {text}").trim().to_owned())
            });
            match error {
                Some(message) => Outcome::Failed {
                    error_type: ErrorType::ServiceError,
                    message,
                    response,
                },
                None => Outcome::Success {
                    response_event: Some(reply.subject.to_string()),
                    response,
                },
            }
        }
        Err(error) => match error.kind() {
            RequestErrorKind::NoResponders => failed(
                ErrorType::NoResponders,
                format!("nobody listens on {subject}"),
            ),
            RequestErrorKind::TimedOut => failed(
                ErrorType::Timeout,
                format!("no reply within {} s", timeout.as_secs()),
            ),
            _ => failed(ErrorType::Connection, error.to_string()),
        },
    }
}

async fn core(js: &jetstream::Context, schedule: &Schedule, headers: HeaderMap) -> Outcome {
    let subject = schedule.spec.target_command.as_str().to_owned();
    let payload = schedule.spec.command_payload.to_bytes();
    match js
        .client()
        .publish_with_headers(subject, headers, payload)
        .await
    {
        Ok(()) => Outcome::Success {
            response_event: None,
            response: None,
        },
        Err(error) => failed(ErrorType::Connection, error.to_string()),
    }
}

fn failed(error_type: ErrorType, message: String) -> Outcome {
    Outcome::Failed {
        error_type,
        message,
        response: None,
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
    let scheduled_for = execution
        .scheduled_for
        .to_rfc3339_opts(SecondsFormat::Millis, true);
    let id = execution.id.to_string();
    let mut headers = HeaderMap::new();
    headers.insert(names::SCHEDULE_ID, schedule.id.to_string());
    headers.insert(
        names::SCHEDULE_NAME,
        names::header_text(&schedule.spec.name).as_ref(),
    );
    headers.insert(names::EXECUTION_ID, id.as_str());
    headers.insert(
        names::ATTEMPT,
        HeaderValue::from(u64::from(execution.attempt_number)),
    );
    headers.insert(names::SCHEDULED_FOR, scheduled_for);
    headers.insert(
        names::REVISION,
        HeaderValue::from(execution.lock_id.revision),
    );
    headers.insert(names::CORRELATION_ID, execution.correlation_id.as_str());
    headers.insert(names::TRACEPARENT, traceparent(execution));
    headers.insert(names::MESSAGE_ID, id);
    headers
}

/// A W3C trace context of the execution's own: the trace is the occurrence's (its correlation id),
/// the span the execution's id.
fn traceparent(execution: &Execution) -> String {
    let trace = uuid::Uuid::try_parse(&execution.correlation_id)
        .unwrap_or(execution.id)
        .as_u128();
    let span = execution.id.as_u64_pair().1;
    format!("00-{trace:032x}-{span:016x}-01")
}
