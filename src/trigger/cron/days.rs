//! Days of a month that an expression names, by its day-of-month and day-of-week fields.
//!
//! Everything is a mask of the month's days, bit d for day d. Weekdays are numbered from Sunday =
//! 0.

use chrono::NaiveDate;

use super::bits;

/// The two day fields and how they combine.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Days {
    pub of_month: DaysOfMonth,
    pub of_week: DaysOfWeek,
    /// Whether a day must satisfy both fields, or just one of them.
    pub rule: DayRule,
}

/// How the two day fields combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum DayRule {
    /// A day matches if both fields name it: one of them is a star, or the day of week bears a `+`.
    Both,
    /// A day matches if either field names it: both are restricted, as in Vixie cron.
    Either,
}

/// The day-of-month field: four sets. A day matches if one of them has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct DaysOfMonth {
    /// Days by number (`15`), members 1-31.
    pub plain: u32,
    /// Days counted back from the last (`L-n`, with `L` as 0), members 0-30.
    pub from_last: u32,
    /// The weekday nearest a day (`nW`), members 1-31.
    pub nearest: u32,
    /// The weekday nearest a day counted back from the last (`L-nW`, with `LW` as 0), members 0-30.
    pub nearest_from_last: u32,
}

/// The day-of-week field: sets of weekdays. A day matches if one of them has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct DaysOfWeek {
    /// Every such weekday (`FRI`).
    pub every: u8,
    /// The first to the fifth such weekday of the month (`FRI#2`).
    pub nth: [u8; 5],
    /// The last such weekday of the month (`FRIL`).
    pub last: u8,
}

/// The shape of a month: all that is needed to compute its days.
#[derive(Clone, Copy, Debug)]
pub(super) struct Month {
    /// Number of days, 28-31.
    length: u32,
    /// Weekday of the first.
    first: u32,
}

impl Month {
    /// The shape of a month whose first is the day number `start` since 1970-01-01, a Thursday.
    pub fn at(year: i32, month: u32, start: i64) -> Month {
        let length = match month {
            2 if NaiveDate::from_ymd_opt(year, 2, 29).is_some() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        Month { length, first: (start + 4).rem_euclid(7) as u32 }
    }

    /// The mask of all days.
    fn all(self) -> u64 {
        bits::below(self.length + 1) & !1
    }

    /// The mask of the days that fall on one of `weekdays`.
    fn falling_on(self, weekdays: u8) -> u64 {
        let week = u64::from(weekdays);
        // The week as seen from the first of the month, then repeated five times.
        let week = (week >> self.first | week << (7 - self.first)) & 0x7f;
        let weeks = week * (1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28);
        weeks << 1 & self.all()
    }

    /// The weekday (Monday to Friday) nearest `day` without leaving the month.
    fn nearest_weekday(self, day: u32) -> u32 {
        match (self.first + day - 1) % 7 {
            6 if day > 1 => day - 1,
            6 => day + 2,
            0 if day < self.length => day + 1,
            0 => day - 2,
            _ => day,
        }
    }
}

impl Days {
    /// The mask of the days of `month` that match.
    pub fn of(&self, month: Month) -> u64 {
        let (of_month, of_week) = (self.of_month.of(month), self.of_week.of(month));
        match self.rule {
            DayRule::Both => of_month & of_week,
            DayRule::Either => of_month | of_week,
        }
    }
}

impl DaysOfMonth {
    fn of(&self, month: Month) -> u64 {
        let mut mask = u64::from(self.plain) & month.all();
        let exists = |day: &u32| (1..=month.length).contains(day);
        let back =
            |set: u32| bits::members(set.into()).filter_map(move |n| month.length.checked_sub(n));
        // `31W` names no day in a month of 30, just as `31` does.
        for day in
            bits::members(self.nearest.into()).chain(back(self.nearest_from_last)).filter(exists)
        {
            mask |= 1 << month.nearest_weekday(day);
        }
        for day in back(self.from_last).filter(exists) {
            mask |= 1 << day;
        }
        mask
    }
}

impl DaysOfWeek {
    fn of(&self, month: Month) -> u64 {
        let mut mask = month.falling_on(self.every);
        for (week, weekdays) in self.nth.iter().enumerate().filter(|(_, weekdays)| **weekdays != 0)
        {
            mask |= month.falling_on(*weekdays) & (0x7f << 1 << (7 * week));
        }
        if self.last != 0 {
            mask |= month.falling_on(self.last) & !bits::below(month.length - 6);
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A month of 30 days that begins on a Saturday.
    const MONTH: Month = Month { length: 30, first: 6 };

    fn days(mask: u64) -> Vec<u32> {
        bits::members(mask).collect()
    }

    #[test]
    fn weekdays_repeat_from_the_first_of_the_month() {
        assert_eq!(days(MONTH.falling_on(1 << 6)), [1, 8, 15, 22, 29]);
        assert_eq!(days(MONTH.falling_on(1 << 0)), [2, 9, 16, 23, 30]);
        assert_eq!(days(MONTH.falling_on(1 << 1)), [3, 10, 17, 24]);
    }

    #[test]
    fn nth_and_last_pick_one_weekday_of_the_month() {
        let week = DaysOfWeek { every: 0, nth: [1 << 1, 0, 0, 0, 1 << 6 | 1 << 5], last: 1 << 1 };
        assert_eq!(days(week.of(MONTH)), [3, 24, 29]);
    }

    #[test]
    fn the_nearest_weekday_stays_in_the_month() {
        let month =
            DaysOfMonth { nearest: 1 << 1 | 1 << 15 | 1 << 16 | 1 << 31, ..DaysOfMonth::default() };
        assert_eq!(days(month.of(MONTH)), [3, 14, 17]);
        let last = DaysOfMonth { nearest_from_last: 1, ..DaysOfMonth::default() };
        assert_eq!(days(last.of(MONTH)), [28]);
    }

    #[test]
    fn days_counted_back_beyond_the_first_do_not_exist() {
        let month = DaysOfMonth { from_last: 1 | 1 << 2 | 1 << 30, ..DaysOfMonth::default() };
        assert_eq!(days(month.of(MONTH)), [28, 30]);
    }
}
