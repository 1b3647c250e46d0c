//! Tests of bursts: claims ahead of them, and how their commands are released.

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
        let begun = times.find(|now| !working(&step_on(&mut core, *now, &world)).is_empty());
        due - begun.unwrap()
    };
    let first = |count: u128, fields: &str| first_among(0, count, fields);
    assert_eq!(first(20, ""), Duration::milliseconds(500));
    let early = first(9_000, "");
    assert!(early > seconds(1) && early <= seconds(3), "{early}");
    assert_eq!(first(16_000, ""), seconds(3), "the longest lead");
    // More instances write to the same stream, which does not become faster.
    assert_eq!(first_among(2, 9_000, ""), early);
    // Jobs are decided when they are due.
    assert_eq!(first(9_000, r#","delivery":{"mode":"job"}"#), Duration::zero());
}

#[test]
fn thousands_are_looked_at_in_steps_and_what_others_are_to_claim_not_all_the_time() {
    let world = World { lead_ms: 500, ..World::default() };
    let mut core = Core::new(20_000, 1, &[], at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let due = crowd(&world, &mut core, 5_000, "");
    let now = due - Duration::milliseconds(1_200);
    let mut begun = Vec::new();
    loop {
        begun.push(working(&core.step([], now, &world)).len());
        if core.next() != Some(DateTime::UNIX_EPOCH) {
            break;
        }
    }
    assert_eq!(begun, [1_024, 1_024, 1_024, 1_024, 904]);

    let (world, mut core) =
        (World { lead_ms: 500, delay_ms: 250, ..World::default() }, self::core());
    let due = crowd(&world, &mut core, 9_000, "");
    let now = due - Duration::milliseconds(1_600);
    while core.next() == Some(DateTime::UNIX_EPOCH) || core.next() <= Some(now) {
        core.step([], now, &world);
    }
    assert_eq!(core.next(), Some(now + Duration::milliseconds(50 + 90)));
}

#[test]
fn while_thousands_that_are_due_are_queued_commands_go_out_and_nothing_else_begins() {
    let world = World::default();
    let mut core = Core::new(20_000, 1, &[], at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let due = crowd(&world, &mut core, 3_000, r#","delivery":{"mode":"job"}"#);
    let fields = r#","start_at":"2026-01-01T00:00:30Z","priority":9,"delivery":{"mode":"job"}"#;
    let urgent = world.add(5_000, fields);
    let execution = Uuid::from_u128(1_000_000);
    let armed = Event::Armed(Armed { due, priority: 5, execution, attempt: "go" });
    core.step([Event::Changed(urgent), armed], at("00:00:02"), &world);
    let first = core.step([], due, &world);
    assert!(matches!(first[..], [Action::Release("go")]), "{}", first.len());
    assert!(core.has_more(due));
    let begun = working(&step_on(&mut core, due, &world));
    assert_eq!((begun.len(), begun[0]), (3_001, urgent));
}

#[test]
fn a_loop_to_which_nothing_happens_comes_back_in_time_for_a_burst() {
    let (world, mut core) = (World { lead_ms: 500, ..World::default() }, core());
    let due = crowd(&world, &mut core, 9_000, "");
    let mut now = due - Duration::seconds(10);
    let mut steps = 0;
    while working(&core.step([], now, &world)).is_empty() {
        now = core.next().unwrap().max(now + Duration::milliseconds(1));
        steps += 1;
    }
    // 9,000 claims take a second and a half.
    let lead = Duration::milliseconds(500 + 1_500);
    assert!((due - now - lead).abs() <= Duration::milliseconds(50), "{}", due - now);
    assert!(steps < 40, "{steps}");
    let mut few = self::core();
    crowd(&world, &mut few, 20, "");
    assert_eq!(few.next(), Some(due - Duration::milliseconds(500)), "few are not counted for");
}

#[test]
fn what_others_are_to_claim_is_not_claimed_earlier() {
    let (world, mut core) =
        (World { lead_ms: 500, delay_ms: 250, ..World::default() }, self::core());
    let due = crowd(&world, &mut core, 9_000, "");
    let early = due - Duration::milliseconds(600);
    for now in (0..24).map(|n| early - Duration::milliseconds(100 * n)).rev() {
        assert!(working(&core.step([], now, &world)).is_empty(), "{now}");
    }
    assert!(!core.extra_lead(early).is_zero(), "it was not even seen");
}

#[test]
fn what_goes_to_a_target_with_a_limited_rate_is_not_claimed_earlier() {
    let world = World { lead_ms: 500, ..World::default() };
    let rate = (TargetPattern::parse("cmd.a").unwrap(), 10.0);
    let mut core = Core::new(20_000, 1, &[rate], at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let due = crowd(&world, &mut core, 9_000, "");
    for now in (6..30).map(|n| due - Duration::milliseconds(100 * n)).rev() {
        assert!(working(&core.step([], now, &world)).is_empty(), "{}", due - now);
    }
    let begun = working(&step_on(&mut core, due - Duration::milliseconds(500), &world));
    assert_eq!(begun.len(), 10, "the others have no token yet");
}

#[test]
fn while_nothing_more_may_be_claimed_ahead_nothing_is_begun_in_vain() {
    let (mut world, mut core) = (World { lead_ms: 500, ..World::default() }, core());
    let due = crowd(&world, &mut core, 9_000, "");
    world.lead_ms = 0;
    for now in (1..30).map(|n| due - Duration::milliseconds(100 * n)).rev() {
        let actions = core.step([], now, &world);
        assert!(working(&actions).is_empty(), "{}", due - now);
    }
}

#[test]
fn claims_that_wait_in_line_before_their_time_are_put_off_when_a_burst_comes() {
    let (world, mut core) = (World { lead_ms: 500, ..World::default() }, core());
    let due = crowd(&world, &mut core, 9_000, "");
    let now = due - Duration::milliseconds(1_400);
    assert_eq!(working(&core.step([], now, &world)).len(), 2, "as many as there are permits");
    let burst = now + Duration::milliseconds(250);
    let armed = (0..1_000).map(|n| {
        let execution = Uuid::from_u128(1_000_000 + n);
        Event::Armed(Armed { due: burst, priority: 5, execution, attempt: "go" })
    });
    core.step(armed, now, &world);
    for now in (60..250).step_by(50).map(|ms| now + Duration::milliseconds(ms)) {
        let returned = Event::Returned(Lane::Fast);
        assert!(working(&core.step([returned], now, &world)).is_empty(), "{}", burst - now);
    }
    // They have lost nothing by that.
    assert_eq!(core.ready, 0);
    let begun = working(&step_on(&mut core, due - Duration::milliseconds(500), &world));
    assert!(begun.is_empty(), "the burst has the permits");
    assert_eq!(core.ready, 8_998);
}

#[test]
fn each_burst_that_is_in_the_way_puts_off_what_waits_in_line() {
    let (world, mut core) = (World { lead_ms: 500, ..World::default() }, core());
    let due = crowd(&world, &mut core, 9_000, "");
    let mut now = due - Duration::milliseconds(1_900);
    for n in 0..2 {
        step_on(&mut core, now, &world);
        assert!(core.ready > 0, "as many have begun as there are permits");
        let burst = now + Duration::milliseconds(250);
        let armed = (0..300).map(|m| {
            let execution = Uuid::from_u128(1_000_000 * (n + 1) + m);
            Event::Armed(Armed { due: burst, priority: 5, execution, attempt: "go" })
        });
        core.step(armed, now, &world);
        assert_eq!(core.ready, 0);
        while core.load(burst).armed > 0 {
            core.step([Event::Returned(Lane::Fast)], burst, &world);
        }
        now = burst + Duration::milliseconds(200);
    }
}

#[test]
fn claims_for_a_burst_keep_out_of_the_way_of_the_one_before() {
    let begins = |armed: u128, apart_ms: i64| {
        let (world, mut core) = (World { lead_ms: 500, ..World::default() }, core());
        // At 6,000 a second they take from 200 ms before the burst until half a second before they are due.
        let due = crowd(&world, &mut core, 4_200, "");
        let burst = due - Duration::seconds(1);
        let armed = (0..armed).map(|n| {
            let due = burst + Duration::milliseconds(apart_ms * i64::try_from(n % 250).unwrap());
            let execution = Uuid::from_u128(1_000_000 + n);
            Event::Armed(Armed { due, priority: 5, execution, attempt: "go" })
        });
        core.step(armed, burst - Duration::milliseconds(400), &world);
        // Nothing is given back, so what cannot be released stays due.
        let mut times = (-400..300).step_by(10).map(|ms| burst + Duration::milliseconds(ms));
        let begun = times.find(|now| !working(&core.step([], *now, &world)).is_empty());
        begun.map(|begun| (begun - burst).num_milliseconds())
    };
    let alone = begins(0, 0).unwrap();
    assert!((-300..0).contains(&alone), "{alone}");
    assert_eq!(begins(100, 0), Some(alone), "few are not disturbed");
    assert_eq!(begins(2_000, 1), Some(alone), "spread over time they are few");
    assert_eq!(begins(1_000, 0), None, "their commands are not out");
}

#[test]
fn a_burst_is_released_in_steps_and_no_claim_takes_its_permits() {
    let world = World::default();
    let mut core = Core::new(2_000, 1, &[], at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    let armed = (0..1_000).map(|n| {
        let execution = Uuid::from_u128(100 + n);
        Event::Armed(Armed { due, priority: 5, execution, attempt: "go" })
    });
    core.step(armed.chain([Event::Changed(id)]), due - Duration::seconds(1), &world);
    let mut released = Vec::new();
    loop {
        let actions = core.step([], due, &world);
        released.push(actions.iter().filter(|one| matches!(one, Action::Release(_))).count());
        assert_eq!(core.has_more(due), core.load(due).is_behind);
        if !core.has_more(due) {
            assert_eq!(working(&actions), [id]);
            break;
        }
        assert!(working(&actions).is_empty());
    }
    assert_eq!(released, [256, 256, 256, 232]);
}
