//! Orders in which schedules are listed, kept sorted as schedules change.
//!
//! A page of a list without filters is a walk along one order.

use super::order::Order;
use super::place::{Place, Sort};
use super::rows::Rows;

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

    /// Number of rows whose next time, in nanoseconds, is earlier than this.
    pub(super) fn due_before(&self, at: i64) -> usize {
        self.next_run.count(|rank, _| rank < at)
    }

    /// Adds a row.
    pub(super) fn insert(&mut self, slot: u32, rows: &Rows) {
        for sort in EACH {
            self.insert_by(sort, slot, rows);
        }
    }

    /// Adds a row to one order.
    pub(super) fn insert_by(&mut self, sort: Sort, slot: u32, rows: &Rows) {
        self.by(sort).insert(rows.rank(slot, sort), slot, before(rows, slot, sort));
    }

    /// Removes a row.
    pub(super) fn remove(&mut self, slot: u32, rows: &Rows) {
        for sort in EACH {
            self.remove_by(sort, slot, rows);
        }
    }

    /// Removes a row from one order.
    pub(super) fn remove_by(&mut self, sort: Sort, slot: u32, rows: &Rows) {
        self.by(sort).remove(slot, before(rows, slot, sort));
    }

    /// Prepares the move of a row from one slot to another.
    pub(super) fn renumber(&mut self, from: u32, to: u32, rows: &Rows) {
        for sort in EACH {
            self.by(sort).renumber(from, to, before(rows, from, sort));
        }
    }

    /// The slots in an order, after a place, without the first `left_out` of them.
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

/// One sort for each order; an order is kept one way and walked both ways.
const EACH: [Sort; 3] = [Sort::Created, Sort::Name, Sort::NextRun];

/// Whether a member of an order stands before a row.
fn before(rows: &Rows, row: u32, sort: Sort) -> impl Fn(i64, u32) -> bool {
    let (own, tie) = (rows.rank(row, sort), rows.tie(row, sort));
    move |rank, slot| rank < own || rank == own && rows.tie(slot, sort) < tie
}
