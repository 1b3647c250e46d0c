//! Storms of many seeds.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Options, run};
use crate::checker::Summary;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Runs seeds on all cores; what is wrong with the first that something is wrong with.
fn run_all(from: u64, count: u64) -> Result<Summary, String> {
    let (next, done) = (AtomicU64::new(from), AtomicU64::new(0));
    let result = Mutex::new(Ok(Summary::default()));
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count || result.lock().unwrap().is_err() {
                        return;
                    }
                    let ran = run(&Options { seed, ..Options::default() });
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if done.is_multiple_of(100) {
                        eprintln!("{done} of {count} seeds");
                    }
                    match ran.found {
                        Ok(summary) => {
                            if let Ok(sum) = &mut *result.lock().unwrap() {
                                sum.add(&summary);
                            }
                        }
                        Err(found) => {
                            let found = found.join("\n");
                            *result.lock().unwrap() =
                                Err(format!("seed {seed}:\n{found}\n{}", ran.trace));
                        }
                    }
                }
            });
        }
    });
    result.into_inner().unwrap()
}

#[test]
fn whatever_breaks_each_occurrence_has_one_outcome_and_all_is_settled() {
    let (from, count) = (number("SIM_FROM", 1), number("SIM_SEEDS", 100));
    match run_all(from, count) {
        Ok(summary) => eprintln!("{summary}"),
        Err(found) => panic!("{found}"),
    }
}

#[test]
fn a_storm_is_the_same_for_the_same_seed_byte_for_byte() {
    for seed in 1..=10 {
        let options = Options { seed, tells_all: true, ..Options::default() };
        let (one, other) = (run(&options), run(&options));
        let (one, other) = (one.trace + &one.content, other.trace + &other.content);
        if let Some((n, (one, other))) =
            one.lines().zip(other.lines()).enumerate().find(|(_, (one, other))| one != other)
        {
            panic!("seed {seed}, line {n}:\n{one}\n{other}");
        }
        assert_eq!(one.len(), other.len(), "seed {seed}");
    }
}
