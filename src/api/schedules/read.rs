//! Reading one schedule.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{Reply, ScheduleView};
use super::super::{Api, Caller};

/// A request for one schedule.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetSchedule {
    /// Required.
    pub schedule_id: Option<Uuid>,
}

impl Api {
    /// One schedule with all its fields, as the stream's leader has it.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (its record cannot be read), `unavailable`.
    pub async fn get_schedule(
        &self,
        request: GetSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let (schedule, _) = self.read_schedule(id).await?;
        Ok(Reply::schedule(&schedule, caller))
    }
}
