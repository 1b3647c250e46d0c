//! Random faults, and what must hold all the same.
//!
//! The seed determines everything: how long messages take, which schedules exist, what users and workers do, what goes
//! wrong and when. Once faults end, everything must be settled soon; then only what is left behind is used to judge
//! what happened ([`checker`](crate::checker)).
//!
//! Each step of a storm draws from a source of its own, so one can be left out without changing the others.

mod evidence;
pub mod log;
pub mod many;
mod schedules;
mod shared;
mod steps;
mod targets;
mod users;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use nats_scheduler::api::Api;
use nats_scheduler::guards::Guard;
use nats_scheduler::names;
use nats_scheduler::schedule::Schedule;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::checker::{self, Evidence, FaultKind, Summary, what_is_left};
use crate::guards;
use crate::instance::Instance;
use crate::nats::{HostClock, Server, Simulated, Writes};

/// Within which all is settled once faults have ended: a silent instance counts as gone after five seconds, an
/// acknowledgement is waited for as long, and a reader that is shown nothing is noticed after the third look or so.
const CALM: Duration = Duration::from_secs(20);
/// How long what goes wrong may last behind the storm's end.
const OVERHANG: Duration = Duration::from_secs(3);
/// Between the moment at which all is settled and the end.
const LAST: Duration = Duration::from_millis(500);
/// Of all writes of records, how many may be refused for another's in a storm, where it is not a few.
const FOUGHT_OVER: f64 = 0.35;
const FEW: u64 = 40;
/// The same two limits, the count first, for storms in which NATS loses data and instances have to find that out.
const AFTER_A_LOSS: (u64, f64) = (120, 0.6);
/// How long steps go on where many publish to one stream.
const CROWDED: Duration = Duration::from_secs(4);
/// In which part of all storms NATS loses its power.
const LOSE_POWER: f64 = 0.05;
/// Time between two steps, at most.
const PAUSE_MS: u64 = 700;

/// Streams of the service.
const OURS: [&str; 3] = [names::EXECUTIONS_STREAM, names::AUDIT_STREAM, names::SCHEDULES_STREAM];

/// What is to be run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub seed: u64,
    /// Steps that are left out.
    pub without: BTreeSet<usize>,
    /// The guard of the protocol that is left out.
    pub guard: Option<Guard>,
    /// Whether all that streams hold is to be told.
    pub tells_all: bool,
}

/// What became of a run.
pub struct Run {
    /// What there was in it, or all that is wrong with it.
    pub found: Result<Summary, Vec<String>>,
    /// What happened, for people.
    pub trace: String,
    /// The steps that there were.
    #[allow(dead_code, reason = "the program that shrinks a run uses it")]
    pub steps: usize,
    /// What went wrong, how often.
    pub faults: BTreeMap<FaultKind, u64>,
    /// How much time has passed in it.
    pub took: Duration,
    /// How writes of records went.
    pub writes: Writes,
    /// All that streams hold, if it was asked for.
    pub content: String,
}

/// How large a storm is. Small ones are quick and easy to understand; in large ones more meets.
struct Size {
    instances: usize,
    /// Schedules that go by the time, at first.
    schedules: u64,
    /// How long steps go on.
    storm: Duration,
    /// How long it is calm at least. It is until all is settled.
    calm: Duration,
    /// Whether streams remember ids for a short time only. Then nothing is on its way for that long.
    forgets: bool,
    /// Schedules beside those that publish to one stream, which is silent for a while.
    crowd: u64,
    /// Whether some schedules share a calendar and a group, which are made first.
    has_shared: bool,
    /// Whether NATS loses its power in the middle, and with it what was not on its disk.
    loses_power: bool,
}

impl Size {
    fn of(seed: u64) -> Self {
        let mut chance = source(seed, usize::MAX - 2);
        let mut seconds = |range| Duration::from_secs(chance.random_range(range));
        let (storm, calm) = (seconds(4..=13), seconds(5..=8));
        let instances = *[2, 3, 3].choose(&mut chance).unwrap();
        let schedules = chance.random_range(2..=8);
        let forgets = chance.random_bool(0.4);
        let (storm, crowd) = if chance.random_bool(0.01) { (CROWDED, 80) } else { (storm, 0) };
        let loses_power = chance.random_bool(LOSE_POWER);
        // What NATS loses it may lose of them as well, and then nobody knows what is right.
        let has_shared = !loses_power && crowd == 0 && shared::are_in(seed);
        Self { instances, schedules, storm, calm, forgets, crowd, has_shared, loses_power }
    }
}

