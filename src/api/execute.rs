//! Sends one command at once, without a schedule of its own.

use std::sync::Arc;

use tokio::time::Instant;

use super::error::ApiError;
use super::reply::{Links, Reply};
use super::schedules::{MAX_WAIT_MS, Triggered};
use super::{Api, Caller, Checked};
use crate::index::Entry;
use crate::jetstream::WriteError;
use crate::port::Nats;
use crate::schedule::declared::command_fields;
use crate::schedule::{
    CreateSchedule, FieldFault, Schedule, ScheduleType, execution_id, new_schedule,
};
use crate::trigger::Trigger;

/// Name of such a command in headers and in the history.
pub(super) const NAME: &str = "execute.immediate";

command_fields! { request {
    /// A request to send one command at once. It is delivered, tried again and recorded like that of a schedule, but no
    /// schedule is visible.
    pub struct ExecuteImmediate {
        /// How long to wait for the outcome, in milliseconds; default 0, at most 60000.
        #[schemars(range(max = 60_000))]
        pub wait_ms: Option<u64>,
    }
} }

impl Checked for ExecuteImmediate {
    fn faults(&self, api: &Api<impl Nats>) -> Vec<FieldFault> {
        api.check_immediate(self, "unknown", "").err().unwrap_or_default()
    }
}

impl<N: Nats> Api<N> {
    /// Sends one command at once. Once the reply is sent, the command will be sent even if every instance is killed
    /// immediately afterwards.
    ///
    /// # Errors
    /// `invalid`, `too_large`, `limit_exceeded` (too many callers are waiting), `unavailable`.
    pub async fn execute_immediate(
        &self,
        request: ExecuteImmediate,
        caller: &Caller,
    ) -> Result<Reply<Triggered>, ApiError> {
        let actor = caller.actor();
        let (mut schedule, trigger) =
            self.check_immediate(&request, &actor, &caller.correlation_id)?;
        schedule.trace = caller.trace.map(Box::new);
        let schedule_id = schedule.id;
        let due = schedule.next_run_at.unwrap_or(schedule.created_at);
        let execution_id = execution_id(schedule_id, due, 1);
        let wait = self.wait_for(execution_id, request.wait_ms.unwrap_or(0))?;
        self.store.room().admits(None, &schedule)?;
        let deadline = Instant::now() + super::WRITE_PATIENCE;
        let written = match self.store.write(&schedule, self.store.sight().at(0), deadline).await {
            Ok(written) => Some(written),
            // Nobody else writes a fresh id: our write was stored, and the engine has written since.
            Err(WriteError::Conflict) => None,
            Err(error) => return Err(error.into()),
        };
        let target = schedule.spec.target_command.as_str();
        tracing::info!(%execution_id, target, created_by = actor, "command accepted");
        let warning = self.target_warning(&schedule).await;
        if let Some(written) = written {
            let (revision, schedule) = (written.revision, Arc::new(schedule));
            self.index.wrote(Entry { revision, schedule, trigger });
        }
        let execution = self.outcome(wait, caller).await;
        let links = Links { schedule: None, ..Links::execution(execution_id, schedule_id) };
        let mut reply =
            Reply::new(Triggered { schedule_id, execution_id, execution }, caller).links(links);
        reply.warnings.extend(warning);
        Ok(reply)
    }

    fn check_immediate(
        &self,
        request: &ExecuteImmediate,
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
        let (id, now, writer) = (self.clock.new_id(), self.clock.now(), self.writer());
        let checked = new_schedule(&create, &self.rules, id, now, actor, correlation_id, writer);
        let mut faults = checked.as_ref().err().cloned().unwrap_or_default();
        if request.wait_ms.is_some_and(|ms| ms > MAX_WAIT_MS) {
            faults.push(FieldFault::new("wait_ms", format!("must be at most {MAX_WAIT_MS}")));
        }
        match checked {
            Ok((mut schedule, trigger)) if faults.is_empty() => {
                schedule.purge = true;
                Ok((schedule, trigger))
            }
            _ => Err(faults),
        }
    }
}
