//! Concurrency groups: schedules that name one have at most so many executions under way at once, on all instances together.
//!
//! A group is one key of the bucket, which holds its bound and its slots; so one conditional write compares both. A slot
//! names an execution, and the revision of its schedule's record that the claim is to be written at. It is taken before
//! the claim is written, and stays until the record no longer has the execution.
//!
//! # When a slot is free again
//!
//! The claim is conditional on the revision in the slot. So if the record has a later revision and does not have the
//! execution under way, the claim was made and is settled, or can never be made: whoever sees such a record may free the
//! slot. While the record still has that very revision, the claim may be on its way; then the record is first written
//! anew, unchanged, which refuses the claim ([`SlotState::Pending`]).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::keyed::{Keyed as _, keyed, not_a_name};
use super::length::check_description;
use super::{Author, Change, ChangeKind, FieldFault, Phase, Schedule};
use crate::names::group_key;
use crate::stored::{Unknown, keeps_unknown};

/// The lowest format whose instances know groups.
pub const GROUPS_NEED: u16 = 6;
/// Highest bound of a group.
pub const MAX_GROUP_LIMIT: u16 = 1000;

/// The value of a group's key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Group {
    /// The format of the version that wrote it.
    pub format: u16,
    /// The lowest format that may go by it.
    pub needs: u16,
    /// Its id, which its events carry.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Most executions under way at once; 0 holds all of them.
    pub limit: u16,
    /// How often users have changed it.
    pub revision: u64,
    /// Random, new for each write, to recognise one's own.
    pub token: u64,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Who created it.
    pub created_by: String,
    /// When a user last changed it.
    pub updated_at: DateTime<Utc>,
    /// Who last changed it.
    pub updated_by: String,
    /// Whether it was deleted; then the key stays only until its events are announced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_deleted: bool,
    /// Executions that are under way, or about to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub slots: Vec<Slot>,
    /// When there was last room again. What had to wait is not late before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room_since: Option<DateTime<Utc>>,
    /// Ids of the latest changes: they tell one whose acknowledgement was lost that it was made.
    #[serde(default)]
    pub recent: Vec<Uuid>,
    /// Changes that are not yet known to be in the audit stream.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Change>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// The place of one execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Slot {
    /// The execution.
    pub execution_id: Uuid,
    /// Its schedule.
    pub schedule_id: Uuid,
    /// The revision of the schedule's record that its claim is written at, if it is not claimed yet.
    pub revision: u64,
    /// The instance that took it.
    pub by: Uuid,
    /// When it was taken.
    pub at: DateTime<Utc>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Group, Slot);
keyed!(Group, "group", needs GROUPS_NEED, key group_key);

/// Whether an execution has a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It has one.
    Yes,
    /// There is none left, or no such group.
    Full,
    /// It was taken for a later revision of the record: the claim would be refused.
    Stale,
}

/// What a schedule's record says of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotState {
    /// Its execution is under way.
    Used,
    /// Its execution is not under way, and will not be by this slot.
    Over,
    /// Its execution is not under way, and may be about to be claimed.
    Pending,
}

impl Slot {
    /// What a schedule's record at a revision says of this slot; `None` for a record that is gone.
    pub fn state(&self, record: Option<(&Schedule, u64)>) -> SlotState {
        let Some((schedule, revision)) = record else { return SlotState::Over };
        match () {
            () if schedule.has_under_way(self.execution_id) => SlotState::Used,
            () if revision > self.revision => SlotState::Over,
            () => SlotState::Pending,
        }
    }
}

impl Schedule {
    /// Slots for all that is under way, by its record at a revision.
    pub fn seats(&self, revision: u64, by: Uuid, at: DateTime<Utc>) -> impl Iterator<Item = Slot> {
        let ids = self.attempts.iter().map(|attempt| attempt.execution_id);
        ids.filter(|id| self.has_under_way(*id)).map(move |execution_id| Slot {
            execution_id,
            schedule_id: self.id,
            revision,
            by,
            at,
            unknown: Unknown::default(),
        })
    }

    /// Whether an execution is claimed, with a worker, or ended and not yet settled.
    pub fn has_under_way(&self, execution: Uuid) -> bool {
        let mut attempts = self.attempts.iter().filter(|one| one.execution_id == execution);
        attempts.any(|one| {
            matches!(
                *one.phase,
                Phase::Claimed { .. } | Phase::Running { .. } | Phase::Reported { .. }
            )
        })
    }
}

