//! Why a request was not done, or why nobody knows.

use std::time::Duration;

use async_nats::{RequestError, RequestErrorKind};

use super::{ApiError, Code};

/// Why there is no reply to show, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The service refused it, or what it was given can never be sent: the code says what to do.
    #[error(transparent)]
    Refused(#[from] ApiError),
    /// Nobody listens, so nothing was done: no scheduler runs, it runs in another account, or it is
    /// too old for this operation. Try again later, or start one.
    #[error("nobody answers on {subject}: is a scheduler running on this NATS?")]
    NoService {
        /// The subject of the request.
        subject: String,
    },
    /// No reply in time. Also what comes of a missing permission to publish the request or to
    /// receive the reply, and of a connection that is down; then the request may still be sent.
    #[error("no reply on {subject} within {within:?}")]
    Timeout {
        /// The subject of the request.
        subject: String,
        /// How long it was waited for.
        within: Duration,
    },
    /// The connection is closed, or failed while it was asked. Connect again.
    #[error("the connection to NATS failed: {0}")]
    Connection(#[source] RequestError),
    /// The request is larger than the server takes (`max_payload`), so it was not sent.
    #[error("the request on {subject} is larger than the NATS server takes")]
    TooLarge {
        /// The subject of the request.
        subject: String,
    },
    /// A stream captures the scheduler's own subjects and answered before the service could. Take
    /// `cmd.scheduler.>` out of it.
    #[error("stream {stream} captures {subject} and answers in place of the scheduler")]
    Captured {
        /// The subject of the request.
        subject: String,
        /// The stream.
        stream: String,
    },
    /// What came is no reply of a scheduler that this client knows: another version, or somebody
    /// else who listens there.
    #[error("the reply on {subject} cannot be read: {fault}")]
    Malformed {
        /// The subject of the request.
        subject: String,
        /// What is wrong with it.
        #[source]
        fault: serde_json::Error,
    },
}

impl ClientError {
    /// The service's code, where the service refused it.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(error) => Some(error.code),
            _ => None,
        }
    }

    /// Whether the request may have been done all the same. Then look first, where doing it twice would
    /// harm: a schedule that is created with an `idempotency_key` need not be looked for.
    pub fn may_have_been_done(&self) -> bool {
        match self {
            // `too_large` can be said of the reply, when all is done.
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

    /// Whether the same request may succeed a moment later with nobody mending anything.
    pub(super) fn may_pass(&self) -> bool {
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
