//! Reports on executions that are under way: workers report, users cancel.
//!
//! A report is a compare-and-swap on the schedule's record like any change. It is accepted only while the attempt is
//! under way, so if a late worker and the service that gave it up compete, exactly one prevails. The record holds the
//! report; the engine writes it to the history.

mod apply;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use apply::{News, apply, has_ended, status, stop_if_asked};

use super::change::{Read, Step};
use super::error::{ApiError, Code};
use super::reply::{Links, Reply};
use super::{Api, Caller};
use crate::execution::{ExecutionStatus, MAX_KEPT_BYTES};
use crate::port::Nats;
use crate::schedule::declared::which_fields;
use crate::schedule::{Cancel, Ending, FieldFault, Report, Schedule};

/// A worker's report that it has done what a `job` command asked for.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CompleteExecution {
    /// Required: the command's header `Scheduler-Execution-Id`.
    pub execution_id: Option<Uuid>,
    /// Required: the command's header `Scheduler-Token`.
    pub token: Option<String>,
    /// The result: any JSON; more than 64 KiB is left out of the history.
    #[schemars(with = "Option<serde_json::Value>")]
    pub response: Option<Box<RawValue>>,
}

/// A worker's report that it has not done what a `job` command asked for.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FailExecution {
    /// Required: the command's header `Scheduler-Execution-Id`.
    pub execution_id: Option<Uuid>,
    /// Required: the command's header `Scheduler-Token`.
    pub token: Option<String>,
    /// The kind of failure, for programs; default `failed`.
    #[schemars(length(min = 1, max = 100))]
    pub error_type: Option<String>,
    /// What happened, for people.
    #[schemars(length(max = 2000))]
    pub error_message: Option<String>,
    /// Whether trying again makes sense; default true.
    pub retryable: Option<bool>,
}

/// A worker's sign of life.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatExecution {
    /// Required: the command's header `Scheduler-Execution-Id`.
    pub execution_id: Option<Uuid>,
    /// Required: the command's header `Scheduler-Token`.
    pub token: Option<String>,
    /// Progress in percent.
    #[schemars(range(max = 100))]
    pub progress: Option<u64>,
}

which_fields! { request {
    /// A request to stop an execution that is under way or waits.
    pub struct CancelExecution {
        /// Required.
        pub execution_id: Option<Uuid>,
        /// The reason, for people.
        #[schemars(length(max = 500))]
        pub reason: Option<String>,
    }
} }

/// Result of a report.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reported {
    /// The execution.
    pub execution_id: Uuid,
    /// Its schedule.
    pub schedule_id: Uuid,
    /// Status of the execution.
    pub status: ExecutionStatus,
    /// The time by which the worker must report, if it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DateTime<Utc>>,
}

/// The author of a report.
enum Reporter<'a> {
    Worker(&'a str),
    User,
}

impl<N: Nats> Api<N> {
    /// Records that a worker has completed its job. Repeating the report changes nothing.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (the token is not that of this execution), `conflict` (it has ended
    /// otherwise: it took too long, or was cancelled), `unavailable`.
    pub async fn complete_execution(
        &self,
        request: CompleteExecution,
        caller: &Caller,
    ) -> Result<Reply<Reported>, ApiError> {
        let worker = check_worker(request.execution_id, request.token.as_deref(), Vec::new())?;
        let response = request.response.map(|response| response.get().to_owned());
        let truncated = response.as_ref().is_some_and(|text| text.len() > MAX_KEPT_BYTES);
        let report = Report {
            is_final: true,
            response: response.filter(|_| !truncated),
            truncated,
            ..Report::new(Ending::Success, self.clock.now())
        };
        self.report_of(worker, &News::Ends(Box::new(report)), caller).await
    }

    /// Records that a worker has failed. The attempt is tried again by the schedule's policy, unless the worker says
    /// that this makes no sense.
    ///
    /// # Errors
    /// As of [`Api::complete_execution`].
    pub async fn fail_execution(
        &self,
        request: FailExecution,
        caller: &Caller,
    ) -> Result<Reply<Reported>, ApiError> {
        let mut faults = Vec::new();
        let error_type = request.error_type.unwrap_or_else(|| "failed".to_owned());
        if !(1..=100).contains(&error_type.chars().count()) {
            faults.push(FieldFault::new("error_type", "must have 1 to 100 characters"));
        }
        let message = request.error_message.unwrap_or_default();
        if message.chars().count() > 2000 {
            faults.push(FieldFault::new("error_message", "must have at most 2000 characters"));
        }
        let worker = check_worker(request.execution_id, request.token.as_deref(), faults)?;
        let report = Report {
            error_type: Some(error_type),
            message: Some(message),
            is_final: !request.retryable.unwrap_or(true),
            ..Report::new(Ending::Failed, self.clock.now())
        };
        self.report_of(worker, &News::Ends(Box::new(report)), caller).await
    }

