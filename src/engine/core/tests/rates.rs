//! Limits on commands per second that several instances share.

use super::*;

/// An instance, and what it has yet to hear.
struct Instance {
    world: World,
    core: Core<&'static str>,
    events: Vec<Event<&'static str>>,
}

/// As many instances as there are delays, each with those for schedules with even and with odd ids.
fn instances(delays_ms: &[[i64; 2]], per_second: f64, schedules: u128) -> Vec<Instance> {
    let rate = (TargetPattern::parse("cmd.a").unwrap(), per_second);
    let others = delays_ms.len() - 1;
    let instance = |delays_ms: &[i64; 2]| {
        let world = World { delays_ms: *delays_ms, others, ..World::default() };
        let core = Core::new(99, 9, std::slice::from_ref(&rate), at("00:00:00"));
        let changed = (1..=schedules).map(|n| Event::Changed(world.add(n, "")));
        let events = [Event::MayClaim(true)].into_iter().chain(changed).collect();
        Instance { world, core, events }
    };
    delays_ms.iter().map(instance).collect()
}

/// Has all do what is due; returns how many commands were sent.
fn step(instances: &mut [Instance], now: DateTime<Utc>) -> usize {
    let mut sent = 0;
    for n in 0..instances.len() {
        let Instance { world, core, events } = &mut instances[n];
        let mut actions = core.step(events.drain(..), now, world);
        while core.has_more(now) {
            actions.extend(core.step([], now, world));
        }
        for id in working(&actions) {
            sent += usize::from(send(instances, id, now));
            instances[n].events.extend([Event::Free(id), Event::Returned(Lane::Fast)]);
        }
    }
    sent
}

/// Claims what is due of a schedule and settles it at once; returns whether there was something.
fn send(instances: &mut [Instance], id: Uuid, now: DateTime<Utc>) -> bool {
    let world = &instances[0].world;
    let entry = world.entry(id).unwrap();
    let plan = plan(&entry.schedule, &entry.trigger, now, world, Duration::seconds(300));
    let Some(mut plan) = plan.filter(|plan| !plan.fire.is_empty()) else { return false };
    assert!(plan.skip.is_empty(), "{now}: something was skipped");
    plan.schedule.attempts.retain(|_| false);
    for Instance { world, events, .. } in instances {
        world.put(plan.schedule.clone(), entry.trigger.clone(), entry.revision + 1);
        events.push(Event::Changed(id));
    }
    true
}

/// Forty are due every minute, and one a second may go.
#[test]
fn several_instances_send_as_much_as_one() {
    for delays_ms in [
        &[[0, 0]][..],
        &[[0, 250], [250, 0]],
        // The first goes first with all.
        &[[0, 0], [250, 250], [500, 500]],
    ] {
        let mut instances = instances(delays_ms, 1.0, 40);
        let mut sent = Vec::new();
        for tick in 0..20 * 60 * 6 {
            let now = at("00:00:00") + Duration::milliseconds(50) * tick;
            sent.extend(std::iter::repeat_n(now, step(&mut instances, now)));
        }
        assert_eq!(sent.len(), 40 * 6, "{delays_ms:?}");
        let within = |from: &DateTime<Utc>| {
            let span = *from..*from + Duration::seconds(10);
            sent.iter().filter(|at| span.contains(at)).count()
        };
        let busiest = sent.iter().map(within).max().unwrap();
        assert!(busiest <= 10 + delays_ms.len(), "{delays_ms:?}: {busiest} in ten seconds");
        assert!(instances.iter().all(|instance| instance.core.rate_places.is_empty()));
    }
}

#[test]
fn what_is_no_longer_to_be_sent_holds_up_nothing() {
    let rate = (TargetPattern::parse("cmd.a").unwrap(), 0.1);
    let (world, mut core) = (World::default(), Core::<&str>::new(9, 9, &[rate], at("00:00:00")));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let ids = [9, 10, 11].map(|n| world.add(n, ""));
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    let first = working(&core.step(ids.map(Event::Changed), due, &world));
    let gone = ids.into_iter().filter(|id| *id != first[0]);
    let gone: Vec<_> = gone.inspect(|id| drop(world.entries.borrow_mut().remove(id))).collect();
    core.step(gone.into_iter().map(Event::Changed), due, &world);
    let next = world.add(12, "");
    assert!(working(&core.step([Event::Changed(next)], due, &world)).is_empty());
    assert_eq!(core.table.get(next).unwrap().not_before, Some(due + Duration::seconds(10)));
}
