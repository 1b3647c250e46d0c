//! Whose turn it is, after a failure, when only settling, and at the end.

use super::*;

#[test]
fn what_failed_in_a_way_that_nobody_foresaw_is_not_tried_again_at_once() {
    let (world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    core.step([Event::Changed(id)], due, &world);
    // Its record was written, and the task that acted on that panicked.
    let events = [Event::Free(id), Event::Failed(id), Event::Returned(Lane::Fast)];
    assert!(working(&core.step(events, due, &world)).is_empty());
    assert_eq!(working(&core.step([], due + LATER, &world)), [id]);
}

#[test]
fn what_only_settles_claims_nothing_that_is_anothers_turn_or_that_we_may_not_claim() {
    let (mut world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    let claims = |actions: &[Action<&str>]| match actions {
        [Action::Work { claim, is_due, .. }] => (*is_due, *claim),
        _ => panic!("{} actions", actions.len()),
    };
    core.step([Event::MayClaim(false), Event::Changed(id)], due - LINGER, &world);
    core.step([Event::Announced(id, vec![OTHER])], due - LINGER, &world);
    assert_eq!(claims(&core.step([], due, &world)), (false, Claiming::None), "we do not hear");
    world.delay_ms = 250;
    let events = [Event::Free(id), Event::Returned(Lane::Fast), Event::MayClaim(true)];
    core.step(events, due, &world);
    core.step([Event::Announced(id, vec![OTHER])], due - LINGER, &world);
    assert_eq!(claims(&core.step([], due, &world)), (false, Claiming::None), "another goes first");
}

#[test]
fn a_place_in_the_order_is_one_for_the_target_that_it_was_taken_for() {
    let world = World::default();
    let rate = |target| (TargetPattern::parse(target).unwrap(), 0.1);
    let mut core = Core::<&str>::new(9, 9, &[rate("cmd.a"), rate("cmd.b")], at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let ids = [world.add(9, ""), world.add(10, "")];
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    let first = working(&core.step(ids.map(Event::Changed), due, &world));
    let waits = ids.into_iter().find(|id| *id != first[0]).unwrap();
    assert_eq!(core.table.get(waits).unwrap().not_before, Some(due + Duration::seconds(10)));
    // Another schedule uses up the other target's limit, and the waiting schedule is changed to send there.
    let to_b = |id: Uuid| {
        let entry = world.entry(id).unwrap();
        let mut schedule = Schedule::clone(&entry.schedule);
        Arc::make_mut(&mut schedule.spec).target_command = Target::parse("cmd.b").unwrap();
        world.put(schedule, entry.trigger.clone(), entry.revision + 1);
    };
    let other = world.add(11, "");
    to_b(other);
    let now = due + Duration::seconds(5);
    assert_eq!(working(&core.step([Event::Changed(other)], now, &world)), [other]);
    to_b(waits);
    let turn = due + Duration::seconds(10);
    assert!(working(&core.step([Event::Changed(waits)], turn, &world)).is_empty());
    assert_eq!(working(&core.step([], now + Duration::seconds(10), &world)), [waits]);
}

#[test]
fn armed_attempts_go_when_their_time_has_come_also_while_draining() {
    let (world, mut core) = (World::default(), core());
    let armed = |n, second| {
        let due = at("00:00:00") + Duration::seconds(second);
        Event::Armed(Armed { due, priority: 5, execution: Uuid::from_u128(n), attempt: "go" })
    };
    core.step([armed(1, 2), armed(2, 1)], at("00:00:00"), &world);
    assert_eq!(core.next(), Some(at("00:00:01")));
    assert_eq!(core.step([Event::Drain], at("00:00:01"), &world).len(), 1);
    assert!(!core.is_quiet());
    assert_eq!(core.step([], at("00:00:02"), &world).len(), 1);
    assert!(core.is_quiet());
}
