//! What a key of the bucket holds. Parsing a value is most of the work of taking it in, and can be done in
//! parallel.

use uuid::Uuid;

use super::record::{Unreadable, read_record};
use super::{Index, Reservation, schedule_id};
use crate::execution::Rerun;
use crate::names::{
    CALENDAR_KEY_PREFIX, GROUP_KEY_PREFIX, NAME_KEY_PREFIX, PAUSE_ALL_KEY, RERUN_KEY_PREFIX,
    SCHEDULE_KEY_PREFIX,
};
use crate::schedule::Group;
use crate::schedule::keyed::Keyed as _;
use crate::schedule::{Calendar, PausesOfAll, Schedule};
use crate::stored::damage::Damage;
use crate::trigger::Trigger;

/// Content of a key.
pub enum Told {
    /// The reservation of a name, if there is one.
    Name(Option<Reservation>),
    /// The record of a schedule, if there is one.
    Record(Option<Uuid>, Option<Result<Box<(Schedule, Trigger)>, Unreadable>>),
    /// The pauses of all schedules, if there were any.
    Pauses(Result<PausesOfAll, Damage>),
    /// A calendar, if there is one.
    Calendar(Option<Box<Result<Calendar, Damage>>>),
    /// A concurrency group, if there is one.
    Group(Option<Box<Result<Group, Damage>>>),
    /// A stored request to run executions again, if there is one.
    Rerun(Option<Box<Result<Rerun, Damage>>>),
    /// Nothing for the index: memos are read when they are needed, and a newer version's keys are its own.
    Nothing,
}

impl Told {
    /// Reads the value of a key, or its absence.
    pub fn read(key: &str, value: Option<&[u8]>) -> Self {
        if key.starts_with(NAME_KEY_PREFIX) {
            return Self::Name(Reservation::read(value));
        }
        if key == PAUSE_ALL_KEY {
            return Self::Pauses(
                value.map_or_else(|| Ok(PausesOfAll::default()), PausesOfAll::parse),
            );
        }
        if key.starts_with(CALENDAR_KEY_PREFIX) {
            return Self::Calendar(value.map(|value| Box::new(Calendar::read(value))));
        }
        if key.starts_with(GROUP_KEY_PREFIX) {
            return Self::Group(value.map(|value| Box::new(Group::read(value))));
        }
        if key.starts_with(RERUN_KEY_PREFIX) {
            return Self::Rerun(value.map(|value| Box::new(Rerun::read(value))));
        }
        if !key.starts_with(SCHEDULE_KEY_PREFIX) {
            return Self::Nothing;
        }
        let id = schedule_id(key);
        Self::Record(id, value.map(|value| read_record(id, value).map(Box::new)))
    }
}

impl Index {
    /// Takes in the value of a key: a stored record, or `None` if the key was deleted.
    pub fn apply(&self, key: &str, revision: u64, value: Option<&[u8]>) {
        if schedule_id(key).is_some_and(|id| self.knows(id, revision)) {
            return;
        }
        self.take_in(key, revision, Told::read(key, value));
    }

    /// Takes in the content of a key.
    pub fn take_in(&self, key: &str, revision: u64, told: Told) {
        let (id, record) = match told {
            Told::Name(reservation) => return self.reserve(key, revision, reservation),
            Told::Record(id, record) => (id, record),
            Told::Pauses(held) => return self.take_in_held_pauses(key, revision, held),
            Told::Calendar(held) => {
                return self.take_in_calendar(key, revision, held.map(|held| *held));
            }
            Told::Group(held) => {
                return self.take_in_group(key, revision, held.map(|held| *held));
            }
            Told::Rerun(held) => {
                return self.take_in_rerun(key, revision, held.map(|held| *held));
            }
            Told::Nothing => return,
        };
        if id.is_some_and(|id| self.knows(id, revision)) {
            return;
        }
        match (id, record) {
            (Some(id), None) => self.remove(id, revision),
            (None, None) => self.forget_aside(key, revision),
            (Some(_), Some(Ok(record))) => {
                let (schedule, trigger) = *record;
                self.insert(super::Entry { revision, schedule: schedule.into(), trigger });
            }
            (id, Some(Ok(_))) => {
                let reason = "the key is not schedule.<uuid>".to_owned();
                self.refuse(id, key, revision, reason.into());
            }
            (Some(_), Some(Err(Unreadable::Newer(newer)))) => self.leave(revision, *newer),
            (id, Some(Err(Unreadable::Broken(damage)))) => self.refuse(id, key, revision, damage),
            (None, Some(Err(Unreadable::Newer(newer)))) => {
                self.refuse(None, key, revision, newer.reason.into());
            }
        }
    }
}
