//! Operations on schedules.

mod advice;
mod apply;
mod backfill;
mod bulk;
mod coming;
mod create;
mod delete;
mod explain;
mod filter;
mod lifecycle;
mod limit;
mod list;
mod named;
mod once;
mod pause_all;
mod preview;
mod read;
mod reservations;
mod restore;
mod run;
mod upcoming;
mod update;
mod wait;

pub use crate::index::Sort;
pub use apply::ApplySchedule;
pub use backfill::{BackfillSchedule, Backfilled};
pub use bulk::{
    AppliedItem, BulkAction, BulkApplied, BulkApply, BulkCreate, BulkCreated, BulkItem,
    BulkOperated, BulkOperation, ItemRefused, ItemResult, NameUnknown, Prune,
};
pub use delete::{DeleteSchedule, Deleted};
pub use explain::{ExplainSchedule, Explained};
pub use filter::{ScheduleFilter, TagsMatch};
pub use lifecycle::{PauseSchedule, ResumeSchedule, TriggerSchedule, Triggered};
pub use list::ListSchedules;
pub(crate) use named::Named;
pub(in crate::api) use once::{Deed, Found, Key, Once, Unmade, hash, repeated, used_otherwise};
pub use pause_all::{AllPaused, PauseAll, ResumeAll};
pub use preview::PreviewSchedule;
pub use read::{GetSchedule, RecentlyShown, ShownSchedule};
pub use restore::RestoreSchedule;
pub(crate) use run::MAX_WAIT_MS;
pub(in crate::api) use run::{Placed, Run, check_run};
pub(crate) use upcoming::MinuteCounts;
pub use upcoming::{BusyMinute, Lane, Lanes, ListUpcoming, Minutes, Upcoming, UpcomingOccurrence};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::Api;
use super::change::check_expected;
use super::error::{ApiError, Code};
use crate::history_index::Page;
use crate::index::{Unreadable, read_record};
use crate::names as subjects;
use crate::port::Nats;
use crate::schedule::{FieldFault, NotNow, Schedule, SkipCause, Status};
use crate::stored::damage::Damage;

/// Items per page by default.
const DEFAULT_LIMIT: u64 = 20;
/// Maximum number of items per page.
const MAX_LIMIT: u64 = 100;

/// Checks `page` (from 1) and `limit` (1 to 100, default 20).
pub(crate) fn page(page: Option<u64>, limit: Option<u64>) -> Result<(usize, Page), ApiError> {
    let mut faults = Vec::new();
    let number = page.unwrap_or(1);
    if !(1..=1_000_000_000).contains(&number) {
        faults.push(FieldFault::new("page", "must be 1 to 1000000000"));
    }
    let limit = check_limit(limit, DEFAULT_LIMIT, MAX_LIMIT, &mut faults);
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Ok((size(number), Page { offset: size(number - 1).saturating_mul(limit), limit }))
}

/// Checks how many items a request wants: 1 to `most`.
pub(crate) fn check_limit(
    limit: Option<u64>,
    default: u64,
    most: u64,
    faults: &mut Vec<FieldFault>,
) -> usize {
    let limit = limit.unwrap_or(default);
    if !(1..=most).contains(&limit) {
        faults.push(FieldFault::new("limit", format!("must be 1 to {most}")));
    }
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Error for a change that the schedule's status does not allow.
fn refused(schedule: &Schedule, refused: NotNow) -> ApiError {
    refused_in(schedule.id, *schedule.status, refused)
}

fn refused_in(id: Uuid, status: Status, refused: NotNow) -> ApiError {
    let status = status.as_str();
    let message = match refused {
        NotNow::IsDeleted => return ApiError::no_schedule(id),
        NotNow::HasEnded => format!("schedule {id} has ended: its status is {status}"),
        NotNow::IsPaused => format!("schedule {id} is paused"),
        NotNow::NotPaused => format!("schedule {id} is not paused"),
        NotNow::NotDeleted => format!("schedule {id} is not deleted"),
    };
    ApiError::new(Code::NotAllowed, message)
}

fn touch(schedule: &mut Schedule, now: DateTime<Utc>, actor: &str) {
    schedule.updated_at = now;
    schedule.updated_by = Some(actor.into());
}

/// Error for a record that this instance does not act on. One that needs a newer version is `unavailable`: an instance
/// of that version answers when the request is sent again.
fn unreadable(id: Uuid, error: &Unreadable) -> ApiError {
    match error {
        Unreadable::Newer(newer) => {
            let reason = &newer.reason;
            let message = format!(
                "schedule {id} is left to instances of a newer version: {reason}; try again"
            );
            ApiError::new(Code::Unavailable, message)
        }
        Unreadable::Broken(Damage { reason, cause }) => {
            let message = format!("the record of schedule {id} cannot be read: {reason}");
            let error = ApiError::new(Code::NotAllowed, message);
            cause.iter().fold(error, ApiError::because)
        }
    }
}

fn required_id(id: Option<Uuid>) -> Result<Uuid, ApiError> {
    id.ok_or_else(|| {
        vec![FieldFault::new("schedule_id", "is required, unless schedule_name is given")].into()
    })
}

impl<N: Nats> Api<N> {
    /// Records the occurrences that are due and will not be acted on as one entry, and sets the next time after them.
    fn skip_due(
        &self,
        schedule: &mut Schedule,
        now: DateTime<Utc>,
        cause: SkipCause,
    ) -> Result<(), ApiError> {
        let trigger = schedule
            .spec
            .timing
            .trigger(schedule.id, &self.index.calendars())
            .map_err(|fault| vec![fault])?;
        // It is ours and has not begun: the engine picks it up at once and writes it to the history.
        schedule.skip_due(&trigger, now, cause, self.instance);
        Ok(())
    }

    /// Reads a schedule that is visible to users, and its revision, from the stream's leader.
    pub(in crate::api) async fn read_schedule(
        &self,
        id: Uuid,
    ) -> Result<(Schedule, u64), ApiError> {
        let stored = self.record(id).await?.filter(|(schedule, _)| !schedule.purge);
        stored.ok_or_else(|| ApiError::no_schedule(id))
    }

    /// Reads the record of a schedule in any state, and its revision, from the stream's leader.
    pub(in crate::api) async fn record(
        &self,
        id: Uuid,
    ) -> Result<Option<(Schedule, u64)>, ApiError> {
        let stored = self.store.read(&subjects::schedule_key(id)).await?;
        let Some((revision, value)) = stored.and_then(|s| Some((s.revision, s.value?))) else {
            return Ok(None);
        };
        let (schedule, _) =
            read_record(Some(id), &value).map_err(|error| unreadable(id, &error))?;
        Ok(Some((schedule, revision)))
    }
}
