//! The rim that touches NATS: all that is stored, watched, recorded or delivered goes through here.

mod account;
mod ack;
pub mod adapter;
pub(crate) mod audit;
pub mod connect;
pub(crate) mod deliver;
mod event;
pub(crate) mod frontier;
mod gates;
pub mod history;
mod inbox;
mod keyed;
pub mod lines;
mod marks;
mod mirror;
pub(crate) mod observe;
mod pauses;
pub(crate) mod provision;
pub(crate) mod publish;
mod refusal;
pub(crate) mod reminder;
mod route;
pub(crate) mod schedules;
mod trace;
pub(crate) mod watch;
pub mod writes;

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::port::{Info, Nats, Unanswered, Unstored};
use crate::schedule::TooLarge;
use refusal::{Class, class};
use reminder::Reminder;

/// How long a write may go unacknowledged before its outcome counts as unknown.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// Time after which a stream is asked again to describe itself: a question asked while it stood still may be lost.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Asks a stream to describe itself until it does.
///
/// # Errors
/// If it cannot be used: there is none, or asking again would not help.
pub(crate) async fn describe(nats: &impl Nats, stream: &str) -> Result<Info, Unanswered> {
    let mut said = Reminder::default();
    loop {
        let asked = Instant::now();
        let error = match timeout(ASK_AGAIN, nats.info(stream)).await {
            Ok(Ok(info)) => return Ok(info),
            Ok(Err(Unanswered::Refused(error))) if class(&error) == Class::Passing => {
                error.to_string()
            }
            Ok(Err(Unanswered::Lost(error))) => error,
            Ok(Err(error)) => return Err(error),
            Err(_) => format!("no answer within {ASK_AGAIN:?}"),
        };
        if said.is_due(&error, Instant::now()) {
            warn!(stream, error, "waiting for the stream");
        }
        // If the answer took its time, at once.
        sleep(ASK_AGAIN.saturating_sub(asked.elapsed())).await;
    }
}

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
    /// The server refused it for now: too much to do, no room, a stream that moves. It is not stored.
    #[error("refused for now: {0}")]
    Passing(String),
    /// The server or the client refused it; the same write would be refused again.
    #[error("refused: {0}")]
    Refused(String),
    /// The record does not fit into a message of the server; it was not sent.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// What is stored there is left to instances of a newer version, for this reason. It was not written.
    #[error("left to instances of a newer version: {0}")]
    Newer(String),
}

impl WriteError {
    /// What kind of failure it is, in words of ours. What NATS said is for the log.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Conflict => "another write came first",
            Self::Unknown(_) => "outcome unknown",
            Self::NoStream => "no stream answered for the subject",
            Self::Passing(_) => "refused for now",
            Self::Refused(_) => "refused",
            Self::TooLarge(_) => "too large",
            Self::Newer(_) => "left to instances of a newer version",
        }
    }
}

impl From<Unstored> for WriteError {
    fn from(error: Unstored) -> Self {
        match error {
            Unstored::NoStream => Self::NoStream,
            Unstored::TooLarge(text) => Self::Refused(text),
            Unstored::Unknown(text) => Self::Unknown(text),
            Unstored::Refused(error) => match class(&error) {
                Class::Final => Self::Refused(error.to_string()),
                Class::Rival => Self::Conflict,
                Class::Passing | Class::Full => Self::Passing(error.to_string()),
                Class::Doubled => Self::Unknown(error.to_string()),
            },
        }
    }
}
