//! Tests of the core: events and times in, actions out.

mod burst;
mod chance;
mod groups;
mod halts;
mod rates;
mod renewals;
mod takeover;
mod turns;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

use super::*;
use crate::execution::{Claim, Outcome};
use crate::plan::{plan, wake_at};
use crate::schedule::{
    Cancel, CreateSchedule, DeliveryMode, Halt, Phase, Rules, Target, Writer, new_schedule,
};

const ME: Uuid = Uuid::from_u128(1);
const OTHER: Uuid = Uuid::from_u128(2);

/// One instance's view of some schedules, set by the test.
#[derive(Default)]
struct World {
    entries: RefCell<HashMap<Uuid, Arc<Entry>>>,
    running: RefCell<HashSet<Uuid>>,
    /// Those of them that have ended, while the history does not take their outcomes.
    held_up: RefCell<HashSet<Uuid>>,
    gone: bool,
    delay_ms: i64,
    /// The same for schedules with even and with odd ids.
    delays_ms: [i64; 2],
    lead_ms: i64,
    others: usize,
    /// Room in every group; without end if it is not set.
    room: Cell<Option<usize>>,
    /// An execution that has a slot.
    slot: Cell<Option<Uuid>>,
    /// The latest pause of all.
    halt: Cell<Halt>,
}

impl View for World {
    fn me(&self) -> Uuid {
        ME
    }
    fn is_running(&self, execution: Uuid) -> bool {
        self.running.borrow().contains(&execution)
    }
    fn is_held_up(&self, execution: Uuid) -> bool {
        self.held_up.borrow().contains(&execution)
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
    fn halt(&self) -> Halt {
        self.halt.get()
    }
}

impl Outlook for World {
    fn entry(&self, id: Uuid) -> Option<Arc<Entry>> {
        self.entries.borrow().get(&id).cloned()
    }
    fn is_time_sure(&self) -> bool {
        true
    }
    fn delay(&self, id: Uuid, _: u16) -> Duration {
        let [even, odd] = self.delays_ms;
        let of_id = if id.as_u128().is_multiple_of(2) { even } else { odd };
        Duration::milliseconds(of_id.max(self.delay_ms))
    }
    fn lease(&self, _: &Spec) -> Duration {
        Duration::seconds(300)
    }
    fn instances(&self) -> usize {
        1 + self.others
    }
    fn group_room(&self, _: &str) -> usize {
        self.room.get().unwrap_or(usize::MAX)
    }
    fn has_slot(&self, _: &str, _: Uuid) -> bool {
        self.slot.get().is_some()
    }
    fn holds_slot(&self, _: &str, execution: Uuid, _: u64) -> bool {
        self.slot.get() == Some(execution)
    }
}

fn at(text: &str) -> DateTime<Utc> {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

/// Steps until nothing that is due is left for the next step; returns all that is to be done.
fn step_on(
    core: &mut Core<&'static str>,
    now: DateTime<Utc>,
    world: &World,
) -> Vec<Action<&'static str>> {
    let mut actions = core.step([], now, world);
    for _ in 0..1_000 {
        if !core.has_more(now) {
            return actions;
        }
        actions.extend(core.step([], now, world));
    }
    panic!("it never has done all that is due")
}

impl World {
    /// Adds a schedule that is due every minute, first at midnight, with further `fields`.
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

