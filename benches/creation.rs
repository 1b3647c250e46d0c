//! Rate of creating schedules, compared with NATS itself.
//!
//! `cargo bench --bench creation` writes pairs of keys on condition that they do not exist, pipelined, and creates as
//! many schedules, one per request and 100 per request. It prints medians of three rounds in which they take turns.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "bulk.rs"]
mod bulk;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "usage.rs"]
mod usage;

use std::time::Instant;

use async_nats::jetstream::message::PublishMessage;
use futures::StreamExt as _;
use harness::Nats;
use nats_scheduler::names::key_subject;
use serde_json::{Value, json};
use usage::median;

const SCHEDULES: usize = 20_000;
const ROUNDS: usize = 3;
/// Requests, and pairs of writes, under way at once.
const AT_ONCE: usize = 512;
/// Sizes in bytes of such a schedule's record and of the entry of its name.
const SIZES: [usize; 2] = [1_000, 70];
/// Goals, as fractions of the rate of the bare writes.
const SINGLE: f64 = 0.25;
const BULK: f64 = 0.40;

#[tokio::main]
async fn main() {
    let (mut raw, mut single, mut many) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        let nats = Nats::start().await;
        let _service = nats
            .service_with(&[("MAX_SCHEDULES_PER_CREATOR", "1000000"), ("LOG_LEVEL", "info")])
            .await;
        raw.push(timed(write(&nats)).await);
        single.push(timed(one_by_one(&nats)).await);
        many.push(timed(bulk::create(&nats, SCHEDULES, |n| schedule("many", n))).await);
        println!(
            "run {round}: pairs of conditional writes {:.0}/s, one in a request {:.0}/s, 100 in a request {:.0}/s",
            raw[round - 1],
            single[round - 1],
            many[round - 1]
        );
    }
    let [raw, single, many] = [raw, single, many].map(median);
    println!("one in a request:  {:.2} of bare writes (goal: {SINGLE:.2} or more)", single / raw);
    println!("100 in a request:  {:.2} of bare writes (goal: {BULK:.2} or more)", many / raw);
}

/// Rate per second at which `work` handles all schedules.
async fn timed(work: impl Future<Output = ()>) -> f64 {
    let started = Instant::now();
    work.await;
    SCHEDULES as f64 / started.elapsed().as_secs_f64()
}

fn schedule(kind: &str, n: usize) -> Value {
    json!({ "name": format!("{kind} {n}"), "schedule_type": "cron", "cron_expression": "0 3 1 1 *",
        "target_command": "cmd.example.yearly", "command_payload": { "text": "x".repeat(200) } })
}

/// Writes pairs of keys that do not exist, the second after the first, as a creation does.
async fn write(nats: &Nats) {
    let bodies = SIZES.map(|size| bytes::Bytes::from("x".repeat(size)));
    let writing = futures::stream::iter(0..SCHEDULES).map(|n| {
        let bodies = bodies.clone();
        async move {
            for (body, kind) in bodies.into_iter().rev().zip(["name", "record"]) {
                let message =
                    PublishMessage::build().payload(body).expected_last_subject_sequence(0);
                let subject = key_subject(&format!("bare.{kind}.{n}"));
                nats.js.send_publish(subject, message).await.unwrap().await.unwrap();
            }
        }
    });
    writing.buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
}

async fn one_by_one(nats: &Nats) {
    let asking = futures::stream::iter(0..SCHEDULES).map(|n| async move {
        nats.ask("schedule.create", schedule("one", n)).await;
    });
    asking.buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
}
