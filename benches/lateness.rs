//! Lateness of commands, according to the stream that stored them.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use async_nats::jetstream::consumer::{DeliverPolicy, push};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;

use crate::harness::Nats;

/// Lateness of each command in milliseconds, sorted.
pub struct Lateness {
    ms: Vec<f64>,
}

impl Lateness {
    pub fn new(mut ms: Vec<f64>) -> Self {
        ms.sort_by(f64::total_cmp);
        Self { ms }
    }

    pub fn len(&self) -> usize {
        self.ms.len()
    }

    pub fn percentile(&self, p: f64) -> f64 {
        let Some(last) = self.ms.len().checked_sub(1) else { return f64::NAN };
        self.ms[((last as f64) * p / 100.0).round() as usize]
    }

    pub fn last(&self) -> f64 {
        self.percentile(100.0)
    }

    /// Number of commands that are later than `ms`.
    pub fn later_than(&self, ms: f64) -> usize {
        self.ms.iter().filter(|late| **late > ms).count()
    }

    /// Commands per second from the instant at which all were due.
    pub fn rate(&self) -> f64 {
        self.ms.len() as f64 / self.last() * 1000.0
    }
}

/// A command in its stream.
pub struct Command {
    pub subject: String,
    /// From its header `Scheduler-Scheduled-For`, which messages scheduled by nats-server itself do not have.
    pub due: Option<DateTime<Utc>>,
    pub stored: DateTime<Utc>,
}

impl Command {
    /// Lateness relative to `due`, in milliseconds.
    pub fn after(&self, due: DateTime<Utc>) -> f64 {
        (self.stored - due).num_microseconds().unwrap() as f64 / 1000.0
    }
}

/// Messages of a stream that match a filter.
pub async fn commands(nats: &Nats, stream: &str, filter: &str) -> Vec<Command> {
    let stream = nats.js.get_stream(stream).await.unwrap();
    let config = push::OrderedConfig {
        deliver_subject: nats.client.new_inbox(),
        deliver_policy: DeliverPolicy::All,
        filter_subject: filter.to_owned(),
        headers_only: true,
        ..Default::default()
    };
    let mut consumer = stream.create_consumer(config).await.unwrap();
    let mut left = consumer.info().await.unwrap().num_pending;
    let mut messages = consumer.messages().await.unwrap();
    let mut found = Vec::new();
    while left > 0 {
        let message = messages.next().await.unwrap().unwrap();
        let info = message.info().unwrap();
        left = info.pending;
        let stored = info.published;
        let due = message.headers.as_ref().and_then(|headers| {
            let text = headers.get("Scheduler-Scheduled-For")?.as_str();
            Some(DateTime::parse_from_rfc3339(text).unwrap().to_utc())
        });
        found.push(Command { subject: message.subject.to_string(), due, stored });
    }
    found
}
