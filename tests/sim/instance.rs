//! One instance of the service over the simulated NATS: the same parts as in a process, without its transports.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use nats_scheduler::api::error::Complaints;
use nats_scheduler::api::permit::Permit;
use nats_scheduler::api::schedules::RecentlyShown;
use nats_scheduler::api::{Api, Caller};
use nats_scheduler::chance::Chance;
use nats_scheduler::clock::Clock;
use nats_scheduler::config::engine::EngineConfig;
use nats_scheduler::config::streams::StreamOptions;
use nats_scheduler::engine::membership::Members;
use nats_scheduler::engine::{Engine, Parts, Watched};
use nats_scheduler::health::Health;
use nats_scheduler::index::Index;
use nats_scheduler::jetstream::answers::Answers;
use nats_scheduler::jetstream::deliver::Delivery;
use nats_scheduler::jetstream::history::History;
use nats_scheduler::jetstream::lines::Lines;
use nats_scheduler::jetstream::schedules::Store;
use nats_scheduler::jetstream::watch;
use nats_scheduler::metrics::Metrics;
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
        let chance = Chance::seeded(seed);
        let clock = Clock::of(chance.clone(), move || host.now());
        let (health, metrics) = (Arc::new(Health::new(clock.clone())), Arc::new(Metrics::new()));
        let background = CancellationToken::new();
        let is_begun = background.clone().drop_guard();
        let lines = Lines::open(nats.clone(), "commands".to_owned(), background.clone()).await;
        health.connected(nats.clone());
        let (index, changes) = Index::new();
        let (loading, mut loaded) = tokio::sync::watch::channel(false);
        let (follows, until) = (Arc::clone(&index), background.clone());
        tokio::spawn(watch::follow(nats.clone(), follows, loading, clock.clone(), until));
        let options = StreamOptions { replicas: 1, history_days: 30 };
        let (watched, until) = (Arc::clone(&index), background.clone());
        tokio::spawn(Arc::clone(&health).watch(nats.clone(), watched, options, until));
        let store =
            Store::open(nats.clone(), Arc::clone(&index), Arc::clone(&health.writes)).await.ok()?;
        let (writes, until) = (Arc::clone(&health.writes), background.clone());
        let history = History::open(nats.clone(), writes, clock.clone(), until).await.ok()?;
        health.follows(loaded.clone(), history.loaded());
        let (answers, until) = (Answers::default(), background.clone());
        nats.tells(&answers);
        let delivery =
            Delivery::open(nats.clone(), answers, lines, clock.clone(), until).await.ok()?;
        let members = Members::new(chance.id(), Arc::clone(&health.load), clock.clone());
        tokio::spawn(members.clone().run(nats.clone(), background.clone()));
        let api = Arc::new(Api {
            nats: nats.clone(),
            delivery: delivery.clone(),
            store: store.clone(),
            history: history.clone(),
            index: Arc::clone(&index),
            rules: Arc::new(Rules::default()),
            clock: clock.clone(),
            chance: chance.clone(),
            instance: members.me(),
            started_at: clock.now(),
            health: Arc::clone(&health),
            metrics: Arc::clone(&metrics),
            complaints: Complaints::default(),
            recent: RecentlyShown::default(),
        });
        loaded.wait_for(|loaded| *loaded).await.ok()?;
        while !clock.is_sure() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let load = Arc::clone(&health.load);
        let watched = Watched {
            load,
            metrics,
            #[cfg(feature = "otlp")]
            spans: None,
        };
        members.introduced().await;
        let parts = Parts { delivery, store, history, index, members, clock, chance };
        let stop = CancellationToken::new();
        let engine = Engine::new(parts, config(), watched);
        let engine = tokio::spawn(engine.run(changes, stop.clone()));
        // Requests are heard from the start: nothing here is a transport.
        api.health.hears_requests(Some(nats));
        api.health.runs();
        is_begun.disarm();
        Some(Self { api, stop, background, engine })
    }

    /// Who asks.
    pub fn caller(&self) -> Caller {
        let drawn = self.api.chance.id().to_string();
        Caller {
            actor: None,
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
