//! Who else is running: heartbeats over core NATS, and what follows from them.
//!
//! Nothing here is needed for safety. A wrong view of the others makes an instance try a claim too
//! early (it is refused, or the target stream drops a copy) or too late (by a takeover delay).
//!
//! Silence of others means something only while we hear ourselves: a connection that is up may be
//! without our subscription, and a process that was suspended finds minutes of beats unread.
//!
//! `hearing` says how an echo proves that we hear, and what follows for claims; `paths`, by which subjects
//! heartbeats go.

mod hearing;
mod paths;
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
use crate::load::Load;
use crate::names;
use crate::port::{Nats, Outgoing, Permission, Refusal, Wire};
use hearing::Hearing;
use paths::{Beat, Heard, OLD_GOODBYE, Paths, Way};

/// Pause between heartbeats.
pub const HEARTBEAT: Duration = Duration::from_millis(250);
/// Pause between tries to subscribe.
const RESUBSCRIBE: Duration = Duration::from_secs(1);
/// Silence after which an instance is asked after: a heartbeat is late.
const LATE: Duration = Duration::from_millis(350);
/// Silence after which an instance that still has its connection counts as silent, so that what can be done for it
/// without harm is done: it stands still, or is cut off.
const SILENT_AFTER: Duration = Duration::from_millis(700);
/// Silence after which an instance counts as gone, and its claims may be taken over.
pub const GONE_AFTER: Duration = Duration::from_secs(5);
/// How long those who are there have to answer the first heartbeat of one who comes: it claims nothing before, since
/// all would seem to be its own.
const INTRODUCTION: Duration = Duration::from_millis(250);
/// Most bytes of an inbox.
const MAX_INBOX: usize = 256;
/// How long each instance lets the one before it in a schedule's order go first.
pub const TAKEOVER_DELAY: Duration = Duration::from_millis(250);

/// The instances that are heard.
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

struct Roster {
    heard: BTreeMap<Uuid, Peer>,
    /// Since when we would have heard everybody.
    listening: Instant,
    /// Whether that is long enough for the silence of those never heard to count.
    settled: bool,
    hearing: Hearing,
    /// From when it knows those who were there before it came.
    introduced_at: Option<Instant>,
    is_introduced: watch::Sender<bool>,
    /// Whether NATS refuses us our own inbox.
    echoes_by_asking: bool,
    /// Where others may ask after us.
    listens_on: String,
    /// Whether we may ask after others, as far as is known.
    may_ask_after: bool,
    paths: Paths,
}

impl Roster {
    /// Whether a subject is an inbox like ours: what a heartbeat says is not to have us publish elsewhere.
    fn is_inbox(&self, subject: &str) -> bool {
        let is_plain = |token: &str| token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        match (subject.rsplit_once('.'), self.listens_on.rsplit_once('.')) {
            (Some((prefix, token)), Some((ours, _))) => {
                prefix == ours && is_plain(token) && subject.len() <= MAX_INBOX
            }
            _ => false,
        }
    }

    /// While we do not hear ourselves, the silence of others does not count.
    fn note_deafness<G: Guards>(&mut self, now: Instant) {
        if self.is_deaf::<G>(now) {
            (self.listening, self.settled) = (now, false);
        }
    }

    fn is_deaf<G: Guards>(&self, now: Instant) -> bool {
        G::hold(Guard::Listening) && (self.paths.is_deaf(now) || !self.hearing.is_young(now))
    }
}

/// Another instance.
struct Peer {
    /// When it was heard last.
    heard_at: Instant,
    /// The format up to which it may act on records.
    acts_on: u16,
    /// By how much its time may be behind that of NATS, in milliseconds.
    time_error_ms: u32,
    /// Whether a late heartbeat says something.
    is_frequent: bool,
    /// Where it is asked after.
    listens_on: Option<String>,
    /// Whether it was, since its last heartbeat.
    is_asked_after: bool,
    /// Whether it seems to be gone.
    is_silent: bool,
}

