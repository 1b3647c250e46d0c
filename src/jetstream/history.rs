//! The history: writes events of executions, and answers queries from an index of them in memory.
//!
//! The stream is the truth. A reader takes its headers (never its bodies) from the start and then as they come, so
//! lists, filters and exact totals are answered from memory, and only the bodies of one page are fetched. The index
//! drops what the stream's own limits drop, in the same order: the oldest overall, and the oldest of a subject that has
//! more than its share.

mod awaited;
mod headers;
mod queries;
mod record;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use futures::StreamExt as _;
use tokio::sync::{Notify, watch as state};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::adapter::JetStream;
use super::audit::Audit;
use super::describe;
use super::marks::Marks;
use super::writes::Writes;
use crate::clock::Clock;
use crate::history_index::{HistoryIndex, Limits};
use crate::names;
use crate::port::{Entry, Info, Nats, Reading, Start, Unanswered};
use awaited::Awaited;
pub use awaited::{MAX_WAITING, Waiter};
use headers::event;
pub use queries::QueryError;
pub use record::Recorded;

/// Pause before the stream is read again.
const RETRY: Duration = Duration::from_millis(500);
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

/// The history of executions, with the audit of changes.
#[derive(Clone)]
pub struct History<N: Nats = JetStream> {
    nats: N,
    /// Whether any replica may be asked for a message.
    allows_direct: bool,
    index: Arc<RwLock<HistoryIndex>>,
    loaded: state::Receiver<bool>,
    writes: Arc<Writes>,
    /// How long the stream remembers the ids of events, by its present configuration.
    window_ms: Arc<AtomicU64>,
    audit: Audit<N>,
    awaited: Arc<Awaited>,
    /// Notified when somebody waits for something that the index has not been shown.
    wanted: Arc<Notify>,
    clock: Clock,
}

