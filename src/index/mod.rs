//! Index of all schedules in memory, as the watch last showed them.
//!
//! Engine and API read from the index. It is a hint: it may lag behind the bucket, so every decision taken
//! from it is confirmed by a compare-and-swap at the revision it shows. Entries only move forward: a revision
//! that is not newer is ignored, so the watch, a leader read and our own accepted writes may arrive in any
//! order.

mod aside;
mod coming;
mod counts;
mod dependents;
mod filter;
mod fresh;
mod groups;
mod intern;
mod later;
mod list;
mod listed;
mod live;
mod minutes;
mod named;
mod newer;
mod numbered;
mod order;
mod orders;
mod overall;
mod page;
mod place;
mod pool;
mod record;
mod reruns;
mod rhythms;
mod rows;
mod shares;
mod sight;
mod state;
#[cfg(test)]
mod tests;
mod ties;
mod told;
mod wanted;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;
use uuid::Uuid;

pub use aside::{SetAside, Shown, Vanished};
pub use coming::{Ahead, Coming};
pub use counts::Counts;
pub(crate) use filter::filter_fields;
pub use filter::{ScheduleFilter, TagsMatch};
pub use fresh::Wrote;
pub use list::Found;
pub use minutes::{ByMinute, by_minute};
pub(crate) use order::Order;
pub use overall::Overall;
pub use page::Listing;
pub(crate) use place::nanos;
pub use place::{Place, Sort};
pub(crate) use pool::{number, reserve};
pub use record::{Newer, Unreadable, read_record};
use shares::Shares;
pub use sight::{At, Sight};
use state::State;
pub use told::Told;

use crate::names::{SCHEDULE_KEY_PREFIX, creator_prefix, name_key};
use crate::schedule::Schedule;
use crate::stored::{Unknown, keeps_unknown};
use crate::trigger::Trigger;

/// One schedule at one revision.
#[derive(Debug)]
pub struct Entry {
    /// Its revision in the bucket.
    pub revision: u64,
    /// The record.
    pub schedule: Arc<Schedule>,
    /// Its compiled timing.
    pub trigger: Trigger,
}

/// Value of a name's key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Reservation {
    /// The schedule that has the name or is about to have it.
    pub schedule_id: Uuid,
    /// Random, new for each write, to recognise one's own.
    pub token: u64,
    /// The revision at which this schedule first reserved the name; `None` if that is this revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<u64>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Reservation);

/// How long an older read of a deleted key may still turn up.
const STALE_READS: Duration = Duration::from_secs(60);

/// A name reserved for a schedule that does not exist yet: it is being created or restored.
#[derive(Clone, Debug)]
pub struct ReservedName {
    /// The key of the name.
    pub key: String,
    /// Revision of the key.
    pub revision: u64,
    /// The revision at which the name was first reserved: it orders concurrent creations.
    pub first: u64,
    /// When this instance saw it.
    pub since: Instant,
    /// Id of the schedule.
    pub schedule: Uuid,
    /// Fields that a newer version has added.
    pub unknown: Unknown,
    /// The latest replay that showed it.
    replay: u64,
}

/// Index of the schedules of a bucket in memory.
pub struct Index {
    state: RwLock<State>,
    changes: UnboundedSender<Uuid>,
    /// Revision up to which everything in the bucket has been taken in.
    seen: watch::Sender<u64>,
    fresh: fresh::Fresh,
    looks: sight::Looks,
    shares: Mutex<Shares>,
    latest: overall::Latest,
    groups: groups::Groups,
    /// The stored requests to run executions again.
    reruns: live::Live<crate::execution::Rerun>,
}

impl Index {
    /// Creates an empty index, and a channel of the ids of schedules as they change.
    pub fn new() -> (Arc<Self>, UnboundedReceiver<Uuid>) {
        let (changes, changed) = unbounded_channel();
        let (state, seen) = (RwLock::default(), watch::Sender::new(0));
        (
            Arc::new(Self {
                state,
                changes,
                seen,
                fresh: fresh::Fresh::default(),
                looks: sight::Looks::default(),
                shares: Mutex::default(),
                latest: overall::Latest::default(),
                groups: groups::Groups::default(),
                reruns: live::Live::default(),
            }),
            changed,
        )
    }