/// An instance that lives.
struct Living {
    instance: Instance,
    nats: Simulated,
    clock: HostClock,
    number: u64,
}

impl Living {
    /// Has it stop; then its connections end with its process.
    async fn stop(self) {
        self.instance.stop().await;
        self.nats.cut();
    }
}

/// The instances that live and have started: users and workers may ask any of them.
type Reachable = Arc<Mutex<Vec<Living>>>;

/// One run.
struct Storm {
    seed: u64,
    server: Server,
    living: Reachable,
    started: u64,
    /// Schedules that are known to be there.
    made: Arc<Mutex<Vec<Uuid>>>,
    evidence: Arc<Mutex<Evidence>>,
    /// Instances that are about to start or to stop.
    moving: Vec<JoinHandle<()>>,
    size: Size,
    ends: Instant,
    trace: String,
}

impl Storm {
    async fn begin(seed: u64) -> Self {
        let server = Server::with_streams(seed);
        let mut storm = Self {
            seed,
            server,
            living: Reachable::default(),
            started: 0,
            made: Arc::default(),
            evidence: Arc::default(),
            moving: Vec::new(),
            size: Size::of(seed),
            ends: Instant::now(),
            trace: String::new(),
        };
        targets::open(&storm.server, storm.size.forgets);
        workers::open(&storm);
        for _ in 0..storm.size.instances {
            storm.start();
        }
        join_all(std::mem::take(&mut storm.moving)).await;
        storm.create().await;
        storm.ends = Instant::now() + storm.size.storm;
        storm
    }

    /// Begins to start an instance, which takes as long as NATS does.
    fn start(&mut self) {
        let number = self.started;
        self.started += 1;
        let seed = self.seed * 1000 + number;
        let mut chance = StdRng::seed_from_u64(seed);
        let (server, living, book) = (self.server.clone(), Arc::clone(&self.living), self.book());
        let clock = HostClock::off_by(&server, schedules::ms(chance.random_range(-4000..4000)));
        let rates = targets::rates(self.seed);
        self.moving.push(tokio::spawn(async move {
            let mut tries = 0;
            let (instance, nats) = loop {
                let nats = server.connect();
                let seed = seed ^ tries << 32;
                let rates = rates.clone();
                let starting = Instance::start_with(nats.clone(), clock.clone(), seed, rates).await;
                if let Some(instance) = starting {
                    break (instance, nats);
                }
                tries += 1;
                sleep(Duration::from_millis(500)).await;
            };
            book.evidence().instances.insert(number, instance.api.instance);
            living.lock().unwrap().push(Living { instance, nats, clock, number });
        }));
    }

    /// Takes one of them away.
    fn take(&mut self, number: u64) -> Option<Living> {
        let mut living = self.living.lock().unwrap();
        let which = living.iter().position(|one| one.number == number)?;
        Some(living.remove(which))
    }

    /// Creates the schedules that there are at first.
    async fn create(&mut self) {
        let mut chance = source(self.seed, usize::MAX);
        let api = Arc::clone(&self.living.lock().unwrap()[0].instance.api);
        if self.size.has_shared {
            self.make_shared(&api).await;
        }
        for request in schedules::first(&mut chance, self.size.schedules, self.server.now()) {
            let request = self.sharing(request);
            self.asks_to_create_at_first(&mut chance, &api, request).await;
        }
        for n in 0..self.size.crowd {
            self.asks_to_create_at_first(&mut chance, &api, schedules::crowd(n)).await;
        }
        let made = self.made.lock().unwrap().clone();
        for request in schedules::dependent(&mut chance, self.size.schedules, &made) {
            self.asks_to_create_at_first(&mut chance, &api, request).await;
        }
    }

    fn say(&mut self, what: &str) {
        use std::fmt::Write as _;

        writeln!(self.trace, "{} {what}", self.server.now().format("%M:%S%.3f")).unwrap();
    }

