//! Keeps the index in step with the bucket.
//!
//! The watch is a hint. It can miss markers that expired while we were away. It stays silent after the bucket was
//! recreated or purged, or its sequences went back. It says nothing of what a server lost with its power. And on an
//! empty bucket it never says that it has shown everything. So every five seconds, and whenever somebody finds an older
//! record than the watch showed, it is compared with the stream's own account; if they disagree, the bucket is replayed
//! from the start. Schedules that the replay shows neither as present nor as deleted have vanished: they are forgotten,
//! and that is reported.

mod checks;
mod replay;

use std::convert::Infallible;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use tokio::sync::watch as state;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::account::Account;
use super::marks::Marks;
use super::reminder::Reminder;
use super::schedules::MARKER;
use crate::clock::Clock;
use crate::guards::{Guard, Guards as _};
use crate::index::{Index, Wrote};
use crate::names;
use crate::port::{Entry, Info, Nats, Reading, Start, Unanswered};
use crate::schedule::Schedule;
use checks::{Checks, SHOWN_WITHIN};

/// Interval between comparisons of the watch with the stream.
const RECONCILE: Duration = Duration::from_secs(5);
/// Times in a row that the stream must hold too little: an expired value is replaced by a marker a moment later.
const DIFFERENCES: u32 = 2;
/// How long we may be cut off and still be shown what was deleted; markers last for an hour.
const MARKERS_LAST: Duration = Duration::from_secs(MARKER.as_secs() - 15 * 60);
/// How long the watch may take to show what the stream had when somebody asked whether everything is seen.
const BEHIND: Duration = Duration::from_secs(1);
/// Pause between checks of the stream.
const LOOK: Duration = Duration::from_millis(100);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

/// Feeds the index from the bucket until `stop`; `loaded` turns true once the index has all that the bucket held at the
/// start.
pub async fn follow(
    nats: impl Nats,
    index: Arc<Index>,
    loaded: state::Sender<bool>,
    clock: Clock,
    stop: CancellationToken,
) {
    let mut follower = Follower {
        connects: nats.connects(),
        nats,
        index,
        clock,
        loaded,
        created: None,
        seen: 0,
        account: Account::default(),
        marks: Marks::default(),
        is_lost: false,
        starts_at_once: false,
        was_cut_off: false,
        said: Reminder::default(),
    };
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            Err(error) = follower.run() => {
                let _ = follower.loaded.send_replace(false);
                if follower.said.is_due(&error, Instant::now()) {
                    warn!(error, "watch of the schedules restarts");
                }
            }
        }
        let pause = if mem::take(&mut follower.starts_at_once) { Duration::ZERO } else { RETRY };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

struct Follower<N> {
    nats: N,
    index: Arc<Index>,
    clock: Clock,
    loaded: state::Sender<bool>,
    /// When the stream that we last saw was created.
    created: Option<DateTime<Utc>>,
    /// Highest revision that the watch showed.
    seen: u64,
    /// The keys that it showed.
    account: Account,
    /// The last messages that it showed before the connection was made anew.
    marks: Marks,
    /// Whether the bucket was found to have lost something. This stands, because others may have written as much again
    /// since, so that it no longer shows.
    is_lost: bool,
    /// Whether that was found just now, so that the bucket is read again without a pause.
    starts_at_once: bool,
    /// Whether deletions may have been missed, along with their markers.
    was_cut_off: bool,
    /// How often the connection had been made when we last began to follow the bucket.
    connects: u64,
    /// What was said of failures.
    said: Reminder,
}

