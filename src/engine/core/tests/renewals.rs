//! Claims that are renewed because the history does not take what came of them.

use super::*;

/// Has the core act on what is due of a schedule, whose execution then ends and is held up.
fn hold_up(world: &World, core: &mut Core<&'static str>, id: Uuid, lane: Lane) -> DateTime<Utc> {
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    let actions = core.step([Event::MayClaim(true), Event::Changed(id)], due, world);
    assert!(matches!(&actions[..], [Action::Work { lane: took, .. }] if *took == lane));
    let execution = world.claim(id, ME, due)[0].execution_id;
    world.running.borrow_mut().insert(execution);
    world.held_up.borrow_mut().insert(execution);
    due
}

/// Steps every second, until work begins.
fn until_work(
    world: &World,
    core: &mut Core<&'static str>,
    from: DateTime<Utc>,
) -> (DateTime<Utc>, Vec<Action<&'static str>>) {
    let seconds = (1..1000).map(|n| from + Duration::seconds(n));
    let mut work = seconds.map(|now| (now, step_on(core, now, world)));
    work.find(|(_, actions)| !actions.is_empty()).unwrap()
}

/// Until when the first attempt of a schedule is claimed.
fn claimed_until(world: &World, id: Uuid) -> DateTime<Utc> {
    match *world.entry(id).unwrap().schedule.attempts[0].phase {
        Phase::Claimed { until, .. } => until,
        _ => panic!("it is not claimed"),
    }
}

#[test]
fn a_renewal_waits_for_no_place_among_requests() {
    let (world, mut core) = (World::default(), core());
    let fields = r#","overlap":"allow","max_instances":2,"delivery":{"mode":"request"}"#;
    let id = world.add(9, fields);
    // It keeps the only place for requests until its outcome is recorded. Meanwhile more comes due every minute.
    let mut from = hold_up(&world, &mut core, id, Lane::Request);
    core.step([Event::Free(id)], from, &world);
    for _ in 0..3 {
        let until = claimed_until(&world, id);
        let (now, actions) = until_work(&world, &mut core, from);
        assert_eq!(now, until - Duration::seconds(60));
        let [Action::Work { claim: Claiming::Skips, lane: Lane::Fast, .. }] = actions[..] else {
            panic!("it waits for a place")
        };
        assert!(world.claim(id, ME, now).is_empty(), "nothing else is claimed");
        assert_eq!(claimed_until(&world, id), now + Duration::seconds(300));
        core.step([Event::Free(id), Event::Returned(Lane::Fast)], now, &world);
        from = now;
    }
}

#[test]
fn a_renewal_waits_for_no_rate_and_costs_no_place_in_line() {
    let rate = (TargetPattern::parse("cmd.a").unwrap(), 0.0005);
    let (world, mut core) = (World::default(), Core::new(9, 9, &[rate], at("00:00:00")));
    let id = world.add(9, r#","overlap":"allow","delivery":{"mode":"core"}"#);
    let from = hold_up(&world, &mut core, id, Lane::Fast);
    core.step([Event::Free(id), Event::Returned(Lane::Fast)], from, &world);
    // The next one may be sent in half an hour.
    step_on(&mut core, from + Duration::seconds(61), &world);
    // Another schedule stands behind it.
    let other = world.add(11, r#","overlap":"allow","delivery":{"mode":"core"}"#);
    core.step([Event::Changed(other)], from + Duration::seconds(61), &world);
    let places = core.rate_places.clone();
    assert_eq!(places.iter().map(|(_, id)| *id).collect::<Vec<_>>(), [9, 11]);
    let (now, actions) = until_work(&world, &mut core, from + Duration::seconds(61));
    assert_eq!((now, working(&actions)), (from + Duration::seconds(240), vec![id]));
    // If it turns out that it is not needed, nothing that is due takes its place.
    assert!(matches!(actions[..], [Action::Work { claim: Claiming::Skips, .. }]));
    // NATS does not take it at once.
    let later = core.step([Event::Later(id), Event::Returned(Lane::Fast)], now, &world);
    assert!(working(&later).is_empty(), "it is tried again at once");
    let (now, actions) = until_work(&world, &mut core, now);
    assert_eq!((now, working(&actions)), (from + Duration::seconds(241), vec![id]));
    assert!(world.claim(id, ME, now).is_empty(), "nothing is sent");
    core.step([Event::Free(id), Event::Returned(Lane::Fast)], now, &world);
    step_on(&mut core, now, &world);
    assert_eq!(core.rate_places, places);
}

#[test]
fn a_renewal_waits_for_no_other_instance() {
    let rate = (TargetPattern::parse("cmd.a").unwrap(), 0.0005);
    let mut world = World::default();
    let mut core = Core::new(9, 9, &[rate], at("00:00:00"));
    let id = world.add(9, r#","overlap":"allow","delivery":{"mode":"core"}"#);
    let from = hold_up(&world, &mut core, id, Lane::Fast);
    core.step([Event::Free(id), Event::Returned(Lane::Fast)], from, &world);
    // From now on another one goes first, and has no command to spare for this one.
    (world.delay_ms, world.others) = (250, 1);
    // So it looks again every five seconds.
    let (now, actions) = until_work(&world, &mut core, from + Duration::seconds(62));
    assert_eq!((now, working(&actions)), (from + Duration::seconds(240), vec![id]));
}
