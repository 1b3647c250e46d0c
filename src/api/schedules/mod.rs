//! Operations on schedules.

mod backfill;
mod bulk;
mod create;
mod delete;
mod filter;
mod lifecycle;
mod limit;
mod list;
mod names;
mod once;
mod preview;
mod read;
mod restore;
mod update;

pub use crate::index::Sort;
pub use backfill::{BackfillSchedule, Backfilled};
pub use bulk::{
    BulkCreate, BulkCreated, BulkItem, BulkOperated, BulkOperation, ItemRefused, ItemResult,
    Operation,
};
pub use delete::{DeleteSchedule, Deleted};
pub use filter::{ScheduleFilter, TagsMatch};
pub(crate) use lifecycle::MAX_WAIT_MS;
pub use lifecycle::{PauseSchedule, ResumeSchedule, TriggerSchedule, Triggered};
pub use list::ListSchedules;
pub use preview::{Moved, Preview, PreviewSchedule};
pub use read::{GetSchedule, RecentlyShown, ShownSchedule};
pub use restore::RestoreSchedule;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::Api;
use super::error::{ApiError, Code};
use crate::clock;
use crate::failpoint::reached;
use crate::history_index::Page;
use crate::index::{Entry, Unreadable, read_record};
use crate::jetstream::WriteError;
use crate::jetstream::names as subjects;
use crate::schedule::{Author, Change, ChangeKind, FieldFault, Schedule, SkipCause, Status};

/// Longest wait for occurrences that were claimed ahead: twice the engine's lead, for clocks differ.
const MAX_WAIT_FOR_CLAIMS: Duration = Duration::from_secs(1);

/// Items of a page where the request does not say.
const DEFAULT_LIMIT: u64 = 20;
/// Most items of a page.
const MAX_LIMIT: u64 = 100;

