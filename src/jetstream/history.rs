//! The history: writes events of executions, and answers queries from an index of them in memory.
//!
//! The index drops what the stream's own limits drop, in the same order: the oldest overall, and the oldest of a subject
//! that has more than its share.

mod headers;
mod queries;
mod record;
mod waiters;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use async_nats::jetstream::stream::Config;
use tokio::sync::watch as state;
use tokio_util::sync::CancellationToken;

use super::adapter::JetStream;
use super::audit::Audit;
use super::describe;
use super::lines::Lines;
pub use super::mirror::QueryError;
use super::mirror::{Mirror, Mirrored};
use super::writes::{OurStream, Writes};
use crate::clock::Clock;
use crate::history_index::{HistoryIndex, Limits};
use crate::names;
use crate::port::{Entry, Info, Nats, Start, Unanswered};
use headers::event;
pub(crate) use headers::{command_header, error_header};
pub use record::Recorded;
use waiters::Waiters;
pub use waiters::{MAX_WAITING, Waiter};

/// The history of executions, with the audit of changes.
#[derive(Clone)]
pub struct History<N: Nats = JetStream> {
    nats: N,
    lines: Lines<N>,
    mirror: Arc<Mirror<N, Executions>>,
    writes: Arc<Writes>,
    audit: Audit<N>,
    clock: Clock,
}

/// The executions in memory, and those who wait for the end of one.
struct Executions {
    index: RwLock<HistoryIndex>,
    /// How long the stream remembers the ids of events, by its present configuration.
    window_ms: AtomicU64,
    waiters: Arc<Waiters>,
}

impl<N: Nats> History<N> {
    /// Opens the history in `nats`, whose stream must exist, and follows it until `stop`. Events are written over `lines`;
    /// notes the state of that in `writes`.
    ///
    /// # Errors
    /// If the stream cannot be found, or used.
    pub async fn open(
        nats: N,
        lines: Lines<N>,
        writes: Arc<Writes>,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<Self, Unanswered> {
        let Info { config, .. } = describe(&nats, names::EXECUTIONS_STREAM).await?;
        let executions = Executions {
            index: RwLock::new(HistoryIndex::new(limits(&config))),
            window_ms: AtomicU64::default(),
            waiters: Waiters::new(),
        };
        executions.note_window(&config);
        let mirror = Mirror::new(nats.clone(), executions, clock.clone());
        tokio::spawn(Arc::clone(&mirror).follow(stop.clone()));
        let audit = Audit::new(nats.clone(), lines.clone(), Arc::clone(&writes), clock.clone());
        tokio::spawn(audit.clone().follow(mirror.loaded(), stop));
        Ok(Self { nats, lines, mirror, writes, audit, clock })
    }

    /// Whether the history has been read.
    pub fn loaded(&self) -> state::Receiver<bool> {
        self.mirror.loaded()
    }

    /// The audit, where changes of schedules are announced.
    pub fn audit(&self) -> &Audit<N> {
        &self.audit
    }

    /// The highest place in the stream that was shown.
    pub(crate) fn shown(&self) -> u64 {
        self.read(HistoryIndex::seen)
    }

    fn read<T>(&self, f: impl FnOnce(&HistoryIndex) -> T) -> T {
        self.mirror.index.read(f)
    }
}

impl Executions {
    fn note_window(&self, config: &Config) {
        let window_ms = u64::try_from(config.duplicate_window.as_millis()).unwrap_or(u64::MAX);
        self.window_ms.store(window_ms, Ordering::Relaxed);
    }

    fn read<T>(&self, f: impl FnOnce(&HistoryIndex) -> T) -> T {
        f(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut HistoryIndex) -> T) -> T {
        f(&mut self.index.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Mirrored for Executions {
    const STREAM: OurStream = OurStream::Executions;
    const NAME: &'static str = "history";

    fn restart(&self, info: &Info) -> Start {
        self.note_window(&info.config);
        let before_first = info.state.first_sequence.saturating_sub(1);
        self.write(|index| index.restart(limits(&info.config), before_first));
        Start::First
    }

    fn apply(&self, entry: &Entry) {
        let Entry { sequence, subject, headers, stored_at, .. } = entry;
        match event(*sequence, subject, headers, *stored_at) {
            Some(event) => {
                self.write(|index| index.apply(event));
                if event.status.is_final() {
                    self.waiters.tell(event.execution);
                }
            }
            None => self.write(|index| index.apply_foreign(*sequence)),
        }
    }

    fn seen(&self) -> u64 {
        self.read(HistoryIndex::seen)
    }

    fn len(&self) -> usize {
        self.read(HistoryIndex::len)
    }

    fn entries(&self) -> Option<usize> {
        self.read(HistoryIndex::entries)
    }

    fn forget_before(&self, first: u64) {
        self.write(|index| index.forget_before(first));
    }

    fn forget(&self, sequence: u64) {
        self.write(|index| index.forget(sequence));
    }

    fn fits(&self, config: &Config) -> bool {
        self.note_window(config);
        self.read(HistoryIndex::limits) == limits(config)
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