/// What a request says of a group.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PutGroup {
    /// Required: its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// Required: most executions of its schedules that are under way at once; 0 holds all of them.
    #[schemars(range(max = 1000), example = 2)]
    pub limit: Option<u64>,
    /// For people.
    #[schemars(length(max = 1000))]
    pub description: Option<String>,
    /// The revision that is to be replaced; 0 if there must be none.
    pub expected_revision: Option<u64>,
}

/// What a group is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Its name.
    pub name: String,
    /// Most executions under way at once.
    pub limit: u16,
    /// For people.
    pub description: Option<String>,
}

impl PutGroup {
    /// What the group is to be, checked.
    ///
    /// # Errors
    /// Every fault of every field.
    pub fn bound(&self) -> Result<Bound, Vec<FieldFault>> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, reason: String| faults.push(FieldFault::new(field, reason));
        let name = self.name.clone().unwrap_or_default();
        let no_name = || Some("is required".to_owned());
        if let Some(reason) = self.name.as_deref().map_or_else(no_name, not_a_name) {
            fault("name", reason);
        }
        let limit = self.limit.map(|limit| u16::try_from(limit).unwrap_or(u16::MAX));
        match limit {
            None => fault("limit", "is required".to_owned()),
            Some(limit) if limit > MAX_GROUP_LIMIT => {
                fault("limit", format!("must be at most {MAX_GROUP_LIMIT}"));
            }
            Some(_) => {}
        }
        check_description(self.description.as_deref(), &mut faults);
        let description = self.description.clone().filter(|text| !text.is_empty());
        match faults.is_empty() {
            true => Ok(Bound { name, limit: limit.unwrap_or_default(), description }),
            false => Err(faults),
        }
    }
}

impl Group {
    /// How many more executions may be under way.
    pub fn room(&self) -> usize {
        usize::from(self.limit).saturating_sub(self.slots.len())
    }

    /// Whether it is there and says this already.
    pub fn says(&self, bound: &Bound) -> bool {
        !self.is_deleted && self.limit == bound.limit && self.description == bound.description
    }

    /// Gives an execution a slot, if there is room. One that has a slot keeps it, for the claim that is to be made now; the
    /// revision in it never goes back.
    pub fn take(&mut self, slot: &Slot) -> Taken {
        if let Some(has) = self.slot_mut(slot.execution_id) {
            if has.revision > slot.revision {
                return Taken::Stale;
            }
            if has.revision < slot.revision {
                *has = Slot { unknown: std::mem::take(&mut has.unknown), ..slot.clone() };
            }
            return Taken::Yes;
        }
        if self.room() == 0 || self.is_deleted {
            return Taken::Full;
        }
        self.slots.push(slot.clone());
        Taken::Yes
    }

    /// Frees a slot as it was seen. One that was taken again since stays.
    pub fn free(&mut self, seen: &Slot, now: DateTime<Utc>) {
        let was_full = self.room() == 0;
        self.slots.retain(|slot| {
            slot.execution_id != seen.execution_id || slot.revision != seen.revision
        });
        self.note_room(was_full, now);
    }

    /// Gives an execution that is under way already a slot, whether there is room or not.
    pub fn seat(&mut self, slot: Slot) {
        if self.slot(slot.execution_id).is_none() {
            self.slots.push(slot);
        }
    }

    fn note_room(&mut self, was_full: bool, now: DateTime<Utc>) {
        if was_full && self.room() > 0 {
            self.room_since = Some(self.room_since.map_or(now, |since| since.max(now)));
        }
    }

