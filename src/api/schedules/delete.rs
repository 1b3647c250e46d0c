//! Deleting a schedule.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::Reply;
use super::super::{Api, Caller};
use crate::clock;
use crate::index::Entry;
use crate::jetstream::WriteError;
use crate::jetstream::names::schedule_key;
use crate::schedule::{Phase, Schedule, Status};

/// A request to delete a schedule.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeleteSchedule {
    /// Required.
    pub schedule_id: Option<Uuid>,
    /// Whether its record goes too; default false: it is kept with status `deleted`.
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
        let actor = caller
            .actor
            .clone()
            .or(request.deleted_by)
            .unwrap_or_else(|| "unknown".to_owned());
        let mut result = Err(WriteError::Conflict);
        for _ in 0..super::super::CHANGE_TRIES {
            let (schedule, revision) = self.read_schedule(id).await?;
            if schedule.status == Status::Deleted && !hard_delete {
                return Err(ApiError::no_schedule(id));
            }
            result = if hard_delete {
                self.erase(&schedule, revision).await
            } else {
                self.mark_deleted(schedule.clone(), revision, &actor).await
            };
            match result {
                Ok(()) => {
                    self.free_name(&schedule).await;
                    break;
                }
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        result?;
        tracing::info!(schedule_id = %id, deleted_by = actor, hard_delete, "schedule deleted");
        Ok(Reply::new(
            Deleted {
                schedule_id: id,
                hard_delete,
            },
            caller,
        ))
    }

    async fn mark_deleted(
        &self,
        mut schedule: Schedule,
        revision: u64,
        actor: &str,
    ) -> Result<(), WriteError> {
        let now = clock::now();
        schedule.status = Status::Deleted;
        schedule.deleted_at = Some(now);
        schedule.deleted_by = Some(actor.to_owned());
        schedule.updated_at = now;
        schedule.next_run_at = None;
        schedule
            .attempts
            .retain(|attempt| !matches!(attempt.phase, Phase::Waiting { .. }));
        schedule.writer = self.writer();
        let deadline = std::time::Instant::now() + super::super::WRITE_PATIENCE;
        let written = self.store.write(&schedule, revision, deadline).await?;
        if let Some(known) = self.index.get(schedule.id) {
            let trigger = Arc::clone(&known.trigger);
            self.index.insert(Entry {
                revision: written.revision,
                schedule,
                trigger,
            });
        }
        Ok(())
    }

    async fn erase(&self, schedule: &Schedule, revision: u64) -> Result<(), WriteError> {
        let key = schedule_key(schedule.id);
        let written = self.store.delete(&key, revision).await?;
        self.index.apply(&key, written, None);
        Ok(())
    }
}
