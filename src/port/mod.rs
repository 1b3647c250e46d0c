//! The port to NATS: what the engine and the operations need of it. Behind it is the client with its JetStream
//! ([`adapter`](crate::jetstream::adapter)), or whatever a test provides.
//!
//! It carries what goes over the wire and decides nothing. Whether to try again, whose an answer is, what silence means
//! and how long to wait are decided on this side of it. So all of that also runs over a test's NATS, and the only thing
//! that can be wrong in the adapter is its spelling.
//!
//! Values are the client's own types if they are plain data: messages, headers, errors and settings of streams.

pub mod answers;
pub(crate) mod headers;
mod values;

use async_nats::Message;
use futures::Stream;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::guards::Guards;
use answers::Answers;
pub use values::*;

/// A connection that carries messages both ways.
pub trait Wire: Clone + Send + Sync + 'static {
    /// The guards of the protocol that hold over it; normally all.
    type Guards: Guards;
    /// The messages of a subscription. They end with the connection.
    type Messages: Stream<Item = Message> + Send + Unpin;

    /// A subject of our own, which nobody else has.
    fn new_inbox(&self) -> String;

    /// Whether the connection is up, as far as is known.
    fn is_connected(&self) -> bool;

    /// Takes a message and sends it as soon as the connection allows: perhaps over the next connection. If the future
    /// is dropped before it was ready, the message was not taken.
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
    /// If the connection is gone for good, or the subject is invalid.
    fn subscribe(
        &self,
        subject: String,
    ) -> impl Future<Output = Result<Self::Messages, Deaf>> + Send + '_;
}

/// NATS with JetStream, over a connection that is made again whenever it is lost.
pub trait Nats: Wire {
    /// A connection that is never repaired.
    type Line: Wire;
    /// The messages shown while reading a stream. Reading continues after breaks; an error is not its end.
    type Entries: Stream<Item = Result<Entry, String>> + Send + Unpin;

    /// How often the connection has been made. A connection that is up has been counted.
    fn connects(&self) -> u64;

    /// Waits until the connection has been made more than `known` times.
    fn reconnected(&self, known: u64) -> impl Future<Output = ()> + Send + '_;

    /// The largest message that the connected server takes, headers included, in bytes.
    fn max_payload(&self) -> usize;

    /// The refusals from now on: what the server says that we may not do.
    fn refusals(&self) -> broadcast::Receiver<Refusal>;

    /// The server that we are connected to, or were last.
    fn server(&self) -> Server;

    /// Waits until everything that was taken has been handed to the network.
    ///
    /// # Errors
    /// If the connection is gone for good.
    fn flush(&self) -> impl Future<Output = Result<(), Deaf>> + Send + '_;

    /// Sends a request, and waits a few seconds for the first answer, whoever sends it.
    ///
    /// # Errors
    /// If none came.
    fn request(
        &self,
        subject: String,
    ) -> impl Future<Output = Result<Message, Unanswered>> + Send + '_;

    /// Publishes to a stream of ours, and waits a few seconds for its answer.
    ///
    /// # Errors
    /// See [`Unstored`].
    fn append(
        &self,
        message: Append,
    ) -> impl Future<Output = Result<Appended, Unstored>> + Send + '_;

    /// What a stream's leader says of the stream.
    ///
    /// # Errors
    /// If there is no answer, or no such stream.
    fn info(&self, stream: &str) -> impl Future<Output = Result<Info, Unanswered>> + Send;

    /// The last sequence of a stream, as its leader says.
    ///
    /// # Errors
    /// See [`Nats::info`].
    fn last_sequence(&self, stream: &str) -> impl Future<Output = Result<u64, Unanswered>> + Send {
        async { Ok(self.info(stream).await?.state.last_sequence) }
    }

    /// The last message of a subject, as the stream's leader has it.
    ///
    /// # Errors
    /// See [`Nats::info`].
    fn last(
        &self,
        stream: &str,
        subject: &str,
    ) -> impl Future<Output = Result<Option<Entry>, Unanswered>> + Send;

    /// The message at a sequence, as the stream's leader has it.
    ///
    /// # Errors
    /// See [`Nats::info`].
    fn message(
        &self,
        stream: &str,
        sequence: u64,
    ) -> impl Future<Output = Result<Option<Entry>, Unanswered>> + Send;

    /// The first message at or after a sequence whose subject matches a pattern, as the stream's leader has it. This
    /// also works for work queues, which only their workers may read.
    ///
    /// # Errors
    /// See [`Nats::info`].
    fn next(
        &self,
        stream: &str,
        subjects: &str,
        sequence: u64,
    ) -> impl Future<Output = Result<Option<Entry>, Unanswered>> + Send;

    /// The message at a sequence, from any replica, which may not have it yet. The stream must allow such reads.
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

    /// Reads a stream in order and continues with what comes. Also returns how many messages there are to begin with.
    ///
    /// # Errors
    /// If reading could not begin.
    fn read(
        &self,
        stream: &str,
        what: Reading,
    ) -> impl Future<Output = Result<(Self::Entries, u64), String>> + Send;

    /// Opens a line. It ends when it breaks or `broken` is cancelled, with all that it was given and has not sent;
    /// `broken` is cancelled then. The server knows it by `name`. `answers` is told which subjects we may not publish
    /// to.
    ///
    /// # Errors
    /// Why there is no line, for people.
    fn line(
        &self,
        name: &str,
        answers: Answers,
        broken: CancellationToken,
    ) -> impl Future<Output = Result<Self::Line, String>> + Send;
}
