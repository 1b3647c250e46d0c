//! Connections for what must not be sent later than it should: commands, dead letters and events.
//!
//! A client that reconnects keeps what it was given, in its queue and in its buffer, and sends it when it is back.
//! After a cut of more than five seconds, that is a command which another instance has taken over meanwhile, or an
//! outcome that it has recorded. Nobody drops the second copy of a `request` or a `core` command; a stream does, by its
//! id, but no longer than for its duplicate window, and a cut may last longer than that. So all these go over a `Line`:
//! a connection that is never repaired. When it breaks, it is thrown away with all that it holds; what was handed to it
//! and is not known to have arrived is of unknown fate at once; and the next command waits for a new line. The reply to
//! a request that has arrived may come over that one.
//!
//! What a revision guards, such as a record, goes over the connection that is repaired: a late copy of it is refused.
//!
//! # Handing over
//!
//! 1. **Wait for a line**; for what is sent once, for one that carries messages both ways: it was heard within `FRESH`,
//!    or answers now. A line whose other end is gone takes bytes for seconds before it breaks.
//! 2. **Check the trust in the claim** right before the client's queue takes the message, in the same step of the
//!    program. By then all waiting is over.
//! 3. **Ask for an answer behind it**, unless a stream's own answer comes first, as nearly all do within `LATE`. If none
//!    has come when the trust ends, the line is thrown away, because what it still holds must not leave later.
//!
//! | cut | what happens |
//! |---|---|
//! | before 2 | nothing was handed over: the instance that gets the claim renews it |
//! | between 2 and the socket | the message is thrown away with the line; its fate is unknown |
//! | behind the socket | the server may have it; otherwise the same |
//!
//! # What is left
//!
//! What the kernel has taken, nobody can take back. If the network stops in one direction and comes back after the
//! trust has ended, the kernel may then deliver what it was given before, though the line was closed long ago. That
//! takes a command that was handed over after the cut, under a claim that was made before it: within `FRESH` of the last
//! sign of life if it is sent once, and while the claim was trusted if it is a `publish`, whose stream still drops the
//! copy for its duplicate window.
//!
//! A command that has arrived, but whose outcome could not be recorded before the cut, is sent again by the instance
//! that takes the attempt over, as after a death: nobody else knows of it.

mod line;
mod replies;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::reminder::Reminder;
use crate::port::answers::Answers;
use crate::port::{Nats, Wire};
pub(crate) use line::{LATE, Line, Message, Unhanded};
use replies::Replies;
pub(crate) use replies::Reply;
pub(crate) use trust::while_trusted;

/// How long a sign of life counts.
const FRESH: Duration = Duration::from_millis(250);
/// First pause before a new line is made; it doubles with each failure.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest pause, and how long a line must last before the pause starts from the first one again.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// The present line, and those to come. Clones are the same.
pub struct Lines<N: Nats>(Arc<Present<N::Line>>);

/// The present line, if any. Those who wait for one are notified in the order in which they came.
struct Present<W> {
    line: Mutex<Option<Arc<Line<W>>>>,
    changed: Notify,
}

impl<N: Nats> Clone for Lines<N> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W: Wire> Present<W> {
    /// The line, unless it is broken.
    fn get(&self) -> Option<Arc<Line<W>>> {
        let line = self.line.lock().unwrap_or_else(PoisonError::into_inner).clone();
        line.filter(|line| !line.is_broken())
    }

    fn set(&self, line: Option<Arc<Line<W>>>) {
        *self.line.lock().unwrap_or_else(PoisonError::into_inner) = line;
        self.changed.notify_waiters();
    }

    /// Waits for a line that is not broken.
    async fn whole(&self) -> Arc<Line<W>> {
        loop {
            // Registered before the check, so that no change is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(line) = self.get() {
                return line;
            }
            changed.await;
        }
    }
}

impl<N: Nats> Lines<N> {
    /// Keeps one line open until `stop`; returns once the first one is. The server knows it by `name`.
    pub async fn open(nats: N, name: String, stop: CancellationToken) -> Self {
        let present = Arc::new(Present { line: Mutex::default(), changed: Notify::new() });
        let replies = Replies::new(&nats.new_inbox());
        let maker = Maker { nats, name, replies, stop: stop.clone() };
        tokio::spawn(maker.run(Arc::clone(&present)));
        let _ = stop.run_until_cancelled(present.whole()).await;
        Self(present)
    }

    /// The present line, if there is one that is not broken.
    pub(crate) fn present(&self) -> Option<Arc<Line<N::Line>>> {
        self.0.get()
    }

    /// Whether there is a line that is not broken.
    pub(crate) fn is_up(&self) -> bool {
        self.present().is_some()
    }

    /// Waits for a line that carries messages both ways.
    pub(crate) async fn proven(&self) -> Arc<Line<N::Line>> {
        loop {
            let line = self.0.whole().await;
            if line.is_alive().await {
                return line;
            }
            line.throw_away();
        }
    }
}

/// Makes lines.
struct Maker<N> {
    nats: N,
    name: String,
    replies: Replies,
    stop: CancellationToken,
}

impl<N: Nats> Maker<N> {
    async fn run(self, present: Arc<Present<N::Line>>) {
        let stop = self.stop.clone();
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = self.keep(&present) => {}
        }
    }

    async fn keep(self, present: &Present<N::Line>) {
        let mut said = Reminder::default();
        let mut pause = PAUSE;
        loop {
            let opened = Instant::now();
            match self.line().await {
                Ok(line) => {
                    present.set(Some(Arc::clone(&line)));
                    line.broken().await;
                    present.set(None);
                    if opened.elapsed() > MAX_PAUSE {
                        pause = PAUSE;
                    }
                }
                Err(error) => {
                    if said.is_due(&error, Instant::now()) {
                        let connection = self.name.as_str();
                        warn!(connection, error, "no connection for commands; will retry");
                    }
                }
            }
            let connects = self.nats.connects();
            tokio::select! {
                biased;
                // Then there is a server again.
                () = self.nats.reconnected(connects) => pause = PAUSE,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(MAX_PAUSE),
            }
        }
    }

    async fn line(&self) -> Result<Arc<Line<N::Line>>, String> {
        let (answers, broken) = (Answers::default(), self.stop.child_token());
        let wire = self.nats.line(&self.name, answers.clone(), broken.clone()).await?;
        let line = Line::over(wire, answers, self.replies.clone(), broken).await;
        line.map_err(|error| error.to_string())
    }
}
