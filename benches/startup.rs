//! How long an instance takes to be ready with many schedules, and how much memory it then holds.
//!
//! `cargo bench --bench startup` writes 100,000 daily schedules into the bucket, then starts the
//! service and waits until it answers requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "fill.rs"]
mod fill;
#[path = "../tests/it/harness.rs"]
mod harness;

use std::time::Instant;

use harness::Nats;
use serde_json::json;

const SCHEDULES: usize = 100_000;

#[tokio::main]
async fn main() {
    let nats = Nats::start().await;
    // Creates the streams.
    nats.service_with(&[]).await.stop().await;
    let started = Instant::now();
    fill::fill(&nats, SCHEDULES).await;
    let rate = SCHEDULES as f64 / started.elapsed().as_secs_f64();
    println!("{SCHEDULES} schedules and their names written at {rate:.0}/s");
    for run in 1..=3 {
        let started = Instant::now();
        let service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
        let ready = started.elapsed();
        let status = nats.ask("status", json!({})).await;
        assert_eq!(status["schedules"]["active"], SCHEDULES);
        println!(
            "run {run}: ready after {:.2} s, {} MiB resident",
            ready.as_secs_f64(),
            resident(service.pid())
        );
    }
}

/// Resident memory of a process in MiB; 0 where the system does not say it this way.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
