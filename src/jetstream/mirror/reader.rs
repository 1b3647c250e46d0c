//! Reads a stream into its index, and compares the two.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::{Instant, Interval};
use tracing::{debug, info, warn};

use super::super::marks::Marks;
use super::looks::Looks;
use super::{DIFFERENCES, Mirror, Mirrored, RETRY};
use crate::port::{Entry, Info, Nats, Start};

/// Interval between comparisons of the index with the stream.
const RECONCILE: Duration = Duration::from_secs(5);
/// How long a reader reads before another one continues because somebody waits.
const AGAIN: Duration = Duration::from_secs(1);

const LOST: &str = "the stream has lost what it showed";

/// What is known while a stream is read.
pub(super) struct Reader<'a, N, I> {
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
    pub(super) async fn begin(mirror: &'a Mirror<N, I>) -> Result<(Self, N::Entries), String> {
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
    pub(super) async fn read_on(
        mut self,
        mut entries: N::Entries,
        patience: &mut u32,
    ) -> &'static str {
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
                        Err(error) => warn!(error, "cannot continue reading the {}", I::NAME),
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
            if differs {
                self.looks.differences += 1;
            } else {
                // Reading it again has helped, or was not needed.
                (self.looks.differences, *patience) = (0, DIFFERENCES);
            }
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
