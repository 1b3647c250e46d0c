//! Time until an instance is ready with many schedules, and the memory that it then holds.
//!
//! `cargo bench --bench startup` writes daily schedules into the bucket, then starts the service and waits until it
//! is ready; it alternates with a bare reader of the same bucket, which does nothing with the messages.
//! `-- --schedules 1000000` sets the number of schedules, 100,000 by default.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "args.rs"]
mod args;
#[path = "bare_reader.rs"]
mod bare_reader;
#[path = "fill.rs"]
mod fill;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "usage.rs"]
mod usage;

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::DeliverPolicy;
use harness::{Nats, Service};
use nats_scheduler::names;
use serde_json::json;
use usage::{Usage, median};

const STARTS_WITHIN: Duration = Duration::from_secs(120);
/// Time until the instance has settled down and returned the memory of the replay.
const CALM: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
/// Goals.
const TIMES_BARE: f64 = 2.0;
const BYTES: f64 = 1000.0;

#[tokio::main]
async fn main() {
    let count = args::number("--schedules", 100_000);
    let nats = Nats::start().await;
    // Starting the service creates the streams.
    let (empty, _) = start(&nats).await;
    tokio::time::sleep(CALM).await;
    let without = Usage::of(empty.pid());
    drop(empty);
    let started = Instant::now();
    let payload = fill::fill(&nats, count).await;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    println!(
        "{count} schedules and their names written at {rate:.0}/s, {payload} bytes of payload each"
    );
    let (mut bare, mut ready, mut bytes) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=ROUNDS {
        let read = read(&nats, count).await;
        let (service, elapsed) = start(&nats).await;
        let status = nats.ask("status", json!({})).await;
        assert_eq!(status["schedules"]["active"], count);
        tokio::time::sleep(CALM).await;
        let calm = Usage::of(service.pid());
        tokio::time::sleep(CALM).await;
        let then = Usage::of(service.pid());
        let idle = (then.processor - calm.processor) / CALM.as_secs_f64();
        let each = (then.resident - without.resident) / count as f64 - payload as f64;
        println!(
            "run {run}: a bare reader has all after {read:.2} s; ready after {elapsed:.2} s, {:.2} times that; {:.0} MiB \
             resident, {each:.0} bytes a schedule beyond its payload; {:.1} % of a processor while idle",
            elapsed / read,
            then.resident / 1024.0 / 1024.0,
            idle * 100.0,
        );
        bare.push(read);
        ready.push(elapsed);
        bytes.push(each);
    }
    let [bare, ready, bytes] = [bare, ready, bytes].map(median);
    println!("ready: {:.2} of a bare reader's time (goal: {TIMES_BARE:.2} or less)", ready / bare);
    println!("memory: {bytes:.0} bytes a schedule beyond its payload (goal: {BYTES:.0} or less)");
}

/// Starts the service; returns the seconds until it is ready.
async fn start(nats: &Nats) -> (Service, f64) {
    let settings = [("MAX_SCHEDULES_PER_CREATOR", "2000000"), ("LOG_LEVEL", "info")];
    let started = Instant::now();
    let service = nats.spawn(&settings);
    service.ready_within(STARTS_WITHIN).await;
    let elapsed = started.elapsed().as_secs_f64();
    (service, elapsed)
}

/// Seconds that a reader takes to receive the latest message of each key.
async fn read(nats: &Nats, count: usize) -> f64 {
    let is_record = |subject: &str| subject.contains(names::SCHEDULE_KEY_PREFIX);
    let policy = DeliverPolicy::LastPerSubject;
    let (shown, took) =
        bare_reader::read(nats, names::SCHEDULES_STREAM, policy, false, is_record).await;
    assert_eq!(shown, count);
    took
}
