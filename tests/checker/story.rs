//! History of the changes that users made to one schedule, from the audit and its record.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::execution::Execution;
use nats_scheduler::port::Entry;
use nats_scheduler::schedule::{Calendars, DeliveryMode, Schedule, ScheduleType, Timing, jitter};
use nats_scheduler::trigger::Trigger;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::evidence::{Answer, Evidence};
use super::ledger::Ledger;

/// An event of the audit.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    pub event_id: Uuid,
    pub event: String,
    pub time: DateTime<Utc>,
    pub schedule_id: Uuid,
    pub name: String,
    pub revision: u64,
    pub actor: String,
    pub correlation_id: String,
    #[serde(default)]
    pub next_run_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub resume_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub execution_id: Option<Uuid>,
    #[serde(default)]
    pub failing_since: Option<DateTime<Utc>>,
    #[serde(default)]
    pub overdue_since: Option<DateTime<Utc>>,
    #[serde(default)]
    pub expect_success_within_seconds: Option<i64>,
    #[serde(default)]
    pub recovered_from: Vec<String>,
    #[serde(default)]
    pub changes: Vec<FieldChange>,
}

impl Event {
    /// Whether it says what has become of a schedule, and no change.
    pub fn is_alert(&self) -> bool {
        ["failing", "overdue", "recovered"].contains(&self.event.as_str())
    }
}

/// A field that an update changed.
#[derive(Clone, Debug, Deserialize)]
pub struct FieldChange {
    pub field: String,
    pub old: Value,
    pub new: Value,
}

/// A schedule from its creation to the end.
pub struct Story<'a> {
    pub id: Uuid,
    pub record: Option<&'a Schedule>,
    /// Its changes, in the order in which they were announced.
    pub changes: Vec<Change>,
    /// What was said of how it runs, in the same order, and what is to be said.
    pub alerts: Vec<Event>,
    /// Its outcomes, by the ids of their executions.
    pub ends: Vec<&'a Execution>,
    /// All calendars.
    pub calendars: &'a Calendars,
}

/// A change, and what the schedule was after it.
pub struct Change {
    pub event: Event,
    /// When a reply said that it was made.
    pub acknowledged: Option<DateTime<Utc>>,
    pub fields: Map<String, Value>,
    pub is_paused: bool,
    pub is_deleted: bool,
}

/// A span of time in which a schedule had one timing.
pub struct Epoch {
    pub timing: Timing,
    pub trigger: Trigger,
    /// Its first time.
    pub first: Option<DateTime<Utc>>,
    /// When it was changed or deleted.
    pub ended: Option<DateTime<Utc>>,
}

/// Fields by which a schedule's times go.
const TIMING: [&str; 14] = [
    "schedule_type",
    "cron_expression",
    "interval_seconds",
    "scheduled_at",
    "timezone",
    "start_at",
    "end_at",
    "max_runs",
    "jitter_seconds",
    "after",
    "dst_gap",
    "dst_overlap",
    "exclude",
    "only",
];

/// The stories of all schedules that the audit knows.
pub fn stories<'a>(
    evidence: &'a Evidence,
    ledger: &'a Ledger,
    found: &mut Vec<String>,
) -> Vec<Story<'a>> {
    let mut events: BTreeMap<Uuid, Vec<Event>> = BTreeMap::new();
    for entry in &evidence.audit {
        match serde_json::from_slice::<Event>(&entry.body) {
            // Of all schedules, of a calendar, of a group.
            Ok(event) if event.schedule_id.is_nil() => {}
            Ok(event) if ["calendar_put", "group_put"].contains(&&*event.event) => {}
            Ok(event) => events.entry(event.schedule_id).or_default().push(event),
            Err(error) => found.push(format!("an event of the audit is none: {error}")),
        }
    }
    let mut ends: BTreeMap<Uuid, Vec<&Execution>> = BTreeMap::new();
    for end in ledger.ends.values() {
        ends.entry(end.schedule_id).or_default().push(end);
    }
    let replies = replies(evidence);
    let records: BTreeMap<_, _> =
        evidence.records.iter().map(|record| (record.id, record)).collect();
    let created = evidence.created.iter().filter_map(|text| {
        let id = serde_json::from_str::<Value>(text).ok()?.get("id")?.as_str()?.parse().ok()?;
        Some((id, text.as_str()))
    });
    let created: BTreeMap<Uuid, &str> = created.collect();
    let story = |(id, events): (Uuid, Vec<Event>)| {
        let record = records.get(&id).copied();
        let (mut alerts, events): (Vec<_>, Vec<_>) = events.into_iter().partition(Event::is_alert);
        let pending = record.iter().flat_map(|record| &record.events);
        let pending = pending.filter_map(|change| serde_json::from_str(change.body.get()).ok());
        let pending: Vec<Event> = pending.filter(Event::is_alert).collect();
        let is_new = |event: &Event| alerts.iter().all(|one| one.event_id != event.event_id);
        let pending: Vec<_> = pending.into_iter().filter(is_new).collect();
        alerts.extend(pending);
        let changes = changes(events, record, created.get(&id).copied(), &replies);
        let ends = ends.remove(&id).unwrap_or_default();
        Story { id, record, changes, alerts, ends, calendars: &evidence.calendars }
    };
    events.into_iter().map(story).collect()
}

