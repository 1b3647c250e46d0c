//! Parts that the sides of a benchmark share.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use chrono::{DateTime, Timelike as _, Utc};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::args;
use crate::harness::Nats;
use crate::lateness::{self, Lateness};

const PAYLOAD: usize = 256;
/// A server that has its disk take each message before it answers.
const ALWAYS_SYNCED: &str =
    "jetstream { store_dir: $NATS_STORE_DIR, sync_interval: always, max_file_store: 20G }";
/// Publishes that wait for their acknowledgement at once.
pub const IN_FLIGHT: usize = 2_048;

/// Result of a steady rate.
pub struct Steady {
    /// Lateness of each command.
    pub lateness: Lateness,
    /// CPU time per firing of the instance and of the server, in microseconds.
    #[allow(dead_code, reason = "each benchmark uses a part of it")]
    pub cost: [f64; 2],
}

/// Prints a burst; returns its rate.
pub fn print_burst(name: &str, lateness: &Lateness) -> f64 {
    println!(
        "{name:<18} {:>7.0}/s   first {:.1} ms, p50 {:.0} ms, last {:.0} ms late",
        lateness.rate(),
        lateness.percentile(0.0),
        lateness.percentile(50.0),
        lateness.last(),
    );
    lateness.rate()
}

/// Prints a steady rate; returns its 99th percentile.
pub fn print_steady(name: &str, rate: usize, lateness: &Lateness) -> f64 {
    println!(
        "{name:<18} {rate} every second   n {}, earliest {:.1} ms, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms late",
        lateness.len(),
        lateness.percentile(0.0),
        lateness.percentile(50.0),
        lateness.percentile(99.0),
        lateness.last(),
    );
    lateness.percentile(99.0)
}

/// Starts what NATS consists of in this run: one server, or a cluster of three with three replicas of each stream, with
/// the example stream.
pub async fn start() -> Nats {
    match (args::is_given("cluster"), args::is_given("synced")) {
        (false, false) => Nats::start().await,
        (true, false) => Nats::cluster().await,
        (false, true) => Nats::with_config(ALWAYS_SYNCED).await,
        (true, true) => panic!("a cluster, or a server that is always synced"),
    }
}

pub fn payload() -> Value {
    json!({ "text": "x".repeat(PAYLOAD - 11) })
}

/// Rate of raw publishes, per second.
pub async fn publish_all(count: usize) -> f64 {
    let nats = start().await;
    let body: bytes::Bytes = payload().to_string().into();
    let started = Instant::now();
    let mut acks = Acks::default();
    for n in 0..count {
        let message = PublishMessage::build().payload(body.clone()).message_id(n.to_string());
        acks.add(nats.js.send_publish("cmd.example.raw", message).await.unwrap()).await;
    }
    acks.all().await;
    count as f64 / started.elapsed().as_secs_f64()
}

/// Pending acknowledgements.
#[derive(Default)]
pub struct Acks(FuturesUnordered<<PublishAckFuture as IntoFuture>::IntoFuture>);

impl Acks {
    pub async fn add(&mut self, ack: PublishAckFuture) {
        self.0.push(ack.into_future());
        if self.0.len() >= IN_FLIGHT {
            self.0.next().await.unwrap().unwrap();
        }
    }

    pub async fn all(mut self) {
        while let Some(ack) = self.0.next().await {
            ack.unwrap();
        }
    }
}

pub fn whole_second(from_now: i64) -> DateTime<Utc> {
    (Utc::now() + chrono::Duration::seconds(from_now)).with_nanosecond(0).unwrap()
}

/// Number of messages in a stream that match a filter.
async fn stored(stream: &Stream, filter: &str) -> usize {
    let config = pull::Config { filter_subject: filter.to_owned(), ..Default::default() };
    let mut consumer = stream.create_consumer(config).await.unwrap();
    usize::try_from(consumer.info().await.unwrap().num_pending).unwrap()
}

/// Waits until a stream holds `count` commands.
pub async fn come(nats: &Nats, stream: &str, filter: &str, count: usize) {
    let there = nats.js.get_stream(stream).await.unwrap();
    // Asks rarely, since asking costs the server time that is being measured.
    let deadline = Instant::now() + Duration::from_secs(120);
    while stored(&there, filter).await < count {
        assert!(Instant::now() < deadline, "the commands do not come");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits for `count` commands and computes how late each was stored: relative to its `Scheduler-Scheduled-For` header,
/// or else to what `due` returns for its subject.
pub async fn late(
    nats: &Nats,
    stream: &str,
    filter: &str,
    count: usize,
    due: impl Fn(&str) -> DateTime<Utc>,
) -> Lateness {
    come(nats, stream, filter, count).await;
    let commands = lateness::commands(nats, stream, filter).await;
    let late = commands
        .iter()
        .take(count)
        .map(|command| command.after(command.due.unwrap_or_else(|| due(&command.subject))));
    Lateness::new(late.collect())
}
