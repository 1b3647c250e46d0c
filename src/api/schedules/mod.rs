//! Operations on schedules.

mod create;
mod delete;
mod names;
mod preview;
mod read;

pub use delete::{DeleteSchedule, Deleted};
pub use preview::{Moved, Preview, PreviewSchedule};
pub use read::{GetSchedule, ListSchedules};

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;

use super::Api;
use super::error::{ApiError, Code};
use crate::history_index::Page;
use crate::index::{Entry, read_record};
use crate::jetstream::WriteError;
use crate::jetstream::names as subjects;
use crate::schedule::{FieldFault, Schedule};

/// A claim made ahead is withdrawn by a change unless its time comes this soon: its holder may not
/// hear of the change before, and then it counts as claimed before the change.
const WITHDRAW_MARGIN: chrono::Duration = chrono::Duration::milliseconds(50);

/// Items of a page where the request does not say.
const DEFAULT_LIMIT: u64 = 20;
/// Most items of a page.
const MAX_LIMIT: u64 = 100;

/// Checks `page` (from 1) and `limit` (1 to 100, default 20).
pub(crate) fn page(page: Option<u64>, limit: Option<u64>) -> Result<(usize, Page), ApiError> {
    let mut faults = Vec::new();
    let number = page.unwrap_or(1);
    if !(1..=1_000_000_000).contains(&number) {
        faults.push(FieldFault::new("page", "must be 1 or more"));
    }
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        faults.push(FieldFault::new("limit", format!("must be 1 to {MAX_LIMIT}")));
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    Ok((size(number), Page { offset: size((number - 1) * limit), limit: size(limit) }))
}

fn required_id(id: Option<Uuid>) -> Result<Uuid, ApiError> {
    id.ok_or_else(|| vec![FieldFault::new("schedule_id", "is required")].into())
}

impl Api {
    /// Writes a changed record at the revision that it was read at, and shows it to this instance.
    async fn rewrite(&self, schedule: &mut Schedule, revision: u64) -> Result<(), WriteError> {
        schedule.writer = self.writer();
        let deadline = Instant::now() + super::WRITE_PATIENCE;
        let written = self.store.write(schedule, revision, deadline).await?;
        if let Ok(trigger) = schedule.spec.timing.trigger(schedule.id) {
            let (schedule, trigger) = (Arc::new(schedule.clone()), Arc::new(trigger));
            self.index.insert(Entry { revision: written.revision, schedule, trigger });
        }
        Ok(())
    }

    /// The record of a schedule and its revision, from the stream's leader.
    async fn read_schedule(&self, id: Uuid) -> Result<(Schedule, u64), ApiError> {
        let key = subjects::schedule_key(id);
        let stored = self.store.read(&key).await?.ok_or_else(|| ApiError::no_schedule(id))?;
        let value = stored.value.as_deref().ok_or_else(|| ApiError::no_schedule(id))?;
        let (schedule, _) = read_record(Some(id), value).map_err(|reason| {
            let message = format!("the record of schedule {id} cannot be read: {reason}");
            ApiError::new(Code::NotAllowed, message)
        })?;
        if schedule.purge {
            return Err(ApiError::no_schedule(id));
        }
        Ok((schedule, stored.revision))
    }
}
