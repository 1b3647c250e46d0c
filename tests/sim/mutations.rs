//! Whether the simulator notices that a guard is left out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nats_scheduler::guards::Guard;

use crate::storm::{self, Options};

/// What a seed finds without a guard, if anything.
fn found(guard: Guard, seed: u64) -> Option<String> {
    let options = Options { seed, guard: Some(guard), ..Options::default() };
    let run = AssertUnwindSafe(|| storm::run(&options).found);
    match catch_unwind(run) {
        Ok(result) => result.err().and_then(|found| found.into_iter().next()),
        Err(_) => Some("a part of the service panicked".to_owned()),
    }
}

#[test]
fn explore() {
    let Ok(seeds) = std::env::var("SIM_SEEDS") else { return };
    let seeds: u64 = seeds.parse().unwrap();
    let only = std::env::var("SIM_WITHOUT").ok();
    for guard in Guard::ALL {
        if only.as_ref().is_some_and(|only| *only != format!("{guard:?}")) {
            continue;
        }
        let began = std::time::Instant::now();
        let first = (1..=seeds).find_map(|seed| Some((seed, found(guard, seed)?)));
        match first {
            Some((seed, what)) => println!("{guard:?}: seed {seed}: {what}"),
            None => println!("{guard:?}: NOT FOUND in {seeds}, {:?}", began.elapsed()),
        }
    }
}
