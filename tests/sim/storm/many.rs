//! Storms of many seeds, on all cores.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nats_scheduler::guards::Guard;

use super::{Options, Run, run};
use crate::checker::{FaultKind, Summary};
use crate::nats::Writes;

/// What there was in many runs.
#[derive(Default)]
pub struct Sum {
    pub seeds: u64,
    /// How much time has passed in them.
    pub took: Duration,
    /// What went wrong, how often.
    pub faults: BTreeMap<FaultKind, u64>,
    /// How writes of records went.
    pub writes: Writes,
    /// The largest share of them in a run that another one came before.
    pub refused: f64,
    pub summary: Summary,
}

impl Sum {
    fn add(&mut self, run: &Run, summary: &Summary) {
        self.seeds += 1;
        self.took += run.took;
        self.writes.stored += run.writes.stored;
        self.writes.refused += run.writes.refused;
        self.refused = self.refused.max(run.writes.refused_share());
        for (kind, count) in &run.faults {
            *self.faults.entry(*kind).or_default() += count;
        }
        self.summary.add(summary);
    }
}

/// Runs seeds, perhaps without a guard, and tells `progress` of each that is done; the first run in which something is wrong, if there is one.
pub fn run_all(
    from: u64,
    count: u64,
    guard: Option<Guard>,
    progress: &(dyn Fn(&Sum) + Sync),
) -> Result<Sum, Box<(u64, Run)>> {
    let next = AtomicU64::new(from);
    let result = Mutex::new(Ok(Sum::default()));
    let work = || {
        while result.lock().unwrap().is_ok() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= from + count {
                return;
            }
            let run = run(&Options { seed, guard, ..Options::default() });
            let mut result = result.lock().unwrap();
            match (&mut *result, &run.found) {
                (Ok(sum), Ok(summary)) => {
                    sum.add(&run, summary);
                    progress(sum);
                }
                (Ok(_), Err(_)) => *result = Err(Box::new((seed, run))),
                (Err(_), _) => return,
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    result.into_inner().unwrap()
}
