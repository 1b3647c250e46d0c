//! How fast what is due at one instant is fired, and how late, beside what NATS itself can do.
//!
//! `cargo bench --bench firing` starts its own nats-server and prints one table, all figures from
//! one run on one machine:
//!
//! - **raw**: the same number of messages published to a stream, pipelined: the ceiling.
//! - **server**: nats-server's own message scheduler, `@at` one instant, on the same server.
//! - **ours**: as many `publish` schedules due at one instant.
//! - **steady**: a thousand due at every second, for 20 seconds, both ways.
//!
//! Lateness is the time at which the stream stored the command, less the time at which it was due.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "lateness.rs"]
mod lateness;

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use chrono::{DateTime, Timelike as _, Utc};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use harness::Nats;
use lateness::Lateness;
use serde_json::{Value, json};

const BURST: usize = 10_000;
const STEADY: usize = 1_000;
const SECONDS: usize = 20;
const PAYLOAD: usize = 256;
/// Publishes that wait for their acknowledgement at once.
const IN_FLIGHT: usize = 2_048;

#[tokio::main]
async fn main() {
    // `-- ours` runs only our side, for profiling.
    let ours_only = std::env::args().any(|argument| argument == "ours");
    let (raw, server) = if ours_only {
        (f64::NAN, Lateness::new(vec![f64::NAN]))
    } else {
        (raw().await, server_burst().await)
    };
    println!("raw pipelined publishes        {raw:>9.0}/s");
    print_burst("nats-server @at", &server, raw);
    let ours = our_burst().await;
    print_burst("nats-scheduler", &ours, raw);
    let ratio = ours.rate() / server.rate();
    println!("drain, ours / nats-server      {ratio:>9.2}   (goal: 0.15 or more)");
    let server = if ours_only { Lateness::new(vec![f64::NAN]) } else { server_steady().await };
    print_steady("nats-server @at", &server);
    let ours = our_steady().await;
    print_steady("nats-scheduler", &ours);
    let ratio = ours.percentile(99.0) / server.percentile(99.0);
    println!("p99 lateness, ours / server    {ratio:>9.2}   (goal: 1.00 or less)");
}

fn print_burst(name: &str, lateness: &Lateness, raw: f64) {
    println!(
        "{name:<16} {BURST} at once   {:>7.0}/s   first {:.1} ms, p50 {:.0} ms, last {:.0} ms late, {:.2} of raw",
        lateness.rate(),
        lateness.percentile(0.0),
        lateness.percentile(50.0),
        lateness.last(),
        lateness.rate() / raw,
    );
}

fn print_steady(name: &str, lateness: &Lateness) {
    println!(
        "{name:<16} {STEADY} every second   n {}, earliest {:.1} ms, p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms late",
        lateness.len(),
        lateness.percentile(0.0),
        lateness.percentile(50.0),
        lateness.percentile(99.0),
        lateness.last(),
    );
}

fn payload() -> Value {
    json!({ "text": "x".repeat(PAYLOAD - 11) })
}

async fn raw() -> f64 {
    let nats = Nats::start().await;
    let body: bytes::Bytes = payload().to_string().into();
    let started = Instant::now();
    let mut acks = FuturesUnordered::new();
    for n in 0..BURST {
        let message = PublishMessage::build().payload(body.clone()).message_id(n.to_string());
        acks.push(nats.js.send_publish("cmd.example.raw", message).await.unwrap().into_future());
        if acks.len() >= IN_FLIGHT {
            acks.next().await.unwrap().unwrap();
        }
    }
    while let Some(ack) = acks.next().await {
        ack.unwrap();
    }
    BURST as f64 / started.elapsed().as_secs_f64()
}

/// A stream whose server publishes by itself what is scheduled in it.
async fn scheduling_stream(nats: &Nats) {
    let config = json!({
        "name": "NATIVE", "subjects": ["native.>"], "storage": "file", "retention": "limits",
        "discard": "old", "num_replicas": 1, "allow_msg_schedules": true, "allow_msg_ttl": true,
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_msgs_per_subject": -1, "max_msg_size": -1
    });
    let reply: Value = nats.js.request("STREAM.CREATE.NATIVE", &config).await.unwrap();
    assert!(reply.get("error").is_none(), "{reply}");
}