impl<N: Nats> Follower<N> {
    /// Replays the bucket and follows it; returns why it must start over.
    async fn run(&mut self) -> Result<Infallible, String> {
        let mut watch = self.replay().await?;
        let _ = self.loaded.send_replace(true);
        let mut reconcile = tokio::time::interval(RECONCILE);
        reconcile.reset();
        let mut checks = Checks::begin(self.seen);
        loop {
            let index = Arc::clone(&self.index);
            let asked_for = async {
                tokio::select! {
                    biased;
                    () = self.nats.reconnected(self.connects) => {}
                    // A caller that wants it asks again until everything has been seen.
                    () = index.freshness_wanted(), if checks.behind.is_none() => {}
                }
                // Either still holds right after a check that failed, or that did not settle it.
                if let Some(looked_at) = checks.looked_at {
                    tokio::time::sleep_until(looked_at + LOOK).await;
                }
            };
            let check = async {
                tokio::select! {
                    biased;
                    _ = reconcile.tick() => false,
                    () = asked_for => true,
                }
            };
            tokio::select! {
                biased;
                is_wanted = check => self.check(&mut checks, is_wanted, &mut watch).await?,
                item = watch.next() => match item {
                    None => return Err("the watch ended".to_owned()),
                    Some(Ok(entry)) => {
                        // The next message comes after everything that the stream had by then.
                        self.compare(&mut checks, entry.sequence - 1);
                        self.apply(&entry);
                        account_for(&mut self.account, &entry);
                        self.mark(entry);
                        self.compare(&mut checks, self.seen);
                    }
                    // The watch repairs itself and goes on after an error.
                    Some(Err(error)) => debug!(%error, "watch"),
                },
                () = sleep_until(checks.behind) => {
                    return Err("the watch is behind after a break".to_owned());
                }
            }
            if checks.said.is_none() {
                checks.behind = None;
            }
            if checks.differences >= DIFFERENCES {
                return Err("the bucket does not hold all that was in it".to_owned());
            }
        }
    }

    /// Asks the stream for its account of itself, to be compared with what the watch shows; returns why the bucket must be
    /// read again, if it must. `is_wanted` says whether somebody waits until everything is seen.
    async fn check(
        &mut self,
        checks: &mut Checks,
        is_wanted: bool,
        watch: &mut N::Entries,
    ) -> Result<(), String> {
        // The watch has shown nothing of what the stream had when it was last asked.
        let is_silent = checks.said.is_some() && checks.seen_then == self.seen;
        checks.seen_then = self.seen;
        let (info, asked) = match self.look(is_wanted || is_silent, watch).await {
            Ok(Some(looked)) => looked,
            Ok(None) => {
                self.lose();
                return Err("the bucket has lost what it showed".to_owned());
            }
            Err(error) => {
                if self.said.is_due(&error, Instant::now()) {
                    warn!(%error, "cannot compare the watch with the stream");
                }
                checks.fail();
                return Ok(());
            }
        };
        if !self.is_sound(&info, checks.last) {
            if info.state.last_sequence < self.seen {
                self.lose();
            }
            return Err("the watch and the stream disagree".to_owned());
        }
        if checks.cut_off.is_some_and(|since| since.elapsed() > MARKERS_LAST) {
            self.was_cut_off = true;
            return Err("the stream was out of reach for long".to_owned());
        }
        checks.take(info.state, asked);
        self.compare(checks, self.seen);
        if is_wanted && checks.said.is_some() {
            checks.behind.get_or_insert(asked + BEHIND);
        }
        Ok(())
    }

    /// Asks the stream for its account of itself; returns that and when it was asked. If the watch may be dead, has it
    /// go on from what was seen before the question. Returns nothing if the stream has lost what it showed.
    async fn look(
        &mut self,
        begins_anew: bool,
        watch: &mut N::Entries,
    ) -> Result<Option<(Info, Instant)>, String> {
        let (asked, connects) = (Instant::now(), self.nats.connects());
        if !self.is_all_there().await? {
            return Ok(None);
        }
        self.index.note_whole(connects);
        if begins_anew {
            self.connects = connects;
            *watch = self.read(Start::Sequence(self.seen + 1)).await?;
        }
        let info = self.info().await.map_err(|error| error.to_string())?;
        Ok(Some((info, asked)))
    }

    /// Notes that the bucket has lost something: what we know is worthless, and nobody may decide from it any more.
    fn lose(&mut self) {
        self.index.clear();
        (self.is_lost, self.starts_at_once) = (true, true);
    }

