//! Cost of a crash in the middle of a burst.
//!
//! `cargo bench --bench recovery` lets 20,000 commands be due at one instant and kills an instance a moment later, with
//! SIGKILL: first the only one, which is restarted at once, then one of two. It prints the time from the kill until all
//! commands are in their stream, each once, and until all is recorded and settled, as medians of three rounds.
//! `-- --burst 5000` sets the number of commands.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "args.rs"]
mod args;
#[path = "bulk.rs"]
mod bulk;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "lateness.rs"]
mod lateness;
#[path = "usage.rs"]
mod usage;

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use harness::{Nats, Service, wait_within};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use usage::median;

const SETTINGS: [(&str, &str); 2] =
    [("MAX_SCHEDULES_PER_CREATOR", "1000000"), ("LOG_LEVEL", "info")];
/// Time from the instant to the kill: some commands have been sent by then.
const KILLED_AFTER: Duration = Duration::from_millis(150);
const WITHIN: Duration = Duration::from_secs(120);
const ROUNDS: usize = 3;
/// Goal in seconds if another instance is running.
const SETTLED: f64 = 10.0;

#[tokio::main]
async fn main() {
    let count = args::number("--burst", 20_000);
    for (what, instances) in [("the only instance, started again", 1), ("one of two instances", 2)]
    {
        let (mut delivered, mut settled) = (Vec::new(), Vec::new());
        for round in 1..=ROUNDS {
            let Recovery { before, stored, all } = recover(count, instances).await;
            println!(
                "run {round}: {what} killed with {before} of {count} commands out: all out after {stored:.2} s, recorded and settled after {all:.2} s"
            );
            delivered.push(stored);
            settled.push(all);
        }
        let [delivered, settled] = [delivered, settled].map(median);
        print!(
            "{what}: all out {delivered:.2} s after the kill, recorded and settled after {settled:.2} s"
        );
        println!(
            "{}",
            if instances > 1 { format!(" (goal: {SETTLED:.0} or less)") } else { String::new() }
        );
    }
}

/// Result of a burst, in seconds from the kill.
struct Recovery {
    /// Commands that had been sent.
    before: usize,
    /// Time until the last command was stored.
    stored: f64,
    /// Time until everything was settled.
    all: f64,
}

async fn recover(count: usize, instances: usize) -> Recovery {
    let nats = Nats::start().await;
    let mut services: Vec<Service> = Vec::new();
    for _ in 0..instances {
        services.push(nats.service_with(&SETTINGS).await);
    }
    let due =
        (Utc::now() + TimeDelta::seconds(10 + count as i64 / 1_000)).with_nanosecond(0).unwrap();
    bulk::create(&nats, count, |n| {
        json!({ "name": format!("burst {n}"), "schedule_type": "one_time", "scheduled_at": due,
            "target_command": format!("cmd.example.{n}") })
    })
    .await;
    sleep((due - Utc::now()).to_std().expect("creating took too long") + KILLED_AFTER).await;
    services.remove(0).kill();
    let (killed, killed_at) = (Instant::now(), Utc::now());
    if services.is_empty() {
        services.push(nats.service_with(&SETTINGS).await);
    }
    let is_settled = || async {
        // The request may still be routed to the killed instance, and would wait there for ten seconds.
        let asking = nats.client.request("cmd.scheduler.status", "{}".into());
        let reply = timeout(Duration::from_millis(500), asking).await.ok()?.ok()?;
        let status: serde_json::Value = serde_json::from_slice(&reply.payload).ok()?;
        (status["data"]["schedules"]["completed"] == count).then_some(())
    };
    wait_within(WITHIN, "all to be settled", is_settled).await;
    let all = killed.elapsed().as_secs_f64();
    let commands = lateness::commands(&nats, "COMMANDS", "cmd.example.>").await;
    let subjects: BTreeSet<&str> = commands.iter().map(|one| one.subject.as_str()).collect();
    assert_eq!((commands.len(), subjects.len()), (count, count), "each is stored once");
    let before = commands.iter().filter(|one| one.stored < killed_at).count();
    let last = commands.iter().map(|one| one.stored).max().unwrap();
    Recovery { before, stored: seconds(last, killed_at), all }
}

fn seconds(from: DateTime<Utc>, since: DateTime<Utc>) -> f64 {
    (from - since).num_milliseconds() as f64 / 1000.0
}
