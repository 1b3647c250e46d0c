//! Values that go through the port: what is sent, stored and read, and why it failed.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, State};
use bytes::Bytes;
use chrono::{DateTime, Utc};

use super::headers::Headers;
use crate::names;

/// A message to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Its subject.
    pub subject: String,
    /// The subject where answers are awaited, if they are.
    pub reply: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// A message for a stream of ours.
#[derive(Clone, Debug, Default)]
pub struct Append {
    /// Its subject.
    pub subject: String,
    /// Its headers, including any conditions.
    pub headers: Headers,
    /// Its body.
    pub body: Bytes,
}

impl Append {
    /// Creates a message with nothing but a body.
    pub fn new(subject: String, body: Bytes) -> Self {
        Self { subject, headers: Headers::default(), body }
    }

    /// Adds a condition: the last message of its subject, or of the one that a header names, has this sequence.
    #[must_use]
    pub fn expecting(mut self, sequence: u64) -> Self {
        self.headers.number(names::EXPECTED_SEQUENCE, sequence);
        self
    }

    /// Makes it expire after a time, in whole seconds.
    #[must_use]
    pub fn lasting(mut self, ttl: Option<Duration>) -> Self {
        if let Some(ttl) = ttl {
            self.headers.number(names::TTL, ttl.as_secs());
        }
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.line(name, value);
        self
    }
}

/// A stream's answer about a message that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Its sequence in the stream.
    pub sequence: u64,
    /// Whether the stream already had a message with its id.
    pub duplicate: bool,
}

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its sequence.
    pub sequence: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty if only headers were asked for.
    pub body: Bytes,
    /// When it was stored, by the server's clock.
    pub stored_at: DateTime<Utc>,
    /// How many messages come after it, while a stream is read.
    pub pending: u64,
}

impl Entry {
    /// Whether it is a value of a bucket, rather than the marker of one that is gone.
    pub fn is_value(&self) -> bool {
        let marks = [names::KV_OPERATION, names::MARKER_REASON];
        marks.iter().all(|mark| self.headers.get(*mark).is_none())
    }
}

/// What to read of a stream.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Where reading begins.
    pub from: Start,
    /// The subjects to read; empty for all.
    pub filter: String,
    /// Whether bodies are left out.
    pub headers_only: bool,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first message.
    First,
    /// At the last message of each subject.
    LastOfEach,
    /// At a sequence, or the next one that exists.
    Sequence(u64),
    /// At the first message that was stored at a time or later.
    Time(DateTime<Utc>),
}

/// What a stream's leader says of the stream.
#[derive(Clone, Debug)]
pub struct Info {
    /// When the stream was created.
    pub created: DateTime<Utc>,
    /// Its configuration.
    pub config: Config,
    /// What it holds.
    pub state: State,
    /// The leader's clock when it answered.
    pub said_at: Option<DateTime<Utc>>,
}

/// A server, as it introduces itself.
#[derive(Clone, Debug, Default)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Something that the server says that we may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried.
    pub operation: Permission,
    /// The subject of the attempt, as we wrote it.
    pub subject: String,
}

/// The kinds of things that need permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Sending to a subject.
    Publish,
    /// Listening to subjects.
    Subscribe,
}

impl Permission {
    /// Its name, for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unpublished {
    /// The same message would be refused again: it is too large, or its subject is invalid.
    #[error("{0}")]
    Refused(String),
    /// The connection is gone for good.
    #[error("{0}")]
    Gone(String),
}

/// The reason why nothing can be heard over a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Deaf(pub String);

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The answer is an error of JetStream.
    #[error("{0}")]
    Refused(jetstream::Error),
    /// It cannot be asked: the name that it is about could not be a name.
    #[error("{0}")]
    Invalid(String),
    /// There was no answer, or none that can be read.
    #[error("{0}")]
    Lost(String),
}

impl Unanswered {
    /// What kind of failure it is, in words of ours. What NATS said is for the log.
    pub fn kind(&self) -> String {
        match self {
            Self::Refused(error) => format!("error {} of JetStream", error.error_code().0),
            Self::Invalid(_) => "a name that cannot be one".to_owned(),
            Self::Lost(_) => "no answer".to_owned(),
        }
    }

    /// Whether there is no such stream.
    pub fn is_no_stream(&self) -> bool {
        let code = jetstream::ErrorCode::STREAM_NOT_FOUND;
        matches!(self, Self::Refused(error) if error.error_code() == code)
    }
}

/// Why a stream did not confirm that it has a message.
#[derive(Debug, thiserror::Error)]
pub enum Unstored {
    /// Nobody listens on its subject: no stream, or one that is out of reach.
    #[error("no stream answered for the subject")]
    NoStream,
    /// The connection takes no message of that size; it was not sent.
    #[error("{0}")]
    TooLarge(String),
    /// The stream refused it.
    #[error("{0}")]
    Refused(jetstream::Error),
    /// It may be stored, may be lost, and may still be stored later.
    #[error("{0}")]
    Unknown(String),
}
