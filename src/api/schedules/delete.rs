//! Deleting a schedule.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::reply::Reply;
use super::super::{Api, Caller};
use crate::clock;
use crate::jetstream::WriteError;
use crate::schedule::{ChangeKind, Phase, Schedule, Status};

/// A request to delete a schedule.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteSchedule {
    /// Required.
    pub schedule_id: Option<Uuid>,
    /// Whether its record goes too, once what is in flight is recorded and the deletion announced;
    /// default false: it is kept with status `deleted`.
    ///
    /// Nobody sees it any more meanwhile.
    pub hard_delete: Option<bool>,
    /// Who deletes it, where no `X-Deleted-By` header says so.
    pub deleted_by: Option<String>,
}

/// What was deleted.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// The schedule.
    pub schedule_id: Uuid,
    /// Whether its record is gone too.
    pub hard_delete: bool,
}

impl Api {
    /// Deletes a schedule and frees its name. After the reply no occurrence is claimed any more;
    /// one that was claimed before is still delivered and recorded.
    ///
    /// A soft-deleted schedule can be deleted again only by `hard_delete`.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `conflict` (it changes too often), `unavailable`.
    pub async fn delete_schedule(
        &self,
        request: DeleteSchedule,
        caller: &Caller,
    ) -> Result<Reply<Deleted>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let hard_delete = request.hard_delete.unwrap_or(false);
        let actor =
            caller.actor.clone().or(request.deleted_by).unwrap_or_else(|| "unknown".to_owned());
        let (event_id, now) = (Uuid::now_v7(), clock::now());
        let mut tried = false;
        for _ in 0..super::super::CHANGE_TRIES {
            let (mut schedule, revision) = match self.read_schedule(id).await {
                // Ours was stored, its acknowledgement lost, and the record is gone since.
                Err(error) if tried && error.code == Code::NotFound => {
                    return Ok(Reply::new(Deleted { schedule_id: id, hard_delete }, caller));
                }
                read => read?,
            };
            if super::is_made(&schedule, event_id) {
                return Ok(self.deleted(&schedule, hard_delete, &actor, caller).await);
            }
            if schedule.status == Status::Deleted && !hard_delete {
                return Err(ApiError::no_schedule(id));
            }
            tried = true;
            mark_deleted(&mut schedule, now, &actor);
            let details =
                json!({ "deleted_by": actor, "deleted_at": now, "hard_delete": hard_delete });
            super::announce(
                &mut schedule,
                event_id,
                ChangeKind::Deleted,
                caller.author(&actor),
                now,
                details,
            );
            schedule.purge = hard_delete;
            match self.rewrite(&mut schedule, revision).await {
                Ok(_) => return Ok(self.deleted(&schedule, hard_delete, &actor, caller).await),
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }

    async fn deleted(
        &self,
        schedule: &Schedule,
        hard_delete: bool,
        actor: &str,
        caller: &Caller,
    ) -> Reply<Deleted> {
        self.free_name(schedule).await;
        super::let_claims_pass(schedule).await;
        let schedule_id = schedule.id;
        tracing::info!(%schedule_id, deleted_by = actor, hard_delete, "schedule deleted");
        Reply::new(Deleted { schedule_id, hard_delete }, caller)
    }
}

/// What was claimed before is still delivered and recorded: those attempts stay until they are.
fn mark_deleted(schedule: &mut Schedule, now: DateTime<Utc>, actor: &str) {
    schedule.status = Status::Deleted;
    schedule.deleted_at = Some(now);
    schedule.deleted_by = Some(actor.to_owned());
    schedule.updated_at = now;
    schedule.next_run_at = None;
    schedule.attempts.retain(|attempt| !matches!(attempt.phase, Phase::Waiting { .. }));
}
