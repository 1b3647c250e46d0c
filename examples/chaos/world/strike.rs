//! A fault: its kind, its victim and its duration, drawn from the seed.

use std::time::Duration;

use chrono::{DateTime, Utc};
use nats_scheduler::names;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use super::cluster::SERVERS;
use crate::checker::{self, FaultKind};

/// Number of instances.
pub const INSTANCES: usize = 3;
/// The streams, each with a leader of its own.
pub const STREAMS: [&str; 4] = [
    names::SCHEDULES_STREAM,
    names::EXECUTIONS_STREAM,
    names::AUDIT_STREAM,
    names::COMMANDS_STREAM,
];

/// Time that an instance may need to find a server again: the client tries now and then.
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
    /// The machine was too busy. This is observed, not caused.
    Stall,
}

impl Kind {
    /// All kinds that are caused.
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

    /// Name for people.
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
    /// The affected instance, if there is one.
    pub instance: Option<usize>,
    /// Description of the victim, for people.
    pub what: String,
    pub began_at: DateTime<Utc>,
    pub ended_at: DateTime<Utc>,
}

impl Fault {
    /// The same fault in the form that the checker expects.
    pub fn evidence(&self) -> checker::Fault {
        let (kind, felt) = match self.kind {
            Kind::InstanceKilled => (FaultKind::Death, Duration::ZERO),
            Kind::InstanceFrozen | Kind::Stall => (FaultKind::Suspension, Duration::ZERO),
            Kind::InstanceReplaced => (FaultKind::Stop, Duration::ZERO),
            Kind::Cut | Kind::Mute | Kind::Deaf => (FaultKind::Cut, FOUND_AGAIN),
            // Everything arrives, only later.
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

/// Victim of a fault; nothing suffers two faults at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The process of an instance.
    Process(usize),
    /// Its way to NATS.
    Way(usize),
    /// The clock of its host.
    Clock(usize),
    /// Any server: without two of them there is no cluster.
    Server,
    /// The leader of a stream or of the cluster.
    Leader,
}

/// A fault that is about to take place. Each kind uses some of the drawn values.
pub struct Strike {
    pub kind: Kind,
    pub victim: Victim,
    pub time: Duration,
    pub server: usize,
    pub stream: &'static str,
    /// The one server to which an instance's way is disturbed; all of them if there is none.
    pub only: Option<usize>,
    /// Delays of a way, up and down.
    pub delays: [Duration; 2],
    /// Whether the next instance starts before this one has ended.
    pub at_once: bool,
    pub off_ms: i64,
}

impl Strike {
    /// Draws a fault of a kind.
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

    /// Description for people.
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
    /// The instance that the victim belongs to.
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

/// Duration of a fault: some last longer than silence is tolerated, others do not.
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
