//! Local times that an expression names, without any notion of a time zone.
//!
//! Local time is counted in seconds since 1970-01-01T00:00:00 on the wall clock. Mapping those seconds to
//! instants is the business of the parent module.

use super::dates::Dates;
use super::times::Times;

const DAY: i64 = 86_400;

/// Local times, as the product of dates and times of day.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Calendar {
    pub dates: Dates,
    pub times: Times,
    /// Whether the seconds, minutes or hours field starts with a star.
    pub wildcard: bool,
}

impl Calendar {
    /// Whether any date at all matches. Some dates do not exist, such as 30 February.
    pub fn has_dates(&self) -> bool {
        self.dates.next(i64::MIN, i64::MAX).is_some()
    }

    /// Whether the local time matches.
    pub fn has(&self, local: i64) -> bool {
        self.next(local, local + 1).is_some()
    }

    /// The first match in `[from, until)`.
    pub fn next(&self, from: i64, until: i64) -> Option<i64> {
        if from >= until {
            return None;
        }
        let (day, time) = split(from);
        if self.dates.has(day)
            && let Some(time) = self.times.next(time)
        {
            return Some(day * DAY + time).filter(|found| *found < until);
        }
        let last_day = (until - 1).div_euclid(DAY);
        let day = self.dates.next(day + 1, last_day + 1)?;
        Some(day * DAY + self.times.first()).filter(|found| *found < until)
    }

    /// The last match in `[from, until)`.
    pub fn previous(&self, from: i64, until: i64) -> Option<i64> {
        if from >= until {
            return None;
        }
        let (day, time) = split(until - 1);
        if self.dates.has(day)
            && let Some(time) = self.times.previous(time)
        {
            return Some(day * DAY + time).filter(|found| *found >= from);
        }
        let day = self.dates.previous(day - 1, from.div_euclid(DAY))?;
        Some(day * DAY + self.times.last()).filter(|found| *found >= from)
    }

    /// How many matches lie in `[from, until)`.
    pub fn count(&self, from: i64, until: i64) -> u64 {
        if from >= until {
            return 0;
        }
        let (first_day, from_time) = split(from);
        let (last_day, until_time) = split(until);
        // Whole days up to the last, less the start of the first, plus the start of the last.
        let days = self.dates.count(first_day, last_day) * self.times.per_day();
        let not_yet = if self.dates.has(first_day) { self.times.before(from_time) } else { 0 };
        let more = if self.dates.has(last_day) { self.times.before(until_time) } else { 0 };
        days + more - not_yet
    }
}

/// The day number and the seconds since its midnight.
fn split(local: i64) -> (i64, i64) {
    (local.div_euclid(DAY), local.rem_euclid(DAY))
}
