//! Comparison with the alternatives, on the same server and machine, in one table.
//!
//! `cargo bench --bench peers` lets each fire 10,000 commands that are due at one instant, and 1,000 that are due at
//! every second, into a stream of a nats-server of its own. It prints medians of three rounds in which they take turns.
//!
//! - **nats-server's own message scheduler**: one-time schedules in a stream.
//! - **tokio-cron-scheduler**: jobs in the memory of one process, lost with it, that publish.
//! - **the bare protocol**: a conditional write, the command and a record of each, after the instant.
//! - **nats-scheduler**, with one instance.
//!
//! The benchmark's own work for each runs in a separate process (`--side`), so that jobs that keep running do not
//! disturb others.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../args.rs"]
mod args;
mod bare;
#[path = "../bulk.rs"]
mod bulk;
mod cron_crate;
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

use ground::{print_burst, print_steady, publish_all};
use usage::median;

/// Commands due at every second, and for how long.
const RATE: usize = 1_000;
const SECONDS: usize = 20;

/// The compared sides by name.
const SIDES: [&str; 4] =
    ["nats-server @at", "tokio-cron-scheduler", "the bare protocol", "nats-scheduler"];

/// Results of one side, round by round.
#[derive(Default)]
struct Side {
    /// Commands per second of a burst, from the instant to the last.
    rates: Vec<f64>,
    /// Lateness of the first command of a burst, in milliseconds; negative if it was early.
    firsts: Vec<f64>,
    /// 99th percentile of lateness of commands due at every second, in milliseconds.
    late: Vec<f64>,
}

#[tokio::main]
async fn main() {
    let (burst, rounds) = (args::number("--burst", 10_000), args::number("--rounds", 3));
    if std::env::args().any(|argument| argument == "--side") {
        return measure(args::number("--side", 0), burst).await;
    }
    let mut sides: [Side; SIDES.len()] = Default::default();
    let mut raw = Vec::new();
    for _ in 0..rounds {
        raw.push(publish_all(burst).await);
        for (n, side) in sides.iter_mut().enumerate() {
            let figures = in_a_process_of_its_own(n, burst);
            side.firsts.push(figures[0]);
            side.rates.push(figures[1]);
            side.late.extend(figures.get(2));
        }
    }
    let raw = median(raw);
    println!(
        "\n| medians of {rounds} | {burst} at one instant | of raw publishes | first of them late | {RATE} at every second: p99 late |"
    );
    println!("|---|---|---|---|---|");
    println!("| raw publishes | {raw:.0}/s | 1.00 | | |");
    for (name, Side { rates, firsts, late }) in SIDES.iter().zip(sides) {
        let (first, rate) = (median(firsts), median(rates));
        // A side that fires early has no rate from the instant on.
        match first < 0.0 {
            true => print!("| {name} | | | {first:.1} ms |"),
            false => print!("| {name} | {rate:.0}/s | {:.2} | {first:.1} ms |", rate / raw),
        }
        match late.is_empty() {
            true => println!(" |"),
            false => println!(" {:.1} ms |", median(late)),
        }
    }
}

/// Measures one side, and prints its figures last.
async fn measure(side: usize, burst: usize) {
    let name = SIDES[side];
    let late = match side {
        0 => native::burst(burst).await,
        1 => cron_crate::burst(burst).await,
        2 => bare::burst(burst).await,
        _ => ours::burst(burst, 1).await,
    };
    let rate = print_burst(name, &late);
    let first = late.percentile(0.0);
    let late = match side {
        0 => native::steady(RATE, SECONDS).await,
        1 => cron_crate::steady(RATE, SECONDS).await,
        2 => return println!("{FIGURES}{first} {rate}"),
        _ => ours::steady(RATE, SECONDS, false, 0).await.lateness,
    };
    println!("{FIGURES}{first} {rate} {}", print_steady(name, RATE, &late));
}

/// Prefix of the line with a side's figures.
const FIGURES: &str = "figures: ";

/// Figures of a side, measured by another process.
fn in_a_process_of_its_own(side: usize, burst: usize) -> Vec<f64> {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--side", &side.to_string(), "--burst", &burst.to_string()]);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (for_people, figures) = said.split_once(FIGURES).unwrap_or_else(|| {
        panic!("{} failed: {said}{}", SIDES[side], String::from_utf8_lossy(&output.stderr))
    });
    print!("{for_people}");
    figures.split_whitespace().map(|figure| figure.parse().unwrap()).collect()
}
