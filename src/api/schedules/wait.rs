//! Waiting until no occurrence is due any more under the old state of a schedule.
//!
//! An occurrence that an instance has claimed ahead of its time is acted on under the state in which it was claimed. So
//! the reply to a pause, an update or a deletion is sent after that time, when nothing of the old state is due any
//! more. What counts is the clock of the instance that holds the claim, which may be behind ours.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::super::Api;
use crate::guards::{Guard, Guards as _};
use crate::plan::MAX_LEAD;
use crate::port::Nats;
use crate::schedule::Schedule;

/// Maximum wait for a clock that is behind; one that is further off is not waited for.
const MAX_TIME_ERROR: chrono::Duration = chrono::Duration::seconds(5);

impl<N: Nats> Api<N> {
    /// Waits until all claimed occurrences of a schedule are due for the instances that claimed them; returns how many
    /// milliseconds that took.
    pub(super) async fn let_claims_pass(&self, schedule: &Schedule) -> u64 {
        self.let_pass(schedule.claimed_until()).await
    }

    /// Same for occurrences that are claimed until a given time.
    pub(in crate::api) async fn let_pass(&self, claimed_until: Option<DateTime<Utc>>) -> u64 {
        if !N::Guards::hold(Guard::Wait) {
            return 0;
        }
        let wait = wait(claimed_until, self.health.load.time_error(), self.clock.now());
        tokio::time::sleep(wait).await;
        u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
    }
}

/// How long to wait at `now`, in whole milliseconds: at most the span claimed ahead plus the error of the slowest
/// clock.
fn wait(
    claimed_until: Option<DateTime<Utc>>,
    error: chrono::Duration,
    now: DateTime<Utc>,
) -> Duration {
    let Some(until) = claimed_until else { return Duration::ZERO };
    let error = error.clamp(chrono::Duration::zero(), MAX_TIME_ERROR);
    let left = (until - now).min(MAX_LEAD) + error;
    // A partial millisecond is rounded up.
    let ms = left.to_std().map_or(0, |left| left.as_nanos().div_ceil(1_000_000));
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_waited_until_what_is_claimed_is_due_by_the_slowest_clock_and_no_longer() {
        let ms = chrono::Duration::milliseconds;
        let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        for (ahead_ms, error_ms, wait_ms) in [
            (300, 0, 300),
            (500, 0, 500),
            (-1, 0, 0),
            (300, 400, 700),
            (-100, 400, 300),
            (-60_000, 400, 0),
            // Nobody claims that far ahead, and a clock that is off by that much is not waited for.
            (60_000, 0, 3000),
            (60_000, 400, 3400),
            (500, 3_600_000, 5_500),
            (300, -400, 300),
        ] {
            let waited = wait(Some(now + ms(ahead_ms)), ms(error_ms), now);
            assert_eq!(waited.as_millis(), wait_ms, "{ahead_ms} {error_ms}");
        }
        assert_eq!(wait(None, ms(400), now), Duration::ZERO);
        let part = now + chrono::Duration::microseconds(1200);
        assert_eq!(wait(Some(part), ms(0), now), Duration::from_millis(2));
    }
}
