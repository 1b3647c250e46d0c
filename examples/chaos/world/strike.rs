//! A fault: of which kind it is, what it is done to and for how long, drawn by the seed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nats_scheduler::names;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::cluster::SERVERS;
use crate::checker::{self, FaultKind};

/// How many instances there are.
pub const INSTANCES: usize = 3;
/// The streams, each with a leader of its own.
pub const STREAMS: [&str; 4] = [
    names::SCHEDULES_STREAM,
    names::EXECUTIONS_STREAM,
    names::AUDIT_STREAM,
    names::COMMANDS_STREAM,
];

/// How long an instance may need to find a server again: the client tries now and then.
const FOUND_AGAIN: Duration = Duration::from_secs(2);

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
    /// The machine was too busy. This is not done, but seen.
    Stall,
}

impl Kind {
    /// All that are done.
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
            Self::Stall => "machine too busy",
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
        let (kind, felt) = match self.kind {
            Kind::InstanceKilled => (FaultKind::Death, Duration::ZERO),
            Kind::InstanceFrozen | Kind::Stall => (FaultKind::Suspension, Duration::ZERO),
            Kind::InstanceReplaced => (FaultKind::Stop, Duration::ZERO),
            Kind::Cut | Kind::Mute | Kind::Deaf => (FaultKind::Cut, FOUND_AGAIN),
            // Everything comes, only later.
            Kind::Slow => (FaultKind::Acks, Duration::ZERO),
            Kind::ClockSet => (FaultKind::Clock, Duration::ZERO),
            Kind::ServerKilled | Kind::ServerFrozen => (FaultKind::Outage, FOUND_AGAIN),
            Kind::StreamMoved | Kind::ClusterMoved => (FaultKind::Outage, Duration::ZERO),
        };
        let instance = self.instance.map(|number| number as u64);
        let (from, until) = (self.began_at, self.ended_at + felt);
        checker::Fault { kind, instance, targets: None, from, until }
    }
}

/// What a fault is done to; nothing is done to one thing twice at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The process of an instance.
    Process(usize),
    /// Its way to NATS.
    Way(usize),
    /// The clock of its host.
    Clock(usize),
    /// Any server: two that are away are no cluster.
    Server,
    /// Who leads.
    Leader,
}

/// A fault that is about to take place. Of what is drawn each kind uses a part.
pub struct Strike {
    pub kind: Kind,
    pub victim: Victim,
    pub time: Duration,
    pub server: usize,
    pub stream: &'static str,
    /// The only server that an instance's way leads to while it is broken; all of them where there is none.
    pub only: Option<usize>,
    /// How slow a way is, up and down.
    pub delays: [Duration; 2],
    /// Whether the next instance begins before the end of this one.
    pub at_once: bool,
    pub off_ms: i64,
}

impl Strike {
    /// Draws one.
    pub fn draw(chance: &mut StdRng, kind: Kind) -> Self {
        let server = chance.random_range(0..SERVERS);
        Self {
            kind,
            victim: draw_victim(chance, kind),
            time: draw_time(chance, kind),
            server,
            stream: STREAMS.choose(chance).unwrap(),
            only: chance.random_bool(0.35).then_some(server),
            delays: [0, 1].map(|_| Duration::from_millis(chance.random_range(50..=500))),
            at_once: chance.random_bool(0.5),
            off_ms: chance.random_range(-3000..=3000),
        }
    }

    /// What it is, for people.
    pub fn what(&self) -> String {
        let Self { time, server, off_ms, delays, .. } = self;
        let instance = self.victim.instance().unwrap_or_default();
        let way = self.only.map_or("all servers".to_owned(), |only| format!("server {only}"));
        let order = if self.at_once { "before" } else { "after" };
        match self.kind {
            Kind::InstanceKilled => format!("instance {instance}, away for {time:?}"),
            Kind::InstanceFrozen => format!("instance {instance} for {time:?}"),
            Kind::InstanceReplaced => {
                format!("instance {instance}, the next one begins {order} its end")
            }
            Kind::ServerKilled => format!("server {server}, away for {time:?}"),
            Kind::ServerFrozen => format!("server {server} for {time:?}"),
            Kind::StreamMoved => self.stream.to_owned(),
            Kind::ClusterMoved => "of the cluster".to_owned(),
            Kind::Cut | Kind::Mute | Kind::Deaf => {
                format!("between instance {instance} and {way} for {time:?}")
            }
            Kind::Slow => {
                format!(
                    "between instance {instance} and {way} for {time:?}: {delays:?} up and down"
                )
            }
            Kind::ClockSet => format!("of instance {instance} to {off_ms} ms off"),
            Kind::Stall => String::new(),
        }
    }
}

impl Victim {
    /// Which instance it belongs to.
    pub fn instance(self) -> Option<usize> {
        match self {
            Self::Process(n) | Self::Way(n) | Self::Clock(n) => Some(n),
            Self::Server | Self::Leader => None,
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
        Kind::StreamMoved | Kind::ClusterMoved | Kind::Stall => Victim::Leader,
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
