//! The streams, parsed and put in order.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use nats_scheduler::execution::{Execution, ExecutionStatus};
use nats_scheduler::names;
use nats_scheduler::port::Entry;
use nats_scheduler::schedule::{Attempt, DeliveryMode};
use uuid::Uuid;

use super::Evidence;
use super::endings::is_under_way;

/// What was sent, and what the history says of it.
#[derive(Default)]
pub struct Ledger {
    /// The outcome of each execution, by its id.
    pub ends: BTreeMap<Uuid, Execution>,
    /// When these were stored, by the server's clock.
    pub stored: BTreeMap<Uuid, DateTime<Utc>>,
    /// Corrections of what was skipped, by the id of the entry.
    pub corrected: BTreeMap<Uuid, Execution>,
    /// Executions that were said to have started.
    pub started: BTreeMap<Uuid, Execution>,
    /// Attempts that are in records, and rightly so.
    pub under_way: BTreeSet<Uuid>,
    /// Commands, in order of their streams, then those that were heard. No dead letters.
    pub sent: Vec<Sent>,
}

/// A command as it arrived.
pub struct Sent {
    pub execution: Uuid,
    /// None where it is in a stream.
    pub heard: Option<DeliveryMode>,
    pub subject: String,
    pub body: Bytes,
    pub at: DateTime<Utc>,
}

impl Ledger {
    /// Reads the evidence; what cannot be read, and second outcomes, are among what is `found`.
    pub fn read(evidence: &Evidence, found: &mut Vec<String>) -> Self {
        let mut ledger = Self::default();
        for entry in &evidence.executions {
            match serde_json::from_slice::<Execution>(&entry.body) {
                Ok(event) => {
                    ledger.stored.insert(event.id, entry.stored_at);
                    ledger.note(event, found);
                }
                Err(error) => found.push(format!("an event of the history is none: {error}")),
            }
        }
        for record in &evidence.records {
            let rightly = |one: &&Attempt| is_under_way(record, one, evidence.now);
            let left = record.attempts.iter().filter(rightly);
            ledger.under_way.extend(left.map(|left| left.execution_id));
        }
        ledger.sent = evidence.commands.iter().filter_map(Sent::stored).collect();
        ledger.sent.extend(evidence.heard.iter().map(|heard| Sent {
            execution: heard.execution,
            heard: Some(heard.mode),
            subject: heard.subject.clone(),
            body: heard.body.clone().into(),
            at: heard.at,
        }));
        ledger
    }

    fn note(&mut self, event: Execution, found: &mut Vec<String>) {
        let of = match event.status {
            ExecutionStatus::Running => &mut self.started,
            ExecutionStatus::Corrected => &mut self.corrected,
            _ => &mut self.ends,
        };
        let (id, schedule, status) = (event.id, event.schedule_id, event.status);
        // That it has started may be said twice, by who took it over: it changes nothing.
        if status == ExecutionStatus::Running {
            of.entry(id).or_insert(event);
            return;
        }
        if let Some(before) = of.insert(id, event) {
            let before = before.status.as_str();
            found.push(format!("{id} of {schedule} has two ends: {before}, {}", status.as_str()));
        }
    }
}

impl Sent {
    /// A command of a stream, unless it is a dead letter.
    fn stored(entry: &Entry) -> Option<Self> {
        let execution = entry.headers.get(names::EXECUTION_ID)?.as_str().parse().ok()?;
        if entry.headers.get(names::ERROR_TYPE).is_some() {
            return None;
        }
        Some(Self {
            execution,
            heard: None,
            subject: entry.subject.clone(),
            body: entry.body.clone(),
            at: entry.stored_at,
        })
    }
}
