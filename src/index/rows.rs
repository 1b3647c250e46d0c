//! Packed fields that filters look at: one short row for each schedule, one behind the other.
//!
//! A filter looks at every schedule, for the exact total. Following each one to its record, its name and its
//! tags would wait for memory several times per schedule; reading rows and names in sequence is some ten
//! times as fast, and writers wait for it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use hashbrown::HashTable;
use uuid::Uuid;

use super::Entry;
use super::intern::Interner;
use super::place::{MAX_LEN, NEVER, Sort, beginning, name_rank, nanos};
use super::pool::{Pool, number, reserve};
use super::rhythms::Rhythms;
use super::ties::Ties;
use crate::every::every;
use crate::schedule::{Ending, Schedule, ScheduleType, Status};

const STATUSES: [Status; 5] = every!(Status: Active, Paused, Completed, Failed, Deleted);

/// All schedules that lists show, in no order.
#[derive(Default)]
pub(super) struct Rows {
    pub(super) rows: Vec<Row>,
    /// Heads of the same schedules.
    pub(super) heads: Vec<Head>,
    /// Slots by id; the ids are in the heads.
    slots: HashTable<u32>,
    hasher: RandomState,
    pub(super) creators: Interner,
    pub(super) owners: Interner,
    pub(super) targets: Interner,
    pub(super) tags: Interner,
    pub(super) ties: Ties,
    pub(super) rhythms: Rhythms,
    /// Numbers of the rhythms of the same schedules.
    rhythm_numbers: Vec<u32>,
    names: Pool<u8>,
    /// Of each row its tags, and behind them its ties.
    tag_numbers: Pool<u32>,
}

/// Fields that filters look at.
pub(super) struct Row {
    /// Next time in nanoseconds.
    pub(super) next_run_at: i64,
    name_at: u32,
    tags_at: u32,
    name_len: u16,
    /// Length of the name in lower case, which follows the name; 0 if both are the same.
    lower_len: u16,
    tags_len: u16,
    ties_len: u16,
    pub(super) creator: u32,
    /// The empty text for nobody.
    pub(super) owner: u32,
    pub(super) target: u32,
    /// One bit each for the status, the type, the latest outcome if there is one, and for whether it is failing,
    /// overdue and active.
    pub(super) kind: u32,
}

/// Fields that only orders look at.
pub(super) struct Head {
    pub(super) id: Uuid,
    /// Time of creation in nanoseconds.
    pub(super) created_at: i64,
}

impl Rows {
    /// The slot of a schedule's row.
    pub fn slot(&self, id: Uuid) -> Option<u32> {
        let is_it = |slot: &u32| self.heads[*slot as usize].id == id;
        self.slots.find(self.hasher.hash_one(id), is_it).copied()
    }

    /// The schedule of a row.
    pub fn id(&self, slot: u32) -> Uuid {
        self.heads[slot as usize].id
    }

    /// Whether the schedule of a row is deleted.
    pub fn is_deleted(&self, slot: u32) -> bool {
        self.rows[slot as usize].kind & status_bit(Status::Deleted) != 0
    }

    /// The status of the schedule of a row.
    pub fn status(&self, slot: u32) -> Option<Status> {
        let kind = self.rows[slot as usize].kind;
        STATUSES.into_iter().find(|status| kind & status_bit(*status) != 0)
    }

    /// The number of the rhythm of the schedule of a row.
    pub fn rhythm(&self, slot: u32) -> u32 {
        self.rhythm_numbers[slot as usize]
    }

