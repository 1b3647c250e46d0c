//! The only place that reads the time of day.
//!
//! Times are whole milliseconds, cut and never rounded up: a moment that `now` has reached is
//! really over, so nothing that waits for `now() >= due` can be early.
//!
//! Builds with debug assertions, and only those, can be told to believe in another time: tests step
//! the clock of one instance by the file that `NATS_SCHEDULER_CLOCK` names.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};

/// Longest time to sleep without looking at the clock again: a clock that was set, or a machine
/// that was suspended, is noticed within this time.
pub const MAX_SLEEP: Duration = Duration::from_millis(500);

/// The time of day, cut to milliseconds.
pub fn now() -> DateTime<Utc> {
    (Utc::now() + step()).trunc_subsecs(3)
}

/// How long to sleep before asking the clock again whether `due` has come; at most [`MAX_SLEEP`].
pub fn sleep_until(due: Option<DateTime<Utc>>) -> Duration {
    match due {
        None => MAX_SLEEP,
        Some(due) => (due - Utc::now() - step()).to_std().unwrap_or_default().min(MAX_SLEEP),
    }
}

/// By how much a test has set the clock.
#[cfg(debug_assertions)]
fn step() -> TimeDelta {
    use std::sync::LazyLock;
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
