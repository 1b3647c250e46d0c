//! Pages of matching rows, found without sorting all matches.

use std::cmp::Ordering;

use uuid::Uuid;

use super::filter::ScheduleFilter;
use super::place::{Place, Sort};
use super::rows::Rows;
use super::wanted::Wanted;
use crate::schedule::Status;

/// Minimum number of rows collected before those that are not on the page are dropped.
const ROOM: usize = if cfg!(test) { 4 } else { 1024 };

/// The schedules to list, and the part of them to return.
pub struct Listing<'a> {
    /// Conditions that they meet.
    pub filter: &'a ScheduleFilter,
    /// Their order.
    pub sort: Sort,
    /// Only schedules after this place.
    pub after: Option<&'a Place>,
    /// Number of schedules to leave out.
    pub offset: usize,
    /// Maximum number of schedules to return.
    pub limit: usize,
}

/// Ids of a page, the total number of matches, and whether more follow after the page.
#[derive(Default)]
pub(super) struct Selected {
    pub(super) ids: Vec<Uuid>,
    pub(super) total: usize,
    pub(super) more: bool,
}

/// A row and its rank in an order; [`Rows::tie`] decides between equal ranks.
#[derive(Clone, Copy)]
struct Candidate {
    rank: i64,
    slot: u32,
}

impl Rows {
    /// Ids of the matching schedules, in no order; with a target of those that have it.
    pub fn select(&self, filter: &ScheduleFilter, target: Option<&str>) -> Vec<Uuid> {
        let Some(wanted) = Wanted::with(filter, target, self) else { return Vec::new() };
        self.matching(&wanted).map(|slot| self.id(slot)).collect()
    }

    /// Keeps of some schedules those that match.
    pub fn retain(&self, ids: &mut Vec<Uuid>, filter: &ScheduleFilter, target: Option<&str>) {
        let Some(wanted) = Wanted::with(filter, target, self) else { return ids.clear() };
        let is_wanted = |slot: u32| wanted.matches(&self.rows[slot as usize], self);
        ids.retain(|id| self.slot(*id).is_some_and(is_wanted));
    }

    /// Ids of the matching schedules with their statuses, in no order.
    pub fn select_statuses(&self, filter: &ScheduleFilter) -> Vec<(Uuid, Status)> {
        let Some(wanted) = Wanted::new(filter, self) else { return Vec::new() };
        let found = self.matching(&wanted);
        found.filter_map(|slot| Some((self.id(slot), self.status(slot)?))).collect()
    }

    /// A page of the matching schedules.
    pub fn page(&self, listing: &Listing<'_>) -> Selected {
        let Listing { filter, sort, after, offset, limit } = *listing;
        let Some(wanted) = Wanted::new(filter, self) else { return Selected::default() };
        let end = offset.saturating_add(limit);
        let (keep, after) = (end.max(1), after.map(|place| (place.rank(), place.tie())));
        let room = keep.saturating_mul(2).max(ROOM);
        let (mut total, mut behind) = (0, 0);
        let (mut best, mut worst) = (Vec::new(), None);
        for slot in self.matching(&wanted) {
            total += 1;
            let candidate = Candidate { rank: self.rank(slot, sort), slot };
            if after.is_some_and(|(rank, tie)| {
                let order = candidate.rank.cmp(&rank);
                order.then_with(|| self.tie(slot, sort).cmp(&tie)) != sort.forward()
            }) {
                continue;
            }
            behind += 1;
            if worst.is_some_and(|worst| self.compare(&candidate, &worst, sort).is_gt()) {
                continue;
            }
            best.push(candidate);
            if best.len() == room {
                worst = Some(self.first(&mut best, keep, sort));
            }
        }
        if best.len() > keep {
            self.first(&mut best, keep, sort);
        }
        let page = self.behind(&mut best, offset, sort);
        page.sort_unstable_by(|a, b| self.compare(a, b, sort));
        let ids = page.iter().take(limit).map(|candidate| self.id(candidate.slot)).collect();
        Selected { ids, total, more: behind > end }
    }

    /// The slots of the rows that match.
    pub fn matching<'a>(&'a self, wanted: &'a Wanted<'_>) -> impl Iterator<Item = u32> + 'a {
        let few = self.ties.fewest(&wanted.ties);
        let tied = few.into_iter().flatten().map(|slot| (*slot, &self.rows[*slot as usize]));
        let all = (0..).zip(&self.rows).take(if few.is_some() { 0 } else { usize::MAX });
        let rows = tied.chain(all);
        rows.filter(|(_, row)| wanted.matches(row, self)).map(|(slot, _)| slot)
    }

    /// Keeps only the first `keep` of more candidates, in no order, and returns the last of them.
    fn first(&self, best: &mut Vec<Candidate>, keep: usize, sort: Sort) -> Candidate {
        let (_, last, _) = best.select_nth_unstable_by(keep - 1, |a, b| self.compare(a, b, sort));
        let last = *last;
        best.truncate(keep);
        last
    }

    /// All candidates but the first `offset`, in no order.
    fn behind<'a>(
        &self,
        best: &'a mut [Candidate],
        offset: usize,
        sort: Sort,
    ) -> &'a mut [Candidate] {
        if offset >= best.len() {
            return &mut [];
        }
        if offset > 0 {
            best.select_nth_unstable_by(offset, |a, b| self.compare(a, b, sort));
        }
        &mut best[offset..]
    }

    fn compare(&self, a: &Candidate, b: &Candidate, sort: Sort) -> Ordering {
        let order = a.rank.cmp(&b.rank);
        let order = order.then_with(|| self.tie(a.slot, sort).cmp(&self.tie(b.slot, sort)));
        if sort.is_down() { order.reverse() } else { order }
    }
}