    /// Records that a worker is still working.
    ///
    /// # Errors
    /// As of [`Api::complete_execution`]; `conflict` tells the worker to stop.
    pub async fn heartbeat_execution(
        &self,
        request: HeartbeatExecution,
        caller: &Caller,
    ) -> Result<Reply<Reported>, ApiError> {
        let progress = request.progress.map(|progress| u8::try_from(progress).unwrap_or(u8::MAX));
        let mut faults = Vec::new();
        if progress.is_some_and(|progress| progress > 100) {
            faults.push(FieldFault::new("progress", "must be at most 100"));
        }
        let worker = check_worker(request.execution_id, request.token.as_deref(), faults)?;
        self.report_of(worker, &News::Lives(progress), caller).await
    }

    /// Stops an execution: a waiting one is not made, a worker is told to stop, and a reply is no longer waited for. It
    /// is not tried again.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (its command is being sent), `conflict` (it has ended),
    /// `unavailable`.
    pub async fn cancel_execution(
        &self,
        request: CancelExecution,
        caller: &Caller,
    ) -> Result<Reply<Reported>, ApiError> {
        let mut faults = Vec::new();
        if request.execution_id.is_none() {
            faults.push(FieldFault::new("execution_id", "is required"));
        }
        if request.reason.as_ref().is_some_and(|reason| reason.chars().count() > 500) {
            faults.push(FieldFault::new("reason", "must have at most 500 characters"));
        }
        let Some(execution_id) = request.execution_id.filter(|_| faults.is_empty()) else {
            return Err(faults.into());
        };
        let schedule_id = match request.schedule_id {
            Some(id) => id,
            None => self.schedule_of(execution_id).await?,
        };
        let news = News::Stops(Cancel::new(caller.actor(), request.reason));
        let reply = self.report(schedule_id, execution_id, &Reporter::User, &news, caller).await?;
        tracing::info!(%execution_id, %schedule_id, cancelled_by = caller.actor(), "execution cancelled");
        Ok(reply)
    }

    async fn report_of(
        &self,
        (schedule_id, execution_id, token): (Uuid, Uuid, &str),
        news: &News,
        caller: &Caller,
    ) -> Result<Reply<Reported>, ApiError> {
        self.report(schedule_id, execution_id, &Reporter::Worker(token), news, caller).await
    }

    /// The schedule whose record holds the attempt, or whose history holds the execution.
    pub(in crate::api) async fn schedule_of(&self, execution_id: Uuid) -> Result<Uuid, ApiError> {
        if let Some(entry) = self.index.find(|schedule| holds(schedule, execution_id)) {
            return Ok(entry.schedule.id);
        }
        match self.history.get(execution_id).await? {
            Some(execution) => Ok(execution.schedule_id),
            None => Err(no_execution(execution_id)),
        }
    }

