//! Searches for faults of order and time: runs real engines and the real operations over a simulated NATS, in virtual
//! time, breaks things at random, and checks what is left behind. A seed determines a whole run.
//!
//! ```sh
//! cargo run --release --features soak --example simulate -- --seeds 10000 --from 1
//! ```
//!
//! If something is wrong, it prints the seed and the shortest story that still shows the fault.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a run that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "it is a program")]
#![allow(dead_code, unused_imports, reason = "the tests use the rest")]

#[path = "../tests/checker/mod.rs"]
mod checker;
#[path = "../tests/sim/guards.rs"]
mod guards;
#[path = "../tests/sim/instance.rs"]
mod instance;
#[path = "../tests/sim/nats/mod.rs"]
mod nats;
#[path = "../tests/sim/storm/mod.rs"]
mod storm;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::Parser;
use nats::Writes;
use nats_scheduler::guards::Guard;
use storm::many::{Sum, run_all};
use storm::{Options, Run, run};

/// The service's allocator: a run is mostly small allocations.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Interval between updates of the progress line.
const EVERY: Duration = Duration::from_millis(500);

/// Runs the service in a simulated world where everything goes wrong.
#[derive(Parser)]
struct Arguments {
    /// Number of seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Steps of the storm to leave out; with one seed.
    #[arg(long, value_delimiter = ',')]
    without: Vec<usize>,
    /// Let instances log to stderr, and print everything that streams hold; with one seed.
    #[arg(long)]
    log: bool,
    /// A guard of the protocol to leave out, to see whether that is noticed.
    #[arg(long, value_parser = guard)]
    guard: Option<Guard>,
}

fn guard(name: &str) -> Result<Guard, String> {
    let mut all = Guard::ALL.into_iter();
    let names = Guard::ALL.map(|guard| format!("{guard:?}")).join(", ");
    all.find(|guard| format!("{guard:?}") == name).ok_or(format!("must be one of {names}"))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.log {
        storm::log::open();
    }
    if arguments.log || !arguments.without.is_empty() {
        let without = arguments.without.into_iter().collect();
        let (seed, guard) = (arguments.from, arguments.guard);
        let tells_all = arguments.log;
        let run = run(&Options { seed, without, guard, tells_all });
        print!("{}", run.content);
        return tell_one(&run);
    }
    let (began, told) = (Instant::now(), Mutex::new(Instant::now()));
    let progress = |sum: &Sum| {
        let mut told = told.lock().unwrap();
        if told.elapsed() >= EVERY {
            *told = Instant::now();
            eprint!("\r{}", line(sum, arguments.seeds, began.elapsed()));
            std::io::stderr().flush().unwrap();
        }
    };
    match run_all(arguments.from, arguments.seeds, arguments.guard, &progress) {
        Ok(sum) => {
            eprintln!("\r{}", line(&sum, arguments.seeds, began.elapsed()));
            print!("{}", sum.summary);
            for (kind, count) in &sum.faults {
                println!("{kind:?}: {count}");
            }
            let Writes { stored, refused } = sum.writes;
            let most = sum.refused * 100.0;
            println!(
                "records: {stored} writes stored, {refused} refused for another's, in a run at most {most:.0} %"
            );
            println!("nothing is wrong");
            ExitCode::SUCCESS
        }
        Err(failed) => {
            let (seed, run) = *failed;
            eprintln!();
            println!("seed {seed}: {} things are wrong; looking for a shorter story", count(&run));
            let (without, run) = shrink(seed, arguments.guard, run);
            let without: Vec<_> = without.iter().map(usize::to_string).collect();
            let guard =
                arguments.guard.map(|guard| format!(" --guard {guard:?}")).unwrap_or_default();
            println!("--from {seed} --without {}{guard}", without.join(","));
            tell_one(&run)
        }
    }
}

/// A line of progress.
fn line(sum: &Sum, seeds: u64, elapsed: Duration) -> String {
    const WIDTH: usize = 30;
    let share = sum.seeds as f64 / seeds.max(1) as f64;
    let rate = sum.seeds as f64 / elapsed.as_secs_f64().max(0.001);
    let left = (seeds - sum.seeds) as f64 / rate.max(0.001);
    let (hours, faults) = (sum.took.as_secs_f64() / 3600.0, sum.faults.values().sum::<u64>());
    let done = (share * WIDTH as f64) as usize;
    format!(
        "[{:<WIDTH$}] {} of {seeds} seeds, {rate:.1} a second, {hours:.1} simulated hours, {faults} faults, \
         {left:.0} s left ",
        "=".repeat(done),
        sum.seeds,
    )
}

fn count(run: &Run) -> usize {
    run.found.as_ref().err().map_or(0, Vec::len)
}

fn tell_one(run: &Run) -> ExitCode {
    print!("{}", run.trace);
    match &run.found {
        Ok(summary) => {
            print!("{summary}");
            ExitCode::SUCCESS
        }
        Err(found) => {
            found.iter().for_each(|found| println!("{found}"));
            ExitCode::FAILURE
        }
    }
}

/// Leaves out steps, at first many at once, as long as the same faults remain.
fn shrink(seed: u64, guard: Option<Guard>, mut shortest: Run) -> (BTreeSet<usize>, Run) {
    let (wrong, mut without) = (kinds(&shortest), BTreeSet::new());
    let mut size = shortest.steps.div_ceil(2);
    while size > 0 {
        for first in (0..shortest.steps).step_by(size) {
            let mut fewer = without.clone();
            fewer.extend(first..(first + size).min(shortest.steps));
            if fewer.len() == without.len() {
                continue;
            }
            let run = run(&Options { seed, without: fewer.clone(), guard, ..Options::default() });
            if !kinds(&run).is_disjoint(&wrong) {
                (without, shortest) = (fewer, run);
            }
        }
        size /= 2;
    }
    (without, shortest)
}

/// What is wrong, without the details of a single run: ids, times and names.
fn kinds(run: &Run) -> BTreeSet<String> {
    let kind = |text: &String| {
        let words = text.split_whitespace();
        let words = words.filter(|word| !word.contains(|letter: char| letter.is_ascii_digit()));
        words.collect::<Vec<_>>().join(" ")
    };
    run.found.as_ref().err().into_iter().flatten().map(kind).collect()
}
