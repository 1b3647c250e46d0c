//! What operations on calendars and groups have in common.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::{ApiError, Code};
use super::reply::{Pagination, Reply};
use super::{Api, CHANGE_TRIES, Caller, WRITE_PATIENCE};
use crate::history_index::Page;
use crate::index::{At, Entry};
use crate::jetstream::WriteError;
use crate::port::Nats;
use crate::schedule::keyed::{Keyed, Known, MAX_NAME};
use crate::schedule::{FieldFault, Schedule};

/// Most calendars, and most groups.
const MOST: usize = 1000;
/// Most schedules that an error names.
const MAX_NAMED: usize = 10;
/// Most schedules that a reply names.
const MAX_SHOWN: usize = 100;

/// What a request to put a calendar or a group did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PutOutcome {
    /// It was created.
    Created,
    /// It was changed.
    Changed,
    /// It said that already.
    Unchanged,
}

/// A schedule that uses a calendar, or names a group.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UsingSchedule {
    /// Its id.
    pub schedule_id: Uuid,
    /// Its name.
    pub schedule_name: String,
    /// Number of its executions that wait for a slot of the group, if any do.
    #[serde(default)]
    pub waiting: Option<usize>,
}

/// The first of those that use a calendar or name a group: those that wait, each in the order of their names.
pub(super) fn shown(
    users: &[Arc<Entry>],
    waiting: impl Fn(&Schedule) -> usize,
) -> Vec<UsingSchedule> {
    let view = |user: &Arc<Entry>| UsingSchedule {
        schedule_id: user.schedule.id,
        schedule_name: user.schedule.spec.name.to_string(),
        waiting: Some(waiting(&user.schedule)).filter(|count| *count > 0),
    };
    let mut views: Vec<_> = users.iter().map(view).collect();
    let place = |view: &UsingSchedule| (view.waiting.is_none(), view.schedule_name.clone());
    views.sort_by_cached_key(place);
    views.truncate(MAX_SHOWN);
    views
}

