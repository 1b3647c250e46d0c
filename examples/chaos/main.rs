//! The service against real nats-servers while everything goes wrong, and whether its promises were kept.
//!
//! ```sh
//! cargo build --release
//! cargo run --release --example chaos -- --seed 1 --minutes 10
//! ```
//!
//! Three nats-servers with three replicas, three instances, hundreds of schedules, users who change them, and workers,
//! of whom some make mistakes. Meanwhile instances and servers are killed, frozen and started again, leaders step down,
//! ways are cut, slow and deaf. Then all is let go on and settle, and what is stored and what was heard is looked at.
//!
//! The clock of an instance can only be set in builds with debug assertions; others do not notice it. This makes one:
//!
//! ```sh
//! cargo build --release --config profile.release.package.nats-scheduler.debug-assertions=true
//! ```

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a run that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../../tests/checker/mod.rs"]
mod checker;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use world::Plan;

/// Breaks everything around the service, and looks whether its promises are kept.
#[derive(Parser)]
struct Arguments {
    /// What draws schedules, wishes and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// For how long things go wrong.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// How many schedules there are at first.
    #[arg(long, default_value_t = 300)]
    schedules: usize,
    /// The service's program; the one that was built beside this example where it is not given.
    #[arg(long)]
    service: Option<PathBuf>,
    /// Keeps stores and logs also where nothing is wrong.
    #[arg(long)]
    keep: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let service = match service(arguments.service) {
        Ok(service) => service,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(2);
        }
    };
    let folder = world::Folder::new();
    let plan = Plan {
        seed: arguments.seed,
        faults: Duration::from_secs_f64(arguments.minutes * 60.0),
        one_by_one: arguments.minutes >= 5.0,
        schedules: arguments.schedules,
        service,
        folder: folder.path().to_owned(),
    };
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let report = tokio::select! {
        report = plan.run() => report,
        _ = tokio::signal::ctrl_c() => return ExitCode::from(130),
        _ = terminate.recv() => return ExitCode::from(143),
    };
    print!("{}", report.summary);
    if arguments.keep || !report.violations.is_empty() {
        println!("stores, logs and the list of faults are in {}", folder.keep().display());
    }
    for violation in &report.violations {
        println!("violation: {violation}");
    }
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The program of the service.
fn service(given: Option<PathBuf>) -> Result<PathBuf, String> {
    let beside = || {
        let own = std::env::current_exe().ok()?;
        Some(own.parent()?.parent()?.join("nats-scheduler"))
    };
    let service = given.or_else(beside).unwrap_or_default();
    match service.is_file() {
        true => Ok(service),
        false => Err(format!(
            "there is no program {}: run `cargo build --release` first, or name one with --service",
            service.display()
        )),
    }
}
