//! Errors in a cron expression. Every message begins with the field at fault.

use std::fmt;

/// Why a cron expression is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// The number of fields is not one we know.
    #[error("expected 5 fields, 6 (seconds first) or 7 (seconds first, year last), found {found}")]
    FieldCount {
        /// How many fields there are.
        found: usize,
    },
    /// The expression is longer than any sensible one; it is not examined further.
    #[error("the expression is longer than {max} bytes")]
    TooLong {
        /// The longest that is accepted.
        max: usize,
    },
    /// The expression starts with `@` but is not one of the nicknames, which are lower case and
    /// stand alone.
    #[error(
        "unknown nickname; known are @yearly, @annually, @monthly, @weekly, @daily, @midnight and @hourly"
    )]
    UnknownNickname,
    /// An item is not written in any form that the field has.
    #[error("{field}: `{item}` is not understood")]
    NotUnderstood {
        /// The field at fault.
        field: CronField,
        /// The item as it was written, in upper case.
        item: String,
    },
    /// A list has nothing before, between or after its commas.
    #[error("{field}: an item of the list is empty")]
    EmptyItem {
        /// The field at fault.
        field: CronField,
    },
    /// A number is outside of the field's range.
    #[error("{field}: {value} is out of range {min}-{max}")]
    OutOfRange {
        /// The field at fault.
        field: CronField,
        /// The number as it was written.
        value: String,
        /// The smallest number accepted here.
        min: u16,
        /// The largest number accepted here.
        max: u16,
    },
    /// A step (`/n`) is 0, or so large that only one value would be left.
    #[error("{field}: step {step} is not between 1 and {max}")]
    Step {
        /// The field at fault.
        field: CronField,
        /// The step as it was written.
        step: String,
        /// The largest step of the field.
        max: u16,
    },
    /// A range ends before it starts. Ranges do not wrap around; use a list of two ranges instead.
    #[error("{field}: the range {range} ends before it starts")]
    Descending {
        /// The field at fault.
        field: CronField,
        /// The range as it was written.
        range: String,
    },
    /// In `1,2W` the `W` could be read as meant for both days; `2W,1` is unambiguous.
    #[error("day of month: write `{item}` before the plain days of the list")]
    NearestAfterPlain {
        /// The `nW` item.
        item: String,
    },
    /// The date fields agree on no date, such as 30 February.
    #[error("day of month: there is no such date from 1970 to 2199")]
    NeverMatches,
}

impl CronError {
    /// The field at fault, if there is one.
    pub fn field(&self) -> Option<CronField> {
        match self {
            CronError::FieldCount { .. }
            | CronError::TooLong { .. }
            | CronError::UnknownNickname => None,
            CronError::NotUnderstood { field, .. }
            | CronError::EmptyItem { field }
            | CronError::OutOfRange { field, .. }
            | CronError::Step { field, .. }
            | CronError::Descending { field, .. } => Some(*field),
            CronError::NearestAfterPlain { .. } | CronError::NeverMatches => {
                Some(CronField::DayOfMonth)
            }
        }
    }
}

/// A field of a cron expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CronField {
    /// 0-59; 0 in expressions without the field.
    Second,
    /// 0-59.
    Minute,
    /// 0-23.
    Hour,
    /// 1-31.
    DayOfMonth,
    /// 1-12 or JAN-DEC.
    Month,
    /// 0-7 or SUN-SAT; 0 and 7 are Sunday.
    DayOfWeek,
    /// 1970-2199; every year in expressions without the field.
    Year,
}

impl CronField {
    /// The smallest and the largest number that the field accepts.
    pub(super) fn limits(self) -> (u16, u16) {
        match self {
            CronField::Second | CronField::Minute => (0, 59),
            CronField::Hour => (0, 23),
            CronField::DayOfMonth => (1, 31),
            CronField::Month => (1, 12),
            CronField::DayOfWeek => (0, 7),
            CronField::Year => (1970, 2199),
        }
    }

    /// The largest step that the field accepts.
    pub(super) fn largest_step(self) -> u16 {
        match self.limits() {
            (min, max) if self == CronField::Year => max - min,
            (_, max) => max,
        }
    }

    /// The names that the field accepts in place of numbers; the first stands for the smallest number.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            CronField::Month => &[
                "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC",
            ],
            CronField::DayOfWeek => &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
            _ => &[],
        }
    }
}

impl fmt::Display for CronField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CronField::Second => "second",
            CronField::Minute => "minute",
            CronField::Hour => "hour",
            CronField::DayOfMonth => "day of month",
            CronField::Month => "month",
            CronField::DayOfWeek => "day of week",
            CronField::Year => "year",
        })
    }
}
