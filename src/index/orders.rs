//! The orders in which schedules are listed, kept sorted as they change.
//!
//! A page of a list without filters is then a walk along one order.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::order::Order;
use super::rows::{NEVER, Rows, nanos};
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
}

/// The slots of some rows in every order.
#[derive(Default)]
pub(super) struct Orders {
    created: Order,
    name: Order,
    next_run: Order,
}

impl Orders {
    pub(super) fn len(&self) -> usize {
        self.created.len()
    }

    /// Takes in a row.
    pub(super) fn insert(&mut self, slot: u32, rows: &Rows) {
        for sort in EACH {
            self.insert_by(sort, slot, rows);
        }
    }

    /// Takes in a row in one order.
    pub(super) fn insert_by(&mut self, sort: Sort, slot: u32, rows: &Rows) {
        self.by(sort).insert(rows.rank(slot, sort), slot, before(rows, slot, sort));
    }

    /// Lets go of a row.
    pub(super) fn remove(&mut self, slot: u32, rows: &Rows) {
        for sort in EACH {
            self.remove_by(sort, slot, rows);
        }
    }

    /// Lets go of a row in one order.
    pub(super) fn remove_by(&mut self, sort: Sort, slot: u32, rows: &Rows) {
        self.by(sort).remove(slot, before(rows, slot, sort));
    }

    /// A row is about to move from one slot to another.
    pub(super) fn renumber(&mut self, from: u32, to: u32, rows: &Rows) {
        for sort in EACH {
            self.by(sort).renumber(from, to, before(rows, from, sort));
        }
    }

    /// The slots in an order, behind a place, without the first `left_out` of them.
    pub(super) fn walk<'a>(
        &'a self,
        sort: Sort,
        after: Option<&Place>,
        left_out: usize,
        rows: &Rows,
    ) -> Box<dyn Iterator<Item = u32> + 'a> {
        let order = match sort {
            Sort::Created | Sort::CreatedDown => &self.created,
            Sort::Name | Sort::NameDown => &self.name,
            Sort::NextRun | Sort::NextRunDown => &self.next_run,
        };
        let count = |place: &Place, and_itself: bool| {
            order.count(|rank, slot| {
                let compared = rank.cmp(&place.rank());
                let compared = compared.then_with(|| rows.tie(slot, sort).cmp(&place.tie()));
                compared.is_lt() || and_itself && compared.is_eq()
            })
        };
        if sort.is_down() {
            let end = after.map_or(order.len(), |place| count(place, false));
            Box::new(order.backward(end.saturating_sub(left_out)))
        } else {
            let start = after.map_or(0, |place| count(place, true));
            Box::new(order.forward(start.saturating_add(left_out)))
        }
    }

    fn by(&mut self, sort: Sort) -> &mut Order {
        match sort {
            Sort::Created | Sort::CreatedDown => &mut self.created,
            Sort::Name | Sort::NameDown => &mut self.name,
            Sort::NextRun | Sort::NextRunDown => &mut self.next_run,
        }
    }
}

/// One for each order; it is kept one way and walked both.
const EACH: [Sort; 3] = [Sort::Created, Sort::Name, Sort::NextRun];

/// Whether a member of an order stands before a row.
fn before(rows: &Rows, row: u32, sort: Sort) -> impl Fn(i64, u32) -> bool {
    let (own, tie) = (rows.rank(row, sort), rows.tie(row, sort));
    move |rank, slot| rank < own || rank == own && rows.tie(slot, sort) < tie
}

/// The beginning of a name, as a number in the same order.
pub(super) fn name_rank(name: &[u8]) -> i64 {
    let mut first = [0; 8];
    let len = name.len().min(8);
    first[..len].copy_from_slice(&name[..len]);
    // The sign is the highest bit.
    i64::from_be_bytes(first) ^ i64::MIN
}
