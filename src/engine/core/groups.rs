//! Schedules that wait for a slot of their group, in the order in which they get one.
//!
//! Each instance knows how many slots of a group are free, and has the same order: the higher priority first, then what
//! was due first. As many schedules at its head as there are free slots are admitted: it is their turn to claim, on the
//! instance that goes first with them. Whether they get a slot is decided by the conditional write that takes it.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Core, Outlook};
use crate::index::Entry;
use crate::plan::{wake_at, wants_slot_at};
use crate::stored::Shared;

/// A place in the order: priority, since when it is due, and which schedule.
type Place = (Reverse<u8>, DateTime<Utc>, Uuid);

/// A schedule that waits for a slot.
pub(super) struct Waits {
    group: Shared<String>,
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
        let wants = wants_slot_at(schedule, outlook);
        let group = schedule.spec.group.as_ref().filter(|_| wants.is_some_and(|at| at <= now));
        let (Some(group), Some(since)) = (group, wants) else {
            self.leave_line(id);
            return [other, wants].into_iter().flatten().min();
        };
        self.join_line(group, (Reverse(schedule.spec.priority), since, id), now, outlook);
        let admitted = self.admitted_since(id);
        [other, admitted.map(|at| at.max(since))].into_iter().flatten().min()
    }

    /// Since when it is a schedule's turn to take a slot.
    pub(super) fn admitted_since(&self, id: Uuid) -> Option<DateTime<Utc>> {
        self.slots.get(id)?.waits.as_ref()?.admitted
    }

    fn join_line(
        &mut self,
        group: &Shared<String>,
        place: Place,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) {
        let id = place.2;
        let stands = self.slots.get(id).and_then(|state| state.waits.as_ref());
        if stands.is_none_or(|waits| waits.group != *group || waits.place != place) {
            self.leave_line(id);
            let waits = Waits { group: group.clone(), place, admitted: None };
            self.state(id).waits = Some(Box::new(waits));
            let line = self.groups.waiting.entry((**group).clone()).or_default();
            line.insert(place);
            // Whom it pushes back may have been admitted.
            self.groups.moved.insert((**group).clone());
        }
        let room = outlook.group_room(group);
        let line = self.groups.waiting.get(group.as_str());
        let is_first = line.is_some_and(|line| line.iter().take(room).any(|one| *one == place));
        if let Some(waits) = &mut self.state(id).waits {
            waits.admitted = is_first.then(|| waits.admitted.unwrap_or(now));
        }
    }

    /// Takes a schedule out of the line that it stands in, if it does.
    pub(super) fn leave_line(&mut self, id: Uuid) {
        let Some(waits) = self.slots.get_mut(id).and_then(|state| state.waits.take()) else {
            return;
        };
        let Waits { group, place, .. } = *waits;
        if let Some(line) = self.groups.waiting.get_mut(group.as_str()) {
            line.remove(&place);
            if line.is_empty() {
                self.groups.waiting.remove(group.as_str());
            }
        }
        self.groups.moved.insert((*group).clone());
    }

    /// Notes that slots of any groups have been taken or freed.
    pub(super) fn note_groups(&mut self) {
        let waiting = self.groups.waiting.keys().cloned();
        self.groups.moved.extend(waiting);
    }

    /// Looks at the schedules whose turn it is now.
    pub(super) fn admit(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        while let Some(group) = self.groups.moved.pop_first() {
            let room = outlook.group_room(&group);
            let Some(line) = self.groups.waiting.get(&group) else { continue };
            let first: Vec<_> = line.iter().take(room).map(|(_, _, id)| *id).collect();
            for id in first {
                let waits = self.slots.get(id).and_then(|state| state.waits.as_ref());
                if waits.is_some_and(|waits| waits.admitted.is_none()) {
                    self.look(id, now, outlook);
                }
            }
        }
    }
}
