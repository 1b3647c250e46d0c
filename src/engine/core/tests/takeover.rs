//! Tests of what other instances left behind, and of what was reported to this one.

use super::*;

#[test]
fn what_a_dead_instance_left_is_taken_by_the_first_in_the_order() {
    let (mut world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    world.claim(id, OTHER, due);
    core.step([Event::Changed(id)], due, &world);
    (world.gone, world.delay_ms) = (true, 500);
    let gone = due + Duration::seconds(5);
    assert!(core.step([Event::Members], gone, &world).is_empty());
    assert_eq!(core.next(), Some(gone + Duration::milliseconds(500)));
    assert_eq!(working(&core.step([], gone + Duration::milliseconds(500), &world)), [id]);
}

/// Has another instance claim what is due of a schedule, changes the schedule, and abandons the claim.
fn left_behind(world: &mut World, id: Uuid, due: DateTime<Utc>, change: impl Fn(&mut Spec)) {
    world.claim(id, OTHER, due);
    let entry = world.entry(id).unwrap();
    let mut schedule = Schedule::clone(&entry.schedule);
    change(Arc::make_mut(&mut schedule.spec));
    schedule.pin(&entry.schedule);
    world.put(schedule, entry.trigger.clone(), entry.revision + 1);
    world.gone = true;
}

#[test]
fn a_request_that_is_taken_over_takes_a_permit_of_requests_whatever_its_schedule_says_now() {
    let (mut world, mut core) = (World::default(), core());
    let request = r#","delivery":{"mode":"request"}"#;
    let ids = [world.add(9, request), world.add(10, request)];
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    for id in ids {
        left_behind(&mut world, id, due, |spec| spec.delivery.known.mode = DeliveryMode::Publish);
    }
    let now = due + Duration::seconds(5);
    let lanes = |actions: Vec<Action<&str>>| -> Vec<_> {
        let lane = |action| match action {
            Action::Work { lane, claim, .. } => Some((lane, claim)),
            _ => None,
        };
        actions.into_iter().filter_map(lane).collect()
    };
    let request = (Lane::Request, Claiming::All);
    assert_eq!(lanes(core.step(ids.map(Event::Changed), now, &world)), [request], "one permit");
    assert_eq!(lanes(core.step([Event::Returned(Lane::Request)], now, &world)), [request]);

    // And the other way round: what was published waits for no reply.
    let (mut world, mut core) = (World::default(), self::core());
    let id = world.add(9, "");
    left_behind(&mut world, id, due, |spec| spec.delivery.known.mode = DeliveryMode::Request);
    let fast = (Lane::Fast, Claiming::Fast);
    assert_eq!(lanes(core.step([Event::Changed(id)], now, &world)), [fast]);
    let entry = world.entry(id).unwrap();
    let lease = Duration::seconds(300);
    let plan = plan(&entry.schedule, &entry.trigger, now, &world, lease).unwrap();
    assert!(!plan.recover.is_empty() && !plan.asks(), "the claim takes it in that lane");
}

#[test]
fn what_was_reported_to_this_instance_is_written_by_it_at_once_whoever_goes_first() {
    let (mut world, mut core) = (World { delay_ms: 500, ..World::default() }, core());
    let id = world.add(9, r#","delivery":{"mode":"job"}"#);
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    world.claim(id, OTHER, due);
    let entry = world.entry(id).unwrap();
    for (by, is_ours) in [(OTHER, false), (ME, true)] {
        let mut reported = Schedule::clone(&entry.schedule);
        let report = Box::new(Cancel::new("w".to_owned(), None).report(due));
        *reported.attempts[0].phase = Phase::Reported { by, since: due, report };
        world.gone = !is_ours;
        world.put(reported, entry.trigger.clone(), entry.revision + 1);
        let worked = working(&core.step([Event::Changed(id)], due, &world));
        assert_eq!(!worked.is_empty(), is_ours, "reported to {by}");
    }
}

#[test]
fn what_is_taken_over_counts_against_the_limit_of_where_it_goes() {
    let mut world = World::default();
    let rates = [(TargetPattern::parse("cmd.a").unwrap(), 1.0)];
    let mut core = Core::<&str>::new(9, 9, &rates, at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let ids = [world.add(9, ""), world.add(10, "")];
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    let elsewhere = |spec: &mut Spec| spec.target_command = Target::parse("cmd.b").unwrap();
    for id in ids {
        left_behind(&mut world, id, due, elsewhere);
    }
    let now = due + Duration::seconds(5);
    let first = working(&core.step(ids.map(Event::Changed), now, &world));
    assert_eq!(first.len(), 1, "both were claimed for the limited target");
    assert_eq!(core.next(), Some(now + Duration::seconds(1)));
    let second = working(&core.step([], now + Duration::seconds(1), &world));
    assert_eq!(second.len(), 1);
    assert_ne!(first, second);
}

#[test]
fn a_reply_that_came_is_settled_at_once_whatever_its_schedule_says_now() {
    let (mut world, mut core) = (World::default(), core());
    let id = world.add(9, r#","delivery":{"mode":"request"}"#);
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    left_behind(&mut world, id, due, |spec| spec.delivery.known.mode = DeliveryMode::Publish);
    world.gone = false;
    let entry = world.entry(id).unwrap();
    let claim = Claim { instance: ME, revision: 2 };
    let mut ended = Execution::started(&entry.schedule, &entry.schedule.attempts[0], claim, due);
    ended.end(Outcome::success(), due);
    let actions = core.step([Event::Ended(Box::new(ended))], due, &world);
    assert!(matches!(&actions[..], [Action::Work { is_due: false, .. }]), "{}", actions.len());
}
