//! A connection that is never made good again.
//!
//! Its client's tasks run on a runtime of their own, in a thread of their own. To throw it away
//! is to end that runtime: all its tasks are dropped where they stand, with their queues, their buffers
//! and the socket, also where the socket takes nothing and the client would wait to write. The client
//! itself never reconnects: it is left waiting at the first attempt, until it is dropped.

use std::io;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ServerAddr};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::nats::NatsConfig;
use crate::jetstream::connect::{OnceError, connect_once};
use crate::port::answers::Answers;

/// Pause between looks at the client's state, in case its word of a break is lost.
const LOOK: Duration = Duration::from_millis(200);
/// How long the main connection may take to say where servers are.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no such connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThrowawayError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] OnceError),
    /// The system has no thread for it.
    #[error("no thread: {0}")]
    Thread(#[from] io::Error),
    /// Its thread ended.
    #[error("its thread ended")]
    Ended,
}

/// Connects once. The connection lasts until it breaks or `broken` is cancelled, which it is then.
pub(crate) async fn throwaway(
    config: NatsConfig,
    name: String,
    answers: Answers,
    broken: CancellationToken,
) -> Result<Client, ThrowawayError> {
    let (sender, opened) = oneshot::channel();
    // Who stops waiting for it wants none.
    let unwanted = broken.clone().drop_guard();
    std::thread::Builder::new()
        .name("commands".to_owned())
        .spawn(move || run(&config, &name, &answers, &broken, sender))?;
    let client = opened.await.map_err(|_| ThrowawayError::Ended)??;
    unwanted.disarm();
    Ok(client)
}

/// Runs a client until its connection breaks.
fn run(
    config: &NatsConfig,
    name: &str,
    answers: &Answers,
    broken: &CancellationToken,
    opened: oneshot::Sender<Result<Client, ThrowawayError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = opened.send(Err(error.into()));
            return;
        }
    };
    let _ended = broken.clone().drop_guard();
    runtime.block_on(async {
        let client = tokio::select! {
            client = connect_once(config, name, answers, broken) => client.map_err(Into::into),
            () = broken.cancelled() => Err(ThrowawayError::Ended),
        };
        let known = client.as_ref().ok().cloned();
        if opened.send(client).is_err() {
            return;
        }
        while let Some(client) = &known
            && client.connection_state() == State::Connected
            && tokio::time::timeout(LOOK, broken.cancelled()).await.is_err()
        {}
    });
    // Not waiting for a look-up of a name that hangs.
    runtime.shutdown_background();
}

/// Where servers are: also those that servers have told of, since the ones that we were told of may be gone.
pub(super) async fn servers(config: &NatsConfig, main: &Client) -> Vec<ServerAddr> {
    let mut servers = config.servers.clone();
    if main.connection_state() == State::Connected
        && let Ok(Ok(pool)) = tokio::time::timeout(PATIENCE, main.server_pool()).await
    {
        for server in pool {
            if !servers.contains(&server.addr) {
                servers.push(server.addr);
            }
        }
    }
    servers
}
