//! The port to NATS over the client and its JetStream: each method is one call of the client's, in the port's terms.

mod throwaway;

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::context::{
    GetStreamByNameErrorKind, PublishError, PublishErrorKind as NotAcknowledged,
};
use async_nats::jetstream::message::{PublishMessage, StreamMessage};
use async_nats::jetstream::stream::{
    DirectGetErrorKind, LastRawMessageErrorKind, RawMessageError, RawMessageErrorKind, Stream,
};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, Message, PublishErrorKind, Subscriber};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::Map;
use serde::Deserialize;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::ACK_TIMEOUT;
use super::connect::Connection;
use crate::config::nats::NatsConfig;
use crate::guards;
use crate::port::answers::Answers;
use crate::port::{
    Append, Appended, Deaf, Entry, Info, Nats, Outgoing, Reading, Refusal, Server, Start,
    Unanswered, Unpublished, Unstored, Wire,
};
pub(crate) use throwaway::throwaway;

/// Most publishes that may wait for their acknowledgement, for each part that has a bound of its own.
const MAX_ACKS: usize = 16_384;

/// Interval between checks how often the connection has been made.
const LOOK: Duration = Duration::from_millis(100);

/// NATS over the client.
#[derive(Clone, Debug)]
pub struct JetStream {
    connection: Connection,
    config: Arc<NatsConfig>,
    context: jetstream::Context,
}

impl JetStream {
    /// Creates the port over a connection, which was made with these settings.
    pub fn new(connection: Connection, config: NatsConfig) -> Self {
        let context = context(&connection.client);
        Self { connection, config: Arc::new(config), context }
    }

    /// The same connection, with a bound of its own for what waits to be acknowledged.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { context: context(&self.connection.client), ..self.clone() }
    }

    /// The client, for the transport that requests come over.
    pub fn client(&self) -> &Client {
        &self.connection.client
    }

    /// The client's JetStream, for what is done once, at the start.
    pub fn context(&self) -> &jetstream::Context {
        &self.context
    }

    async fn stream(&self, name: &str) -> Result<Stream<()>, Unanswered> {
        let stream = self.context.get_stream_no_info(name).await;
        stream.map_err(|error| Unanswered::Invalid(error.to_string()))
    }

    /// The answer of a stream's leader, as it came.
    async fn asked(&self, stream: &str) -> Result<Bytes, Unanswered> {
        Ok(Nats::request(self, format!("$JS.API.STREAM.INFO.{stream}")).await?.payload)
    }
}

fn context(client: &Client) -> jetstream::Context {
    jetstream::context::ContextBuilder::new()
        .timeout(ACK_TIMEOUT)
        .ack_timeout(ACK_TIMEOUT)
        .max_ack_inflight(MAX_ACKS)
        .build(client.clone())
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Unanswered> {
    serde_json::from_slice(body).map_err(lost)
}

fn lost(error: impl std::fmt::Display) -> Unanswered {
    Unanswered::Lost(error.to_string())
}

/// Fields of the leader's answer that the client's form of it leaves out.
#[derive(Deserialize)]
struct Said {
    ts: Option<DateTime<Utc>>,
    error: Option<jetstream::Error>,
}

/// The fields that are asked for most often; most of the rest of the answer is the stream's configuration.
#[derive(Deserialize)]
struct Last {
    state: Option<LastSequence>,
    error: Option<jetstream::Error>,
}

#[derive(Deserialize)]
struct LastSequence {
    last_seq: u64,
}

impl Wire for Client {
    type Guards = guards::All;
    type Messages = Subscriber;

    fn new_inbox(&self) -> String {
        Client::new_inbox(self)
    }

    fn is_connected(&self) -> bool {
        self.connection_state() == State::Connected
    }

    async fn publish(&self, message: Outgoing) -> Result<(), Unpublished> {
        let Outgoing { subject, reply, headers, body } = message;
        let published = match (reply, headers.is_empty()) {
            (Some(reply), true) => self.publish_with_reply(subject, reply, body).await,
            (Some(reply), false) => {
                self.publish_with_reply_and_headers(subject, reply, headers, body).await
            }
            (None, true) => Client::publish(self, subject, body).await,
            (None, false) => self.publish_with_headers(subject, headers, body).await,
        };
        published.map_err(|error| match error.kind() {
            PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
                Unpublished::Refused(error.to_string())
            }
            PublishErrorKind::Send => Unpublished::Gone(error.to_string()),
        })
    }

    async fn subscribe(&self, subject: String) -> Result<Subscriber, Deaf> {
        Client::subscribe(self, subject).await.map_err(|error| Deaf(error.to_string()))
    }
}

