//! What goes through the port: what is sent, stored and read, and why it is not.

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
    /// Where it goes.
    pub subject: String,
    /// Where answers are awaited, if they are.
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
    /// Its headers; conditions are among them.
    pub headers: Headers,
    /// Its body.
    pub body: Bytes,
}

impl Append {
    /// A message with nothing beside its body.
    pub fn new(subject: String, body: Bytes) -> Self {
        Self { subject, headers: Headers::default(), body }
    }

    /// Only where the last message of its subject, or of the one that a header names, has this sequence.
    #[must_use]
    pub fn expecting(mut self, sequence: u64) -> Self {
        self.headers.number(names::EXPECTED_SEQUENCE, sequence);
        self
    }

    /// It is forgotten after a time, in whole seconds.
    #[must_use]
    pub fn lasting(mut self, ttl: Option<Duration>) -> Self {
        if let Some(ttl) = ttl {
            self.headers.number(names::TTL, ttl.as_secs());
        }
        self
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.line(name, value);
        self
    }
}

/// What a stream says of a message that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where it is.
    pub sequence: u64,
    /// Whether it was there before, by its id.
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
    /// Its body; empty where only headers were asked for.
    pub body: Bytes,
    /// When it was stored, by the server's clock.
    pub stored_at: DateTime<Utc>,
    /// How many come after it, while a stream is read.
    pub pending: u64,
}

impl Entry {
    /// Whether it is a value of a bucket, and not the marker of one that is gone.
    pub fn is_value(&self) -> bool {
        let marks = [names::KV_OPERATION, names::MARKER_REASON];
        marks.iter().all(|mark| self.headers.get(*mark).is_none())
    }
}

/// What is read of a stream.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Where it begins.
    pub from: Start,
    /// The subjects that are read; all where it is empty.
    pub filter: String,
    /// Whether bodies are left out.
    pub headers_only: bool,
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the first message.
    First,
    /// At the last one of each subject.
    LastOfEach,
    /// At a sequence, or the next one that is there.
    Sequence(u64),
    /// At the first that was stored at a time or later.
    Time(DateTime<Utc>),
}

/// What a stream's leader says of it.
#[derive(Clone, Debug)]
pub struct Info {
    /// When it was created.
    pub created: DateTime<Utc>,
    /// How it is set up.
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

/// What the server says that we may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What was tried.
    pub operation: Permission,
    /// The subject that it was tried on, as we wrote it.
    pub subject: String,
}

/// What permissions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Sending to a subject.
    Publish,
    /// Listening to subjects.
    Subscribe,
}

impl Permission {
    /// As people read it.
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
    /// The same message would be refused again: it is too large, or its subject is none.
    #[error("{0}")]
    Refused(String),
    /// The connection is gone for good.
    #[error("{0}")]
    Gone(String),
}

/// Nothing can be heard over a connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Deaf(pub String);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// The answer is an error of JetStream.
    #[error("{0}")]
    Refused(jetstream::Error),
    /// It cannot be asked: what it is about has no name that could be one.
    #[error("{0}")]
    Invalid(String),
    /// There is none, or none that can be read.
    #[error("{0}")]
    Lost(String),
}

impl Unanswered {
    /// Whether there is no such stream.
    pub fn is_no_stream(&self) -> bool {
        let code = jetstream::ErrorCode::STREAM_NOT_FOUND;
        matches!(self, Self::Refused(error) if error.error_code() == code)
    }
}

/// Why a stream does not say that it has a message.
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
