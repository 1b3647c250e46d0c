//! Lists of schedules, in parts.

use std::sync::Arc;

use uuid::Uuid;

use super::filter::ScheduleFilter;
use super::listed::Listed;
use super::page::{Listing, Selected};
use super::state::State;
use super::{Entry, Index};
use crate::schedule::Status;

/// Number of schedules collected before writers get a turn.
const AT_ONCE: usize = 1024;

/// A part of a list.
pub struct Found {
    /// The schedules, in order.
    pub entries: Vec<Arc<Entry>>,
    /// Total number of matches, wherever the part begins.
    pub total: usize,
    /// Whether more follow after the part.
    pub more: bool,
}

impl Index {
    /// Returns a part of a list.
    pub fn list(&self, listing: &Listing<'_>) -> Found {
        self.read(|state| state.list(listing))
    }

    /// The ids of the schedules that match, in no order; with `target` of those whose target command it is.
    pub fn select_ids(&self, filter: &ScheduleFilter, target: Option<&str>) -> Vec<Uuid> {
        self.read(|state| state.listed.rows.select(filter, target))
    }

    /// Keeps of some schedules those that match; with `target` those whose target command it is.
    pub fn retain_matching(
        &self,
        ids: &mut Vec<Uuid>,
        filter: &ScheduleFilter,
        target: Option<&str>,
    ) {
        self.read(|state| state.listed.rows.retain(ids, filter, target));
    }

    /// The ids of the schedules that match, each with its status, in no order.
    pub fn select_statuses(&self, filter: &ScheduleFilter) -> Vec<(Uuid, Status)> {
        self.read(|state| state.listed.rows.select_statuses(filter))
    }

    /// The schedules that match, by their ids. One that changes meanwhile is returned in its new state.
    pub fn select(&self, filter: &ScheduleFilter) -> Vec<Arc<Entry>> {
        let mut ids = self.select_ids(filter, None);
        // Here, not by what the ids of entries are: each would be a look at its record.
        ids.sort_unstable();
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(AT_ONCE) {
            self.read(|state| {
                let entries = ids.iter().filter_map(|id| state.entries.get(*id));
                found.extend(entries.filter(|entry| !entry.schedule.purge).cloned());
            });
        }
        found
    }
}

impl State {
    fn list(&self, listing: &Listing<'_>) -> Found {
        let Listing { filter, sort, after, offset, limit } = *listing;
        let Listed { ref rows, .. } = self.listed;
        let of_deleted = match filter.status {
            None => Some(false),
            Some(Status::Deleted) => Some(true),
            Some(_) => None,
        };
        if let Some(of_deleted) = of_deleted.filter(|_| filter.is_by_status()) {
            let orders = self.listed.orders(of_deleted);
            let ids = orders.walk(sort, after, offset, rows).map(|slot| rows.id(slot));
            let mut page = ids.filter_map(|id| self.entries.get(id).cloned());
            let entries = page.by_ref().take(limit).collect();
            return Found { entries, total: orders.len(), more: page.next().is_some() };
        }
        let Selected { ids, total, more } = rows.page(listing);
        let entries = ids.iter().filter_map(|id| self.entries.get(*id).cloned()).collect();
        Found { entries, total, more }
    }
}
