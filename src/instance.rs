//! An instance: the parts that answer and fire, put together over a connection, a clock and a source of random values.
//!
//! The service builds it over NATS, the simulator over a NATS of its own, so what is tried out in the one is what runs
//! in the other. Each step is a function of its own, since the two do different things in between.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch as state;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use crate::api::Api;
use crate::api::error::Complaints;
use crate::api::executions;
use crate::api::schedules::RecentlyShown;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::engine::EngineConfig;
use crate::config::in_force::SettingInForce;
use crate::config::streams::StreamOptions;
use crate::engine::membership::Members;
use crate::engine::{Engine, Parts, Watched};
use crate::health::Health;
use crate::index::Index;
use crate::jetstream::deliver::CommandSender;
use crate::jetstream::history::History;
use crate::jetstream::lines::Lines;
use crate::jetstream::schedules::Store;
use crate::jetstream::watch;
use crate::metrics::Metrics;
use crate::port::answers::Answers;
use crate::port::{Deaf, Nats, Unanswered};
use crate::presence;
use crate::schedule::Rules;

/// Interval between checks of the clock.
const LOOK: Duration = Duration::from_millis(10);
/// Number of checks after which it is logged that NATS has not told the time.
const LOOKS: u32 = 500;

/// What an instance is built on.
pub struct Ground<N: Nats> {
    /// The connection.
    pub nats: N,
    /// The same connection, with separate bounds for what waits to be acknowledged: the bucket must not wait for the
    /// history, nor either for commands.
    pub beside: [N; 2],
    /// The connections that are thrown away together with what they have not sent.
    pub lines: Lines<N>,
    /// Collects answers and refusals.
    pub answers: Answers,
    /// The time.
    pub clock: Clock,
    /// The source of random values.
    pub chance: Chance,
    /// The state of the service.
    pub health: Arc<Health<N>>,
    /// Counters of what it has done.
    pub metrics: Arc<Metrics>,
    /// The settings, as they may be shown.
    pub settings: Vec<SettingInForce>,
    /// Ends everything that runs besides answering and firing.
    pub background: CancellationToken,
}

/// Why an instance could not be put together.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The connection is gone for good.
    #[error("cannot listen: {0}")]
    Deaf(#[from] Deaf),
    /// A stream that existed a moment ago does not any more.
    #[error("stream cannot be opened: {0}")]
    Stream(#[from] Unanswered),
}

/// An instance that has its parts, and neither answers nor fires yet.
pub struct Instance<N: Nats> {
    /// The operations.
    pub api: Arc<Api<N>>,
    members: Members,
    loaded: state::Receiver<bool>,
    changes: UnboundedReceiver<Uuid>,
}

impl<N: Nats> Instance<N> {
    /// Begins to follow the bucket, the history and the other instances.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        ground: Ground<N>,
        rules: Rules,
        streams: StreamOptions,
    ) -> Result<Self, OpenError> {
        let Ground { nats, beside: [for_store, for_history], lines, answers, .. } = ground;
        let Ground { clock, chance, health, metrics, settings, background, .. } = ground;
        let until = || background.clone();
        let (index, changes) = Index::new();
        let (loading, loaded) = state::channel(false);
        let follows = Arc::clone(&index);
        tokio::spawn(watch::follow(nats.clone(), follows, loading, clock.clone(), until()));
        let watched = Arc::clone(&index);
        tokio::spawn(Arc::clone(&health).watch(nats.clone(), watched, streams, until()));
        let writes = || Arc::clone(&health.writes);
        let store = Store::open(for_store, Arc::clone(&index), writes()).await?;
        let history =
            History::open(for_history, lines.clone(), writes(), clock.clone(), until()).await?;
        health.note_following(loaded.clone(), history.loaded());
        let sends = {
            let lines = lines.clone();
            move || lines.is_up()
        };
        let sender =
            CommandSender::open(nats.clone(), answers, lines, clock.clone(), until()).await?;
        let members = Members::new(chance.id(), Arc::clone(&health.load), clock.clone());
        tokio::spawn(members.clone().run(nats.clone(), sends, until()));
        let api = Arc::new(Api {
            nats,
            sender,
            store,
            history,
            index,
            rules: Arc::new(rules),
            instance: members.me(),
            members: Box::new({
                let members = members.clone();
                move || members.all::<N::Guards>()
            }),
            started_at: members.started_at(),
            clock,
            chance,
            health,
            metrics,
            complaints: Complaints::default(),
            recent: RecentlyShown::default(),
            minutes: Arc::default(),
            settings,
        });
        Ok(Self { api, members, loaded, changes })
    }

    /// Waits until all schedules and the time are known.
    pub async fn loaded(&mut self) {
        // Fails only if the sender is gone, at the end of everything.
        let _ = self.loaded.wait_for(|loaded| *loaded).await;
        let mut looks = 0_u32;
        while !self.api.clock.is_sure() {
            looks += 1;
            if looks.is_multiple_of(LOOKS) {
                warn!("waiting for NATS to say what time it is");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The other instances.
    pub fn members(&self) -> Members {
        self.members.clone()
    }

    /// Fires until `stop`, and then drains. It fires nothing before it knows the other instances.
    pub fn fire(
        self,
        config: EngineConfig,
        #[cfg(feature = "otlp")] spans: Option<crate::otlp::Exporter>,
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let api = &self.api;
        let (me, clock) = (self.members.me(), api.clock.clone());
        tokio::spawn(presence::note(api.store.clone(), me, clock, stop.clone()));
        tokio::spawn(executions::drain(Arc::clone(api), stop.clone()));
        let parts = Parts {
            sender: api.sender.clone(),
            store: api.store.clone(),
            history: api.history.clone(),
            index: Arc::clone(&api.index),
            members: self.members,
            clock: api.clock.clone(),
            chance: api.chance.clone(),
        };
        let watched = Watched {
            load: Arc::clone(&api.health.load),
            metrics: Arc::clone(&api.metrics),
            #[cfg(feature = "otlp")]
            spans,
        };
        tokio::spawn(Engine::new(parts, config, watched).run(self.changes, stop))
    }
}
