//! How an attempt ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::text::short;

/// Largest payload or reply that the history keeps, in bytes of JSON; a larger one is left out and marked as
/// truncated.
pub const MAX_KEPT_BYTES: usize = 64 * 1024;

/// Why an attempt failed; the names are stable and may be matched on.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ErrorType {
    /// No stream captures the target's subject.
    NoStream,
    /// For `request`: a stream captures the subject, and its acknowledgement came as the reply.
    Captured,
    /// Nothing listens on the target's subject.
    NoResponders,
    /// No acknowledgement or reply within the timeout.
    Timeout,
    /// The reply carried `Nats-Service-Error`.
    ServiceError,
    /// The stream refused the message, for instance because it is full.
    Refused,
    /// The target is no longer in the allow-list.
    NotAllowed,
    /// The connection to NATS broke, or the client refused the command.
    Connection,
    /// For `job`: the worker was silent for longer than its heartbeat.
    WorkerLost,
    /// For `job`: an error type that the worker reported.
    Other(String),
}

impl ErrorType {
    /// The name used in JSON and logs.
    pub fn as_str(&self) -> &str {
        match self {
            Self::NoStream => "no_stream",
            Self::Captured => "captured",
            Self::NoResponders => "no_responders",
            Self::Timeout => "timeout",
            Self::ServiceError => "service_error",
            Self::Refused => "refused",
            Self::NotAllowed => "not_allowed",
            Self::Connection => "connection",
            Self::WorkerLost => "worker_lost",
            Self::Other(name) => name,
        }
    }
}

impl From<String> for ErrorType {
    fn from(name: String) -> Self {
        let known = [
            Self::NoStream,
            Self::Captured,
            Self::NoResponders,
            Self::Timeout,
            Self::ServiceError,
            Self::Refused,
            Self::NotAllowed,
            Self::Connection,
            Self::WorkerLost,
        ];
        known.into_iter().find(|known| known.as_str() == name).unwrap_or(Self::Other(name))
    }
}

impl From<ErrorType> for String {
    fn from(error_type: ErrorType) -> Self {
        error_type.as_str().to_owned()
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It succeeded, perhaps with a reply.
    Success {
        /// The subject on which the reply came.
        response_event: Option<String>,
        /// The reply.
        response: Option<Response>,
    },
    /// It failed.
    Failed {
        /// The kind of failure.
        error_type: ErrorType,
        /// What happened, for people.
        message: String,
        /// The error reply, if there was one.
        response: Option<Response>,
        /// Whether the command may have got through all the same; then there is no retry, because another
        /// attempt would be another message.
        uncertain: bool,
    },
    /// A worker has the command and will report.
    HandedOver,
    /// It was stopped.
    Cancelled {
        /// The user who asked for it.
        by: Option<String>,
        /// Why, for people.
        reason: Option<String>,
    },
}

impl Outcome {
    /// Success without a reply.
    pub fn success() -> Self {
        Self::Success { response_event: None, response: None }
    }

    /// A failure after which nothing was done.
    pub fn failed(error_type: ErrorType, message: String) -> Self {
        Self::failed_after(false, error_type, message)
    }

    /// A failure after which it is unknown whether anything was done.
    pub fn uncertain(error_type: ErrorType, message: String) -> Self {
        Self::failed_after(true, error_type, message)
    }

    /// A failure, uncertain if an earlier try may have got through.
    pub fn failed_after(uncertain: bool, error_type: ErrorType, message: String) -> Self {
        // The message may quote a server.
        let message = short(message);
        Self::Failed { error_type, message, response: None, uncertain }
    }
}

/// A reply to a command, as far as it is kept.
#[derive(Clone, Debug)]
pub struct Response {
    /// The reply: unchanged if it is JSON, otherwise as a JSON string.
    pub payload: Option<Box<RawValue>>,
    /// Whether it was larger than [`MAX_KEPT_BYTES`] and left out.
    pub truncated: bool,
}

impl Response {
    /// Keeps a reply, up to [`MAX_KEPT_BYTES`].
    pub fn keep(body: &[u8]) -> Self {
        if body.len() > MAX_KEPT_BYTES {
            return Self { payload: None, truncated: true };
        }
        let payload: Option<Box<RawValue>> = serde_json::from_slice(body)
            .or_else(|_| serde_json::value::to_raw_value(&String::from_utf8_lossy(body)))
            .ok()
            .filter(|_| !body.is_empty());
        // Bytes that are not JSON grow as a string.
        let truncated = payload.as_ref().is_some_and(|json| json.get().len() > MAX_KEPT_BYTES);
        Self { payload: payload.filter(|_| !truncated), truncated }
    }
}
