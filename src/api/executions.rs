//! Operations that look up executions.

mod retry;
mod running;
mod story;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{ApiError, Code};
use super::reply::{Links, Pagination, Reply};
use super::schedules::page;
use super::{Api, Caller};
use crate::execution::{Execution, ExecutionStatus};
use crate::history_index::{Filter, Page};
use crate::jetstream::history::{command_header, error_header};
use crate::port::Nats;
use crate::schedule::declared::page_fields;
use crate::schedule::{FieldFault, instant_field};
pub(crate) use retry::RETRIED_BY_DEFAULT;
pub(crate) use retry::drain;
pub use retry::{
    BulkRetried, BulkRetry, CancelRerun, ExecutionFilter, GetRerun, ListReruns, PayloadSource,
    RerunStatus, RerunView, Retried, RetriedItem, RetryExecution, RetryPayload,
};
pub use running::{ListRunning, OpenStatus, RunningExecution};
pub use story::ExecutionStory;

/// Maximum length of a correlation id in bytes; headers have the same limit.
const MAX_CORRELATION_ID: usize = 255;

/// Longest text of a filter, in characters.
const MAX_TEXT: usize = 255;

/// A request for one execution.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetExecution {
    /// Required.
    pub execution_id: Option<Uuid>,
}

page_fields! { which_fields kind_fields request {
    /// A request for executions, newest first; absent filters match all.
    pub struct ListExecutions {
        /// With this status.
        pub status: Option<ExecutionStatus>,
        /// With one of these statuses, in place of `status`.
        pub statuses: Option<Vec<ExecutionStatus>>,
        /// Started later than this.
        #[serde(deserialize_with = "instant_field")]
        pub started_after: Option<DateTime<Utc>>,
        /// Started before this.
        #[serde(deserialize_with = "instant_field")]
        pub started_before: Option<DateTime<Utc>>,
    }
} }

page_fields! { request {
    /// A request for the executions with a correlation id, newest first.
    pub struct ListByCorrelation {
        /// Required: 1 to 255 bytes.
        pub correlation_id: Option<String>,
    }
} }

impl<N: Nats> Api<N> {
    /// Returns one execution, as its latest event shows it, and all attempts at its occurrence.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unavailable`.
    pub async fn get_execution(
        &self,
        request: GetExecution,
        caller: &Caller,
    ) -> Result<Reply<ExecutionStory>, ApiError> {
        let id = request
            .execution_id
            .ok_or_else(|| vec![FieldFault::new("execution_id", "is required")])?;
        let Some(execution) = self.history.get(id).await? else {
            return Err(ApiError::new(Code::NotFound, format!("there is no execution {id}")));
        };
        let attempts = self.history.attempts(&execution).await?;
        let links = match execution.settings {
            Some(_) => Links::command(id),
            None => Links::execution(id, execution.schedule_id),
        };
        let max_payload = self.nats.max_payload();
        let story = ExecutionStory::new(execution, attempts, max_payload);
        Ok(Reply::new(story, caller).links(links))
    }

    /// Lists executions, newest first.
    ///
    /// # Errors
    /// `invalid`, `unavailable`.
    pub async fn list_executions(
        &self,
        request: ListExecutions,
        caller: &Caller,
    ) -> Result<Reply<Vec<Execution>>, ApiError> {
        let (number, page) = check_list(&request)?;
        let statuses = statuses(request.status, request.statuses.as_deref());
        let (tag, target) = (request.tag.as_ref(), request.target_command.as_ref());
        let filter = Filter {
            schedule: request.schedule_id,
            schedules: self.of_kind(tag, target).await?,
            statuses,
            error: request.error_type.as_deref().map(error_header),
            command: request.command_sent.as_deref().map(command_header),
            scheduled_from_ms: request.scheduled_from.map(|at| at.timestamp_millis()),
            scheduled_to_ms: request.scheduled_to.map(|at| at.timestamp_millis()),
            started_from_ms: request.started_after.map(|at| at.timestamp_millis() + 1),
            started_to_ms: request.started_before.map(|at| millis_up(at) - 1),
        };
        let (executions, total) = self.history.list(&filter, page).await?;
        let mut reply = Reply::new(executions, caller);
        reply.pagination = Some(Pagination::new(number, page.limit, total));
        Ok(reply)
    }

