//! Tests of the line for slots of a group.

use super::*;

/// A world in which a group has so much room.
fn world(room: usize) -> World {
    World { room: Some(room).into(), ..World::default() }
}

/// Adds a job of a group, with a priority, one of whose occurrences waits for a slot since a time.
fn waits(world: &World, n: u128, priority: u8, since: &str) -> Uuid {
    let fields = format!(r#","delivery":{{"mode":"job"}},"priority":{priority}"#);
    let id = world.add(n, &fields);
    let entry = world.entry(id).unwrap();
    let mut schedule = Schedule::clone(&entry.schedule);
    Arc::make_mut(&mut schedule.spec).group = Some("g".to_owned().into());
    schedule.next_run_at = Some(at("12:00:00"));
    let due_at = at(since);
    let waiting = crate::schedule::Attempt::new(id, due_at, 1, Phase::Waiting { due_at });
    schedule.attempts.push(waiting);
    world.put(schedule, entry.trigger.clone(), 2);
    id
}

/// The schedules that are to take a slot.
fn admitted(actions: &[Action<&str>]) -> Vec<Uuid> {
    let id = |action: &Action<&str>| match action {
        Action::Work { id, admitted: true, .. } => Some(*id),
        _ => None,
    };
    actions.iter().filter_map(id).collect()
}

#[test]
fn as_many_as_there_are_slots_have_their_turn_the_first_in_line_first() {
    let (world, mut core, now) = (world(0), core(), at("00:10:00"));
    let low = waits(&world, 1, 3, "00:01:00");
    let late = waits(&world, 2, 9, "00:05:00");
    let early = waits(&world, 3, 9, "00:02:00");
    let changed = [low, late, early].map(Event::Changed);
    assert!(admitted(&core.step(changed, now, &world)).is_empty());
    assert_eq!(core.next(), Some(at("12:00:00")), "nothing to do until a slot is free");
    for expected in [early, late, low] {
        world.room.set(Some(1));
        assert_eq!(admitted(&core.step([Event::Groups], now, &world)), [expected]);
        assert!(
            admitted(&core.step([Event::Groups], now, &world)).is_empty(),
            "one slot, one turn"
        );
        world.claim(expected, OTHER, now);
        world.room.set(Some(0));
        core.step([Event::Returned(Lane::Fast), Event::Groups, Event::Free(expected)], now, &world);
    }
}

#[test]
fn who_has_to_wait_for_something_else_is_passed_over_and_keeps_its_place() {
    let (world, mut core, now) = (world(1), core(), at("00:10:00"));
    let first = waits(&world, 1, 5, "00:01:00");
    let second = waits(&world, 2, 5, "00:02:00");
    let third = waits(&world, 3, 5, "00:03:00");
    let changed = [first, second, third].map(Event::Changed);
    assert_eq!(admitted(&core.step(changed, now, &world)), [first]);
    // NATS did not let it claim.
    assert_eq!(
        admitted(&core.step([Event::Returned(Lane::Fast), Event::Later(first)], now, &world)),
        [second]
    );
    world.claim(second, OTHER, now);
    world.room.set(Some(0));
    core.step([Event::Returned(Lane::Fast), Event::Free(second)], now, &world);
    world.room.set(Some(1));
    let later = now + LATER;
    assert_eq!(admitted(&core.step([Event::Groups], later, &world)), [first]);
}

#[test]
fn whoever_had_its_turn_goes_behind_those_that_wait() {
    let (world, mut core, now) = (world(1), core(), at("00:10:00"));
    let backfilled = waits(&world, 1, 5, "00:01:00");
    let entry = world.entry(backfilled).unwrap();
    let mut schedule = Schedule::clone(&entry.schedule);
    schedule.attempts.clear();
    schedule.backfill = Some(Box::new(crate::schedule::Backfill {
        id: OTHER,
        next: at("00:00:00"),
        until: at("00:09:00"),
        by: "me".to_owned(),
        correlation_id: "c".to_owned(),
        trace: None,
        unknown: crate::stored::Unknown::default(),
    }));
    world.put(schedule, entry.trigger.clone(), 3);
    assert_eq!(admitted(&core.step([Event::Changed(backfilled)], now, &world)), [backfilled]);
    world.room.set(Some(0));
    let (other, later) = (waits(&world, 2, 5, "00:10:01"), at("00:10:02"));
    assert!(admitted(&core.step([Event::Changed(other)], later, &world)).is_empty());
    world.room.set(Some(1));
    // Its first run has begun and ended, and much is left of it.
    let next = core.step([Event::Returned(Lane::Fast), Event::Free(backfilled)], later, &world);
    assert_eq!(admitted(&next), [other]);
}

#[test]
fn a_slot_that_was_taken_for_a_claim_that_did_not_get_through_is_used_by_the_next_try() {
    let (world, mut core, now) = (world(0), core(), at("00:10:00"));
    let id = waits(&world, 1, 5, "00:01:00");
    let execution = world.entry(id).unwrap().schedule.attempts[0].execution_id;
    assert!(admitted(&core.step([Event::Changed(id)], now, &world)).is_empty());
    world.slot.set(Some(execution));
    assert_eq!(admitted(&core.step([Event::Changed(id)], now, &world)), [id]);
    // One of another execution is no use.
    core.step([Event::Free(id)], now, &world);
    world.slot.set(Some(OTHER));
    assert!(admitted(&core.step([Event::Free(id)], now, &world)).is_empty());
}

#[test]
fn who_waits_for_the_rate_of_its_target_keeps_its_token_while_it_stands_in_line() {
    let world = world(1);
    let rate = (TargetPattern::parse("cmd.a").unwrap(), 0.1);
    let now = at("00:10:00");
    let mut core = Core::<&str>::new(9, 9, &[rate], now);
    core.step([Event::MayClaim(true)], now, &world);
    // It takes the token that there is.
    let other = world.add(9, "");
    assert_eq!(working(&core.step([Event::Changed(other)], now, &world)), [other]);
    // Its own next occurrence is hours away.
    let waits = waits(&world, 1, 5, "00:01:00");
    assert!(admitted(&core.step([Event::Changed(waits)], now, &world)).is_empty());
    // Others may have their turn meanwhile; there are none.
    assert!(core.step([], now, &world).is_empty());
    let turn = now + Duration::seconds(10);
    assert_eq!(core.next(), Some(turn));
    assert_eq!(admitted(&core.step([], turn, &world)), [waits]);
}

#[test]
fn of_those_that_become_due_at_once_the_one_with_the_highest_priority_gets_the_slot() {
    for order in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
        let (world, mut core) = (world(1), core());
        let ids = order.map(|priority: u8| {
            let fields = format!(r#","delivery":{{"mode":"job"}},"priority":{priority}"#);
            let id = world.add(u128::from(10 - priority), &fields);
            let entry = world.entry(id).unwrap();
            let mut schedule = Schedule::clone(&entry.schedule);
            Arc::make_mut(&mut schedule.spec).group = Some("g".to_owned().into());
            world.put(schedule, entry.trigger.clone(), 2);
            id
        });
        let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
        core.step(ids.map(Event::Changed), due - Duration::seconds(1), &world);
        let highest = Uuid::from_u128(7);
        assert_eq!(admitted(&core.step([], due, &world)), [highest], "{order:?}");
    }
}
