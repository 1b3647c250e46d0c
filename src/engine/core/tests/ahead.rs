//! Tests of claims ahead of a burst.

use super::*;

/// Adds `count` schedules that are all due at the next minute; returns that time.
fn crowd(world: &World, core: &mut Core<&'static str>, count: u128, fields: &str) -> DateTime<Utc> {
    let fields = format!(r#","start_at":"2026-01-01T00:00:30Z"{fields}"#);
    let ids: Vec<_> = (0..count).map(|n| world.add(100 + n, &fields)).collect();
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    core.step(ids.into_iter().map(Event::Changed), at("00:00:01"), world);
    due
}

#[test]
fn what_is_due_at_once_with_thousands_is_claimed_earlier_and_with_few_it_is_not() {
    let seconds = Duration::seconds;
    let first_among = |others: usize, count: u128, fields: &str| {
        let (world, mut core) = (World { lead_ms: 500, others, ..World::default() }, core());
        let due = crowd(&world, &mut core, count, fields);
        let mut times = (0..60).map(|n| due - seconds(5) + Duration::milliseconds(100 * n));
        let begun = times.find(|now| !working(&core.step([], *now, &world)).is_empty());
        due - begun.unwrap()
    };
    let first = |count: u128, fields: &str| first_among(0, count, fields);
    assert_eq!(first(20, ""), Duration::milliseconds(500));
    let early = first(9_000, "");
    assert!(early > seconds(1) && early <= seconds(3), "{early}");
    // More instances write to the same stream, which does not become faster.
    assert_eq!(first_among(2, 9_000, ""), early);
    // Jobs are decided when they are due.
    assert_eq!(first(9_000, r#","delivery":{"mode":"job"}"#), Duration::zero());
}

#[test]
fn what_others_are_to_claim_is_not_claimed_earlier() {
    let (world, mut core) = (World { lead_ms: 500, delay_ms: 250, ..World::default() }, core());
    let due = crowd(&world, &mut core, 9_000, "");
    let early = due - Duration::milliseconds(600);
    for now in (0..24).map(|n| early - Duration::milliseconds(100 * n)).rev() {
        assert!(working(&core.step([], now, &world)).is_empty(), "{now}");
    }
    assert!(!core.extra_lead(early).is_zero(), "it was not even seen");
}
