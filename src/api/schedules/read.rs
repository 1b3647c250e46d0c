//! Reading one schedule.

use std::sync::Arc;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{Reply, ScheduleView};
use super::super::{Api, Caller};
use crate::index::Entry;

/// How long the memory may take to catch up.
const PATIENCE: Duration = Duration::from_millis(200);

/// A request for one schedule.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetSchedule {
    /// Required.
    pub schedule_id: Option<Uuid>,
}

impl Api {
    /// One schedule with all its fields, with every change that was answered before.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (its record cannot be read), `unavailable`.
    pub async fn get_schedule(
        &self,
        request: GetSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        if let Some(entry) = self.current(id).await? {
            return Ok(Reply::schedule(&entry.schedule, caller));
        }
        let (schedule, _) = self.read_schedule(id).await?;
        Ok(Reply::schedule(&schedule, caller))
    }

    /// A schedule from memory, once that has caught up with the stream's leader; nothing if the leader had
    /// better be asked itself.
    async fn current(&self, id: Uuid) -> Result<Option<Arc<Entry>>, ApiError> {
        let seen = self.index.seen();
        let reached = self.store.frontier().reached().await?;
        // The bucket may be another one than that which the watch has shown.
        if reached < seen {
            return Ok(None);
        }
        let caught_up = tokio::time::timeout(PATIENCE, self.index.until_seen(reached)).await;
        let entry = self.index.get(id).filter(|entry| !entry.schedule.purge);
        Ok(entry.filter(|_| caught_up.is_ok()))
    }
}
