//! The only place that reads the time of day.
//!
//! Times are whole milliseconds, cut and never rounded up: a moment that `now` has reached is
//! really over, so nothing that waits for `now() >= due` can be early.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};

/// Longest time to sleep without looking at the clock again: a clock that was set, or a machine
/// that was suspended, is noticed within this time.
pub const MAX_SLEEP: Duration = Duration::from_millis(500);

/// The time of day, cut to milliseconds.
pub fn now() -> DateTime<Utc> {
    Utc::now().trunc_subsecs(3)
}

/// How long to sleep before asking the clock again whether `due` has come; at most [`MAX_SLEEP`].
pub fn sleep_until(due: Option<DateTime<Utc>>) -> Duration {
    match due {
        None => MAX_SLEEP,
        Some(due) => (due - Utc::now()).to_std().unwrap_or_default().min(MAX_SLEEP),
    }
}
