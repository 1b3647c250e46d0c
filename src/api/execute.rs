//! Sends one command at once, without a schedule of its own.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use uuid::Uuid;

use super::error::ApiError;
use super::reply::{Links, Reply, Warning};
use super::schedules::{
    Deed, Found, Key, MAX_WAIT_MS, Once, Run, Triggered, Unmade, hash, repeated,
};
use super::{Api, Caller, Checked};
use crate::execution::Execution;
use crate::index::Entry;
use crate::jetstream::WriteError;
use crate::names;
use crate::port::Nats;
use crate::schedule::declared::command_fields;
use crate::schedule::{
    Attempt, CreateSchedule, FieldFault, Schedule, ScheduleType, check_id, execution_id,
    new_schedule,
};
use crate::trigger::Trigger;

/// Name of such a command in headers and in the history.
pub(crate) const NAME: &str = "execute.immediate";

command_fields! { request {
    /// A request to send one command at once. It is delivered, tried again and recorded like that of a schedule, but no
    /// schedule is visible.
    pub struct ExecuteImmediate {
        /// How long to wait for the outcome, in milliseconds; default 0, at most 60000.
        #[schemars(range(max = 60_000))]
        pub wait_ms: Option<u64>,
        /// Makes the request safe to repeat: within a day the same key of the same user sends one command. The header
        /// `Nats-Msg-Id` does the same.
        #[schemars(length(min = 1, max = 255))]
        pub idempotency_key: Option<String>,
    }
} }

impl Checked for ExecuteImmediate {
    fn faults(&self, api: &Api<impl Nats>) -> Vec<FieldFault> {
        api.check_immediate(self, api.clock.new_id(), "unknown", "").err().unwrap_or_default()
    }
}

/// Sending one command. Its record is written once, as the first under the id that the memo holds, and the id of the
/// execution follows from that id. So a repetition that finds the record, the marker of its removal, or an outcome knows
/// that the command is sent.
struct Sending<'a, N: Nats> {
    api: &'a Api<N>,
    request: &'a ExecuteImmediate,
    /// The ended execution whose command is sent again, if it is one.
    retry_of: Option<Uuid>,
    actor: &'a str,
    caller: &'a Caller,
}

/// A command that will be sent, whatever happens to the service.
pub(super) struct Sent {
    pub(super) schedule_id: Uuid,
    pub(super) execution_id: Uuid,
    /// The finished execution, if it was waited for and it ended in time.
    pub(super) execution: Option<Execution>,
    /// Whether an earlier request with the same key asked for it.
    pub(super) repeated: bool,
    /// What its target is to be warned of.
    pub(super) warning: Option<Warning>,
}

impl<N: Nats> Deed for Sending<'_, N> {
    type Draft = (Schedule, Trigger);
    /// The record, if it is written now.
    type Made = (Uuid, Option<Entry>);

    fn ids(&self, id: Uuid) -> (Uuid, Option<Uuid>) {
        (id, None)
    }

    async fn prepare(&self, id: Uuid) -> Result<Self::Draft, ApiError> {
        let Caller { correlation_id, trace, .. } = self.caller;
        let checked = self.api.check_immediate(self.request, id, self.actor, correlation_id);
        let (mut schedule, trigger) = checked?;
        schedule.trace = trace.map(Box::new);
        if let Some(retry_of) = self.retry_of {
            // A run by hand, so that the history says of what.
            let run = Run::new(id, None, self.caller).retry_of(retry_of, false);
            schedule.attempts.push(Attempt::manual(execution_of(id), made_at(id), run.manual()));
            schedule.next_run_at = None;
        }
        self.api.store.room().admits(None, &schedule)?;
        Ok((schedule, trigger))
    }

    async fn make(&self, id: Uuid, request: Found<Self::Draft>) -> Result<Self::Made, Unmade> {
        let draft = match request {
            Found::Before { done: true } => return Ok((id, None)),
            Found::Before { done: false } if self.api.was_sent(id).await? => return Ok((id, None)),
            Found::Before { done: false } => self.prepare(id).await?,
            Found::New(draft) => draft,
        };
        Ok((id, self.api.send(draft).await?))
    }
}

impl<N: Nats> Api<N> {
    /// Sends one command at once. Once the reply is sent, the command will be sent even if every instance is killed
    /// immediately afterwards. A request with an `idempotency_key` or a `Nats-Msg-Id` that is repeated within a day sends
    /// nothing more, and returns the first one's execution, with the warning `repeated`.
    ///
    /// # Errors
    /// `invalid`, `too_large`, `limit_exceeded` (too many callers are waiting), `unavailable`; `not_allowed` if the key
    /// was used for another request.
    pub async fn execute_immediate(
        &self,
        request: ExecuteImmediate,
        caller: &Caller,
    ) -> Result<Reply<Triggered>, ApiError> {
        let key = caller.key(request.idempotency_key.as_ref(), asked(&request));
        let sent = self.send_once(&request, None, key.as_ref(), caller).await?;
        let Sent { schedule_id, execution_id, execution, repeated: again, warning } = sent;
        let data = Triggered { schedule_id, execution_id, execution };
        let mut reply = Reply::new(data, caller).links(Links::command(execution_id));
        reply.warnings.extend(warning);
        reply.warnings.extend(again.then(|| repeated("sent the command")));
        Ok(reply)
    }

