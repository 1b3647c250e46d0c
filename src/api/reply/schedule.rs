//! Schedules as replies show them.

use std::num::NonZeroU32;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::execution::ExecutionStatus;
use crate::history_index::Recent;
use crate::index::Entry;
use crate::schedule::{
    After, CatchUp, Delivery, Ending, Overlap, Payload, RetryPolicy, Schedule, ScheduleType, Status,
};
use crate::trigger::{DstGap, DstOverlap};

/// A schedule as replies show it: flat, with the revision that a change can expect.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of the request and of the record")]
pub struct ScheduleView {
    pub id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub schedule_type: ScheduleType,
    pub cron_expression: Option<String>,
    pub interval_seconds: Option<u32>,
    pub scheduled_at: Option<DateTime<Utc>>,
    pub start_at: Option<DateTime<Utc>>,
    pub end_at: Option<DateTime<Utc>>,
    pub max_runs: Option<u64>,
    pub jitter_seconds: u32,
    pub after: Option<After>,
    pub timezone: String,
    pub dst_gap: DstGap,
    pub dst_overlap: DstOverlap,
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub only: Vec<String>,
    pub target_command: String,
    pub command_payload: Payload,
    pub tags: Vec<String>,
    pub priority: u8,
    pub max_retries: u8,
    pub retry_delay_seconds: u32,
    pub delivery: Delivery,
    pub misfire_grace_seconds: u32,
    pub catch_up: CatchUp,
    pub overlap: Overlap,
    pub max_instances: u8,
    /// The concurrency group that its executions take slots of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub retry: RetryPolicy,
    pub dead_letter: Option<String>,
    pub expect_success_within_seconds: Option<u32>,
    pub failing_after: u32,
    pub pause_on_failure: Option<u32>,
    pub payload_template: bool,
    pub status: Status,
    pub is_active: bool,
    pub is_paused: bool,
    pub pause_reason: Option<String>,
    /// When it is resumed, if the pause ends by itself.
    pub resume_at: Option<DateTime<Utc>>,
    pub next_run_at: Option<DateTime<Utc>>,
    pub last_run_at: Option<DateTime<Utc>>,
    pub run_count: u64,
    pub success_count: u64,
    pub failure_count: u64,
    /// Occurrences that were acted on, not counting retries and runs by hand.
    pub occurrence_count: u64,
    /// Occurrences that failed since the last success, without runs by hand.
    pub consecutive_failures: u32,
    /// How the latest run ended: after its last attempt.
    pub last_outcome: Option<Ending>,
    /// When a run last succeeded.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Whether so many occurrences have failed in a row as `failing_after` says, and no run has succeeded since.
    pub is_failing: bool,
    /// Since when it is failing.
    pub failing_since: Option<DateTime<Utc>>,
    /// Whether it has had no success for as long as `expect_success_within_seconds` says.
    pub is_overdue: bool,
    /// Since when it is overdue.
    pub overdue_since: Option<DateTime<Utc>>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub created_by: String,
    pub updated_by: Option<String>,
    pub deleted_at: Option<DateTime<Utc>>,
    pub deleted_by: Option<String>,
    pub correlation_id: String,
    /// How often users have changed it: the `expected_revision` of a change.
    pub revision: u64,
}

impl ScheduleView {
    /// The view of a record.
    pub fn new(schedule: &Schedule) -> Self {
        let spec = &*schedule.spec;
        let timing = &spec.timing;
        Self {
            id: schedule.id,
            name: spec.name.to_string(),
            description: spec.description.as_deref().cloned(),
            owner: spec.owner.as_deref().cloned(),
            schedule_type: timing.schedule_type,
            cron_expression: timing.cron_expression.clone(),
            interval_seconds: timing.interval_seconds,
            scheduled_at: timing.scheduled_at,
            start_at: timing.start_at,
            end_at: timing.end_at,
            max_runs: timing.max_runs,
            jitter_seconds: timing.jitter_seconds,
            after: timing.follows(),
            timezone: timing.timezone.to_string(),
            dst_gap: timing.dst_gap,
            dst_overlap: timing.dst_overlap,
            exclude: timing.exclude.to_vec(),
            only: timing.only.to_vec(),
            target_command: spec.target_command.as_str().to_owned(),
            command_payload: spec.command_payload.clone(),
            tags: spec.tags.to_vec(),
            priority: spec.priority,
            max_retries: spec.max_retries,
            retry_delay_seconds: spec.retry_delay_seconds,
            delivery: spec.delivery.known.clone(),
            misfire_grace_seconds: spec.misfire_grace_seconds,
            catch_up: spec.catch_up,
            overlap: spec.overlap,
            max_instances: spec.max_instances,
            group: spec.group.as_deref().cloned(),
            retry: spec.retry.known.clone(),
            dead_letter: spec.dead_letter.as_ref().map(|target| target.as_str().to_owned()),
            expect_success_within_seconds: spec.expect_success_within_seconds.map(NonZeroU32::get),
            failing_after: u32::from(spec.failing_after.get()),
            pause_on_failure: spec.pause_on_failure.map(|count| u32::from(count.get())),
            payload_template: spec.payload_template,
            status: *schedule.status,
            is_active: schedule.is_active,
            is_paused: schedule.status == Status::Paused,
            pause_reason: schedule.pause_reason.as_deref().cloned(),
            resume_at: schedule.resume_at(),
            next_run_at: schedule.next_run_at,
            last_run_at: schedule.last_run_at,
            run_count: schedule.run_count.get(),
            success_count: schedule.success_count.get(),
            failure_count: schedule.failure_count.get(),
            occurrence_count: schedule.occurrence_count.get(),
            consecutive_failures: schedule.consecutive_failures,
            last_outcome: schedule.last_outcome(),
            last_success_at: schedule.last_success_at(),
            is_failing: schedule.failing_since().is_some(),
            failing_since: schedule.failing_since(),
            is_overdue: schedule.overdue_since().is_some(),
            overdue_since: schedule.overdue_since(),
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
            created_by: schedule.created_by.to_string(),
            updated_by: schedule.updated_by.as_deref().cloned(),
            deleted_at: schedule.deleted_at.as_deref().copied(),
            deleted_by: schedule.deleted_by.as_deref().cloned(),
            correlation_id: schedule.correlation_id.to_string(),
            revision: schedule.revision,
        }
    }
}

