//! Times of day that an expression names: sets of seconds, minutes and hours.

use super::bits;

/// Times of day, as the product of three sets. None of them is ever empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Times {
    /// Members 0-59.
    pub seconds: u64,
    /// Members 0-59.
    pub minutes: u64,
    /// Members 0-23.
    pub hours: u64,
}

impl Times {
    /// The first time of day that is at least `from` (both in seconds since midnight).
    pub fn next(&self, from: i64) -> Option<i64> {
        let (hour, minute, second) = split(from);
        if bits::has(self.hours, hour) {
            if bits::has(self.minutes, minute)
                && let Some(second) = bits::next(self.seconds, second)
            {
                return Some(join(hour, minute, second));
            }
            if let Some(minute) = bits::next(self.minutes, minute + 1) {
                return Some(join(hour, minute, lowest(self.seconds)));
            }
        }
        let hour = bits::next(self.hours, hour + 1)?;
        Some(join(hour, lowest(self.minutes), lowest(self.seconds)))
    }

    /// The last time of day that is at most `to` (both in seconds since midnight).
    pub fn previous(&self, to: i64) -> Option<i64> {
        let (hour, minute, second) = split(to);
        if bits::has(self.hours, hour) {
            if bits::has(self.minutes, minute)
                && let Some(second) = bits::previous(self.seconds, second)
            {
                return Some(join(hour, minute, second));
            }
            if let Some(minute) =
                minute.checked_sub(1).and_then(|to| bits::previous(self.minutes, to))
            {
                return Some(join(hour, minute, highest(self.seconds)));
            }
        }
        let hour = hour.checked_sub(1).and_then(|to| bits::previous(self.hours, to))?;
        Some(join(hour, highest(self.minutes), highest(self.seconds)))
    }

    /// The earliest time of a day.
    pub fn first(&self) -> i64 {
        join(lowest(self.hours), lowest(self.minutes), lowest(self.seconds))
    }

    /// The latest time of a day.
    pub fn last(&self) -> i64 {
        join(highest(self.hours), highest(self.minutes), highest(self.seconds))
    }

    /// Number of times in a full day.
    pub fn per_day(&self) -> u64 {
        self.per_hour() * u64::from(self.hours.count_ones())
    }

    /// Number of times of a day that are less than `time` (seconds since midnight).
    pub fn before(&self, time: i64) -> u64 {
        let (hour, minute, second) = split(time);
        let below = |set: u64, end: u32| u64::from((set & bits::below(end)).count_ones());
        let mut count = below(self.hours, hour) * self.per_hour();
        if bits::has(self.hours, hour) {
            count += below(self.minutes, minute) * u64::from(self.seconds.count_ones());
            if bits::has(self.minutes, minute) {
                count += below(self.seconds, second);
            }
        }
        count
    }

    fn per_hour(&self) -> u64 {
        u64::from(self.minutes.count_ones()) * u64::from(self.seconds.count_ones())
    }
}

fn split(time: i64) -> (u32, u32, u32) {
    // A time of day is below 86,400, so nothing is cut off.
    let time = time as u32;
    (time / 3_600, time / 60 % 60, time % 60)
}

fn join(hour: u32, minute: u32, second: u32) -> i64 {
    i64::from(hour * 3_600 + minute * 60 + second)
}

fn lowest(set: u64) -> u32 {
    set.trailing_zeros()
}

fn highest(set: u64) -> u32 {
    63 - set.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_previous_and_before_agree_with_a_walk_through_the_day() {
        let times = Times {
            seconds: 1 << 7 | 1 << 59,
            minutes: 1 | 1 << 30,
            hours: 1 << 2 | 1 << 3 | 1 << 23,
        };
        let matches = |time: &i64| {
            let (hour, minute, second) = split(*time);
            bits::has(times.hours, hour)
                && bits::has(times.minutes, minute)
                && bits::has(times.seconds, second)
        };
        let all: Vec<i64> = (0..86_400).filter(matches).collect();
        assert_eq!(all.len() as u64, times.per_day());
        assert_eq!((all.first(), all.last()), (Some(&times.first()), Some(&times.last())));
        for time in 0..86_400 {
            let position = all.partition_point(|other| *other < time);
            assert_eq!(times.before(time), position as u64);
            assert_eq!(times.next(time).as_ref(), all.get(position));
            let upto = all.partition_point(|other| *other <= time);
            assert_eq!(times.previous(time).as_ref(), upto.checked_sub(1).map(|last| &all[last]));
        }
    }
}
