//! What can be had beside it, on the same server and machine, in one table.
//!
//! `cargo bench --bench peers` has each fire 10,000 commands that are due at one instant, and 1,000 that are due at every
//! second, into a stream of a nats-server of its own; medians of three rounds in which they take turns.
//!
//! - **nats-server's own message scheduler**: one-time schedules in a stream.
//! - **tokio-cron-scheduler**: jobs in the memory of one process, lost with it, that publish.
//! - **the bare protocol**: a conditional write, the command and a record of each, after the instant.
//! - **nats-scheduler**, by one instance.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../args.rs"]
mod args;
mod bare;
#[path = "../bulk.rs"]
mod bulk;
mod cron_crate;
mod ground;
#[path = "../../tests/it/harness.rs"]
mod harness;
#[path = "../lateness.rs"]
mod lateness;
mod native;
mod ours;
#[path = "../usage.rs"]
mod usage;

use ground::{print_burst, print_steady, publish_all};
use usage::median;

/// How many are due at every second, and for how long.
const RATE: usize = 1_000;
const SECONDS: usize = 20;

/// What one of them showed, round by round.
#[derive(Default)]
struct Side {
    /// Commands a second of a burst.
    rates: Vec<f64>,
    /// The 99th percentile of lateness, of those that are due at every second, in milliseconds.
    late: Vec<f64>,
    /// Of those, how many there were.
    shares: Vec<f64>,
}

#[tokio::main]
async fn main() {
    let (burst, rounds) = (args::number("--burst", 10_000), args::number("--rounds", 3));
    let (server, cron, bare, ours) =
        ("nats-server @at", "tokio-cron-scheduler", "the bare protocol", "nats-scheduler");
    let mut sides = [server, cron, bare, ours].map(|name| (name, Side::default()));
    let mut raw = Vec::new();
    for _ in 0..rounds {
        raw.push(publish_all(burst).await);
        for (name, side) in &mut sides {
            let late = match *name {
                name if name == server => native::burst(burst).await,
                name if name == cron => cron_crate::burst(burst).await,
                name if name == bare => bare::burst(burst).await,
                _ => ours::burst(burst, 1).await,
            };
            side.rates.push(print_burst(name, &late));
            let late = match *name {
                name if name == server => native::steady(RATE, SECONDS).await,
                name if name == cron => cron_crate::steady(RATE, SECONDS).await,
                name if name == bare => continue,
                _ => ours::steady(RATE, SECONDS, false).await.lateness,
            };
            side.late.push(print_steady(name, RATE, &late));
            side.shares.push(late.len() as f64 / (RATE * SECONDS) as f64);
        }
    }
    let raw = median(raw);
    println!(
        "\n| medians of {rounds} | {burst} at one instant | of raw publishes | {RATE} at every second: p99 late | of them |"
    );
    println!("|---|---|---|---|---|");
    println!("| raw publishes | {raw:.0}/s | 1.00 | | |");
    for (name, Side { rates, late, shares }) in sides {
        let rate = median(rates);
        print!("| {name} | {rate:.0}/s | {:.2} |", rate / raw);
        match late.is_empty() {
            true => println!(" | |"),
            false => println!(" {:.1} ms | {:.0} % |", median(late), median(shares) * 100.0),
        }
    }
}