/// One of the latest executions of a schedule that have ended, or a range of occurrences that was skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecentExecution {
    /// The execution.
    pub execution_id: Uuid,
    /// How it ended.
    pub status: ExecutionStatus,
    /// Its nominal time, or that of the first that was skipped.
    pub scheduled_for: DateTime<Utc>,
    /// Milliseconds from its start to its outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// How many occurrences were skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<i64>,
}

impl RecentExecution {
    /// What the history's index has of it.
    pub(crate) fn new(recent: &Recent) -> Self {
        let Recent { execution, status, scheduled_for_ms, measure } = *recent;
        let is_range = status.is_range();
        Self {
            execution_id: execution,
            status,
            scheduled_for: DateTime::from_timestamp_millis(scheduled_for_ms).unwrap_or_default(),
            duration_ms: (!is_range).then_some(measure),
            skipped: is_range.then_some(measure),
        }
    }
}

/// A schedule in a list: without payload, priority, retries and tracking fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of the request and of the record")]
pub struct ScheduleSummary {
    pub id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub owner: Option<String>,
    pub schedule_type: ScheduleType,
    pub cron_expression: Option<String>,
    pub interval_seconds: Option<u32>,
    pub scheduled_at: Option<DateTime<Utc>>,
    pub timezone: String,
    pub target_command: String,
    pub tags: Vec<String>,
    pub status: Status,
    pub is_active: bool,
    pub is_paused: bool,
    /// When it is resumed, if the pause ends by itself.
    pub resume_at: Option<DateTime<Utc>>,
    pub next_run_at: Option<DateTime<Utc>>,
    pub last_run_at: Option<DateTime<Utc>>,
    pub run_count: u64,
    pub success_count: u64,
    pub failure_count: u64,
    /// How the latest run ended: after its last attempt.
    pub last_outcome: Option<Ending>,
    /// When a run last succeeded.
    pub last_success_at: Option<DateTime<Utc>>,
    /// Whether too many occurrences have failed in a row, and no run has succeeded since.
    pub is_failing: bool,
    /// Whether it has had no success for too long.
    pub is_overdue: bool,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// How often users have changed it: the `expected_revision` of a change.
    pub revision: u64,
    /// The latest executions that have ended, newest first, if the request asks for some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent_executions: Option<Vec<RecentExecution>>,
}

impl ScheduleSummary {
    /// The summary of an entry of the index.
    pub fn new(entry: &Entry) -> Self {
        let schedule = &entry.schedule;
        let timing = &schedule.spec.timing;
        Self {
            id: schedule.id,
            name: schedule.spec.name.to_string(),
            description: schedule.spec.description.as_deref().cloned(),
            owner: schedule.spec.owner.as_deref().cloned(),
            schedule_type: timing.schedule_type,
            cron_expression: timing.cron_expression.clone(),
            interval_seconds: timing.interval_seconds,
            scheduled_at: timing.scheduled_at,
            timezone: timing.timezone.to_string(),
            target_command: schedule.spec.target_command.as_str().to_owned(),
            tags: schedule.spec.tags.to_vec(),
            status: *schedule.status,
            is_active: schedule.is_active,
            is_paused: schedule.status == Status::Paused,
            resume_at: schedule.resume_at(),
            next_run_at: schedule.next_run_at,
            last_run_at: schedule.last_run_at,
            run_count: schedule.run_count.get(),
            success_count: schedule.success_count.get(),
            failure_count: schedule.failure_count.get(),
            last_outcome: schedule.last_outcome(),
            last_success_at: schedule.last_success_at(),
            is_failing: schedule.failing_since().is_some(),
            is_overdue: schedule.overdue_since().is_some(),
            created_at: schedule.created_at,
            created_by: schedule.created_by.to_string(),
            revision: schedule.revision,
            recent_executions: None,
        }
    }
}