/// When requests were acknowledged, by correlation id.
fn replies(evidence: &Evidence) -> BTreeMap<&str, DateTime<Utc>> {
    let done = evidence.asked.iter().filter_map(|asked| match asked.answer {
        Answer::Done(at) => Some((asked.correlation_id.as_str(), at)),
        _ => None,
    });
    done.collect()
}

fn changes(
    events: Vec<Event>,
    record: Option<&Schedule>,
    created: Option<&str>,
    replies: &BTreeMap<&str, DateTime<Utc>>,
) -> Vec<Change> {
    let (mut is_paused, mut is_deleted) = (false, false);
    let mut changes: Vec<_> = events
        .into_iter()
        .map(|event| {
            match event.event.as_str() {
                "paused" => is_paused = true,
                "resumed" => is_paused = false,
                "deleted" => is_deleted = true,
                "restored" => is_deleted = false,
                _ => {}
            }
            let acknowledged = replies.get(event.correlation_id.as_str()).copied();
            Change { event, acknowledged, fields: Map::new(), is_paused, is_deleted }
        })
        .collect();
    match (record, created) {
        (Some(record), _) => {
            let mut fields = fields_of(record);
            for change in changes.iter_mut().rev() {
                change.fields = fields.clone();
                change.event.changes.iter().for_each(|one| set(&mut fields, &one.field, &one.old));
            }
        }
        (None, Some(created)) => {
            let mut fields = fields_shown(created);
            for change in &mut changes {
                change.event.changes.iter().for_each(|one| set(&mut fields, &one.field, &one.new));
                change.fields = fields.clone();
            }
        }
        (None, None) => {}
    }
    changes
}

fn set(fields: &mut Map<String, Value>, field: &str, value: &Value) {
    if value.is_null() {
        fields.remove(field);
    } else {
        fields.insert(field.to_owned(), value.clone());
    }
}

/// The fields of a record as events of the audit name them.
fn fields_of(record: &Schedule) -> Map<String, Value> {
    let Ok(Value::Object(mut fields)) = serde_json::to_value(&*record.spec) else {
        return Map::new();
    };
    if let Some(Value::Object(timing)) = fields.remove("timing") {
        fields.extend(timing);
    }
    fields.insert("is_active".to_owned(), record.is_active.into());
    fields.insert("command_payload".to_owned(), hash(record.spec.command_payload.as_str()).into());
    fields.retain(|_, value| !value.is_null());
    fields
}

/// The same of a schedule as a reply showed it.
fn fields_shown(text: &str) -> Map<String, Value> {
    #[derive(Deserialize)]
    struct Shown {
        command_payload: Box<RawValue>,
    }
    let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(text) else {
        return Map::new();
    };
    if let Ok(shown) = serde_json::from_str::<Shown>(text) {
        fields.insert("command_payload".to_owned(), hash(shown.command_payload.get()).into());
    }
    fields.retain(|_, value| !value.is_null());
    fields
}

/// How events name a payload.
pub fn hash(payload: impl AsRef<[u8]>) -> String {
    let hash = Sha256::digest(payload);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hash}")
}

