//! Keeps an index in memory in step with a stream of ours, and fetches what the index finds.
//!
//! The stream is the truth. A reader takes its headers (never its bodies), and then what comes, so that lists, filters
//! and exact totals are answered from memory, and only the bodies of one page are fetched. Every few seconds the index
//! is compared with the stream. If the two differ, or the stream has lost what it showed, it is read again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::{Notify, watch as state};
use tokio::time::{Instant, Interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::marks::Marks;
use super::reminder::Reminder;
use super::writes::OurStream;
use crate::clock::Clock;
use crate::port::{Entry, Info, Nats, Reading, Start};

/// Pause before the stream is read again, which doubles while reading cannot begin.
const RETRY: Duration = Duration::from_millis(500);
/// Longest such pause.
const MAX_RETRY: Duration = Duration::from_secs(16);
/// Interval between comparisons of the index with the stream.
const RECONCILE: Duration = Duration::from_secs(5);
/// Differences in a row after which the stream is read again; more are needed after that.
const DIFFERENCES: u32 = 2;
/// Checks in a row, each finding nothing shown of what was there at the one before, after which the reader counts as
/// silent. A reader can fall silent without an error, and an instance that takes an attempt over waits for what it
/// shows.
const SILENT_LOOKS: u32 = 2;
/// How long a reader reads before another one continues because somebody waits.
const AGAIN: Duration = Duration::from_secs(1);

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

const LOST: &str = "the stream has lost what it showed";

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

    /// What it holds, in number.
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

fn unavailable<I: Mirrored>(error: impl std::fmt::Display) -> QueryError {
    QueryError::Unavailable(I::NAME, error.to_string())
}

/// What is known while a stream is read.
struct Reader<'a, N, I> {
    mirror: &'a Mirror<N, I>,
    /// The stream when reading began.
    info: Info,
    is_loaded: bool,
    looks: Looks,
    marks: Marks,
    connects: u64,
    started: Instant,
    /// When the present consumer began.
    read_at: Instant,
    /// When the marks were last looked for after a break.
    looked_at: Instant,
    reconcile: Interval,
}

impl<'a, N: Nats, I: Mirrored> Reader<'a, N, I> {
    /// Begins to read the stream; returns why it cannot.
    async fn begin(mirror: &'a Mirror<N, I>) -> Result<(Self, N::Entries), String> {
        let Mirror { nats, index, .. } = mirror;
        let started = Instant::now();
        let info = nats.info(I::STREAM.stream()).await.map_err(|error| error.to_string())?;
        mirror.loaded.send_replace(false);
        mirror.allows_direct.store(info.config.allow_direct, Ordering::Relaxed);
        let from = index.restart(&info);
        let entries = mirror.entries(from).await?;
        let mut reconcile = tokio::time::interval(RECONCILE);
        reconcile.reset();
        let now = Instant::now();
        let reader = Self {
            mirror,
            is_loaded: info.state.messages == 0,
            info,
            looks: Looks::default(),
            marks: Marks::default(),
            connects: nats.connects(),
            started,
            read_at: now,
            looked_at: now,
            reconcile,
        };
        Ok((reader, entries))
    }

