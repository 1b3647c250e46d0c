//! Operations on concurrency groups.
//!
//! A change is one conditional write of the group's key, which also holds the slots. So from the accepted write on nothing
//! is begun beyond the new bound, whatever instances know; the reply waits only until all of them know the group, so that
//! a request that comes next finds it wherever it goes.
//!
//! | crash | what is left | what happens |
//! |---|---|---|
//! | before the write | nothing | the caller asks again |
//! | after the write | a group with a change to announce | any instance announces it |
//! | after a deletion, before it is announced | a key that says so | any instance announces it and removes the key |

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::{ApiError, Code};
use super::honoured;
use super::keyed::{
    PutOutcome, UsingSchedule, check_count, check_unused, listed, required_name, shown,
};
use super::reply::Reply;
use super::schedules::page;
use super::{Api, CHANGE_TRIES, Caller, WRITE_PATIENCE};
use crate::index::Entry;
use crate::jetstream::WriteError;
use crate::port::Nats;
use crate::schedule::declared::page_fields;
use crate::schedule::keyed::Keyed as _;
use crate::schedule::{Attempt, GROUPS_NEED, Group, PutGroup, Schedule, Slot};

/// A request for a group.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetGroup {
    /// Required: its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
}

/// A request to delete a group.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteGroup {
    /// Required: its name.
    #[schemars(length(min = 1, max = 100))]
    pub name: Option<String>,
    /// The revision that it must have.
    pub expected_revision: Option<u64>,
}

page_fields! { request {
    /// A request for all groups, in the order of their names.
    pub struct ListGroups {}
} }

/// An execution that has a slot of a group.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotView {
    /// The execution.
    pub execution_id: Uuid,
    /// Its schedule.
    pub schedule_id: Uuid,
    /// The schedule's name, if it is still there.
    #[serde(default)]
    pub schedule_name: Option<String>,
    /// When it took the slot.
    pub since: DateTime<Utc>,
}

/// A concurrency group.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupView {
    /// Its id, which its events carry.
    pub group_id: Uuid,
    /// Its name.
    pub name: String,
    /// For people.
    #[serde(default)]
    pub description: Option<String>,
    /// Most executions under way at once; 0 holds all of them.
    pub limit: u16,
    /// How often users have changed it: 1 when it is created.
    pub revision: u64,
    /// Number of slots that are taken: executions under way, or about to be. More than `limit` only after it was
    /// lowered.
    pub running: usize,
    /// Number of executions that are due and wait for a slot, or for one before them.
    pub waiting: usize,
    /// The executions that have a slot; not in lists.
    #[serde(default)]
    pub slots: Option<Vec<SlotView>>,
    /// Number of schedules that name it, without deleted ones.
    pub used_by: usize,
    /// The first 100 of them, those that wait before the others, by name; not in lists.
    #[serde(default)]
    pub schedules: Option<Vec<UsingSchedule>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// Who created it.
    pub created_by: String,
    /// When a user last changed it.
    pub updated_at: DateTime<Utc>,
    /// Who last changed it.
    pub updated_by: String,
}

/// A group that was put.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupPut {
    /// What was done.
    pub outcome: PutOutcome,
    /// The group, without its slots.
    pub group: GroupView,
    /// Instances that have not said in time that they know it.
    pub unconfirmed: Vec<Uuid>,
}

/// A group that was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GroupDeleted {
    /// Its id.
    pub group_id: Uuid,
    /// Its name.
    pub name: String,
    /// When.
    pub deleted_at: DateTime<Utc>,
}

impl<N: Nats> Api<N> {
    /// Creates a group, or changes its bound. Nothing is begun beyond it from the reply on; what is under way goes on.
    ///
    /// # Errors
    /// `invalid`, `conflict` (`expected_revision`), `limit_exceeded`, `unavailable`.
    pub async fn put_group(
        &self,
        request: PutGroup,
        caller: &Caller,
    ) -> Result<Reply<GroupPut>, ApiError> {
        let bound = request.bound()?;
        let (actor, mut outcome) = (caller.actor(), PutOutcome::Unchanged);
        let (group, revision) = self
            .change_keyed(
                &bound.name,
                request.expected_revision,
                |group: Option<Group>, event_id| {
                    if group.is_none() {
                        check_count::<Group>(self.index.groups().iter().count())?;
                    }
                    let is_new = group.as_ref().is_none_or(|group| group.is_deleted);
                    let mut group = group.unwrap_or_else(|| Group {
                        id: self.chance.id(),
                        name: bound.name.clone(),
                        ..Group::default()
                    });
                    outcome = match is_new {
                        true => PutOutcome::Created,
                        false if group.says(&bound) => return Ok(Err(group)),
                        false => PutOutcome::Changed,
                    };
                    group.put(bound.clone(), event_id, self.clock.now(), caller.author(&actor));
                    if is_new {
                        self.seat_all(&mut group);
                    }
                    Ok(Ok(group))
                },
            )
            .await?;
        let mut unconfirmed = Vec::new();
        if outcome != PutOutcome::Unchanged {
            caller.permit.waits();
            // Others leave schedules with groups alone.
            unconfirmed = self.honoured_by_all(revision, GROUPS_NEED).await;
            let (name, limit) = (&group.name, group.limit);
            tracing::info!(group = name, limit, updated_by = actor, ?outcome, "group put");
        }
        let warnings =
            honoured::warnings(&unconfirmed, "it knows the group as it is now").collect();
        let group = self.view_group(&group, &self.members_of(&group.name), false);
        let mut reply = Reply::new(GroupPut { outcome, group, unconfirmed }, caller);
        reply.warnings = warnings;
        Ok(reply)
    }

