//! The shapes of replies, the same over every transport.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Caller;
use super::error::ApiError;
use crate::index::Entry;
use crate::schedule::{
    After, CatchUp, Delivery, Overlap, Payload, RetryPolicy, Schedule, ScheduleType, Status,
};
use crate::trigger::{DstGap, DstOverlap};

/// A reply: the data, where to go on, and how the request is found again.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Reply<T> {
    /// What was asked for.
    pub data: T,
    /// Where related things are.
    #[serde(default)]
    pub links: Links,
    /// For lists: which part this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagination: Option<Pagination>,
    /// What the caller should know although the request was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Of a pause, an update or a deletion: how many milliseconds the reply waited for what was claimed ahead
    /// of its time to be due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// The request's id.
    #[serde(default)]
    pub request_id: String,
    /// The request's correlation id.
    #[serde(default)]
    pub correlation_id: String,
    /// The revision of the schedule in `data`, for transports that have a place of their own for it.
    #[serde(skip)]
    pub revision: Option<u64>,
}

impl<T> Reply<T> {
    /// A reply to `caller` with nothing but data.
    pub fn new(data: T, caller: &Caller) -> Self {
        Self {
            data,
            links: Links::default(),
            pagination: None,
            warnings: Vec::new(),
            waited_ms: None,
            request_id: caller.request_id.clone(),
            correlation_id: caller.correlation_id.clone(),
            revision: None,
        }
    }

    /// With how long it waited.
    #[must_use]
    pub(super) fn waited(mut self, ms: u64) -> Self {
        self.waited_ms = Some(ms);
        self
    }

    /// With links.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }
}

impl Reply<ScheduleView> {
    /// A reply with one schedule.
    pub fn schedule(schedule: &Schedule, caller: &Caller) -> Self {
        let view = ScheduleView::new(schedule);
        let revision = Some(view.revision);
        Self { revision, ..Self::new(view, caller).links(Links::schedule(schedule.id)) }
    }
}

/// An error reply.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ErrorReply {
    /// What went wrong.
    pub error: ApiError,
    /// The request's id.
    #[serde(default)]
    pub request_id: String,
    /// The request's correlation id.
    #[serde(default)]
    pub correlation_id: String,
}

/// Paths of the REST facade.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Links {
    /// The thing itself.
    #[serde(rename = "self", default, skip_serializing_if = "Option::is_none")]
    pub itself: Option<String>,
    /// Its executions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executions: Option<String>,
    /// Its schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

impl Links {
    /// Of a schedule.
    pub fn schedule(id: Uuid) -> Self {
        let itself = format!("/api/v1/schedules/{id}");
        let executions = Some(format!("{itself}/executions"));
        Self { itself: Some(itself), executions, schedule: None }
    }

    /// Of an execution.
    pub fn execution(id: Uuid, schedule: Uuid) -> Self {
        let itself = Some(format!("/api/v1/executions/{id}"));
        Self { itself, executions: None, schedule: Some(format!("/api/v1/schedules/{schedule}")) }
    }
}

/// Which part of a list a reply holds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Pagination {
    /// From 1.
    pub page: usize,
    /// Most items of a page.
    pub limit: usize,
    /// All that match.
    pub total: u64,
    /// Where the next page begins, if there is one and the list has cursors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// The pages beside this one.
    #[serde(default)]
    pub links: Pages,
}

/// Paths of the pages beside a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pages {
    /// The page after it, unless it is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The page before it, unless it is the first or was found by a cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
}

impl Pagination {
    /// A page by its number.
    pub fn new(page: usize, limit: usize, total: u64) -> Self {
        Self { page, limit, total, next_cursor: None, links: Pages::default() }
    }
}

/// What a list was asked for, to ask for the pages beside it.
pub(super) struct PageLinks {
    path: String,
    filters: Vec<(String, String)>,
    by_cursor: bool,
}

impl PageLinks {
    /// Those of a request, if it is one for a list.
    pub(super) fn of(operation: &str, request: &impl Serialize) -> Option<Self> {
        let mut path = match operation {
            "schedule.list" => "/api/v1/schedules".to_owned(),
            "execution.list" => "/api/v1/executions".to_owned(),
            "execution.running" => "/api/v1/executions/running".to_owned(),
            "execution.by_correlation" => "/api/v1/executions/by-correlation/".to_owned(),
            _ => return None,
        };
        let Ok(Value::Object(fields)) = serde_json::to_value(request) else { return None };
        let (mut filters, mut by_cursor) = (Vec::new(), false);
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("page", _) => {}
                ("cursor", _) => by_cursor = true,
                ("correlation_id", value) => {
                    path.extend(form_urlencoded::byte_serialize(text(value).as_bytes()));
                    // A plus is a space in a query only.
                    path = path.replace('+', "%20");
                }
                (_, Value::Array(values)) => {
                    filters.extend(values.into_iter().map(|value| (name.clone(), text(value))));
                }
                (_, value) => filters.push((name, text(value))),
            }
        }
        Some(Self { path, filters, by_cursor })
    }

    pub(super) fn link(&self, pagination: &mut Pagination) {
        let to = |name: &str, value: &str| {
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.extend_pairs(&self.filters).append_pair(name, value);
            Some(format!("{}?{}", self.path, query.finish()))
        };
        if self.by_cursor {
            let next = pagination.next_cursor.as_deref();
            pagination.links.next = next.and_then(|cursor| to("cursor", cursor));
            return;
        }
        let (page, limit) = (pagination.page as u64, pagination.limit as u64);
        if page.saturating_mul(limit) < pagination.total {
            pagination.links.next = to("page", &(page + 1).to_string());
        }
        if page > 1 {
            // Of a page beyond the end, the last one.
            let last = pagination.total.div_ceil(limit).max(1);
            pagination.links.previous = to("page", &(page - 1).min(last).to_string());
        }
    }
}

