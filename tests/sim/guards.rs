//! The guard to leave out, set in the thread that runs a simulation.

use std::cell::Cell;

use nats_scheduler::guards::{Guard, Guards};

thread_local! {
    static WITHOUT: Cell<Option<Guard>> = const { Cell::new(None) };
}

/// All guards hold but the one that is left out.
#[derive(Clone, Copy, Debug)]
pub struct AllBut;

impl Guards for AllBut {
    fn hold(guard: Guard) -> bool {
        WITHOUT.get() != Some(guard)
    }
}

/// Runs something in this thread without a guard, or with all of them.
pub fn without<T>(guard: Option<Guard>, run: impl FnOnce() -> T) -> T {
    let before = WITHOUT.replace(guard);
    let result = run();
    WITHOUT.set(before);
    result
}