/// Checks `page` (from 1) and `limit` (1 to 100, default 20).
pub(crate) fn page(page: Option<u64>, limit: Option<u64>) -> Result<(usize, Page), ApiError> {
    let mut faults = Vec::new();
    let number = page.unwrap_or(1);
    if !(1..=1_000_000_000).contains(&number) {
        faults.push(FieldFault::new("page", "must be 1 to 1000000000"));
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

/// Refuses a change that expected another revision, and says the current one.
fn check_expected(expected: Option<u64>, schedule: &Schedule) -> Result<(), ApiError> {
    let (id, revision) = (schedule.id, schedule.revision);
    if expected.is_none_or(|expected| expected == revision) {
        return Ok(());
    }
    let message = format!("schedule {id} has been changed: its revision is {revision}");
    let mut error = ApiError::new(Code::Conflict, message);
    error.details = vec![FieldFault::new("revision", revision.to_string())];
    Err(error)
}

/// Whether a change is in the record already: its write was accepted, the acknowledgement lost, and
/// the engine wrote since.
fn is_made(schedule: &Schedule, event_id: Uuid) -> bool {
    let events = &schedule.events;
    schedule.last_change == Some(event_id) || events.iter().any(|event| event.event_id == event_id)
}

/// Waits until what was claimed ahead of its time is due. An occurrence that an instance has claimed
/// is acted on under the state that it was claimed under; this puts its time before the reply, so
/// after the reply nothing is due any more under the old state. At most the engine's lead.
async fn let_claims_pass(schedule: &Schedule) {
    let_pass(schedule.claimed_until()).await;
}

async fn let_pass(claimed_until: Option<DateTime<Utc>>) {
    let Some(until) = claimed_until else { return };
    if let Ok(wait) = (until - clock::now()).to_std() {
        tokio::time::sleep(wait.min(MAX_WAIT_FOR_CLAIMS)).await;
    }
}

/// Counts a change that is about to be written and puts its event into the record.
fn announce(
    schedule: &mut Schedule,
    event_id: Uuid,
    kind: ChangeKind,
    author: Author<'_>,
    now: DateTime<Utc>,
    details: Value,
) {
    schedule.revision += 1;
    schedule.last_change = Some(event_id);
    schedule.events.push(Change::new(event_id, kind, schedule, author, now, details));
}

fn touch(schedule: &mut Schedule, now: DateTime<Utc>, actor: &str) {
    schedule.updated_at = now;
    schedule.updated_by = Some(actor.to_owned());
}

/// What is said of a record that this instance does not act on. One that needs a newer version is
/// `unavailable`: where such an instance runs, it answers when the request is sent again.
fn unreadable(id: Uuid, error: &Unreadable) -> ApiError {
    match error {
        Unreadable::Newer(newer) => {
            let reason = &newer.reason;
            let message = format!(
                "schedule {id} is left to instances of a newer version: {reason}; try again"
            );
            ApiError::new(Code::Unavailable, message)
        }
        Unreadable::Broken(reason) => {
            let message = format!("the record of schedule {id} cannot be read: {reason}");
            ApiError::new(Code::NotAllowed, message)
        }
    }
}

fn required_id(id: Option<Uuid>) -> Result<Uuid, ApiError> {
    id.ok_or_else(|| vec![FieldFault::new("schedule_id", "is required")].into())
}

impl Api {
    /// Writes a changed record at the revision that it was read at, and shows it to this instance.
    pub(in crate::api) async fn rewrite(
        &self,
        schedule: &mut Schedule,
        revision: u64,
    ) -> Result<u64, WriteError> {
        schedule.sign(self.writer());
        let deadline = Instant::now() + super::WRITE_PATIENCE;
        let written = self.store.write(schedule, revision, deadline).await?;
        if reached("lost_ack") {
            return Err(WriteError::Conflict);
        }
        self.show(schedule.clone(), written.revision);
        Ok(written.revision)
    }

    /// Shows what was written to this instance.
    fn show(&self, schedule: Schedule, revision: u64) {
        if let Ok(trigger) = schedule.spec.timing.trigger(schedule.id) {
            let (schedule, trigger) = (Arc::new(schedule), Arc::new(trigger));
            self.index.insert(Entry { revision, schedule, trigger });
        }
    }

    /// Changes a schedule: `apply` makes of the record as it is now what it should be, and the write
    /// is accepted only if nobody changed it meanwhile. Without `expected` a change that lost is
    /// made again from the new record, so it must do no harm twice.
    ///
    /// `apply` returns what is to be said of the change, or nothing if there was nothing to change.
    /// The first try may start from what is `known`, which saves a read.
    async fn change(
        &self,
        id: Uuid,
        expected: Option<u64>,
        author: Author<'_>,
        mut known: Option<Arc<Entry>>,
        apply: impl Fn(&mut Schedule, DateTime<Utc>) -> Result<Option<(ChangeKind, Value)>, ApiError>,
    ) -> Result<Schedule, ApiError> {
        let event_id = clock::new_id();
        for _ in 0..super::CHANGE_TRIES {
            let (mut schedule, revision, is_known) = match known.take() {
                Some(entry) => (Schedule::clone(&entry.schedule), entry.revision, true),
                None => {
                    let (schedule, revision) = self.read_schedule(id).await?;
                    (schedule, revision, false)
                }
            };
            if is_made(&schedule, event_id) {
                return Ok(schedule);
            }
            let now = clock::now();
            let applied = if schedule.status == Status::Deleted {
                Err(ApiError::no_schedule(id))
            } else {
                check_expected(expected, &schedule).and_then(|()| apply(&mut schedule, now))
            };
            let (kind, details) = match applied {
                Ok(Some(change)) => change,
                Ok(None) => return Ok(schedule),
                // What was known may be old.
                Err(_) if is_known => continue,
                Err(error) => return Err(error),
            };
            announce(&mut schedule, event_id, kind, author, now, details);
            self.store.room().admits_change(&schedule)?;
            match self.rewrite(&mut schedule, revision).await {
                Ok(_) => return Ok(schedule),
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }

    /// Makes one entry of the occurrences that are due and will not be acted on, and sets the next
    /// time after them.
    fn skip_due(
        &self,
        schedule: &mut Schedule,
        now: DateTime<Utc>,
        cause: SkipCause,
    ) -> Result<(), ApiError> {
        let trigger = schedule.spec.timing.trigger(schedule.id).map_err(|fault| vec![fault])?;
        // Ours and not begun: the engine takes it up at once and writes it to the history.
        schedule.skip_due(&trigger, now, cause, self.instance);
        Ok(())
    }

    /// The record of a schedule that users see, and its revision, from the stream's leader.
    async fn read_schedule(&self, id: Uuid) -> Result<(Schedule, u64), ApiError> {
        let stored = self.record(id).await?.filter(|(schedule, _)| !schedule.purge);
        stored.ok_or_else(|| ApiError::no_schedule(id))
    }

    /// The record of a schedule, in whatever state, and its revision, from the stream's leader.
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
