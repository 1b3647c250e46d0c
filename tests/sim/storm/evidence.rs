//! Evidence that a storm leaves behind, and the notes of its participants.

use std::fmt::Write as _;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nats_scheduler::api::Caller;
use nats_scheduler::api::error::{ApiError, Code};
use nats_scheduler::api::permit::Permit;
use nats_scheduler::names;
use nats_scheduler::port::Entry;
use nats_scheduler::schedule::Schedule;
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::time::timeout;
use uuid::Uuid;

use super::{OURS, Storm, targets};
use crate::checker::{Answer, Asked, Evidence, Fault, FaultKind, Wish};

/// How long callers wait: an instance that dies never answers.
const PATIENCE: Duration = Duration::from_secs(7);

/// The notes.
#[derive(Clone)]
pub struct Book(Arc<Mutex<Evidence>>);

impl Book {
    pub fn evidence(&self) -> MutexGuard<'_, Evidence> {
        self.0.lock().unwrap()
    }

    /// Somebody who asks.
    pub fn caller(chance: &mut StdRng) -> Caller {
        let drawn = uuid::Builder::from_random_bytes(chance.random()).into_uuid().to_string();
        Caller {
            actor: None,
            creator: None,
            correlation_id: drawn.clone(),
            request_id: drawn,
            message_id: None,
            trace: None,
            permit: Permit::default(),
        }
    }

    /// Notes that somebody asks; its place in the notes.
    pub fn asks(
        &self,
        caller: &Caller,
        what: Wish,
        schedules: Vec<Uuid>,
        at: DateTime<Utc>,
    ) -> usize {
        let correlation_id = caller.correlation_id.clone();
        let asked = Asked { correlation_id, what, schedules, at, answer: Answer::Unknown };
        let mut evidence = self.evidence();
        evidence.asked.push(asked);
        evidence.asked.len() - 1
    }

    /// Notes what was said.
    pub fn hears(&self, asked: usize, answer: Answer) {
        if let Some(asked) = self.evidence().asked.get_mut(asked) {
            asked.answer = answer;
        }
    }
}

/// The result, if it is known before patience ends. The work goes on all the same: a service does what it was asked for,
/// whether or not anybody waits.
pub async fn within_patience<T: Send + 'static>(
    doing: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    timeout(PATIENCE, tokio::spawn(doing)).await.ok()?.ok()
}

/// What an answer says that arrives at `now`.
pub fn answer_of<T>(done: Option<&Result<T, ApiError>>, now: DateTime<Utc>) -> Answer {
    match done {
        None => Answer::Unknown,
        Some(Ok(_)) => Answer::Done(now),
        Some(Err(error)) => match error.code {
            Code::Unavailable | Code::Internal | Code::Timeout => Answer::Unknown,
            _ => Answer::Refused,
        },
    }
}

impl Storm {
    pub fn book(&self) -> Book {
        Book(Arc::clone(&self.evidence))
    }

    /// Notes something that goes wrong from now on for a time.
    pub fn wrong(&self, kind: FaultKind, instance: Option<u64>, time: Duration) {
        self.wrong_at(kind, instance, None, time);
    }

    /// The same where it is about some targets only.
    pub fn wrong_at(
        &self,
        kind: FaultKind,
        instance: Option<u64>,
        targets: Option<&'static str>,
        time: Duration,
    ) {
        let from = self.server.now();
        let fault = Fault { kind, instance, targets, from, until: from + time };
        self.evidence.lock().unwrap().faults.push(fault);
    }

    /// All that the run left behind.
    pub fn evidence(&self) -> Evidence {
        let mut evidence = std::mem::take(&mut *self.evidence.lock().unwrap());
        let commands = targets::STREAMS.iter().flat_map(|stream| self.server.messages(stream));
        evidence.commands = commands.collect();
        evidence.executions = self.server.messages(names::EXECUTIONS_STREAM);
        evidence.audit = self.server.messages(names::AUDIT_STREAM);
        evidence.records = self.records();
        if self.size.has_shared {
            self.add_shared(&mut evidence);
        }
        evidence
    }

    /// The records that are in the bucket.
    pub fn records(&self) -> Vec<Schedule> {
        let records = self.server.messages(names::SCHEDULES_STREAM).into_iter();
        let prefix = names::key_subject(names::SCHEDULE_KEY_PREFIX);
        records
            .filter(|entry| entry.subject.starts_with(&prefix) && entry.is_value())
            .map(|entry| serde_json::from_slice(&entry.body).unwrap())
            .collect()
    }

    /// All that the streams hold, as text.
    pub fn content(&self) -> String {
        let mut content = String::new();
        for stream in OURS.into_iter().chain(targets::STREAMS) {
            for entry in self.server.messages(stream) {
                write(&mut content, stream, &entry);
            }
        }
        content
    }
}

fn write(content: &mut String, stream: &str, entry: &Entry) {
    let Entry { sequence, subject, stored_at, body, .. } = entry;
    let body = String::from_utf8_lossy(body);
    let mut headers: Vec<_> = entry
        .headers
        .iter()
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}: {value}")))
        .collect();
    headers.sort_unstable();
    writeln!(content, "{stream} {sequence} {subject} {stored_at} {headers:?} {body}").unwrap();
}