    async fn run(mut self, without: &BTreeSet<usize>) -> (Vec<String>, Self, usize) {
        if self.size.crowd > 0 {
            self.silence_target();
        }
        let mut step = 0;
        let mut pauses = source(self.seed, usize::MAX - 1);
        let mut loses_power_at = self.size.loses_power.then(|| self.ends - self.size.storm / 2);
        while Instant::now() < self.ends {
            sleep(Duration::from_millis(pauses.random_range(20..PAUSE_MS))).await;
            if loses_power_at.take_if(|at| *at <= Instant::now()).is_some() {
                self.lose_power();
            }
            let mut chance = source(self.seed, step);
            if !without.contains(&step) {
                self.step(step, &mut chance);
            }
            step += 1;
        }
        sleep(OVERHANG + self.size.calm).await;
        join_all(std::mem::take(&mut self.moving)).await;
        self.settle().await;
        self.asks_for_explanations().await;
        // Nobody asks any more, and what was asked for is done.
        let living = std::mem::take(&mut *self.living.lock().unwrap());
        sleep(LAST).await;
        self.evidence.lock().unwrap().now = self.server.now();
        let apis: Vec<_> = living.iter().map(|one| Arc::clone(&one.instance.api)).collect();
        join_all(living.into_iter().map(Living::stop)).await;
        let mut found: Vec<_> = self.is_fought_over().into_iter().collect();
        for api in &apis {
            found.extend(self.is_idle(api));
        }
        drop(apis);
        sleep(Duration::from_secs(1)).await;
        (found, self, step)
    }

    /// Waits until all is settled; it may take its time, but not for ever. What is under way must still be so when
    /// it is looked at.
    async fn settle(&self) {
        let latest = self.ends + OVERHANG + CALM;
        let is_left =
            |record: &Schedule| what_is_left(record, self.server.now() + LAST).next().is_some();
        while Instant::now() < latest && self.records().iter().any(is_left) {
            sleep(Duration::from_secs(1)).await;
        }
    }

    /// Whether instances come in each other's way: each leaves to the others what is theirs.
    fn is_fought_over(&self) -> Option<String> {
        let Writes { stored, refused } = self.server.writes();
        let (few, most) = if self.size.loses_power { AFTER_A_LOSS } else { (FEW, FOUGHT_OVER) };
        let is_much = refused > few && self.server.writes().refused_share() > most;
        is_much.then(|| format!("{refused} writes of records were refused, and {stored} stored"))
    }

    /// What an instance that has stopped still holds.
    fn is_idle(&self, api: &Api<Simulated>) -> Option<String> {
        use std::sync::atomic::Ordering::Relaxed;

        let load = &api.health.load;
        let left = [&load.executions, &load.armed, &load.waiting].map(|count| count.load(Relaxed));
        let busy = load.stages().total();
        (left != [0; 3] || busy != 0).then(|| {
            format!("an instance has stopped with {left:?} executions, armed and waiting, {busy} under way")
        })
    }
}

/// A source of chance for one step of a seed.
fn source(seed: u64, step: usize) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ step as u64)
}

/// One of the instances that can be asked.
fn any(living: &Reachable, chance: &mut StdRng) -> Option<Arc<Api<Simulated>>> {
    let living = living.lock().unwrap();
    living.choose(chance).map(|one| Arc::clone(&one.instance.api))
}

/// Runs a seed.
pub fn run(options: &Options) -> Run {
    guards::without(options.guard, || run_guarded(options))
}

fn run_guarded(options: &Options) -> Run {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let began = Instant::now();
        let storm = Storm::begin(options.seed).await;
        let (mut found, storm, steps) = storm.run(&options.without).await;
        let took = began.elapsed();
        let mut trace = format!("seed {}\n", options.seed);
        trace.push_str(&storm.trace);
        let content = if options.tells_all { storm.content() } else { String::new() };
        let evidence = storm.evidence();
        let mut faults = BTreeMap::new();
        for fault in &evidence.faults {
            *faults.entry(fault.kind).or_default() += 1;
        }
        let checked = checker::check(&evidence);
        let found = match checked {
            Ok(summary) if found.is_empty() => Ok(summary),
            checked => {
                found.extend(checked.err().unwrap_or_default());
                Err(found)
            }
        };
        let writes = storm.server.writes();
        Run { found, trace, steps, faults, took, writes, content }
    })
}

#[cfg(test)]
mod tests;
