//! Whether the simulator notices that a guard is left out.

use nats_scheduler::guards::Guard;

use crate::storm::many::run_all;

/// Seeds within which a guard is missed.
const SEEDS: u64 = 200;

#[test]
fn a_guard_that_is_left_out_is_missed() {
    for guard in
        [Guard::Condition, Guard::OutcomeId, Guard::Settle, Guard::Wait, Guard::Pin, Guard::Recent]
    {
        let found = run_all(1, SEEDS, Some(guard), &|_| {});
        assert!(found.is_err(), "nothing is wrong without {guard:?}");
    }
}
