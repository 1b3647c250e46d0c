//! Lookup of one schedule.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{Links, Reply, ScheduleView};
use super::super::{Api, Caller};
use super::limit::SEEN_WITHIN;
use crate::index::Entry;
use crate::port::Nats;
use crate::schedule::Schedule;
use crate::schedule::declared::which_fields;

/// Maximum time for memory to catch up.
pub(super) const CAUGHT_UP_WITHIN: Duration = Duration::from_millis(200);
/// Number of rendered schedules that are kept.
const KEPT: usize = 1024;

/// A schedule rendered as JSON, as [`ScheduleView`] shows it.
#[derive(Clone, Debug, Serialize)]
pub struct ShownSchedule(Arc<RawValue>);

impl ShownSchedule {
    fn new(schedule: &Schedule) -> Result<Self, ApiError> {
        let shown = to_raw_value(&ScheduleView::new(schedule));
        let shown = shown.map_err(ApiError::internal)?;
        Ok(Self(shown.into()))
    }
}

impl JsonSchema for ShownSchedule {
    fn schema_name() -> Cow<'static, str> {
        ScheduleView::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        ScheduleView::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        ScheduleView::json_schema(generator)
    }
}

/// Rendered forms of schedules requested lately: a client that watches a schedule requests it again and again, and most
/// of the work of an answer is to serialize it. Of two schedules in the same slot, the later one stays.
#[derive(Debug)]
pub struct RecentlyShown(Box<[Mutex<Option<Rendered>>]>);

#[derive(Debug)]
struct Rendered {
    id: Uuid,
    /// Revision in the bucket: every write of the record moves it.
    revision: u64,
    shown: ShownSchedule,
}

impl Default for RecentlyShown {
    fn default() -> Self {
        Self((0..KEPT).map(|_| Mutex::default()).collect())
    }
}

impl RecentlyShown {
    fn show(&self, entry: &Entry) -> Result<ShownSchedule, ApiError> {
        let (id, revision) = (entry.schedule.id, entry.revision);
        // The last bits of an id are random.
        let place = usize::try_from(id.as_u64_pair().1 % KEPT as u64).unwrap_or_default();
        let place = || self.0[place].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) =
            place().as_ref().filter(|kept| (kept.id, kept.revision) == (id, revision))
        {
            return Ok(kept.shown.clone());
        }
        let shown = ShownSchedule::new(&entry.schedule)?;
        *place() = Some(Rendered { id, revision, shown: shown.clone() });
        Ok(shown)
    }
}

which_fields! { request {
    /// A request for one schedule.
    pub struct GetSchedule {}
} }

impl<N: Nats> Api<N> {
    /// Returns one schedule with all its fields, including every change that was answered before.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (its record cannot be read), `unavailable`.
    pub async fn get_schedule(
        &self,
        request: GetSchedule,
        caller: &Caller,
    ) -> Result<Reply<ShownSchedule>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let (shown, revision) = if let Some(entry) = self.current(id).await? {
            (self.recent.show(&entry)?, entry.schedule.revision)
        } else {
            let (schedule, _) = self.read_schedule(id).await?;
            (ShownSchedule::new(&schedule)?, schedule.revision)
        };
        let links = Links::schedule(id);
        Ok(Reply { revision: Some(revision), ..Reply::new(shown, caller).links(links) })
    }

    /// A schedule from memory, once memory has caught up with the stream's leader; nothing if it is better to ask the
    /// leader.
    async fn current(&self, id: Uuid) -> Result<Option<Arc<Entry>>, ApiError> {
        if !self.has_caught_up(CAUGHT_UP_WITHIN).await? {
            return Ok(None);
        }
        Ok(self.index.get(id).filter(|entry| !entry.schedule.purge))
    }

    /// Waits until memory shows every change that was answered before, for a list: one that is slightly stale is better than
    /// none.
    pub(in crate::api) async fn catch_up(&self) {
        let _ = self.has_caught_up(SEEN_WITHIN).await;
    }

    /// Waits until memory shows a change.
    pub(in crate::api) async fn wait_until_seen(&self, revision: u64) {
        let _ = self.index.sees(revision, SEEN_WITHIN).await;
    }

    /// Waits until memory shows every change that was answered before, for what is decided by it.
    ///
    /// # Errors
    /// `unavailable`, if it takes too long.
    pub(in crate::api) async fn must_catch_up(&self) -> Result<(), ApiError> {
        match self.has_caught_up(SEEN_WITHIN).await? {
            true => Ok(()),
            false => Err(ApiError::behind()),
        }
    }

    /// Waits until memory shows every change that was answered before; false if it takes too long.
    pub(super) async fn has_caught_up(&self, within: Duration) -> Result<bool, ApiError> {
        let seen = self.index.seen();
        let reached = self.store.frontier().reached().await?;
        // The bucket may not be the one that the watch has shown.
        if reached < seen {
            return Ok(false);
        }
        Ok(self.index.sees(reached, within).await)
    }
}
