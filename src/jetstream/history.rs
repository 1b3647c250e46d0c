//! The history: writing events of executions, and an index of them in memory to answer queries.
//!
//! The stream is the truth. A reader takes its headers (never its bodies) from the start and then as
//! they come, so that lists, filters and exact totals are answered from memory and only the
//! bodies of one page are fetched. The index drops what the stream's own limits drop, in the same
//! order: the oldest overall, and the oldest of a subject that has more than its share.

mod awaited;
mod headers;
mod queries;

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, push};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, Stream};
use futures::StreamExt as _;
use tokio::sync::watch as state;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::deliver::connected;
use super::writes::{Place, Writes};
use super::{WriteError, names};
use crate::execution::Execution;
use crate::history_index::{HistoryIndex, Limits};
use awaited::Awaited;
pub use awaited::{MAX_WAITING, Waiter};
use headers::{event, event_headers};
pub use queries::QueryError;

/// Pause between tries to write while NATS is out of reach.
const RETRY: Duration = Duration::from_millis(500);
/// How often the index is compared with the stream.
const RECONCILE: Duration = Duration::from_secs(5);
/// How often in a row it must differ before the stream is read again; after that more often.
const DIFFERENCES: u32 = 2;

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
    writes: Arc<Writes>,
    awaited: Arc<Awaited>,
}

impl History {
    /// Opens the history behind `js`, whose stream must exist, and follows it until `stop`; how writing to
    /// it goes is noted in `writes`.
    ///
    /// # Errors
    /// If the stream cannot be found or reached.
    pub async fn open(
        js: jetstream::Context,
        writes: Arc<Writes>,
        stop: CancellationToken,
    ) -> Result<Self, jetstream::context::GetStreamError> {
        let stream = js.get_stream(names::EXECUTIONS_STREAM).await?;
        let index = HistoryIndex::new(limits(&stream.cached_info().config));
        let (sender, loaded) = state::channel(false);
        let (index, awaited) = (Arc::new(RwLock::new(index)), Awaited::new());
        let history = Self { js, stream, index, loaded, writes, awaited };
        tokio::spawn(history.clone().follow(sender, stop));
        Ok(history)
    }

    /// Whether it has been read.
    pub fn loaded(&self) -> state::Receiver<bool> {
        self.loaded.clone()
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
        let mut insistent = self.writes.insist(Place::Executions);
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
                    insistent.failed(&error);
                    unknown_since.get_or_insert_with(Instant::now);
                    if !std::mem::replace(&mut complained, true) {
                        warn!(execution_id = %execution.id, %error, "history cannot be written; trying on");
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow(self, loaded: state::Sender<bool>, stop: CancellationToken) {
        let mut patience = DIFFERENCES;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                reason = self.read_on(&loaded, &mut patience) => {
                    warn!(reason, "reading of the history restarts");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Reads the stream from its start and on; returns why it must start over.
    async fn read_on(&self, loaded: &state::Sender<bool>, patience: &mut u32) -> String {
        let started = Instant::now();
        let info = match self.stream.get_info().await {
            Ok(info) => info,
            Err(error) => return error.to_string(),
        };
        loaded.send_replace(false);
        let before_first = info.state.first_sequence.saturating_sub(1);
        self.write(|index| index.restart(limits(&info.config), before_first));
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
        let mut differences = 0;
        loop {
            if is_loaded && !loaded.send_replace(true) {
                let executions = self.read(HistoryIndex::len);
                info!(executions, elapsed_ms = started.elapsed().as_millis(), "history read");
            }
            tokio::select! {
                item = messages.next() => match item {
                    None => return "the consumer ended".to_owned(),
                    // The consumer mends itself and goes on.
                    Some(Err(error)) => debug!(%error, "history"),
                    Some(Ok(message)) => {
                        let Ok(position) = message.info() else { continue };
                        if position.pending == 0 && !is_loaded {
                            is_loaded = true;
                            // What was dropped while it was read is forgotten at once.
                            reconcile.reset_immediately();
                        }
                        let sequence = position.stream_sequence;
                        let headers = message.headers.as_ref();
                        match event(sequence, &message.subject, headers, position.published) {
                            Some(event) => {
                                self.write(|index| index.apply(event));
                                if event.status.is_final() {
                                    self.awaited.tell(event.execution);
                                }
                            }
                            None => self.write(|index| index.apply_foreign(sequence)),
                        }
                    }
                },
                _ = reconcile.tick() => match self.stream.get_info().await {
                    Ok(now) => {
                        if let Some(reason) = self.compare(&info, &now, &mut differences) {
                            return reason.to_owned();
                        }
                        if differences >= *patience {
                            *patience = patience.saturating_mul(4);
                            return "the stream lost entries from its middle".to_owned();
                        }
                        is_loaded |= self.read(HistoryIndex::seen) >= now.state.last_sequence;
                    }
                    Err(error) => warn!(%error, "cannot compare the history with its stream"),
                },
            }
        }
    }

    /// Compares the index with the stream, as it was `then` and is `now`; returns why it must be read
    /// again. `differences` counts how often in a row it held another number of entries: limits drop
    /// the same here and there, but somebody may have purged a subject.
    fn compare(
        &self,
        then: &stream::Info,
        now: &stream::Info,
        differences: &mut u32,
    ) -> Option<&'static str> {
        self.write(|index| {
            if now.created != then.created || now.state.last_sequence < index.seen() {
                return Some("the stream is not the one that it was");
            }
            if limits(&now.config) != index.limits() {
                return Some("the limits of the stream were changed");
            }
            index.forget_before(now.state.first_sequence);
            if index.seen() == now.state.last_sequence {
                let differs = index.entries().is_some_and(|n| n as u64 != now.state.messages);
                *differences = if differs { *differences + 1 } else { 0 };
            }
            None
        })
    }

    fn read<T>(&self, f: impl FnOnce(&HistoryIndex) -> T) -> T {
        f(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut HistoryIndex) -> T) -> T {
        f(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many entries a stream keeps; limits that are not positive are none.
fn limits(config: &stream::Config) -> Limits {
    let limit = |n: i64| usize::try_from(n).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
    Limits {
        messages: limit(config.max_messages),
        per_subject: limit(config.max_messages_per_subject),
    }
}
