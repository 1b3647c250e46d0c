//! Intervals anchored at a start, so that no delay ever accumulates into drift.

use chrono::{DateTime, TimeDelta, Utc};

/// Due at `start + k * every_seconds` for k = 0, 1, 2, …; the first occurrence is `start` itself.
///
/// A fraction of a second in `start` is kept by every occurrence. Real time is counted: a day of 23
/// or 25 hours makes no difference to an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalTrigger {
    /// The anchor and first occurrence.
    pub start: DateTime<Utc>,
    /// The distance between two occurrences, in seconds. Callers refuse 0 when they validate a
    /// schedule; here it counts as 1, so that no value can divide by zero.
    pub every_seconds: u32,
}

impl IntervalTrigger {
    /// The first occurrence strictly after `after`; `None` only past the end of representable time.
    pub(super) fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.index_at(after) {
            None => Some(self.start),
            Some(index) => self.occurrence(index + 1),
        }
    }

    /// The last occurrence at or before `at`; `None` before the start.
    pub(super) fn latest_at_or_before(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.index_at(at).and_then(|index| self.occurrence(index))
    }

    /// Occurrences in `(after, until]`, for `after < until`.
    pub(super) fn count_in(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> u64 {
        let up_to = |instant| self.index_at(instant).map_or(0, |index| index + 1);
        (up_to(until) - up_to(after)).unsigned_abs()
    }

    /// The index k of the last occurrence at or before `at`.
    fn index_at(&self, at: DateTime<Utc>) -> Option<i64> {
        let elapsed = at - self.start;
        (elapsed >= TimeDelta::zero()).then(|| elapsed.num_seconds() / self.every())
    }

    fn occurrence(&self, index: i64) -> Option<DateTime<Utc>> {
        let offset = TimeDelta::try_seconds(index.checked_mul(self.every())?)?;
        self.start.checked_add_signed(offset)
    }

    fn every(&self) -> i64 {
        i64::from(self.every_seconds.max(1))
    }
}
