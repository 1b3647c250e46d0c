//! Errors of requests: few codes, one for each thing that a client would do next.
//!
//! An error has a public message and may have a private cause, such as what NATS answered. The cause goes only to the
//! log, where the request's id finds it. `ApiError::told` separates the two, once per error and for every transport.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{Level, debug, error, info, warn};

use super::{Api, Caller, Checked};
use crate::jetstream::WriteError;
use crate::jetstream::history::QueryError;
use crate::jetstream::reminder::Reminder;
use crate::names::SCHEDULES_STREAM;
use crate::port::Nats;
use crate::schedule::{FieldFault, TooLarge, Unread};
use crate::text::short;

/// Stable names of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The request is malformed; `details` name fields and reasons.
    Invalid,
    /// Nothing has that id.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// Somebody else changed it in the meantime.
    Conflict,
    /// A limit has been reached; the message says which.
    LimitExceeded,
    /// The request is too large.
    TooLarge,
    /// The request is well formed but not allowed in this state.
    NotAllowed,
    /// NATS is out of reach, or the service is starting: try again.
    Unavailable,
    /// A fault of the service.
    Internal,
    /// Over HTTP: no known token was sent.
    Unauthenticated,
    /// Over HTTP: the caller may not do this.
    Forbidden,
    /// Over HTTP: the path does not support this method.
    MethodNotAllowed,
    /// Over HTTP: the body did not arrive in time.
    Timeout,
    /// Over HTTP: the `Content-Type` of the body is not JSON.
    UnsupportedMediaType,
}

impl Code {
    /// HTTP status, also sent as `Nats-Service-Error-Code`.
    pub fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Timeout => 408,
            Self::UnsupportedMediaType => 415,
            Self::AlreadyExists | Self::Conflict => 409,
            Self::TooLarge => 413,
            Self::NotAllowed => 422,
            Self::LimitExceeded => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// For programs.
    pub code: Code,
    /// For people, on one line.
    pub message: String,
    /// For `invalid`: each fault. For other codes: hints on how to proceed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<FieldFault>,
    /// Private; for the log.
    #[serde(skip)]
    cause: Option<Box<str>>,
    /// Whether thousands a second may fail like this one.
    #[serde(skip)]
    is_one_of_many: bool,
    /// Whether it passes by itself although its code does not say so.
    #[serde(skip)]
    pub(super) passes: bool,
}

/// Limits how often errors are warnings: a failure that lasts hits every caller.
#[derive(Debug, Default)]
pub struct Complaints {
    of_all: Mutex<Reminder>,
    /// The same for each request, of which there is one line at least.
    of_requests: Mutex<Reminder>,
}

impl Complaints {
    fn are_due(&self, kind: &str) -> bool {
        is_due(&self.of_all, kind)
    }

    fn is_due_for(&self, request_id: &str, message: &str) -> bool {
        is_due(&self.of_requests, &format!("{request_id} {message}"))
    }
}

fn is_due(reminder: &Mutex<Reminder>, text: &str) -> bool {
    reminder.lock().unwrap_or_else(PoisonError::into_inner).is_due(text, Instant::now())
}

impl ApiError {
    /// An error without details.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            cause: None,
            is_one_of_many: false,
            passes: false,
        }
    }

    /// `internal`: the service failed because of `cause`.
    pub(crate) fn internal(cause: impl Display) -> Self {
        let message = "internal error; the service's log has the cause";
        Self::new(Code::Internal, message).because(cause)
    }

    /// `unavailable`: there are more requests than can be answered.
    pub(crate) fn crowded(message: impl Into<String>) -> Self {
        Self { is_one_of_many: true, ..Self::new(Code::Unavailable, message) }
    }

    /// The same error where it passes by itself, `meanwhile` put before its message.
    pub(super) fn passing(self, meanwhile: &str) -> Self {
        Self { message: format!("{meanwhile}{}", self.message), passes: true, ..self }
    }

    /// Adds a private cause.
    pub(crate) fn because(mut self, cause: impl Display) -> Self {
        self.cause = Some(short(cause.to_string()).into());
        self
    }

    /// A creator would have more schedules than it may: `room` more are allowed.
    pub fn beyond_room(creator: &str, room: usize) -> Self {
        let message = format!(
            "{creator} can create {room} more schedules (MAX_SCHEDULES_PER_CREATOR); this one would exceed that"
        );
        Self::new(Code::LimitExceeded, message)
    }

    /// The private cause, for the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The error as `caller` sees it. Its private cause goes to the log, with the request's ids. Every `internal` and
    /// every `unavailable` has a line there, whatever its cause: while NATS is away each request fails, so repeats of an
    /// operation are not warnings, and of a crowd they are for debugging only.
    #[must_use]
    pub(crate) fn told(
        mut self,
        operation: &str,
        caller: &Caller,
        complaints: &Complaints,
    ) -> Self {
        let level = self.level(operation, &caller.request_id, complaints);
        let cause = self.cause.take();
        let (request_id, correlation_id) = (&caller.request_id, &caller.correlation_id);
        let error = &self.message;
        match level {
            Some(Level::ERROR) => {
                error!(operation, request_id, correlation_id, cause, "request failed");
                self.message = format!("{error}, under request id {request_id}");
            }
            Some(Level::WARN) => {
                warn!(operation, request_id, correlation_id, cause, error, "request not done");
            }
            Some(Level::INFO) => {
                info!(operation, request_id, correlation_id, cause, error, "request not done");
            }
            Some(_) => {
                debug!(operation, request_id, correlation_id, cause, error, "request not done");
            }
            None => {}
        }
        self
    }

    /// At which level an operation's error goes to the log, if it does. Notes it among the complaints.
    fn level(&self, operation: &str, request_id: &str, complaints: &Complaints) -> Option<Level> {
        // Messages have names and ids, of which there may be any number.
        let kind = || format!("{operation} {} {}", self.is_one_of_many, self.cause.is_some());
        match self.code {
            Code::Internal => Some(Level::ERROR),
            Code::Unavailable if complaints.are_due(&kind()) => Some(Level::WARN),
            Code::Unavailable if self.is_one_of_many => Some(Level::DEBUG),
            // An item of a bulk request fails like the one before it.
            Code::Unavailable if complaints.is_due_for(request_id, &self.message) => {
                Some(Level::INFO)
            }
            Code::Unavailable => Some(Level::DEBUG),
            _ => self.cause.as_ref().map(|_| Level::DEBUG),
        }
    }

    /// `invalid` with all faults; the message names them too, for clients that show only the message.
    pub fn invalid(faults: Vec<FieldFault>) -> Self {
        let text: Vec<_> = faults.iter().map(ToString::to_string).collect();
        let message = text.join("; ");
        Self { details: faults, ..Self::new(Code::Invalid, message) }
    }

    /// `invalid` for a request that could not be parsed as a whole. The readable parts are checked too, so that the
    /// caller learns of all faults at once.
    pub(crate) fn unread<T: Checked>(api: &Api<impl Nats>, unread: Unread<T>) -> Self {
        let mut all = unread.faults;
        let of_content = unread.rest.map_or_else(Vec::new, |rest| rest.faults(api));
        for fault in of_content {
            // A field that could not be read, even in part, only seems to be missing.
            let is_of = |known: &FieldFault| {
                let rest = known.field.strip_prefix(&fault.field);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
            };
            if !all.iter().any(is_of) {
                all.push(fault);
            }
        }
        Self::invalid(all)
    }

    /// `not_found` for a schedule.
    pub fn no_schedule(id: impl std::fmt::Display) -> Self {
        Self::new(Code::NotFound, format!("there is no schedule {id}"))
    }
}

