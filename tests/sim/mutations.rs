//! Whether the simulator notices that a guard is left out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nats_scheduler::guards::Guard;

use crate::guards::without;
use crate::storm;

/// What a seed finds without a guard, if anything.
fn found(guard: Guard, seed: u64) -> Option<String> {
    let run = AssertUnwindSafe(|| without(Some(guard), || storm::run(seed)));
    match catch_unwind(run) {
        Ok(result) => result.err(),
        Err(_) => Some("a part of the service panicked".to_owned()),
    }
}

#[test]
fn explore() {
    let Ok(seeds) = std::env::var("SIM_SEEDS") else { return };
    let seeds: u64 = seeds.parse().unwrap();
    for guard in Guard::ALL {
        let began = std::time::Instant::now();
        let first = (1..=seeds).find_map(|seed| Some((seed, found(guard, seed)?)));
        match first {
            Some((seed, what)) => {
                println!("{guard:?}: seed {seed}: {}", what.lines().next().unwrap())
            }
            None => println!("{guard:?}: NOT FOUND in {seeds}, {:?}", began.elapsed()),
        }
    }
}
