//! Runs the service against real nats-servers while everything goes wrong, and checks whether its promises were kept.
//!
//! ```sh
//! cargo build --release
//! cargo run --release --features soak --example chaos -- --seed 1 --minutes 10
//! ```
//!
//! There are three nats-servers with three replicas, three instances, hundreds of schedules, users who change them, and
//! workers, some of which make mistakes. Meanwhile instances and servers are killed, frozen and restarted, leaders step
//! down, and connections are cut, slow and deaf. Then everything continues undisturbed and settles, and what is stored
//! and what was heard is checked.
//!
//! The clock of an instance can only be set in builds with debug assertions; other builds ignore it. This makes one:
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

/// Breaks everything around the service, and checks whether its promises are kept.
#[derive(Parser)]
struct Arguments {
    /// Seed of schedules, wishes and faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Duration of the faults in minutes.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Number of schedules at the start.
    #[arg(long, default_value_t = 300)]
    schedules: usize,
    /// The service's program; by default the one that was built beside this example.
    #[arg(long)]
    service: Option<PathBuf>,
    /// Keeps stores and logs even if nothing is wrong.
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