impl Members {
    /// This instance alone, under `me`. Its heartbeats tell of its `load`.
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
        self.read(|view| view.heard.keys().copied().collect())
    }

    /// How many instances run, as far as they are heard.
    pub fn count(&self) -> usize {
        self.others().len() + 1
    }

    /// Whether an instance has been silent for [`GONE_AFTER`] while we listened.
    pub fn is_gone<G: Guards>(&self, instance: Uuid) -> bool {
        instance != self.me
            && self.read(|view| {
                // The task that notes deafness may itself be waiting for NATS.
                !view.is_deaf::<G>(Instant::now())
                    && view.listening.elapsed() >= GONE_AFTER
                    && !view.heard.contains_key(&instance)
            })
    }

    /// Whether an instance seems to be gone: nobody listens where it did, or it has been silent for a moment while we
    /// heard well. It may be there all the same.
    pub fn is_silent(&self, instance: Uuid) -> bool {
        self.read(|view| view.heard.get(&instance).is_some_and(|peer| peer.is_silent))
    }

    /// Whether this instance hears itself and knows the others, so that claims may be made.
    pub fn hears(&self) -> bool {
        self.read(|view| {
            let is_young = *view.is_introduced.borrow() && view.hearing.is_young(Instant::now());
            is_young && view.hearing.heard().is_some_and(|heard| !self.clock.stepped_since(heard))
        })
    }

    /// Waits until this instance knows those who were there before it came.
    pub async fn introduced(&self) {
        let mut introduced = self.read(|view| view.is_introduced.subscribe());
        // It cannot end: the sender is ours.
        let _ = introduced.wait_for(|introduced| *introduced).await;
    }

    /// Since when it has heard itself without a break.
    pub fn hears_since(&self) -> Option<Instant> {
        self.read(|view| view.hearing.since())
    }

    /// Whether a claim that was sent at an instant may be acted on: this instance has heard itself ever since, so
    /// nobody counts it as gone.
    pub fn trusts(&self, claimed: Instant) -> bool {
        self.read(|view| {
            let heard = view.hearing.heard().map_or(claimed, |heard| heard.min(claimed));
            view.hearing.trusts(claimed, Instant::now()) && !self.clock.stepped_since(heard)
        })
    }

    /// Since when this instance would have heard whatever others said.
    pub fn listening_since(&self) -> DateTime<Utc> {
        let now = Instant::now();
        let since = self.read(|view| view.hearing.listening_since(now));
        self.clock.now() - chrono::Duration::from_std(now.duration_since(since)).unwrap_or_default()
    }

    /// How long to let others go first with a schedule: those that may act on it by what its record needs.
    pub fn delay(&self, schedule: Uuid, needs: u16) -> chrono::Duration {
        let mine = score(self.me, schedule);
        let before = self.read(|view| {
            let able = view
                .heard
                .iter()
                .filter(|(_, peer)| !peer.is_silent && (peer.acts_on >= needs || needs <= 1));
            able.filter(|(other, _)| score(**other, schedule) > mine).count()
        });
        let delay = TAKEOVER_DELAY * u32::try_from(before).unwrap_or(u32::MAX);
        chrono::Duration::from_std(delay).unwrap_or_default()
    }

    /// Waits until an instance came or went, or this one hears itself again.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends the heartbeats and says that this instance stops: others take over at once what it leaves.
    pub async fn leave(&self, nats: &impl Nats) {
        self.left.cancel();
        let way = self.write(|view| view.paths.next(Instant::now()));
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

    /// Sends heartbeats, until this instance leaves, and listens to those of others, until `stop`.
    pub async fn run<N: Nats>(self, nats: N, stop: CancellationToken) {
        let nats = &nats;
        let (mut refusals, mut connects) = (nats.refusals(), nats.connects());
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (inbox, here) = (format!("{}.", nats.new_inbox()), nats.new_inbox());
        self.write(|view| view.listens_on.clone_from(&here));
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
                    self.speak(nats, &inbox, &mut present).await;
                }
                // As soon as there is a connection again, so that it is soon known whether we hear.
                () = nats.reconnected(connects) => {
                    connects = nats.connects();
                    tick.reset_immediately();
                }
                Ok(refusal) = refusals.recv() => self.refused(&refusal, &inbox),
                Some(echo) = echoes.next() => {
                    if !self.hear_nobody(&echo)
                        && self.hear_echo::<N::Guards>(&echo)
                        && !self.left.is_cancelled() {
                        self.speak(nats, &inbox, &mut present).await;
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
                // That it arrives is the answer.
                Some(_) = asked_after.next() => {}
                () = tokio::time::sleep_until(next_silent) => {}
            }
            self.forget_silent::<N::Guards>();
            self.ask_after_late(nats, &inbox).await;
        }
    }

    /// Sends a heartbeat by the subjects where it is needed, if it counts, and an echo behind it.
    async fn speak<W: Wire>(&self, nats: &W, inbox: &str, present: &mut W::Messages) {
        let now = Instant::now();
        let is_connected = nats.is_connected();
        let (way, deaf_for) = self.write(|view| {
            if !is_connected {
                view.paths.disconnect(now);
            }
            view.note_deafness::<W::Guards>(now);
            let hears = view.hearing.may_beat(now) || !W::Guards::hold(Guard::Hearing);
            ((is_connected && hears).then(|| view.paths.next(now)), view.paths.deaf_for(now))
        });
        self.load.deaf.store(deaf_for >= GONE_AFTER, Ordering::Relaxed);
        if let Some(way) = &way {
            self.beat_by(nats, way, present).await;
        }
        if is_connected {
            self.echo(nats, inbox, way.is_some()).await;
        }
    }

    /// Sends an echo. Where we may not publish to our own inbox, it is the answer to a question that we may ask.
    async fn echo(&self, nats: &impl Wire, inbox: &str, is_behind_beat: bool) {
        let (number, asks) = self.write(|view| {
            (view.hearing.send(is_behind_beat, Instant::now()), view.echoes_by_asking)
        });
        let echo = format!("{inbox}{number}");
        let (subject, reply) = match asks {
            true => (names::SCHEDULES_INFO.to_owned(), Some(echo)),
            false => (echo, None),
        };
        let _ = nats.publish(Outgoing { subject, reply, ..Outgoing::default() }).await;
    }

    async fn beat_by<W: Wire>(&self, nats: &W, way: &Way, present: &mut W::Messages) {
        if way.again {
            *present = subscribe(nats, names::INSTANCE_WILDCARD.to_owned()).await;
        }
        if way.present {
            publish(nats, names::instance_subject(self.me), self.beat().to_bytes()).await;
        }
        if way.old {
            let body = self.beat().old_subject_only(way.old_only).to_bytes();
            publish(nats, names::old_instance_subject(self.me), body).await;
        }
    }

    /// Takes in an echo; true if more may be done than before.
    fn hear_echo<G: Guards>(&self, echo: &Message) -> bool {
        let number = echo.subject.rsplit('.').next().and_then(|number| number.parse().ok());
        let Some(number) = number else { return false };
        let hears_again = self.write(|view| {
            let now = Instant::now();
            view.note_deafness::<G>(now);
            let hears_again = view.hearing.hear(number, now);
            if view.hearing.is_young(now) {
                view.introduced_at.get_or_insert(now + INTRODUCTION);
            }
            hears_again
        });
        if hears_again {
            self.changed.notify_one();
        }
        hears_again
    }

    /// Asks after those whose heartbeat is late, where nobody else listens: if they have no connection any more, NATS
    /// says so at once.
    async fn ask_after_late(&self, nats: &impl Wire, inbox: &str) {
        let now = Instant::now();
        let late = self.write(|view| {
            if !view.may_ask_after {
                return Vec::new();
            }
            let mut late = Vec::new();
            for (id, peer) in &mut view.heard {
                let is_late = peer.is_frequent && now.duration_since(peer.heard_at) >= LATE;
                if is_late && !std::mem::replace(&mut peer.is_asked_after, true) {
                    late.extend(peer.listens_on.clone().map(|subject| (*id, subject)));
                }
            }
            late.sort_unstable();
            late
        });
        for (id, subject) in late {
            let reply = Some(format!("{inbox}{}", id.simple()));
            let _ = nats.publish(Outgoing { subject, reply, ..Outgoing::default() }).await;
        }
    }

    /// Takes in that nobody listens where an instance did, or that it is none that could be asked after.
    fn hear_nobody(&self, answer: &Message) -> bool {
        let id = answer.subject.rsplit('.').next().and_then(|id| Uuid::try_parse(id).ok());
        let Some(id) = id.filter(|_| answer.status == Some(StatusCode::NO_RESPONDERS)) else {
            return false;
        };
        let is_news = self.write(|view| {
            // It may have been heard since.
            let peer = view.heard.get_mut(&id).filter(|peer| peer.is_asked_after);
            peer.is_some_and(|peer| !std::mem::replace(&mut peer.is_silent, true))
        });
        if is_news {
            debug!(instance = %id, "it has no connection");
            self.changed.notify_one();
        }
        true
    }

    /// When the next of the others counts as gone, or as silent, or is asked after, unless it is heard; or when all are
    /// known.
    fn next_silent(&self) -> Instant {
        let now = Instant::now();
        self.read(|view| {
            let heard = view.heard.values().map(|peer| peer.heard_at.max(view.listening));
            let unsettled = (!view.settled).then_some(view.listening);
            let silent = heard.chain(unsettled).map(|heard| heard + GONE_AFTER);
            let introduced = view.introduced_at.filter(|_| !*view.is_introduced.borrow());
            let frequent = view.heard.values().filter(|peer| peer.is_frequent);
            let late =
                frequent.flat_map(|peer| [LATE, SILENT_AFTER].map(|late| peer.heard_at + late));
            let late = late.filter(|at| *at > now);
            let first = silent.chain(introduced).chain(late).min();
            first.unwrap_or_else(|| Instant::now() + GONE_AFTER)
        })
    }

    fn beat(&self) -> Beat {
        let [schedules, in_flight] =
            [&self.load.timers, &self.load.executions].map(|count| count.load(Ordering::Relaxed));
        let time_error_ms = self.clock.error().num_milliseconds().clamp(0, i64::from(u32::MAX));
        let time_error_ms = u32::try_from(time_error_ms).unwrap_or_default();
        let listens_on = self.read(|view| view.listens_on.clone());
        Beat::new(self.started_at, schedules, in_flight, time_error_ms, listens_on)
    }

    /// Takes in a heartbeat that came by the present subject, or by the old one; true if it is the first of one who
    /// has come, and waits to hear of us.
    pub(super) fn hear(&self, beat: &Message, by_old: bool) -> bool {
        let id = beat.subject.rsplit('.').next().and_then(|id| Uuid::try_parse(id).ok());
        let (Some(id), now) = (id, Instant::now()) else { return false };
        if id == self.me {
            if self.write(|view| view.paths.hear_ourselves(by_old, now)) {
                self.load.old_heartbeats.store(false, Ordering::Relaxed);
                info!(subject = names::INSTANCE_WILDCARD, "heartbeats are permitted now");
            }
            return false;
        }
        let heard = Heard::read(&beat.payload, by_old);
        let changed = self.write(|view| {
            view.paths.hear(id, &heard, now);
            if heard.leaving {
                view.heard.remove(&id).is_some()
            } else {
                // Those of before say nothing by the old subject that they do not say by the present one.
                let known = view.heard.get(&id).map_or(0, |peer| peer.acts_on);
                let peer = Peer {
                    heard_at: now,
                    acts_on: heard.acts_on.max(known),
                    time_error_ms: heard.time_error_ms,
                    is_frequent: heard.is_frequent,
                    listens_on: heard.listens_on.clone().filter(|inbox| view.is_inbox(inbox)),
                    is_asked_after: false,
                    is_silent: false,
                };
                let before = view.heard.insert(id, peer);
                if before.as_ref().is_some_and(|peer| peer.is_silent) {
                    self.changed.notify_one();
                }
                before.is_none()
            }
        });
        if changed {
            info!(instance = %id, leaving = heard.leaving, "another instance");
            self.changed.notify_one();
        }
        changed && !heard.leaving
    }

    fn refused(&self, refusal: &Refusal, inbox: &str) {
        let subject = refusal.subject.as_str();
        if refusal.operation == Permission::Publish {
            self.write(|view| {
                view.echoes_by_asking |= subject.starts_with(inbox);
                let is_theirs =
                    view.heard.values().any(|peer| peer.listens_on.as_deref() == Some(subject));
                view.may_ask_after &= !is_theirs;
            });
        }
        if subject != names::INSTANCE_WILDCARD && subject != names::instance_subject(self.me) {
            return;
        }
        if self.write(|view| view.paths.refuse(Instant::now())) {
            self.load.old_heartbeats.store(true, Ordering::Relaxed);
            warn!(
                operation = refusal.operation.as_str(),
                subject,
                "NATS refuses heartbeats on their subject; they go by {} meanwhile: let the user of this service \
                 publish and subscribe to {}, see docs/nats-permissions.md",
                names::OLD_INSTANCE_WILDCARD,
                names::INSTANCE_WILDCARD,
            );
        }
    }

    fn forget_silent<G: Guards>(&self) {
        let (gone, changed) = self.write(|view| {
            let (before, now) = (view.heard.len(), Instant::now());
            view.note_deafness::<G>(now);
            let long_enough = now.duration_since(view.listening) >= GONE_AFTER;
            if long_enough {
                view.heard.retain(|_, peer| now.duration_since(peer.heard_at) < GONE_AFTER);
            }
            let settled = long_enough && !std::mem::replace(&mut view.settled, long_enough);
            let mut silent = false;
            for peer in view.heard.values_mut().filter(|peer| peer.is_frequent && !peer.is_silent) {
                let is_late = now.duration_since(peer.heard_at) >= SILENT_AFTER;
                peer.is_silent = is_late && view.hearing.hears_well_since(peer.heard_at, now);
                silent |= peer.is_silent;
            }
            let introduced = view.introduced_at.is_some_and(|at| at <= now)
                && !view.is_introduced.send_replace(true);
            (before - view.heard.len(), settled || silent || introduced)
        });
        if gone > 0 {
            warn!(gone, "instances silent; taking over what they left");
        }
        let (acts_on, time_error_ms) = self.read(|view| {
            let peers = view.heard.values();
            (
                peers.clone().map(|peer| peer.acts_on).max(),
                peers.map(|peer| peer.time_error_ms).max(),
            )
        });
        self.load.others_act_on.store(usize::from(acts_on.unwrap_or(0)), Ordering::Relaxed);
        self.load.time_error_ms.store(i64::from(time_error_ms.unwrap_or(0)), Ordering::Relaxed);
        if gone > 0 || changed {
            self.changed.notify_one();
        }
    }

    fn read<T>(&self, f: impl FnOnce(&Roster) -> T) -> T {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Roster) -> T) -> T {
        f(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Publishes a heartbeat; false if the connection is gone for good.
async fn publish(nats: &impl Wire, subject: String, body: Bytes) -> bool {
    nats.publish(Outgoing { subject, body, ..Outgoing::default() }).await.is_ok()
}

/// Subscribes, however long it takes.
async fn subscribe<W: Wire>(nats: &W, subject: String) -> W::Messages {
    loop {
        match nats.subscribe(subject.clone()).await {
            Ok(beats) => return beats,
            Err(error) => warn!(%error, "cannot listen to the other instances"),
        }
        tokio::time::sleep(RESUBSCRIBE).await;
    }
}

/// Rendezvous hashing: the instance with the highest score goes first. Stable between processes of
/// one build; a difference between builds only makes two of them try at once.
fn score(instance: Uuid, schedule: Uuid) -> u64 {
    let mut hasher = DefaultHasher::new();
    instance.hash(&mut hasher);
    schedule.hash(&mut hasher);
    hasher.finish()
}
