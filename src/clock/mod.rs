//! The clock: the only code that reads the time of day. Each instance has one [`Clock`], which all its parts
//! share.
//!
//! The time here is that of NATS, so that all instances mean the same by "due". It is derived from our own monotonic
//! clock and from what the leader of the bucket said its time was (`estimate`). Before the first answer it is the
//! host's time. Otherwise the host's clock is not believed. It only shows, by moving against the monotonic clock, that
//! one of the two was set or that the machine slept. From then on the time is not [sure](Clock::is_sure), and nothing
//! is claimed, until NATS has been asked again.
//!
//! Times are whole milliseconds, cut and never rounded up. A moment that `now` has reached has really passed, so
//! nothing that waits for `now() >= due` can be early.
//!
//! Only in builds with debug assertions, another host time can be set: tests step it for one instance by the file that
//! `NATS_SCHEDULER_CLOCK` names.

mod estimate;

#[cfg(debug_assertions)]
use std::sync::LazyLock;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

pub use estimate::Sample;
use estimate::{Estimate, Heard};

use crate::chance::Chance;

/// Longest time to sleep without looking at the clock again, and so the time within which it is noticed that the
/// machine was suspended.
pub const MAX_SLEEP: Duration = Duration::from_millis(500);
/// How long a measurement of the time counts without another.
const VALID: Duration = Duration::from_secs(60);
/// Largest drift of the host's clocks against each other between two comparisons.
const STEP: TimeDelta = TimeDelta::milliseconds(100);
/// Interval after which the two clocks are compared afresh, since they drift.
const COMPARE: Duration = Duration::from_secs(5);
/// How long a jump of NATS's clock is reported.
const TELL: Duration = Duration::from_secs(300);
/// The bits of a UUIDv7 that are neither time, version nor variant.
const RANDOM_BITS: u128 = (1 << 74) - 1;

/// Tells the time of the host.
type Host = Box<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// The clock of one instance. Its clones tell the same time.
#[derive(Clone)]
pub struct Clock(Arc<Shared>);

struct Shared {
    host: Host,
    known: RwLock<Known>,
    /// Notified when the time must be measured at once.
    ask: Notify,
    chance: Chance,
    /// The last id that was made, as its milliseconds and its random part.
    last_id: Mutex<(i64, u128)>,
}

#[derive(Debug, Default)]
struct Known {
    estimate: Estimate,
    /// What the two clocks of the host said at the same moment.
    compared: Option<(Instant, DateTime<Utc>)>,
    /// When one of them was last seen to have moved against the other.
    stepped_at: Option<Instant>,
    /// When NATS's clock was last seen to have jumped, and by how much.
    jumped: Option<(Instant, TimeDelta)>,
}

impl Clock {
    /// Creates a clock that has not heard of NATS's time yet; its ids are drawn from `chance`.
    pub fn new(chance: Chance) -> Self {
        Self::of(chance, host)
    }

    /// Creates a clock on a host whose time `host` tells.
    pub fn of(chance: Chance, host: impl Fn() -> DateTime<Utc> + Send + Sync + 'static) -> Self {
        let (known, ask, last_id) = (RwLock::default(), Notify::new(), Mutex::default());
        Self(Arc::new(Shared { host: Box::new(host), known, ask, chance, last_id }))
    }

    /// The time, cut to milliseconds.
    pub fn now(&self) -> DateTime<Utc> {
        self.precise().trunc_subsecs(3)
    }

    fn precise(&self) -> DateTime<Utc> {
        self.read(|known| known.estimate.at(Instant::now())).unwrap_or_else(&self.0.host)
    }

    /// How long to sleep before asking again whether `due` has come; at most [`MAX_SLEEP`].
    pub fn sleep_until(&self, due: Option<DateTime<Utc>>) -> Duration {
        match due {
            None => MAX_SLEEP,
            Some(due) => (due - self.precise()).to_std().unwrap_or_default().min(MAX_SLEEP),
        }
    }

