//! Running an ended execution again, with the payload that it sent.
//!
//! The new execution is a run by hand of the schedule as it is now, see [`Api::run`]; `retry_of` names the old one. It
//! is in the record before the reply, like every run by hand.

mod drain;
mod many;
mod plan;
mod request;
mod reruns;
mod would;

use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::execute::{ExecuteImmediate, NAME as IMMEDIATE, Sent, execution_of};
use super::super::reply::{Links, Reply, Warning};
use super::super::schedules::{Key, Placed, Run, check_run, hash, repeated};
use super::super::{Api, Caller};
use crate::execution::{CommandSettings, Execution, ExecutionStatus};
pub use crate::execution::{ExecutionFilter, RetryPayload};
use crate::port::Nats;
use crate::schedule::declared::run_fields;
use crate::schedule::{FieldFault, Payload};
pub(crate) use drain::drain;
pub use many::{BulkRetried, RetriedItem};
pub(crate) use plan::RETRIED_BY_DEFAULT;
pub use request::BulkRetry;
pub use reruns::{CancelRerun, GetRerun, ListReruns, RerunStatus, RerunView};
pub use would::{PayloadSource, Retried};

run_fields! { request {
    /// A request to run an ended execution again, as a run by hand of its schedule.
    pub struct RetryExecution {
        /// Required.
        pub execution_id: Option<Uuid>,
        /// Which payload is sent, unless there is an `override_payload`; default `own`.
        pub payload: Option<RetryPayload>,
        /// Only report what would be run; default false.
        pub dry_run: Option<bool>,
    }
} }

/// How an execution is to be run again.
struct Retry<'a> {
    payload: RetryPayload,
    override_payload: Option<&'a Payload>,
}

/// An execution that will be run again.
struct TakenUp {
    schedule_id: Uuid,
    execution_id: Uuid,
    /// The finished execution, if it was waited for and ended in time.
    execution: Option<Execution>,
    repeated: bool,
    links: Links,
    /// What its target is to be warned of.
    warning: Option<Warning>,
}

impl<N: Nats> Api<N> {
    /// Runs an ended execution again. Once the reply is sent the run takes place, even if every instance is killed
    /// immediately afterwards. A request with an `idempotency_key` or a `Nats-Msg-Id` that is repeated within a day
    /// returns the first one's execution, with the warning `repeated`. A dry run says what would be run, or why nothing
    /// would, and waits for nothing.
    ///
    /// # Errors
    /// `invalid`, `not_found` (the execution, or its schedule), `not_allowed` (it has not ended, another attempt
    /// follows, its payload was not kept, or the key was used for another request),
    /// `limit_exceeded`, `too_large`, `unavailable`.
    pub async fn retry_execution(
        &self,
        request: RetryExecution,
        caller: &Caller,
    ) -> Result<Reply<Retried>, ApiError> {
        let (id, retry) = check(&request)?;
        let key = caller.key(request.idempotency_key.as_ref(), asked(id, &retry));
        if let Some(reply) = self.retried_before(id, &request, key.as_ref(), caller).await? {
            return Ok(reply);
        }
        let execution = self.ended_execution(id).await?;
        if request.is_dry() {
            return self.would_retry(&execution, &retry, caller).await;
        }
        let wait_ms = request.wait_ms.unwrap_or(0);
        let taken = self.take_up(&execution, &retry, key, wait_ms, caller).await?;
        let mut reply = Reply::new(Retried::of(id, taken.schedule_id), caller).links(taken.links);
        reply.data.execution_id = Some(taken.execution_id);
        reply.data.execution = taken.execution;
        reply.warnings.extend(taken.warning);
        reply.warnings.extend(taken.repeated.then(|| repeated("made the run")));
        Ok(reply)
    }

    /// Runs an ended execution again: as a run by hand of its schedule, or, if it never had one, as one more command.
    async fn take_up(
        &self,
        execution: &Execution,
        retry: &Retry<'_>,
        key: Option<Key>,
        wait_ms: u64,
        caller: &Caller,
    ) -> Result<TakenUp, ApiError> {
        if let Some(settings) = &execution.settings {
            let request = retry.command(execution, settings, wait_ms)?;
            let sent = self.send_once(&request, Some(execution.id), key.as_ref(), caller).await?;
            let Sent { schedule_id, execution_id, execution, repeated, warning } = sent;
            let links = Links::command(execution_id);
            return Ok(TakenUp { schedule_id, execution_id, execution, repeated, links, warning });
        }
        let schedule_id = execution.schedule_id;
        let mut run = retry.run(execution, caller)?;
        (run.key, run.wait_ms) = (key, wait_ms);
        let placed = self.run(&run, caller).await;
        let placed = placed.map_err(|error| of_schedule(error, execution))?;
        let Placed { execution_id, execution, repeated } = placed;
        let (links, warning) = (Links::execution(execution_id, schedule_id), None);
        Ok(TakenUp { schedule_id, execution_id, execution, repeated, links, warning })
    }

