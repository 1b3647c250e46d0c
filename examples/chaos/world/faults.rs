//! What goes wrong, drawn by the seed: one thing after another, and several at once.

use std::cell::RefCell;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use nats_scheduler::names;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::{Instant, sleep, sleep_until};

use super::cluster::{Cluster, SERVERS};
use super::instance::Place;
use crate::checker::{self, FaultKind};

/// Between the beginnings of two faults, when they come as they like.
const BETWEEN_MS: std::ops::Range<u64> = 500..6000;
/// How long faults come so, and then none begins: what is late by itself is seen in between.
const ROUND: Duration = Duration::from_secs(50);
const LULL: Duration = Duration::from_secs(25);
/// How long a fault is still felt.
pub const AFTER: chrono::TimeDelta = chrono::TimeDelta::seconds(10);
/// How many instances there are.
pub const INSTANCES: usize = 3;
/// The streams, each with a leader of its own.
pub const STREAMS: [&str; 4] = [
    names::SCHEDULES_STREAM,
    names::EXECUTIONS_STREAM,
    names::AUDIT_STREAM,
    names::COMMANDS_STREAM,
];

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    InstanceKilled,
    InstanceFrozen,
    InstanceReplaced,
    ServerKilled,
    ServerFrozen,
    StreamMoved,
    ClusterMoved,
    Cut,
    Slow,
    Mute,
    Deaf,
    ClockSet,
}

impl Kind {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::InstanceKilled,
        Self::InstanceFrozen,
        Self::InstanceReplaced,
        Self::ServerKilled,
        Self::ServerFrozen,
        Self::StreamMoved,
        Self::ClusterMoved,
        Self::Cut,
        Self::Slow,
        Self::Mute,
        Self::Deaf,
        Self::ClockSet,
    ];

    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::InstanceKilled => "instance: kill -9",
            Self::InstanceFrozen => "instance: SIGSTOP",
            Self::InstanceReplaced => "instance: SIGTERM",
            Self::ServerKilled => "server: kill -9",
            Self::ServerFrozen => "server: SIGSTOP",
            Self::StreamMoved => "stream leader stepped down",
            Self::ClusterMoved => "meta leader stepped down",
            Self::Cut => "instance cut off",
            Self::Slow => "instance behind a slow way",
            Self::Mute => "what an instance says is lost",
            Self::Deaf => "what an instance hears is lost",
            Self::ClockSet => "clock of an instance set",
        }
    }
}

/// A fault that took place.
#[derive(Clone, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// Of which instance, if it was one's.
    pub instance: Option<usize>,
    /// With what it was done, for people.
    pub what: String,
    pub began_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
}

impl Fault {
    /// The same for whoever judges a run.
    pub fn evidence(&self) -> checker::Fault {
        let kind = match self.kind {
            Kind::InstanceKilled => FaultKind::Death,
            Kind::InstanceFrozen => FaultKind::Suspension,
            Kind::InstanceReplaced => FaultKind::Stop,
            Kind::Cut | Kind::Mute | Kind::Deaf => FaultKind::Cut,
            Kind::Slow => FaultKind::Delay,
            Kind::ClockSet => FaultKind::Clock,
            Kind::ServerKilled | Kind::ServerFrozen => FaultKind::Outage,
            Kind::StreamMoved | Kind::ClusterMoved => FaultKind::Outage,
        };
        let instance = self.instance.map(|number| number as u64);
        checker::Fault { kind, instance, from: self.began_at, until: self.ended_at }
    }
}

/// Those who make things go wrong.
pub struct Trouble<'a> {
    pub cluster: &'a Cluster,
    pub places: &'a [Place],
    kinds: Vec<Kind>,
    /// Those that have ended.
    done: RefCell<Vec<Fault>>,
    violations: RefCell<Vec<String>>,
}

/// What a fault is done to; nothing is done to one thing twice at once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// The process of an instance.
    Process(usize),
    /// Its way to NATS.
    Way(usize),
    Clock(usize),
    /// Any server: two that are away are no cluster.
    Server,
    Leaders,
}

