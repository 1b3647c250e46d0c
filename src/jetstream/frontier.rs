//! How far the bucket has been written, as its leader says.
//!
//! The index follows the bucket by milliseconds. Who has to see all that was written before the question
//! waits until the index has reached the leader's last revision, and then reads from memory. All who ask
//! while one question is under way share the next one, so reading costs the leader the same however many
//! read.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::WriteError;
use crate::names;
use crate::port::{Nats, Unanswered};

/// Those who are taken up at once.
const MOST: usize = 1024;
/// How often all others that are ready may run before a question is sent.
const YIELDS: usize = 4;

/// How long an answer is waited for, and with it all who read.
const PATIENCE: Duration = Duration::from_secs(2);

/// Who waits for an answer.
type Waiting = oneshot::Sender<Result<u64, String>>;

/// Asks the leader, once for all who ask at the same time.
#[derive(Clone, Debug)]
pub struct Frontier {
    ask: mpsc::UnboundedSender<Waiting>,
}

impl Frontier {
    /// That of the bucket of schedules. A task asks for as long as one of the clones is there.
    pub fn new(nats: impl Nats) -> Self {
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(answer(nats, asked));
        Self { ask }
    }

    /// A revision that is not below that of any write that was acknowledged before the call.
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
        // Whoever is about to ask joins in: under load few questions serve many.
        for _ in 0..YIELDS {
            tokio::task::yield_now().await;
        }
        // All that are there before the question is sent: who comes later may have written since.
        while let Ok(one) = asked.try_recv() {
            waiting.push(one);
        }
        let mut reached = within(nats.last_sequence(names::SCHEDULES_STREAM)).await;
        if reached.is_err() {
            // One lost answer, as when the leader changes, is not yet the end of reading.
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