    /// The reply to a request that is known to have been done. It needs nothing of the execution, which the history may
    /// have dropped since.
    async fn retried_before(
        &self,
        retry_of: Uuid,
        request: &RetryExecution,
        key: Option<&Key>,
        caller: &Caller,
    ) -> Result<Option<Reply<Retried>>, ApiError> {
        let Some(key) = key else { return Ok(None) };
        let Some(memo) = self.made_before(key).await? else { return Ok(None) };
        let schedule_id = memo.schedule_id;
        // That of a single command has only the id of its record.
        let (execution_id, links) = match memo.execution_id {
            Some(id) => (id, Links::execution(id, schedule_id)),
            None => (execution_of(schedule_id), Links::command(execution_of(schedule_id))),
        };
        let wait_ms = request.wait_ms.filter(|_| !request.is_dry()).unwrap_or(0);
        let wait = self.wait_for(execution_id, wait_ms).unwrap_or_default();
        let mut reply = Reply::new(Retried::of(retry_of, schedule_id), caller).links(links);
        reply.data.dry_run = request.is_dry();
        reply.data.execution_id = Some(execution_id);
        reply.data.execution = self.outcome(wait, caller).await;
        reply.warnings.push(repeated("made the run"));
        Ok(Some(reply))
    }

    /// An execution that has ended, as of everything that the history has stored until now.
    async fn ended_execution(&self, id: Uuid) -> Result<Execution, ApiError> {
        if let Some(execution) = self.history.outcome(id).await? {
            return Ok(execution);
        }
        // Known to the history, or to the record only.
        self.schedule_of(id).await?;
        let message = format!("execution {id} has not ended; wait for its outcome, or cancel it");
        Err(ApiError::new(Code::NotAllowed, message))
    }
}

impl RetryExecution {
    fn is_dry(&self) -> bool {
        self.dry_run.unwrap_or(false)
    }
}

impl Retry<'_> {
    /// The run that repeats an ended execution.
    ///
    /// # Errors
    /// `not_allowed`: it cannot be repeated.
    fn run(&self, execution: &Execution, caller: &Caller) -> Result<Run, ApiError> {
        may_run_again(execution)?;
        let own = self.own(execution)?;
        let is_own = own.is_some();
        let payload = own.or(self.override_payload).cloned();
        Ok(Run::new(execution.schedule_id, payload, caller).retry_of(execution.id, is_own))
    }

    /// The command that repeats one of `execute.immediate`.
    ///
    /// # Errors
    /// `not_allowed`: it cannot be repeated.
    fn command(
        &self,
        execution: &Execution,
        settings: &CommandSettings,
        wait_ms: u64,
    ) -> Result<ExecuteImmediate, ApiError> {
        may_run_again(execution)?;
        let Some(payload) = self.own(execution)?.or(self.override_payload) else {
            let message = format!(
                "execution {} is of {IMMEDIATE}, so there is no schedule whose present payload could be sent",
                execution.id
            );
            return Err(ApiError::new(Code::NotAllowed, message));
        };
        Ok(ExecuteImmediate {
            target_command: Some(execution.command_sent.clone()),
            command_payload: Some(payload.clone()),
            priority: Some(u64::from(settings.priority)),
            max_retries: Some(u64::from(settings.max_retries)),
            retry_delay_seconds: Some(u64::from(settings.retry_delay_seconds)),
            delivery: Some(settings.delivery.clone()),
            wait_ms: Some(wait_ms),
            idempotency_key: None,
        })
    }

    /// The payload that the execution sent, if that is to be sent again.
    fn own<'a>(&self, execution: &'a Execution) -> Result<Option<&'a Payload>, ApiError> {
        match self.source() {
            PayloadSource::Own => own_payload(execution).map(Some),
            PayloadSource::Current | PayloadSource::Override => Ok(None),
        }
    }
}

fn check(request: &RetryExecution) -> Result<(Uuid, Retry<'_>), ApiError> {
    let override_payload = request.override_payload.as_ref();
    let key = request.idempotency_key.as_deref();
    let mut faults = check_run(override_payload, request.wait_ms, key);
    if request.payload.is_some() && override_payload.is_some() {
        faults.push(FieldFault::new("payload", "cannot stand beside override_payload"));
    }
    let Some(id) = request.execution_id else {
        faults.insert(0, FieldFault::new("execution_id", "is required"));
        return Err(faults.into());
    };
    if !faults.is_empty() {
        return Err(faults.into());
    }
    Ok((id, Retry { payload: request.payload.unwrap_or_default(), override_payload }))
}