impl Change {
    pub fn text(&self, field: &str) -> &str {
        self.fields.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// Whether occurrences are acted on after it.
    pub fn fires(&self) -> bool {
        let is_active = self.fields.get("is_active").and_then(Value::as_bool).unwrap_or(true);
        is_active && !self.is_paused && !self.is_deleted
    }

    /// Whether it is switched off after it.
    pub fn is_off(&self) -> bool {
        self.fields.get("is_active").and_then(Value::as_bool) == Some(false)
    }

    pub fn timing(&self) -> Option<Timing> {
        let timing = self.fields.iter().filter(|(field, _)| TIMING.contains(&field.as_str()));
        let timing: Map<_, _> =
            timing.map(|(field, value)| (field.clone(), value.clone())).collect();
        serde_json::from_value(Value::Object(timing)).ok()
    }

    pub fn is_new_timing(&self) -> bool {
        self.event.changes.iter().any(|change| TIMING.contains(&change.field.as_str()))
    }
}

impl Epoch {
    /// When an occurrence is due.
    pub fn due(&self, id: Uuid, at: DateTime<Utc>) -> DateTime<Utc> {
        at + jitter(self.timing.jitter_seconds, id, at)
    }

    /// Whether a time is one of the schedule's.
    pub fn has(&self, at: DateTime<Utc>) -> bool {
        self.trigger.latest_at_or_before(at) == Some(at)
    }

    /// The times of a range, if there are exactly `count` of them.
    pub fn range(
        &self,
        first: DateTime<Utc>,
        last: DateTime<Utc>,
        count: u64,
    ) -> Option<Vec<DateTime<Utc>>> {
        if !self.has(first)
            || !self.has(last)
            || self.trigger.count_in(just_before(first), last) != count
        {
            return None;
        }
        let times = self.trigger.occurrences_after(just_before(first)).map(|next| next.at);
        Some(times.take_while(|at| *at <= last).collect())
    }
}

pub fn just_before(at: DateTime<Utc>) -> DateTime<Utc> {
    at - TimeDelta::nanoseconds(1)
}

impl Story<'_> {
    /// Its name in messages.
    pub fn name(&self) -> String {
        let name = self.changes.last().map(|change| change.event.name.as_str());
        format!("{} ({})", self.id, name.unwrap_or_default())
    }

    /// How its commands are sent, if that is known.
    pub fn mode(&self) -> Option<DeliveryMode> {
        let delivery = self.changes.last()?.fields.get("delivery")?;
        serde_json::from_value(delivery.get("mode")?.clone()).ok()
    }

    pub fn is_dependent(&self) -> bool {
        let timing = self.changes.last().and_then(Change::timing);
        timing.is_some_and(|timing| timing.schedule_type == ScheduleType::Dependent)
    }

    /// Whether it ever named calendars.
    pub fn names_calendars(&self) -> bool {
        let timings = self.changes.iter().filter_map(Change::timing);
        timings.into_iter().any(|timing| timing.has_calendars())
    }

    /// The spans in which it had one timing each; none if that is not known.
    pub fn epochs(&self) -> Vec<Epoch> {
        let mut epochs: Vec<Epoch> = Vec::new();
        for change in &self.changes {
            let at = change.event.time;
            let begins = match change.event.event.as_str() {
                "created" | "restored" => true,
                "updated" => change.is_new_timing(),
                _ => false,
            };
            if let Some(last) = epochs.last_mut().filter(|_| begins || change.is_deleted) {
                last.ended.get_or_insert(at);
            }
            let timing = change.timing().filter(|_| begins);
            let Some(timing) = timing else { continue };
            let Ok(trigger) = timing.trigger(self.id, self.calendars) else { continue };
            epochs.push(Epoch { timing, trigger, first: change.event.next_run_at, ended: None });
        }
        epochs
    }

    /// Whether an execution is a run by hand, or a retry of one.
    pub fn is_by_hand(&self, end: &Execution) -> bool {
        let asked = |change: &Change| {
            change.event.event == "triggered" && change.event.correlation_id == end.correlation_id
        };
        end.triggered_by.is_some() && self.changes.iter().any(asked)
    }
}

/// The value of a header.
pub fn header<'a>(entry: &'a Entry, name: &str) -> Option<&'a str> {
    Some(entry.headers.get(name)?.as_str())
}
