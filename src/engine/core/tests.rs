//! The engine by hand: events and times in, actions out.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use super::*;
use crate::execution::{Claim, Outcome};
use crate::plan::{plan, wake_at};
use crate::schedule::{
    Cancel, CreateSchedule, DeliveryMode, Phase, Rules, Target, Writer, new_schedule,
};

const ME: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

/// One instance's view of some schedules, set by hand.
#[derive(Default)]
struct World {
    entries: RefCell<HashMap<Uuid, Arc<Entry>>>,
    running: RefCell<HashSet<Uuid>>,
    gone: bool,
    delay_ms: i64,
    lead_ms: i64,
    others: usize,
}

impl View for World {
    fn me(&self) -> Uuid {
        ME
    }
    fn is_running(&self, execution: Uuid) -> bool {
        self.running.borrow().contains(&execution)
    }
    fn is_gone(&self, _: Uuid) -> bool {
        self.gone
    }
    fn lead(&self) -> Duration {
        Duration::milliseconds(self.lead_ms)
    }
    fn listening_since(&self) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH
    }
    fn deleted_retention(&self) -> Duration {
        Duration::days(30)
    }
}

impl Outlook for World {
    fn entry(&self, id: Uuid) -> Option<Arc<Entry>> {
        self.entries.borrow().get(&id).cloned()
    }
    fn is_time_sure(&self) -> bool {
        true
    }
    fn delay(&self, _: Uuid, _: u16) -> Duration {
        Duration::milliseconds(self.delay_ms)
    }
    fn lease(&self, _: &Spec) -> Duration {
        Duration::seconds(300)
    }
    fn instances(&self) -> usize {
        1 + self.others
    }
}

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

impl World {
    /// Adds a minutely schedule with further fields, first due at midnight.
    fn add(&self, n: u128, fields: &str) -> Uuid {
        let text = format!(
            r#"{{"name":"n","target_command":"cmd.a","schedule_type":"cron",
                 "cron_expression":"* * * * *"{fields}}}"#
        );
        let request: CreateSchedule = serde_json::from_str(&text).unwrap();
        let writer = Writer { instance: ME, token: 0 };
        let (id, now) = (Uuid::from_u128(n), at("00:00:00"));
        let made = new_schedule(&request, &Rules::default(), id, now, "me", "c", writer);
        let (schedule, trigger) = made.unwrap();
        self.put(schedule, trigger, 1);
        id
    }

    fn put(&self, schedule: Schedule, trigger: crate::trigger::Trigger, revision: u64) {
        let id = schedule.id;
        let entry = Entry { revision, schedule: Arc::new(schedule), trigger };
        self.entries.borrow_mut().insert(id, Arc::new(entry));
    }

    /// What an accepted write makes of a record: what is due is claimed, by whoever.
    fn claim(&self, id: Uuid, by: Uuid, now: DateTime<Utc>) -> Vec<crate::schedule::Attempt> {
        let entry = self.entry(id).unwrap();
        let lease = Duration::seconds(300);
        let mut plan = plan(&entry.schedule, &entry.trigger, now, self, lease).unwrap();
        for attempt in &mut plan.schedule.attempts {
            if let Phase::Claimed { by: holder, .. } = &mut *attempt.phase {
                *holder = by;
            }
        }
        self.put(plan.schedule, entry.trigger.clone(), entry.revision + 1);
        plan.fire
    }
}

fn core() -> Core<&'static str> {
    let mut core = Core::new(2, 1, &[], at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &World::default());
    core
}

fn working(actions: &[Action<&str>]) -> Vec<Uuid> {
    let id = |action: &Action<&str>| match action {
        Action::Work { id, .. } => Some(*id),
        _ => None,
    };
    actions.iter().filter_map(id).collect()
}