/// Hash of what is asked for.
fn asked(execution: Uuid, retry: &Retry<'_>) -> String {
    hash(&("execution.retry", execution, retry.payload, retry.override_payload))
}

/// Refuses an execution that does not stand for one occurrence that is over.
fn may_run_again(execution: &Execution) -> Result<(), ApiError> {
    let id = execution.id;
    let refuse =
        |reason: String| Err(ApiError::new(Code::NotAllowed, format!("execution {id} {reason}")));
    if !execution.status.is_final() {
        return refuse("has not ended".to_owned());
    }
    if execution.will_retry {
        return refuse(
            "is followed by another attempt; execution.get shows all attempts, and the last one can be retried"
                .to_owned(),
        );
    }
    match execution.skipped.map_or(1, |range| range.count) {
        0 => refuse("stands for nothing that was due".to_owned()),
        1 => Ok(()),
        count => refuse(format!(
            "stands for {count} skipped occurrences; schedule.backfill runs those of a span"
        )),
    }
}

/// The payload that an execution sent.
fn own_payload(execution: &Execution) -> Result<&Payload, ApiError> {
    execution.command_payload.as_ref().ok_or_else(|| {
        let id = execution.id;
        let why = match execution.status {
            ExecutionStatus::Skipped | ExecutionStatus::Corrected => "sent nothing",
            _ => "has a payload that the history did not keep",
        };
        let message = format!(
            "execution {id} {why}; ask with payload \"current\" for what the schedule sends now, or give an \
             override_payload"
        );
        ApiError::new(Code::NotAllowed, message)
    })
}

/// Replaces `not_found` for a command without a schedule whose settings an earlier version did not note.
fn of_schedule(error: ApiError, execution: &Execution) -> ApiError {
    if error.code != Code::NotFound || execution.schedule_name != IMMEDIATE {
        return error;
    }
    let message = format!(
        "execution {} is of execute.immediate, by a version that did not note how it is sent; send its command_payload \
         to its command_sent by execute.immediate",
        execution.id
    );
    ApiError::new(Code::NotAllowed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn execution(more: &Value) -> Execution {
        let id = "01a20c7c-d0f8-89bf-ad19-85b2b92dabb2";
        let mut execution = json!({
            "id": id, "event_id": "e", "time": "2026-01-01T00:00:00Z", "schedule_id": id,
            "schedule_name": "n", "created_by": "c", "scheduled_for": "2026-01-01T00:00:00Z",
            "status": "failed", "attempt_number": 1, "correlation_id": "c", "command_sent": "cmd.a",
            "lock_id": { "instance": id, "revision": 1 },
        });
        for (field, value) in more.as_object().unwrap() {
            execution[field] = value.clone();
        }
        serde_json::from_str(&execution.to_string()).unwrap()
    }

    fn refusal(more: &Value, payload: RetryPayload) -> String {
        let retry = Retry { payload, override_payload: None };
        match retry.run(&execution(more), &Caller::anonymous()) {
            Ok(_) => String::new(),
            Err(error) => {
                assert_eq!(error.code, Code::NotAllowed);
                error.message
            }
        }
    }

    #[test]
    fn what_stands_for_one_occurrence_that_is_over_runs_again() {
        let at = "2026-01-01T00:00:00Z";
        let skipped = |count: u64| json!({ "status": "skipped", "skipped": { "cause": "missed", "last": at, "count": count } });
        let sent = |status: &str| json!({ "status": status, "command_payload": { "a": 1 } });
        let kept = "did not keep";
        for (execution, of_own, of_current) in [
            (sent("failed"), "", ""),
            (sent("success"), "", ""),
            (sent("cancelled"), "", ""),
            (sent("running"), "has not ended", "has not ended"),
            (json!({ "status": "success", "truncated": true }), kept, ""),
            (skipped(1), "sent nothing", ""),
            (skipped(2), "2 skipped occurrences", "2 skipped occurrences"),
            (skipped(0), "nothing that was due", "nothing that was due"),
            (json!({ "will_retry": true }), "another attempt", "another attempt"),
        ] {
            for (payload, expected) in
                [(RetryPayload::Own, of_own), (RetryPayload::Current, of_current)]
            {
                let found = refusal(&execution, payload);
                assert_eq!(found.is_empty(), expected.is_empty(), "{execution} {found}");
                assert!(found.contains(expected), "{execution} {found}");
            }
        }
    }

    #[test]
    fn a_command_without_a_schedule_says_what_to_do_instead() {
        let missing = || ApiError::no_schedule(Uuid::nil());
        let of = |name: &str| of_schedule(missing(), &execution(&json!({ "schedule_name": name })));
        assert_eq!(of("nightly").code, Code::NotFound);
        let refused = of("execute.immediate");
        assert_eq!(refused.code, Code::NotAllowed);
        assert!(refused.message.contains("by execute.immediate"), "{refused}");
    }
}