    /// The entry of a schedule.
    pub fn get(&self, id: Uuid) -> Option<Arc<Entry>> {
        self.read(|state| state.entries.get(id).cloned())
    }

    /// Whether the index still shows this entry.
    pub fn shows(&self, entry: &Arc<Entry>) -> bool {
        self.get(entry.schedule.id).is_some_and(|now| Arc::ptr_eq(&now, entry))
    }

    /// All schedules, in no order.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.read(|state| state.entries.values().cloned().collect())
    }

    /// Any schedule that is `wanted`.
    pub fn find(&self, wanted: impl Fn(&Schedule) -> bool) -> Option<Arc<Entry>> {
        self.read(|state| state.entries.values().find(|entry| wanted(&entry.schedule)).cloned())
    }

    /// Number of schedules, deleted ones included.
    pub fn len(&self) -> usize {
        self.read(|state| state.entries.len())
    }

    /// Whether there are no schedules.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many schedules a creator has or is about to have, without the one that reserved its name at
    /// `first` and any that did so later; and those that are about to exist.
    pub fn occupied(&self, creator: &str, id: Uuid, first: u64) -> (usize, Vec<ReservedName>) {
        let prefix = creator_prefix(creator);
        self.read(|state| {
            let reserved: Vec<ReservedName> = state
                .reserved
                .values()
                .filter(|name| name.first < first && name.key.starts_with(&prefix))
                .filter(|name| name.schedule != id && !state.has(name.schedule))
                .cloned()
                .collect();
            let there = state.per_creator.get(creator).copied().unwrap_or(0);
            (there - usize::from(state.has(id)).min(there) + reserved.len(), reserved)
        })
    }

    /// Begins a replay of the bucket: [`Index::retain`] forgets what it does not show again.
    pub fn begin_replay(&self) {
        self.write(|state| state.replay += 1);
    }

    /// Notes that the watch has shown everything up to a revision.
    pub fn saw(&self, revision: u64) {
        self.seen.send_if_modified(|seen| {
            let newer = revision > *seen;
            *seen = revision.max(*seen);
            newer
        });
    }

    /// Revision up to which the watch has shown everything.
    pub fn seen(&self) -> u64 {
        *self.seen.borrow()
    }

    /// Waits until the watch has shown everything up to a revision.
    pub async fn until_seen(&self, revision: u64) {
        // The sender is ours, so this cannot fail.
        let _ = self.seen.subscribe().wait_for(|seen| *seen >= revision).await;
    }

    /// Whether the known revision of a schedule is at least this one.
    pub fn knows(&self, id: Uuid, revision: u64) -> bool {
        self.read(|state| state.revision(id).is_some_and(|known| known >= revision))
    }

    /// Takes in a record, unless a newer one is known.
    pub fn insert(&self, mut entry: Entry) {
        let id = entry.schedule.id;
        let timing = &entry.schedule.spec.timing;
        if timing.has_calendars() {
            entry.trigger = self.calendars().restrict(timing, &entry.trigger).into_owned();
        }
        let known = self.get(id);
        let known = known.as_ref().map(|known| &*known.schedule);
        self.shares.lock().unwrap_or_else(PoisonError::into_inner).share(&mut entry, known);
        let changed = self.write(|state| {
            if state.revision(id).is_some_and(|known| known >= entry.revision) {
                return false;
            }
            state.forget_newer(id);
            let known_schedule = state.entries.get(id).map(|known| Arc::clone(&known.schedule));
            if !state.set_aside.is_empty() {
                state.set_aside.remove(&format!("{SCHEDULE_KEY_PREFIX}{id}"));
            }
            state.arrange(known_schedule.as_deref(), Some(&entry));
            state.count(&entry.schedule, 1);
            if entry.schedule.is_live() && !state.reserved.is_empty() {
                let schedule = &entry.schedule;
                state.reserved.remove(&name_key(&schedule.created_by, &schedule.spec.name));
            }
            if let Some(old) = state.entries.insert(Arc::new(entry)) {
                state.count(&old.schedule, -1);
            }
            true
        });
        if changed {
            let _ = self.changes.send(id);
        }
    }

    /// Forgets what a complete replay of the bucket up to `revision` did not show.
    pub fn retain(&self, shown: &Shown, revision: u64) {
        let mut stale: Vec<Uuid> = self.read(|state| {
            let entries = state.entries.values().map(|entry| (&entry.schedule.id, entry.revision));
            let newer = state.newer.iter().map(|(id, left)| (id, left.revision));
            let all = entries.chain(newer);
            all.filter(|(id, known)| !shown.has(**id) && *known <= revision)
                .map(|(id, _)| *id)
                .collect()
        });
        stale.sort_unstable();
        for id in stale {
            self.remove(id, revision);
        }
        self.forget_overall(shown, revision);
        self.forget_groups(shown, revision);
        self.forget_reruns(shown, revision);
        self.write(|state| {
            state.deleted.clear();
            state.set_aside.retain(|key, aside| aside.revision > revision || shown.has_aside(key));
            let replay = state.replay;
            state.reserved.retain(|_, name| name.replay == replay || name.revision > revision);
            state.reserved.shrink_to_fit();
        });
    }

    /// Forgets everything, because the bucket is a different one.
    pub fn clear(&self) {
        let mut ids: Vec<Uuid> = self.write(|state| {
            let fresh = State { vanished: state.vanished, ..State::default() };
            let before = std::mem::replace(state, fresh);
            before.entries.values().map(|entry| entry.schedule.id).collect()
        });
        self.seen.send_replace(0);
        self.clear_overall();
        self.clear_groups();
        self.reruns.clear();
        self.lost();
        self.settle_doubt();
        self.forget_written();
        // Not in the order of a map, so that a simulated run can be repeated exactly.
        ids.sort_unstable();
        for id in ids {
            let _ = self.changes.send(id);
        }
    }

    /// Takes in the key of a name.
    fn reserve(&self, key: &str, revision: u64, reservation: Option<Reservation>) {
        self.write(|state| {
            let replay = state.replay;
            if let Some(known) = state.reserved.get_mut(key)
                && known.revision >= revision
            {
                known.replay = replay;
                return;
            }
            match reservation {
                Some(reservation) if !state.has(reservation.schedule_id) => {
                    let reserved = ReservedName {
                        key: key.to_owned(),
                        revision,
                        first: reservation.first.unwrap_or(revision),
                        since: Instant::now(),
                        schedule: reservation.schedule_id,
                        unknown: reservation.unknown,
                        replay,
                    };
                    state.reserved.insert(key.to_owned(), reserved);
                }
                _ => {
                    state.reserved.remove(key);
                }
            }
        });
    }

    fn remove(&self, id: Uuid, revision: u64) {
        let removed = self.write(|state| {
            if state.there(id).is_some_and(|known| known > revision) {
                return false;
            }
            state.deleted.insert(id, (revision, Instant::now()));
            if state.deleted.len() % 1024 == 0 {
                state.deleted.retain(|_, (_, since)| since.elapsed() < STALE_READS);
            }
            state.set_aside.remove(&format!("{SCHEDULE_KEY_PREFIX}{id}"));
            state.forget(id);
            true
        });
        if removed {
            let _ = self.changes.send(id);
        }
    }

    // A panic while the lock is held cannot leave the maps half changed in a way that matters:
    // every decision is confirmed by the bucket.
    fn read<T>(&self, f: impl FnOnce(&State) -> T) -> T {
        f(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Reservation {
    /// Reads the value of a name's key.
    pub fn read(value: Option<&[u8]>) -> Option<Self> {
        serde_json::from_slice(value?).ok()
    }
}

/// The id in the key of a schedule's record. A different spelling is a different key, which belongs to no
/// schedule.
pub fn schedule_id(key: &str) -> Option<Uuid> {
    let text = key.strip_prefix(SCHEDULE_KEY_PREFIX)?;
    let id = Uuid::try_parse(text).ok()?;
    (id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(id)
}
