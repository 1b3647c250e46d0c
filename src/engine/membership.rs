//! The other running instances: heartbeats over core NATS, and what follows from them.
//!
//! Safety needs nothing of this. With a wrong view of the others, an instance tries a claim too early (it is refused,
//! or the target stream drops a copy) or too late (by a takeover delay).
//!
//! The silence of others means something only while we hear ourselves: a connection that is up may lack our
//! subscription, and a process that was suspended finds minutes of unread heartbeats.
//!
//! `hearing` defines how an echo proves that we hear, and what that means for claims; `paths` defines the subjects that
//! heartbeats use.

mod hearing;
mod listening;
mod paths;
mod roster;
mod speaking;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::{Message, StatusCode};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::clock::Clock;
use crate::guards::{Guard, Guards};
use crate::load::{About, Instances, Load};
use crate::names;
use crate::port::{Nats, Outgoing, Permission, Refusal, Wire};
use crate::stored::format;
use hearing::Hearing;
use paths::{Beat, Heard, OLD_GOODBYE, Paths, Way};
use roster::{Peer, Roster};
use speaking::{publish, subscribe};

/// Interval between heartbeats.
pub const HEARTBEAT: Duration = Duration::from_millis(250);
/// Pause between attempts to subscribe.
const RESUBSCRIBE: Duration = Duration::from_secs(1);
/// Silence after which an instance's heartbeat counts as late, and the instance is asked after.
const LATE: Duration = Duration::from_millis(350);
/// Silence after which an instance that still has its connection counts as silent: it is stalled or cut off, and the
/// work for it that can do no harm is done.
const SILENT_AFTER: Duration = Duration::from_millis(700);
/// Silence after which an instance counts as gone, and its claims may be taken over.
pub const GONE_AFTER: Duration = Duration::from_secs(5);
/// Time for the running instances to answer a new instance's first heartbeat. It claims nothing before, since all
/// schedules would seem to be its own.
const INTRODUCTION: Duration = Duration::from_millis(250);
/// Longest inbox subject, in bytes.
const MAX_INBOX: usize = 256;
/// Time by which an instance lets the one before it in a schedule's order of preference go first.
pub const TAKEOVER_DELAY: Duration = Duration::from_millis(250);

/// The instances that this one hears.
#[derive(Clone)]
pub struct Members {
    me: Uuid,
    started_at: DateTime<Utc>,
    clock: Clock,
    load: Arc<Load>,
    state: Arc<RwLock<Roster>>,
    changed: Arc<Notify>,
    left: CancellationToken,
}

impl Members {
    /// Creates the view of an instance alone, under the id `me`. Its heartbeats report its `load`.
    pub fn new(me: Uuid, load: Arc<Load>, clock: Clock) -> Self {
        let now = Instant::now();
        let roster = Roster {
            heard: BTreeMap::new(),
            listening: now,
            settled: false,
            hearing: Hearing::default(),
            introduced_at: None,
            is_introduced: watch::Sender::default(),
            echoes_by_asking: false,
            listens_on: String::new(),
            may_ask_after: true,
            paths: Paths::new(now),
            mute_since: None,
        };
        Self {
            me,
            started_at: clock.now(),
            clock,
            load,
            state: Arc::new(RwLock::new(roster)),
            changed: Arc::new(Notify::new()),
            left: CancellationToken::new(),
        }
    }

    /// The id of this instance.
    pub fn me(&self) -> Uuid {
        self.me
    }

    /// The other instances that are heard.
    pub fn others(&self) -> Vec<Uuid> {
        self.read(|roster| roster.heard.keys().copied().collect())
    }

    /// When this instance started.
    pub(crate) fn started_at(&self) -> DateTime<Utc> {
        self.started_at
    }