    /// Returns a group with the executions that have its slots, as the bucket's leader has it.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unavailable`.
    pub async fn get_group(
        &self,
        request: GetGroup,
        caller: &Caller,
    ) -> Result<Reply<GroupView>, ApiError> {
        let name = required_name(request.name)?;
        let group: Group = self.read_named(&name).await?;
        self.catch_up().await;
        Ok(Reply::new(self.view_group(&group, &self.members_of(&name), true), caller))
    }

    /// Returns all groups, page by page, without their slots.
    ///
    /// # Errors
    /// `invalid`.
    pub async fn list_groups(
        &self,
        request: ListGroups,
        caller: &Caller,
    ) -> Result<Reply<Vec<GroupView>>, ApiError> {
        let page = page(request.page, request.limit)?;
        self.catch_up().await;
        let members = self.index.tied(|schedule| is_member(schedule, None));
        let view = |group: &Group| self.view_group(group, &members, false);
        Ok(listed(&self.index.groups(), page, view, caller))
    }

    /// Deletes a group that no schedule names.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `conflict` (schedules name it; `expected_revision`), `unavailable`.
    pub async fn delete_group(
        &self,
        request: DeleteGroup,
        caller: &Caller,
    ) -> Result<Reply<GroupDeleted>, ApiError> {
        let name = required_name(request.name)?;
        let actor = caller.actor();
        let now = self.clock.now();
        let delete = |group: &mut Group, event_id| {
            check_unused::<Group>(&name, &self.members_of(&name))?;
            check_idle(group)?;
            group.delete(event_id, now, caller.author(&actor));
            Ok(())
        };
        let group = self.delete_keyed(&name, request.expected_revision, delete).await?;
        tracing::info!(group = name, deleted_by = actor, "group deleted");
        Ok(Reply::new(GroupDeleted { group_id: group.id, name, deleted_at: now }, caller))
    }

    /// Gives what is under way of schedules that already name a group its slots: the group was lost, or unreadable.
    fn seat_all(&self, group: &mut Group) {
        let now = self.clock.now();
        for entry in self.members_of(&group.name) {
            let seats = entry.schedule.seats(entry.revision, self.instance, now);
            seats.for_each(|slot| group.seat(slot));
        }
    }

    /// Gives what is under way of a schedule that is about to come to a group its slots, before the record is written.
    ///
    /// # Errors
    /// `unavailable`.
    pub(super) async fn seat(&self, schedule: &Schedule, revision: u64) -> Result<(), ApiError> {
        let Some(name) = schedule.spec.group.as_deref() else { return Ok(()) };
        let (now, deadline) = (self.clock.now(), Instant::now() + WRITE_PATIENCE);
        for _ in 0..CHANGE_TRIES {
            let (group, at) = self.store.read_keyed::<Group>(name).await?;
            // Without the group nothing begins; who makes it anew gives out the slots.
            let Some(mut group) = group else { return Ok(()) };
            let before = group.slots.len();
            schedule.seats(revision, self.instance, now).for_each(|slot| group.seat(slot));
            if group.slots.len() == before {
                return Ok(());
            }
            group.sign(self.chance.number());
            match self.store.write_keyed(&group, at, deadline).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }

    /// The schedules that name a group, without deleted ones.
    fn members_of(&self, name: &str) -> Vec<Arc<Entry>> {
        self.index.tied(|schedule| is_member(schedule, Some(name)))
    }

    fn view_group(&self, group: &Group, members: &[Arc<Entry>], whole: bool) -> GroupView {
        let now = self.clock.now();
        let schedules = whole.then(|| shown(members, |schedule| waiting(schedule, now)));
        let members = members.iter().filter(|entry| is_member(&entry.schedule, Some(&group.name)));
        let waiting = members.clone().map(|entry| waiting(&entry.schedule, now)).sum();
        let slot = |slot: &Slot| SlotView {
            execution_id: slot.execution_id,
            schedule_id: slot.schedule_id,
            schedule_name: self
                .index
                .get(slot.schedule_id)
                .map(|entry| entry.schedule.spec.name.to_string()),
            since: slot.at,
        };
        GroupView {
            group_id: group.id,
            name: group.name.clone(),
            description: group.description.clone(),
            limit: group.limit,
            revision: group.revision,
            running: group.slots.len(),
            waiting,
            slots: whole.then(|| group.slots.iter().map(slot).collect()),
            used_by: members.count(),
            schedules,
            created_at: group.created_at,
            created_by: group.created_by.clone(),
            updated_at: group.updated_at,
            updated_by: group.updated_by.clone(),
        }
    }
}

/// Whether a schedule that is not deleted names a group, or this one.
fn is_member(schedule: &Schedule, group: Option<&str>) -> bool {
    let names = schedule.spec.group.as_deref();
    schedule.is_live() && names.is_some_and(|name| group.is_none_or(|group| group == name))
}

/// Checks that nothing has a slot: a group of that name that is made anew would not know of it.
fn check_idle(group: &Group) -> Result<(), ApiError> {
    let message = match group.slots.len() {
        0 => return Ok(()),
        1 => "an execution still has a slot of it".to_owned(),
        running => format!("{running} executions still have slots of it"),
    };
    Err(ApiError::new(Code::Conflict, message))
}

/// How many attempts of a schedule are due and wait.
fn waiting(schedule: &Schedule, now: DateTime<Utc>) -> usize {
    let waits = |attempt: &&Attempt| {
        let is_due = attempt.waits_until().is_some_and(|due_at| due_at <= now);
        is_due && (attempt.is_by_hand() || schedule.fires())
    };
    schedule.attempts.iter().filter(waits).count()
}