    async fn report(
        &self,
        schedule_id: Uuid,
        execution_id: Uuid,
        from: &Reporter<'_>,
        news: &News,
        caller: &Caller,
    ) -> Result<Reply<Reported>, ApiError> {
        let step = |read: Option<Read>, _| async move {
            let attempt = |schedule: &Schedule| {
                schedule.attempts.iter().position(|attempt| attempt.execution_id == execution_id)
            };
            let found = read.and_then(|read| Some((attempt(&read.schedule)?, read.schedule)));
            let Some((index, mut schedule)) = found else {
                // It is settled; the record of a command without a schedule is removed when it ends.
                let status = self.ended(schedule_id, execution_id, from, news).await?;
                return Ok(Step::Done(None, Some((status, None))));
            };
            let delivery = schedule.sends(&schedule.attempts[index]).delivery.clone();
            let attempt = &mut schedule.attempts[index];
            if let Reporter::Worker(token) = from
                && attempt.token.as_deref() != Some(*token)
            {
                return Err(not_its_token(execution_id));
            }
            let now = self.clock.now();
            let write = stop_if_asked(attempt, news, self.instance, now)
                || apply(attempt, news, &delivery, self.instance, now)?;
            let status = status(attempt);
            Ok(match write {
                true => Step::Write(Box::new(schedule), status),
                false => Step::Done(None, Some(status)),
            })
        };
        // The attempt itself shows whether its report was made.
        let reported_as = self.rewriting(schedule_id, None, step).await?;
        let Some((status, deadline)) = reported_as.and_then(|rewritten| rewritten.with) else {
            // This is not `conflict`, which says that the attempt has ended.
            return Err(ApiError::new(
                Code::Unavailable,
                "the schedule changes too often; try again",
            ));
        };
        // The report came after the cancellation, which is what was written.
        if status == ExecutionStatus::Cancelled && !matches!(news, News::Stops(_)) {
            return Err(has_ended(execution_id, status));
        }
        Ok(reported(schedule_id, execution_id, status, deadline, caller))
    }

    /// Answer to a report on an execution that the record no longer holds.
    async fn ended(
        &self,
        schedule_id: Uuid,
        id: Uuid,
        from: &Reporter<'_>,
        news: &News,
    ) -> Result<ExecutionStatus, ApiError> {
        let outcome = self.history.outcome(id).await?;
        // A token names its schedule.
        let is_anothers = match &outcome {
            Some(execution) => execution.schedule_id != schedule_id,
            None => self
                .index
                .find(|schedule| holds(schedule, id))
                .is_some_and(|entry| entry.schedule.id != schedule_id),
        };
        if is_anothers {
            return Err(match from {
                Reporter::Worker(_) => not_its_token(id),
                Reporter::User => {
                    let message = format!("execution {id} is not one of schedule {schedule_id}");
                    ApiError::new(Code::NotFound, message)
                }
            });
        }
        let Some(execution) = outcome else {
            return Err(no_execution(id));
        };
        match (execution.status, news) {
            (ExecutionStatus::Success, News::Ends(report)) if report.ending == Ending::Success => {
                Ok(execution.status)
            }
            (ExecutionStatus::Failed, News::Ends(report)) if report.ending == Ending::Failed => {
                Ok(execution.status)
            }
            (ExecutionStatus::Cancelled, News::Stops(_)) => Ok(execution.status),
            (status, _) => Err(has_ended(id, status)),
        }
    }
}

/// Checks what a worker must show: its execution and token, which names the schedule.
fn check_worker(
    execution_id: Option<Uuid>,
    token: Option<&str>,
    mut faults: Vec<FieldFault>,
) -> Result<(Uuid, Uuid, &str), ApiError> {
    if execution_id.is_none() {
        faults.push(FieldFault::new("execution_id", "is required"));
    }
    let schedule_id = token.and_then(|token| Uuid::try_parse(token.split_once('.')?.0).ok());
    match (token, schedule_id) {
        (None, _) => faults.push(FieldFault::new("token", "is required")),
        (Some(_), None) => {
            faults.push(FieldFault::new("token", "is not one that a command carries"));
        }
        _ => {}
    }
    match (schedule_id, execution_id, token) {
        (Some(schedule), Some(execution), Some(token)) if faults.is_empty() => {
            Ok((schedule, execution, token))
        }
        _ => Err(faults.into()),
    }
}

fn reported(
    schedule_id: Uuid,
    execution_id: Uuid,
    status: ExecutionStatus,
    deadline: Option<DateTime<Utc>>,
    caller: &Caller,
) -> Reply<Reported> {
    let links = Links::execution(execution_id, schedule_id);
    Reply::new(Reported { execution_id, schedule_id, status, deadline }, caller).links(links)
}

/// Whether an execution is one of the attempts of a record.
fn holds(schedule: &Schedule, execution_id: Uuid) -> bool {
    schedule.attempts.iter().any(|attempt| attempt.execution_id == execution_id)
}

fn not_its_token(id: Uuid) -> ApiError {
    ApiError::new(Code::NotAllowed, format!("the token is not that of execution {id}"))
}

fn no_execution(id: Uuid) -> ApiError {
    ApiError::new(Code::NotFound, format!("there is no execution {id}"))
}
