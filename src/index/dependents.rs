//! Which schedules follow which.

use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::Index;
use crate::schedule::{On, Schedule};

/// Dependent schedules that are not deleted, by the schedule that they follow.
#[derive(Default)]
pub(super) struct Dependents(HashMap<Uuid, HashSet<(Uuid, On)>>);

impl Dependents {
    /// Notes that a schedule was added, changed or removed.
    pub(super) fn arrange(&mut self, old: Option<&Schedule>, new: Option<&Schedule>) {
        self.change(old.and_then(follows), new.and_then(follows));
    }

    /// Notes the schedule that was followed before, and the one that is followed now.
    pub(super) fn change(&mut self, old: Option<Following>, new: Option<Following>) {
        if old == new {
            return;
        }
        if let Some((upstream, dependent)) = old
            && let Some(dependents) = self.0.get_mut(&upstream)
        {
            dependents.remove(&dependent);
            if dependents.is_empty() {
                self.0.remove(&upstream);
            }
        }
        if let Some((upstream, dependent)) = new {
            self.0.entry(upstream).or_default().insert(dependent);
        }
    }
}

/// A schedule, and one that follows it.
type Following = (Uuid, (Uuid, On));

fn follows(schedule: &Schedule) -> Option<Following> {
    let after = schedule.spec.timing.follows().filter(|_| schedule.is_live())?;
    Some((after.schedule_id, (schedule.id, after.on)))
}

impl Index {
    /// The schedules that follow another, and which of its ends they follow. They are in the order of
    /// creation, so that the engine, which tells them, draws the same random numbers in the same order.
    pub fn dependents(&self, upstream: Uuid) -> Vec<(Uuid, On)> {
        let mut found: Vec<_> = self.read(|state| {
            let found = state.dependents.0.get(&upstream);
            found.map(|dependents| dependents.iter().copied().collect()).unwrap_or_default()
        });
        found.sort_unstable_by_key(|(id, _)| *id);
        found
    }

    /// Whether a schedule is followed by others.
    pub fn is_followed(&self, id: Uuid) -> bool {
        self.read(|state| state.dependents.0.contains_key(&id))
    }

    /// Whether `start` follows `id`, directly or through others.
    pub fn leads_to(&self, start: Uuid, id: Uuid) -> bool {
        let (mut at, mut seen) = (start, HashSet::new());
        while seen.insert(at) {
            if at == id {
                return true;
            }
            let after = self.get(at).and_then(|entry| entry.schedule.spec.timing.follows());
            let Some(after) = after else { return false };
            at = after.schedule_id;
        }
        false
    }
}
