//! Restoring a schedule that was deleted softly.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::reply::{Reply, ScheduleView};
use super::super::{Api, Caller};
use crate::clock;
use crate::failpoint::failpoint;
use crate::jetstream::WriteError;
use crate::schedule::{ChangeKind, Schedule, Status, restore};

/// A request to restore a schedule that was deleted softly.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestoreSchedule {
    /// Required.
    pub schedule_id: Option<Uuid>,
    /// The revision that the schedule must have.
    pub expected_revision: Option<u64>,
}

impl Api {
    /// Restores a schedule that was deleted softly, with the status that it had, its counters and its
    /// history. Its next time is the first that is not due yet; what would have been due meanwhile is not made
    /// up for.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (it is not deleted), `already_exists` (its name is taken),
    /// `limit_exceeded`, `conflict`, `unavailable`.
    pub async fn restore_schedule(
        &self,
        request: RestoreSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let (actor, event_id) = (caller.actor(), clock::new_id());
        for _ in 0..super::super::CHANGE_TRIES {
            let (old, revision) = self.read_schedule(id).await?;
            if super::is_made(&old, event_id) {
                return Ok(restored(&old, caller));
            }
            if old.status != Status::Deleted {
                let message = format!("schedule {id} is not deleted");
                return Err(ApiError::new(Code::NotAllowed, message));
            }
            super::check_expected(request.expected_revision, &old)?;
            let (mut schedule, now) = (old, clock::now());
            bring_back(&mut schedule, now, &actor)?;
            let details = json!({
                "status": schedule.status, "next_run_at": schedule.next_run_at,
                "restored_by": actor, "restored_at": now,
            });
            let author = caller.author(&actor);
            super::announce(&mut schedule, event_id, ChangeKind::Restored, author, now, details);
            // Before each try: the reservation may have been taken over since the last one.
            let reserved = self.reserve_name(&schedule, revision).await?;
            failpoint("after_reserve");
            match self.admit(&schedule, &reserved).await {
                Ok(()) => {}
                // Another request restores it too.
                Err(error) if error.code == Code::Conflict => continue,
                Err(error) => return Err(error),
            }
            match self.rewrite(&mut schedule, revision).await {
                Ok(_) => {
                    tracing::info!(schedule_id = %id, restored_by = actor, "schedule restored");
                    return Ok(restored(&schedule, caller));
                }
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }
}

fn bring_back(schedule: &mut Schedule, now: DateTime<Utc>, actor: &str) -> Result<(), ApiError> {
    let trigger = schedule.spec.timing.trigger(schedule.id).map_err(|fault| vec![fault])?;
    restore(schedule, &trigger, now);
    super::touch(schedule, now, actor);
    Ok(())
}

fn restored(schedule: &Schedule, caller: &Caller) -> Reply<ScheduleView> {
    Reply::schedule(schedule, caller)
}