    /// The slot of an execution.
    pub fn slot(&self, execution: Uuid) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.execution_id == execution)
    }

    fn slot_mut(&mut self, execution: Uuid) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.execution_id == execution)
    }

    /// Gives it a bound; it is created if it is not there.
    pub fn put(&mut self, bound: Bound, event_id: Uuid, now: DateTime<Utc>, author: Author<'_>) {
        let is_new = self.revision == 0 || self.is_deleted;
        if is_new {
            (self.created_at, self.created_by) = (now, author.actor.to_owned());
        }
        let former = (!is_new).then_some(self.limit);
        let was_full = self.room() == 0;
        (self.limit, self.description, self.is_deleted) = (bound.limit, bound.description, false);
        self.note_room(was_full, now);
        let details = json!({
            "limit": self.limit, "former_limit": former, "description": self.description,
        });
        self.note(event_id, ChangeKind::GroupPut, now, author, details);
    }

    /// Deletes it. Its key goes once that is announced.
    pub fn delete(&mut self, event_id: Uuid, now: DateTime<Utc>, author: Author<'_>) {
        (self.limit, self.description, self.is_deleted) = (0, None, true);
        self.note(event_id, ChangeKind::GroupDeleted, now, author, json!({}));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).unwrap()
    }

    fn slot(execution: u128, revision: u64) -> Slot {
        Slot {
            execution_id: Uuid::from_u128(execution),
            schedule_id: Uuid::nil(),
            revision,
            by: Uuid::nil(),
            at: at(0),
            unknown: Unknown::default(),
        }
    }

    #[test]
    fn there_are_never_more_slots_than_the_bound_allows() {
        let mut group = Group { limit: 2, ..Group::default() };
        assert_eq!([group.take(&slot(1, 5)), group.take(&slot(2, 6))], [Taken::Yes; 2]);
        assert_eq!(group.take(&slot(3, 7)), Taken::Full);
        assert_eq!(group.take(&slot(1, 9)), Taken::Yes, "it has one");
        assert_eq!(group.take(&slot(1, 7)), Taken::Stale);
        assert_eq!((group.slots.len(), group.slot(Uuid::from_u128(1)).unwrap().revision), (2, 9));
        group.free(&slot(1, 5), at(1));
        assert_eq!((group.slots.len(), group.room_since), (2, None), "it was taken again");
        group.free(&slot(1, 9), at(2));
        assert_eq!((group.room(), group.room_since), (1, Some(at(2))));
        group.limit = 0;
        assert_eq!([group.take(&slot(3, 7)), group.take(&slot(2, 6))], [Taken::Full, Taken::Yes]);
        assert_eq!(group.room(), 0);
    }

    #[test]
    fn there_is_room_since_it_was_full_no_longer() {
        let mut group = Group { limit: 3, ..Group::default() };
        for n in 1..=3 {
            group.take(&slot(n, 5));
        }
        group.free(&slot(1, 5), at(1));
        group.free(&slot(2, 5), at(2));
        assert_eq!(group.room_since, Some(at(1)), "there was room before");
        group.limit = 0;
        group.free(&slot(3, 5), at(3));
        assert_eq!(group.room_since, Some(at(1)), "there is none now");
        group.seat(slot(7, 5));
        assert_eq!((group.slots.len(), group.room()), (1, 0), "it is under way already");
    }

    #[test]
    fn what_is_wrong_is_said_of_each_field() {
        let put = |json: serde_json::Value| {
            let put: PutGroup = serde_json::from_value(json).unwrap();
            let faults = put.bound().map_err(|faults| {
                faults.iter().map(|fault| fault.field.clone()).collect::<Vec<_>>()
            });
            faults.map(|bound| bound.limit)
        };
        assert_eq!(put(json!({ "name": "a", "limit": 0 })), Ok(0));
        assert_eq!(put(json!({ "name": "a", "limit": 1000 })), Ok(1000));
        let long = "x".repeat(1001);
        assert_eq!(
            put(json!({ "name": " a", "limit": 1001, "description": long })),
            Err(vec!["name".to_owned(), "limit".to_owned(), "description".to_owned()])
        );
        assert_eq!(put(json!({})), Err(vec!["name".to_owned(), "limit".to_owned()]));
    }

    #[test]
    fn a_group_is_read_as_it_was_written() {
        let author = Author { actor: "anna", correlation_id: "c" };
        let bound = Bound { name: "db".to_owned(), limit: 3, description: None };
        let mut group = Group { name: "db".to_owned(), ..Group::default() };
        group.put(bound.clone(), Uuid::from_u128(1), at(1), author);
        assert!(group.says(&bound) && group.take(&slot(1, 5)) == Taken::Yes);
        let stored = serde_json::to_vec(&group).unwrap();
        assert_eq!(Group::read(&stored).unwrap(), group);
        group.delete(Uuid::from_u128(2), at(2), author);
        assert!(!group.says(&bound) && group.take(&slot(2, 5)) == Taken::Full);
        assert_eq!((group.revision, group.events.len(), group.needs), (2, 2, GROUPS_NEED));
    }
}
