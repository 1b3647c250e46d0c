//! Days and spans as users write them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, Offset as _, TimeZone as _, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_with::{DeserializeFromStr, SerializeDisplay};

use crate::moment::Moment as _;
use crate::schedule::instant;

/// One day, or all days from one to another.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, SerializeDisplay, DeserializeFromStr,
)]
pub struct Days {
    /// The first.
    pub first: NaiveDate,
    /// The last.
    pub last: NaiveDate,
}

/// A span of time.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// Its start.
    pub start: DateTime<Utc>,
    /// Its end, which does not belong to it.
    pub end: DateTime<Utc>,
}

impl Span {
    /// The same in whole milliseconds, as all times of schedules are.
    pub(super) fn whole(self) -> Self {
        let whole = |at| instant::whole_milliseconds(instant::real(at));
        Self { start: whole(self.start), end: whole(self.end) }
    }

    /// Whether it can be written in RFC 3339.
    pub(super) fn has_text(&self) -> bool {
        instant::has_text(self.start) && instant::has_text(self.end)
    }
}

impl Days {
    /// From the start of the first day to the start of the day after the last, on the clocks of a time zone.
    pub(super) fn in_zone(&self, zone: chrono_tz::Tz) -> (DateTime<Utc>, DateTime<Utc>) {
        let end = self.last.succ_opt().unwrap_or(NaiveDate::MAX);
        (start_of(self.first, zone), start_of(end, zone))
    }
}

/// When a day begins: at midnight, or when the clock has gone past that.
fn start_of(day: NaiveDate, zone: chrono_tz::Tz) -> DateTime<Utc> {
    let midnight = day.and_time(NaiveTime::MIN);
    match zone.from_local_datetime(&midnight).earliest() {
        Some(at) => at.with_timezone(&Utc),
        // Midnight is skipped: by the offset before the change, that is the instant of the change or shortly after.
        None => {
            let before = midnight.and_utc().earlier(chrono::TimeDelta::hours(26)).naive_utc();
            let offset = zone.offset_from_utc_datetime(&before).fix().local_minus_utc();
            midnight.and_utc().earlier(chrono::TimeDelta::seconds(i64::from(offset)))
        }
    }
}

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last == self.first { Ok(()) } else { write!(f, "/{}", self.last) }
    }
}

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let day = |text: &str| {
            let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
            // chrono also takes other widths, which would not be shown as they were given, and years of more than four digits.
            let day = day.filter(|day| day.to_string() == text && text.len() == 10);
            day.ok_or_else(|| format!("{text:?} is not a day such as 2026-12-25"))
        };
        let (first, last) = text.split_once('/').unwrap_or((text, text));
        let (first, last) = (day(first)?, day(last)?);
        match first <= last {
            true => Ok(Self { first, last }),
            false => Err(format!("{text:?} ends before it begins")),
        }
    }
}

impl JsonSchema for Days {
    fn schema_name() -> Cow<'static, str> {
        "Days".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\d{4}-\d{2}-\d{2}(/\d{4}-\d{2}-\d{2})?$",
            "description": "A day, or days from one to another: `2026-12-24/2026-12-26`.",
            "examples": ["2026-12-25"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(days: &str, zone: &str) -> (String, String) {
        let (start, end) = days.parse::<Days>().unwrap().in_zone(zone.parse().unwrap());
        let shown = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M").to_string();
        (shown(start), shown(end))
    }

    fn texts((start, end): &(String, String)) -> (&str, &str) {
        (start, end)
    }

    #[test]
    fn a_day_is_as_long_as_the_clocks_of_its_zone_make_it() {
        for (days, zone, start, end) in [
            ("2026-12-25", "UTC", "2026-12-25T00:00", "2026-12-26T00:00"),
            ("2026-12-25/2026-12-26", "Asia/Tokyo", "2026-12-24T15:00", "2026-12-26T15:00"),
            ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00", "2026-03-29T22:00"),
            // Summer time began at midnight, which the clocks skipped.
            ("2018-11-04", "America/Sao_Paulo", "2018-11-04T03:00", "2018-11-05T02:00"),
            // Midnight came twice: the day begins the first time.
            ("2026-11-01", "America/Havana", "2026-11-01T04:00", "2026-11-02T05:00"),
            // A day that there was not.
            ("2011-12-30", "Pacific/Apia", "2011-12-30T10:00", "2011-12-30T10:00"),
            ("2011-12-29/2011-12-31", "Pacific/Apia", "2011-12-29T10:00", "2011-12-31T10:00"),
        ] {
            assert_eq!(texts(&span(days, zone)), (start, end), "{days} {zone}");
        }
    }

    #[test]
    fn days_are_read_as_they_are_shown() {
        for text in ["2026-12-25", "2026-12-24/2026-12-26", "0001-01-01"] {
            assert_eq!(text.parse::<Days>().unwrap().to_string(), text);
        }
        assert_eq!("2026-01-01/2026-01-01".parse::<Days>().unwrap().to_string(), "2026-01-01");
        for text in [
            "",
            "2026-02-30",
            "2026-1-1",
            "25.12.2026",
            "2026-01-02/2026-01-01",
            "2026-01-01/",
            " 2026-01-01",
            "+10000-01-01",
            "2026-01-01/+10000-01-01",
        ] {
            assert!(text.parse::<Days>().is_err(), "{text}");
        }
    }
}