type Strike<'a> = LocalBoxFuture<'a, Victim>;

impl<'a> Trouble<'a> {
    pub async fn new(cluster: &'a Cluster, places: &'a [Place]) -> Self {
        let mut kinds = Kind::ALL.to_vec();
        if !places[0].has_clock().await {
            eprintln!("clocks are not set: the program is a release without debug assertions");
            kinds.retain(|kind| *kind != Kind::ClockSet);
        }
        let (done, violations) = (RefCell::default(), RefCell::default());
        Self { cluster, places, kinds, done, violations }
    }

    /// The faults that took place, and what was seen meanwhile that may not be.
    pub fn into_parts(self) -> (Vec<Fault>, Vec<String>) {
        (self.done.into_inner(), self.violations.into_inner())
    }

    /// One fault of each kind, alone and felt to its end, so that each is measured by itself.
    pub async fn one_by_one(&'a self, chance: &mut StdRng) {
        for kind in self.kinds.clone() {
            let victim = draw_victim(chance, kind);
            self.strike(chance, kind, victim).await;
            sleep(AFTER.to_std().unwrap_or_default()).await;
        }
    }

    /// Faults as they like, until a time; the last ones have ended when this returns.
    pub async fn at_once(&'a self, chance: &mut StdRng, until: Instant) {
        while Instant::now() < until {
            self.round(chance, until.min(Instant::now() + ROUND)).await;
            sleep_until(until.min(Instant::now() + LULL)).await;
        }
    }

    async fn round(&'a self, chance: &mut StdRng, until: Instant) {
        let mut strikes = FuturesUnordered::new();
        let mut victims = Vec::new();
        let mut next = Instant::now();
        while next < until || !strikes.is_empty() {
            tokio::select! {
                biased;
                Some(victim) = strikes.next() => victims.retain(|one| *one != victim),
                () = sleep_until(next), if next < until => {
                    let kind = *self.kinds.choose(chance).unwrap();
                    let victim = draw_victim(chance, kind);
                    if !victims.contains(&victim) {
                        victims.push(victim);
                        strikes.push(self.strike(chance, kind, victim));
                    }
                    next += Duration::from_millis(chance.random_range(BETWEEN_MS));
                }
            }
        }
    }

