//! Who else is running: heartbeats over core NATS, and what follows from them.
//!
//! Nothing here is needed for safety. A wrong view of the others makes an instance try a claim too
//! early (it is refused, or the target stream drops a copy) or too late (by a takeover delay).

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use async_nats::{Client, connection::State};
use futures::StreamExt as _;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::clock;
use crate::jetstream::names;

/// Pause between heartbeats.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// Silence after which an instance counts as gone, and its claims may be taken over.
pub const GONE_AFTER: Duration = Duration::from_secs(5);
/// How long each instance lets the one before it in a schedule's order go first.
pub const TAKEOVER_DELAY: Duration = Duration::from_millis(250);

/// The body of the heartbeat of an instance that stops.
const LEAVING: &[u8] = b"leaving";

/// The instances that are heard.
#[derive(Clone)]
pub struct Members {
    me: Uuid,
    state: Arc<RwLock<View>>,
    changed: Arc<Notify>,
    left: CancellationToken,
}

struct View {
    heard: HashMap<Uuid, Instant>,
    /// Since when we would have heard everybody.
    listening: Instant,
    /// Whether that is long enough for the silence of those never heard to count.
    settled: bool,
}

impl Members {
    /// This instance alone, under `me`.
    pub fn new(me: Uuid) -> Self {
        let view = View { heard: HashMap::new(), listening: Instant::now(), settled: false };
        Self {
            me,
            state: Arc::new(RwLock::new(view)),
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
    pub fn is_gone(&self, instance: Uuid) -> bool {
        instance != self.me
            && self.read(|view| {
                view.listening.elapsed() >= GONE_AFTER && !view.heard.contains_key(&instance)
            })
    }

    /// Since when we would have heard everybody.
    pub fn listening_since(&self) -> chrono::DateTime<chrono::Utc> {
        let listening = self.read(|view| view.listening.elapsed());
        clock::now() - chrono::Duration::from_std(listening).unwrap_or_default()
    }

    /// How long to let others go first with a schedule.
    pub fn delay(&self, schedule: Uuid) -> chrono::Duration {
        let mine = score(self.me, schedule);
        let before = self
            .read(|view| view.heard.keys().filter(|other| score(**other, schedule) > mine).count());
        let delay = TAKEOVER_DELAY * u32::try_from(before).unwrap_or(u32::MAX);
        chrono::Duration::from_std(delay).unwrap_or_default()
    }

    /// Waits until an instance came or went.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Ends the heartbeats and says that this instance stops: others take over at once what it leaves.
    pub async fn leave(&self, client: &Client) {
        self.left.cancel();
        let subject = names::instance_subject(self.me);
        if client.publish(subject, LEAVING.into()).await.is_err() || client.flush().await.is_err() {
            warn!("could not tell the other instances that this one stops");
        }
    }

    /// Sends heartbeats, until this instance leaves, and listens to those of others, until `stop`.
    pub async fn run(self, client: Client, stop: CancellationToken) {
        let mut tick = tokio::time::interval(HEARTBEAT);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut beats = loop {
            match client.subscribe(format!("{}.*", names::INSTANCE_PREFIX)).await {
                Ok(beats) => break beats,
                Err(error) => warn!(%error, "cannot listen to the other instances"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {
                    if self.left.is_cancelled() {
                        return;
                    }
                    if client.connection_state() == State::Connected {
                        let _ = client.publish(names::instance_subject(self.me), "".into()).await;
                    } else {
                        // Beats that we could not hear say nothing about those who sent them.
                        self.write(|view| (view.listening, view.settled) = (Instant::now(), false));
                    }
                    self.forget_silent();
                }
                Some(beat) = beats.next() => {
                    let id = beat.subject.rsplit('.').next().and_then(|id| Uuid::try_parse(id).ok());
                    if let Some(id) = id.filter(|id| *id != self.me) {
                        self.heard(id, beat.payload.as_ref() == LEAVING);
                    }
                }
            }
        }
    }

    fn heard(&self, id: Uuid, leaving: bool) {
        let changed = self.write(|view| {
            if leaving {
                view.heard.remove(&id).is_some()
            } else {
                view.heard.insert(id, Instant::now()).is_none()
            }
        });
        if changed {
            info!(instance = %id, leaving, "another instance");
            self.changed.notify_one();
        }
    }

    fn forget_silent(&self) {
        let (gone, settled) = self.write(|view| {
            let before = view.heard.len();
            let long_enough = view.listening.elapsed() >= GONE_AFTER;
            if long_enough {
                view.heard.retain(|_, heard| heard.elapsed() < GONE_AFTER);
            }
            let settled = long_enough && !std::mem::replace(&mut view.settled, long_enough);
            (before - view.heard.len(), settled)
        });
        if gone > 0 {
            warn!(gone, "instances silent; taking over what they left");
        }
        if gone > 0 || settled {
            self.changed.notify_one();
        }
    }

    fn read<T>(&self, f: impl FnOnce(&View) -> T) -> T {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut View) -> T) -> T {
        f(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
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