    /// Whether the bucket still has what it showed, and what this instance wrote.
    async fn is_all_there(&self) -> Result<bool, String> {
        let stream = names::SCHEDULES_STREAM;
        if let Some((id, revision)) = self.index.doubted()
            && N::Guards::hold(Guard::Kept)
        {
            let subject = names::key_subject(&names::schedule_key(id));
            let last = self.nats.last(stream, &subject).await.map_err(|error| error.to_string())?;
            if last.is_some_and(|last| last.sequence < revision) {
                return Ok(false);
            }
            self.index.settle_doubt();
        }
        let now = self.clock.now();
        let is_all_there = async {
            Ok(self.has_what_was_written().await?
                && self.marks.are_in(&self.nats, stream, now).await?)
        };
        is_all_there.await.map_err(|error: Unanswered| error.to_string())
    }

    /// Whether the bucket has, or has replaced, what this instance wrote and the watch has not shown: a silent watch
    /// shows nothing that could reveal a loss.
    async fn has_what_was_written(&self) -> Result<bool, Unanswered> {
        if !N::Guards::hold(Guard::Kept) {
            return Ok(true);
        }
        let stream = names::SCHEDULES_STREAM;
        for Wrote { id, revision, writer } in self.index.written_unseen() {
            if let Some(message) = self.nats.message(stream, revision).await? {
                let record = Schedule::read(&message.body).ok();
                return Ok(record.is_some_and(|record| record.writer == writer));
            }
            let subject = names::key_subject(&names::schedule_key(id));
            let replaced = self.nats.last(stream, &subject).await?;
            if replaced.is_some_and(|by| by.sequence < revision) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Remembers what was shown, unless that was after a break that has not been checked yet.
    fn mark(&mut self, shown: Entry) {
        if self.nats.connects() == self.connects {
            self.marks.note(shown);
        }
    }

    /// Compares the account with what the stream said, once everything up to `shown` is what the stream had by then.
    /// Counts how often in a row the stream held too little.
    fn compare(&mut self, checks: &mut Checks, shown: u64) {
        let said = checks.said.take_if(|(state, _)| state.last_sequence <= shown);
        if let Some((state, asked)) = said {
            self.index.note_fresh_at(asked);
            let agrees = self.account.agrees(&state, self.clock.now());
            checks.differences = if agrees { 0 } else { checks.differences + 1 };
        }
    }

    /// Whether the watch agrees with the stream: it is the same stream, its sequences did not go back, and everything
    /// stored by a check long ago has been shown.
    fn is_sound(&self, info: &Info, (checked, last): (Instant, u64)) -> bool {
        let must_be_shown = if checked.elapsed() >= SHOWN_WITHIN { last } else { 0 };
        self.created == Some(info.created)
            && info.state.last_sequence >= self.seen
            && self.seen >= must_be_shown.min(info.state.last_sequence)
    }

    fn apply(&mut self, entry: &Entry) {
        let value = entry.is_value().then_some(&*entry.body);
        self.index.apply(names::subject_key(&entry.subject), entry.sequence, value);
        self.saw(entry.sequence);
    }

    fn saw(&mut self, sequence: u64) {
        self.seen = self.seen.max(sequence);
        self.index.saw(sequence);
    }

    async fn info(&self) -> Result<Info, Unanswered> {
        self.nats.info(names::SCHEDULES_STREAM).await
    }

    async fn read(&self, from: Start) -> Result<N::Entries, String> {
        let what = Reading { from, filter: names::key_subject(">"), headers_only: false };
        Ok(self.nats.read(names::SCHEDULES_STREAM, what).await?.0)
    }
}

fn account_for(account: &mut Account, entry: &Entry) {
    let key = names::subject_key(&entry.subject);
    account.take(key, entry.sequence, entry.is_value(), entry.stored_at);
}

/// Waits until a moment, or for ever.
async fn sleep_until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
