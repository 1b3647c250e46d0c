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
mod values;

use async_nats::Message;
use futures::Stream;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use crate::guards::Guards;
use answers::Answers;
pub use values::*;

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
