//! When a schedule is due: pure functions from a trigger and an instant to instants.
//!
//! A [`Trigger`] is a value. It knows no clock, holds no state and does no I/O; the caller passes the time,
//! so a test can ask about any year. It answers three questions, each without walking the occurrences in
//! between:
//!
//! * [`Trigger::next_after`]: when is it due next? (to set a timer)
//! * [`Trigger::latest_at_or_before`]: which should have run last? (to catch up after downtime)
//! * [`Trigger::count_in`]: how many were due in a span? (to report what was missed)
//!
//! Spans exclude their start and include their end, so that adjoining spans neither share an
//! occurrence nor lose one. All answers are whole seconds, except that intervals and one-time
//! triggers keep the fraction of a second of the instant they are anchored to.
//!
//! ```
//! use chrono::{DateTime, Utc};
//! use nats_scheduler::trigger::{CronTrigger, DstGap, DstOverlap, Trigger};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (gap, overlap) = (DstGap::NextValid, DstOverlap::First);
//! let cron = CronTrigger::new("30 2 * * *", "Europe/Berlin".parse()?, gap, overlap, 0)?;
//! assert_eq!(cron.description(), "at 02:30 every day (Europe/Berlin)");
//!
//! // On 30 March 2025 there is no 02:30 in Berlin: the clock goes from 02:00 to 03:00.
//! let evening: DateTime<Utc> = "2025-03-29T20:00:00Z".parse()?;
//! let next = Trigger::from(cron).next_after(evening);
//! assert_eq!(next, Some("2025-03-30T01:00:00Z".parse()?));
//! # Ok(())
//! # }
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `interval.rs` | `start + k * every` |
//! | `cron/` | cron expressions: parsing, the calendar of local times they name, clock changes |
//! | `open.rs` | restricting any of them to spans of time |
//! | `words.rs` | English, for descriptions |
//! | `zone.rs` | the UTC offsets of a time zone as a table of segments |

pub(crate) mod cron;
mod interval;
mod open;
mod words;
mod zone;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::moment::Moment as _;

pub use cron::{CronError, CronField, CronTrigger};
pub use interval::IntervalTrigger;
pub use open::{CalendarsUsed, Open, Spans};

/// What to do with a local time that a clock change skips, such as 02:30 on the night summer time
/// starts.
///
/// It concerns only jobs at fixed times; [`CronTrigger`] says which those are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DstGap {
    /// Run once, at the first instant after the gap.
    #[default]
    NextValid,
    /// Do not run.
    Skip,
}

/// What to do with a local time that a clock change repeats, such as 02:30 on the night summer time
/// ends.
///
/// It concerns only jobs at fixed times; [`CronTrigger`] says which those are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DstOverlap {
    /// Run the first time the clock shows it.
    #[default]
    First,
    /// Run both times.
    Both,
}

/// Why an occurrence is not simply at the local time that its expression names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Moved {
    /// Its local time was skipped; it runs at the first instant after the gap
    /// ([`DstGap::NextValid`]).
    DstGap,
    /// Its local time came a second time ([`DstOverlap::Both`]).
    DstOverlap,
}

/// One instant at which a trigger is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Occurrence {
    /// The instant.
    pub at: DateTime<Utc>,
    /// Set if a clock change decided the instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<Moved>,
}

/// The source of a schedule's times.
#[derive(Clone, Debug, PartialEq)]
pub enum Trigger {
    /// A cron expression in a time zone, which many schedules may share.
    Cron(Arc<CronTrigger>),
    /// At a fixed interval in seconds, counted from a fixed start.
    Interval(IntervalTrigger),
    /// A single instant.
    Once(DateTime<Utc>),
    /// The occurrences of another trigger between two instants, each of which may be open.
    Within(Box<Within>),
    /// The occurrences of another trigger in spans of time.
    Open(Box<Open>),
    /// No occurrences: something other than time decides.
    Never,
}

/// The occurrences of a trigger between two instants, each of which may be open.
#[derive(Clone, Debug, PartialEq)]
pub struct Within {
    /// The trigger.
    pub inner: Trigger,
    /// The first instant that counts.
    pub start: Option<DateTime<Utc>>,
    /// The last instant that counts.
    pub end: Option<DateTime<Utc>>,
}

impl From<CronTrigger> for Trigger {
    fn from(cron: CronTrigger) -> Self {
        Self::Cron(Arc::new(cron))
    }
}

impl Trigger {
    /// The cron trigger inside, to be shared.
    pub(crate) fn cron(&mut self) -> Option<&mut Arc<CronTrigger>> {
        match self {
            Self::Cron(cron) => Some(cron),
            Self::Within(within) => within.inner.cron(),
            Self::Open(open) => open.inner.cron(),
            Self::Interval(_) | Self::Once(_) | Self::Never => None,
        }
    }

