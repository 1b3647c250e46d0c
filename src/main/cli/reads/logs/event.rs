//! One event, on one line.

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::client::{ChangeEvent, Execution};
use nats_scheduler::names::{EXECUTION_EVENT_PREFIX, SCHEDULE_EVENT_PREFIX};
use uuid::Uuid;

use crate::cli::failure::Failure;
use crate::cli::moment;
use crate::cli::node::Node;
use crate::cli::options::Format;
use crate::cli::output::Output;
use crate::cli::reads::executions::error;
use crate::cli::reads::tone_of;

/// An execution that begins later than this is said to be late.
const LATE: TimeDelta = TimeDelta::seconds(1);

/// What happened to an execution, or to a schedule.
#[derive(Debug)]
pub(super) enum Event {
    Execution(Box<Execution>),
    Change(Box<ChangeEvent>),
}

impl Event {
    /// The event of a message; none if it is of another kind, or of a newer version that says it otherwise.
    pub(super) fn read(subject: &str, body: &[u8]) -> Option<Self> {
        let is_under = |prefix| subject.strip_prefix(prefix).is_some_and(|it| it.starts_with('.'));
        if is_under(EXECUTION_EVENT_PREFIX) {
            return serde_json::from_slice(body).ok().map(Self::Execution);
        }
        let is_change = is_under(SCHEDULE_EVENT_PREFIX);
        is_change.then(|| serde_json::from_slice(body).ok().map(Self::Change)).flatten()
    }

    pub(super) fn id(&self) -> String {
        match self {
            Self::Execution(it) => it.event_id.clone(),
            Self::Change(it) => it.event_id.to_string(),
        }
    }

    pub(super) fn time(&self) -> DateTime<Utc> {
        match self {
            Self::Execution(it) => it.time,
            Self::Change(it) => it.time,
        }
    }

    pub(super) fn schedule(&self) -> Uuid {
        match self {
            Self::Execution(it) => it.schedule_id,
            Self::Change(it) => it.schedule_id,
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Execution(it) => &it.schedule_name,
            Self::Change(it) => &it.name,
        }
    }

    pub(super) fn show(&self, out: &mut Output) -> Result<(), Failure> {
        match out.format {
            Format::Json => return out.raw(&format!("{}\n", self.node()?)),
            Format::Yaml => return out.raw(&format!("---\n{}", self.node()?.yaml())),
            Format::Name => return out.line(self.name()),
            Format::Table | Format::Wide => {}
        }
        let (word, rest) = match self {
            Self::Execution(it) => (it.status.event(), of_execution(it)),
            Self::Change(it) => (it.event.as_str(), of_change(it)),
        };
        let word = out.toned(&format!("{word:<10}"), tone_of(word));
        out.raw(&format!("{}  {word}  ", moment::absolute(self.time())))?;
        let id = match out.format {
            Format::Wide => format!("  {}", self.id()),
            _ => String::new(),
        };
        out.line(&format!("{}{rest}{id}", self.name()))
    }

    /// The event itself, with what it is of before it.
    fn node(&self) -> Result<Node, serde_json::Error> {
        let (kind, mut node) = match self {
            Self::Execution(it) => ("execution", Node::of(it)?),
            Self::Change(it) => ("change", Node::of(it)?),
        };
        if let Node::Map(fields) = &mut node {
            fields.insert(0, ("kind".to_owned(), Node::Text(kind.to_owned())));
        }
        Ok(node)
    }
}

fn of_execution(execution: &Execution) -> String {
    let mut said = Vec::new();
    if execution.attempt_number > 1 {
        said.push(format!("attempt {}", execution.attempt_number));
    }
    said.extend(execution.duration_ms.map(|ms| format!("in {}", moment::span_ms(ms))));
    // A retry is due at a time of its own, and jitter is no delay.
    let due = execution.timings.due_at.unwrap_or(execution.scheduled_for);
    let late = execution.started_at.map(|at| at.signed_duration_since(due));
    let late = late.filter(|late| *late > LATE);
    said.extend(late.map(|late| format!("{} late", moment::span_ms(late.num_milliseconds()))));
    said.extend(by(execution.cancelled_by.as_deref().or(execution.triggered_by.as_deref())));
    if execution.will_retry {
        said.push("is tried again".to_owned());
    }
    joined(&said, error(execution))
}

fn of_change(change: &ChangeEvent) -> String {
    let fields: Vec<_> = change.changes.iter().map(|change| change.field.as_str()).collect();
    let fields = (!fields.is_empty()).then(|| fields.join(", "));
    let said: Vec<_> = by(Some(&change.actor)).into_iter().collect();
    joined(&said, change.reason.clone().or(fields))
}

fn by(user: Option<&str>) -> Option<String> {
    user.map(|user| format!("by {user}"))
}

fn joined(said: &[String], why: Option<String>) -> String {
    let said = if said.is_empty() { String::new() } else { format!("  {}", said.join(", ")) };
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    said + &why
}