    /// Claims what is due of a schedule as an accepted write by any instance would.
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
    assert_eq!(core.load(due).next_due, Some(due), "it is overdue until it was acted on");
    world.claim(id, ME, due);
    let running = world.entry(id).unwrap().schedule.attempts[0].execution_id;
    world.running.borrow_mut().insert(running);
    core.step([Event::Free(id), Event::Returned(Lane::Fast)], due, &world);
    assert_eq!(core.next(), Some(due + Duration::minutes(1)));
    world.entries.borrow_mut().clear();
    core.step([Event::Changed(id)], due, &world);
    assert!(core.table.is_empty() && core.overdue.is_empty());
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
fn what_has_ended_is_settled_while_the_next_request_waits_for_a_place() {
    let (world, mut core) = (World::default(), core());
    let ask = r#","delivery":{"mode":"request"},"overlap":"allow","max_instances":3"#;
    let ids = [world.add(9, ask), world.add(10, ask)];
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    // One request takes the only place.
    core.step(ids.map(Event::Changed), due, &world);
    let waits = ids.into_iter().find(|id| !core.table.get(*id).unwrap().is_busy).unwrap();
    // An execution of the one that waits, begun by hand before, ends.
    let actions = core.step([ended(&world, waits, due)], due, &world);
    let [Action::Work { id, done, claim: Claiming::None, lane: Lane::Fast, .. }] = &actions[..]
    else {
        panic!("{} actions", actions.len())
    };
    assert_eq!((*id, done.executions().count()), (waits, 1));
    // Afterwards it still waits for the place.
    let settled = [Event::Free(waits), Event::Returned(Lane::Fast)];
    assert!(working(&core.step(settled, due, &world)).is_empty());
    assert_eq!(working(&core.step([Event::Returned(Lane::Request)], due, &world)), [waits]);
}

/// The end of an execution of a schedule that was begun by hand before.
fn ended(world: &World, id: Uuid, now: DateTime<Utc>) -> Event<&'static str> {
    let schedule = Arc::clone(&world.entry(id).unwrap().schedule);
    let phase = Phase::Waiting { due_at: now };
    let attempt = crate::schedule::Attempt::new(id, at("00:00:10"), 1, phase);
    let claim = Claim { instance: ME, revision: 2 };
    let mut ended = Execution::started(&schedule, &attempt, claim, now);
    ended.end(Outcome::success(), now);
    Event::Ended(Box::new(ended))
}

#[test]
fn a_request_that_has_a_place_takes_what_has_ended_along() {
    let (world, mut core) = (World::default(), Core::<&str>::new(1, 9, &[], at("00:00:00")));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let (fast, asks) = (world.add(9, ""), world.add(10, r#","delivery":{"mode":"request"}"#));
    let due = world.entry(fast).unwrap().schedule.next_run_at.unwrap();
    // The only place for what takes no time is taken for long.
    assert_eq!(working(&core.step([Event::Changed(fast)], due, &world)), [fast]);
    let before = due - Duration::milliseconds(1);
    core.step([ended(&world, asks, before)], before, &world);
    let actions = core.step([], due, &world);
    let [Action::Work { id, done, claim: Claiming::All, lane: Lane::Request, .. }] = &actions[..]
    else {
        panic!("{} actions", actions.len())
    };
    assert_eq!((*id, done.executions().count()), (asks, 1));
}

#[test]
fn what_ends_while_draining_is_settled_at_once_and_nothing_begins_after_the_end() {
    let (world, mut core) = (World::default(), core());
    let ids = [world.add(9, ""), world.add(10, ""), world.add(11, "")];
    let due = world.entry(ids[0]).unwrap().schedule.next_run_at.unwrap();
    let now = due - Duration::seconds(30);
    // One is not settled yet when it begins, one ends meanwhile.
    assert!(working(&core.step([ended(&world, ids[0], now)], now, &world)).is_empty());
    assert_eq!(working(&core.step([Event::Drain], now, &world)), [ids[0]]);
    assert!(!core.is_quiet());
    let actions = core.step([ended(&world, ids[1], now)], now, &world);
    let [Action::Work { id, done, claim: Claiming::None, .. }] = &actions[..] else { panic!() };
    assert_eq!((*id, done.executions().count()), (ids[1], 1));
    core.step([Event::Free(ids[0]), Event::Free(ids[1])], now, &world);
    assert!(core.is_quiet());
    // The second place is not given back, and then nothing may begin any more.
    let rest = [ended(&world, ids[2], now), Event::Close, Event::Returned(Lane::Fast)];
    assert!(core.step(rest, now, &world).is_empty());
    let left: Vec<_> = core.take_done().into_iter().filter(|(_, done)| !done.is_empty()).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].0, ids[2]);
}

#[test]
fn what_waits_does_not_wait_for_a_time_that_nats_has_taken_back() {
    let rate = (TargetPattern::parse("cmd.a").unwrap(), 0.1);
    for rates in [vec![], vec![rate]] {
        let world = World::default();
        let mut core = Core::<&str>::new(9, 9, &rates, at("00:00:00"));
        core.step([Event::MayClaim(true)], at("00:00:00"), &world);
        let id = world.add(9, "");
        let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
        // The clock is an hour ahead, and NATS did not let it claim.
        let ahead = due + Duration::hours(1);
        assert_eq!(working(&core.step([Event::Changed(id)], ahead, &world)), [id]);
        core.step([Event::Later(id), Event::Returned(Lane::Fast)], ahead, &world);
        let begun = |core: &mut Core<&str>, now| !working(&core.step([], now, &world)).is_empty();
        let times = (0..60).map(|n| due + Duration::milliseconds(250) * n);
        let first = times.into_iter().find(|now| begun(&mut core, *now));
        let first = first.expect("it is not tried again for long");
        assert!(first <= due + Duration::seconds(10), "{first}");
        core.step([Event::Free(id), Event::Returned(Lane::Fast)], first, &world);
    }
}

#[test]
fn who_looks_again_keeps_its_place_among_those_with_a_limited_rate() {
    let world = World::default();
    let rate = (TargetPattern::parse("cmd.a").unwrap(), 0.1);
    let mut core = Core::<&str>::new(0, 9, &[rate], at("00:00:00"));
    core.step([Event::MayClaim(true)], at("00:00:00"), &world);
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    // It has its token, and waits for a permit.
    for _ in 0..3 {
        assert!(working(&core.step([Event::Changed(id)], due, &world)).is_empty());
        assert_eq!(core.table.get(id).unwrap().not_before, None, "it asked for a token again");
    }
    world.claim(id, OTHER, due);
    core.step([Event::Changed(id)], due, &world);
    assert!(core.table.get(id).is_none_or(|state| state.rate_place.is_none()), "its turn is over");
}

#[test]
fn what_is_cancelled_is_stopped_also_while_draining() {
    let (world, mut core) = (World::default(), core());
    let id = world.add(9, "");
    let due = world.entry(id).unwrap().schedule.next_run_at.unwrap();
    let attempt = world.claim(id, ME, due).remove(0);
    core.step([Event::Drain, Event::Members], due, &world);
    assert_eq!(core.next(), None, "there is nothing to walk for");
    let entry = world.entry(id).unwrap();
    let mut schedule = Schedule::clone(&entry.schedule);
    schedule.attempts[0].cancel = Some(Box::new(Cancel::new("me".to_owned(), None)));
    world.put(schedule, entry.trigger.clone(), entry.revision + 1);
    let actions = core.step([Event::Changed(id)], due, &world);
    assert!(matches!(actions[..], [Action::Stop(one)] if one == attempt.execution_id));
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
    // This instance was out of reach for a minute; so may the other one have been, and it needs a while to return.
    let seen = due + Duration::minutes(1);
    assert!(core.step([Event::Sees], seen, &world).is_empty());
    let later = seen + COMING_BACK;
    assert_eq!(core.next(), Some(later + delay));
    assert!(core.step([Event::Changed(id)], later + delay / 2, &world).is_empty());
    assert_eq!(core.next(), Some(later + delay), "looking again does not begin anew");
    assert_eq!(working(&core.step([], later + delay, &world)), [id]);
}
