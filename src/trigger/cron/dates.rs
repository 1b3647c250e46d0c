//! The dates an expression names: years, months and the days of each month.
//!
//! Dates are counted in days since 1970-01-01. Searches jump from set bit to set bit: years and months that
//! cannot match cost nothing, and one that can costs the computation of a single mask of its days.

use chrono::{Datelike, NaiveDate};

use super::bits;
use super::days::{Days, Month};

/// The first year an expression can name.
pub(super) const FIRST_YEAR: i32 = 1970;
/// The last year an expression can name.
pub(super) const LAST_YEAR: i32 = 2199;

/// Dates, by year, month and day of month or of week.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Dates {
    pub years: Years,
    /// Members 1-12.
    pub months: u64,
    pub days: Days,
}

impl Dates {
    /// Whether the date matches.
    pub fn has(&self, day: i64) -> bool {
        civil(day).is_some_and(|(year, month, day)| bits::has(self.month(year, month), day))
    }

    /// The first matching date in `[from, until)`.
    pub fn next(&self, from: i64, until: i64) -> Option<i64> {
        let (mut year, mut month, mut day) = civil(from.max(start_of(FIRST_YEAR, 1)))?;
        loop {
            year = match self.years.next(year)? {
                same if same == year => same,
                later => {
                    (month, day) = (1, 1);
                    later
                }
            };
            while let Some(candidate) = bits::next(self.months, month) {
                if candidate != month {
                    (month, day) = (candidate, 1);
                }
                let start = start_of(year, month);
                if start >= until {
                    return None;
                }
                if let Some(day) = bits::next(self.days.of(Month::at(year, month, start)), day) {
                    let found = start + i64::from(day) - 1;
                    return (found < until).then_some(found);
                }
                (month, day) = (month + 1, 1);
            }
            (year, month, day) = (year + 1, 1, 1);
        }
    }

    /// The last matching date in `[from, to]`.
    pub fn previous(&self, to: i64, from: i64) -> Option<i64> {
        let (mut year, mut month, mut day) = civil(to.min(start_of(LAST_YEAR + 1, 1) - 1))?;
        loop {
            year = match self.years.previous(year)? {
                same if same == year => same,
                earlier => {
                    (month, day) = (12, 31);
                    earlier
                }
            };
            while let Some(candidate) = bits::previous(self.months, month) {
                if candidate != month {
                    (month, day) = (candidate, 31);
                }
                let start = start_of(year, month);
                if let Some(day) = bits::previous(self.days.of(Month::at(year, month, start)), day)
                {
                    let found = start + i64::from(day) - 1;
                    return (found >= from).then_some(found);
                }
                if start <= from {
                    return None;
                }
                (month, day) = (month - 1, 31);
            }
            (year, month, day) = (year - 1, 12, 31);
        }
    }

    /// How many matching dates lie in `[from, until)`.
    pub fn count(&self, from: i64, until: i64) -> u64 {
        let mut count = 0;
        let mut at = from;
        while let Some(found) = self.next(at, until) {
            let Some((year, month, day)) = civil(found) else {
                break;
            };
            let start = found - i64::from(day) + 1;
            let end = (until - start).clamp(0, 31) as u32;
            // Bit d stands for day d, that is, for `start + d - 1`.
            let mask = self.month(year, month) & bits::below(end + 1) & !bits::below(day);
            count += u64::from(mask.count_ones());
            at = if month == 12 { start_of(year + 1, 1) } else { start_of(year, month + 1) };
        }
        count
    }

    fn month(&self, year: i32, month: u32) -> u64 {
        if !self.years.has(year) || !bits::has(self.months, month) {
            return 0;
        }
        self.days.of(Month::at(year, month, start_of(year, month)))
    }
}

/// A set of years from [`FIRST_YEAR`] to [`LAST_YEAR`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Years([u64; 4]);

impl Years {
    /// Adds a year; one outside the limits is not added.
    pub fn insert(&mut self, year: i32) {
        if let Some((word, bit)) = Self::place(year) {
            self.0[word] |= 1 << bit;
        }
    }

    pub fn has(&self, year: i32) -> bool {
        Self::place(year).is_some_and(|(word, bit)| bits::has(self.0[word], bit))
    }

    /// The first member that is at least `from`.
    pub fn next(&self, from: i32) -> Option<i32> {
        let (word, bit) = Self::place(from.max(FIRST_YEAR))?;
        let rest = (word + 1..self.0.len()).map(|word| (word, 0));
        std::iter::once((word, bit)).chain(rest).find_map(|(word, from)| {
            bits::next(self.0[word], from).map(|bit| Self::year(word, bit))
        })
    }

    /// The last member that is at most `to`.
    pub fn previous(&self, to: i32) -> Option<i32> {
        let (word, bit) = Self::place(to.min(LAST_YEAR))?;
        let rest = (0..word).rev().map(|word| (word, 63));
        std::iter::once((word, bit)).chain(rest).find_map(|(word, to)| {
            bits::previous(self.0[word], to).map(|bit| Self::year(word, bit))
        })
    }

    fn place(year: i32) -> Option<(usize, u32)> {
        (FIRST_YEAR..=LAST_YEAR).contains(&year).then(|| {
            let index = (year - FIRST_YEAR).unsigned_abs();
            ((index / 64) as usize, index % 64)
        })
    }

    fn year(word: usize, bit: u32) -> i32 {
        FIRST_YEAR + word as i32 * 64 + bit as i32
    }
}

/// Year, month and day of a day number; `None` outside what `chrono` can represent.
fn civil(day: i64) -> Option<(i32, u32, u32)> {
    let date = NaiveDate::from_epoch_days(i32::try_from(day).ok()?)?;
    Some((date.year(), date.month(), date.day()))
}

/// The day number of the first of a month.
fn start_of(year: i32, month: u32) -> i64 {
    NaiveDate::from_ymd_opt(year, month, 1).map_or(i64::MAX, |date| i64::from(date.to_epoch_days()))
}
