//! Schedules that lists show: a row for each, and their orders.

use super::Entry;
use super::orders::Orders;
use super::place::Sort;
use super::rows::{Rows, due, is_alike};
use crate::schedule::Schedule;

/// All schedules that lists show.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) rows: Rows,
    /// Schedules that are not deleted, in every order.
    live: Orders,
    /// Schedules that were deleted softly, in every order.
    deleted: Orders,
}

impl Listed {
    /// The orders of the deleted schedules, or of those that are not deleted.
    pub fn orders(&self, deleted: bool) -> &Orders {
        if deleted { &self.deleted } else { &self.live }
    }

    /// Notes that a schedule was added, changed or removed.
    pub fn arrange(&mut self, old: Option<&Schedule>, new: Option<&Entry>) {
        match (old, new) {
            (Some(old), Some(new)) if is_alike(old, &new.schedule) => self.update(old, new),
            (old, new) => {
                old.inspect(|old| self.remove(old));
                new.inspect(|new| self.insert(new));
            }
        }
    }

    fn insert(&mut self, entry: &Entry) {
        let slot = self.rows.push(entry);
        let Self { rows, live, deleted } = self;
        pick(live, deleted, !entry.schedule.is_live()).insert(slot, rows);
    }

    fn remove(&mut self, schedule: &Schedule) {
        let Some(slot) = self.rows.slot(schedule.id) else { return };
        let Self { rows, live, deleted } = self;
        pick(live, deleted, !schedule.is_live()).remove(slot, rows);
        let last = rows.last();
        if last != slot {
            pick(live, deleted, rows.is_deleted(last)).renumber(last, slot, rows);
        }
        rows.swap_remove(slot);
    }

    /// Takes in a change; most are the next time and nothing else.
    fn update(&mut self, old: &Schedule, entry: &Entry) {
        let new = &*entry.schedule;
        let Some(slot) = self.rows.slot(new.id) else { return };
        let Self { rows, live, deleted } = self;
        let (was_deleted, is_deleted) = (!old.is_live(), !new.is_live());
        if was_deleted != is_deleted {
            pick(live, deleted, was_deleted).remove(slot, rows);
            rows.update(slot, entry);
            pick(live, deleted, is_deleted).insert(slot, rows);
        } else if due(old) != due(new) {
            let orders = pick(live, deleted, is_deleted);
            orders.remove_by(Sort::NextRun, slot, rows);
            rows.update(slot, entry);
            orders.insert_by(Sort::NextRun, slot, rows);
        } else {
            rows.update(slot, entry);
        }
    }
}

fn pick<'a>(live: &'a mut Orders, deleted: &'a mut Orders, is_deleted: bool) -> &'a mut Orders {
    if is_deleted { deleted } else { live }
}
