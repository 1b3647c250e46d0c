//! Executions that are under way: those in the records, except the ones that the history knows to have ended.

use std::cmp::Reverse;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{Pagination, Reply};
use super::super::schedules::page;
use super::super::{Api, Caller};
use crate::execution::correlation_id;
use crate::index::Entry;
use crate::port::Nats;
use crate::schedule::declared::page_fields;
use crate::schedule::{Attempt, Phase, Schedule};

page_fields! { which_fields request {
    /// A request for the executions that are under way now.
    pub struct ListRunning {
        /// True: also list attempts that wait for their time, such as retries; they come last. Default false.
        pub include_pending: Option<bool>,
        /// Only this execution, also if it waits.
        pub execution_id: Option<Uuid>,
    }
} }

/// Stage of an execution that has no outcome yet.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum OpenStatus {
    /// It is claimed or with a worker.
    Running,
    /// It waits for its time.
    Pending,
}

/// An execution that has no outcome yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunningExecution {
    /// The execution.
    pub execution_id: Uuid,
    /// The schedule.
    pub schedule_id: Uuid,
    /// Name of the schedule.
    pub schedule_name: String,
    /// Stage of the execution.
    pub status: OpenStatus,
    /// The nominal time of the occurrence.
    pub scheduled_for: DateTime<Utc>,
    /// Number of the attempt, from 1.
    pub attempt_number: u32,
    /// Shared by all attempts at one occurrence.
    pub correlation_id: String,
    /// The subject of the command.
    pub target_command: String,
    /// The instance that has claimed it; absent if a worker has it, or nobody yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<Uuid>,
    /// When it was claimed, up to half a second before its time, or handed to a worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<DateTime<Utc>>,
    /// When another instance may take it over, or the time by which the worker must report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<DateTime<Utc>>,
    /// When the worker was last heard from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_at: Option<DateTime<Utc>>,
    /// Progress reported by the worker, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<u8>,
    /// When a pending execution is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<DateTime<Utc>>,
}

impl RunningExecution {
    /// An open attempt; nothing if it has ended or will not be made.
    fn new(schedule: &Schedule, attempt: &Attempt) -> Option<Self> {
        let sends = schedule.sends(attempt);
        let mut running = Self {
            execution_id: attempt.execution_id,
            schedule_id: schedule.id,
            schedule_name: sends.name.to_owned(),
            status: OpenStatus::Running,
            scheduled_for: attempt.scheduled_for,
            attempt_number: attempt.number,
            correlation_id: correlation_id(schedule, attempt),
            target_command: sends.target.as_str().to_owned(),
            instance: None,
            since: None,
            until: None,
            heard_at: None,
            progress: None,
            due_at: None,
        };
        match *attempt.phase {
            Phase::Waiting { due_at } => {
                running.status = OpenStatus::Pending;
                running.due_at = Some(due_at);
            }
            Phase::Claimed { by, at, until } => {
                running.instance = Some(by);
                (running.since, running.until) = (Some(at), Some(until));
            }
            Phase::Running { since, deadline, heard_at, progress, .. } => {
                (running.since, running.until) = (Some(since), Some(deadline));
                (running.heard_at, running.progress) = (heard_at, progress);
            }
            _ => return None,
        }
        Some(running)
    }
}

/// Position of an attempt in the list; nothing if the list does not include it.
fn place(
    attempt: &Attempt,
    include_pending: bool,
) -> Option<(OpenStatus, Reverse<DateTime<Utc>>, Uuid)> {
    let (status, time) = match *attempt.phase {
        Phase::Waiting { due_at } if include_pending => (OpenStatus::Pending, due_at),
        Phase::Claimed { at, .. } => (OpenStatus::Running, at),
        Phase::Running { since, .. } => (OpenStatus::Running, since),
        _ => return None,
    };
    Some((status, Reverse(time), attempt.execution_id))
}

impl<N: Nats> Api<N> {
    /// Lists executions that are claimed or with a worker, newest first, and on request those that wait.
    ///
    /// # Errors
    /// `invalid`, `unavailable`.
    pub async fn running_executions(
        &self,
        request: ListRunning,
        caller: &Caller,
    ) -> Result<Reply<Vec<RunningExecution>>, ApiError> {
        let (number, page) = page(request.page, request.limit)?;
        let only = request.execution_id;
        let include_pending = only.is_some() || request.include_pending.unwrap_or(false);
        let entries: Vec<Arc<Entry>> = match request.schedule_id {
            Some(id) => self.index.get(id).into_iter().collect(),
            None => self.index.busy(),
        };
        let mut found: Vec<_> = entries
            .iter()
            .flat_map(|entry| entry.schedule.attempts.iter().map(move |attempt| (entry, attempt)))
            .filter(|(_, attempt)| only.is_none_or(|only| attempt.execution_id == only))
            .filter_map(|(entry, attempt)| {
                Some((place(attempt, include_pending)?, &entry.schedule, attempt))
            })
            .collect();
        // Records learn of outcomes slightly later than the history.
        self.history.retain_open(&mut found, |(.., attempt)| attempt.execution_id).await?;
        found.sort_unstable_by_key(|(place, ..)| *place);
        let total = found.len() as u64;
        let part = found.into_iter().skip(page.offset).take(page.limit);
        let running =
            part.filter_map(|(_, schedule, attempt)| RunningExecution::new(schedule, attempt));
        let mut reply = Reply::new(running.collect(), caller);
        reply.pagination = Some(Pagination::new(number, page.limit, total));
        Ok(reply)
    }
}
