//! Listing schedules: filters, orders, pages.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;

use super::super::error::ApiError;
use super::super::reply::{Pagination, Reply, ScheduleSummary};
use super::super::{Api, Caller};
use super::filter::{ScheduleFilter, TagsMatch};
use super::limit::SEEN_WITHIN;
use crate::index::{Found, Listing, Place, Sort};
use crate::port::Nats;
use crate::schedule::{FieldFault, ScheduleType, Status, instant_field};

/// A request for schedules; filters that are absent match all, and without `status` all that are
/// not deleted.
#[serde_with::skip_serializing_none]
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
    #[serde(deserialize_with = "instant_field")]
    pub due_after: Option<DateTime<Utc>>,
    /// Next due before this time.
    #[serde(deserialize_with = "instant_field")]
    pub due_before: Option<DateTime<Utc>>,
    /// The order; default `created_at`.
    pub sort: Option<Sort>,
    /// From 1, which is the default. Pages shift when schedules come and go; a cursor does not.
    #[schemars(range(min = 1, max = 1_000_000_000), example = 2)]
    pub page: Option<u64>,
    /// Schedules of a page: 1 to 100, default 20.
    #[schemars(range(min = 1, max = 100), example = 20)]
    pub limit: Option<u64>,
    /// `next_cursor` of the page before, with the same filters and order; instead of `page`.
    pub cursor: Option<String>,
}

impl<N: Nats> Api<N> {
    /// Schedules that match, one page of them, and how many there are: with every change that was answered
    /// before, or as last seen while the bucket's leader does not answer.
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
        let place = request.cursor.as_deref().map(|text| read_place(text, sort)).transpose()?;
        if place.is_some() && request.page.is_some() {
            return Err(vec![FieldFault::new("cursor", "cannot stand beside page")].into());
        }
        let filter = request.filter();
        let faults: Vec<_> = filter.faults().collect();
        if !faults.is_empty() {
            return Err(faults.into());
        }
        let listing = Listing {
            filter: &filter,
            sort,
            after: place.as_ref(),
            offset: page.offset,
            limit: page.limit,
        };
        // A list as of a moment ago is better than none.
        let _ = self.has_caught_up(SEEN_WITHIN).await;
        // A filter looks at every schedule, in which time this thread does nothing else.
        let Found { entries, total, more } = block_in_place(|| self.index.list(&listing));
        let next = entries.last().filter(|_| more);
        let next_cursor = next.map(|last| place_text(&Place::of(&last.schedule, sort)));
        let mut reply =
            Reply::new(entries.iter().map(|entry| ScheduleSummary::new(entry)).collect(), caller);
        let total = total as u64;
        reply.pagination =
            Some(Pagination { next_cursor, ..Pagination::new(number, page.limit, total) });
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

fn place_text(place: &Place) -> String {
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(place).unwrap_or_default())
}

fn read_place(text: &str, sort: Sort) -> Result<Place, ApiError> {
    let place = URL_SAFE_NO_PAD.decode(text).ok();
    let place = place.and_then(|bytes| serde_json::from_slice::<Place>(&bytes).ok());
    match place {
        Some(place) if place.sort == sort => Ok(place),
        Some(_) => Err(vec![FieldFault::new("cursor", "is of a list in another order")].into()),
        None => Err(vec![FieldFault::new("cursor", "is not one that a list gave")].into()),
    }
}