    /// Reads on; returns why it must start over.
    async fn read_on(mut self, mut entries: N::Entries, patience: &mut u32) -> &'static str {
        let Mirror { nats, index, loaded, wanted, .. } = self.mirror;
        loop {
            if self.is_loaded && !loaded.send_replace(true) {
                let (entries, elapsed_ms) = (index.len(), self.started.elapsed().as_millis());
                info!(entries, elapsed_ms, "{} read", I::NAME);
            }
            // What is shown after a break says nothing about what the break lost.
            let (connects, looked_at) = (self.connects, self.looked_at);
            let broke = async {
                nats.reconnected(connects).await;
                tokio::time::sleep_until(looked_at + RETRY).await;
            };
            tokio::select! {
                biased;
                () = broke => {
                    self.looked_at = Instant::now();
                    if !self.is_all_there().await {
                        return LOST;
                    }
                }
                _ = self.reconcile.tick() => {
                    if let Some(reason) = self.compare(patience).await {
                        return reason;
                    }
                }
                // A server that was restarted has forgotten its readers, and a client notices only after ten seconds.
                () = wanted.notified(), if self.read_at.elapsed() >= AGAIN => {
                    match self.mirror.entries(Start::Sequence(index.seen() + 1)).await {
                        Ok(anew) => (entries, self.read_at) = (anew, Instant::now()),
                        Err(error) => warn!(error, "cannot read the {} on", I::NAME),
                    }
                }
                item = entries.next() => match item {
                    None => return "the consumer ended",
                    // The consumer repairs itself and goes on.
                    Some(Err(error)) => debug!(%error, "{}", I::NAME),
                    Some(Ok(entry)) => self.take(entry),
                },
            }
        }
    }

    fn take(&mut self, entry: Entry) {
        if entry.pending == 0 && !self.is_loaded {
            self.is_loaded = true;
            // Entries that were dropped while they were read are forgotten at once.
            self.reconcile.reset_immediately();
        }
        self.mirror.index.apply(&entry);
        if self.mirror.nats.connects() == self.connects {
            self.marks.note(entry);
        }
    }

    /// Compares the index with the stream; returns why it must be read again. The number of entries may differ although
    /// the same limits apply to both: somebody may have purged a subject.
    async fn compare(&mut self, patience: &mut u32) -> Option<&'static str> {
        let index = &self.mirror.index;
        let now = match self.mirror.nats.info(I::STREAM.stream()).await {
            Ok(now) => now,
            Err(error) => {
                warn!(%error, "cannot compare the {} with its stream", I::NAME);
                return None;
            }
        };
        if !self.is_all_there().await {
            return Some(LOST);
        }
        if now.created != self.info.created || now.state.last_sequence < index.seen() {
            return Some("the stream is not the one that it was");
        }
        if !index.fits(&now.config) {
            return Some("the limits of the stream were changed");
        }
        if self.looks.is_silent(index.seen(), now.state.last_sequence) {
            return Some("nothing is shown of what the stream holds");
        }
        index.forget_before(now.state.first_sequence);
        if index.seen() == now.state.last_sequence {
            let differs = index.entries().is_some_and(|n| n as u64 != now.state.messages);
            self.looks.differences = if differs { self.looks.differences + 1 } else { 0 };
        }
        if self.looks.differences >= *patience {
            *patience = patience.saturating_mul(4);
            return Some("the stream lost entries from its middle");
        }
        self.is_loaded |= index.seen() >= now.state.last_sequence;
        None
    }

    /// Whether the stream still has what it showed before the present connection was made, according to its leader.
    async fn is_all_there(&mut self) -> bool {
        let Mirror { nats, clock, .. } = self.mirror;
        let connected = nats.connects();
        let are_in = self.marks.are_in(nats, I::STREAM.stream(), clock.now()).await;
        if are_in.is_ok() {
            self.connects = connected;
        }
        are_in.unwrap_or(true)
    }
}

impl<N: Nats, I: Mirrored> Mirror<N, I> {
    async fn entries(&self, from: Start) -> Result<N::Entries, String> {
        let what = Reading { from, filter: String::new(), headers_only: true };
        Ok(self.nats.read(I::STREAM.stream(), what).await?.0)
    }
}

/// What the checks of the stream have found.
#[derive(Default)]
struct Looks {
    /// How often in a row the index held a number of entries other than the stream's.
    differences: u32,
    /// How often in a row the index was shown nothing, though there was something to show.
    silent: u32,
    /// The sequences that the index had been shown, and the stream had stored, at the last check.
    last: Option<(u64, u64)>,
}

impl Looks {
    /// Notes another check; returns whether the reader has fallen silent.
    fn is_silent(&mut self, seen: u64, stored: u64) -> bool {
        let before = self.last.replace((seen, stored));
        let shown = before.is_none_or(|(before, stored)| seen > before || stored <= before);
        self.silent = if shown { 0 } else { self.silent + 1 };
        self.silent >= SILENT_LOOKS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_silent_that_shows_nothing_of_what_was_there_look_after_look() {
        let silent = |looks: &[(u64, u64)]| {
            let mut noted = Looks::default();
            looks.iter().map(|(seen, stored)| noted.is_silent(*seen, *stored)).collect::<Vec<_>>()
        };
        assert_eq!(silent(&[(1, 5), (1, 5), (1, 5)]), [false, false, true]);
        // It is slow, or there is nothing, or what there is came since the last check.
        assert_eq!(silent(&[(1, 5), (2, 5), (3, 5), (4, 9)]), [false; 4]);
        assert_eq!(silent(&[(5, 5), (5, 5), (5, 5)]), [false; 3]);
        assert_eq!(silent(&[(5, 5), (5, 9), (9, 9), (9, 12), (12, 12)]), [false; 5]);
    }
}
