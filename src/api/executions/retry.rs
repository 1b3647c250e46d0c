//! Running an ended execution again, with the payload that it sent.
//!
//! The new execution is a run by hand of the schedule as it is now, see [`Api::run`]; `retry_of` names the old one. It
//! is in the record before the reply, like every run by hand.

mod drain;
mod many;
mod plan;
mod request;
mod reruns;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::execute::{ExecuteImmediate, NAME as IMMEDIATE, Sent, execution_of};
use super::super::reply::{Links, Reply};
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

run_fields! { request {
    /// A request to run an ended execution again, as a run by hand of its schedule.
    pub struct RetryExecution {
        /// Required.
        pub execution_id: Option<Uuid>,
        /// Which payload is sent, unless there is an `override_payload`; default `own`.
        pub payload: Option<RetryPayload>,
    }
} }

/// A retry that will take place, whatever happens to the service.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// The execution that is run again.
    pub retry_of: Uuid,
    /// The schedule.
    pub schedule_id: Uuid,
    /// The new execution, which the history will show.
    pub execution_id: Uuid,
    /// The finished execution, if the request waited for it and it ended in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
}

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
}

impl<N: Nats> Api<N> {
    /// Runs an ended execution again. Once the reply is sent the run takes place, even if every instance is killed
    /// immediately afterwards. A request with an `idempotency_key` or a `Nats-Msg-Id` that is repeated within a day
    /// returns the first one's execution, with the warning `repeated`.
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
        let wait_ms = request.wait_ms.unwrap_or(0);
        let taken = self.take_up(&execution, &retry, key, wait_ms, caller).await?;
        let TakenUp { schedule_id, execution_id, execution, repeated: again, links } = taken;
        let data = Retried { retry_of: id, schedule_id, execution_id, execution };
        let mut reply = Reply::new(data, caller).links(links);
        reply.warnings.extend(again.then(|| repeated("made the run")));
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
            let Sent { schedule_id, execution_id, execution, repeated, .. } = sent;
            let links = Links::command(execution_id);
            return Ok(TakenUp { schedule_id, execution_id, execution, repeated, links });
        }
        let schedule_id = execution.schedule_id;
        let mut run = retry.run(execution, caller)?;
        (run.key, run.wait_ms) = (key, wait_ms);
        let placed = self.run(&run, caller).await;
        let placed = placed.map_err(|error| of_schedule(error, execution))?;
        let Placed { execution_id, execution, repeated } = placed;
        let links = Links::execution(execution_id, schedule_id);
        Ok(TakenUp { schedule_id, execution_id, execution, repeated, links })
    }

    /// Checks that an ended execution can be run again now; returns where its command would be sent.
    async fn check_retry(
        &self,
        execution: &Execution,
        retry: &Retry<'_>,
        caller: &Caller,
    ) -> Result<String, ApiError> {
        if let Some(settings) = &execution.settings {
            let request = retry.command(execution, settings, 0)?;
            let (actor, id) = (caller.actor(), self.clock.new_id());
            self.check_immediate(&request, id, &actor, &caller.correlation_id)?;
            return Ok(execution.command_sent.clone());
        }
        let run = retry.run(execution, caller)?;
        let found = self.read_schedule(execution.schedule_id).await;
        let (schedule, _) = found.map_err(|error| of_schedule(error, execution))?;
        self.check_place(&schedule, &run)?;
        Ok(schedule.spec.target_command.as_str().to_owned())
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
        let wait = self.wait_for(execution_id, request.wait_ms.unwrap_or(0)).unwrap_or_default();
        let execution = self.outcome(wait, caller).await;
        let data = Retried { retry_of, schedule_id, execution_id, execution };
        let mut reply = Reply::new(data, caller).links(links);
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
        match (self.override_payload, self.payload) {
            (None, RetryPayload::Own) => own_payload(execution).map(Some),
            _ => Ok(None),
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

/// Says what to do about a command that never had a schedule, and does not say itself how it is sent.
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