    /// All instances that are heard, this one included, with what each says of itself.
    pub(crate) fn all<G: Guards>(&self) -> Instances {
        let mut all: BTreeMap<Uuid, About> = self.read(|roster| {
            roster.heard.iter().map(|(id, peer)| (*id, peer.about.clone())).collect()
        });
        let [schedules, in_flight] = [&self.load.timers, &self.load.executions]
            .map(|count| Some(count.load(Ordering::Relaxed)));
        let version = Some(env!("CARGO_PKG_VERSION").to_owned());
        let started_at = Some(self.started_at);
        let (acts_on, honours) = (format::supported(), self.load.honours.load(Ordering::Relaxed));
        let armed_until = DateTime::from_timestamp_millis(self.load.armed_until_ms());
        let me = About { version, started_at, schedules, in_flight, acts_on, honours, armed_until };
        all.insert(self.me, me);
        let is_settled = self.read(|roster| {
            !roster.is_deaf::<G>(Instant::now()) && roster.listening.elapsed() >= GONE_AFTER
        });
        Instances { all, is_settled }
    }

    /// How many instances run, as far as this one hears.
    pub fn count(&self) -> usize {
        self.others().len() + 1
    }

    /// Whether an instance has been silent for [`GONE_AFTER`] while we listened.
    pub fn is_gone<G: Guards>(&self, instance: Uuid) -> bool {
        instance != self.me
            && self.read(|roster| {
                // The task that notes deafness may itself be waiting for NATS.
                !roster.is_deaf::<G>(Instant::now())
                    && roster.listening.elapsed() >= GONE_AFTER
                    && !roster.heard.contains_key(&instance)
            })
    }

    /// Whether an instance seems to be gone: nobody listens on its subject, or it has been silent for a moment while we
    /// heard well. It may be running all the same.
    pub fn is_silent(&self, instance: Uuid) -> bool {
        self.read(|roster| roster.heard.get(&instance).is_some_and(|peer| peer.is_silent))
    }

    /// Whether this instance hears itself and knows the others, so that claims may be made.
    pub fn hears(&self) -> bool {
        self.read(|roster| {
            let is_young =
                *roster.is_introduced.borrow() && roster.hearing.is_young(Instant::now());
            is_young && roster.hearing.heard().is_some_and(|heard| !self.clock.stepped_since(heard))
        })
    }

    /// Waits until this instance knows those that ran before it.
    pub async fn introduced(&self) {
        let mut introduced = self.read(|roster| roster.is_introduced.subscribe());
        // It cannot fail: we hold the sender.
        let _ = introduced.wait_for(|introduced| *introduced).await;
    }

    /// Since when this instance has heard itself without a break.
    pub fn hears_since(&self) -> Option<Instant> {
        self.read(|roster| roster.hearing.since())
    }

    /// Whether a claim sent at `claimed` may be acted on: this instance has heard itself ever since, so no other counts
    /// it as gone.
    pub fn trusts(&self, claimed: Instant) -> bool {
        self.read(|roster| {
            let heard = roster.hearing.heard().map_or(claimed, |heard| heard.min(claimed));
            roster.hearing.trusts(claimed, Instant::now()) && !self.clock.stepped_since(heard)
        })
    }

    /// Since when this instance would have heard anything that others said.
    pub fn listening_since(&self) -> DateTime<Utc> {
        let now = Instant::now();
        let since = self.read(|roster| roster.hearing.listening_since(now));
        self.clock.now() - chrono::Duration::from_std(now.duration_since(since)).unwrap_or_default()
    }

    /// How long to let other instances go first with a schedule. Only those that may act on a record with these `needs`
    /// count.
    pub fn delay(&self, schedule: Uuid, needs: u16) -> chrono::Duration {
        let mine = score(self.me, schedule);
        let before = self.read(|roster| {
            let able = roster
                .heard
                .iter()
                .filter(|(_, peer)| !peer.is_silent && (peer.acts_on >= needs || needs <= 1));
            able.filter(|(other, _)| score(**other, schedule) > mine).count()
        });
        let delay = TAKEOVER_DELAY * u32::try_from(before).unwrap_or(u32::MAX);
        chrono::Duration::from_std(delay).unwrap_or_default()
    }

