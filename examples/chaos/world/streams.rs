//! Stored data, read from the streams.

use std::time::Duration;

use futures::StreamExt as _;
use nats_scheduler::config::nats::{NatsConfig, parse_servers};
use nats_scheduler::jetstream::adapter::JetStream;
use nats_scheduler::jetstream::connect::connect;
use nats_scheduler::names;
use nats_scheduler::port::answers::Answers;
use nats_scheduler::port::{Entry, Nats as _, Reading, Start};
use nats_scheduler::schedule::Schedule;
use tokio::time::timeout;

/// Silence after which no more messages are expected.
const SILENCE: Duration = Duration::from_secs(10);
const TRIES: usize = 5;

/// A reader of streams.
pub struct Streams(JetStream);

impl Streams {
    /// Connects to servers.
    pub async fn of(urls: &str) -> Self {
        let config = NatsConfig { servers: parse_servers(urls).unwrap(), ..NatsConfig::default() };
        let connection = connect(&config, "chaos", &Answers::default()).await.unwrap();
        Self(JetStream::new(connection, config))
    }

    /// All messages of a stream.
    pub async fn all(&self, stream: &str) -> Vec<Entry> {
        let what = Reading { from: Start::First, filter: String::new(), headers_only: false };
        self.read(stream, what).await
    }

    /// The records of all schedules.
    pub async fn records(&self) -> Vec<Schedule> {
        let filter = names::key_subject(&format!("{}>", names::SCHEDULE_KEY_PREFIX));
        let what = Reading { from: Start::LastOfEach, filter, headers_only: false };
        let entries = self.read(names::SCHEDULES_STREAM, what).await;
        let values = entries.iter().filter(|entry| entry.is_value());
        values.map(|entry| serde_json::from_slice(&entry.body).unwrap()).collect()
    }

    async fn read(&self, stream: &str, what: Reading) -> Vec<Entry> {
        for _ in 0..TRIES {
            if let Some(entries) = self.try_to_read(stream, what.clone()).await {
                return entries;
            }
        }
        panic!("{stream} cannot be read");
    }

    async fn try_to_read(&self, stream: &str, what: Reading) -> Option<Vec<Entry>> {
        let (mut entries, pending) = self.0.read(stream, what).await.ok()?;
        let mut all = Vec::new();
        if pending == 0 {
            return Some(all);
        }
        loop {
            let entry = timeout(SILENCE, entries.next()).await.ok()??.ok()?;
            let pending = entry.pending;
            all.push(entry);
            if pending == 0 {
                return Some(all);
            }
        }
    }
}