async fn schedule_natively(nats: &Nats, due: &[DateTime<Utc>]) {
    let body: bytes::Bytes = payload().to_string().into();
    let mut acks = FuturesUnordered::new();
    for (n, due) in due.iter().enumerate() {
        let message = PublishMessage::build()
            .payload(body.clone())
            .header("Nats-Schedule", format!("@at {}", due.to_rfc3339()))
            .header("Nats-Schedule-Target", format!("native.target.{n}"));
        acks.push(
            nats.js
                .send_publish(format!("native.schedule.{n}"), message)
                .await
                .unwrap()
                .into_future(),
        );
        if acks.len() >= IN_FLIGHT {
            acks.next().await.unwrap().unwrap();
        }
    }
    while let Some(ack) = acks.next().await {
        ack.unwrap();
    }
}

async fn server_burst() -> Lateness {
    let nats = Nats::bare().await;
    scheduling_stream(&nats).await;
    let due = whole_second(3);
    schedule_natively(&nats, &vec![due; BURST]).await;
    late(&nats, "NATIVE", "native.target.>", BURST, |_| due).await
}

async fn server_steady() -> Lateness {
    let nats = Nats::bare().await;
    scheduling_stream(&nats).await;
    let first = whole_second(3);
    let due: Vec<_> = (0..STEADY * SECONDS)
        .map(|n| first + chrono::Duration::seconds((n / STEADY) as i64))
        .collect();
    schedule_natively(&nats, &due).await;
    late(&nats, "NATIVE", "native.target.>", STEADY * SECONDS, |subject| {
        due[subject.rsplit('.').next().unwrap().parse::<usize>().unwrap()]
    })
    .await
}

async fn create(nats: &Nats, requests: impl Iterator<Item = Value>) {
    let mut replies = futures::stream::iter(requests)
        .map(|request| async move { nats.request("schedule.create", &request).await })
        .buffer_unordered(256);
    while let Some(reply) = replies.next().await {
        assert!(reply.get("error").is_none(), "{reply}");
    }
}

fn settings() -> [(&'static str, &'static str); 2] {
    [("MAX_SCHEDULES_PER_CREATOR", "1000000"), ("LOG_LEVEL", "info")]
}

async fn our_burst() -> Lateness {
    let nats = Nats::start().await;
    let service = nats.service_with(&settings()).await;
    let due = whole_second(15);
    let started = Instant::now();
    create(
        &nats,
        (0..BURST).map(|n| {
            json!({ "name": format!("burst {n}"), "schedule_type": "one_time", "scheduled_at": due,
                "target_command": "cmd.example.burst", "command_payload": payload() })
        }),
    )
    .await;
    println!(
        "created {BURST} schedules at      {:>9.0}/s",
        BURST as f64 / started.elapsed().as_secs_f64()
    );
    assert!(Utc::now() < due, "creating took too long");
    let late = late(&nats, "COMMANDS", "cmd.example.>", BURST, |_| due).await;
    drop(service);
    late
}

async fn our_steady() -> Lateness {
    let nats = Nats::start().await;
    let service = nats.service_with(&settings()).await;
    let first = whole_second(4);
    create(&nats, (0..STEADY).map(|n| {
        json!({ "name": format!("steady {n}"), "schedule_type": "interval", "interval_seconds": 1,
                "start_at": first, "target_command": "cmd.example.steady",
                "command_payload": payload() })
    }))
    .await;
    let late = late(&nats, "COMMANDS", "cmd.example.>", STEADY * SECONDS, |_| first).await;
    drop(service);
    late
}

fn whole_second(from_now: i64) -> DateTime<Utc> {
    (Utc::now() + chrono::Duration::seconds(from_now)).with_nanosecond(0).unwrap()
}

/// How many messages a stream holds under a filter.
async fn stored(stream: &Stream, filter: &str) -> usize {
    let config = pull::Config { filter_subject: filter.to_owned(), ..Default::default() };
    let mut consumer = stream.create_consumer(config).await.unwrap();
    usize::try_from(consumer.info().await.unwrap().num_pending).unwrap()
}

/// Waits for `count` commands and works out how late each was stored: after the time in its
/// `Scheduler-Scheduled-For` header, else after what `due` says of its subject.
async fn late(
    nats: &Nats,
    stream: &str,
    filter: &str,
    count: usize,
    due: impl Fn(&str) -> DateTime<Utc>,
) -> Lateness {
    let there = nats.js.get_stream(stream).await.unwrap();
    // Rarely, since asking costs the server time that is being measured.
    let deadline = Instant::now() + Duration::from_secs(120);
    while stored(&there, filter).await < count {
        assert!(Instant::now() < deadline, "the commands do not come");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let commands = lateness::commands(nats, stream, filter).await;
    let late = commands
        .iter()
        .take(count)
        .map(|command| command.after(command.due.unwrap_or_else(|| due(&command.subject))));
    Lateness::new(late.collect())
}
