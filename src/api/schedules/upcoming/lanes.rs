//! What single schedules have ahead: how many occurrences in each part of a span, without walking them.

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;

use super::super::super::Api;
use super::UpcomingOccurrence;
use crate::index::{Ahead, Coming};
use crate::moment::Moment as _;
use crate::port::Nats;

/// Parts of a span: of a day each is a quarter of an hour.
const PARTS: i32 = 96;
/// Most schedules that are counted one by one.
pub(super) const MOST_LANES: u64 = 50;

/// The schedules that come next, each with how many occurrences it has in each part of the span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lanes {
    /// Length of a part in milliseconds; the span has 96, and its end is in the last one.
    pub part_ms: u64,
    /// The schedules, in the order of their first nominal times.
    pub schedules: Vec<Lane>,
    /// Whether further schedules have occurrences in the span.
    pub more: bool,
}

/// What one schedule has ahead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lane {
    /// Its first occurrence in the span.
    #[serde(flatten)]
    pub first: UpcomingOccurrence,
    /// How many occurrences each part has, by nominal times.
    pub counts: Vec<u64>,
}

impl<N: Nats> Api<N> {
    /// Counts the occurrences of the schedules that come next.
    pub(super) fn lanes(&self, asked: &Coming<'_>, from: DateTime<Utc>) -> Lanes {
        let part_ms = ((asked.to - from).num_milliseconds() / i64::from(PARTS)).max(1);
        let part = TimeDelta::milliseconds(part_ms);
        let (first, more) = block_in_place(|| self.index.first_of_each(asked));
        let schedules = first.iter().map(|ahead| Lane::of(ahead, from, asked.to, part)).collect();
        Lanes { part_ms: part_ms.unsigned_abs(), schedules, more }
    }
}

impl Lane {
    fn of(ahead: &Ahead, from: DateTime<Utc>, to: DateTime<Utc>, part: TimeDelta) -> Self {
        let Ahead { entry, occurrence, left } = ahead;
        let schedule = &entry.schedule;
        // One that is within its jitter was due by name before the span.
        let mut at = occurrence.at.just_before();
        let mut left = *left;
        let count = |n: i32| {
            let end = if n + 1 == PARTS { to } else { from.later(part * (n + 1)).just_before() };
            let end = end.min(to);
            let count = entry.trigger.count_in(at, end).min(left);
            (at, left) = (at.max(end), left - count);
            count
        };
        let mut counts: Vec<u64> = (0..PARTS).map(count).collect();
        let place = |at: DateTime<Utc>| {
            let place = (at - from).num_milliseconds() / part.num_milliseconds().max(1);
            usize::try_from(place).unwrap_or(0).min(PARTS as usize - 1)
        };
        // Those have been acted on.
        let ahead_of = schedule.acted_ahead.iter();
        for acted in ahead_of.filter(|acted| **acted > occurrence.at && **acted <= to) {
            let count = &mut counts[place(*acted)];
            *count = count.saturating_sub(1);
        }
        // The rules of a zone may have changed since it was promised, and it comes all the same.
        if entry.trigger.count_in(occurrence.at.just_before(), occurrence.at) == 0 {
            counts[place(occurrence.at)] += 1;
        }
        Self { first: UpcomingOccurrence::new(ahead), counts }
    }
}
