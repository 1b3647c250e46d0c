//! Reads the bucket from the start.

use std::mem;
use std::time::Duration;

use futures::stream::FuturesOrdered;
use futures::{FutureExt as _, Stream, StreamExt as _};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Follower, account_for};
use crate::index::{Shown, Told};
use crate::jetstream::account::Account;
use crate::names;
use crate::port::{Entry, Nats, Start};

/// Silence of a replay after which the stream is asked whether there is more.
const SILENCE: Duration = Duration::from_secs(2);
/// Entries of a replay that one task reads, and tasks that read at the same time.
const AT_ONCE: usize = 256;
const READ_BESIDE: usize = 4;

impl<N: Nats> Follower<N> {
    pub(super) async fn replay(&mut self) -> Result<N::Entries, String> {
        let started = Instant::now();
        self.connects = self.nats.connects();
        let info = self.info().await.map_err(|error| error.to_string())?;
        let changed = self.created.is_some_and(|created| created != info.created);
        let went_back = info.state.last_sequence < self.seen;
        if changed || went_back || self.is_lost || !self.is_all_there().await? {
            warn!("the bucket of schedules is not the one that it was; reading it anew");
            self.index.clear();
        }
        self.is_lost = false;
        self.index.note_whole(self.connects);
        self.marks.clear();
        self.created = Some(info.created);
        self.seen = 0;
        self.index.begin_replay();
        let mut watch = self.read(Start::LastOfEach).await?;
        let (mut shown, mut account) = (Shown::default(), Account::default());
        let mut remaining = info.state.messages;
        // Values are parsed in parallel, and applied in order.
        let mut reading = FuturesOrdered::<JoinHandle<Vec<(Entry, Told)>>>::new();
        while remaining > 0 || !reading.is_empty() {
            tokio::select! {
                biased;
                Some(read) = reading.next() => {
                    for (entry, told) in read.map_err(|error| error.to_string())? {
                        let key = names::subject_key(&entry.subject);
                        shown.add(key);
                        account_for(&mut account, &entry);
                        self.index.take_in(key, entry.sequence, told);
                        self.saw(entry.sequence);
                        self.mark(entry);
                    }
                }
                came = some(&mut watch), if remaining > 0 && reading.len() < READ_BESIDE => {
                    if came.is_empty() {
                        // The last pending entry may have been removed before it was sent.
                        let now = self.info().await.map_err(|error| error.to_string())?;
                        if reading.is_empty() {
                            if now.state.messages > 0 && self.seen < now.state.last_sequence {
                                return Err("the bucket is not shown whole".to_owned());
                            }
                            remaining = 0;
                        }
                        continue;
                    }
                    let came: Vec<Entry> = came.into_iter().collect::<Result<_, _>>()?;
                    remaining = came.last().map_or(0, |last| last.pending);
                    reading.push_back(tokio::spawn(async move { came.into_iter().map(read).collect::<Vec<_>>() }));
                }
            }
        }
        // What was deleted before we came, markers included, is not shown; it counts as seen all the same.
        self.seen = self.seen.max(info.state.last_sequence);
        self.index.saw(self.seen);
        self.index.retain(&shown, self.seen);
        self.index.note_fresh_at(started);
        let before = mem::replace(&mut self.account, account);
        let vanished = before.schedules_unknown_to(&self.account);
        let was_cut_off = mem::take(&mut self.was_cut_off);
        if vanished > 0 && !was_cut_off {
            error!(vanished, "schedules are not in the bucket any more, and nobody deleted them");
            self.index.note_vanished(vanished, self.clock.now());
        }
        let (schedules, elapsed_ms) = (self.index.len(), started.elapsed().as_millis());
        info!(schedules, elapsed_ms, "schedules loaded");
        Ok(watch)
    }
}

/// The entries that are shown next and are there already; empty if the watch is silent. Its end is an error.
async fn some(
    watch: &mut (impl Stream<Item = Result<Entry, String>> + Unpin),
) -> Vec<Result<Entry, String>> {
    let Ok(first) = tokio::time::timeout(SILENCE, watch.next()).await else { return Vec::new() };
    let mut came = vec![first.unwrap_or_else(|| Err("the watch ended".to_owned()))];
    while came.len() < AT_ONCE
        && let Some(Some(next)) = watch.next().now_or_never()
    {
        came.push(next);
    }
    came
}

/// Reads what an entry's value says.
fn read(entry: Entry) -> (Entry, Told) {
    let value = entry.is_value().then_some(&*entry.body);
    let told = Told::read(names::subject_key(&entry.subject), value);
    (entry, told)
}