#[test]
fn a_schedule_is_worked_on_when_it_is_due_once_at_a_time_and_leaves_nothing_when_it_is_gone() {
    let (world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    assert!(core.step([Event::Changed(id)], due - Duration::seconds(1), &world).is_empty());
    assert_eq!(core.next(), Some(due));
    assert!(core.step([], due - Duration::milliseconds(1), &world).is_empty());
    assert_eq!(working(&core.step([], due, &world)), [id]);
    let again = core.step([Event::Changed(id)], due, &world);
    assert!(working(&again).is_empty(), "it is busy");
    assert_eq!(core.load().next_due, Some(due), "it is overdue until it was acted on");
    world.claim(id, ME, due);
    let running = world.entry(id).unwrap().schedule.attempts[0].execution_id;
    world.running.borrow_mut().insert(running);
    core.step([Event::Free(id), Event::Returned(Lane::Fast)], due, &world);
    assert_eq!(core.next(), Some(due + Duration::minutes(1)));
    world.entries.borrow_mut().clear();
    core.step([Event::Changed(id)], due, &world);
    assert!(core.slots.is_empty() && core.overdue.is_empty());
    assert!(core.is_quiet());
}

#[test]
fn no_more_is_under_way_than_permits_allow_and_priority_goes_first() {
    let (world, mut core) = (World::default(), core());
    let ids =
        [world.add(9, r#","priority":1"#), world.add(10, ""), world.add(11, r#","priority":9"#)];
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    let events = ids.map(Event::Changed);
    assert_eq!(working(&core.step(events, due, &world)), [ids[2], ids[1]]);
    assert!(core.step([], due, &world).is_empty());
    assert_eq!(working(&core.step([Event::Returned(Lane::Fast)], due, &world)), [ids[0]]);
}

#[test]
fn an_outcome_rides_on_the_next_claim_or_is_settled_soon() {
    let (world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    core.step([Event::Changed(id)], due, &world);
    let attempt = world.claim(id, ME, due).remove(0);
    world.running.borrow_mut().insert(attempt.execution_id);
    core.step([Event::Free(id), Event::Returned(Lane::Fast)], due, &world);
    let schedule = Arc::clone(&world.entry(id).unwrap().schedule);
    let claim = Claim { instance: ME, revision: 2 };
    let mut ended = Execution::started(&schedule, &attempt, claim, due);
    ended.end(Outcome::success(), due);
    assert!(working(&core.step([Event::Ended(Box::new(ended))], due, &world)).is_empty());
    assert_eq!(core.next(), Some(due + LINGER), "the next claim is a minute away");
    let actions = core.step([], due + LINGER, &world);
    let [Action::Work { done, is_due: false, .. }] = &actions[..] else { panic!() };
    assert_eq!(done.executions().collect::<Vec<_>>(), [attempt.execution_id]);
}

#[test]
fn what_could_not_be_settled_is_kept_and_handed_over_at_the_end() {
    let (world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    core.step([Event::Changed(id)], due, &world);
    let done = Done { told: vec![OTHER], ..Done::default() };
    core.step([Event::Back(id, done), Event::Later(id), Event::Returned(Lane::Fast)], due, &world);
    assert_eq!(core.next(), Some(due + LATER));
    core.step([Event::Drain], due, &world);
    let left = core.take_done();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1.told, [OTHER]);
}

#[test]
fn nothing_is_claimed_while_we_do_not_hear_ourselves() {
    let (world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    assert!(core.step([Event::MayClaim(false), Event::Changed(id)], due, &world).is_empty());
    assert_eq!(core.next(), Some(due + UNSURE));
    assert_eq!(working(&core.step([Event::MayClaim(true)], due + UNSURE, &world)), [id]);
}

#[test]
fn what_became_visible_late_is_taken_in_the_order_of_preference_too() {
    let (mut world, mut core) = (World::default(), core());
    world.delay_ms = 250;
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    let delay = Duration::milliseconds(250);
    core.step([Event::Changed(id)], due - delay, &world);
    assert_eq!(core.next(), Some(due + delay), "the other one goes first");
    // It was out of reach for a minute, and so may the other one have been, which needs a while to be back.
    let seen = due + Duration::minutes(1);
    assert!(core.step([Event::Sees], seen, &world).is_empty());
    let later = seen + COMING_BACK;
    assert_eq!(core.next(), Some(later + delay));
    assert!(core.step([Event::Changed(id)], later + delay / 2, &world).is_empty());
    assert_eq!(core.next(), Some(later + delay), "looking again does not begin anew");
    assert_eq!(working(&core.step([], later + delay, &world)), [id]);
}

#[test]
fn what_failed_in_a_way_that_nobody_foresaw_is_not_tried_again_at_once() {
    let (world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    core.step([Event::Changed(id)], due, &world);
    // Its record was written, and who acted on that panicked.
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

/// Has another instance claim what is due of a schedule, changes the schedule, and leaves it behind.
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

    // And the other way round: nobody waits for a reply to what was published.
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
fn a_place_in_the_order_is_one_for_the_target_that_it_was_taken_for() {
    let world = World::default();
    let rate = |target| (TargetPattern::parse(target).unwrap(), 0.1);
    let mut core = Core::<&str>::new(9, 9, &[rate("cmd.a"), rate("cmd.b")], at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let ids = [world.add(9, ""), world.add(10, "")];
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    let first = working(&core.step(ids.map(Event::Changed), due, &world));
    let waits = ids.into_iter().find(|id| *id != first[0]).unwrap();
    assert_eq!(core.slots.get(waits).unwrap().not_before, Some(due + Duration::seconds(10)));
    // Another schedule uses up the other target, and the one that waits is sent there.
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

/// What has been begun and not ended.
#[derive(Default)]
struct UnderWay {
    working: HashMap<Uuid, Lane>,
    permits: [usize; 2],
    announcing: HashSet<Uuid>,
    log: Vec<String>,
}

impl UnderWay {
    fn begin(&mut self, actions: Vec<Action<&'static str>>) {
        for action in actions {
            match action {
                Action::Work { id, lane, claim, .. } => {
                    assert_eq!(
                        self.working.insert(id, lane),
                        None,
                        "one write of a record at a time"
                    );
                    self.permits[lane as usize] += 1;
                    self.log.push(format!("work {id} {lane:?} {claim:?}"));
                }
                Action::Release(_) => {
                    self.permits[Lane::Fast as usize] += 1;
                    self.log.push("release".to_owned());
                }
                Action::Announce(id) => {
                    assert!(self.announcing.insert(id), "announced by one task at a time");
                }
                Action::Tell(_) | Action::Correct(_) | Action::Stop(_) | Action::Forget(_) => {}
            }
        }
        assert!(self.permits[0] <= 2 && self.permits[1] <= 1, "{:?}", self.permits);
    }

    /// How a piece of work ends, by chance.
    fn end(&mut self, world: &World, now: DateTime<Utc>, how: u8) -> Vec<Event<&'static str>> {
        let Some((id, lane)) =
            self.working.iter().min_by_key(|(id, _)| **id).map(|(id, lane)| (*id, *lane))
        else {
            return Vec::new();
        };
        self.working.remove(&id);
        self.permits[lane as usize] -= 1;
        let mut events = match how % 3 {
            0 => vec![Event::Later(id)],
            1 => vec![
                Event::Back(id, Done { told: vec![OTHER], ..Done::default() }),
                Event::Later(id),
            ],
            _ => {
                if let Some(entry) = world.entry(id)
                    && wake_at(&entry.schedule, world).is_some_and(|at| at <= now)
                    && plan(&entry.schedule, &entry.trigger, now, world, Duration::seconds(300))
                        .is_some()
                {
                    let made = world.claim(id, ME, now);
                    world.running.borrow_mut().extend(made.iter().map(|one| one.execution_id));
                }
                vec![Event::Free(id)]
            }
        };
        events.push(Event::Returned(lane));
        events
    }
}

/// A run of the core under events by chance, until all has ended and every schedule is gone.
fn run(steps: &[(u8, u8)]) -> Vec<String> {
    let (world, mut core, mut under_way) = (World::default(), core(), UnderWay::default());
    let mut now = at("00:00:00");
    for (what, which) in steps {
        let id = Uuid::from_u128(u128::from(which % 5));
        let events = match what % 9 {
            0 if world.entry(id).is_none() => {
                let mode = if which % 2 == 0 { r#","delivery":{"mode":"request"}"# } else { "" };
                vec![Event::Changed(world.add(u128::from(which % 5), mode))]
            }
            1 => {
                world.entries.borrow_mut().remove(&id);
                vec![Event::Changed(id)]
            }
            2 => vec![Event::MayClaim(which % 4 != 0), Event::Members],
            3 => vec![Event::Sees],
            4 => {
                let armed = Armed {
                    due: now + Duration::seconds(1),
                    priority: 5,
                    execution: id,
                    attempt: "go",
                };
                vec![Event::Armed(armed)]
            }
            5 | 6 => under_way.end(&world, now, *which),
            _ => {
                now += Duration::milliseconds(i64::from(*which) * 300);
                Vec::new()
            }
        };
        let released = under_way.permits[0]
            - under_way.working.values().filter(|lane| **lane == Lane::Fast).count();
        under_way.permits[0] -= released;
        let returned = (0..released).map(|_| Event::Returned(Lane::Fast));
        let actions = core.step(events.into_iter().chain(returned), now, &world);
        under_way.begin(actions);
    }
    world.entries.borrow_mut().clear();
    for _ in 0..1000 {
        now += Duration::seconds(1);
        let mut events: Vec<_> = (0..5).map(|n| Event::Changed(Uuid::from_u128(n))).collect();
        events.extend(under_way.end(&world, now, 2));
        events.extend(under_way.announcing.drain().map(|id| Event::Announced(id, Vec::new())));
        let released = under_way.permits[0]
            - under_way.working.values().filter(|lane| **lane == Lane::Fast).count();
        under_way.permits[0] -= released;
        events.extend((0..released).map(|_| Event::Returned(Lane::Fast)));
        let actions = core.step(events, now, &world);
        under_way.begin(actions);
    }
    assert!(core.is_quiet() && core.slots.is_empty(), "slots are left");
    assert!(core.overdue.is_empty() && core.ready == 0);
    assert!(core.lanes.has_room(Lane::Request) && under_way.permits == [0, 0]);
    under_way.log
}

proptest::proptest! {
    #[test]
    fn whatever_happens_bounds_hold_nothing_is_left_and_the_same_events_give_the_same_run(
        steps in proptest::collection::vec(proptest::prelude::any::<(u8, u8)>(), 0..300),
    ) {
        proptest::prop_assert_eq!(run(&steps), run(&steps));
    }
}

/// Schedules that are all due at the next minute; when that is.
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
    // More instances write to the same stream, which becomes no faster by it.
    assert_eq!(first_among(2, 9_000, ""), early);
    // Theirs is decided when it is due.
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