    /// Sends one command, again if it is that of an ended execution, and waits for its outcome if the request says so. With
    /// a key it does so once.
    ///
    /// # Errors
    /// Those of [`Api::execute_immediate`].
    pub(super) async fn send_once(
        &self,
        request: &ExecuteImmediate,
        retry_of: Option<Uuid>,
        key: Option<&Key>,
        caller: &Caller,
    ) -> Result<Sent, ApiError> {
        let (actor, mine) = (caller.actor(), self.clock.new_id());
        let wait_ms = request.wait_ms.unwrap_or(0);
        let sending = Sending { api: self, request, retry_of, actor: &actor, caller };
        // Faults of a request whose key is known are faults all the same.
        let draft = sending.prepare(mine).await?;
        let mut wait = self.wait_for(execution_of(mine), wait_ms)?;
        let schedule = draft.0.clone();
        let ((schedule_id, written), repeated) = match key {
            None => ((mine, self.send(draft).await?), false),
            Some(key) => {
                let Once { made, repeated } = self.once(key, mine, &sending).await?;
                (made, repeated)
            }
        };
        let execution_id = execution_of(schedule_id);
        if schedule_id != mine {
            // Whoever finds no place here need not wait: the command is sent.
            drop(wait.take());
            wait = self.wait_for(execution_id, wait_ms).unwrap_or_default();
        }
        let target = schedule.spec.target_command.as_str();
        tracing::info!(%execution_id, target, created_by = actor, ?retry_of, repeated, "command accepted");
        let warning = self.target_warning(&schedule).await;
        if let Some(entry) = written {
            self.index.wrote(entry);
        }
        let execution = self.outcome(wait, caller).await;
        Ok(Sent { schedule_id, execution_id, execution, repeated, warning })
    }

    /// The record that [`Api::send_once`] would write. Nothing is written.
    ///
    /// # Errors
    /// `invalid`, `too_large`.
    pub(super) async fn would_send(
        &self,
        request: &ExecuteImmediate,
        retry_of: Option<Uuid>,
        caller: &Caller,
    ) -> Result<Schedule, ApiError> {
        let actor = caller.actor();
        let sending = Sending { api: self, request, retry_of, actor: &actor, caller };
        let (schedule, _) = sending.prepare(self.clock.new_id()).await?;
        Ok(schedule)
    }

    /// Writes the record of a command, unless that has been done; returns it as written.
    async fn send(
        &self,
        (schedule, trigger): (Schedule, Trigger),
    ) -> Result<Option<Entry>, ApiError> {
        let deadline = Instant::now() + super::WRITE_PATIENCE;
        match self.store.write(&schedule, self.store.sight().at(0), deadline).await {
            Ok(written) => {
                let (revision, schedule) = (written.revision, Arc::new(schedule));
                Ok(Some(Entry { revision, schedule, trigger }))
            }
            // Nobody writes this id for anything else: the record was there, and the engine may have written since.
            Err(WriteError::Conflict) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the record of a command is or was there. It leaves only after the history has the outcome.
    async fn was_sent(&self, id: Uuid) -> Result<bool, ApiError> {
        if self.store.read(&names::schedule_key(id)).await?.is_some() {
            return Ok(true);
        }
        Ok(self.history.outcome(execution_of(id)).await?.is_some())
    }

    fn check_immediate(
        &self,
        request: &ExecuteImmediate,
        id: Uuid,
        actor: &str,
        correlation_id: &str,
    ) -> Result<(Schedule, Trigger), Vec<FieldFault>> {
        let create = command_fields! { taken { request => CreateSchedule {
            name: Some(NAME.to_owned()),
            schedule_type: Some(ScheduleType::Immediate),
            // The command is sent however long no instance was running.
            misfire_grace_seconds: Some(31_536_000),
            ..CreateSchedule::default()
        } } };
        let writer = self.writer();
        let checked =
            new_schedule(&create, &self.rules(), id, made_at(id), actor, correlation_id, writer);
        let mut faults = checked.as_ref().err().cloned().unwrap_or_default();
        if request.wait_ms.is_some_and(|ms| ms > MAX_WAIT_MS) {
            faults.push(FieldFault::new("wait_ms", format!("must be at most {MAX_WAIT_MS}")));
        }
        check_id("idempotency_key", request.idempotency_key.as_deref(), &mut faults);
        match checked {
            Ok((mut schedule, trigger)) if faults.is_empty() => {
                schedule.purge = true;
                Ok((schedule, trigger))
            }
            _ => Err(faults),
        }
    }
}

/// When a command is due whose record has this id: when the id was made, so that the id alone says which execution it is.
fn made_at(id: Uuid) -> DateTime<Utc> {
    let ms = i64::try_from(id.as_u128() >> 80).unwrap_or_default();
    DateTime::from_timestamp_millis(ms).unwrap_or_default()
}

/// The execution of the command whose record has this id.
pub(super) fn execution_of(id: Uuid) -> Uuid {
    execution_id(id, made_at(id), 1)
}

/// Hash of a request's content, independent of its sender, its key and how long it waits.
fn asked(request: &ExecuteImmediate) -> String {
    let content = ExecuteImmediate { idempotency_key: None, wait_ms: None, ..request.clone() };
    hash(&("execute.immediate", content))
}
