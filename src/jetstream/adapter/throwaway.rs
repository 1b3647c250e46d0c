//! A connection that is never repaired.
//!
//! Its client's tasks run on a runtime of their own, in a thread of their own. Throwing the connection away ends that
//! runtime: all its tasks are dropped where they stand, with their queues, their buffers and the socket, even if the
//! socket takes nothing and the client waits to write. The client never reconnects by itself: it is held up at the
//! first attempt until it is dropped.

use std::io;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ServerAddr};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config::nats::NatsConfig;
use crate::jetstream::connect::{OnceError, connect_once};
use crate::port::answers::Answers;

/// Interval between checks of the client's state, in case its event of a break is lost.
const LOOK: Duration = Duration::from_millis(200);
/// How long the main connection may take to say where servers are.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no such connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ThrowawayError {
    /// Connecting failed.
    #[error(transparent)]
    Connect(#[from] OnceError),
    /// The system could not start a thread for it.
    #[error("no thread: {0}")]
    Thread(#[from] io::Error),
    /// Its thread ended.
    #[error("its thread ended")]
    Ended,
}

/// Connects once. The connection lasts until it breaks or `broken` is cancelled; a break cancels `broken`.
pub(crate) async fn throwaway(
    config: NatsConfig,
    name: String,
    answers: Answers,
    broken: CancellationToken,
) -> Result<Client, ThrowawayError> {
    let (sender, opened) = oneshot::channel();
    // If the caller stops waiting, the connection is not wanted any more.
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
    // Does not wait for a name look-up that hangs.
    runtime.shutdown_background();
}

/// The servers to try: also those that servers have announced, since the configured ones may be gone.
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
