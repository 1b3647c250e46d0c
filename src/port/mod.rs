//! NATS, as the engine and the operations need it: a port. Behind it stands the client with its JetStream
//! ([`adapter`](crate::jetstream::adapter)), or whatever a test puts there.
//!
//! It carries what goes over the wire, and decides nothing: whether to try again, whose an answer is, what
//! silence means and how long it is waited for are questions for this side of it. So whatever stands behind
//! it has all of that run over it, and the adapter has nothing in it that could be wrong but its spelling.
//!
//! Values are the client's own where they are plain data: messages, headers, errors and settings of streams.

pub mod answers;
pub mod headers;

use std::time::Duration;

use async_nats::jetstream::stream::{Config, State};
use async_nats::{HeaderMap, Message, jetstream};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::Stream;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::guards::Guards;
use crate::names;
use answers::Answers;
use headers::Headers;

/// A connection over which messages go and come.
pub trait Wire: Clone + Send + Sync + 'static {
    /// Which guards of the protocol hold over it: all.
    type Guards: Guards;
    /// What a subscription hears. It ends with the connection.
    type Messages: Stream<Item = Message> + Send + Unpin;

    /// A subject of our own, which nobody else has.
    fn new_inbox(&self) -> String;

    /// Whether it is up, as far as is known.
    fn is_connected(&self) -> bool;

    /// Takes a message, to send it as soon as the connection lets it: perhaps over the next one. A future that is
    /// dropped before it was ready has not taken it.
    ///
    /// # Errors
    /// See [`Unpublished`]: it was not taken.
    fn publish(
        &self,
        message: Outgoing,
    ) -> impl Future<Output = Result<(), Unpublished>> + Send + '_;

    /// Listens to subjects.
    ///
    /// # Errors
    /// If the connection is gone for good, or the subject is none.
    fn subscribe(
        &self,
        subject: String,
    ) -> impl Future<Output = Result<Self::Messages, Deaf>> + Send + '_;
}

/// NATS with JetStream, over a connection that is made again whenever it is lost.
pub trait Nats: Wire {
    /// A connection that is never made good.
    type Line: Wire;
    /// What reading a stream shows. It goes on behind breaks; an error is not its end.
    type Entries: Stream<Item = Result<Entry, String>> + Send + Unpin;

    /// How often the connection has been made. It is known no later than that there is one.
    fn connects(&self) -> u64;

    /// Waits until it has been made more often than `known` times.
    fn reconnected(&self, known: u64) -> impl Future<Output = ()> + Send + '_;

    /// The largest message that the server takes which we are connected to, headers and all, in bytes.
    fn max_payload(&self) -> usize;

    /// What we are told from now on that we may not do.
    fn refusals(&self) -> broadcast::Receiver<Refusal>;

    /// The server that we are connected to, or were last.
    fn server(&self) -> Server;

    /// Waits until all that was taken has been handed to the network.
    ///
    /// # Errors
    /// If the connection is gone for good.
    fn flush(&self) -> impl Future<Output = Result<(), Deaf>> + Send + '_;

    /// Asks, and waits a few seconds for the first answer, whoever sends it.
    ///
    /// # Errors
    /// If none came.
    fn request(
        &self,
        subject: String,
    ) -> impl Future<Output = Result<Message, Unanswered>> + Send + '_;

    /// Publishes to a stream of ours, and waits a few seconds for what it says.
    ///
    /// # Errors
    /// See [`Unstored`].
    fn append(
        &self,
        message: Append,
    ) -> impl Future<Output = Result<Appended, Unstored>> + Send + '_;

    /// What a stream's leader says of it.
    ///
    /// # Errors
    /// If there is no answer, or there is no such stream.
    fn info(&self, stream: &str) -> impl Future<Output = Result<Info, Unanswered>> + Send;

    /// The last sequence of a stream, as its leader says.
    ///
    /// # Errors
    /// As of [`Nats::info`].
    fn last_sequence(&self, stream: &str) -> impl Future<Output = Result<u64, Unanswered>> + Send {
        async { Ok(self.info(stream).await?.state.last_sequence) }
    }

    /// The last message of a subject, as the stream's leader has it.
    ///
    /// # Errors
    /// As of [`Nats::info`].
    fn last(
        &self,
        stream: &str,
        subject: &str,
    ) -> impl Future<Output = Result<Option<Entry>, Unanswered>> + Send;

    /// The message at a sequence, as the stream's leader has it.
    ///
    /// # Errors
    /// As of [`Nats::info`].
    fn message(
        &self,
        stream: &str,
        sequence: u64,
    ) -> impl Future<Output = Result<Option<Entry>, Unanswered>> + Send;

    /// The first message from a sequence on whose subject a pattern covers, as the stream's leader has it. Work queues
    /// may be looked at so, too, which only their workers may read.
    ///
    /// # Errors
    /// As of [`Nats::info`].
    fn next(
        &self,
        stream: &str,
        subjects: &str,
        sequence: u64,
    ) -> impl Future<Output = Result<Option<Entry>, Unanswered>> + Send;

    /// The message at a sequence from any replica, of which one may not have it yet. The stream must allow that.
    ///
    /// # Errors
    /// If there is no answer.
    fn message_of_any(
        &self,
        stream: &str,
        sequence: u64,
    ) -> impl Future<Output = Result<Option<Entry>, Unanswered>> + Send;

    /// The stream that captures a subject.
    ///
    /// # Errors
    /// If there is no answer.
    fn stream_of(
        &self,
        subject: &str,
    ) -> impl Future<Output = Result<Option<String>, Unanswered>> + Send;

    /// Reads a stream in order, and goes on with what comes. Also says how many messages it begins with.
    ///
    /// # Errors
    /// If it could not be begun.
    fn read(
        &self,
        stream: &str,
        what: Reading,
    ) -> impl Future<Output = Result<(Self::Entries, u64), String>> + Send;

    /// Opens a line, which ends when it breaks or `broken` is cancelled, with all that it was given and has not
    /// sent; then `broken` is cancelled. The server knows it by `name`. `answers` hears which subjects we may not
    /// publish to.
    ///
    /// # Errors
    /// Why there is none, for people.
    fn line(
        &self,
        name: &str,
        answers: Answers,
        broken: CancellationToken,
    ) -> impl Future<Output = Result<Self::Line, String>> + Send;
}

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
