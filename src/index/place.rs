//! Orders of lists, and places in them.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::schedule::Schedule;

/// The time of what is never due: it comes last.
pub(super) const NEVER: i64 = i64::MAX;

/// The order of a list. Of two that are equal the one created first comes first, and last in the
/// orders that begin with `-`.
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

    /// How what comes after a place compares with it.
    pub(super) fn forward(self) -> Ordering {
        if self.is_down() { Ordering::Less } else { Ordering::Greater }
    }
}

/// A place in an order: that of one schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    /// The order.
    pub sort: Sort,
    /// The name, in an order by name.
    name: Option<String>,
    /// The time, in an order by time.
    time: Option<DateTime<Utc>>,
    /// The schedule.
    id: Uuid,
}

impl Place {
    /// The place of a schedule.
    pub fn of(schedule: &Schedule, sort: Sort) -> Self {
        let (name, time) = match sort {
            Sort::Created | Sort::CreatedDown => (None, Some(schedule.created_at)),
            Sort::Name | Sort::NameDown => (Some(schedule.spec.name.to_string()), None),
            Sort::NextRun | Sort::NextRunDown => (None, schedule.next_run_at),
        };
        Self { sort, name, time, id: schedule.id }
    }

    /// Where it stands in its order; of two that stand at the same place [`Place::tie`] decides.
    pub(super) fn rank(&self) -> i64 {
        match (self.sort, self.time) {
            (Sort::Name | Sort::NameDown, _) => name_rank(self.tie().0),
            (_, Some(time)) => nanos(time),
            (_, None) => NEVER,
        }
    }

    /// What decides between equal ranks.
    pub(super) fn tie(&self) -> (&[u8], Uuid) {
        (self.name.as_deref().unwrap_or_default().as_bytes(), self.id)
    }
}

/// The beginning of a name, as a number in the same order.
pub(super) fn name_rank(name: &[u8]) -> i64 {
    let mut first = [0; 8];
    let len = name.len().min(8);
    first[..len].copy_from_slice(&name[..len]);
    // The sign is the highest bit.
    i64::from_be_bytes(first) ^ i64::MIN
}

/// A time in nanoseconds; those before 1678 and after 2261 count as one.
pub(crate) fn nanos(at: DateTime<Utc>) -> i64 {
    let far = if at.timestamp() < 0 { i64::MIN } else { i64::MAX };
    at.timestamp_nanos_opt().unwrap_or(far).clamp(i64::MIN + 1, NEVER - 1)
}
