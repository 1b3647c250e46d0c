//! Tests of what is left to do after a pause of all schedules.

use super::*;

/// The work that actions begin, each with its lane and what it may claim.
fn begun(actions: &[Action<&str>]) -> Vec<(Uuid, Lane, Claiming)> {
    let work = |action: &Action<&str>| match action {
        Action::Work { id, lane, claim, .. } => Some((*id, *lane, *claim)),
        _ => None,
    };
    actions.iter().filter_map(work).collect()
}

#[test]
fn entries_of_what_was_skipped_keep_out_of_the_way_of_what_is_due() {
    let (world, mut core) = (World::default(), core());
    world.halt.set(Halt { until: at("00:10:30") });
    let skipped: Vec<_> = (100..110).map(|n| world.add(n, r#","priority":10"#)).collect();
    let beat = world.add(9, r#","priority":1"#);
    let entry = world.entry(beat).unwrap();
    let mut schedule = Schedule::clone(&entry.schedule);
    schedule.next_run_at = Some(at("00:10:40"));
    world.put(schedule, entry.trigger.clone(), 2);
    let all = skipped.iter().chain([&beat]).map(|id| Event::Changed(*id));
    assert!(begun(&core.step(all, at("00:10:00"), &world)).is_empty(), "all are paused");

    // As many entries as may be written at once, and none is late.
    let now = at("00:10:30");
    let first = begun(&core.step([], now, &world));
    assert_eq!(first.len(), 2, "{first:?}");
    let only_skips =
        |(_, lane, claim): &(_, _, _)| (*lane, *claim) == (Lane::Skips, Claiming::Skips);
    assert!(first.iter().all(only_skips), "{first:?}");
    assert!(core.overdue.is_empty(), "{:?}", core.overdue);

    // Whatever is due goes ahead of all of them, with a permit of its own, though its priority is the lowest.
    let due = begun(&core.step([], at("00:10:40"), &world));
    assert_eq!(due, [(beat, Lane::Fast, Claiming::Fast)]);
    let next = core.step([Event::Returned(Lane::Skips)], at("00:10:41"), &world);
    let [(second, Lane::Skips, _)] = begun(&next)[..] else { panic!("{:?}", begun(&next)) };

    // One whose own time has come meanwhile is no longer among those that wait to be written.
    let later = at("00:11:00");
    let due = begun(&core.step([Event::Returned(Lane::Fast)], later, &world));
    assert_eq!(due.len(), 2, "{due:?}");
    assert!(due.iter().all(|(_, lane, claim)| (*lane, *claim) == (Lane::Fast, Claiming::Fast)));
    assert!(due.iter().all(|(id, ..)| *id != second && first.iter().all(|(one, ..)| one != id)));
    assert_eq!(core.overdue.len(), 8, "those that are due, with the one that is being sent");
    let none = core.step([Event::Returned(Lane::Skips)], later, &world);
    assert!(begun(&none).is_empty(), "{:?}", begun(&none));
}

#[test]
fn who_is_paused_again_writes_nothing() {
    let (world, mut core) = (World::default(), core());
    world.halt.set(Halt { until: at("00:10:30") });
    let ids: Vec<_> = (100..110).map(|n| world.add(n, "")).collect();
    let all: Vec<_> = ids.iter().map(|id| Event::Changed(*id)).collect();
    assert_eq!(begun(&core.step(all, at("00:10:30"), &world)).len(), 2);
    world.halt.set(Halt { until: at("00:20:30") });
    core.step([Event::Overall { has_news: false }], at("00:10:31"), &world);
    let returned = [Event::Returned(Lane::Skips), Event::Returned(Lane::Skips)];
    assert!(begun(&core.step(returned, at("00:10:31"), &world)).is_empty());
    assert_eq!(begun(&core.step([], at("00:20:30"), &world)).len(), 2);
}

#[test]
fn entries_wait_for_commands_that_are_due_though_these_wait_for_permits() {
    let (world, mut core) = (World::default(), core());
    let armed = |n: u128| {
        let execution = Uuid::from_u128(n);
        Event::Armed(Armed { due: at("00:10:30"), priority: 5, execution, attempt: "go" })
    };
    world.halt.set(Halt { until: at("00:10:30") });
    let ids: Vec<_> = (100..103).map(|n| world.add(n, "")).collect();
    let changed = ids.iter().map(|id| Event::Changed(*id));
    core.step((1..4).map(armed).chain(changed), at("00:10:00"), &world);
    let now = at("00:10:30");
    // Two of three may be under way.
    assert!(begun(&core.step([], now, &world)).is_empty());
    assert!(begun(&core.step([], now, &world)).is_empty());
    let next = core.step([Event::Returned(Lane::Fast)], now, &world);
    assert_eq!(begun(&next).len(), 2, "all are out");
}
