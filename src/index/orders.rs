//! The orders in which schedules are listed, kept sorted as they change.
//!
//! A page of a list without filters is then a walk along one order.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::Bound;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::rows::{NEVER, nanos};
use crate::schedule::Schedule;

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
            Sort::Name | Sort::NameDown => (Some(schedule.spec.name.clone()), None),
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

    fn instant(&self) -> DateTime<Utc> {
        self.time.unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

/// Never due comes last.
fn due(schedule: &Schedule) -> DateTime<Utc> {
    schedule.next_run_at.unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// Some schedules in every order.
#[derive(Default)]
pub(super) struct Orders {
    created: BTreeSet<(DateTime<Utc>, Uuid)>,
    name: BTreeSet<(String, Uuid)>,
    next_run: BTreeSet<(DateTime<Utc>, Uuid)>,
}

impl Orders {
    pub(super) fn len(&self) -> usize {
        self.created.len()
    }

    pub(super) fn insert(&mut self, schedule: &Schedule) {
        let id = schedule.id;
        self.created.insert((schedule.created_at, id));
        self.name.insert((schedule.spec.name.clone(), id));
        self.next_run.insert((due(schedule), id));
    }

    pub(super) fn remove(&mut self, schedule: &Schedule) {
        let id = schedule.id;
        self.created.remove(&(schedule.created_at, id));
        self.name.remove(&(schedule.spec.name.clone(), id));
        self.next_run.remove(&(due(schedule), id));
    }

    /// Moves a schedule that changed; most changes are the next time and nothing else.
    pub(super) fn change(&mut self, old: &Schedule, new: &Schedule) {
        if old.spec.name != new.spec.name || old.created_at != new.created_at {
            self.remove(old);
            self.insert(new);
        } else if old.next_run_at != new.next_run_at {
            self.next_run.remove(&(due(old), old.id));
            self.next_run.insert((due(new), new.id));
        }
    }

    /// The schedules in an order, behind a place.
    pub(super) fn walk<'a>(
        &'a self,
        sort: Sort,
        after: Option<&Place>,
    ) -> Box<dyn Iterator<Item = Uuid> + 'a> {
        match sort {
            Sort::Created | Sort::CreatedDown => {
                let after = after.map(|place| (place.instant(), place.id));
                walk(&self.created, sort, after)
            }
            Sort::NextRun | Sort::NextRunDown => {
                let after = after.map(|place| (place.instant(), place.id));
                walk(&self.next_run, sort, after)
            }
            Sort::Name | Sort::NameDown => {
                let after = after.map(|place| (place.name.clone().unwrap_or_default(), place.id));
                walk(&self.name, sort, after)
            }
        }
    }
}

fn walk<'a, K: Ord>(
    set: &'a BTreeSet<(K, Uuid)>,
    sort: Sort,
    after: Option<(K, Uuid)>,
) -> Box<dyn Iterator<Item = Uuid> + 'a> {
    let edge = after.map_or(Bound::Unbounded, Bound::Excluded);
    if sort.is_down() {
        Box::new(set.range((Bound::Unbounded, edge)).rev().map(|(_, id)| *id))
    } else {
        Box::new(set.range((edge, Bound::Unbounded)).map(|(_, id)| *id))
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
