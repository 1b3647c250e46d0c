//! The service: connect, provision, load, then fire and answer until told to stop.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use tokio::sync::watch as state;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use uuid::Uuid;

use crate::api::{self, Api};
use crate::clock;
use crate::config::Config;
use crate::engine::Engine;
use crate::engine::membership::Members;
use crate::index::Index;
use crate::jetstream::connect::{ConnectError, connect};
use crate::jetstream::history::History;
use crate::jetstream::provision::{ProvisionError, Provisioned, provision};
use crate::jetstream::schedules::Store;
use crate::jetstream::{ACK_TIMEOUT, watch};

/// Pause between tries at start.
const RETRY: Duration = Duration::from_secs(1);
/// Time beyond the drain for saying goodbye.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Publishes that may wait for their acknowledgement: claims, commands and records together.
const MAX_ACKS: usize = 16_384;

/// Why the service cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No connection is possible with these settings.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The streams cannot be used.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// NATS refused a subscription.
    #[error("cannot listen for requests: {0}")]
    Subscribe(#[from] async_nats::SubscribeError),
    /// A part ended that runs as long as the service does.
    #[error("the {part} ended by itself: {reason}")]
    Ended {
        /// The part.
        part: &'static str,
        /// Why.
        reason: String,
    },
    /// A stream that was there a moment ago is not.
    #[error("stream cannot be opened: {0}")]
    Stream(#[from] jetstream::context::GetStreamError),
}

/// Runs an instance until `stop`. `ready` turns true once it fires and answers. `with_example`
/// also creates the example stream of target commands.
///
/// # Errors
/// See [`ServeError`]. NATS being out of reach is none: the service waits for it.
pub async fn serve(
    config: Config,
    with_example: bool,
    ready: state::Sender<bool>,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let connecting = connect(&config.nats, &config.service_name);
    let client = tokio::select! {
        client = connecting => client?,
        () = stop.cancelled() => return Ok(()),
    };
    let js = jetstream::context::ContextBuilder::new()
        .timeout(ACK_TIMEOUT)
        .ack_timeout(ACK_TIMEOUT)
        .max_ack_inflight(MAX_ACKS)
        .build(client.clone());
    let Some(streams) = provisioned(&js, &config, with_example, &stop).await? else {
        return Ok(());
    };

    // The engine goes on while it drains, so what it stands on stops after it.
    let background = CancellationToken::new();
    let _guard = background.clone().drop_guard();
    let (index, changes) = Index::new();
    let (loading, mut loaded) = state::channel(false);
    tokio::spawn(watch::follow(js.clone(), Arc::clone(&index), loading, background.clone()));
    let store = Store::open(js.clone()).await?;
    let history = History::open(js.clone(), background.clone()).await?;
    let members = Members::new(Uuid::new_v4());
    tokio::spawn(members.clone().run(client.clone(), background.clone()));
    let api = Api {
        js: js.clone(),
        store: store.clone(),
        history: history.clone(),
        index: Arc::clone(&index),
        rules: Arc::new(config.rules),
        streams: Arc::new(streams),
        instance: members.me(),
        started_at: clock::now(),
    };
    tokio::select! {
        _ = loaded.wait_for(|loaded| *loaded) => {}
        () = stop.cancelled() => return Ok(()),
    }
    let instance = members.me();
    let drain = config.engine.drain;
    let engine = Engine::new(js, store, history, index, members, config.engine);
    let mut engine = tokio::spawn(engine.run(changes, stop.clone()));
    let listening = api::nats::listen(api, client.clone()).await?;
    let mut answering = tokio::spawn(listening.answer(stop.clone()));
    info!(%instance, version = env!("CARGO_PKG_VERSION"), "ready");
    let _ = ready.send_replace(true);
    let early = tokio::select! {
        // Once told to stop, parts that end do what they should.
        biased;
        () = stop.cancelled() => None,
        done = &mut engine => Some(ServeError::ended("engine", done.err())),
        done = &mut answering => Some(ServeError::ended("service endpoint", done.err())),
    };
    let _ = ready.send_replace(false);
    stop.cancel();
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
        client.flush().await
    };
    match tokio::time::timeout(drain + LAST_WORDS, finish).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "last messages may not have been sent"),
        Err(_) => warn!("stopped without NATS; the next start takes over what is left"),
    }
    background.cancel();
    Ok(())
}

impl ServeError {
    fn ended(part: &'static str, error: Option<tokio::task::JoinError>) -> Self {
        Self::Ended {
            part,
            reason: error.map_or_else(|| "it returned".to_owned(), |e| e.to_string()),
        }
    }
}

/// Waits for JetStream and readies the streams; `None` if told to stop meanwhile.
async fn provisioned(
    js: &jetstream::Context,
    config: &Config,
    with_example: bool,
    stop: &CancellationToken,
) -> Result<Option<Vec<Provisioned>>, ProvisionError> {
    loop {
        match provision(js, config.streams, with_example).await {
            Ok(streams) => return Ok(Some(streams)),
            Err(error @ ProvisionError::Unavailable(_)) => warn!(%error, "waiting for JetStream"),
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(RETRY) => {}
        }
    }
}
