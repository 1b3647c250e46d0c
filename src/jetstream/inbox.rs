//! One inbox for the answers to everything that is published over a connection.
//!
//! The client's own requests return only the first answer, whoever sent it. Here all answers to a message are heard,
//! until the caller has the one that it needs. There is one subscription for each connection, with a token for each
//! message behind its prefix.
//!
//! # Round trips
//!
//! A message to ourselves proves, when it is back, that the server has dealt with all that was sent before it; a
//! refusal of an earlier message came before it on the same connection. Inside the client, though, refusals and
//! messages take different ways, so "not refused" is certain only [`SETTLE`] later. Callers share round trips: those
//! that come while one is under way share the next.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::Message;
use futures::{Stream, StreamExt as _};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::ACK_TIMEOUT;
use crate::port::answers::{Answers, Awaited};
use crate::port::{Deaf, Outgoing, Wire};

/// How long after a later message a refusal may still take through the client: it has to pass one queue and one task.
const SETTLE: Duration = Duration::from_millis(20);

/// Hears all answers to messages of one connection.
pub(crate) struct Inbox<W> {
    wire: W,
    answers: Answers,
    /// Ends in a dot.
    prefix: String,
    /// How many round trips have begun.
    begun: AtomicU64,
    /// The number of the last round trip made, and whether it came back.
    made: Mutex<(u64, bool)>,
}

impl<W: Wire> Inbox<W> {
    /// Opens the inbox and listens until `stop`. `answers` must be those of the connection.
    pub(crate) async fn open(
        wire: W,
        answers: Answers,
        stop: CancellationToken,
    ) -> Result<Self, Deaf> {
        let prefix = format!("{}.", wire.new_inbox());
        let heard = wire.subscribe(format!("{prefix}*")).await?;
        tokio::spawn(listen(heard, prefix.len(), answers.clone(), stop));
        Ok(Self { wire, answers, prefix, begun: AtomicU64::new(0), made: Mutex::default() })
    }

    /// Waits for what is heard of messages to a subject from now on.
    pub(crate) fn await_for(&self, subject: &str) -> Awaited {
        self.answers.await_for(subject)
    }

    /// The subject that answers to a message must be sent to.
    pub(crate) fn reply(&self, awaited: &Awaited) -> String {
        awaited.reply(&self.prefix)
    }

    /// Waits until the server has dealt with all that we have published so far, and a refusal of any of it is known;
    /// returns false if the server does not answer.
    pub(crate) async fn round_trip(&self) -> bool {
        // A round trip that begins from now on has our message before it.
        let before = self.begun.load(Ordering::Acquire);
        let mut made = self.made.lock().await;
        if made.0 > before {
            return made.1;
        }
        let number = self.begun.fetch_add(1, Ordering::AcqRel) + 1;
        let answered = self.echo().await;
        if answered {
            tokio::time::sleep(SETTLE).await;
        }
        *made = (number, answered);
        answered
    }

    /// Sends a message to ourselves; returns whether the server has dealt with it in time.
    pub(crate) async fn echo(&self) -> bool {
        let awaited = self.answers.await_echo(&self.prefix);
        let echo = async {
            let subject = awaited.reply(&self.prefix);
            self.wire.publish(Outgoing { subject, ..Outgoing::default() }).await.ok()?;
            // A refusal to publish to ourselves also comes after what we sent before.
            Some(awaited.next().await)
        };
        matches!(timeout(ACK_TIMEOUT, echo).await, Ok(Some(_)))
    }
}

/// Hands answers to those who wait for them.
async fn listen(
    mut heard: impl Stream<Item = Message> + Unpin,
    prefix: usize,
    answers: Answers,
    stop: CancellationToken,
) {
    let listening = async {
        while let Some(message) = heard.next().await {
            let token = message.subject.get(prefix..).and_then(|token| token.parse().ok());
            if let Some(token) = token {
                answers.answered(token, &message);
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = listening => {}
    }
}