    /// Restricts the trigger to the occurrences from `start` to `end`.
    #[must_use]
    pub fn within(self, start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Self {
        if start.is_none() && end.is_none() {
            return self;
        }
        Self::Within(Box::new(Within { inner: self, start, end }))
    }

    /// Restricts the trigger to spans that calendars leave open.
    #[must_use]
    pub fn open(self, spans: Arc<Spans>, calendars: CalendarsUsed) -> Self {
        Self::Open(Box::new(Open { inner: self, spans, calendars }))
    }

    /// The versions of the calendars that restrict it.
    pub fn versions(&self) -> &[Uuid] {
        match self {
            Self::Open(open) => &open.calendars.versions,
            _ => &[],
        }
    }

    /// When the latest of these calendars was changed, if all are there.
    pub fn calendars_since(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::Open(open) => open.calendars.since,
            _ => None,
        }
    }

    /// The occurrences that calendars leave out.
    pub fn closed(&self) -> Option<Self> {
        match self {
            Self::Open(open) => Some(open.closed()),
            _ => None,
        }
    }

    /// The trigger without anything that restricts it.
    pub(crate) fn unbounded(&self) -> &Self {
        match self {
            Self::Within(within) => within.inner.unbounded(),
            Self::Open(open) => open.inner.unbounded(),
            trigger => trigger,
        }
    }

    /// The trigger without the calendars that restrict it.
    pub fn without_calendars(&self) -> &Self {
        match self {
            Self::Open(open) => &open.inner,
            trigger => trigger,
        }
    }

    /// The first occurrence strictly after `after`, or `None` when there is none left.
    pub fn next_after(&self, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.next_occurrence(after).map(|occurrence| occurrence.at)
    }

    /// The last occurrence at or before `at`, or `None` when the trigger had not begun by then.
    ///
    /// Searches backwards from `at`: the cost does not depend on how many occurrences were missed.
    pub fn latest_at_or_before(&self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Trigger::Cron(cron) => cron.latest_at_or_before(at).map(|occurrence| occurrence.at),
            Trigger::Interval(interval) => interval.latest_at_or_before(at),
            Trigger::Once(instant) => (*instant <= at).then_some(*instant),
            Trigger::Within(within) => {
                let Within { inner, start, end } = &**within;
                let at = end.map_or(at, |end| end.min(at));
                inner.latest_at_or_before(at).filter(|at| start.is_none_or(|start| *at >= start))
            }
            Trigger::Open(open) => open.latest_at_or_before(at),
            Trigger::Never => None,
        }
    }

    /// Number of occurrences in `(after, until]`; 0 if `until` is not later than `after`.
    ///
    /// Counted by arithmetic per month and per clock change, never one by one.
    pub fn count_in(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> u64 {
        if until <= after {
            return 0;
        }
        match self {
            Trigger::Cron(cron) => cron.count_in(after, until),
            Trigger::Interval(interval) => interval.count_in(after, until),
            Trigger::Once(instant) => u64::from(after < *instant && *instant <= until),
            Trigger::Within(within) => {
                let Within { inner, start, end } = &**within;
                let after = start.map_or(after, |start| start.just_before().max(after));
                inner.count_in(after, end.map_or(until, |end| end.min(until)))
            }
            Trigger::Open(open) => open.count_in(after, until),
            Trigger::Never => 0,
        }
    }

    /// All occurrences strictly after `after`, in order, each with its mark if a clock change moved it.
    pub fn occurrences_after(&self, after: DateTime<Utc>) -> impl Iterator<Item = Occurrence> + '_ {
        std::iter::successors(self.next_occurrence(after), |last| self.next_occurrence(last.at))
    }

    fn next_occurrence(&self, after: DateTime<Utc>) -> Option<Occurrence> {
        let plain = |at| Occurrence { at, moved: None };
        match self {
            Trigger::Cron(cron) => cron.next_after(after),
            Trigger::Interval(interval) => interval.next_after(after).map(plain),
            Trigger::Once(instant) => (after < *instant).then_some(plain(*instant)),
            Trigger::Within(within) => {
                let Within { inner, start, end } = &**within;
                let after = start.map_or(after, |start| start.just_before().max(after));
                let next = inner.next_occurrence(after);
                next.filter(|next| end.is_none_or(|end| next.at <= end))
            }
            Trigger::Open(open) => open.next_occurrence(after),
            Trigger::Never => None,
        }
    }
}
