//! What running an ended execution again answers, and what a dry run says of it.
//!
//! A dry run makes the record that would be written, by the functions that make the real one, and drops it: so it refuses
//! what the real one would, but for what others who write or wait do meanwhile.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::super::error::ApiError;
use super::super::super::reply::{Links, Reply};
use super::super::super::{Api, Caller};
use super::{Retry, RetryPayload, of_schedule};
use crate::execution::Execution;
use crate::port::Nats;
use crate::schedule::Schedule;

/// A retry that will take place, whatever happens to the service; or what a dry run says of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Retried {
    /// Whether this was a dry run: nothing was written.
    #[serde(default)]
    pub dry_run: bool,
    /// The execution that is run again.
    pub retry_of: Uuid,
    /// The schedule.
    pub schedule_id: Uuid,
    /// The new execution, which the history will show. In a dry run only if an earlier request with the same key made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<Uuid>,
    /// In a dry run: the name of the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_name: Option<String>,
    /// In a dry run: the subject that its command would be sent to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_command: Option<String>,
    /// In a dry run: where its payload would come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadSource>,
    /// The finished execution, if the request waited for it and it ended in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
}

/// Where the payload of a retry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayloadSource {
    /// The execution that is run again sent it.
    Own,
    /// The schedule sends it now.
    Current,
    /// The request has it: `override_payload`.
    Override,
}

impl Retried {
    /// The answer about an execution of a schedule, with nothing known yet.
    pub(super) fn of(retry_of: Uuid, schedule_id: Uuid) -> Self {
        Self {
            dry_run: false,
            retry_of,
            schedule_id,
            execution_id: None,
            schedule_name: None,
            target_command: None,
            payload: None,
            execution: None,
        }
    }
}

impl Retry<'_> {
    /// Where the payload comes from.
    pub(super) fn source(&self) -> PayloadSource {
        match (self.override_payload, self.payload) {
            (Some(_), _) => PayloadSource::Override,
            (None, RetryPayload::Own) => PayloadSource::Own,
            (None, RetryPayload::Current) => PayloadSource::Current,
        }
    }
}

impl<N: Nats> Api<N> {
    /// What the same request would do if it were no dry run.
    pub(super) async fn would_retry(
        &self,
        execution: &Execution,
        retry: &Retry<'_>,
        caller: &Caller,
    ) -> Result<Reply<Retried>, ApiError> {
        let schedule = self.check_retry(execution, retry, caller).await?;
        let links = match execution.settings {
            Some(_) => Links::default(),
            None => Links::schedule(schedule.id),
        };
        let mut data = Retried::of(execution.id, execution.schedule_id);
        data.dry_run = true;
        data.schedule_name = Some(schedule.spec.name.to_string());
        data.target_command = Some(schedule.spec.target_command.as_str().to_owned());
        data.payload = Some(retry.source());
        let mut reply = Reply::new(data, caller).links(links);
        reply.warnings.extend(self.target_warning(&schedule).await);
        Ok(reply)
    }

    /// The record that would be written to run an ended execution again. Nothing is written, and whatever would be refused
    /// is.
    pub(super) async fn check_retry(
        &self,
        execution: &Execution,
        retry: &Retry<'_>,
        caller: &Caller,
    ) -> Result<Schedule, ApiError> {
        if let Some(settings) = &execution.settings {
            let request = retry.command(execution, settings, 0)?;
            return self.would_send(&request, Some(execution.id), caller).await;
        }
        let run = retry.run(execution, caller)?;
        let would = self.would_run(&run).await;
        would.map_err(|error| of_schedule(error, execution))
    }
}
