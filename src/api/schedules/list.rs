//! Listing schedules: filters, orders, pages.

use std::cmp::Ordering;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{Pagination, Reply, ScheduleSummary};
use super::super::{Api, Caller};
use super::filter::{ScheduleFilter, TagsMatch};
use crate::index::Entry;
use crate::schedule::{FieldFault, Schedule, ScheduleType, Status};

/// The order of a list; of two that are equal, the one created first comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Sort {
    /// Oldest first.
    #[default]
    #[serde(rename = "created_at")]
    Created,
    /// Newest first.
    #[serde(rename = "-created_at")]
    CreatedDown,
    /// By name.
    #[serde(rename = "name")]
    Name,
    /// By name, backwards.
    #[serde(rename = "-name")]
    NameDown,
    /// Next due first; those that are never due come last.
    #[serde(rename = "next_run_at")]
    NextRun,
    /// Last due first; those that are never due come first.
    #[serde(rename = "-next_run_at")]
    NextRunDown,
}

/// A request for schedules; filters that are absent match all, and without `status` all that are
/// not deleted.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListSchedules {
    /// Created by.
    pub creator: Option<String>,
    /// With these tags.
    pub tags: Option<Vec<String>>,
    /// Whether with any of `tags` (default) or all of them.
    pub tags_match: Option<TagsMatch>,
    /// With this status; `deleted` lists those that were deleted softly.
    pub status: Option<Status>,
    /// Of this type.
    pub schedule_type: Option<ScheduleType>,
    /// Switched on, or off.
    pub is_active: Option<bool>,
    /// Whose target command begins so.
    pub target_prefix: Option<String>,
    /// Whose name begins so.
    pub name_prefix: Option<String>,
    /// Whose name contains this, in any case.
    pub name_contains: Option<String>,
    /// Next due at this time or later.
    pub due_after: Option<DateTime<Utc>>,
    /// Next due before this time.
    pub due_before: Option<DateTime<Utc>>,
    /// The order; default `created_at`.
    pub sort: Option<Sort>,
    /// From 1, which is the default. Pages shift when schedules come and go; a cursor does not.
    #[schemars(range(min = 1))]
    pub page: Option<u64>,
    /// Schedules of a page: 1 to 100, default 20.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u64>,
    /// `next_cursor` of the page before, with the same filters and order; instead of `page`.
    pub cursor: Option<String>,
}

/// A place in a list: behind the schedule with this key and id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    sort: Sort,
    name: Option<String>,
    time: Option<DateTime<Utc>>,
    id: Uuid,
}

impl Api {
    /// Schedules that match, one page of them, and how many there are.
    ///
    /// # Errors
    /// `invalid`.
    pub async fn list_schedules(
        &self,
        request: ListSchedules,
        caller: &Caller,
    ) -> Result<Reply<Vec<ScheduleSummary>>, ApiError> {
        let (number, page) = super::page(request.page, request.limit)?;
        let sort = request.sort.unwrap_or_default();
        let place = request.cursor.as_deref().map(|text| Place::read(text, sort)).transpose()?;
        if place.is_some() && request.page.is_some() {
            return Err(vec![FieldFault::new("cursor", "cannot stand beside page")].into());
        }
        let mut found = self.matching(&request.filter());
        let total = found.len() as u64;
        if let Some(place) = &place {
            found
                .retain(|entry| place.compare(&Place::of(&entry.schedule, sort)) == Ordering::Less);
        }
        let order = |a: &Arc<Entry>, b: &Arc<Entry>| compare(&a.schedule, &b.schedule, sort);
        let (start, end) =
            (page.offset.min(found.len()), (page.offset + page.limit).min(found.len()));
        let more = end < found.len();
        // Only the page itself is put in order.
        if more {
            found.select_nth_unstable_by(end, order);
        }
        found.truncate(end);
        if start > 0 && start < end {
            found.select_nth_unstable_by(start, order);
        }
        let mut found = found.split_off(start);
        found.sort_unstable_by(order);
        let next_cursor =
            found.last().filter(|_| more).map(|last| Place::of(&last.schedule, sort).text());
        let mut reply =
            Reply::new(found.iter().map(|entry| ScheduleSummary::new(entry)).collect(), caller);
        reply.pagination = Some(Pagination { page: number, limit: page.limit, total, next_cursor });
        Ok(reply)
    }
}

impl ListSchedules {
    fn filter(&self) -> ScheduleFilter {
        let request = self.clone();
        ScheduleFilter {
            creator: request.creator,
            tags: request.tags,
            tags_match: request.tags_match,
            status: request.status,
            schedule_type: request.schedule_type,
            is_active: request.is_active,
            target_prefix: request.target_prefix,
            name_prefix: request.name_prefix,
            name_contains: request.name_contains,
            due_after: request.due_after,
            due_before: request.due_before,
        }
    }
}

fn compare(a: &Schedule, b: &Schedule, sort: Sort) -> Ordering {
    let never_last = |at: Option<DateTime<Utc>>| at.unwrap_or(DateTime::<Utc>::MAX_UTC);
    let next = || never_last(a.next_run_at).cmp(&never_last(b.next_run_at));
    let by_key = match sort {
        Sort::Created => a.created_at.cmp(&b.created_at),
        Sort::CreatedDown => b.created_at.cmp(&a.created_at),
        Sort::Name => a.spec.name.cmp(&b.spec.name),
        Sort::NameDown => b.spec.name.cmp(&a.spec.name),
        Sort::NextRun => next(),
        Sort::NextRunDown => next().reverse(),
    };
    by_key.then_with(|| a.id.cmp(&b.id))
}

impl Place {
    fn of(schedule: &Schedule, sort: Sort) -> Self {
        let (name, time) = match sort {
            Sort::Created | Sort::CreatedDown => (None, Some(schedule.created_at)),
            Sort::Name | Sort::NameDown => (Some(schedule.spec.name.clone()), None),
            Sort::NextRun | Sort::NextRunDown => (None, schedule.next_run_at),
        };
        Self { sort, name, time, id: schedule.id }
    }

    /// The order of two places of one list.
    fn compare(&self, other: &Self) -> Ordering {
        let time = |place: &Self| place.time.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let by_key = self.name.cmp(&other.name).then_with(|| time(self).cmp(&time(other)));
        let down = matches!(self.sort, Sort::CreatedDown | Sort::NameDown | Sort::NextRunDown);
        let by_key = if down { by_key.reverse() } else { by_key };
        by_key.then_with(|| self.id.cmp(&other.id))
    }

    fn text(&self) -> String {
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).unwrap_or_default())
    }

    fn read(text: &str, sort: Sort) -> Result<Self, ApiError> {
        let place = URL_SAFE_NO_PAD.decode(text).ok();
        let place = place.and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok());
        match place {
            Some(place) if place.sort == sort => Ok(place),
            Some(_) => Err(vec![FieldFault::new("cursor", "is of a list in another order")].into()),
            None => Err(vec![FieldFault::new("cursor", "is not one that a list gave")].into()),
        }
    }
}