impl Wire for JetStream {
    type Guards = guards::All;
    type Messages = Subscriber;

    fn new_inbox(&self) -> String {
        self.connection.client.new_inbox()
    }

    fn is_connected(&self) -> bool {
        self.connection.client.is_connected()
    }

    fn publish(
        &self,
        message: Outgoing,
    ) -> impl Future<Output = Result<(), Unpublished>> + Send + '_ {
        Wire::publish(&self.connection.client, message)
    }

    fn subscribe(
        &self,
        subject: String,
    ) -> impl Future<Output = Result<Subscriber, Deaf>> + Send + '_ {
        Wire::subscribe(&self.connection.client, subject)
    }
}

impl Nats for JetStream {
    type Line = Client;
    type Entries = Map<push::Ordered, fn(Result<jetstream::Message, Broken>) -> Shown>;

    fn connects(&self) -> u64 {
        self.connection.client.statistics().connects.load(Ordering::Relaxed)
    }

    async fn reconnected(&self, known: u64) {
        // The client reports a connection by an event, which may come before or after the count.
        while self.connects() <= known {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn max_payload(&self) -> usize {
        self.connection.client.max_payload()
    }

    fn refusals(&self) -> broadcast::Receiver<Refusal> {
        self.connection.refusals()
    }

    fn server(&self) -> Server {
        let info = self.connection.client.server_info();
        Server { name: info.server_name, version: info.version }
    }

    async fn flush(&self) -> Result<(), Deaf> {
        self.connection.client.flush().await.map_err(|error| Deaf(error.to_string()))
    }

    async fn request(&self, subject: String) -> Result<Message, Unanswered> {
        self.connection.client.request(subject, Bytes::new()).await.map_err(lost)
    }

    async fn append(&self, message: Append) -> Result<Appended, Unstored> {
        let Append { subject, headers, body } = message;
        let message = PublishMessage::build().payload(body).headers(headers.into());
        let ack = self.context.send_publish(subject, message).await.map_err(unstored)?;
        let ack = ack.await.map_err(unstored)?;
        Ok(Appended { sequence: ack.sequence, duplicate: ack.duplicate })
    }

    async fn info(&self, stream: &str) -> Result<Info, Unanswered> {
        let body = self.asked(stream).await?;
        let Said { ts: said_at, error } = read(&body)?;
        if let Some(error) = error {
            return Err(Unanswered::Refused(error));
        }
        let stream::Info { created, config, state, .. } = read(&body)?;
        Ok(Info { created, config, state, said_at })
    }

    async fn last_sequence(&self, stream: &str) -> Result<u64, Unanswered> {
        match read(&self.asked(stream).await?)? {
            Last { error: Some(error), .. } => Err(Unanswered::Refused(error)),
            Last { state: Some(state), .. } => Ok(state.last_seq),
            Last { .. } => Err(lost("the leader says nothing of the stream's state")),
        }
    }

    async fn last(&self, stream: &str, subject: &str) -> Result<Option<Entry>, Unanswered> {
        match self.stream(stream).await?.get_last_raw_message_by_subject(subject).await {
            Ok(message) => Ok(Some(entry(message))),
            Err(error) => match error.kind() {
                LastRawMessageErrorKind::NoMessageFound => Ok(None),
                LastRawMessageErrorKind::JetStream(error) => Err(Unanswered::Refused(error)),
                _ => Err(lost(error)),
            },
        }
    }

    async fn message(&self, stream: &str, sequence: u64) -> Result<Option<Entry>, Unanswered> {
        found(self.stream(stream).await?.get_raw_message(sequence).await)
    }

    async fn next(
        &self,
        stream: &str,
        subjects: &str,
        sequence: u64,
    ) -> Result<Option<Entry>, Unanswered> {
        let stream = self.stream(stream).await?;
        found(stream.get_first_raw_message_by_subject(subjects, sequence).await)
    }

    async fn message_of_any(
        &self,
        stream: &str,
        sequence: u64,
    ) -> Result<Option<Entry>, Unanswered> {
        match self.stream(stream).await?.direct_get(sequence).await {
            Ok(message) => Ok(Some(entry(message))),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }

    async fn stream_of(&self, subject: &str) -> Result<Option<String>, Unanswered> {
        match self.context.stream_by_subject(subject).await {
            Ok(name) => Ok(Some(name)),
            Err(error) if error.kind() == GetStreamByNameErrorKind::NotFound => Ok(None),
            Err(error) => Err(lost(error)),
        }
    }

    async fn read(&self, stream: &str, what: Reading) -> Result<(Self::Entries, u64), String> {
        let deliver_policy = match what.from {
            Start::First => DeliverPolicy::All,
            Start::LastOfEach => DeliverPolicy::LastPerSubject,
            Start::Sequence(start_sequence) => DeliverPolicy::ByStartSequence { start_sequence },
            Start::Time(start_time) => DeliverPolicy::ByStartTime { start_time },
        };
        let config = push::OrderedConfig {
            deliver_subject: self.new_inbox(),
            deliver_policy,
            filter_subject: what.filter,
            headers_only: what.headers_only,
            ..Default::default()
        };
        let stream = self.stream(stream).await.map_err(|error| error.to_string())?;
        let consumer = stream.create_consumer(config).await.map_err(|error| error.to_string())?;
        let pending = consumer.cached_info().num_pending;
        let messages = consumer.messages().await.map_err(|error| error.to_string())?;
        Ok((messages.map(shown as fn(_) -> _), pending))
    }

    async fn line(
        &self,
        name: &str,
        answers: Answers,
        broken: CancellationToken,
    ) -> Result<Client, String> {
        let servers = throwaway::servers(&self.config, &self.connection.client).await;
        let config = NatsConfig { servers, ..NatsConfig::clone(&self.config) };
        throwaway(config, name.to_owned(), answers, broken).await.map_err(|error| error.to_string())
    }
}

/// An error of the client's ordered consumer.
type Broken = jetstream::consumer::push::OrderedError;
type Shown = Result<Entry, String>;

fn shown(message: Result<jetstream::Message, Broken>) -> Shown {
    let message = message.map_err(|error| error.to_string())?;
    let place = message.info().map_err(|error| error.to_string())?;
    let (sequence, stored_at, pending) = (place.stream_sequence, place.published, place.pending);
    let Message { subject, headers, payload, .. } = message.message;
    let (subject, headers) = (subject.into_string(), headers.unwrap_or_default());
    Ok(Entry { sequence, subject, headers, body: payload, stored_at, pending })
}

fn found(message: Result<StreamMessage, RawMessageError>) -> Result<Option<Entry>, Unanswered> {
    match message {
        Ok(message) => Ok(Some(entry(message))),
        Err(error) => match error.kind() {
            RawMessageErrorKind::NoMessageFound => Ok(None),
            RawMessageErrorKind::JetStream(error) => Err(Unanswered::Refused(error)),
            _ => Err(lost(error)),
        },
    }
}

fn entry(message: StreamMessage) -> Entry {
    let StreamMessage { subject, sequence, headers, payload, time } = message;
    let subject = subject.into_string();
    Entry { sequence, subject, headers, body: payload, stored_at: time, pending: 0 }
}

fn unstored(error: PublishError) -> Unstored {
    let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
    match (error.kind(), error.source().and_then(|source| source.downcast_ref())) {
        (NotAcknowledged::StreamNotFound, _) => Unstored::NoStream,
        (NotAcknowledged::MaxPayloadExceeded, _) => Unstored::TooLarge(text),
        (_, Some(refusal)) => Unstored::Refused(jetstream::Error::clone(refusal)),
        (_, None) => Unstored::Unknown(text),
    }
}