/// Something to know although a request was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// For programs.
    pub code: String,
    /// The field that it is about.
    pub field: String,
    /// What is the matter, and how to mend it.
    pub message: String,
}

/// A schedule as replies show it: flat, with the revision to change it by.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of the request and of the record")]
pub struct ScheduleView {
    pub id: Uuid,
    pub name: String,
    pub description: Option<String>,
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
    pub retry: RetryPolicy,
    pub dead_letter: Option<String>,
    pub pause_on_failure: Option<u32>,
    pub payload_template: bool,
    pub status: Status,
    pub is_active: bool,
    pub is_paused: bool,
    pub pause_reason: Option<String>,
    pub next_run_at: Option<DateTime<Utc>>,
    pub last_run_at: Option<DateTime<Utc>>,
    pub run_count: u64,
    pub success_count: u64,
    pub failure_count: u64,
    /// Occurrences that were acted on, retries and runs by hand not counted.
    pub occurrence_count: u64,
    /// Occurrences that failed since the last that succeeded.
    pub consecutive_failures: u32,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub created_by: String,
    pub updated_by: Option<String>,
    pub deleted_at: Option<DateTime<Utc>>,
    pub deleted_by: Option<String>,
    pub correlation_id: String,
    /// How often users have changed it; `expected_revision` of a change.
    pub revision: u64,
}

impl ScheduleView {
    /// A record.
    pub fn new(schedule: &Schedule) -> Self {
        let spec = &*schedule.spec;
        let timing = &spec.timing;
        Self {
            id: schedule.id,
            name: spec.name.to_string(),
            description: spec.description.as_deref().map(str::to_owned),
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
            retry: spec.retry.known.clone(),
            dead_letter: spec.dead_letter.as_ref().map(|target| target.as_str().to_owned()),
            pause_on_failure: spec.pause_on_failure,
            payload_template: spec.payload_template,
            status: *schedule.status,
            is_active: schedule.is_active,
            is_paused: schedule.status == Status::Paused,
            pause_reason: schedule.pause_reason.as_deref().cloned(),
            next_run_at: schedule.next_run_at,
            last_run_at: schedule.last_run_at,
            run_count: schedule.run_count,
            success_count: schedule.success_count,
            failure_count: schedule.failure_count,
            occurrence_count: schedule.occurrence_count,
            consecutive_failures: schedule.consecutive_failures,
            created_at: schedule.created_at,
            updated_at: schedule.updated_at,
            created_by: schedule.created_by.to_string(),
            updated_by: schedule.updated_by.as_deref().cloned(),
            deleted_at: schedule.deleted_at,
            deleted_by: schedule.deleted_by.as_deref().cloned(),
            correlation_id: schedule.correlation_id.to_string(),
            revision: schedule.revision,
        }
    }
}

/// A schedule in a list: without payload, tags, priority, retries and tracking fields.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "the names are those of the request and of the record")]
pub struct ScheduleSummary {
    pub id: Uuid,
    pub name: String,
    pub description: Option<String>,
    pub schedule_type: ScheduleType,
    pub cron_expression: Option<String>,
    pub interval_seconds: Option<u32>,
    pub scheduled_at: Option<DateTime<Utc>>,
    pub timezone: String,
    pub target_command: String,
    pub status: Status,
    pub is_active: bool,
    pub is_paused: bool,
    pub next_run_at: Option<DateTime<Utc>>,
    pub last_run_at: Option<DateTime<Utc>>,
    pub run_count: u64,
    pub success_count: u64,
    pub failure_count: u64,
    pub created_at: DateTime<Utc>,
    pub created_by: String,
    /// How often users have changed it; `expected_revision` of a change.
    pub revision: u64,
}

impl ScheduleSummary {
    /// The summary of an entry of the index.
    pub fn new(entry: &Entry) -> Self {
        let schedule = &entry.schedule;
        let timing = &schedule.spec.timing;
        Self {
            id: schedule.id,
            name: schedule.spec.name.to_string(),
            description: schedule.spec.description.as_deref().map(str::to_owned),
            schedule_type: timing.schedule_type,
            cron_expression: timing.cron_expression.clone(),
            interval_seconds: timing.interval_seconds,
            scheduled_at: timing.scheduled_at,
            timezone: timing.timezone.to_string(),
            target_command: schedule.spec.target_command.as_str().to_owned(),
            status: *schedule.status,
            is_active: schedule.is_active,
            is_paused: schedule.status == Status::Paused,
            next_run_at: schedule.next_run_at,
            last_run_at: schedule.last_run_at,
            run_count: schedule.run_count,
            success_count: schedule.success_count,
            failure_count: schedule.failure_count,
            created_at: schedule.created_at,
            created_by: schedule.created_by.to_string(),
            revision: schedule.revision,
        }
    }
}
