//! Schedules that wait for a slot of their group, in the order in which they get one.
//!
//! Each instance knows how many slots of a group are free, and has the same order: the higher priority first, then what
//! was due first. As many schedules at its head as there are free slots are admitted: it is their turn to claim, on the
//! instance that goes first with them. Whether they get a slot is decided by the conditional write that takes it. Who has to
//! wait for something else meanwhile, such as the rate of its target, keeps its place and is passed over.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Core, Outlook};
use crate::index::Entry;
use crate::plan::{plan, wake_at, wants_slot};
use crate::stored::Pooled;

/// A place in the order: priority, since when it is due, and which schedule.
type Place = (Reverse<u8>, DateTime<Utc>, Uuid);

/// A schedule that waits for a slot.
pub(super) struct Waits {
    group: Pooled<String>,
    place: Place,
    /// Since when it is its turn, if it is.
    admitted: Option<DateTime<Utc>>,
}

/// The schedules that wait, by group.
#[derive(Default)]
pub(super) struct Groups {
    waiting: BTreeMap<String, BTreeSet<Place>>,
    /// Groups in which others may have their turn now.
    moved: BTreeSet<String>,
    /// Groups whose line became longer or shorter since it was last asked.
    resized: BTreeSet<String>,
}

impl<A> Core<A> {
    /// When a schedule needs attention next. One that could use a slot of its group waits in line for that.
    pub(super) fn wake(
        &mut self,
        entry: &Entry,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Option<DateTime<Utc>> {
        let (id, schedule) = (entry.schedule.id, &entry.schedule);
        let other = wake_at(schedule, outlook);
        let wants = wants_slot(schedule, outlook);
        let group = schedule.spec.group.as_ref().filter(|_| wants.is_some_and(|it| it.at <= now));
        let (Some(group), Some(wanted)) = (group, wants) else {
            self.leave_line(id);
            return other.into_iter().chain(wants.map(|wanted| wanted.at)).min();
        };
        let stands = self.table.get(id).and_then(|state| state.waits.as_ref());
        let stands = stands.filter(|waits| waits.group == *group).map(|waits| waits.place.1);
        let since = wanted.since.or(stands).unwrap_or(now);
        self.join_line(group, (Reverse(schedule.spec.priority), since, id));
        let held = self.held_until(id, now);
        let is_first = held.is_none() && self.is_first(entry, now, outlook);
        if let Some(waits) = &mut self.state(id).waits {
            waits.admitted = is_first.then(|| waits.admitted.unwrap_or(now));
        }
        let admitted = self.admitted_since(id).map(|at| at.max(wanted.at));
        [other, admitted, held].into_iter().flatten().min()
    }

    /// Since when it is a schedule's turn to take a slot.
    pub(super) fn admitted_since(&self, id: Uuid) -> Option<DateTime<Utc>> {
        self.table.get(id)?.waits.as_ref()?.admitted
    }

    /// Whether it is a schedule's turn: as many are as there are free slots, besides one that has its slot already.
    fn is_first(&self, entry: &Entry, now: DateTime<Utc>, outlook: &impl Outlook) -> bool {
        let id = entry.schedule.id;
        let Some(waits) = self.table.get(id).and_then(|state| state.waits.as_ref()) else {
            return false;
        };
        let room = outlook.group_room(&waits.group);
        self.first(&waits.group, room, now).contains(&id) || has_slot(entry, now, outlook)
    }

    /// The first in the line of a group, without those that wait for something else.
    fn first(&self, group: &str, count: usize, now: DateTime<Utc>) -> Vec<Uuid> {
        let is_held = |id: &Uuid| {
            let held = self.table.get(*id).and_then(|state| state.not_before);
            held.is_some_and(|later| later > now)
        };
        let line = self.groups.waiting.get(group).into_iter().flatten();
        line.map(|(_, _, id)| *id).filter(|id| !is_held(id)).take(count).collect()
    }

    fn join_line(&mut self, group: &Pooled<String>, place: Place) {
        let id = place.2;
        let stands = self.table.get(id).and_then(|state| state.waits.as_ref());
        if stands.is_some_and(|waits| waits.group == *group && waits.place == place) {
            return;
        }
        self.leave_line(id);
        let waits = Waits { group: group.clone(), place, admitted: None };
        self.state(id).waits = Some(Box::new(waits));
        self.groups.waiting.entry((**group).clone()).or_default().insert(place);
        self.groups.resized.insert((**group).clone());
        // Whom it pushes back may have been admitted.
        self.groups.moved.insert((**group).clone());
    }

    /// Notes that a schedule has to wait for something besides a slot: others may have their turn.
    pub(super) fn pass_over(&mut self, id: Uuid) {
        if let Some(waits) = self.table.get(id).and_then(|state| state.waits.as_ref()) {
            self.groups.moved.insert((*waits.group).clone());
        }
    }

    /// Takes a schedule out of the line that it stands in, if it does.
    pub(super) fn leave_line(&mut self, id: Uuid) {
        let Some(waits) = self.table.get_mut(id).and_then(|state| state.waits.take()) else {
            return;
        };
        let Waits { group, place, .. } = *waits;
        if let Some(line) = self.groups.waiting.get_mut(group.as_str()) {
            line.remove(&place);
            if line.is_empty() {
                self.groups.waiting.remove(group.as_str());
            }
        }
        self.groups.resized.insert((*group).clone());
        self.groups.moved.insert((*group).clone());
    }

    /// How many schedules wait for a slot of each group whose line became longer or shorter since this was last asked.
    pub(crate) fn resized_lines(&mut self) -> impl Iterator<Item = (String, usize)> {
        let resized = std::mem::take(&mut self.groups.resized);
        let lines = &self.groups.waiting;
        resized.into_iter().map(|group| {
            let waiting = lines.get(&group).map_or(0, BTreeSet::len);
            (group, waiting)
        })
    }

    /// Notes that slots of any groups have been taken or freed.
    pub(super) fn note_groups(&mut self) {
        let waiting = self.groups.waiting.keys().cloned();
        self.groups.moved.extend(waiting);
    }

    /// Whether others may have their turn now.
    pub(super) fn others_may_go(&self) -> bool {
        !self.groups.moved.is_empty()
    }

    /// Looks at the schedules whose turn it is now.
    pub(super) fn admit(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        while let Some(group) = self.groups.moved.pop_first() {
            for id in self.first(&group, outlook.group_room(&group), now) {
                let waits = self.table.get(id).and_then(|state| state.waits.as_ref());
                if waits.is_some_and(|waits| waits.admitted.is_none()) {
                    self.look(id, now, outlook);
                }
            }
        }
    }
}

/// Whether the execution that a schedule would claim now has a slot already: its claim did not get through.
fn has_slot(entry: &Entry, now: DateTime<Utc>, outlook: &impl Outlook) -> bool {
    let schedule = &entry.schedule;
    let group = schedule.spec.group.as_ref();
    let Some(group) = group.filter(|group| outlook.has_slot(group, schedule.id)) else {
        return false;
    };
    let plan = plan(schedule, &entry.trigger, now, outlook, outlook.lease(&schedule.spec));
    let first = plan.as_ref().and_then(|plan| plan.fire.first());
    first.is_some_and(|attempt| outlook.holds_slot(group, attempt.execution_id, entry.revision))
}