    /// Whether another instance is heard that acts on records with these `needs`.
    pub fn hears_one_for(&self, needs: u16) -> bool {
        let able = |peer: &Peer| !peer.is_silent && peer.acts_on >= needs;
        self.read(|roster| roster.heard.values().any(able))
    }

    /// Waits until an instance comes or goes, or this one hears itself again.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends the heartbeats and says that this instance stops, so that others take over its work at once.
    pub async fn leave(&self, nats: &impl Nats) {
        self.left.cancel();
        let way = self.write(|roster| roster.paths.next(Instant::now()));
        let mut goodbyes = Vec::new();
        if way.present {
            goodbyes.push((names::instance_subject(self.me), self.beat().leaving().to_bytes()));
        }
        if way.old {
            goodbyes.push((names::old_instance_subject(self.me), Bytes::from_static(OLD_GOODBYE)));
        }
        let mut said = true;
        for (subject, body) in goodbyes {
            said &= publish(nats, subject, body).await;
        }
        if !said || nats.flush().await.is_err() {
            warn!("could not tell the other instances that this one stops");
        }
    }

    /// Sends heartbeats until this instance leaves, while it `sends` commands, and listens to those of others until
    /// `stop`.
    pub async fn run<N: Nats>(
        self,
        nats: N,
        sends: impl Fn() -> bool + Send,
        stop: CancellationToken,
    ) {
        let nats = &nats;
        let (mut refusals, mut connects) = (nats.refusals(), nats.connects());
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (inbox, here) = (format!("{}.", nats.new_inbox()), nats.new_inbox());
        self.write(|roster| roster.listens_on.clone_from(&here));
        let listening = async {
            let echoes = subscribe(nats, format!("{inbox}*")).await;
            let asked_after = subscribe(nats, here).await;
            let present = subscribe(nats, names::INSTANCE_WILDCARD.to_owned()).await;
            let old = subscribe(nats, names::OLD_INSTANCE_WILDCARD.to_owned()).await;
            (echoes, asked_after, present, old)
        };
        let (mut echoes, mut asked_after, mut present, mut old) = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            all = listening => all,
        };
        loop {
            let next_silent = self.next_silent();
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                _ = tick.tick() => {
                    if self.left.is_cancelled() {
                        return;
                    }
                    self.speak(nats, sends(), &inbox, &mut present).await;
                }
                // At once after a reconnection, so that we soon know whether we hear.
                () = nats.reconnected(connects) => {
                    connects = nats.connects();
                    tick.reset_immediately();
                }
                Ok(refusal) = refusals.recv() => self.refused(&refusal, &inbox),
                Some(echo) = echoes.next() => {
                    if !self.hear_nobody(&echo)
                        && self.hear_echo::<N::Guards>(&echo)
                        && !self.left.is_cancelled() {
                        self.speak(nats, sends(), &inbox, &mut present).await;
                    }
                }
                Some(beat) = present.next() => {
                    if self.hear(&beat, false) {
                        tick.reset_immediately();
                    }
                }
                Some(beat) = old.next() => {
                    if self.hear(&beat, true) {
                        tick.reset_immediately();
                    }
                }
                // Its arrival is the answer.
                Some(_) = asked_after.next() => {}
                () = tokio::time::sleep_until(next_silent) => {}
            }
            self.forget_silent::<N::Guards>();
            self.ask_after_late(nats, &inbox).await;
        }
    }

    fn read<T>(&self, f: impl FnOnce(&Roster) -> T) -> T {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Roster) -> T) -> T {
        f(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Rendezvous hash: the instance with the highest score goes first. It is the same in all processes of one build; a
/// difference between builds only makes two instances try at once.
fn score(instance: Uuid, schedule: Uuid) -> u64 {
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    schedule.hash(&mut hasher);
    hasher.finish()
}
