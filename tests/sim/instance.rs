//! One instance of the service over the simulated NATS: the same parts as in a process, without its transports.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use nats_scheduler::api::permit::Permit;
use nats_scheduler::api::{Api, Caller};
use nats_scheduler::chance::Chance;
use nats_scheduler::clock::Clock;
use nats_scheduler::config::engine::EngineConfig;
use nats_scheduler::config::streams::StreamOptions;
use nats_scheduler::health::Health;
use nats_scheduler::instance::{Ground, Instance as Parts};
use nats_scheduler::jetstream::lines::Lines;
use nats_scheduler::metrics::Metrics;
use nats_scheduler::port::answers::Answers;
use nats_scheduler::schedule::{Rules, TargetPattern};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::nats::{HostClock, Server, Simulated};

/// How long one that stops has to finish what is under way. Others take over what is left once it is gone.
pub const DRAIN: Duration = Duration::from_secs(8);

/// A running instance.
pub struct Instance {
    pub api: Arc<Api<Simulated>>,
    stop: CancellationToken,
    background: CancellationToken,
    engine: JoinHandle<()>,
}

impl Instance {
    /// Starts one; returns once it fires.
    pub async fn start(server: &Server, seed: u64) -> Self {
        let host = HostClock::off_by(server, TimeDelta::zero());
        Self::start_over(server.connect(), host, seed).await.expect("it starts")
    }

    /// The same over a connection, on a host with a clock; none if NATS does not let it start.
    pub async fn start_over(nats: Simulated, host: HostClock, seed: u64) -> Option<Self> {
        Self::start_with(nats, host, seed, Vec::new()).await
    }

    /// The same with limits on commands per second to targets.
    pub async fn start_with(
        nats: Simulated,
        host: HostClock,
        seed: u64,
        rates: Vec<(TargetPattern, f64)>,
    ) -> Option<Self> {
        let chance = Chance::seeded(seed);
        let clock = Clock::of(chance.clone(), move || host.now());
        let (health, metrics) = (Arc::new(Health::new(clock.clone())), Arc::new(Metrics::new()));
        let background = CancellationToken::new();
        let is_begun = background.clone().drop_guard();
        let lines = Lines::open(nats.clone(), "commands".to_owned(), background.clone()).await;
        health.note_connected(nats.clone());
        let answers = Answers::default();
        nats.tells(&answers);
        let ground = Ground {
            nats: nats.clone(),
            beside: [nats.clone(), nats.clone()],
            lines,
            answers,
            clock,
            chance,
            health,
            metrics,
            settings: Vec::new(),
            background: background.clone(),
        };
        let streams = StreamOptions { replicas: 1, history_days: 30 };
        let mut instance = Parts::open(ground, Rules::default(), streams).await.ok()?;
        instance.loaded().await;
        instance.members().introduced().await;
        let (api, stop) = (Arc::clone(&instance.api), CancellationToken::new());
        let engine = instance.fire(
            EngineConfig { rates, ..config() },
            #[cfg(feature = "otlp")]
            None,
            stop.clone(),
        );
        // Requests are heard from the start: nothing here is a transport.
        api.health.note_hearing(Some(nats));
        api.health.note_running();
        is_begun.disarm();
        Some(Self { api, stop, background, engine })
    }

    /// Who asks.
    pub fn caller(&self) -> Caller {
        let drawn = self.api.chance.id().to_string();
        Caller {
            actor: None,
            creator: None,
            correlation_id: drawn.clone(),
            request_id: drawn,
            message_id: None,
            trace: None,
            permit: Permit::default(),
        }
    }

    /// Lets go of it once its connection is dead: nothing of what it still does is seen by anybody.
    pub fn die(self) {
        self.engine.abort();
        self.background.cancel();
    }

    /// Stops it, as SIGTERM does.
    pub async fn stop(self) {
        self.stop.cancel();
        self.engine.await.unwrap();
        self.background.cancel();
    }
}

fn config() -> EngineConfig {
    EngineConfig {
        max_in_flight: 2048,
        request_pool: 100,
        lease: Duration::from_secs(300),
        drain: DRAIN,
        deleted_retention: chrono::Duration::days(30),
        rates: Vec::new(),
        allowed_targets: TargetPattern::parse("cmd.>").into_iter().collect(),
    }
}

/// Starts instances, each with its connection.
#[allow(dead_code, reason = "the program that looks for faults starts its own")]
pub async fn start(server: &Server, count: u64) -> Vec<(Instance, Simulated)> {
    let mut instances = Vec::new();
    for n in 0..count {
        let nats = server.connect();
        let clock = HostClock::off_by(server, TimeDelta::zero());
        let instance = Instance::start_over(nats.clone(), clock, n).await.unwrap();
        instances.push((instance, nats));
    }
    instances
}
