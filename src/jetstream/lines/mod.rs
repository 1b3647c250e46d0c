//! Connections for what is sent once.
//!
//! A client that reconnects keeps what it was given, in its queue and in its buffer, and sends it
//! when it is back: after a cut of more than five seconds that is a command which somebody else has
//! taken over meanwhile. So commands of which no second copy can be told from the first go over a
//! `Line`: a connection that is never made good again. When it breaks it is thrown away with all
//! that it holds, what was handed to it and is not known to have arrived is uncertain at once, and
//! the next command waits for a new one. The reply to a request that has arrived may come over that.
//!
//! # Handing over
//!
//! 1. **Wait for a line that carries messages both ways**: one that was heard within `FRESH`, or
//!    that answers now. A line whose other end is gone takes bytes for seconds before it breaks.
//! 2. **Look at the trust in the claim**, the moment before the client's queue takes the message, in
//!    the same step of the program. Whatever had to be waited for is behind us then.
//! 3. **Ask for an answer behind it.** If none came when the trust ends, the line is thrown away,
//!    for what it still holds must not leave later.
//!
//! | cut | what happens |
//! |---|---|
//! | before 2 | nothing was handed over: the claim is renewed, by whoever gets it |
//! | between 2 and the socket | the message is thrown away with the line; the attempt is uncertain |
//! | behind the socket | the server may have it; uncertain, and the same |
//!
//! # What is left
//!
//! What the kernel has taken, nobody can take back. If the network stops in one direction and comes
//! back after the trust has ended, the kernel may deliver then what it was given before, though the
//! line is long closed. It takes a command that was handed over after the cut: within `FRESH` of
//! the last sign of life, and under a claim that was made before it.
//!
//! A command that has arrived, and whose outcome could not be recorded before the cut, is sent again
//! by whoever takes the attempt over, as after a death: nobody else knows of it.

mod line;
mod replies;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ServerAddr};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::connect::NatsConfig;
use super::reminder::Reminder;
pub(crate) use line::{Line, Message, Unhanded};
use replies::Replies;
pub(crate) use replies::Reply;
pub(crate) use trust::while_trusted;

/// How long a sign of life counts.
const FRESH: Duration = Duration::from_millis(250);
/// First pause before a line is made anew; it doubles while that fails.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause, and how long a line must have lasted for the first one to do again.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// How long the first connection may take to say where servers are.
const PATIENCE: Duration = Duration::from_secs(1);

/// The present line, and those to come.
#[derive(Clone)]
pub struct Lines(watch::Receiver<Option<Arc<Line>>>);

impl Lines {
    /// Keeps one line open until `stop`; returns once the first is. The server knows it by `name`.
    /// `main` is a connection with the same settings, which learns where servers are.
    pub async fn open(
        config: NatsConfig,
        name: String,
        main: Client,
        stop: CancellationToken,
    ) -> Self {
        let (sender, mut present) = watch::channel(None);
        let replies = Replies::new(&main.new_inbox());
        let maker = Maker { config, name, replies, main, stop };
        tokio::spawn(maker.run(sender));
        // Fails where `stop` came first.
        let _ = present.wait_for(Option::is_some).await;
        Self(present)
    }

    /// Waits for a line that carries messages both ways.
    pub(crate) async fn proven(&self) -> Arc<Line> {
        let mut present = self.0.clone();
        loop {
            let whole =
                |line: &Option<Arc<Line>>| line.as_ref().is_some_and(|line| !line.is_broken());
            let line = present.wait_for(whole).await.ok().and_then(|line| line.clone());
            let Some(line) = line else {
                // The service is ending.
                return std::future::pending().await;
            };
            if line.is_alive().await {
                return line;
            }
            line.throw_away();
        }
    }
}

/// What makes lines.
struct Maker {
    config: NatsConfig,
    name: String,
    replies: Replies,
    main: Client,
    stop: CancellationToken,
}

impl Maker {
    async fn run(self, present: watch::Sender<Option<Arc<Line>>>) {
        let stop = self.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep(&present) => {}
        }
    }

    async fn keep(self, present: &watch::Sender<Option<Arc<Line>>>) {
        let mut said = Reminder::default();
        let mut pause = PAUSE;
        loop {
            let servers = self.servers().await;
            let config = NatsConfig { servers, ..self.config.clone() };
            let opened = Instant::now();
            let (name, replies) = (self.name.clone(), self.replies.clone());
            match Line::open(config, name, replies, self.stop.child_token()).await {
                Ok(line) => {
                    present.send_replace(Some(Arc::clone(&line)));
                    line.broken().await;
                    present.send_replace(None);
                    if opened.elapsed() > MAX_PAUSE {
                        pause = PAUSE;
                    }
                }
                Err(error) => {
                    let error = error.to_string();
                    if said.is_due(&error, Instant::now()) {
                        let connection = self.name.as_str();
                        warn!(connection, error, "no connection for commands; trying on");
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// Where servers are: also those that servers have told of, since the ones that we were told of
    /// may be gone.
    async fn servers(&self) -> Vec<ServerAddr> {
        let mut servers = self.config.servers.clone();
        if self.main.connection_state() == State::Connected
            && let Ok(Ok(pool)) = tokio::time::timeout(PATIENCE, self.main.server_pool()).await
        {
            for server in pool {
                if !servers.contains(&server.addr) {
                    servers.push(server.addr);
                }
            }
        }
        servers
    }
}
