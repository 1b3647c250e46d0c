//! One connection that is never repaired, and what is heard over it.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::FRESH;
use super::replies::{Replies, Reply};
use super::trust::{lost, while_trusted};
use crate::failpoint;
use crate::jetstream::ACK_TIMEOUT;
use crate::jetstream::inbox::Inbox;
use crate::port::answers::{Answers, Awaited};
use crate::port::{Deaf, Outgoing, Unpublished, Wire};

/// Least time that the server has to show that a message has arrived. Trust may end right after the handing over, and a
/// healthy line, with all that others have on it, must not be thrown away for that.
const GRACE: Duration = Duration::from_millis(500);

/// A connection, and what is heard over it.
pub(crate) struct Line<W> {
    wire: W,
    inbox: Inbox<W>,
    replies: Replies,
    /// When the latest message to ourselves that came back was sent.
    heard: Mutex<Option<Instant>>,
    broken: CancellationToken,
}

/// A message to hand over.
pub(crate) struct Message<'a> {
    pub(crate) subject: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Time after which the answer to a message is late: nearly all have come by then, so only from then on is it watched
/// whether the message has arrived. Together with [`GRACE`] it is less than others wait, after the trust in a claim has
/// ended, before they act on it.
pub(crate) const LATE: Duration = Duration::from_millis(500);

/// Why nothing was handed over.
pub(crate) enum Unhanded {
    /// The claim is no longer trusted.
    TrustLost,
    /// The line is broken.
    Broken,
    /// The client refuses the message.
    Refused(String),
    /// The client had no room for it, for too long.
    NoRoom,
}

impl<W: Wire> Line<W> {
    /// Opens a line over a connection that lasts until `broken`. `answers` must be those of the connection.
    pub(super) async fn over(
        wire: W,
        answers: Answers,
        replies: Replies,
        broken: CancellationToken,
    ) -> Result<Arc<Self>, Deaf> {
        // If the caller stops waiting, the line is not wanted any more.
        let unwanted = broken.clone().drop_guard();
        let inbox = Inbox::open(wire.clone(), answers, broken.clone()).await?;
        replies.listen(&wire).await?;
        unwanted.disarm();
        Ok(Arc::new(Self { wire, inbox, replies, heard: Mutex::default(), broken }))
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_cancelled()
    }

    /// Waits until the line is broken or thrown away.
    pub(crate) async fn broken(&self) {
        self.broken.cancelled().await;
    }

    /// Throws the line away, with all that was handed to it and has not left.
    pub(crate) fn throw_away(&self) {
        self.broken.cancel();
    }

    /// Whether the line carries messages both ways. Callers that ask at the same time share the answer.
    pub(super) async fn is_alive(&self) -> bool {
        let ask = async {
            let mut heard = self.heard.lock().await;
            if heard.is_some_and(|heard| heard.elapsed() < FRESH) {
                return true;
            }
            let asked = Instant::now();
            let answered = self.inbox.echo().await;
            if answered {
                *heard = Some(asked);
            }
            answered
        };
        tokio::select! {
            biased;
            () = self.broken() => false,
            answered = ask => answered,
        }
    }

    /// Waits for what is heard of messages to a subject from now on.
    pub(crate) fn await_for(&self, subject: &str) -> Awaited {
        self.inbox.await_for(subject)
    }

    /// Expects a reply; also returns the subject that it must be sent to.
    pub(crate) fn expect(&self) -> (Reply, String) {
        self.replies.expect()
    }

    /// Hands a message over if the claim is trusted at that moment.
    pub(crate) async fn hand_over(
        &self,
        message: Message<'_>,
        reply: Option<String>,
        trusted: &(impl Fn() -> bool + Sync),
    ) -> Result<(), Unhanded> {
        self.hand_over_at("look_and_hand_over", message, reply, trusted).await
    }

    async fn hand_over_at(
        &self,
        point: &'static str,
        message: Message<'_>,
        reply: Option<String>,
        trusted: &(impl Fn() -> bool + Sync),
    ) -> Result<(), Unhanded> {
        let Message { subject, headers, body } = message;
        let message = Outgoing { subject: subject.to_owned(), reply, headers, body };
        let mut publishing = std::pin::pin!(self.wire.publish(message));
        // The queue takes the message in one of these polls, without any waiting between the check and the poll.
        let handing = std::future::poll_fn(|context| {
            if !trusted() {
                return Poll::Ready(Err(Unhanded::TrustLost));
            }
            if self.is_broken() {
                return Poll::Ready(Err(Unhanded::Broken));
            }
            failpoint::pause(point);
            publishing.as_mut().poll(context).map(|published| {
                published.map_err(|error| match error {
                    Unpublished::Refused(reason) => Unhanded::Refused(reason),
                    Unpublished::Gone(_) => Unhanded::Broken,
                })
            })
        });
        match while_trusted(trusted, handing).await {
            Some(Ok(())) => Ok(()),
            Some(Err(unhanded)) => {
                // If the queue is closed, nobody reads it.
                if matches!(unhanded, Unhanded::Broken) {
                    self.throw_away();
                }
                Err(unhanded)
            }
            None => Err(Unhanded::TrustLost),
        }
    }

    /// Hands over a message whose answers are awaited; waits only so long for the client to have room for it.
    pub(crate) async fn publish(
        &self,
        message: Message<'_>,
        awaited: &Awaited,
        trusted: &(impl Fn() -> bool + Sync),
    ) -> Result<(), Unhanded> {
        let reply = Some(self.inbox.reply(awaited));
        let handing = self.hand_over_at("look_and_publish", message, reply, trusted);
        // If dropped, it was not taken.
        timeout(ACK_TIMEOUT, handing).await.unwrap_or(Err(Unhanded::NoRoom))?;
        awaited.sent();
        Ok(())
    }

    /// Waits until the line is of no more use to a message that was handed over [`LATE`] ago: it is broken, answers
    /// nothing, or was thrown away since the trust ended before the message had arrived.
    pub(crate) async fn lost(&self, trusted: &(impl Fn() -> bool + Sync)) {
        if !self.arrived(trusted).await {
            self.throw_away();
        }
        self.broken().await;
    }

    /// Waits until the server has dealt with what was handed over and a refusal of it would be known; returns false if
    /// the line broke, or was thrown away because trust ended before the server said so.
    pub(crate) async fn arrived(&self, trusted: &(impl Fn() -> bool + Sync)) -> bool {
        let too_late = async { tokio::join!(lost(trusted), tokio::time::sleep(GRACE)) };
        tokio::select! {
            biased;
            () = self.broken() => false,
            answered = self.inbox.round_trip() => answered,
            _ = too_late => {
                self.throw_away();
                false
            }
        }
    }
}
