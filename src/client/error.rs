//! Errors of requests that were refused, or whose fate is unknown.

use std::time::Duration;

use async_nats::{RequestError, RequestErrorKind};

use super::{ApiError, Code};

/// Why a request failed, distinguished by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service refused the request, or it can never be sent: the code says what to do.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// Nobody listens, so nothing was done: no scheduler is running, it runs in another account, or it is too old for
    /// this operation. Try again later, or start one.
    #[error("nobody answers on {subject}: is a scheduler running on this NATS?")]
    NoService {
        /// The subject of the request.
        subject: String,
    },
    /// No reply arrived in time. Missing permission to publish the request or to receive the reply looks the same, and
    /// so does a connection that is down; the request may then still be sent.
    #[error("no reply on {subject} within {within:?}")]
    Timeout {
        /// The subject of the request.
        subject: String,
        /// How long the client waited.
        within: Duration,
    },
    /// The connection is closed, or failed during the request. Connect again.
    #[error("the connection to NATS failed: {0}")]
    Connection(#[source] RequestError),
    /// The request is larger than the server accepts (`max_payload`), so it was not sent.
    #[error("the request on {subject} is larger than the NATS server takes")]
    TooLarge {
        /// The subject of the request.
        subject: String,
    },
    /// A stream captures the scheduler's own subjects and answered before the service could. Remove `cmd.scheduler.>`
    /// from it.
    #[error("stream {stream} captures {subject} and answers in place of the scheduler")]
    Captured {
        /// The subject of the request.
        subject: String,
        /// The name of the stream.
        stream: String,
    },
    /// The answer is not a reply that this client understands: the scheduler is of another version, or somebody else
    /// listens on the subject.
    #[error("the reply on {subject} cannot be read: {fault}")]
    Malformed {
        /// The subject of the request.
        subject: String,
        /// What is wrong with the answer.
        #[source]
        fault: serde_json::Error,
    },
}

impl ClientError {
    /// The service's code, if the service refused the request.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(error) => Some(error.code),
            _ => None,
        }
    }

    /// Whether the request may have been carried out all the same. If doing it twice would harm, look before sending it
    /// again; a request with an `idempotency_key` needs no look.
    pub fn may_have_been_done(&self) -> bool {
        match self {
            // `too_large` may also refer to the reply, when everything is done.
            Self::Refused(error) => {
                matches!(error.code, Code::Unavailable | Code::Internal | Code::TooLarge)
            }
            Self::NoService { .. } | Self::TooLarge { .. } => false,
            Self::Timeout { .. }
            | Self::Connection(_)
            | Self::Captured { .. }
            | Self::Malformed { .. } => true,
        }
    }

    /// Whether the same request may succeed a moment later without any intervention.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Refused(error) => error.code == Code::Unavailable,
            Self::NoService { .. } | Self::Timeout { .. } => true,
            _ => false,
        }
    }

    pub(super) fn unanswered(subject: String, within: Duration, error: RequestError) -> Self {
        match error.kind() {
            RequestErrorKind::NoResponders => Self::NoService { subject },
            RequestErrorKind::TimedOut => Self::Timeout { subject, within },
            RequestErrorKind::MaxPayloadExceeded => Self::TooLarge { subject },
            RequestErrorKind::InvalidSubject | RequestErrorKind::Other => Self::Connection(error),
        }
    }
}
