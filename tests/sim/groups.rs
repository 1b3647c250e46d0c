//! Concurrency groups while instances are killed, suspended and held up.

use std::collections::HashSet;
use std::time::Duration;

use nats_scheduler::api::reports::{CompleteExecution, FailExecution};
use nats_scheduler::api::schedules::{BackfillSchedule, PauseAll, ResumeAll, TriggerSchedule};
use nats_scheduler::chance::Chance;
use nats_scheduler::guards::Guard;
use nats_scheduler::names;
use nats_scheduler::port::Entry;
use nats_scheduler::schedule::{CreateSchedule, Group, PutGroup, UpdateSchedule};

use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::checker::groups::{Left, follow};
use crate::guards::without;
use crate::instance::{self, Instance};
use crate::nats::{Server, Simulated, Way};

/// How long faults go on, and how long nothing disturbs after that.
const TROUBLED: Duration = Duration::from_secs(60);
const CALM: Duration = Duration::from_secs(90);

struct World {
    server: Server,
    instances: Vec<(Instance, Simulated)>,
    chance: Chance,
    ids: Vec<Uuid>,
    /// Jobs that workers have, and when they are done.
    jobs: Vec<(Instant, Entry)>,
    seen: usize,
}

impl World {
    /// Three instances and a group.
    async fn of(seed: u64, limit: usize) -> Self {
        let server = Server::with_streams(seed);
        server.remember(names::SCHEDULES_STREAM);
        let instances = instance::start(&server, 3).await;
        let chance = Chance::seeded(seed);
        let world = Self { server, instances, chance, ids: Vec::new(), jobs: Vec::new(), seen: 0 };
        world.limit(limit).await;
        world
    }

    async fn create(&self, request: serde_json::Value) -> Uuid {
        let (one, _) = &self.instances[self.draw(3)];
        let request: CreateSchedule = serde_json::from_value(request).unwrap();
        one.api.create_schedule(request, &one.caller()).await.unwrap().data.id
    }

