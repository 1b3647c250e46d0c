//! Changes of schedules that are to be announced.
//!
//! A change and its announcement are one write: the record carries the event until it is in the audit stream.
//! So no change goes unannounced, wherever a process dies, and the events of a schedule are announced in the
//! order of its changes.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Schedule;
use crate::stored::{Unknown, Word, format, keeps_unknown};

/// What was done to a schedule, or has become of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It was created.
    Created,
    /// Its fields were changed.
    Updated,
    /// It was deleted.
    Deleted,
    /// It was deleted softly and has been restored.
    Restored,
    /// It was paused.
    Paused,
    /// It was resumed.
    Resumed,
    /// It was run by hand.
    Triggered,
    /// A backfill was requested: occurrences of the past are run.
    Backfilled,
    /// Too many of its occurrences have failed in a row.
    Failing,
    /// It has had no success for too long.
    Overdue,
    /// It has succeeded after it was failing or overdue.
    Recovered,
    /// All schedules were paused.
    PausedAll,
    /// The pause of all schedules was lifted.
    ResumedAll,
    /// A calendar was created or changed.
    CalendarPut,
    /// A calendar was deleted.
    CalendarDeleted,
    /// A concurrency group was created or changed.
    GroupPut,
    /// A concurrency group was deleted.
    GroupDeleted,
    /// A request to run many executions again was stored.
    RerunRequested,
    /// It was ended by a user.
    RerunCancelled,
    /// All that it asks for were taken up.
    RerunEnded,
    /// A change that only a newer version knows.
    #[serde(untagged)]
    Other(Word),
}

impl ChangeKind {
    /// The event's name: the last but one token of its subject.
    pub fn event(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Restored => "restored",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Triggered => "triggered",
            Self::Backfilled => "backfilled",
            Self::Failing => "failing",
            Self::Overdue => "overdue",
            Self::Recovered => "recovered",
            Self::PausedAll => "paused_all",
            Self::ResumedAll => "resumed_all",
            Self::CalendarPut => "calendar_put",
            Self::CalendarDeleted => "calendar_deleted",
            Self::GroupPut => "group_put",
            Self::GroupDeleted => "group_deleted",
            Self::RerunRequested => "rerun_requested",
            Self::RerunCancelled => "rerun_cancelled",
            Self::RerunEnded => "rerun_ended",
            Self::Other(word) => word.as_str(),
        }
    }
}

/// An event that is not yet known to be in the audit stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Change {
    /// The `Nats-Msg-Id` of the event.
    pub event_id: Uuid,
    /// Kind of the change.
    pub kind: ChangeKind,
    /// The event, as it will be stored.
    pub body: Box<RawValue>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Change);

impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        self.event_id == other.event_id
    }
}

/// Author of a change, and the request that made it.
#[derive(Clone, Copy, Debug)]
pub struct Author<'a> {
    /// The user.
    pub actor: &'a str,
    /// The request's correlation id.
    pub correlation_id: &'a str,
}

/// What a change was made to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed<'a> {
    /// Its id; nil for all schedules.
    pub(super) id: Uuid,
    /// Its name.
    pub(super) name: &'a str,
    /// Its revision since.
    pub(super) revision: u64,
}

impl Change {
    /// A change of `schedule`, as it is now, at `time`; `details` are the fields specific to `kind`.
    pub fn new(
        event_id: Uuid,
        kind: ChangeKind,
        schedule: &Schedule,
        author: Author<'_>,
        time: DateTime<Utc>,
        details: Value,
    ) -> Self {
        let (name, revision) = (schedule.spec.name.as_ref(), schedule.revision);
        let changed = Changed { id: schedule.id, name, revision };
        Self::of(event_id, kind, changed, author, time, details)
    }

    /// The same for anything that can be changed.
    pub(super) fn of(
        event_id: Uuid,
        kind: ChangeKind,
        changed: Changed<'_>,
        author: Author<'_>,
        time: DateTime<Utc>,
        details: Value,
    ) -> Self {
        let mut event = json!({
            "event_id": event_id,
            "format": format::of_events(),
            "event": kind.event(),
            "time": time,
            "schedule_id": changed.id,
            "name": changed.name,
            "revision": changed.revision,
            "actor": author.actor,
            "correlation_id": author.correlation_id,
        });
        if let (Some(event), Value::Object(details)) = (event.as_object_mut(), details) {
            event.extend(details);
        }
        let body = serde_json::value::to_raw_value(&event).unwrap_or_default();
        Self { event_id, kind, body, unknown: Unknown::default() }
    }
}

/// Fields that every event has.
const COMMON: [&str; 8] =
    ["event_id", "event", "time", "schedule_id", "name", "revision", "actor", "correlation_id"];

impl Change {
    /// The same change without the old and new values.
    #[must_use]
    pub fn without_values(&self) -> Self {
        self.keeping(|field| field != "changes")
    }

    /// The same change with only the fields that every event has.
    #[must_use]
    pub fn bare(&self) -> Self {
        self.keeping(|field| COMMON.contains(&field) || field == "truncated")
    }

    fn keeping(&self, keeps: impl Fn(&str) -> bool) -> Self {
        let Ok(mut event) = serde_json::from_str::<Map<String, Value>>(self.body.get()) else {
            return self.clone();
        };
        let before = event.len();
        event.retain(|field, _| keeps(field));
        if event.len() < before {
            event.insert("truncated".to_owned(), json!(true));
        }
        let body = serde_json::value::to_raw_value(&event).unwrap_or_default();
        Self { body, ..self.clone() }
    }
}

/// A change as it was announced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self")]
pub struct ChangeEvent {
    /// Its id.
    pub event_id: Uuid,
    /// What was done: `created`, `updated`, `paused` …
    pub event: String,
    /// When.
    pub time: DateTime<Utc>,
    /// The schedule.
    pub schedule_id: Uuid,
    /// The schedule's name then.
    pub name: String,
    /// The schedule's revision since.
    pub revision: u64,
    /// Who did it; `scheduler` is the service itself.
    pub actor: String,
    /// Correlation id of the request.
    pub correlation_id: String,
    /// Fields that were changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<FieldChange>,
    /// The reason that was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Further details of the event.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(ChangeEvent);

/// A field of a schedule that has changed, or would.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    /// Its name.
    pub field: String,
    /// Its value before, if it had one. A payload, which may be large or secret, is shown by its hash.
    pub old: Option<Value>,
    /// Its value after.
    pub new: Option<Value>,
}

/// The fields that differ between two schedules.
pub fn differences(old: &Schedule, new: &Schedule) -> Vec<FieldChange> {
    let (before, after) = (fields(old), fields(new));
    let mut names: Vec<_> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .filter_map(|name| {
            let (old, new) = (before.get(name), after.get(name));
            let field = || name.to_owned();
            (old != new).then(|| FieldChange {
                field: field(),
                old: old.cloned(),
                new: new.cloned(),
            })
        })
        .collect()
}

fn fields(schedule: &Schedule) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&*schedule.spec) else {
        return Map::new();
    };
    if let Some(Value::Object(timing)) = fields.remove("timing") {
        fields.extend(timing);
    }
    let hash = Sha256::digest(schedule.spec.command_payload.as_str());
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    fields.insert("command_payload".to_owned(), json!(format!("sha256:{hash}")));
    fields.insert("is_active".to_owned(), json!(schedule.is_active));
    fields
}
