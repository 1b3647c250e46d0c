//! What the sides of a benchmark have in common.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use chrono::{DateTime, Timelike as _, Utc};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};

use crate::harness::Nats;
use crate::lateness::{self, Lateness};

const PAYLOAD: usize = 256;
/// Publishes that wait for their acknowledgement at once.
pub const IN_FLIGHT: usize = 2_048;

/// What a steady rate showed.
pub struct Steady {
    /// Of each command.
    pub lateness: Lateness,
    /// Processor time of a firing, of the instance and of the server, in microseconds.
    #[allow(dead_code, reason = "each benchmark uses a part of it")]
    pub cost: [f64; 2],
}

/// Prints a burst; its rate.
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

/// Prints a steady rate; its 99th percentile.
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

pub fn payload() -> Value {
    json!({ "text": "x".repeat(PAYLOAD - 11) })
}

/// Raw publishes a second.
pub async fn publish_all(count: usize) -> f64 {
    let nats = Nats::start().await;
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

/// Acknowledgements that are waited for.
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

/// How many messages a stream holds under a filter.
async fn stored(stream: &Stream, filter: &str) -> usize {
    let config = pull::Config { filter_subject: filter.to_owned(), ..Default::default() };
    let mut consumer = stream.create_consumer(config).await.unwrap();
    usize::try_from(consumer.info().await.unwrap().num_pending).unwrap()
}

/// Waits until a stream holds `count` commands.
pub async fn come(nats: &Nats, stream: &str, filter: &str, count: usize) {
    let there = nats.js.get_stream(stream).await.unwrap();
    // Rarely, since asking costs the server time that is being measured.
    let deadline = Instant::now() + Duration::from_secs(120);
    while stored(&there, filter).await < count {
        assert!(Instant::now() < deadline, "the commands do not come");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Waits for `count` commands and works out how late each was stored: after the time in its
/// `Scheduler-Scheduled-For` header, else after what `due` says of its subject.
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
