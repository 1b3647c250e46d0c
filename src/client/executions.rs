//! Operations on executions, commands without a schedule, and the status of the service.

use std::time::{Duration, Instant};

use tokio::time::sleep;
use uuid::Uuid;

use super::{
    BackfillSchedule, Backfilled, BulkRetried, BulkRetry, CancelExecution, ChangeEvent, Client,
    ClientError, Code, CompleteExecution, ExecuteImmediate, Execution, ExecutionStatistics,
    ExecutionStory, FailExecution, GetStatistics, HeartbeatExecution, ListAudit, ListByCorrelation,
    ListExecutions, ListRunning, Reply, Reported, Retried, RetryExecution, RunningExecution,
    ServiceStatus, Triggered,
};
use crate::api::executions::GetExecution;
use crate::api::status::GetStatus;

/// Pause between two requests for an outcome.
const LOOK: Duration = Duration::from_millis(100);

impl Client {
    /// Sends one command at once, without a schedule. `wait_ms` is added to the client's timeout. Without an
    /// `idempotency_key` each request sends a command of its own.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`.
    pub async fn execute(
        &self,
        request: &ExecuteImmediate,
    ) -> Result<Reply<Triggered>, ClientError> {
        self.ask_and_wait("execute.immediate", request, request.wait_ms).await
    }

    /// Fetches one execution, as its latest event shows it, with all attempts at its occurrence.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, also for an execution that has not begun.
    pub async fn execution(&self, id: Uuid) -> Result<Reply<ExecutionStory>, ClientError> {
        self.ask("execution.get", &GetExecution { execution_id: Some(id) }).await
    }

    /// Fetches one page of the executions that match, newest first.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`.
    pub async fn executions(
        &self,
        request: &ListExecutions,
    ) -> Result<Reply<Vec<Execution>>, ClientError> {
        self.ask("execution.list", request).await
    }

    /// Lists executions that are under way, newest first, and on request those that wait.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`.
    pub async fn running(
        &self,
        request: &ListRunning,
    ) -> Result<Reply<Vec<RunningExecution>>, ClientError> {
        self.ask("execution.running", request).await
    }

    /// Lists executions with a correlation id, newest first.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`.
    pub async fn by_correlation(
        &self,
        request: &ListByCorrelation,
    ) -> Result<Reply<Vec<Execution>>, ClientError> {
        self.ask("execution.by_correlation", request).await
    }

    /// Fetches one page of the changes of schedules that match, newest first.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`.
    pub async fn audit(&self, request: &ListAudit) -> Result<Reply<Vec<ChangeEvent>>, ClientError> {
        self.ask("audit.list", request).await
    }

    /// Fetches statistics of a schedule, or of all.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`, `not_found`.
    pub async fn statistics(
        &self,
        request: &GetStatistics,
    ) -> Result<Reply<ExecutionStatistics>, ClientError> {
        self.ask("execution.stats", request).await
    }

    /// Waits until an execution has an outcome, by polling; `None` if it has none within `patience`. The outcome is
    /// that of one attempt: `will_retry` says whether another follows, as an execution of its own.
    ///
    /// # Errors
    /// Those of the requests. A service that does not answer is given time, and is an error only if it still does not
    /// answer at the end.
    pub async fn wait_for_outcome(
        &self,
        execution_id: Uuid,
        patience: Duration,
    ) -> Result<Option<Execution>, ClientError> {
        let started = Instant::now();
        loop {
            let left = patience.saturating_sub(started.elapsed()).max(LOOK);
            let client = self.clone().timeout(self.timeout.min(left));
            let away = match client.execution(execution_id).await {
                Ok(reply) if reply.data.execution.status.is_final() => {
                    return Ok(Some(reply.data.execution));
                }
                Ok(_) => None,
                Err(error) if error.code() == Some(Code::NotFound) => None,
                Err(error) if error.may_pass() => Some(error),
                Err(error) => return Err(error),
            };
            if started.elapsed().saturating_add(LOOK) >= patience {
                return away.map_or(Ok(None), Err);
            }
            sleep(LOOK).await;
        }
    }

