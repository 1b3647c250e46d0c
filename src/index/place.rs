//! Orders of lists, and places in them.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::schedule::Schedule;

/// Time of schedules that are never due: they come last.
pub(super) const NEVER: i64 = i64::MAX;

/// The order of a list. Of two equal schedules the one created first comes first, and last in the orders that
/// begin with `-`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Sort {
    /// Oldest first.
    #[default]
    #[serde(rename = "created_at")]
    Created,
    /// Newest first.
    #[serde(rename = "-created_at")]
    CreatedDown,
    /// By name.
    #[serde(rename = "name")]
    Name,
    /// By name, backwards.
    #[serde(rename = "-name")]
    NameDown,
    /// Next due first; those that are never due come last.
    #[serde(rename = "next_run_at")]
    NextRun,
    /// Last due first; those that are never due come first.
    #[serde(rename = "-next_run_at")]
    NextRunDown,
}

impl Sort {
    pub(super) fn is_down(self) -> bool {
        matches!(self, Self::CreatedDown | Self::NameDown | Self::NextRunDown)
    }

    /// How the schedules after a place compare with it.
    pub(super) fn forward(self) -> Ordering {
        if self.is_down() { Ordering::Less } else { Ordering::Greater }
    }
}

/// The place of one schedule in an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The order.
    pub sort: Sort,
    /// The name of the schedule, in an order by name.
    name: Option<String>,
    /// The time of the schedule, in an order by time.
    time: Option<DateTime<Utc>>,
    /// Id of the schedule.
    id: Uuid,
}

impl Place {
    /// The place of a schedule.
    pub fn of(schedule: &Schedule, sort: Sort) -> Self {
        let (name, time) = match sort {
            Sort::Created | Sort::CreatedDown => (None, Some(schedule.created_at)),
            Sort::Name | Sort::NameDown => (Some(beginning(&schedule.spec.name).to_owned()), None),
            Sort::NextRun | Sort::NextRunDown => (None, schedule.next_run_at),
        };
        Self { sort, name, time, id: schedule.id }
    }

    /// The place before all schedules with a name, in the order by name.
    pub(super) fn before_name(name: &str) -> Self {
        Self {
            sort: Sort::Name,
            name: Some(beginning(name).to_owned()),
            time: None,
            id: Uuid::nil(),
        }
    }

    /// The place of a schedule with this next time and id in the order of next times.
    pub(super) fn due(time: DateTime<Utc>, id: Uuid) -> Self {
        Self { sort: Sort::NextRun, name: None, time: Some(time), id }
    }

    /// Rank in the order; [`Place::tie`] decides between equal ranks.
    pub(super) fn rank(&self) -> i64 {
        match (self.sort, self.time) {
            (Sort::Name | Sort::NameDown, _) => name_rank(self.tie().0),
            (_, Some(time)) => nanos(time),
            (_, None) => NEVER,
        }
    }

    /// Decides between equal ranks.
    pub(super) fn tie(&self) -> (&[u8], Uuid) {
        (self.name.as_deref().unwrap_or_default().as_bytes(), self.id)
    }
}

/// Most bytes of a name that are looked at, and most tags: only records that were written by hand have more.
pub(super) const MAX_LEN: usize = u16::MAX as usize / 2;

/// The part of a name that is looked at.
pub(super) fn beginning(name: &str) -> &str {
    &name[..name.floor_char_boundary(MAX_LEN)]
}

/// The beginning of a name, as a number that sorts the same way.
pub(super) fn name_rank(name: &[u8]) -> i64 {
    let mut first = [0; 8];
    let len = name.len().min(8);
    first[..len].copy_from_slice(&name[..len]);
    // Flip the sign, which is the highest bit.
    i64::from_be_bytes(first) ^ i64::MIN
}

/// A time in nanoseconds; all times before 1678 count as one, and all after 2261.
pub(crate) fn nanos(at: DateTime<Utc>) -> i64 {
    let far = if at.timestamp() < 0 { i64::MIN } else { i64::MAX };
    at.timestamp_nanos_opt().unwrap_or(far).clamp(i64::MIN + 1, NEVER - 1)
}
