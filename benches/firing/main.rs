//! How fast what is due at one instant is fired, how late what is due at every second, and what a firing costs; beside what
//! NATS itself can do.
//!
//! `cargo bench --bench firing` starts nats-servers of its own and prints one table, all figures from one run on one machine,
//! medians of three rounds in which the sides take turns:
//!
//! - **raw**: as many messages published to a stream, pipelined: the ceiling.
//! - **server**: nats-server's own message scheduler, `@at` one instant.
//! - **bare**: the least that a scheduler with claims and a history writes, after the instant: a conditional write, the
//!   command, a record.
//! - **ours**: as many `publish` schedules due at one instant, with one instance and with three.
//! - **steady**: 100, 1,000 and 5,000 due at every second; 1,000 with nats-server's own, too.
//!
//! `-- --burst 20000` has so many due at one instant, else there are 10,000; `-- --rounds 1` is for a quick look, and
//! `-- --only ours` for profiles.
//!
//! Lateness is the time at which the stream stored the command, less the time at which it was due.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../args.rs"]
mod args;
mod bare;
#[path = "../../tests/it/harness.rs"]
mod harness;
#[path = "../lateness.rs"]
mod lateness;
mod native;
mod ours;
#[path = "../usage.rs"]
mod usage;

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::Stream;
use chrono::{DateTime, Timelike as _, Utc};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use harness::Nats;
use lateness::Lateness;
use serde_json::{Value, json};
use usage::{Usage, median};

const PAYLOAD: usize = 256;
/// Publishes that wait for their acknowledgement at once.
const IN_FLIGHT: usize = 2_048;
/// How long a steady rate lasts, in seconds.
const SECONDS: usize = 20;

/// What a steady rate showed.
pub struct Steady {
    /// Of each command.
    pub lateness: Lateness,
    /// Processor time of a firing, of the instance and of the server, in microseconds.
    pub cost: [f64; 2],
}

#[tokio::main]
async fn main() {
    let (burst, rounds) = (args::number("--burst", 10_000), args::number("--rounds", 3));
    let ours_only = std::env::args().any(|argument| argument == "ours");
    bursts(burst, rounds, ours_only).await;
    steady(rounds, ours_only).await;
}

async fn bursts(burst: usize, rounds: usize, ours_only: bool) {
    let [mut raw, mut server, mut bare, mut one, mut three] = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        if !ours_only {
            raw.push(publish_all(burst).await);
            server.push(print_burst("nats-server @at", &native::burst(burst).await));
            bare.push(print_burst("bare protocol", &bare::burst(burst).await));
        }
        one.push(print_burst("nats-scheduler", &ours::burst(burst, 1).await));
        three.push(print_burst("the same, three", &ours::burst(burst, 3).await));
    }
    let [raw, server, bare, one, three] = [raw, server, bare, one, three].map(median);
    println!("\n{burst} at one instant, medians of {rounds}: raw publishes {raw:.0}/s");
    for (name, rate) in
        [("nats-server @at", server), ("bare protocol", bare), ("nats-scheduler", one)]
    {
        println!("{name:<18} {rate:>7.0}/s   {:.2} of raw", rate / raw);
    }
    println!("ours / nats-server      {:>6.2}   (goal: 0.70 or more)", one / server);
    println!("ours / bare protocol    {:>6.2}   (goal: 1.50 or more)", one / bare);
    println!("three instances / one   {:>6.2}   (goal: 0.90 or more)\n", three / one);
}

async fn steady(rounds: usize, ours_only: bool) {
    let [mut server, mut few, mut many, mut most, mut cost] = [const { Vec::new() }; 5];
    for _ in 0..rounds {
        if !ours_only {
            let late = native::steady(1_000, SECONDS).await;
            server.push(print_steady("nats-server @at", 1_000, &late));
        }
        few.push(print_steady("nats-scheduler", 100, &ours::steady(100, SECONDS).await.lateness));
        let Steady { lateness, cost: [service, of_server] } = ours::steady(1_000, SECONDS).await;
        many.push(print_steady("nats-scheduler", 1_000, &lateness));
        println!("{:<18} a firing costs {service:.0} us, and nats-server {of_server:.0} us", "");
        cost.push(service / of_server);
        most.push(print_steady(
            "nats-scheduler",
            5_000,
            &ours::steady(5_000, SECONDS).await.lateness,
        ));
    }
    let [server, few, many, most, cost] = [server, few, many, most, cost].map(median);
    println!("\nevery second for {SECONDS} s, medians of {rounds}:");
    println!("1,000: p99, ours / server {:>6.2}   (goal: 1.00 or less)", many / server);
    println!("100: p99                  {few:>6.1} ms (goal: 5 or less)");
    println!("5,000: p99                {most:>6.1} ms (goal: 60 or less)");
    println!("cost, ours / server       {cost:>6.2}   (goal: 1.00 or less)");
}

/// Prints a burst; its rate.
fn print_burst(name: &str, lateness: &Lateness) -> f64 {
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
fn print_steady(name: &str, rate: usize, lateness: &Lateness) -> f64 {
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

fn payload() -> Value {
    json!({ "text": "x".repeat(PAYLOAD - 11) })
}

/// Raw publishes a second.
async fn publish_all(count: usize) -> f64 {
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
struct Acks(FuturesUnordered<<PublishAckFuture as IntoFuture>::IntoFuture>);

impl Acks {
    async fn add(&mut self, ack: PublishAckFuture) {
        self.0.push(ack.into_future());
        if self.0.len() >= IN_FLIGHT {
            self.0.next().await.unwrap().unwrap();
        }
    }

    async fn all(mut self) {
        while let Some(ack) = self.0.next().await {
            ack.unwrap();
        }
    }
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

/// Waits until a stream holds `count` commands.
async fn come(nats: &Nats, stream: &str, filter: &str, count: usize) {
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
async fn late(
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
