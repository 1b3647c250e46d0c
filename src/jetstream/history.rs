//! The history: writing events of executions, and an index of them in memory to answer queries.
//!
//! The stream is the truth. A reader takes its headers (never its bodies) from the start and then as
//! they come, so that lists, filters and exact totals are answered from memory and only the
//! bodies of one page are fetched. The index drops what the stream's own limits drop, in the same
//! order: the oldest overall, and the oldest of a subject that has more than its share.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use chrono::{DateTime, SecondsFormat, Utc};
use futures::{StreamExt as _, stream};
use tokio::sync::watch as state;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::deliver::connected;
use super::{WriteError, names};
use crate::execution::{Execution, ExecutionStatus};
use crate::history_index::{Event, Filter, HistoryIndex, Page};

/// Pause between tries to write while NATS is out of reach.
const RETRY: Duration = Duration::from_millis(500);
/// How often the index is compared with the stream.
const RECONCILE: Duration = Duration::from_secs(30);
/// Bodies fetched at once for one page.
const FETCHES: usize = 32;

/// How long the stream is sure to drop a copy by itself: half of its duplicate window.
const REMEMBERED: Duration = Duration::from_secs(60);

/// What became of an event that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the history.
    New,
    /// The history had one with its id already, ours or another instance's.
    Duplicate,
}

/// The history of executions.
#[derive(Clone)]
pub struct History {
    js: jetstream::Context,
    stream: Stream,
    index: Arc<RwLock<HistoryIndex>>,
    loaded: state::Receiver<bool>,
}

/// Why a query has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The index is still being read from the stream.
    #[error("the history is still being read")]
    Loading,
    /// The stream does not answer.
    #[error("the history cannot be read: {0}")]
    Unavailable(String),
}

impl History {
    /// Opens the history behind `js`, whose stream must exist, and follows it until `stop`.
    ///
    /// # Errors
    /// If the stream cannot be found or reached.
    pub async fn open(
        js: jetstream::Context,
        stop: CancellationToken,
    ) -> Result<Self, jetstream::context::GetStreamError> {
        let stream = js.get_stream(names::EXECUTIONS_STREAM).await?;
        let per_subject = stream.cached_info().config.max_messages_per_subject;
        let index = HistoryIndex::new(usize::try_from(per_subject).unwrap_or(usize::MAX));
        let (sender, loaded) = state::channel(false);
        let history = Self { js, stream, index: Arc::new(RwLock::new(index)), loaded };
        tokio::spawn(history.clone().follow(sender, stop));
        Ok(history)
    }