    /// Draws what a fault is like; it takes place as the future is polled.
    fn strike(&'a self, chance: &mut StdRng, kind: Kind, victim: Victim) -> Strike<'a> {
        let (place, time) = (self.place(victim), draw_time(chance, kind));
        let (ms, server) = (time.as_millis(), chance.random_range(0..SERVERS));
        let number = chance.random_range(0..self.places.len());
        let at = format!("instance {}", victim.number().unwrap_or(number));
        match kind {
            Kind::InstanceKilled => {
                self.note(kind, victim, format!("{at}, away for {ms} ms"), place.kill(time))
            }
            Kind::InstanceFrozen => {
                self.note(kind, victim, format!("{at} for {ms} ms"), place.freeze(time))
            }
            Kind::InstanceReplaced => {
                let at_once = chance.random_bool(0.5);
                let word = if at_once { "before" } else { "after" };
                let replaced = async move {
                    if let Err(violation) = place.replace(at_once).await {
                        self.violations.borrow_mut().push(violation);
                    }
                };
                self.note(
                    kind,
                    victim,
                    format!("{at}, the next one begins {word} its end"),
                    replaced,
                )
            }
            Kind::ServerKilled => {
                let killed = self.cluster.kill(server, time);
                self.note(kind, victim, format!("server {server}, away for {ms} ms"), killed)
            }
            Kind::ServerFrozen => {
                let frozen = self.cluster.freeze(server, time);
                self.note(kind, victim, format!("server {server} for {ms} ms"), frozen)
            }
            Kind::StreamMoved => {
                let stream = *STREAMS.choose(chance).unwrap();
                self.note(kind, victim, stream.to_owned(), self.cluster.step_down(stream))
            }
            Kind::ClusterMoved => {
                self.note(kind, victim, String::new(), self.cluster.step_down_meta())
            }
            Kind::Cut | Kind::Slow | Kind::Mute | Kind::Deaf => {
                self.strike_way(chance, kind, victim, time)
            }
            Kind::ClockSet => {
                let off_ms = chance.random_range(-3000..=3000);
                let set = async move {
                    place.set_clock(off_ms);
                    sleep(time).await;
                };
                self.note(kind, victim, format!("{at} to {off_ms} ms off"), set)
            }
        }
    }

    /// The same for the way of an instance to all servers, or to one.
    fn strike_way(
        &'a self,
        chance: &mut StdRng,
        kind: Kind,
        victim: Victim,
        time: Duration,
    ) -> Strike<'a> {
        let place = self.place(victim);
        let only = chance.random_bool(0.35).then(|| chance.random_range(0..SERVERS));
        let delays = [0, 1].map(|_| Duration::from_millis(chance.random_range(50..=500)));
        let proxies = place.proxies.iter().enumerate();
        let proxies = proxies.filter(move |(n, _)| only.is_none_or(|only| only == *n));
        let struck = async move {
            for (_, proxy) in proxies.clone() {
                match kind {
                    Kind::Cut => proxy.cut(true),
                    Kind::Mute => proxy.up().swallow(true),
                    Kind::Deaf => proxy.down().swallow(true),
                    _ => {
                        proxy.up().delay(delays[0]);
                        proxy.down().delay(delays[1]);
                    }
                }
            }
            sleep(time).await;
            proxies.for_each(|(_, proxy)| proxy.heal());
        };
        let way = only.map_or("all servers".to_owned(), |only| format!("server {only}"));
        let number = victim.number().unwrap_or_default();
        let how = if kind == Kind::Slow { format!(", {delays:?}") } else { String::new() };
        let what = format!("instance {number} and {way} for {} ms{how}", time.as_millis());
        self.note(kind, victim, what, struck)
    }

    fn place(&self, victim: Victim) -> &'a Place {
        &self.places[victim.number().unwrap_or_default()]
    }

    /// A fault that is noted with its times.
    fn note(
        &'a self,
        kind: Kind,
        victim: Victim,
        what: String,
        fault: impl Future<Output = ()> + 'a,
    ) -> Strike<'a> {
        Box::pin(async move {
            let began_at = Utc::now();
            fault.await;
            let instance = victim.number();
            let fault = Fault { kind, instance, what, began_at, ended_at: Utc::now() };
            self.done.borrow_mut().push(fault);
            victim
        })
    }
}

impl Victim {
    /// Which instance it belongs to.
    fn number(self) -> Option<usize> {
        match self {
            Self::Process(n) | Self::Way(n) | Self::Clock(n) => Some(n),
            Self::Server | Self::Leaders => None,
        }
    }
}

fn draw_victim(chance: &mut StdRng, kind: Kind) -> Victim {
    let number = chance.random_range(0..INSTANCES);
    match kind {
        Kind::InstanceKilled | Kind::InstanceFrozen | Kind::InstanceReplaced => {
            Victim::Process(number)
        }
        Kind::ServerKilled | Kind::ServerFrozen => Victim::Server,
        Kind::StreamMoved | Kind::ClusterMoved => Victim::Leaders,
        Kind::Cut | Kind::Slow | Kind::Mute | Kind::Deaf => Victim::Way(number),
        Kind::ClockSet => Victim::Clock(number),
    }
}

/// How long a fault lasts: for some of them longer than silence may, and for some not.
fn draw_time(chance: &mut StdRng, kind: Kind) -> Duration {
    let ms = match kind {
        Kind::InstanceKilled | Kind::ServerKilled => 100..4000,
        Kind::InstanceFrozen => 1000..12_000,
        Kind::ServerFrozen => 1000..6000,
        Kind::Slow => 3000..12_000,
        Kind::Cut => 100..8000,
        Kind::Mute | Kind::Deaf => 1000..10_000,
        // It is over at once, or has been noticed by then.
        _ => 1000..1001,
    };
    Duration::from_millis(chance.random_range(ms))
}