    /// A fresh UUIDv7 of this clock's time, so that ids sort whatever the host's clock says; those of one millisecond
    /// sort too.
    pub fn new_id(&self) -> Uuid {
        let drawn = u128::from_be_bytes(self.0.chance.bytes()) & RANDOM_BITS;
        let mut last = self.0.last_id.lock().unwrap_or_else(PoisonError::into_inner);
        let ms = self.now().timestamp_millis().max(0);
        *last = match *last {
            (last_ms, last) if last_ms >= ms && last < RANDOM_BITS => (last_ms, last + 1),
            (last_ms, _) if last_ms >= ms => (last_ms + 1, drawn / 2),
            // Half of the range is left for those that follow.
            _ => (ms, drawn / 2),
        };
        let (ms, random) = *last;
        let mut bytes = [0; 10];
        bytes[..2]
            .copy_from_slice(&(u16::try_from(random >> 62).unwrap_or_default()).to_be_bytes());
        bytes[2..].copy_from_slice(
            &(u64::try_from(random & (u128::MAX >> 66)).unwrap_or_default()).to_be_bytes(),
        );
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(ms).unwrap_or_default(), &bytes)
            .into_uuid()
    }

    /// Whether the time may be acted on: it was measured within the last minute, and no clock has been set since.
    pub fn is_sure(&self) -> bool {
        self.look();
        self.read(|known| {
            let heard_at = known.estimate.heard_at();
            heard_at.is_some_and(|at| at.elapsed() < VALID) && !known.estimate.is_doubtful()
        })
    }

    /// Whether a clock of the host has been set, or the machine has slept, since `moment`: a wait since then may have
    /// taken longer than it seems.
    pub fn stepped_since(&self, moment: Instant) -> bool {
        self.look();
        self.read(|known| known.stepped_at.is_some_and(|at| at >= moment))
    }

    /// By how much this clock may be behind NATS's.
    pub fn error(&self) -> TimeDelta {
        self.read(|known| known.estimate.error()).unwrap_or_default()
    }

    /// By how much the host's clock is ahead of NATS's, and how far that may be wrong; `None` if it is not known.
    pub fn host_offset(&self) -> Option<(TimeDelta, TimeDelta)> {
        self.read(|known| {
            let theirs = known.estimate.at(Instant::now())?;
            // NATS's time may be later by as much.
            Some(((self.0.host)() - theirs, known.estimate.error()?))
        })
    }

    /// By how much NATS's own clock has jumped within the last minutes, and how long ago.
    pub fn nats_jumped(&self) -> Option<(TimeDelta, Duration)> {
        let jumped = self.read(|known| known.jumped);
        jumped.map(|(at, by)| (by, at.elapsed())).filter(|(_, since)| *since < TELL)
    }

    /// Takes in an answer that states NATS's time.
    pub fn hear(&self, sample: Sample) {
        self.look();
        match self.write(|known| known.estimate.hear(sample)) {
            Heard::Fits => {}
            Heard::Doubtful => {
                info!("NATS says another time than before: asking again");
                self.0.ask.notify_one();
            }
            Heard::Jumped(by) => {
                let by_ms = by.num_milliseconds();
                warn!(
                    by_ms,
                    "the clock of NATS, or this machine's sense of time, has jumped; going by NATS's"
                );
                self.write(|known| known.jumped = Some((Instant::now(), by)));
            }
        }
    }

    /// Waits until the time must be measured at once.
    pub async fn wants_asking(&self) {
        self.0.ask.notified().await;
    }

    /// Checks whether the two clocks of the host still move together.
    fn look(&self) {
        // A pause between the two readings would look like a step.
        let (mono, wall) = (Instant::now(), (self.0.host)());
        if mono.elapsed() > Duration::from_millis(10) {
            return;
        }
        let compared = self.read(|known| known.compared);
        let Some((mono_then, wall_then)) = compared else {
            return self.write(|known| known.compared = Some((mono, wall)));
        };
        let went = mono.saturating_duration_since(mono_then);
        let moved = (wall - wall_then) - TimeDelta::from_std(went).unwrap_or(TimeDelta::MAX);
        if moved.abs() > STEP {
            self.write(|known| {
                known.compared = Some((mono, wall));
                known.stepped_at = Some(mono);
                known.estimate.restart();
            });
            let by_ms = moved.num_milliseconds();
            warn!(
                by_ms,
                "the clock of this host was set, or the machine slept: asking NATS for the time"
            );
            self.0.ask.notify_one();
        } else if went > COMPARE {
            self.write(|known| known.compared = Some((mono, wall)));
        }
    }

    fn read<T>(&self, f: impl FnOnce(&Known) -> T) -> T {
        f(&self.0.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut Known) -> T) -> T {
        f(&mut self.0.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Clock").field(&self.0.known).finish()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(Chance::new())
    }
}

/// The host's time.
fn host() -> DateTime<Utc> {
    Utc::now() + step()
}

/// By how much a test has moved the host's clock.
#[cfg(debug_assertions)]
fn step() -> TimeDelta {
    use std::sync::atomic::{AtomicI64, Ordering};

    static STEP_MS: AtomicI64 = AtomicI64::new(0);
    static IS_SET: LazyLock<bool> = LazyLock::new(|| {
        let Ok(file) = std::env::var("NATS_SCHEDULER_CLOCK") else { return false };
        let read = move || std::fs::read_to_string(&file).ok()?.trim().parse().ok();
        STEP_MS.store(read().unwrap_or_default(), Ordering::Relaxed);
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(10));
                if let Some(step_ms) = read() {
                    STEP_MS.store(step_ms, Ordering::Relaxed);
                }
            }
        });
        true
    });
    TimeDelta::milliseconds(if *IS_SET { STEP_MS.load(Ordering::Relaxed) } else { 0 })
}

#[cfg(not(debug_assertions))]
const fn step() -> TimeDelta {
    TimeDelta::zero()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_in_the_order_in_which_they_were_made() {
        let clock = Clock::new(Chance::seeded(1));
        let ids: Vec<_> = (0..10_000).map(|_| clock.new_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert!(ids.iter().all(|id| id.get_version_num() == 7));
        let ms = clock.now().timestamp_millis().cast_unsigned();
        let (seconds, nanos) = ids[0].get_timestamp().unwrap().to_unix();
        assert!(ms.abs_diff(seconds * 1000 + u64::from(nanos) / 1_000_000) < 10_000);
    }
}