    /// Lists the executions with a correlation id across all schedules, newest first.
    ///
    /// # Errors
    /// `invalid`, `unavailable`.
    pub async fn executions_by_correlation(
        &self,
        request: ListByCorrelation,
        caller: &Caller,
    ) -> Result<Reply<Vec<Execution>>, ApiError> {
        let paged = page(request.page, request.limit);
        let correlation_id = request.correlation_id.unwrap_or_default();
        if !(1..=MAX_CORRELATION_ID).contains(&correlation_id.len()) {
            let reason = format!("must have 1 to {MAX_CORRELATION_ID} bytes");
            let mut faults = vec![FieldFault::new("correlation_id", reason)];
            faults.extend(paged.err().into_iter().flat_map(|error| error.details));
            return Err(faults.into());
        }
        let (number, page) = paged?;
        let (executions, total) = self.history.by_correlation(&correlation_id, page).await?;
        let mut reply = Reply::new(executions, caller);
        reply.pagination = Some(Pagination::new(number, page.limit, total));
        Ok(reply)
    }
}

impl<N: Nats> Api<N> {
    /// The schedules that have a tag and a target now; `None` for all.
    async fn of_kind(
        &self,
        tag: Option<&String>,
        target: Option<&String>,
    ) -> Result<Option<Vec<Uuid>>, ApiError> {
        if tag.is_none() && target.is_none() {
            return Ok(None);
        }
        self.schedules_with(tag, target).await.map(Some)
    }
}

fn check_list(request: &ListExecutions) -> Result<(usize, Page), ApiError> {
    let mut faults = check_texts(&[
        ("error_type", &request.error_type),
        ("command_sent", &request.command_sent),
        ("tag", &request.tag),
        ("target_command", &request.target_command),
    ]);
    faults.extend(check_statuses(request.status, request.statuses.as_deref(), "statuses"));
    match page(request.page, request.limit) {
        Ok(paged) if faults.is_empty() => Ok(paged),
        paged => {
            faults.extend(paged.err().into_iter().flat_map(|error| error.details));
            Err(faults.into())
        }
    }
}

/// Checks texts of a filter, each with the name of its field. Only an error type may be empty, and means none.
fn check_texts(texts: &[(&str, &Option<String>)]) -> Vec<FieldFault> {
    let fault = |(field, text): &(&str, &Option<String>)| {
        let length = text.as_ref()?.chars().count();
        let may_be_empty = field.ends_with("error_type");
        let reason = match may_be_empty {
            true => format!("must have at most {MAX_TEXT} characters"),
            false => format!("must have 1 to {MAX_TEXT} characters"),
        };
        let is_odd = length > MAX_TEXT || (length == 0 && !may_be_empty);
        is_odd.then(|| FieldFault::new(*field, reason))
    };
    texts.iter().filter_map(fault).collect()
}

/// The statuses that a filter names, in one field or the other; none if it names none.
fn statuses(
    status: Option<ExecutionStatus>,
    statuses: Option<&[ExecutionStatus]>,
) -> Vec<ExecutionStatus> {
    statuses.unwrap_or_default().iter().copied().chain(status).collect()
}

/// Refuses statuses, in this field, beside a status.
fn check_statuses(
    status: Option<ExecutionStatus>,
    statuses: Option<&[ExecutionStatus]>,
    field: &str,
) -> Option<FieldFault> {
    let are_both = status.is_some() && statuses.is_some();
    are_both.then(|| FieldFault::new(field, "cannot stand beside status"))
}

/// Unix milliseconds, rounded up: a start in whole milliseconds is before `at` if it is before these.
pub(super) fn millis_up(at: DateTime<Utc>) -> i64 {
    at.timestamp_millis() + i64::from(!at.timestamp_subsec_nanos().is_multiple_of(1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_millisecond_count() {
        for (at, millis) in [
            ("1970-01-01T00:00:00.005Z", 5),
            ("1970-01-01T00:00:00.005000001Z", 6),
            ("1969-12-31T23:59:59.9985Z", -1),
        ] {
            assert_eq!(millis_up(at.parse().unwrap()), millis, "{at}");
        }
    }
}
