//! Keeps an index in memory in step with a stream of ours, and fetches what the index finds.
//!
//! The stream is the truth. A reader takes its headers (never its bodies), and then what comes, so that lists, filters
//! and exact totals are answered from memory, and only the bodies of one page are fetched. Every few seconds the index
//! is compared with the stream. If the two differ, or the stream has lost what it showed, it is read again.

mod looks;
mod reader;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{Notify, watch as state};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use reader::Reader;

use super::reminder::Reminder;
use super::writes::OurStream;
use crate::clock::Clock;
use crate::port::{Entry, Info, Nats, Reading, Start, Unanswered};

/// Pause before the stream is read again, which doubles while reading cannot begin.
const RETRY: Duration = Duration::from_millis(500);
/// Longest such pause.
const MAX_RETRY: Duration = Duration::from_secs(16);
/// Differences in a row after which the stream is read again; more are needed after that.
const DIFFERENCES: u32 = 2;

/// Time that a query waits for the stream to be read.
const LOADS_WITHIN: Duration = Duration::from_secs(2);
/// Time that a query waits for what the stream has stored to be shown.
const SEEN_WITHIN: Duration = Duration::from_secs(5);
/// Interval between checks whether the index has been shown what somebody waits for.
const LOOK: Duration = Duration::from_millis(10);
/// Number of checks after which another reader continues reading the stream.
const SLOW: u32 = 50;
/// Bodies fetched at once for one page.
const FETCHES: usize = 64;
/// Most tries to fetch a page that the stream drops parts of meanwhile.
const LOOKS: usize = 4;

/// An index of a stream, in memory.
pub(super) trait Mirrored: Send + Sync + 'static {
    /// The stream.
    const STREAM: OurStream;
    /// What the stream holds, in messages for people.
    const NAME: &'static str;

    /// Forgets everything, for a stream that is as `info` says; returns where to begin to read.
    fn restart(&self, info: &Info) -> Start;

    /// Takes what comes next in the stream. What it was shown before is ignored.
    fn apply(&self, entry: &Entry);

    /// The highest sequence shown so far.
    fn seen(&self) -> u64;

    /// Number of entries that it holds.
    fn len(&self) -> usize;

    /// How many messages the stream must hold, if that is certain.
    fn entries(&self) -> Option<usize>;

    /// Forgets what was stored before the sequence `first`.
    fn forget_before(&self, first: u64);

    /// Forgets what was stored at a sequence.
    fn forget(&self, sequence: u64);

    /// Whether it is what it would be if the stream had always had this configuration.
    fn fits(&self, config: &Config) -> bool;
}

