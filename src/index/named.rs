//! Schedules by name.

use uuid::Uuid;

use super::Index;
use super::listed::Listed;
use super::place::{Place, Sort};
use super::rows::Rows;
use crate::schedule::slips;

/// Maximum number of names that one search for a similar one compares: it must not take long.
const COMPARED: usize = 20_000;

impl Index {
    /// The schedule of a creator with a name that is not deleted.
    pub fn named(&self, creator: &str, name: &str) -> Option<Uuid> {
        self.read(|state| state.listed.of_creator(creator, name, false).next())
    }

    /// The first `most` schedules of a creator with a name that were deleted softly.
    pub fn deleted_named(&self, creator: &str, name: &str, most: usize) -> Vec<Uuid> {
        self.read(|state| state.listed.of_creator(creator, name, true).take(most).collect())
    }

    /// The first `most` creators of schedules with a name that are not deleted.
    pub fn creators_of(&self, name: &str, most: usize) -> Vec<String> {
        self.read(|state| {
            let slots = state.listed.namesakes(name, false);
            let ids = slots.map(|slot| state.listed.rows.id(slot));
            let entries = ids.filter_map(|id| state.entries.get(id));
            entries.map(|entry| String::clone(&entry.schedule.created_by)).take(most).collect()
        })
    }

    /// At most `most` names of a creator's schedules that resemble a name, the nearest first.
    pub fn near(&self, creator: &str, name: &str, most: usize) -> Vec<String> {
        self.read(|state| state.listed.rows.near(creator, name, most))
    }
}

impl Listed {
    /// Slots of the schedules of any creator with a name: those that are deleted, or the others.
    fn namesakes<'a>(&'a self, name: &'a str, deleted: bool) -> impl Iterator<Item = u32> + 'a {
        let before = Place::before_name(name);
        let slots = self.orders(deleted).walk(Sort::Name, Some(&before), 0, &self.rows);
        slots.take_while(|slot| self.rows.name_of(*slot) == name.as_bytes())
    }

    /// The same, of one creator. Others may have thousands of that name, so records are not looked at.
    fn of_creator<'a>(
        &'a self,
        creator: &str,
        name: &'a str,
        deleted: bool,
    ) -> impl Iterator<Item = Uuid> + 'a {
        let creator = self.rows.creators.number(creator);
        let slots = creator.into_iter().flat_map(move |creator| {
            let slots = self.namesakes(name, deleted);
            slots.filter(move |slot| self.rows.rows[*slot as usize].creator == creator)
        });
        slots.map(|slot| self.rows.id(slot))
    }
}

impl Rows {
    fn name_of(&self, slot: u32) -> &[u8] {
        self.name(&self.rows[slot as usize])
    }

    fn near(&self, creator: &str, name: &str, most: usize) -> Vec<String> {
        let Some(creator) = self.creators.number(creator) else { return Vec::new() };
        let given = name.to_lowercase();
        let slots = (0..).zip(&self.rows).filter(|(_, row)| row.creator == creator);
        let live = slots.filter(|(slot, _)| !self.is_deleted(*slot)).take(COMPARED);
        let mut near: Vec<(usize, &[u8])> = live
            .filter_map(|(_, row)| {
                let word = std::str::from_utf8(self.lower_name(row)).ok()?;
                Some((slips(&given, word)?, self.name(row)))
            })
            .collect();
        near.sort_unstable();
        near.dedup();
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        near.into_iter().take(most).map(|(_, name)| text(name)).collect()
    }
}
