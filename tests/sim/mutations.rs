//! Check that the simulator notices when a guard is left out.

use nats_scheduler::guards::Guard;

use crate::storm::many::run_all;

/// Seeds within which a guard is missed.
const SEEDS: u64 = 250;

/// Those that storms miss within so many. The others take more of them, or have tests of their own.
const MISSED: [Guard; 11] = [
    Guard::Condition,
    Guard::Search,
    Guard::KnownOutcome,
    Guard::Order,
    Guard::OutcomeId,
    Guard::HistorySearch,
    Guard::Settle,
    Guard::Wait,
    Guard::Pin,
    Guard::Recent,
    Guard::NoStream,
];

#[test]
fn a_guard_that_is_left_out_is_missed() {
    for guard in MISSED {
        let found = run_all(1, SEEDS, Some(guard), &|_| {});
        assert!(found.is_err(), "nothing is wrong without {guard:?}");
    }
}