    /// Stops an execution that is under way or waits, for a reason shown to people. It is not tried again.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found`, `conflict` (it has ended), `not_allowed` (its command is being
    /// sent).
    pub async fn cancel(
        &self,
        execution_id: Uuid,
        reason: Option<&str>,
    ) -> Result<Reply<Reported>, ClientError> {
        let request = CancelExecution {
            execution_id: Some(execution_id),
            reason: reason.map(str::to_owned),
            ..CancelExecution::default()
        };
        self.cancel_with(&request).await
    }

    /// Like [`Client::cancel`], with the whole request, which can name the schedule if it is known.
    ///
    /// # Errors
    /// Those of [`Client::cancel`].
    pub async fn cancel_with(
        &self,
        request: &CancelExecution,
    ) -> Result<Reply<Reported>, ClientError> {
        self.ask("execution.cancel", request).await
    }

    /// Runs an ended execution again, with the payload that it sent.
    ///
    /// # Errors
    /// See [`ClientError`]; `not_found` (the execution, or its schedule), `not_allowed` (it has not ended, another
    /// attempt follows, or its payload was not kept), `limit_exceeded` (too many runs are waiting).
    pub async fn retry(&self, execution_id: Uuid) -> Result<Reply<Retried>, ClientError> {
        let execution_id = Some(execution_id);
        self.retry_with(&RetryExecution { execution_id, ..RetryExecution::default() }).await
    }

    /// Like [`Client::retry`], with another payload, an idempotency key or waiting for the outcome: `wait_ms` is added
    /// to the client's timeout. With `dry_run` it only says what would be run.
    ///
    /// # Errors
    /// Those of [`Client::retry`], and `invalid`.
    pub async fn retry_with(
        &self,
        request: &RetryExecution,
    ) -> Result<Reply<Retried>, ClientError> {
        self.ask_and_wait("execution.retry", request, request.wait_ms).await
    }

    /// Runs ended executions that match a filter again, oldest first; with `dry_run` it only reports what it would do.
    /// A thousand take seconds: give the client a longer timeout for them.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid` for the request as a whole. The reply says why an execution was not taken up.
    pub async fn bulk_retry(&self, request: &BulkRetry) -> Result<Reply<BulkRetried>, ClientError> {
        self.ask("bulk.retry", request).await
    }

    /// Runs the occurrences of a span of the past; with `dry_run` it only lists them.
    ///
    /// # Errors
    /// See [`ClientError`]; `invalid`, `not_found`, `not_allowed` (it does not fire, or is being
    /// backfilled), `limit_exceeded` (too many occurrences).
    pub async fn backfill(
        &self,
        request: &BackfillSchedule,
    ) -> Result<Reply<Backfilled>, ClientError> {
        self.ask("schedule.backfill", request).await
    }

    /// Fetches the status of the service, as seen by the instance that answers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status(&self) -> Result<Reply<ServiceStatus>, ClientError> {
        self.ask("status", &GetStatus::default()).await
    }

    /// Returns the status of the service with the settings of the instance that answers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn status_with_settings(&self) -> Result<Reply<ServiceStatus>, ClientError> {
        self.ask("status", &GetStatus { include_settings: Some(true) }).await
    }
}

/// Reports of workers on `job` commands. Each report may be sent again: it counts once. If one is refused with any code
/// except `unavailable` and `internal`, the job no longer belongs to this worker.
impl Client {
    /// Reports that a job is done.
    ///
    /// # Errors
    /// See [`ClientError`]; `conflict` (it has ended otherwise), `not_found`, `not_allowed` (the token belongs to
    /// another execution), `invalid`.
    pub async fn complete(
        &self,
        request: &CompleteExecution,
    ) -> Result<Reply<Reported>, ClientError> {
        self.ask("execution.complete", request).await
    }

    /// Reports that a job has failed.
    ///
    /// # Errors
    /// Those of [`Client::complete`].
    pub async fn fail(&self, request: &FailExecution) -> Result<Reply<Reported>, ClientError> {
        self.ask("execution.fail", request).await
    }

    /// Reports that a job is under way.
    ///
    /// # Errors
    /// Those of [`Client::complete`].
    pub async fn heartbeat(
        &self,
        request: &HeartbeatExecution,
    ) -> Result<Reply<Reported>, ClientError> {
        self.ask("execution.heartbeat", request).await
    }
}