    /// Adds a row, for a schedule that has none. Returns its slot.
    pub fn push(&mut self, entry: &Entry) -> u32 {
        let schedule = &*entry.schedule;
        let spec = &schedule.spec;
        let (name_at, tags_at) = (self.names.end(), self.tag_numbers.end());
        let name = beginning(&spec.name);
        let lower = Some(name.to_lowercase()).filter(|lower| lower != name);
        let lower = lower.unwrap_or_default();
        let lower = beginning(&lower);
        self.names.extend(name.as_bytes());
        self.names.extend(lower.as_bytes());
        let mut tags: Vec<u32> = Vec::with_capacity(spec.tags.len());
        for (n, tag) in spec.tags.iter().enumerate().take(MAX_LEN) {
            if !spec.tags[..n].contains(tag) {
                tags.push(self.tags.hold(tag));
            }
        }
        let ties = self.ties.hold(schedule);
        self.tag_numbers.extend(&tags);
        self.tag_numbers.extend(&ties);
        let slot = number(self.rows.len());
        self.ties.add(slot, &ties);
        reserve(&mut self.rows, 1);
        self.rows.push(Row {
            next_run_at: due(schedule),
            name_at,
            tags_at,
            name_len: length(name.len()),
            lower_len: length(lower.len()),
            tags_len: length(tags.len()),
            ties_len: length(ties.len()),
            creator: self.creators.hold(&schedule.created_by),
            owner: self.owners.hold(owner(schedule)),
            target: self.targets.hold(spec.target_command.as_str()),
            kind: kind(schedule),
        });
        reserve(&mut self.rhythm_numbers, 1);
        self.rhythm_numbers.push(self.rhythms.hold(entry));
        reserve(&mut self.heads, 1);
        self.heads.push(Head { id: schedule.id, created_at: nanos(schedule.created_at) });
        let hash = self.hasher.hash_one(schedule.id);
        let rehash = |slot: &u32| self.hasher.hash_one(self.heads[*slot as usize].id);
        self.slots.insert_unique(hash, slot, rehash);
        slot
    }

    /// Updates the fields of a schedule that often change.
    pub fn update(&mut self, slot: u32, new: &Entry) {
        let row = &mut self.rows[slot as usize];
        (row.next_run_at, row.kind) = (due(&new.schedule), kind(&new.schedule));
        let rhythm = &mut self.rhythm_numbers[slot as usize];
        *rhythm = self.rhythms.changed(*rhythm, new);
    }

    /// The slot of the last row, which takes the place of one that is removed.
    pub fn last(&self) -> u32 {
        number(self.rows.len().saturating_sub(1))
    }

    /// Removes a row.
    pub fn swap_remove(&mut self, slot: u32) {
        let last = self.last();
        for (id, from, to) in [
            (self.heads[slot as usize].id, slot, None),
            (self.heads[last as usize].id, last, Some(slot).filter(|slot| *slot != last)),
        ] {
            let hash = self.hasher.hash_one(id);
            match (self.slots.find_entry(hash, |found| *found == from), to) {
                (Ok(mut found), Some(to)) => *found.get_mut() = to,
                (Ok(found), None) => drop(found.remove()),
                (Err(_), _) => {}
            }
        }
        self.untie(slot, last);
        let row = self.rows.swap_remove(slot as usize);
        self.heads.swap_remove(slot as usize);
        self.rhythms.release(self.rhythm_numbers.swap_remove(slot as usize));
        self.creators.release(row.creator);
        self.owners.release(row.owner);
        self.targets.release(row.target);
        for tag in self.tag_numbers.run(row.tags_at, row.tags_len) {
            self.tags.release(*tag);
        }
        self.names.forget(row.both());
        self.tag_numbers.forget(row.numbers());
        if self.names.is_wasteful() {
            let runs = self.rows.iter_mut();
            self.names.compact(runs.map(|r| {
                let len = r.both();
                (&mut r.name_at, len)
            }));
        }
        if self.tag_numbers.is_wasteful() {
            let runs = self.rows.iter_mut();
            self.tag_numbers.compact(runs.map(|r| {
                let len = r.numbers();
                (&mut r.tags_at, len)
            }));
        }
    }

    /// Removes the ties of a row; the last takes its place.
    fn untie(&mut self, slot: u32, last: u32) {
        let Self { rows, tag_numbers, ties, .. } = self;
        let of = |slot: u32| rows.get(slot as usize).map_or(&[][..], |row| tied(tag_numbers, row));
        ties.remove(slot, of(slot));
        ties.release(of(slot));
        if last != slot {
            ties.remove(last, of(last));
            ties.add(slot, of(last));
        }
    }

    /// Rank of a row in an order; [`Rows::tie`] decides between equal ranks.
    pub fn rank(&self, slot: u32, sort: Sort) -> i64 {
        let slot = slot as usize;
        match sort {
            Sort::Created | Sort::CreatedDown => self.heads[slot].created_at,
            Sort::Name | Sort::NameDown => name_rank(self.name(&self.rows[slot])),
            Sort::NextRun | Sort::NextRunDown => self.rows[slot].next_run_at,
        }
    }

