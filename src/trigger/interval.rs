//! Intervals anchored at a start, so that no delay ever accumulates into drift.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};

use super::words::every;

/// A trigger that is due at `start + k * every_seconds` for k = 0, 1, 2, …; the first occurrence is `start`
/// itself.
///
/// A fraction of a second in `start` is kept by every occurrence. Real time is counted: a day of 23
/// or 25 hours makes no difference to an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntervalTrigger {
    /// The anchor and first occurrence.
    pub start: DateTime<Utc>,
    /// The distance between two occurrences, in seconds. Validation of a schedule refuses 0; here it counts
    /// as 1, so that no value can divide by zero.
    pub every_seconds: u32,
}

impl IntervalTrigger {
    /// Description in plain English, such as "every 5 minutes from 2026-01-01T00:00:00Z".
    pub fn description(&self) -> String {
        let seconds = self.every_seconds.max(1);
        let units = [(604_800, "week"), (86_400, "day"), (3600, "hour"), (60, "minute")];
        let unit = units.into_iter().find(|(length, _)| seconds.is_multiple_of(*length));
        let (length, unit) = unit.unwrap_or((1, "second"));
        let start = self.start.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        format!("{} from {start}", every(seconds / length, unit))
    }

    /// The first occurrence strictly after `after`; `None` only past the end of representable time.
    pub(super) fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.index_at(after) {
            None => Some(self.start),
            Some(index) => self.occurrence(index.checked_add(1)?),
        }
    }

    /// The last occurrence at or before `at`; `None` before the start.
    pub(super) fn latest_at_or_before(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.index_at(at).and_then(|index| self.occurrence(index))
    }

    /// Number of occurrences in `(after, until]`, for `after < until`.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_use_the_largest_unit_that_fits() {
        for (every_seconds, expected) in [
            (1, "every second"),
            (90, "every 90 seconds"),
            (60, "every minute"),
            (300, "every 5 minutes"),
            (5400, "every 90 minutes"),
            (3600, "every hour"),
            (7200, "every 2 hours"),
            (86_400, "every day"),
            (129_600, "every 36 hours"),
            (604_800, "every week"),
            (1_209_600, "every 2 weeks"),
            (31_536_000, "every 365 days"),
        ] {
            let start = DateTime::UNIX_EPOCH;
            let said = IntervalTrigger { start, every_seconds }.description();
            assert_eq!(said, format!("{expected} from 1970-01-01T00:00:00Z"));
        }
        let start = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(1500);
        let said = IntervalTrigger { start, every_seconds: 5 }.description();
        assert_eq!(said, "every 5 seconds from 1970-01-01T00:00:01.500Z");
    }
}
