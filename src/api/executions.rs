//! What became of executions.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{ApiError, Code};
use super::reply::{Links, Pagination, Reply};
use super::schedules::page;
use super::{Api, Caller};
use crate::execution::{Execution, ExecutionStatus};
use crate::history_index::Filter;
use crate::schedule::FieldFault;

/// A request for one execution.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetExecution {
    /// Required.
    pub execution_id: Option<Uuid>,
}

/// A request for executions, newest first; filters that are absent match all.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListExecutions {
    /// Of this schedule.
    pub schedule_id: Option<Uuid>,
    /// With this status.
    pub status: Option<ExecutionStatus>,
    /// Started later than this.
    pub started_after: Option<DateTime<Utc>>,
    /// Started before this.
    pub started_before: Option<DateTime<Utc>>,
    /// From 1, which is the default.
    #[schemars(range(min = 1))]
    pub page: Option<u64>,
    /// Executions of a page: 1 to 100, default 20.
    #[schemars(range(min = 1, max = 100))]
    pub limit: Option<u64>,
}

impl Api {
    /// One execution, as its latest event shows it.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unavailable`.
    pub async fn get_execution(
        &self,
        request: GetExecution,
        caller: &Caller,
    ) -> Result<Reply<Execution>, ApiError> {
        let id = request
            .execution_id
            .ok_or_else(|| vec![FieldFault::new("execution_id", "is required")])?;
        match self.history.get(id).await? {
            Some(execution) => {
                let links = Links::execution(id, execution.schedule_id);
                Ok(Reply::new(execution, caller).links(links))
            }
            None => Err(ApiError::new(Code::NotFound, format!("there is no execution {id}"))),
        }
    }

    /// Executions, newest first.
    ///
    /// # Errors
    /// `invalid`, `unavailable`.
    pub async fn list_executions(
        &self,
        request: ListExecutions,
        caller: &Caller,
    ) -> Result<Reply<Vec<Execution>>, ApiError> {
        let (number, page) = page(request.page, request.limit)?;
        let filter = Filter {
            schedule: request.schedule_id,
            status: request.status,
            started_after_ms: request.started_after.map(|at| at.timestamp_millis()),
            started_before_ms: request.started_before.map(|at| at.timestamp_millis()),
        };
        let (executions, total) = self.history.list(&filter, page).await?;
        let mut reply = Reply::new(executions, caller);
        reply.pagination =
            Some(Pagination { page: number, limit: page.limit, total, next_cursor: None });
        Ok(reply)
    }
}