    /// Writes an event; returns once the stream has it, however long that takes.
    ///
    /// The event's id is its `Nats-Msg-Id`, so writing it again within the stream's duplicate window
    /// changes nothing; after a longer outage the stream is first searched for an outcome.
    /// Cancelling leaves it written or not.
    pub async fn record(&self, execution: &Execution) -> Recorded {
        let mut event = Cow::Borrowed(execution);
        let subject = names::execution_subject(execution.status.event(), execution.schedule_id);
        let (mut unknown_since, mut complained) = (None, false);
        loop {
            connected(&self.js.client()).await;
            let repeats_late =
                unknown_since.is_some_and(|since: Instant| since.elapsed() > REMEMBERED);
            let repeats_late = repeats_late && execution.status.is_final();
            if repeats_late && matches!(Box::pin(self.outcome(execution.id)).await, Ok(Some(_))) {
                return Recorded::Duplicate;
            }
            let body = serde_json::to_vec(&*event).unwrap_or_default();
            let message =
                PublishMessage::build().payload(body.into()).headers(event_headers(execution));
            let sent = match self.js.send_publish(subject.clone(), message).await {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            match sent.map_err(WriteError::from) {
                Ok(ack) if ack.duplicate => return Recorded::Duplicate,
                Ok(_) => return Recorded::New,
                // Perhaps it is too large: what became of it matters more than what was said.
                Err(WriteError::Refused(reason)) if !event.truncated => {
                    warn!(execution_id = %execution.id, reason, "history refuses an event; leaving out its bodies");
                    event = Cow::Owned(execution.without_bodies());
                    continue;
                }
                Err(error) => {
                    unknown_since.get_or_insert_with(Instant::now);
                    if !std::mem::replace(&mut complained, true) {
                        warn!(execution_id = %execution.id, %error, "history cannot be written; trying on");
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// The latest event of an execution.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn get(&self, id: Uuid) -> Result<Option<Execution>, QueryError> {
        self.ready().await?;
        let Some(sequence) = self.read(|index| index.latest(id)) else {
            return Ok(None);
        };
        self.fetch(sequence).await
    }

    /// One page of executions, newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn list(
        &self,
        filter: &Filter,
        page: Page,
    ) -> Result<(Vec<Execution>, u64), QueryError> {
        self.ready().await?;
        let (sequences, total) = self.read(|index| index.list(filter, page));
        let executions = stream::iter(sequences)
            .map(|sequence| self.fetch(sequence))
            .buffered(FETCHES)
            .filter_map(|result| async move { result.transpose() });
        let executions: Vec<_> =
            executions.collect::<Vec<_>>().await.into_iter().collect::<Result<_, _>>()?;
        Ok((executions, total))
    }

    /// The final event of an execution, if the stream has one, after making sure that everything
    /// stored until now has been looked at.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub async fn outcome(&self, id: Uuid) -> Result<Option<Execution>, QueryError> {
        self.ready().await?;
        let unavailable =
            |error: &dyn std::fmt::Display| QueryError::Unavailable(error.to_string());
        let last = self.stream.get_info().await.map_err(|e| unavailable(&e))?.state.last_sequence;
        let caught_up = async {
            while self.read(|index| index.seen()) < last {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), caught_up)
            .await
            .map_err(|_| QueryError::Loading)?;
        Ok(self.get(id).await?.filter(|execution| execution.status.is_final()))
    }

    async fn ready(&self) -> Result<(), QueryError> {
        let mut loaded = self.loaded.clone();
        let wait = loaded.wait_for(|loaded| *loaded);
        match tokio::time::timeout(Duration::from_secs(2), wait).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(QueryError::Loading),
        }
    }

    async fn fetch(&self, sequence: u64) -> Result<Option<Execution>, QueryError> {
        match self.stream.get_raw_message(sequence).await {
            Ok(message) => Ok(serde_json::from_slice(&message.payload)
                .inspect_err(|error| warn!(sequence, %error, "history entry cannot be read"))
                .ok()),
            // Dropped by the stream's limits since the index looked.
            Err(error)
                if error.kind() == jetstream::stream::RawMessageErrorKind::NoMessageFound =>
            {
                Ok(None)
            }
            Err(error) => Err(QueryError::Unavailable(error.to_string())),
        }
    }

    async fn follow(self, loaded: state::Sender<bool>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                reason = self.read_on(&loaded) => warn!(reason, "reading of the history restarts"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Reads the stream from its start and on; returns why it must start over.
    async fn read_on(&self, loaded: &state::Sender<bool>) -> String {
        let started = Instant::now();
        let info = match self.stream.get_info().await {
            Ok(info) => info,
            Err(error) => return error.to_string(),
        };
        loaded.send_replace(false);
        self.write(|index| {
            index.clear();
            index.skip(info.state.first_sequence.saturating_sub(1));
        });
        let config = push::OrderedConfig {
            deliver_subject: self.js.client().new_inbox(),
            deliver_policy: DeliverPolicy::All,
            headers_only: true,
            ..Default::default()
        };
        let consumer = match self.stream.create_consumer(config).await {
            Ok(consumer) => consumer,
            Err(error) => return error.to_string(),
        };
        let mut messages = match consumer.messages().await {
            Ok(messages) => messages,
            Err(error) => return error.to_string(),
        };
        let mut reconcile = tokio::time::interval(RECONCILE);
        reconcile.reset();
        let mut is_loaded = info.state.messages == 0;
        loop {
            if is_loaded && !loaded.send_replace(true) {
                let executions = self.read(|index| index.len());
                info!(executions, elapsed_ms = started.elapsed().as_millis(), "history read");
            }
            tokio::select! {
                item = messages.next() => match item {
                    None => return "the consumer ended".to_owned(),
                    // The consumer mends itself and goes on.
                    Some(Err(error)) => debug!(%error, "history"),
                    Some(Ok(message)) => {
                        let Ok(position) = message.info() else { continue };
                        is_loaded = is_loaded || position.pending == 0;
                        let sequence = position.stream_sequence;
                        match event(sequence, &message.subject, message.headers.as_ref()) {
                            Some(event) => self.write(|index| index.apply(event)),
                            None => self.write(|index| index.skip(sequence)),
                        }
                    }
                },
                _ = reconcile.tick() => match self.stream.get_info().await {
                    Ok(now) if now.created != info.created
                        || now.state.last_sequence < self.read(|index| index.seen()) =>
                    {
                        return "the stream is not the one that it was".to_owned();
                    }
                    Ok(now) => {
                        self.write(|index| index.forget_before(now.state.first_sequence));
                        let seen = self.read(|index| index.seen());
                        is_loaded = is_loaded || seen >= now.state.last_sequence;
                    }
                    Err(error) => warn!(%error, "cannot compare the history with its stream"),
                },
            }
        }
    }

    fn read<T>(&self, f: impl FnOnce(&HistoryIndex) -> T) -> T {
        f(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut HistoryIndex) -> T) -> T {
        f(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }
}

fn event_headers(execution: &Execution) -> HeaderMap {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut headers = HeaderMap::new();
    headers.insert(names::MESSAGE_ID, execution.event_id.as_str());
    headers.insert(names::EXECUTION_ID, execution.id.to_string());
    headers.insert(names::SCHEDULED_FOR, text(execution.scheduled_for));
    headers.insert(names::CORRELATION_ID, execution.correlation_id.as_str());
    headers.insert(names::STARTED_AT, text(execution.started_at.unwrap_or(execution.time)));
    headers
}

/// Reads an event's place in the index from its subject and headers.
fn event(sequence: u64, subject: &str, headers: Option<&HeaderMap>) -> Option<Event> {
    let rest = subject.strip_prefix(names::EXECUTION_EVENT_PREFIX)?.strip_prefix('.')?;
    let (event, schedule) = rest.split_once('.')?;
    let headers = headers?;
    let started_at = DateTime::parse_from_rfc3339(headers.get(names::STARTED_AT)?.as_str()).ok()?;
    Some(Event {
        sequence,
        execution: Uuid::try_parse(headers.get(names::EXECUTION_ID)?.as_str()).ok()?,
        schedule: Uuid::try_parse(schedule).ok()?,
        status: ExecutionStatus::from_event(event)?,
        started_at_ms: started_at.timestamp_millis(),
    })
}