impl<N: Nats> Api<N> {
    /// Changes a calendar or a group until a write is accepted, once: a change whose acknowledgement was lost is recognised.
    /// Nothing is written if the change says so by an inner error. Returns it and its key's revision.
    pub(super) async fn change_keyed<T: Keyed>(
        &self,
        name: &str,
        expected: Option<u64>,
        mut change: impl FnMut(Option<T>, Uuid) -> Result<Result<T, T>, ApiError>,
    ) -> Result<(T, u64), ApiError> {
        let (event_id, deadline) = (self.chance.id(), Instant::now() + WRITE_PATIENCE);
        for _ in 0..CHANGE_TRIES {
            let (known, at): (Option<T>, At) = self.store.read_keyed(name).await?;
            if let Some(made) = known.as_ref().filter(|known| known.has_made(event_id)) {
                return Ok((made.clone(), at.revision));
            }
            check_expected(known.as_ref(), expected)?;
            if known.as_ref().is_some_and(Keyed::is_full) {
                let message = "too many changes wait until the audit stream takes them; try again";
                return Err(ApiError::new(Code::Unavailable, message));
            }
            let mut changed = match change(known, event_id)? {
                Ok(changed) => changed,
                Err(unchanged) => return Ok((unchanged, at.revision)),
            };
            changed.sign(self.chance.number());
            match self.store.write_keyed(&changed, at, deadline).await {
                Ok(revision) => return Ok((changed, revision)),
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }

    /// A calendar or a group, as the bucket's leader has it.
    pub(super) async fn read_named<T: Keyed>(&self, name: &str) -> Result<T, ApiError> {
        let (known, _) = self.store.read_keyed::<T>(name).await?;
        known.filter(|known| !known.head().is_deleted).ok_or_else(|| no_such::<T>(name))
    }

    /// Deletes a calendar or a group, once, unless `delete` refuses that; returns it.
    pub(super) async fn delete_keyed<T: Keyed>(
        &self,
        name: &str,
        expected: Option<u64>,
        delete: impl Fn(&mut T, Uuid) -> Result<(), ApiError>,
    ) -> Result<T, ApiError> {
        // Whether it is used goes by memory.
        self.must_catch_up().await?;
        let mut seen = None;
        let change = |known: Option<T>, event_id| {
            let Some(mut known) = known.filter(|known| !known.head().is_deleted) else {
                // It was there: this change was made, and is announced already, or another's was.
                return seen.take().map(Err).ok_or_else(|| no_such::<T>(name));
            };
            let before = known.clone();
            delete(&mut known, event_id)?;
            seen = Some(before);
            Ok(Ok(known))
        };
        let (gone, revision) = self.change_keyed(name, expected, change).await?;
        // Then a request that comes next does not find it.
        self.wait_until_seen(revision).await;
        Ok(gone)
    }
}

/// A page of all, by their names.
pub(super) fn listed<T: Keyed, V>(
    all: &Known<T>,
    (number, page): (usize, Page),
    view: impl Fn(&T) -> V,
    caller: &Caller,
) -> Reply<Vec<V>> {
    let mut all: Vec<_> = all.iter().collect();
    all.sort_by(|one, other| one.head().name.cmp(other.head().name));
    let shown = all.iter().skip(page.offset).take(page.limit);
    let mut reply = Reply::new(shown.map(|one| view(one)).collect(), caller);
    reply.pagination = Some(Pagination::new(number, page.limit, all.len() as u64));
    reply
}

fn check_expected<T: Keyed>(known: Option<&T>, expected: Option<u64>) -> Result<(), ApiError> {
    let there = known.filter(|known| !known.head().is_deleted);
    let there = there.map_or(0, |known| known.head().revision);
    match expected.filter(|expected| *expected != there) {
        None => Ok(()),
        Some(expected) => {
            let message = format!("the {} is at revision {there}, not {expected}", T::KIND);
            let mut error = ApiError::new(Code::Conflict, message);
            error.details = vec![FieldFault::new("revision", there.to_string())];
            Err(error)
        }
    }
}

/// Checks that there may be one more.
pub(super) fn check_count<T: Keyed>(count: usize) -> Result<(), ApiError> {
    if count < MOST {
        return Ok(());
    }
    let message = format!("there are {MOST} {}s already, which is the limit", T::KIND);
    Err(ApiError::new(Code::LimitExceeded, message))
}

/// Checks that no schedule uses what is to be deleted.
pub(super) fn check_unused<T: Keyed>(name: &str, users: &[Arc<Entry>]) -> Result<(), ApiError> {
    if users.is_empty() {
        return Ok(());
    }
    let mut names: Vec<_> = users.iter().map(|user| user.schedule.spec.name.as_ref()).collect();
    names.sort_unstable();
    let shown = names.iter().take(MAX_NAMED).map(|name: &&str| format!("{name:?}"));
    let mut shown = shown.collect::<Vec<_>>().join(", ");
    if names.len() > MAX_NAMED {
        shown += " and others";
    }
    let use_it = if names.len() == 1 { "schedule uses" } else { "schedules use" };
    let message = format!("{} {use_it} the {} {name:?}: {shown}", names.len(), T::KIND);
    Err(ApiError::new(Code::Conflict, message))
}

/// The name of an existing calendar or group. Only its length is checked: any other odd name is simply not found.
pub(super) fn required_name(name: Option<String>) -> Result<String, ApiError> {
    let reason = match &name {
        None => "is required".to_owned(),
        Some(name) if !(1..=MAX_NAME).contains(&name.chars().count()) => {
            format!("must have 1 to {MAX_NAME} characters")
        }
        Some(_) => return Ok(name.unwrap_or_default()),
    };
    Err(vec![FieldFault::new("name", reason)].into())
}

/// The error of a name that nothing of its kind has.
fn no_such<T: Keyed>(name: &str) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no {} {name:?}", T::KIND))
}
