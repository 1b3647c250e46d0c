//! The service: connect, provision, load, then fire and answer until told to stop.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream;
use tokio::sync::watch as state;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api::Api;
use crate::api::error::Complaints;
use crate::api::http::{Http, HttpError};
use crate::api::nats::Requests;
use crate::api::schedules::RecentlyShown;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::Config;
use crate::engine::membership::Members;
use crate::engine::{Engine, Parts, Watched};
use crate::health::Health;
use crate::index::Index;
use crate::jetstream::adapter::JetStream;
use crate::jetstream::answers::Answers;
use crate::jetstream::connect::{ConnectError, connect};
use crate::jetstream::deliver::Delivery;
use crate::jetstream::history::History;
use crate::jetstream::lines::Lines;
use crate::jetstream::provision::{ProvisionError, provision};
use crate::jetstream::reminder::Reminder;
use crate::jetstream::schedules::Store;
use crate::jetstream::watch;
use crate::load::Load;
use crate::metrics::Metrics;
#[cfg(feature = "otlp")]
use crate::otlp::Exporter;
use crate::port::{Deaf, Nats, Unanswered};

/// Pause between tries at start.
const RETRY: Duration = Duration::from_secs(1);
/// Pause between looks at the clock at start.
const LOOK: Duration = Duration::from_millis(10);
/// Time beyond the drain for saying goodbye.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No connection is possible with these settings.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// HTTP cannot be offered.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Spans cannot be sent.
    #[cfg(feature = "otlp")]
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Spans(#[from] crate::otlp::OtlpError),
    /// The streams cannot be used.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The connection is gone for good.
    #[error("cannot listen: {0}")]
    Deaf(#[from] Deaf),
    /// A part ended that runs as long as the service does.
    #[error("the {part} ended by itself: {reason}")]
    Ended {
        /// The part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// The client's task panicked over what came: nothing can be sent or heard over the connection any more.
    #[error("the connection to NATS is gone for good")]
    ConnectionGone,
    /// A stream that was there a moment ago is not.
    #[error("stream cannot be opened: {0}")]
    Stream(#[from] Unanswered),
}

/// An instance that fires and answers.
#[derive(Debug)]
pub struct Running {
    /// Where HTTP listens, as a URL, unless it is off.
    pub http: Option<String>,
    load: Arc<Load>,
}

impl Running {
    /// How many executions it acts on at this moment.
    pub fn executions(&self) -> usize {
        self.load.executions.load(Ordering::Relaxed)
    }
}

/// Runs an instance until `stop`. `running` is set once it fires and answers, over everything that it was told to
/// listen on. `with_example` also creates the example stream of target commands.
///
/// # Errors
/// See [`ServeError`]. NATS being out of reach is none: the service waits for it.
pub async fn serve(
    config: Config,
    with_example: bool,
    running: state::Sender<Option<Running>>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let chance = Chance::new();
    let clock = Clock::new(chance.clone());
    let (health, counts) = (Arc::new(Health::new(clock.clone())), Arc::new(Metrics::new()));
    // Probes are answered from before NATS is reached until all is done.
    let goodbye = CancellationToken::new();
    let _goodbye_guard = goodbye.clone().drop_guard();
    let http =
        config.http.clone().map(|http| Http::new(http, Arc::clone(&health), Arc::clone(&counts)));
    let (mut facade, http_url) = match &http {
        Some(http) => {
            let listening = Arc::clone(http).start(goodbye.clone()).await?;
            (listening.serving, Some(listening.url))
        }
        None => (tokio::spawn(std::future::pending()), None),
    };
    let answers = Answers::default();
    let requests_name = format!("{} requests", config.service_name);
    // The engine goes on while it drains, so what it stands on stops after it.
    let background = CancellationToken::new();
    let _guard = background.clone().drop_guard();
    let connecting = async {
        let connection = connect(&config.nats, &config.service_name, &answers).await?;
        let nats = JetStream::new(connection.clone(), config.nats.clone());
        // Nothing is delivered over this one.
        let for_requests = connect(&config.nats, &requests_name, &Answers::default()).await?;
        let for_requests = JetStream::new(for_requests, config.nats.clone());
        let name = format!("{} commands", config.service_name);
        let lines = Lines::open(nats.clone(), name, background.clone()).await;
        Ok::<_, ConnectError>((connection, nats, for_requests, lines))
    };
    let (connection, nats, for_requests, lines) = tokio::select! {
        all = connecting => all?,
        () = stop.cancelled() => return Ok(()),
    };
    health.connected(nats.clone());
    if !provisioned(nats.context(), &config, with_example, &stop).await? {
        return Ok(());
    }

    let (index, changes) = Index::new();
    let (loading, mut loaded) = state::channel(false);
    tokio::spawn(watch::follow(
        nats.clone(),
        Arc::clone(&index),
        loading,
        clock.clone(),
        background.clone(),
    ));
    let watching = Arc::clone(&health).watch(
        nats.clone(),
        Arc::clone(&index),
        config.streams,
        background.clone(),
    );
    tokio::spawn(watching);
    // Each with a bound of its own for what waits to be acknowledged: the bucket must not wait for the history.
    let opening = async {
        let (followed, writes) = (Arc::clone(&index), Arc::clone(&health.writes));
        let store = Store::open(nats.beside(), followed, Arc::clone(&writes)).await?;
        let (clock, until) = (clock.clone(), background.clone());
        let history = History::open(nats.beside(), writes, clock, until).await?;
        Ok::<_, Unanswered>((store, history))
    };
    let (store, history) = tokio::select! {
        opened = opening => opened?,
        () = stop.cancelled() => return Ok(()),
    };
    health.follows(loaded.clone(), history.loaded());
    let delivery =
        Delivery::open(nats.clone(), answers, lines, clock.clone(), background.clone()).await?;
    let members = Members::new(chance.id(), Arc::clone(&health.load), clock.clone());
    tokio::spawn(members.clone().run(nats.clone(), background.clone()));
    let api = Arc::new(Api {
        nats: nats.clone(),
        delivery: delivery.clone(),
        store: store.clone(),
        history: history.clone(),
        index: Arc::clone(&index),
        rules: Arc::new(config.rules),
        instance: members.me(),
        started_at: clock.now(),
        clock: clock.clone(),
        chance: chance.clone(),
        health: Arc::clone(&health),
        metrics: Arc::clone(&counts),
        complaints: Complaints::default(),
        recent: RecentlyShown::default(),
    });
    tokio::select! {
        () = async {
            let _ = loaded.wait_for(|loaded| *loaded).await;
            time_known(&clock).await;
        } => {}
        () = stop.cancelled() => return Ok(()),
        () = connection.gone() => return Err(ServeError::ConnectionGone),
    }
    let instance = members.me();
    let drain = config.engine.drain;
    #[cfg(feature = "otlp")]
    let spans = match &config.otlp_endpoint {
        Some(endpoint) => Some(Exporter::new(endpoint, &config.service_name, instance)?),
        None => None,
    };
    #[cfg(not(feature = "otlp"))]
    if config.otlp_endpoint.is_some() {
        warn!("OTEL_EXPORTER_OTLP_ENDPOINT is set, and this build is without the feature otlp");
    }
    let watched = Watched {
        load: Arc::clone(&health.load),
        metrics: counts,
        #[cfg(feature = "otlp")]
        spans: spans.clone(),
    };
    let others = members.clone();
    let parts = Parts { delivery, store, history, index, members, clock, chance };
    let engine = Engine::new(parts, config.engine, watched);
    let mut engine = tokio::spawn(engine.run(changes, stop.clone()));
    // Before it knows the others it fires nothing, so it is not there for anybody.
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = others.introduced() => {}
    }
    let requests = Requests::listen(Arc::clone(&api), for_requests).await?;
    let mut answering = tokio::spawn(requests.answer(config.nats, requests_name, stop.clone()));
    if let Some(http) = &http {
        http.open(api);
    }
    health.runs();
    info!(%instance, version = env!("CARGO_PKG_VERSION"), "ready");
    running.send_replace(Some(Running { http: http_url, load: Arc::clone(&health.load) }));
    let early = tokio::select! {
        // Once told to stop, parts that end do what they should.
        biased;
        () = stop.cancelled() => None,
        done = &mut engine => Some(ServeError::ended("engine", done.err())),
        done = &mut answering => Some(ServeError::ended("service endpoint", done.err())),
        done = &mut facade => Some(facade_ended(done)),
        () = connection.gone() => Some(ServeError::ConnectionGone),
    };
    // Whoever sends requests hears of it first.
    health.stops(drain);
    stop.cancel();
    if let Some(error @ ServeError::ConnectionGone) = early {
        // Nothing that is under way can be finished.
        return Err(error);
    }
    if let Some(error) = early {
        // Whichever part is left finishes what it has begun.
        let _ = tokio::time::timeout(drain, async {
            if !engine.is_finished() {
                let _ = engine.await;
            }
        })
        .await;
        return Err(error);
    }
    // The engine keeps its own deadline; nothing else may outlast it, even without a connection.
    let finish = async {
        if answering.await.is_err() {
            warn!("the service endpoints did not stop cleanly");
        }
        if engine.await.is_err() {
            warn!("the engine did not stop cleanly");
        }
        nats.flush().await
    };
    let asked = async {
        if let Some(http) = &http
            && tokio::time::timeout(drain, http.idle()).await.is_err()
        {
            warn!("requests over HTTP were still under way");
        }
    };
    let (_, finished) = tokio::join!(asked, tokio::time::timeout(drain + LAST_WORDS, finish));
    match finished {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "last messages may not have been sent"),
        Err(_) => warn!("stopped without NATS; the next start takes over what is left"),
    }
    #[cfg(feature = "otlp")]
    if let Some(spans) = spans {
        spans.shutdown().await;
    }
    background.cancel();
    goodbye.cancel();
    if http.is_some() {
        let _ = tokio::time::timeout(LAST_WORDS, facade).await;
    }
    Ok(())
}

/// Waits until NATS has said what time it is.
async fn time_known(clock: &Clock) {
    let mut tries = 0_u32;
    while !clock.is_sure() {
        tries += 1;
        if tries.is_multiple_of(500) {
            warn!("waiting for NATS to say what time it is");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn facade_ended(done: Result<std::io::Result<()>, tokio::task::JoinError>) -> ServeError {
    let reason = match done {
        Ok(Ok(())) => "it returned".to_owned(),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    ServeError::Ended { part: "HTTP server", reason }
}

impl ServeError {
    fn ended(part: &'static str, error: Option<tokio::task::JoinError>) -> Self {
        Self::Ended {
            part,
            reason: error.map_or_else(|| "it returned".to_owned(), |e| e.to_string()),
        }
    }
}

/// Waits for JetStream and readies the streams; false if told to stop meanwhile.
async fn provisioned(
    js: &jetstream::Context,
    config: &Config,
    with_example: bool,
    stop: &CancellationToken,
) -> Result<bool, ProvisionError> {
    let mut said = Reminder::default();
    loop {
        match provision(js, config.streams, with_example).await {
            Ok(()) => return Ok(true),
            Err(error) if error.may_pass() => {
                let error = error.to_string();
                if said.is_due(&error, Instant::now()) {
                    warn!(error, "waiting for JetStream");
                }
            }
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}
