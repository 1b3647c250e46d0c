//! Rate of firing what is due at one instant, lateness of what is due at every second, and cost of a firing, compared
//! with NATS itself.
//!
//! `cargo bench --bench firing` starts nats-servers of its own and prints one table, with all figures from one run on
//! one machine, as medians of three rounds in which the sides take turns:
//!
//! - **raw**: as many messages published to a stream, pipelined: the ceiling.
//! - **server**: nats-server's own message scheduler, `@at` one instant.
//! - **bare**: the minimum that a scheduler with claims and a history writes, after the instant: a conditional write,
//!   the command, a record.
//! - **ours**: as many `publish` schedules due at one instant, with one instance and with three.
//! - **steady**: 100, 1,000 and 5,000 due at every second, and 5,000 spread over it; 1,000 with nats-server's own, too.
//!
//! `-- --burst 20000` sets how many are due at one instant, 10,000 by default; `-- bursts` leaves out the steady rates;
//! `-- --stored 1000000` compares 1,000 every second among that many other schedules with the same among none.
//! `-- --rounds 1` is for a quick look, and `-- --only ours` for profiles. `-- cluster` runs three servers with three
//! replicas of each stream, and `-- synced` one with `sync_interval: always`, instead of one as it is by default.
//!
//! Lateness is the time at which the stream stored the command, minus the time at which it was due.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../args.rs"]
mod args;
mod bare;
#[path = "../bulk.rs"]
mod bulk;
#[path = "../fill.rs"]
mod fill;
mod ground;
#[path = "../../tests/it/harness.rs"]
mod harness;
#[path = "../lateness.rs"]
mod lateness;
mod native;
mod ours;
#[path = "../usage.rs"]
mod usage;

use args::is_given;
use ground::{Steady, print_burst, print_steady, publish_all};
use usage::median;

/// Duration of a steady rate in seconds.
const SECONDS: usize = 20;

#[tokio::main]
async fn main() {
    let (burst, rounds) = (args::number("--burst", 10_000), args::number("--rounds", 3));
    let ours_only = is_given("ours");
    let stored = args::number("--stored", 0);
    if stored > 0 {
        return among(stored, rounds).await;
    }
    bursts(burst, rounds, ours_only).await;
    if !is_given("bursts") {
        steady(rounds, ours_only).await;
    }
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
    let [mut server, mut few, mut many, mut most, mut spread, mut cost] = [const { Vec::new() }; 6];
    for _ in 0..rounds {
        if !ours_only {
            let late = native::steady(1_000, SECONDS).await;
            server.push(print_steady("nats-server @at", 1_000, &late));
        }
        few.push(print_steady(
            "nats-scheduler",
            100,
            &ours::steady(100, SECONDS, false, 0).await.lateness,
        ));
        let Steady { lateness, cost: [service, of_server] } =
            ours::steady(1_000, SECONDS, false, 0).await;
        many.push(print_steady("nats-scheduler", 1_000, &lateness));
        println!("{:<18} a firing costs {service:.0} us, and nats-server {of_server:.0} us", "");
        cost.push(service / of_server);
        let late = ours::steady(5_000, SECONDS, false, 0).await.lateness;
        most.push(print_steady("nats-scheduler", 5_000, &late));
        let late = ours::steady(5_000, SECONDS, true, 0).await.lateness;
        spread.push(print_steady("spread over it", 5_000, &late));
    }
    let [server, few, many, most, spread, cost] =
        [server, few, many, most, spread, cost].map(median);
    println!("\nevery second for {SECONDS} s, medians of {rounds}:");
    println!("1,000: p99, ours / server {:>6.2}   (goal: 1.00 or less)", many / server);
    println!("100: p99                  {few:>6.1} ms (goal: 5 or less)");
    println!("5,000: p99                {most:>6.1} ms (goal: 60 or less)");
    println!("5,000 spread: p99         {spread:>6.1} ms (goal: 60 or less)");
    println!("cost, ours / server       {cost:>6.2}   (goal: 1.00 or less)");
}

/// The same rate among many other schedules, and among none.
async fn among(stored: usize, rounds: usize) {
    let [mut alone, mut among] = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (others, p99s) in [(0, &mut alone), (stored, &mut among)] {
            let Steady { lateness, cost } = ours::steady(1_000, SECONDS, false, others).await;
            p99s.push(print_steady(&format!("among {others}"), 1_000, &lateness));
            println!(
                "{:<18} a firing costs {:.0} us, and nats-server {:.0} us",
                "", cost[0], cost[1]
            );
        }
    }
    let [alone, among] = [alone, among].map(median);
    println!(
        "1,000: p99, among {stored} / among none {:>6.2}   (goal: 1.00 or less)",
        among / alone
    );
}
