//! Which rows name a concurrency group or a calendar. Those of one name are found without a look at the others: people ask
//! for the few schedules of a group, among a million.

use std::collections::{BTreeSet, HashMap};

use super::filter::ScheduleFilter;
use super::intern::Interner;
use crate::schedule::Schedule;

/// The rows of each group and each calendar.
#[derive(Default)]
pub(super) struct Ties {
    /// Each group and each calendar as a text: a letter for what it is, and its name.
    pub(super) texts: Interner,
    /// The slots of the rows, by the number of what they name.
    slots: HashMap<u32, BTreeSet<u32>>,
}

impl Ties {
    /// The numbers of what a schedule names, each once.
    pub fn hold(&mut self, schedule: &Schedule) -> Vec<u32> {
        let mut texts: Vec<_> = texts_of(schedule).collect();
        texts.sort_unstable();
        texts.dedup();
        texts.iter().map(|text| self.texts.hold(text)).collect()
    }

    /// Notes that a row names these.
    pub fn add(&mut self, slot: u32, ties: &[u32]) {
        for tie in ties {
            self.slots.entry(*tie).or_default().insert(slot);
        }
    }

    /// Notes that there is no such row any more.
    pub fn remove(&mut self, slot: u32, ties: &[u32]) {
        for tie in ties {
            if let Some(slots) = self.slots.get_mut(tie) {
                slots.remove(&slot);
                if slots.is_empty() {
                    self.slots.remove(tie);
                }
            }
        }
    }

    /// Releases the numbers of what a schedule named.
    pub fn release(&mut self, ties: &[u32]) {
        for tie in ties {
            self.texts.release(*tie);
        }
    }

    /// The numbers that a filter wants; `None` if no row has all of them.
    pub fn wanted(&self, filter: &ScheduleFilter) -> Option<Vec<u32>> {
        let group = filter.group.as_deref().map(group);
        let calendar = filter.calendar.as_deref().map(calendar);
        group.into_iter().chain(calendar).map(|text| self.texts.number(&text)).collect()
    }

    /// The fewest slots that hold all rows with these; `None` if that is all rows.
    pub fn fewest(&self, ties: &[u32]) -> Option<&BTreeSet<u32>> {
        ties.iter().filter_map(|tie| self.slots.get(tie)).min_by_key(|slots| slots.len())
    }
}

fn texts_of(schedule: &Schedule) -> impl Iterator<Item = String> + '_ {
    let named = schedule.spec.group.as_deref().map(|name| group(name));
    named.into_iter().chain(schedule.spec.timing.calendars().map(calendar))
}

fn group(name: &str) -> String {
    format!("g{name}")
}

fn calendar(name: &str) -> String {
    format!("c{name}")
}
