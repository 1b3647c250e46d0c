//! How fast the executions of one concurrency group follow each other.
//!
//! `cargo bench --bench groups` lets 2,000 requests be due at one instant, to a service that answers at once: without a group,
//! and in one group with limits of 1, 10 and 100, on one instance and on three. It prints how many executions a second were
//! made and settled, as medians of three rounds. `-- --count 500` sets their number, `-- --rounds 1` the rounds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "args.rs"]
mod args;
#[path = "bulk.rs"]
mod bulk;
#[path = "../tests/it/harness.rs"]
mod harness;
#[path = "usage.rs"]
mod usage;

use std::time::Duration;

use chrono::{TimeDelta, Timelike as _, Utc};
use harness::{Nats, wait_within};
use serde_json::json;
use usage::median;

const SETTINGS: [(&str, &str); 2] =
    [("MAX_SCHEDULES_PER_CREATOR", "1000000"), ("LOG_LEVEL", "info")];
const WITHIN: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() {
    let (count, rounds) = (args::number("--count", 2_000), args::number("--rounds", 3));
    for instances in [1, 3] {
        let mut free = 0.0;
        for limit in [None, Some(1), Some(10), Some(100)] {
            let mut rates = Vec::new();
            for _ in 0..rounds {
                rates.push(rate(count, instances, limit).await);
            }
            let rate = median(rates);
            let what = match limit {
                None => "without a group".to_owned(),
                Some(limit) => format!("limit {limit}"),
            };
            if limit.is_none() {
                free = rate;
            }
            println!(
                "{instances} instances, {what}: {rate:.0}/s, {:.2} of that without",
                rate / free
            );
        }
    }
}

/// Executions a second, from the instant at which all are due until the last is settled.
async fn rate(count: usize, instances: usize, limit: Option<u32>) -> f64 {
    let nats = Nats::start().await;
    let mut services = Vec::new();
    for _ in 0..instances {
        services.push(nats.service_with(&SETTINGS).await);
    }
    nats.echo("cmd.service.echo").await;
    if let Some(limit) = limit {
        nats.ask("group.put", json!({ "name": "g", "limit": limit })).await;
    }
    let due = (Utc::now() + TimeDelta::seconds(4 + count as i64 / 1_000)).with_nanosecond(0);
    let due = due.unwrap();
    let group = limit.map_or("", |_| "g");
    bulk::create(&nats, count, |n| {
        json!({ "name": format!("r{n}"), "schedule_type": "one_time", "scheduled_at": due,
            "target_command": "cmd.service.echo", "delivery": { "mode": "request" }, "group": group })
    })
    .await;
    tokio::time::sleep((due - Utc::now()).to_std().expect("creating took too long")).await;
    wait_within(WITHIN, "all to be settled", || async {
        let status = nats.ask("status", json!({})).await;
        (status["schedules"]["completed"] == count).then_some(())
    })
    .await;
    count as f64 / (Utc::now() - due).as_seconds_f64()
}
