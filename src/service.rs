//! The service: connects, provisions, loads, then fires and answers until told to stop.

mod error;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::jetstream;
use futures::future::BoxFuture;
use tokio::sync::watch as state;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};
#[cfg(feature = "otlp")]
use uuid::Uuid;

pub use error::ServeError;
use error::facade_ended;

use crate::api::http::Http;
use crate::api::nats::Requests;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::config::Config;
use crate::dashboard;
use crate::health::Health;
use crate::instance::{Ground, Instance};
use crate::jetstream::adapter::JetStream;
use crate::jetstream::connect::{ConnectError, Connection, connect};
use crate::jetstream::lines::Lines;
use crate::jetstream::provision::{ProvisionError, provision};
use crate::jetstream::reminder::Reminder;
use crate::load::Load;
use crate::metrics::Metrics;
#[cfg(feature = "otlp")]
use crate::otlp::Exporter;
use crate::port::Nats as _;
use crate::port::answers::Answers;
use crate::url_file::UrlFile;

/// Pause between attempts at start.
const RETRY: Duration = Duration::from_secs(1);
/// Time beyond the drain for saying goodbye.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// An instance that fires and answers.
#[derive(Debug)]
pub struct Running {
    /// The URL where HTTP listens, unless it is off.
    pub http: Option<String>,
    load: Arc<Load>,
}

impl Running {
    /// How many executions the instance acts on at this moment.
    pub fn executions(&self) -> usize {
        self.load.executions.load(Ordering::Relaxed)
    }
}

/// Runs an instance until `stop`. `running` is set once it fires and answers on everything that it was told to listen
/// on. `with_example` also creates the example stream of target commands.
///
/// # Errors
/// See [`ServeError`]. NATS being out of reach is not an error: the service waits for it.
pub fn serve(
    config: Config,
    with_example: bool,
    running: state::Sender<Option<Running>>,
    stop: CancellationToken,
) -> BoxFuture<'static, Result<(), ServeError>> {
    // Boxed, so that the service is compiled in this crate, and not in each program that runs one.
    Box::pin(run(config, with_example, running, stop))
}

async fn run(
    config: Config,
    with_example: bool,
    running: state::Sender<Option<Running>>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let face = Face::start(&config).await?;
    let Some(mut service) = Service::start(face, config, with_example, &stop).await? else {
        return Ok(());
    };
    running.send_replace(Some(service.running()));
    let early = service.run(&stop).await;
    // Readiness ends first, so that those who send requests learn of it before answering stops.
    service.face.health.note_stopping(service.drain);
    stop.cancel();
    service.drain(early).await
}

/// What exists from before NATS is reached until everything is done, so that probes are answered all the time.
struct Face {
    clock: Clock,
    chance: Chance,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    http: Option<Arc<Http>>,
    url: Option<String>,
    url_file: Option<UrlFile>,
    /// Ends when the HTTP server does.
    serving: JoinHandle<io::Result<()>>,
    /// Ends the HTTP server when dropped.
    goodbye: DropGuard,
}

impl Face {
    async fn start(config: &Config) -> Result<Self, ServeError> {
        let chance = Chance::new();
        let clock = Clock::new(chance.clone());
        let (health, metrics) = (Arc::new(Health::new(clock.clone())), Arc::new(Metrics::new()));
        let goodbye = CancellationToken::new();
        let http = config.http.clone();
        let http = http.map(|http| Http::new(http, Arc::clone(&health), Arc::clone(&metrics)));
        let (serving, url) = match &http {
            Some(http) => {
                let config = config.http.as_ref().and_then(|http| http.dashboard);
                let pages = config.map(|config| dashboard::pages(http, config)).unwrap_or_default();
                let listening = Arc::clone(http).start(pages, goodbye.clone()).await?;
                (listening.serving, Some(listening.url))
            }
            None => (tokio::spawn(std::future::pending()), None),
        };
        let goodbye = goodbye.drop_guard();
        let path = config.http.as_ref().and_then(|http| http.url_file.as_ref());
        let url_file = path.zip(url.as_ref()).map(|(path, url)| UrlFile::write(path, url));
        let url_file = url_file.transpose()?;
        Ok(Self { clock, chance, health, metrics, http, url, url_file, serving, goodbye })
    }
}

/// The connections of an instance.
struct Connected {
    connection: Connection,
    nats: JetStream,
    /// For requests: nothing is delivered over this one.
    responder: JetStream,
    lines: Lines<JetStream>,
    answers: Answers,
}

impl Connected {
    async fn connect(config: &Config, stop: CancellationToken) -> Result<Self, ConnectError> {
        let answers = Answers::default();
        let connection = connect(&config.nats, &config.service_name, &answers).await?;
        let nats = JetStream::new(connection.clone(), config.nats.clone());
        let responder = connect(&config.nats, &responder_name(config), &Answers::default()).await?;
        let responder = JetStream::new(responder, config.nats.clone());
        let name = format!("{} commands", config.service_name);
        let lines = Lines::open(nats.clone(), name, stop).await;
        Ok(Self { connection, nats, responder, lines, answers })
    }
}

/// The name of the connection that requests come over.
fn responder_name(config: &Config) -> String {
    format!("{} requests", config.service_name)
}

/// An instance with its transports.
struct Service {
    /// Ends what runs besides answering and firing.
    background: DropGuard,
    face: Face,
    connection: Connection,
    nats: JetStream,
    engine: JoinHandle<()>,
    answering: JoinHandle<()>,
    drain: Duration,
    #[cfg(feature = "otlp")]
    spans: Option<Exporter>,
}

