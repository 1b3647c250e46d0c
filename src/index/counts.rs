//! How many schedules there are, by what they are, and which of them have something under way. Both are kept in step with
//! every change: with a million schedules, looking at all of them for each question takes half a second.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::{Entry, Index};
use crate::schedule::{Schedule, ScheduleType, Status};

/// Numbers of schedules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All, by type and status.
    pub schedules: HashMap<(ScheduleType, Status), usize>,
    /// Those that are failing; deleted ones do not count.
    pub failing: usize,
    /// Those that are overdue.
    pub overdue: usize,
}

/// What a schedule counts as.
type Kind = (ScheduleType, Status, bool, bool);

/// Numbers of schedules that lists show, and those of all that have attempts.
#[derive(Default)]
pub(super) struct Tally {
    counts: Counts,
    /// Those that have attempts, by id as a number: as bytes ids would be compared by a call.
    busy: BTreeSet<u128>,
    /// Those that name a group or calendars.
    tied: BTreeSet<u128>,
}

impl Tally {
    /// Takes a schedule out as it was, and in as it is.
    pub(super) fn arrange(&mut self, old: Option<&Schedule>, new: Option<&Schedule>) {
        let (was, is) = (old.and_then(kind), new.and_then(kind));
        if was != is {
            was.inspect(|was| self.counts.remove(*was));
            is.inspect(|is| self.counts.add(*is));
        }
        keep(&mut self.busy, old, new, |schedule| !schedule.attempts.is_empty());
        keep(&mut self.tied, old, new, |schedule| {
            schedule.spec.group.is_some() || schedule.spec.timing.has_calendars()
        });
    }
}

/// Keeps a schedule among those for which something holds.
fn keep(
    among: &mut BTreeSet<u128>,
    old: Option<&Schedule>,
    new: Option<&Schedule>,
    holds: impl Fn(&Schedule) -> bool,
) {
    let [was, is] = [old, new].map(|schedule| schedule.filter(|schedule| holds(schedule)));
    match (was, is) {
        (Some(was), None) => drop(among.remove(&was.id.as_u128())),
        (None, Some(is)) => drop(among.insert(is.id.as_u128())),
        _ => {}
    }
}

/// What a schedule counts as, if lists show it.
fn kind(schedule: &Schedule) -> Option<Kind> {
    let (kind, status) = (schedule.spec.timing.schedule_type, *schedule.status);
    let is_there = status != Status::Deleted;
    let failing = is_there && schedule.failing_since().is_some();
    let overdue = is_there && schedule.overdue_since().is_some();
    (!schedule.purge).then_some((kind, status, failing, overdue))
}

impl Counts {
    fn add(&mut self, (kind, status, failing, overdue): Kind) {
        *self.schedules.entry((kind, status)).or_default() += 1;
        self.failing += usize::from(failing);
        self.overdue += usize::from(overdue);
    }

    fn remove(&mut self, (kind, status, failing, overdue): Kind) {
        if let Some(count) = self.schedules.get_mut(&(kind, status)) {
            *count -= 1;
            if *count == 0 {
                self.schedules.remove(&(kind, status));
            }
        }
        self.failing -= usize::from(failing);
        self.overdue -= usize::from(overdue);
    }
}

impl Index {
    /// Numbers of the schedules that lists show.
    pub fn counts(&self) -> Counts {
        self.read(|state| state.tally.counts.clone())
    }

    /// The schedules that have attempts, in the order of their ids.
    pub fn busy(&self) -> Vec<Arc<Entry>> {
        self.read(|state| {
            let ids = state.tally.busy.iter();
            ids.filter_map(|id| state.entries.get(Uuid::from_u128(*id)).cloned()).collect()
        })
    }

    /// The schedules that name a group or calendars and for which `holds` is true, in the order of their ids.
    pub fn tied(&self, holds: impl Fn(&Schedule) -> bool) -> Vec<Arc<Entry>> {
        self.read(|state| {
            let entries =
                state.tally.tied.iter().filter_map(|id| state.entries.get(Uuid::from_u128(*id)));
            entries.filter(|entry| holds(&entry.schedule)).cloned().collect()
        })
    }
}
