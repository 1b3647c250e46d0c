//! Schedules in the order in which they go on after a moment, found without a look at their records.

use std::collections::BinaryHeap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::filter::ScheduleFilter;
use super::place::nanos;
use super::rhythms::Onward;
use super::rows::Rows;
use super::wanted::Wanted;
use super::{Entry, Index};
use crate::moment::Moment as _;

/// The schedules that go on after a moment.
pub(super) struct Later {
    /// Conditions that they meet.
    pub(super) filter: ScheduleFilter,
    /// The first time that counts.
    pub(super) since: DateTime<Utc>,
    /// Of schedules with ids up to this one, only what is later counts.
    pub(super) passed: Option<Uuid>,
    /// The last time that counts.
    pub(super) until: DateTime<Utc>,
}

/// A time from which on a schedule may have occurrences that count, in nanoseconds, and its id.
pub(super) type Onset = (i64, Uuid);

/// A schedule, and the time from which on it may have occurrences.
pub(super) type Begins = (DateTime<Utc>, Arc<Entry>);

impl Index {
    /// The first of these schedules behind an onset, in the order of their onsets; and the last of those, if there are more.
    pub(super) fn later(
        &self,
        later: &Later,
        behind: Option<Onset>,
        limit: usize,
    ) -> (Vec<Begins>, Option<Onset>) {
        self.read(|state| {
            let (found, more) = state.listed.rows.later(later, behind, limit);
            let last = found.last().copied().filter(|_| more);
            let entries = found.into_iter().filter_map(|(at, id)| {
                let entry = state.entries.get(id)?;
                Some((DateTime::from_timestamp_nanos(at), Arc::clone(entry)))
            });
            (entries.collect(), last)
        })
    }

    /// How many schedules that are not deleted have their next time in this span, its end excluded.
    pub(super) fn due_in(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> usize {
        self.read(|state| {
            let orders = state.listed.orders(false);
            orders.due_before(nanos(to)).saturating_sub(orders.due_before(nanos(from)))
        })
    }
}

impl Rows {
    fn later(&self, asked: &Later, behind: Option<Onset>, limit: usize) -> (Vec<Onset>, bool) {
        let Some(wanted) = Wanted::new(&asked.filter, self) else { return (Vec::new(), false) };
        let mut onward = Onward::new(&self.rhythms, asked.since.just_before());
        let mut beyond = Onward::new(&self.rhythms, asked.since);
        let (since, until) = (nanos(asked.since), nanos(asked.until));
        let (mut best, mut more) = (BinaryHeap::new(), false);
        for slot in self.matching(&wanted) {
            let next = self.rows[slot as usize].next_run_at;
            let rhythm = self.rhythm(slot);
            let mut first = onward.first(rhythm, next);
            if first > until {
                continue;
            }
            let is_full = best.len() >= limit;
            if is_full && best.peek().is_some_and(|(worst, _)| *worst < first) {
                more = true;
                continue;
            }
            let id = self.id(slot);
            if first <= since && asked.passed.is_some_and(|passed| id <= passed) {
                first = beyond.first(rhythm, next);
            }
            let onset = (first, id);
            if first > until || behind.is_some_and(|behind| onset <= behind) {
                continue;
            }
            best.push(onset);
            if is_full {
                best.pop();
                more = true;
            }
        }
        (best.into_sorted_vec(), more)
    }
}