impl From<Vec<FieldFault>> for ApiError {
    fn from(faults: Vec<FieldFault>) -> Self {
        Self::invalid(faults)
    }
}

impl ApiError {
    /// `unavailable`: a stream of the service is gone, or nobody leads it. Trying again helps only once it is there.
    fn no_stream(stream: &str) -> Self {
        let message = format!("stream {stream} does not exist, or has no leader; nothing was done");
        Self::new(Code::Unavailable, message)
    }

    /// `unavailable`: the instance does not follow the bucket closely enough to answer.
    pub(crate) fn behind() -> Self {
        Self::new(Code::Unavailable, "this instance does not see changes in time; try again")
    }
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Conflict => Self::new(Code::Conflict, "somebody else changed it first"),
            WriteError::NoStream => Self::no_stream(SCHEDULES_STREAM).because(error),
            WriteError::Unknown(_) => {
                let message = "NATS JetStream does not answer; it may or may not have been done";
                Self::new(Code::Unavailable, message).because(error)
            }
            WriteError::Passing(_) => {
                let message = "NATS JetStream cannot take it now; try again";
                Self::new(Code::Unavailable, message).because(error)
            }
            WriteError::Refused(_) => Self::internal(format!("NATS: {error}")),
            WriteError::TooLarge(too_large) => too_large.into(),
            WriteError::Newer(what) => {
                let message = format!("left to instances of a newer version: {what}; try again");
                Self::new(Code::Unavailable, message)
            }
        }
    }
}

impl From<TooLarge> for ApiError {
    fn from(error: TooLarge) -> Self {
        let mut refusal = Self::new(Code::TooLarge, error.to_string());
        if error.what == "the record" {
            let help = "give it a smaller command_payload, or delete it with hard_delete";
            refusal.message = format!("{error}: {help}");
        }
        if error.what.ends_with("payload") {
            let TooLarge { bytes, most, .. } = error;
            let reason = format!("must have at most {most} bytes, and has {bytes}");
            refusal.details = vec![FieldFault::new(error.what, reason)];
        }
        refusal
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Loading(_) => Self::new(Code::Unavailable, error.to_string()),
            QueryError::Unread(what, cause) => {
                let message = format!("the {what} cannot be read at present; the log says why");
                Self::new(Code::Unavailable, message).because(cause)
            }
            QueryError::Missing(stream) => Self::no_stream(stream).because(error),
            QueryError::Unavailable(what, cause) => {
                let message = format!("NATS JetStream does not answer for the {what}; try again");
                Self::new(Code::Unavailable, message).because(cause)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_that_is_not_done_has_a_line_and_a_crowd_has_one() {
        let complaints = Complaints::default();
        let level = |error: &ApiError, request| error.level("schedule.get", request, &complaints);
        let away = ApiError::new(Code::Unavailable, "NATS does not answer");
        let levels = ["1", "2", "2"].map(|request| level(&away, request));
        assert_eq!(levels, [Level::WARN, Level::INFO, Level::DEBUG].map(Some));
        let crowded = ApiError::crowded("2 requests are under way, which is the limit");
        let levels = ["3", "4", "5"].map(|request| level(&crowded, request));
        assert_eq!(levels, [Level::WARN, Level::DEBUG, Level::DEBUG].map(Some));
        let failed = ApiError::internal("it broke");
        assert_eq!(level(&failed, "6"), Some(Level::ERROR));
        let refused = ApiError::new(Code::Conflict, "it has changed");
        assert_eq!(level(&refused, "7"), None);
        assert_eq!(level(&refused.because("by whom"), "8"), Some(Level::DEBUG));
    }
}
