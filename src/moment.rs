//! Moves instants by spans; beyond the end of time is the end of time.
//!
//! chrono panics if the sum of an instant and a span lies outside of its range. Records are also written by
//! hand, and hold whatever a number can; so pure code moves instants by these methods, and never by `+` or
//! `-`. (The difference of two instants always exists.)

use chrono::{DateTime, TimeDelta, Utc};

/// An instant that can be moved.
pub(crate) trait Moment {
    /// Moves the instant later, at most to the last instant there is.
    fn later(self, by: TimeDelta) -> Self;
    /// Moves the instant earlier, at most to the first instant there is.
    fn earlier(self, by: TimeDelta) -> Self;
    /// The millisecond before it. Spans exclude their start, and times are whole milliseconds.
    fn just_before(self) -> Self;
}

impl Moment for DateTime<Utc> {
    fn later(self, by: TimeDelta) -> Self {
        self.checked_add_signed(by).unwrap_or_else(|| end(by >= TimeDelta::zero()))
    }

    fn earlier(self, by: TimeDelta) -> Self {
        self.checked_sub_signed(by).unwrap_or_else(|| end(by < TimeDelta::zero()))
    }

    fn just_before(self) -> Self {
        self.earlier(TimeDelta::milliseconds(1))
    }
}

fn end(is_last: bool) -> DateTime<Utc> {
    if is_last { DateTime::<Utc>::MAX_UTC } else { DateTime::<Utc>::MIN_UTC }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_has_two_ends() {
        let (first, last) = (DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC);
        for by in [TimeDelta::nanoseconds(1), TimeDelta::days(400), TimeDelta::MAX] {
            assert_eq!((last.later(by), first.earlier(by)), (last, first));
            assert_eq!((first.later(-by), last.earlier(-by)), (first, last));
        }
        assert_eq!(first.just_before(), first);
        let at = DateTime::UNIX_EPOCH;
        assert_eq!(at.later(TimeDelta::days(1)).earlier(TimeDelta::days(1)), at);
    }
}
