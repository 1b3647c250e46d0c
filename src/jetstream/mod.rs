//! The rim that touches NATS: everything stored, watched, recorded or delivered goes through here.

mod account;
pub mod answers;
pub mod connect;
pub mod deliver;
pub mod frontier;
pub mod history;
mod inbox;
pub mod lines;
pub mod names;
pub mod observe;
pub mod provision;
pub mod reminder;
mod route;
pub mod schedules;
mod trace;
pub mod watch;
pub mod writes;

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::{self, ErrorCode};

use crate::schedule::TooLarge;

/// How long a write may go unacknowledged before its outcome counts as unknown.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a write was not acknowledged, by what to do next.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another write came first: read again and decide again.
    #[error("another write came first")]
    Conflict,
    /// It may be stored, may be lost, and may still be stored later.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// No stream answered for the subject: there is none, or it is out of reach.
    #[error("no stream answered for the subject")]
    NoStream,
    /// The server or the client refused it; the same write would be refused again.
    #[error("refused: {0}")]
    Refused(String),
    /// The record does not fit a message of the server; it was not sent.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

impl From<PublishError> for WriteError {
    fn from(error: PublishError) -> Self {
        let code = error
            .source()
            .and_then(|source| source.downcast_ref::<jetstream::Error>())
            .map(jetstream::Error::error_code);
        match (error.kind(), code) {
            (PublishErrorKind::WrongLastSequence, _)
            | (_, Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT)) => Self::Conflict,
            (PublishErrorKind::StreamNotFound, _) => Self::NoStream,
            // A copy with the same id is being stored; whether it will be is not known yet.
            (_, Some(ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT)) => {
                Self::Unknown(error.to_string())
            }
            (PublishErrorKind::MaxPayloadExceeded, _) | (PublishErrorKind::Other, Some(_)) => {
                let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
                Self::Refused(text)
            }
            _ => Self::Unknown(error.to_string()),
        }
    }
}