    /// A user asks one of the instances for something, which may be held up.
    async fn ask(&self) {
        let (one, _) = &self.instances[self.draw(self.instances.len())];
        let (caller, id) = (one.caller(), self.ids[self.draw(self.ids.len())]);
        let now = self.server.now();
        let span = |ms: i64| now - chrono::TimeDelta::milliseconds(ms);
        let asked = async {
            match self.draw(5) {
                0 => drop(one.api.pause_all(PauseAll::default(), &caller).await),
                1 => drop(one.api.resume_all(ResumeAll::default(), &caller).await),
                2 => {
                    let request = json!({ "schedule_id": id, "from": span(20_000), "to": span(1) });
                    let request: BackfillSchedule = serde_json::from_value(request).unwrap();
                    drop(one.api.backfill_schedule(request, &caller).await);
                }
                n => {
                    let group = if n == 3 { "" } else { "g" };
                    let request = json!({ "schedule_id": id, "group": group });
                    let request: UpdateSchedule = serde_json::from_value(request).unwrap();
                    drop(one.api.update_schedule(request, &caller).await);
                }
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(8), asked).await;
    }

    /// Everything is as at the start: nothing is paused, and all belong to the group.
    async fn mend(&self) {
        let (one, _) = &self.instances[0];
        let _ = one.api.resume_all(ResumeAll::default(), &one.caller()).await;
        for id in &self.ids {
            let request = json!({ "schedule_id": id, "group": "g" });
            let request: UpdateSchedule = serde_json::from_value(request).unwrap();
            one.api.update_schedule(request, &one.caller()).await.unwrap();
        }
    }

    /// The same and eight schedules, all of one priority if it is to be `fair`.
    async fn start(seed: u64, fair: bool) -> Self {
        let mut world = Self::of(seed, 1 + usize::try_from(seed % 3).unwrap()).await;
        for n in 0..8 {
            let one_of = |all: &[&str]| all[world.draw(all.len())].to_owned();
            let request = json!({
                "name": format!("s{n}"), "schedule_type": "interval",
                "interval_seconds": 2 + world.draw(4), "target_command": "cmd.report.s",
                "delivery": { "mode": "job", "timeout_seconds": 20 }, "group": "g",
                "overlap": one_of(&["skip", "buffer_one", "cancel_other", "allow"]),
                "catch_up": one_of(&["latest", "all", "none"]), "max_instances": 1 + world.draw(3),
                "priority": if fair { 5 } else { 1 + world.draw(10) }, "max_retries": 2,
                "retry": { "initial_seconds": 1 },
                "misfire_grace_seconds": if world.draw(2) == 0 { 5 } else { 3600 },
            });
            let id = world.create(request).await;
            world.ids.push(id);
        }
        world
    }

    fn draw(&self, below: usize) -> usize {
        usize::try_from(self.chance.number() % 1_000_000).unwrap() % below
    }

    fn ms(&self, from: usize, to: usize) -> Duration {
        Duration::from_millis(u64::try_from(from + self.draw(to - from)).unwrap())
    }

    async fn limit(&self, limit: usize) {
        let (one, _) = &self.instances[self.draw(self.instances.len())];
        let request: PutGroup =
            serde_json::from_value(json!({ "name": "g", "limit": limit })).unwrap();
        // It may be held up.
        let caller = one.caller();
        let put = one.api.put_group(request, &caller);
        let _ = tokio::time::timeout(Duration::from_secs(5), put).await;
    }

    /// Workers take what has come, and report what is done.
    async fn work(&mut self) {
        for command in self.server.messages(names::COMMANDS_STREAM).split_off(self.seen) {
            self.seen += 1;
            let takes = self.ms(100, 2500);
            self.jobs.push((Instant::now() + takes, command));
        }
        let now = Instant::now();
        let (done, jobs) =
            std::mem::take(&mut self.jobs).into_iter().partition(|(at, _)| *at <= now);
        self.jobs = jobs;
        let done: Vec<(Instant, Entry)> = done;
        for (_, command) in done {
            let header = |name| command.headers.get(name).unwrap().as_str().to_owned();
            let execution_id = Some(header(names::EXECUTION_ID).parse().unwrap());
            let token = Some(header(names::TOKEN));
            let (one, _) = &self.instances[self.draw(self.instances.len())];
            let fails = self.draw(5) == 0;
            let caller = one.caller();
            let report = async {
                if fails {
                    let report = FailExecution { execution_id, token, ..FailExecution::default() };
                    one.api.fail_execution(report, &caller).await.map(drop)
                } else {
                    let report = CompleteExecution { execution_id, token, response: None };
                    one.api.complete_execution(report, &caller).await.map(drop)
                }
            };
            // Whoever is not answered leaves it at that; some jobs are never reported.
            let _ = tokio::time::timeout(Duration::from_millis(500), report).await;
        }
    }

    async fn disturb(&mut self) {
        let at = self.draw(3);
        let (_, nats) = &self.instances[at];
        match self.draw(10) {
            0 => nats.hold(Way::Here, self.ms(100, 3000)),
            1 => nats.suspend(self.ms(100, 9000)),
            2 => self.server.lose_acks(0.3, self.ms(100, 1500)),
            3 | 4 => {
                let (instance, nats) = self.instances.remove(at);
                nats.kill();
                instance.die();
                let nats = self.server.connect();
                let host = crate::nats::HostClock::off_by(&self.server, chrono::TimeDelta::zero());
                let seed = self.chance.number();
                let new = Instance::start_over(nats.clone(), host, seed).await;
                self.instances.push((new.expect("it starts"), nats));
            }
            5 => self.limit(1 + self.draw(3)).await,
            6..=8 => self.ask().await,
            _ => {}
        }
    }
}

fn schedule_of(command: &Entry) -> Uuid {
    command.headers.get(names::SCHEDULE_ID).unwrap().as_str().parse().unwrap()
}

/// What is wrong with a run: executions under way without a slot, slots beyond the bound, slots that nothing uses.
fn faults(written: &[Entry]) -> Vec<String> {
    let mut found = Vec::new();
    let Left { group, under_way } = follow("g", written, &mut found);
    let left = group.slots.iter().filter(|slot| !under_way.contains(&slot.execution_id));
    // One may just have been taken or ended.
    if left.count() > 1 {
        found.push(format!("slots are left over: {:?}", group.slots));
    }
    found
}

async fn run_world(seed: u64) -> World {
    let mut world = World::start(seed, seed.is_multiple_of(2)).await;
    let begun = Instant::now();
    let mut next = begun;
    while begun.elapsed() < TROUBLED {
        if Instant::now() >= next {
            world.disturb().await;
            next = Instant::now() + world.ms(200, 5000);
        }
        world.work().await;
        sleep(Duration::from_millis(50)).await;
    }
    world
}

async fn run(seed: u64) -> Vec<String> {
    let mut world = run_world(seed).await;
    world.mend().await;
    let calm = Instant::now();
    let (mut before, mut settled) = (0, 0);
    while calm.elapsed() < CALM {
        if calm.elapsed() < CALM - Duration::from_secs(20) {
            before = world.seen;
        }
        if calm.elapsed() < CALM - Duration::from_secs(45) {
            settled = world.seen;
        }
        world.work().await;
        sleep(Duration::from_millis(50)).await;
    }
    let mut found = faults(&world.server.remembered(names::SCHEDULES_STREAM));
    // A job takes 1.3 s on average.
    if world.seen < before + 8 {
        found.push(format!("only {} commands in the last 20 s", world.seen - before));
    }
    if seed.is_multiple_of(2) {
        let sent = world.server.messages(names::COMMANDS_STREAM).split_off(settled);
        let sent: HashSet<Uuid> = sent.iter().map(schedule_of).collect();
        let left = world.ids.iter().filter(|id| !sent.contains(id));
        found.extend(left.map(|id| format!("{id} was not once sent while nothing disturbed")));
    }
    found.truncate(10);
    found
}

fn run_without(guard: Option<Guard>, seed: u64) -> Vec<String> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    without(guard, || runtime.block_on(run(seed)))
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn no_more_is_under_way_than_a_group_allows_whoever_dies() {
    let from = number("GROUPS_FROM", 1);
    for seed in from..from + number("GROUPS_SEEDS", 10) {
        let found = run_without(None, seed);
        assert!(found.is_empty(), "seed {seed}: {found:#?}");
    }
}

#[test]
fn without_slots_there_is_more() {
    assert!((1..20).any(|seed| !run_without(Some(Guard::Slot), seed).is_empty()));
}

/// What is wrong when an instance takes a slot, its claim is held up on its way until long after it counts as gone, and
/// another schedule waits for the slot.
async fn held_up(seed: u64) -> Vec<String> {
    let world = World::of(seed, 0).await;
    let once = |name: &str, priority: u8| {
        json!({
            "name": name, "schedule_type": "one_time", "priority": priority, "group": "g",
            "scheduled_at": world.server.now() + chrono::TimeDelta::seconds(1),
            "target_command": "cmd.report.s", "delivery": { "mode": "job", "timeout_seconds": 600 },
        })
    };
    world.create(once("a", 5)).await;
    // It waits, and nothing writes its record any more until it is claimed.
    sleep(Duration::from_secs(4)).await;
    let subject = names::key_subject(&names::group_key("g"));
    let taken = async {
        loop {
            let group = world.server.last(names::SCHEDULES_STREAM, &subject).unwrap();
            let group: Group = serde_json::from_slice(&group.body).unwrap();
            if let Some(slot) = group.slots.first() {
                let is_taker = |(one, _): &&(Instance, Simulated)| one.api.instance == slot.by;
                let (_, nats) = world.instances.iter().find(is_taker).unwrap();
                nats.hold(Way::There, Duration::from_secs(20));
                // While all is paused nobody else claims it, or writes its record.
                let is_other = |(one, _): &&(Instance, Simulated)| one.api.instance != slot.by;
                let (one, _) = world.instances.iter().find(is_other).unwrap();
                let caller = one.caller();
                let paused = one.api.pause_all(PauseAll::default(), &caller);
                let _ = tokio::time::timeout(Duration::from_secs(1), paused).await;
                return one;
            }
            sleep(Duration::from_micros(100)).await;
        }
    };
    // Its claim follows the slot at once.
    let ((), one) = tokio::join!(world.limit(1), taken);
    // A run by hand takes the slot that is freed.
    let request: CreateSchedule = serde_json::from_value(once("b", 9)).unwrap();
    let b = one.api.create_schedule(request, &one.caller()).await.unwrap().data.id;
    let run = TriggerSchedule { schedule_id: Some(b), ..TriggerSchedule::default() };
    one.api.trigger_schedule(run, &one.caller()).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let sent = world.server.messages(names::COMMANDS_STREAM).len();
    let mut found = faults(&world.server.remembered(names::SCHEDULES_STREAM));
    // The other one's job is not reported.
    if sent != 1 {
        found.push(format!("{sent} commands were sent"));
    }
    found
}

#[test]
fn a_claim_that_is_held_up_is_refused_before_its_slot_is_freed() {
    let run = |guard| {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().unwrap();
        without(guard, || runtime.block_on(held_up(1)))
    };
    assert_eq!(run(None), Vec::<String>::new());
    assert!(!run(Some(Guard::SlotFence)).is_empty(), "and this is what would miss it");
}
