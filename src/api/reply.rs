//! Shapes of replies, the same over every transport.

mod difference;
mod schedule;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Caller;
use super::error::ApiError;
use crate::schedule::Schedule;
pub use difference::{ApplyOutcome, ChangedTimes, Difference, LeftOut, Moved, Preview};
pub use schedule::{RecentExecution, ScheduleSummary, ScheduleView};

/// A reply: the data, related links, and the ids of the request.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "{T}Reply")]
pub struct Reply<T> {
    /// The requested data.
    pub data: T,
    /// Where related things are found.
    #[serde(default)]
    pub links: Links,
    /// For lists: which part of the list this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pagination: Option<Pagination>,
    /// Of `schedule.apply`, and of a dry run of an update: what changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Box<Difference>>,
    /// What the caller should know although the request succeeded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// After a pause, an update or a deletion: how many milliseconds the reply waited for occurrences that were claimed
    /// ahead of their time to be due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waited_ms: Option<u64>,
    /// The request's id.
    #[serde(default)]
    pub request_id: String,
    /// The request's correlation id.
    #[serde(default)]
    pub correlation_id: String,
    /// Revision of the schedule in `data`, for transports that carry it separately.
    #[serde(skip)]
    pub revision: Option<u64>,
}

impl<T> Reply<T> {
    /// A reply to `caller` with only data.
    pub fn new(data: T, caller: &Caller) -> Self {
        Self {
            data,
            links: Links::default(),
            pagination: None,
            difference: None,
            warnings: Vec::new(),
            waited_ms: None,
            request_id: caller.request_id.clone(),
            correlation_id: caller.correlation_id.clone(),
            revision: None,
        }
    }

    /// Adds how long the reply waited.
    #[must_use]
    pub(super) fn waited(mut self, ms: u64) -> Self {
        self.waited_ms = Some(ms);
        self
    }

    /// Adds links.
    #[must_use]
    pub fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }
}

impl Reply<ScheduleView> {
    /// A reply that shows one schedule.
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
    /// The schedule it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
}

impl Links {
    /// Links of a schedule.
    pub fn schedule(id: Uuid) -> Self {
        let itself = format!("/api/v1/schedules/{id}");
        let executions = Some(format!("{itself}/executions"));
        Self { itself: Some(itself), executions, schedule: None }
    }

    /// Links of an execution that has no schedule which anybody can see.
    pub fn command(id: Uuid) -> Self {
        let itself = Some(format!("/api/v1/executions/{id}"));
        Self { itself, executions: None, schedule: None }
    }

    /// Links of an execution.
    pub fn execution(id: Uuid, schedule: Uuid) -> Self {
        let schedule = Some(format!("/api/v1/schedules/{schedule}"));
        Self { schedule, ..Self::command(id) }
    }
}

/// Which part of a list a reply holds.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Pagination {
    /// Number of the page, from 1.
    pub page: usize,
    /// Maximum number of items per page.
    pub limit: usize,
    /// Number of all items that match.
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
    /// A page given by its number.
    pub fn new(page: usize, limit: usize, total: u64) -> Self {
        Self { page, limit, total, next_cursor: None, links: Pages::default() }
    }
}

/// The parameters of a list, from which links to adjacent pages are built.
pub(super) struct PageLinks {
    path: String,
    filters: Vec<(String, String)>,
    by_cursor: bool,
}

impl PageLinks {
    /// The parameters of a request for a list, which HTTP has at a path that may name them.
    pub(super) fn of(path: &str, request: &impl Serialize) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::to_value(request) else { return None };
        let mut path = path.to_owned();
        let (mut filters, mut by_cursor) = (Vec::new(), false);
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("page", _) => {}
                ("cursor", _) => by_cursor = true,
                (_, value) if path.contains(&format!("{{{name}}}")) => {
                    let value = text(value);
                    let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
                    // Only in a query does a plus stand for a space.
                    path = path.replace(&format!("{{{name}}}"), &value.replace('+', "%20"));
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
            // From a page beyond the end, this is the last page.
            let last = pagination.total.div_ceil(limit).max(1);
            pagination.links.previous = to("page", &(page - 1).min(last).to_string());
        }
    }
}

/// Something to know although a request succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// For programs.
    pub code: String,
    /// The field it is about.
    pub field: String,
    /// What is wrong, and how to fix it.
    pub message: String,
}