/// Puts an instance together, and reads what the streams hold.
async fn loaded(
    ground: Ground<JetStream>,
    config: &Config,
) -> Result<Instance<JetStream>, ServeError> {
    let mut instance = Instance::open(ground, config.rules.clone(), config.streams).await?;
    instance.loaded().await;
    Ok(instance)
}

impl Service {
    /// Connects, provisions the streams, reads what they hold, and begins to fire and to answer; `None` if told to stop
    /// meanwhile.
    async fn start(
        face: Face,
        config: Config,
        with_example: bool,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, ServeError> {
        // The engine goes on while it drains, so what it is built on stops after it.
        let until = CancellationToken::new();
        let background = until.clone().drop_guard();
        let connecting = Connected::connect(&config, until.clone());
        let Some(connected) = stop.run_until_cancelled(connecting).await else { return Ok(None) };
        let Connected { connection, nats, responder, lines, answers } = connected?;
        face.health.note_connected(nats.clone());
        if !provisioned(nats.context(), &config, with_example, stop).await? {
            return Ok(None);
        }
        let ground = Ground {
            beside: [nats.beside(), nats.beside()],
            nats: nats.clone(),
            lines,
            answers,
            clock: face.clock.clone(),
            chance: face.chance.clone(),
            health: Arc::clone(&face.health),
            metrics: Arc::clone(&face.metrics),
            settings: config.in_force.clone(),
            background: until,
        };
        let loading = loaded(ground, &config);
        let instance = tokio::select! {
            instance = loading => instance?,
            () = stop.cancelled() => return Ok(None),
            () = connection.gone() => return Err(ServeError::ConnectionGone),
        };
        let (api, others) = (Arc::clone(&instance.api), instance.members());
        #[cfg(feature = "otlp")]
        let spans = spans(&config, api.instance)?;
        #[cfg(not(feature = "otlp"))]
        if config.otlp_endpoint.is_some() {
            warn!("OTEL_EXPORTER_OTLP_ENDPOINT is set, and this build is without the feature otlp");
        }
        let (drain, name) = (config.engine.drain, responder_name(&config));
        let engine = instance.fire(
            config.engine,
            #[cfg(feature = "otlp")]
            spans.clone(),
            stop.clone(),
        );
        // It fires nothing before it knows the others, so it is not ready before that.
        let _ = stop.run_until_cancelled(others.introduced()).await;
        let requests = Requests::listen(Arc::clone(&api), responder).await?;
        let answering = tokio::spawn(requests.answer(config.nats, name, stop.clone()));
        let id = api.instance;
        if let Some(http) = &face.http {
            http.open(api);
        }
        face.health.note_running();
        info!(instance = %id, version = env!("CARGO_PKG_VERSION"), "ready");
        Ok(Some(Self {
            background,
            face,
            connection,
            nats,
            engine,
            answering,
            drain,
            #[cfg(feature = "otlp")]
            spans,
        }))
    }

    fn running(&self) -> Running {
        Running { http: self.face.url.clone(), load: Arc::clone(&self.face.health.load) }
    }

    /// Fires and answers until `stop`, or until a part ends that should not.
    async fn run(&mut self, stop: &CancellationToken) -> Option<ServeError> {
        tokio::select! {
            // Once told to stop, parts are expected to end.
            biased;
            () = stop.cancelled() => None,
            done = &mut self.engine => Some(ServeError::ended("engine", done.err())),
            done = &mut self.answering => Some(ServeError::ended("service endpoint", done.err())),
            done = &mut self.face.serving => Some(facade_ended(done)),
            () = self.connection.gone() => Some(ServeError::ConnectionGone),
        }
    }

    /// Finishes what is under way and says goodbye; if a part has ended `early`, as far as the others can.
    async fn drain(self, early: Option<ServeError>) -> Result<(), ServeError> {
        // Later bindings are dropped first: probes outlast what runs in the background, whichever way this ends.
        let Self { face, background, engine, answering, drain, nats, .. } = self;
        if let Some(error) = early {
            // Without a connection nothing that is under way can be finished.
            if !matches!(error, ServeError::ConnectionGone) && !engine.is_finished() {
                let _ = timeout(drain, engine).await;
            }
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
            if let Some(http) = &face.http
                && timeout(drain, http.idle()).await.is_err()
            {
                warn!("requests over HTTP were still under way");
            }
        };
        match tokio::join!(asked, timeout(drain + LAST_WORDS, finish)).1 {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "last messages may not have been sent"),
            Err(_) => warn!("stopped without NATS; the next start takes over what is left"),
        }
        #[cfg(feature = "otlp")]
        if let Some(spans) = self.spans {
            spans.shutdown().await;
        }
        drop(background);
        drop(face.url_file);
        drop(face.goodbye);
        if face.http.is_some() {
            let _ = timeout(LAST_WORDS, face.serving).await;
        }
        Ok(())
    }
}

#[cfg(feature = "otlp")]
fn spans(config: &Config, instance: Uuid) -> Result<Option<Exporter>, ServeError> {
    let Some(endpoint) = &config.otlp_endpoint else { return Ok(None) };
    Ok(Some(Exporter::new(endpoint, &config.service_name, instance)?))
}

/// Waits for JetStream and prepares the streams; returns false if told to stop meanwhile.
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