    /// Decides between equal ranks.
    pub fn tie(&self, slot: u32, sort: Sort) -> (&[u8], Uuid) {
        let slot = slot as usize;
        let by_name = matches!(sort, Sort::Name | Sort::NameDown);
        let name = if by_name { self.name(&self.rows[slot]) } else { &[] };
        (name, self.heads[slot].id)
    }

    /// The name of a schedule.
    pub fn name(&self, row: &Row) -> &[u8] {
        self.names.run(row.name_at, row.name_len)
    }

    /// The name of a schedule in lower case.
    pub fn lower_name(&self, row: &Row) -> &[u8] {
        match row.lower_len {
            0 => self.name(row),
            len => self.names.run(row.name_at + u32::from(row.name_len), len),
        }
    }

    /// The tags of a schedule, each once.
    pub fn tags(&self, row: &Row) -> &[u32] {
        self.tag_numbers.run(row.tags_at, row.tags_len)
    }

    /// The group and the calendars that a schedule names.
    pub fn ties(&self, row: &Row) -> &[u32] {
        tied(&self.tag_numbers, row)
    }
}

fn tied<'a>(numbers: &'a Pool<u32>, row: &Row) -> &'a [u32] {
    numbers.run(row.tags_at + u32::from(row.tags_len), row.ties_len)
}

fn length(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

impl Row {
    /// Length of the name in both forms, one behind the other.
    fn both(&self) -> u16 {
        self.name_len + self.lower_len
    }

    /// Number of tags and ties.
    fn numbers(&self) -> u16 {
        self.tags_len + self.ties_len
    }
}

/// Whether two schedules differ in nothing but the fields that [`Rows::update`] sets.
pub(super) fn is_alike(old: &Schedule, new: &Schedule) -> bool {
    let (a, b) = (&old.spec, &new.spec);
    let texts = || a.name == b.name && a.target_command == b.target_command;
    let ties = || a.group == b.group && a.timing.calendars().eq(b.timing.calendars());
    let alike = || texts() && a.tags == b.tags && a.owner == b.owner && ties();
    old.created_at == new.created_at
        && old.created_by == new.created_by
        && (Arc::ptr_eq(a, b) || alike())
}

/// When a schedule is due next, in nanoseconds.
pub(super) fn due(schedule: &Schedule) -> i64 {
    schedule.next_run_at.map_or(NEVER, nanos)
}

fn owner(schedule: &Schedule) -> &str {
    schedule.spec.owner.as_deref().map_or("", String::as_str)
}

fn kind(schedule: &Schedule) -> u32 {
    status_bit(*schedule.status)
        | type_bit(schedule.spec.timing.schedule_type)
        | schedule.last_outcome().map_or(0, outcome_bit)
        | failing_bit(schedule.failing_since().is_some())
        | overdue_bit(schedule.overdue_since().is_some())
        | active_bit(schedule.is_active)
}

/// The bit of a status.
pub(super) fn status_bit(status: Status) -> u32 {
    1 << (status as u32)
}

/// The bit of a type.
pub(super) fn type_bit(kind: ScheduleType) -> u32 {
    1 << (8 + kind as u32)
}

/// The bit of an outcome.
pub(super) fn outcome_bit(outcome: Ending) -> u32 {
    1 << (16 + outcome as u32)
}

/// The bit of failing schedules, or of those that are not.
pub(super) fn failing_bit(failing: bool) -> u32 {
    1 << (26 + u32::from(failing))
}

/// The bit of overdue schedules, or of those that are not.
pub(super) fn overdue_bit(overdue: bool) -> u32 {
    1 << (28 + u32::from(overdue))
}

/// The bit of active schedules, or of those that are not.
pub(super) fn active_bit(active: bool) -> u32 {
    1 << (30 + u32::from(active))
}

#[cfg(test)]
impl Rows {
    /// Numbers of rows, creators, owners, targets, tags, of groups and calendars, and of rhythms.
    pub fn counts(&self) -> [usize; 7] {
        let [creators, owners, targets, tags, ties] =
            [&self.creators, &self.owners, &self.targets, &self.tags, &self.ties.texts]
                .map(|texts| texts.beginning("").len());
        assert_eq!((self.rows.len(), self.rows.len()), (self.heads.len(), self.slots.len()));
        assert_eq!(self.rows.len(), self.rhythm_numbers.len());
        [self.rows.len(), creators, owners, targets, tags, ties, self.rhythms.len()]
    }
}
