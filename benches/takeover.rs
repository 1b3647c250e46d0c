//! Lateness of commands when an instance dies, freezes, stops or joins.
//!
//! `cargo bench --bench takeover` runs three instances with 300 schedules that fire every second. It kills, stops and
//! suspends one after the other, five times, and prints how late the commands due around that were stored.
//! `-- --schedules 1000000 --rounds 1` adds that many other schedules to the bucket, which do not fire meanwhile, and
//! runs one round.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "args.rs"]
mod args;
#[path = "fill.rs"]
mod fill;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "lateness.rs"]
mod lateness;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use harness::{Nats, Service};
use lateness::Lateness;
use serde_json::json;
use tokio::time::sleep;

const BEATS: usize = 300;
/// Jobs that are due around each death.
const JOBS: u32 = 100;
const INSTANCES: usize = 3;
/// How long after an event a due time still counts as around it: others act for a silent instance after five seconds.
const AROUND: Duration = Duration::from_secs(7);
/// How long an instance is suspended.
const SUSPENDED: Duration = Duration::from_secs(7);
const PAUSE: Duration = Duration::from_secs(3);
/// Maximum time for an instance to start.
const STARTS_WITHIN: Duration = Duration::from_secs(300);

/// The beginning and end of an event.
type Span = (DateTime<Utc>, DateTime<Utc>);

struct Bench {
    nats: Nats,
    instances: Vec<Service>,
    spans: Vec<(&'static str, Span)>,
}

#[tokio::main]
async fn main() {
    let (others, rounds) = (args::number("--schedules", 0), args::number("--rounds", 5));
    let nats = Nats::start().await;
    // Starting the service creates the streams.
    nats.service().await.stop().await;
    fill::fill(&nats, others).await;
    let mut bench = Bench { nats, instances: Vec::new(), spans: Vec::new() };
    bench.start().await;
    bench.nats.create_beats(BEATS, "cmd.example.beat").await;
    for _ in 1..INSTANCES {
        bench.joins().await;
    }
    for _ in 0..rounds {
        bench.dies().await;
        bench.joins().await;
        bench.stops().await;
        bench.joins().await;
        bench.is_suspended().await;
    }
    println!("{INSTANCES} instances, {BEATS} commands a second, {others} other schedules");
    bench.print().await;
}

impl Bench {
    /// Starts an instance; returns when it began and when it was ready.
    async fn start(&mut self) -> Span {
        let settings = [("MAX_SCHEDULES_PER_CREATOR", "2000000"), ("LOG_LEVEL", "info")];
        let began = Utc::now();
        let service = self.nats.spawn(&settings);
        service.ready_within(STARTS_WITHIN).await;
        self.instances.push(service);
        (began, Utc::now())
    }

    async fn joins(&mut self) {
        let (from, until) = self.start().await;
        sleep(PAUSE).await;
        self.spans.push(("an instance joins", (from, until + PAUSE)));
    }

    async fn dies(&mut self) {
        let at = Utc::now() + TimeDelta::seconds(3);
        let job = |n: u32| {
            let due = at + TimeDelta::milliseconds(i64::from(n) * 20 - 200);
            self.nats.create(json!({
                "name": format!("job {n} of {at}"), "schedule_type": "one_time", "scheduled_at": due,
                "target_command": "cmd.example.job", "delivery": { "mode": "job" },
            }))
        };
        join_all((0..JOBS).map(job)).await;
        sleep((at - Utc::now()).to_std().unwrap()).await;
        self.instances.remove(0).kill();
        self.happened("one of them is killed").await;
    }

    async fn stops(&mut self) {
        self.instances.remove(0).signal("-TERM");
        self.happened("one of them stops (SIGTERM)").await;
    }

    async fn is_suspended(&mut self) {
        self.instances[0].signal("-STOP");
        let from = Utc::now();
        sleep(SUSPENDED).await;
        self.instances[0].signal("-CONT");
        sleep(PAUSE).await;
        self.spans.push(("one of them stands still", (from, from + AROUND)));
    }

    async fn happened(&mut self, what: &'static str) {
        let now = Utc::now();
        self.spans.push((what, (now - TimeDelta::seconds(1), now + AROUND)));
        sleep(AROUND + PAUSE).await;
    }

    async fn print(&self) {
        let commands = lateness::commands(&self.nats, "COMMANDS", "cmd.example.>").await;
        let of = |subject: &str, holds: &dyn Fn(DateTime<Utc>) -> bool| {
            let of_it = commands.iter().filter(|one| one.subject == subject);
            let found = of_it.filter_map(|one| Some((one, one.due.filter(|due| holds(*due))?)));
            Lateness::new(found.map(|(one, due)| one.after(due)).collect())
        };
        let is_calm = |due: DateTime<Utc>| {
            self.spans.iter().all(|(_, (from, until))| due < *from || due > *until)
        };
        print("calm", &of("cmd.example.beat", &is_calm));
        let mut events: Vec<_> = self.spans.iter().map(|(what, _)| *what).collect();
        events.sort_unstable();
        events.dedup();
        for event in events {
            let is_around = |due: DateTime<Utc>| {
                let mut spans = self.spans.iter().filter(|(what, _)| *what == event);
                spans.any(|(_, (from, until))| due >= *from && due <= *until)
            };
            print(event, &of("cmd.example.beat", &is_around));
        }
        print("jobs due around a kill", &of("cmd.example.job", &|_| true));
    }
}

fn print(what: &str, lateness: &Lateness) {
    println!(
        "{what:<28} {:>6} commands, late by {:>5.1} ms, p99 {:>6.1} ms, at worst {:>7.1} ms, {:>4} by more than 500 ms",
        lateness.len(),
        lateness.percentile(50.0),
        lateness.percentile(99.0),
        lateness.last(),
        lateness.later_than(500.0),
    );
}
