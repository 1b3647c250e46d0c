//! How far the bucket has been written, according to its leader.
//!
//! The index lags the bucket by milliseconds. A reader that must see all that was written before its question waits
//! until the index has reached the leader's last revision, and then reads from memory. All readers that ask while one
//! question is under way share the next one, so reading costs the leader the same however many read.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::WriteError;
use crate::names;
use crate::port::{Nats, Unanswered};

/// Most readers that are answered at once.
const MOST: usize = 1024;
/// How often all other ready tasks may run before a question is sent.
const YIELDS: usize = 4;

/// How long an answer is waited for, by all readers that share it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A reader that waits for an answer.
type Waiting = oneshot::Sender<Result<u64, String>>;

/// Asks the leader, once for all who ask at the same time.
#[derive(Clone, Debug)]
pub struct Frontier {
    ask: mpsc::UnboundedSender<Waiting>,
}

impl Frontier {
    /// Creates the frontier of the bucket of schedules. A task asks for as long as one of the clones exists.
    pub fn new(nats: impl Nats) -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(answer(nats, asked));
        Self { ask }
    }

    /// Returns a revision that is not below that of any write acknowledged before the call.
    ///
    /// # Errors
    /// If the leader does not answer.
    pub async fn reached(&self) -> Result<u64, WriteError> {
        let (sender, receiver) = oneshot::channel();
        let gone = || WriteError::Unknown("nobody asks the leader any more".to_owned());
        self.ask.send(sender).map_err(|_| gone())?;
        receiver.await.map_err(|_| gone())?.map_err(WriteError::Unknown)
    }
}

async fn answer(nats: impl Nats, mut asked: mpsc::UnboundedReceiver<Waiting>) {
    let mut waiting = Vec::new();
    while asked.recv_many(&mut waiting, MOST).await > 0 {
        // Readers that are about to ask join in: under load, few questions serve many.
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
        // Takes all that came before the question is sent; later ones may have written since.
        while let Ok(one) = asked.try_recv() {
            waiting.push(one);
        }
        let mut reached = within(nats.last_sequence(names::SCHEDULES_STREAM)).await;
        if reached.is_err() {
            // One lost answer, as when the leader changes, does not fail the readers.
            reached = within(nats.last_sequence(names::SCHEDULES_STREAM)).await;
        }
        for waiting in waiting.drain(..) {
            let _ = waiting.send(reached.clone());
        }
    }
}

async fn within(asking: impl Future<Output = Result<u64, Unanswered>>) -> Result<u64, String> {
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    }
}
