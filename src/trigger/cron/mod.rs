//! Cron expressions on the local time of a zone.
//!
//! # Syntax
//!
//! Five fields (`minute hour day-of-month month day-of-week`), six (`second` first) or seven
//! (`second` first, `year` last), or a nickname: `@yearly` `@annually` `@monthly` `@weekly`
//! `@daily` `@midnight` `@hourly`. A field is a list of items separated by commas:
//!
//! | item | meaning | fields |
//! |---|---|---|
//! | `*` | every value | all |
//! | `?` | every value; stands alone | the day fields |
//! | `5`, `MON`, `JAN` | one value; names in any case | names: month, day of week |
//! | `1-5`, `FRI-SUN` | a range; it does not wrap around | all |
//! | `*/15`, `5/15`, `10-40/15` | every 15th of a range; `5/15` runs to the end of the field | all |
//! | `H`, `H(0-29)`, either with `/15` | a value that is fixed per schedule, to spread load | all but year |
//! | `L`, `L-3` | the last day of the month, the third day before it | day of month |
//! | `15W`, `LW`, `L-3W` | the weekday nearest that day, in the same month | day of month |
//! | `FRIL`, `5L`, `FRI#L` | the last Friday of the month | day of week |
//! | `FRI#2` | the second Friday of the month | day of week |
//!
//! If both day fields are restricted, a day need satisfy only one of them, as in Vixie cron; a `+`
//! before the day of week demands both, and so does a star at the start of either field (`*/5`), as
//! in cronie.
//!
//! # Clock changes
//!
//! Time runs through *segments* in which the zone's offset is constant, so that within one, local
//! time and UTC are a fixed distance apart and a search for a local time is a search for an
//! instant. Only the seams need rules. Each segment knows how far the local clock had come before
//! it (`seen_until`); with that,
//!
//! * local times from there to where this segment starts were **skipped**;
//! * local times of this segment before that mark are shown **again**.
//!
//! A *wildcard job* (the seconds, minutes or hours field starts with `*`) means "keep running": it
//! follows real time, runs through both passes of an overlap and has nothing to make up for after a
//! gap. A *fixed job* means "at that time": a skipped time runs once at the first instant after the
//! gap (or, with [`DstGap::Skip`], not at all), however many of its times were skipped and whether
//! or not another falls on that very instant; a repeated time runs in the first pass (or, with
//! [`DstOverlap::Both`], in both).

mod bits;
mod calendar;
mod dates;
mod days;
mod describe;
mod error;
mod items;
mod parse;
#[cfg(test)]
mod tests;
mod times;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use self::calendar::Calendar;
use super::zone::{self, Segment};
use super::{DstGap, DstOverlap, Moved, Occurrence};

pub use error::{CronError, CronField};

/// A cron expression in a time zone, with its rules for clock changes.
///
/// It holds sets of bits, not text; the table of the zone's clock changes is shared by all
/// triggers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CronTrigger {
    calendar: Calendar,
    timezone: Tz,
    gap: DstGap,
    overlap: DstOverlap,
}

impl CronTrigger {
    /// Reads `expression`, whose times are local times of `timezone`.
    ///
    /// `hash_seed` decides what `H` stands for: derive it from something that lasts as long as the
    /// schedule.
    ///
    /// # Errors
    /// A [`CronError`] that names the field at fault. Expressions that can never match, such as those for 30
    /// February, are refused too.
    pub fn new(
        expression: &str,
        timezone: Tz,
        gap: DstGap,
        overlap: DstOverlap,
        hash_seed: u64,
    ) -> Result<CronTrigger, CronError> {
        let calendar = parse::parse(expression, hash_seed)?;
        if !calendar.has_dates() {
            return Err(CronError::NeverMatches);
        }
        Ok(CronTrigger { calendar, timezone, gap, overlap })
    }

    /// Description in plain English, such as "at 02:30 every day (Europe/Berlin)".
    pub fn description(&self) -> String {
        format!("{} ({})", describe::describe(&self.calendar), self.timezone)
    }

    /// The first occurrence strictly after `after`.
    pub(super) fn next_after(&self, after: DateTime<Utc>) -> Option<Occurrence> {
        // `timestamp` rounds down, so this is the first whole second after `after`.
        let from = after.timestamp() + 1;
        let segments = zone::segments(self.timezone);
        segments[zone::index_at(segments, from)..].iter().find_map(|segment| {
            if from <= segment.start && self.makes_up_at_start(segment) {
                return occurrence(segment.start, Some(Moved::DstGap));
            }
            let first = self.first_local(segment).max(from + segment.offset);
            let local = self.calendar.next(first, segment.local_end())?;
            self.occurrence_in(segment, local)
        })
    }

    /// The last occurrence at or before `at`.
    pub(super) fn latest_at_or_before(&self, at: DateTime<Utc>) -> Option<Occurrence> {
        let until = at.timestamp() + 1;
        let segments = zone::segments(self.timezone);
        segments[..=zone::index_at(segments, until - 1)].iter().rev().find_map(|segment| {
            let end = segment.local_end().min(until + segment.offset);
            match self.calendar.previous(self.first_local(segment), end) {
                Some(local) => self.occurrence_in(segment, local),
                None if self.makes_up_at_start(segment) => {
                    occurrence(segment.start, Some(Moved::DstGap))
                }
                None => None,
            }
        })
    }

    /// How many occurrences lie in `(after, until]`, for `after < until`.
    pub(super) fn count_in(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> u64 {
        let (from, until) = (after.timestamp() + 1, until.timestamp() + 1);
        let segments = zone::segments(self.timezone);
        let later = &segments[zone::index_at(segments, from)..];
        let count = |segment: &Segment| {
            let made_up = from <= segment.start && self.makes_up_at_start(segment);
            let first = self.first_local(segment).max(from + segment.offset);
            let end = segment.local_end().min(until + segment.offset);
            u64::from(made_up) + self.calendar.count(first, end)
        };
        later.iter().take_while(|segment| segment.start < until).map(count).sum()
    }

    /// The first local time of `segment` at which the job may run.
    fn first_local(&self, segment: &Segment) -> i64 {
        if self.calendar.wildcard || self.overlap == DstOverlap::Both {
            segment.local_start()
        } else {
            segment.local_start().max(segment.seen_until)
        }
    }

    /// Whether the start of `segment` makes up for local times that were skipped before it. It does not if it
    /// is itself a time of the job: then the job runs there anyway, and once is enough.
    fn makes_up_at_start(&self, segment: &Segment) -> bool {
        let start = segment.local_start();
        segment.seen_until < start
            && !self.calendar.wildcard
            && self.gap == DstGap::NextValid
            && self.calendar.next(segment.seen_until, start).is_some()
            && !self.calendar.has(start)
    }

    fn occurrence_in(&self, segment: &Segment, local: i64) -> Option<Occurrence> {
        let again = local < segment.seen_until && !self.calendar.wildcard;
        occurrence(local - segment.offset, again.then_some(Moved::DstOverlap))
    }
}

fn occurrence(at: i64, moved: Option<Moved>) -> Option<Occurrence> {
    Some(Occurrence { at: DateTime::from_timestamp(at, 0)?, moved })
}
