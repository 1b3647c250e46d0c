//! Reading schedules.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{Links, Pagination, Reply, ScheduleSummary, ScheduleView};
use super::super::{Api, Caller};
use crate::index::Entry;
use crate::schedule::Status;

/// A request for one schedule.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetSchedule {
    /// Required.
    pub schedule_id: Option<Uuid>,
}

/// A request for schedules in the order of their creation; filters that are absent match all
/// schedules that are not deleted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListSchedules {
    /// Created by.
    pub creator: Option<String>,
    /// With this status; `deleted` lists those that were deleted softly.
    pub status: Option<Status>,
    /// From 1, which is the default.
    #[schemars(range(min = 1))]
    pub page: Option<u64>,
    /// Schedules of a page: 1 to 100, default 20.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u64>,
}

impl Api {
    /// One schedule with all its fields, as the stream's leader has it.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (its record cannot be read), `unavailable`.
    pub async fn get_schedule(
        &self,
        request: GetSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let (schedule, revision) = self.read_schedule(id).await?;
        Ok(Reply::new(ScheduleView::new(&schedule, revision), caller).links(Links::schedule(id)))
    }

    /// Schedules in the order of their creation.
    ///
    /// # Errors
    /// `invalid`.
    pub async fn list_schedules(
        &self,
        request: ListSchedules,
        caller: &Caller,
    ) -> Result<Reply<Vec<ScheduleSummary>>, ApiError> {
        let (number, page) = super::page(request.page, request.limit)?;
        let mut entries: Vec<Arc<Entry>> = self.index.all();
        entries.retain(|entry| {
            let schedule = &entry.schedule;
            let creator_fits = request.creator.as_ref().is_none_or(|by| *by == schedule.created_by);
            let status_fits = match request.status {
                Some(status) => status == schedule.status,
                None => schedule.status != Status::Deleted,
            };
            creator_fits && status_fits && !schedule.purge
        });
        entries.sort_unstable_by_key(|entry| entry.schedule.id);
        let total = entries.len() as u64;
        let found = entries.iter().skip(page.offset).take(page.limit);
        let mut reply =
            Reply::new(found.map(|entry| ScheduleSummary::new(entry)).collect(), caller);
        reply.pagination = Some(Pagination { page: number, limit: page.limit, total });
        Ok(reply)
    }
}
