//! Lists of schedules: filters, orders, pages.

use tokio::task::block_in_place;

use super::super::cursor;
use super::super::error::ApiError;
use super::super::reply::{Pagination, RecentExecution, Reply, ScheduleSummary};
use super::super::{Api, Caller};
use super::filter::ScheduleFilter;
use crate::index::{Found, Listing, Place, Sort, filter_fields};
use crate::port::Nats;
use crate::schedule::FieldFault;

/// Most executions shown with a schedule.
const MAX_RECENT: usize = 20;

filter_fields! { request {
    /// A request for schedules; absent filters match all, and without `status` all that are not deleted match.
    pub struct ListSchedules {
        /// The order; default `created_at`.
        pub sort: Option<Sort>,
        /// From 1, which is the default. Pages shift when schedules come and go; a cursor does not.
        #[schemars(range(min = 1, max = 1_000_000_000), example = 2)]
        pub page: Option<u64>,
        /// Schedules per page: 1 to 100, default 20.
        #[schemars(range(min = 1, max = 100), example = 20)]
        pub limit: Option<u64>,
        /// `next_cursor` of the previous page, with the same filters and order; replaces `page`.
        pub cursor: Option<String>,
        /// How many of its latest executions to show with each schedule: at most 20; default none.
        #[schemars(range(max = 20), example = 20)]
        pub recent_executions: Option<u64>,
    }
} }

impl<N: Nats> Api<N> {
    /// Returns one page of the schedules that match, and their total. The list reflects every change that was answered
    /// before, or the last known state while the bucket's leader does not answer.
    ///
    /// # Errors
    /// `invalid`; `unavailable` if executions are asked for, and the history has not been read.
    pub async fn list_schedules(
        &self,
        request: ListSchedules,
        caller: &Caller,
    ) -> Result<Reply<Vec<ScheduleSummary>>, ApiError> {
        let (number, page) = super::page(request.page, request.limit)?;
        let recent = check_recent(request.recent_executions)?;
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
        self.catch_up().await;
        // A filter scans every schedule, and blocks this thread meanwhile.
        let Found { entries, total, more } = block_in_place(|| self.index.list(&listing));
        let next = entries.last().filter(|_| more);
        let next_cursor = next.map(|last| cursor::text(&Place::of(&last.schedule, sort)));
        let mut summaries: Vec<_> =
            entries.iter().map(|entry| ScheduleSummary::new(entry)).collect();
        if recent > 0 {
            let ids: Vec<_> = summaries.iter().map(|summary| summary.id).collect();
            let found = self.history.recent(&ids, recent).await?;
            for (summary, found) in summaries.iter_mut().zip(found) {
                summary.recent_executions = Some(found.iter().map(RecentExecution::new).collect());
            }
        }
        let mut reply = Reply::new(summaries, caller);
        let total = total as u64;
        reply.pagination =
            Some(Pagination { next_cursor, ..Pagination::new(number, page.limit, total) });
        Ok(reply)
    }
}

impl ListSchedules {
    fn filter(&self) -> ScheduleFilter {
        filter_fields! { taken { self => ScheduleFilter {} } }
    }
}

/// How many executions to show with each schedule.
fn check_recent(asked: Option<u64>) -> Result<usize, ApiError> {
    match asked.map_or(Ok(0), usize::try_from) {
        Ok(count) if count <= MAX_RECENT => Ok(count),
        _ => {
            let reason = format!("must be at most {MAX_RECENT}");
            Err(vec![FieldFault::new("recent_executions", reason)].into())
        }
    }
}

fn read_place(text: &str, sort: Sort) -> Result<Place, ApiError> {
    match cursor::read::<Place>(text) {
        Some(place) if place.sort == sort => Ok(place),
        Some(_) => Err(vec![FieldFault::new("cursor", "is of a list in another order")].into()),
        None => Err(vec![FieldFault::new("cursor", "is not one that a list gave")].into()),
    }
}