impl<N: Nats> History<N> {
    /// Opens the history in `nats`, whose stream must exist, and follows it until `stop`. Notes the state of its writes
    /// in `writes`.
    ///
    /// # Errors
    /// If the stream cannot be found, or used.
    pub async fn open(
        nats: N,
        writes: Arc<Writes>,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<Self, Unanswered> {
        let Info { config, .. } = describe(&nats, names::EXECUTIONS_STREAM).await?;
        let index = HistoryIndex::new(limits(&config));
        let (sender, loaded) = state::channel(false);
        let audit = Audit::new(nats.clone(), Arc::clone(&writes), clock.clone());
        let (index, awaited) = (Arc::new(RwLock::new(index)), Awaited::new());
        let (window_ms, allows_direct) = (Arc::default(), config.allow_direct);
        let wanted = Arc::default();
        let history = Self {
            nats,
            allows_direct,
            index,
            loaded,
            writes,
            window_ms,
            audit,
            awaited,
            wanted,
            clock,
        };
        history.note_window(&config);
        tokio::spawn(history.clone().follow(sender, stop));
        Ok(history)
    }

    /// Whether the history has been read.
    pub fn loaded(&self) -> state::Receiver<bool> {
        self.loaded.clone()
    }

    /// The audit, where changes of schedules are announced.
    pub fn audit(&self) -> &Audit<N> {
        &self.audit
    }

    async fn follow(self, loaded: state::Sender<bool>, stop: CancellationToken) {
        let mut patience = DIFFERENCES;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                reason = self.read_on(&loaded, &mut patience) => {
                    warn!(reason, "reading of the history restarts");
                }
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(RETRY) => {}
            }
        }
    }

    /// Reads the stream from its start and on; returns why it must start over.
    async fn read_on(&self, loaded: &state::Sender<bool>, patience: &mut u32) -> String {
        let started = Instant::now();
        let info = match self.info().await {
            Ok(info) => info,
            Err(error) => return error.to_string(),
        };
        loaded.send_replace(false);
        self.note_window(&info.config);
        let before_first = info.state.first_sequence.saturating_sub(1);
        self.write(|index| index.restart(limits(&info.config), before_first));
        let what = Reading { from: Start::First, filter: String::new(), headers_only: true };
        let mut entries = match self.nats.read(names::EXECUTIONS_STREAM, what).await {
            Ok((entries, _)) => entries,
            Err(error) => return error,
        };
        let mut reconcile = tokio::time::interval(RECONCILE);
        reconcile.reset();
        let mut is_loaded = info.state.messages == 0;
        let mut looks = Looks::default();
        let (mut read_at, mut marks) = (Instant::now(), Marks::default());
        let (mut connects, mut looked_at) = (self.nats.connects(), Instant::now());
        loop {
            if is_loaded && !loaded.send_replace(true) {
                let executions = self.read(HistoryIndex::len);
                info!(executions, elapsed_ms = started.elapsed().as_millis(), "history read");
            }
            // What is shown after a break says nothing about what the break lost.
            let broke = async {
                self.nats.reconnected(connects).await;
                tokio::time::sleep_until(looked_at + RETRY).await;
            };
            tokio::select! {
                biased;
                () = broke => {
                    looked_at = Instant::now();
                    if !self.is_all_there(&marks, &mut connects).await {
                        return "the stream has lost what it showed".to_owned();
                    }
                }
                _ = reconcile.tick() => match self.info().await {
                    Ok(_) if !self.is_all_there(&marks, &mut connects).await => {
                        return "the stream has lost what it showed".to_owned();
                    }
                    Ok(now) => {
                        self.note_window(&now.config);
                        if let Some(reason) = self.compare(&info, &now, &mut looks) {
                            return reason.to_owned();
                        }
                        if looks.differences >= *patience {
                            *patience = patience.saturating_mul(4);
                            return "the stream lost entries from its middle".to_owned();
                        }
                        is_loaded |= self.read(HistoryIndex::seen) >= now.state.last_sequence;
                    }
                    Err(error) => warn!(%error, "cannot compare the history with its stream"),
                },
                // A server that was restarted has forgotten its readers, and a client notices only after ten seconds.
                () = self.wanted.notified(), if read_at.elapsed() >= AGAIN => {
                    let from = Start::Sequence(self.read(HistoryIndex::seen) + 1);
                    let what = Reading { from, filter: String::new(), headers_only: true };
                    match self.nats.read(names::EXECUTIONS_STREAM, what).await {
                        Ok((anew, _)) => (entries, read_at) = (anew, Instant::now()),
                        Err(error) => warn!(error, "cannot read the history on"),
                    }
                }
                item = entries.next() => match item {
                    None => return "the consumer ended".to_owned(),
                    // The consumer repairs itself and goes on.
                    Some(Err(error)) => debug!(%error, "history"),
                    Some(Ok(entry)) => {
                        if entry.pending == 0 && !is_loaded {
                            is_loaded = true;
                            // Entries that were dropped while they were read are forgotten at once.
                            reconcile.reset_immediately();
                        }
                        let Entry { sequence, ref subject, ref headers, stored_at, .. } = entry;
                        match event(sequence, subject, headers, stored_at) {
                            Some(event) => {
                                self.write(|index| index.apply(event));
                                if event.status.is_final() {
                                    self.awaited.tell(event.execution);
                                }
                            }
                            None => self.write(|index| index.apply_foreign(sequence)),
                        }
                        if self.nats.connects() == connects {
                            marks.note(entry);
                        }
                    }
                },
            }
        }
    }

    /// Compares the index with the stream, as it was `then` and is `now`; returns why it must be read again. The number
    /// of entries may differ although the same limits apply to both: somebody may have purged a subject.
    fn compare(&self, then: &Info, now: &Info, looks: &mut Looks) -> Option<&'static str> {
        self.write(|index| {
            if now.created != then.created || now.state.last_sequence < index.seen() {
                return Some("the stream is not the one that it was");
            }
            if limits(&now.config) != index.limits() {
                return Some("the limits of the stream were changed");
            }
            if looks.is_silent(index.seen(), now.state.last_sequence) {
                return Some("nothing is shown of what the stream holds");
            }
            index.forget_before(now.state.first_sequence);
            if index.seen() == now.state.last_sequence {
                let differs = index.entries().is_some_and(|n| n as u64 != now.state.messages);
                looks.differences = if differs { looks.differences + 1 } else { 0 };
            }
            None
        })
    }

    /// Whether the stream still has what it showed before the present connection was made, according to its leader.
    async fn is_all_there(&self, marks: &Marks, connects: &mut u64) -> bool {
        let connected = self.nats.connects();
        let are_in = marks.are_in(&self.nats, names::EXECUTIONS_STREAM, self.clock.now()).await;
        if are_in.is_ok() {
            *connects = connected;
        }
        are_in.unwrap_or(true)
    }

    fn note_window(&self, config: &Config) {
        let window_ms = u64::try_from(config.duplicate_window.as_millis()).unwrap_or(u64::MAX);
        self.window_ms.store(window_ms, Ordering::Relaxed);
    }

    async fn info(&self) -> Result<Info, Unanswered> {
        self.nats.info(names::EXECUTIONS_STREAM).await
    }

    fn read<T>(&self, f: impl FnOnce(&HistoryIndex) -> T) -> T {
        f(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut HistoryIndex) -> T) -> T {
        f(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How many entries a stream keeps; a limit that is not positive is none.
fn limits(config: &Config) -> Limits {
    let limit = |n: i64| usize::try_from(n).ok().filter(|n| *n > 0).unwrap_or(usize::MAX);
    Limits {
        messages: limit(config.max_messages),
        per_subject: limit(config.max_messages_per_subject),
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