/// Why a query failed.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The index is still being read from the stream.
    #[error("the {0} is still being read")]
    Loading(&'static str),
    /// Reading of the stream cannot begin.
    #[error("the {0} cannot be read: {1}")]
    Unread(&'static str, String),
    /// The stream does not exist.
    #[error("stream {0} does not exist")]
    Missing(&'static str),
    /// The stream does not answer.
    #[error("NATS JetStream does not answer for the {0}: {1}")]
    Unavailable(&'static str, String),
}

/// A stream and its index.
pub(super) struct Mirror<N, I> {
    nats: N,
    pub(super) index: I,
    loaded: state::Sender<bool>,
    /// Why reading could not begin.
    failure: Mutex<Option<String>>,
    /// Whether any replica may be asked for a message.
    allows_direct: AtomicBool,
    /// Notified when somebody waits for something that the index has not been shown.
    wanted: Notify,
    clock: Clock,
}

impl<N: Nats, I: Mirrored> Mirror<N, I> {
    /// An empty mirror of the stream in `nats`.
    pub(super) fn new(nats: N, index: I, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            nats,
            index,
            loaded: state::Sender::new(false),
            failure: Mutex::default(),
            allows_direct: AtomicBool::default(),
            wanted: Notify::default(),
            clock,
        })
    }

    /// Whether the stream has been read.
    pub(super) fn loaded(&self) -> state::Receiver<bool> {
        self.loaded.subscribe()
    }

    /// Follows the stream until `stop`.
    pub(super) async fn follow(self: Arc<Self>, stop: CancellationToken) {
        let (mut patience, mut pause, mut said) = (DIFFERENCES, RETRY, Reminder::default());
        loop {
            let reading = async {
                let begun = Reader::begin(&self).await;
                *self.failure() = begun.as_ref().err().cloned();
                let (reader, entries) = begun?;
                pause = RETRY;
                Ok(reader.read_on(entries, &mut patience).await)
            };
            let read: Result<&'static str, String> = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                read = reading => read,
            };
            let reason = read.as_deref().unwrap_or_else(|error| error);
            if read.is_ok() || said.is_due(reason, Instant::now()) {
                warn!(reason, "reading of the {} restarts", I::NAME);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = if read.is_ok() { RETRY } else { (pause * 2).min(MAX_RETRY) };
        }
    }

    /// Waits until everything that the stream has stored until now has been read; returns its last place.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub(super) async fn catch_up(&self) -> Result<u64, QueryError> {
        self.ready().await?;
        let last = self.nats.last_sequence(I::STREAM.stream()).await;
        let last = last.map_err(unavailable::<I>)?;
        let caught_up = async {
            let mut looks = 0_u32;
            while self.index.seen() < last {
                tokio::time::sleep(LOOK).await;
                looks += 1;
                if looks.is_multiple_of(SLOW) {
                    self.wanted.notify_one();
                }
            }
        };
        let caught_up = tokio::time::timeout(SEEN_WITHIN, caught_up).await;
        caught_up.map_err(|_| QueryError::Loading(I::NAME))?;
        Ok(last)
    }

    /// Waits a little for the stream to be read.
    ///
    /// # Errors
    /// `Loading` if that takes longer, `Unread` if it cannot be read.
    pub(super) async fn ready(&self) -> Result<(), QueryError> {
        // Polled, not awaited: tasks that wait for a channel to change are woken in random order.
        let read = async {
            while !*self.loaded.borrow() {
                tokio::time::sleep(LOOK).await;
            }
        };
        let read = tokio::time::timeout(LOADS_WITHIN, read).await;
        read.map_err(|_| match self.failure().clone() {
            Some(reason) => QueryError::Unread(I::NAME, reason),
            None => QueryError::Loading(I::NAME),
        })
    }

    fn failure(&self) -> MutexGuard<'_, Option<String>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches what `look` finds, and reads it. If the stream has dropped a part of it, tells the index and looks again.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub(super) async fn page<T>(
        &self,
        look: impl Fn(&I) -> (Vec<u64>, u64),
        read: impl Fn(Entry) -> Option<T>,
    ) -> Result<(Vec<T>, u64), QueryError> {
        self.ready().await?;
        let mut looks = 1;
        loop {
            let (sequences, total) = look(&self.index);
            let fetched = self.fetch_all(&sequences).await?;
            let places = sequences.iter().zip(&fetched);
            let gone = places.filter(|(_, fetched)| fetched.is_none());
            let gone: Vec<u64> = gone.map(|(sequence, _)| *sequence).collect();
            if gone.is_empty() || looks == LOOKS {
                return Ok((fetched.into_iter().flatten().filter_map(read).collect(), total));
            }
            looks += 1;
            let info = self.nats.info(I::STREAM.stream()).await.map_err(unavailable::<I>)?;
            self.index.forget_before(info.state.first_sequence);
            gone.iter().for_each(|sequence| self.index.forget(*sequence));
        }
    }

    /// What the stream holds at each of some places.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub(super) async fn fetch_all(
        &self,
        sequences: &[u64],
    ) -> Result<Vec<Option<Entry>>, QueryError> {
        let fetches = stream::iter(sequences.to_vec()).map(|sequence| self.fetch(sequence));
        fetches.buffered(FETCHES).try_collect().await
    }

    /// What the stream holds at a place.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub(super) async fn fetch(&self, sequence: u64) -> Result<Option<Entry>, QueryError> {
        let stream = I::STREAM.stream();
        // What is stored never changes, so any replica will do, at half the cost. Only a replica that does not have it,
        // or not yet, is not the last word.
        if self.allows_direct.load(Ordering::Relaxed)
            && let Ok(Some(message)) = self.nats.message_of_any(stream, sequence).await
        {
            return Ok(Some(message));
        }
        self.nats.message(stream, sequence).await.map_err(unavailable::<I>)
    }
}

fn unavailable<I: Mirrored>(error: Unanswered) -> QueryError {
    if error.is_no_stream() {
        return QueryError::Missing(I::STREAM.stream());
    }
    QueryError::Unavailable(I::NAME, error.to_string())
}

impl<N: Nats, I: Mirrored> Mirror<N, I> {
    async fn entries(&self, from: Start) -> Result<N::Entries, String> {
        let what = Reading { from, filter: String::new(), headers_only: true };
        Ok(self.nats.read(I::STREAM.stream(), what).await?.0)
    }
}
