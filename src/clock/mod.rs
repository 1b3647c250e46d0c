//! The only place that reads a clock to tell the time.
//!
//! The time here is that of NATS, so that all instances mean the same by "due": our own monotonic clock,
//! and what the leader of the bucket said its time was (`estimate`). Before the first answer it is that
//! of the host. The clock of the host is not believed: it only shows, where it moves against the
//! monotonic clock, that one of the two was set or that the machine slept. From then on the time is not
//! [sure](is_sure), and nothing is claimed, until NATS has been asked again.
//!
//! Times are whole milliseconds, cut and never rounded up: a moment that `now` has reached is
//! really over, so nothing that waits for `now() >= due` can be early.
//!
//! Builds with debug assertions, and only those, can be told to believe in another time of the host: tests
//! step it for one instance by the file that `NATS_SCHEDULER_CLOCK` names.

mod estimate;

use std::sync::{LazyLock, Mutex, PoisonError, RwLock};
use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::{ContextV7, Timestamp, Uuid};

pub use estimate::Sample;
use estimate::{Estimate, Heard};

/// Longest time to sleep without looking at the clock again: a machine that was suspended is noticed within
/// this time.
pub const MAX_SLEEP: Duration = Duration::from_millis(500);
/// How long what was measured counts without being measured again.
const VALID: Duration = Duration::from_secs(60);
/// By how much the clocks of the host may move against each other between two looks.
const STEP: TimeDelta = TimeDelta::milliseconds(100);
/// How often the two are compared anew, since they drift.
const COMPARE: Duration = Duration::from_secs(5);
/// How long it is said that NATS's clock has jumped.
const TELL: Duration = Duration::from_secs(300);

static CLOCK: RwLock<Clock> = RwLock::new(Clock {
    estimate: Estimate::new(),
    compared: None,
    stepped_at: None,
    jumped: None,
});
/// Rings when the time has to be measured at once.
static ASK: LazyLock<Notify> = LazyLock::new(Notify::new);

struct Clock {
    estimate: Estimate,
    /// What the two clocks of the host said at one moment.
    compared: Option<(Instant, DateTime<Utc>)>,
    /// When one of them was last seen to have moved against the other.
    stepped_at: Option<Instant>,
    /// When NATS's clock was last seen to have jumped, and by how much.
    jumped: Option<(Instant, TimeDelta)>,
}

/// The time, cut to milliseconds.
pub fn now() -> DateTime<Utc> {
    precise().trunc_subsecs(3)
}

fn precise() -> DateTime<Utc> {
    read(|clock| clock.estimate.at(Instant::now())).unwrap_or_else(host)
}

/// How long to sleep before asking the clock again whether `due` has come; at most [`MAX_SLEEP`].
pub fn sleep_until(due: Option<DateTime<Utc>>) -> Duration {
    match due {
        None => MAX_SLEEP,
        Some(due) => (due - precise()).to_std().unwrap_or_default().min(MAX_SLEEP),
    }
}

/// A fresh UUIDv7 of the time here, so that ids sort whatever the clock of the host says.
pub fn new_id() -> Uuid {
    /// Those of one millisecond sort too.
    static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let now = precise();
    let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
    Uuid::new_v7(Timestamp::from_unix(&ORDER, seconds, now.timestamp_subsec_nanos()))
}

/// Whether the time may be acted on: it was measured within the last minute, and no clock was set since.
pub fn is_sure() -> bool {
    look();
    read(|clock| {
        let heard_at = clock.estimate.heard_at();
        heard_at.is_some_and(|at| at.elapsed() < VALID) && !clock.estimate.is_doubtful()
    })
}

/// Whether a clock of the host has been set, or the machine slept, since a moment: what was waited for then
/// may have taken longer than it seems.
pub fn stepped_since(moment: Instant) -> bool {
    look();
    read(|clock| clock.stepped_at.is_some_and(|at| at >= moment))
}

/// By how much the time here may be behind NATS's.
pub fn error() -> TimeDelta {
    read(|clock| clock.estimate.error()).unwrap_or_default()
}

/// By how much the clock of the host is ahead of NATS's, and how far that may be wrong; none if it is not
/// known.
pub fn host_offset() -> Option<(TimeDelta, TimeDelta)> {
    read(|clock| {
        let theirs = clock.estimate.at(Instant::now())?;
        // Theirs may be later by as much.
        Some((host() - theirs, clock.estimate.error()?))
    })
}

/// By how much NATS's own clock has jumped within the last minutes, and how long ago.
pub fn nats_jumped() -> Option<(TimeDelta, Duration)> {
    read(|clock| clock.jumped).map(|(at, by)| (by, at.elapsed())).filter(|(_, since)| *since < TELL)
}

/// Takes in what NATS said its time was.
pub fn hear(sample: Sample) {
    look();
    match write(|clock| clock.estimate.hear(sample)) {
        Heard::Fits => {}
        Heard::Doubtful => {
            info!("NATS says another time than before: asking again");
            ASK.notify_one();
        }
        Heard::Jumped(by) => {
            let by_ms = by.num_milliseconds();
            warn!(
                by_ms,
                "the clock of NATS, or this machine's sense of time, has jumped; going by NATS's"
            );
            write(|clock| clock.jumped = Some((Instant::now(), by)));
        }
    }
}

/// Waits until the time has to be measured at once.
pub async fn wants_asking() {
    ASK.notified().await;
}

/// Looks whether the two clocks of the host still go together.
fn look() {
    // A pause between the two readings would look like a step.
    let (mono, wall) = (Instant::now(), host());
    if mono.elapsed() > Duration::from_millis(10) {
        return;
    }
    let compared = read(|clock| clock.compared);
    let Some((mono_then, wall_then)) = compared else {
        return write(|clock| clock.compared = Some((mono, wall)));
    };
    let went = mono.saturating_duration_since(mono_then);
    let moved = (wall - wall_then) - TimeDelta::from_std(went).unwrap_or(TimeDelta::MAX);
    if moved.abs() > STEP {
        write(|clock| {
            clock.compared = Some((mono, wall));
            clock.stepped_at = Some(mono);
            clock.estimate.restart();
        });
        let by_ms = moved.num_milliseconds();
        warn!(
            by_ms,
            "the clock of this host was set, or the machine slept: asking NATS for the time"
        );
        ASK.notify_one();
    } else if went > COMPARE {
        write(|clock| clock.compared = Some((mono, wall)));
    }
}

/// The clock of the host.
fn host() -> DateTime<Utc> {
    Utc::now() + step()
}

fn read<T>(f: impl FnOnce(&Clock) -> T) -> T {
    f(&CLOCK.read().unwrap_or_else(PoisonError::into_inner))
}

fn write<T>(f: impl FnOnce(&mut Clock) -> T) -> T {
    f(&mut CLOCK.write().unwrap_or_else(PoisonError::into_inner))
}

/// By how much a test has set the clock of the host.
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
