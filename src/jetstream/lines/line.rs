//! One connection that is never made good again.
//!
//! Its client's tasks run on a runtime of their own, in a thread of their own. To throw the line away
//! is to end that runtime: all its tasks are dropped where they stand, with their queues, their buffers
//! and the socket, also where the socket takes nothing and the client would wait to write. The client
//! itself never reconnects: it is left waiting at the first attempt, until it is dropped.

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, HeaderMap, PublishErrorKind, SubscribeError};
use bytes::Bytes;
use tokio::sync::{Mutex, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::FRESH;
use super::replies::{Replies, Reply};
use super::trust::{lost, while_trusted};
use crate::failpoint;
use crate::jetstream::answers::{Answers, Awaited};
use crate::jetstream::connect::{NatsConfig, OnceError, connect_once};
use crate::jetstream::inbox::Inbox;

/// Pause between looks at the client's state, in case its word of a break is lost.
const LOOK: Duration = Duration::from_millis(200);
/// Least time that the server has to show that a message has arrived: trust may end just behind the
/// handing over, and a healthy line, with all that others have on it, is not thrown away for that.
const GRACE: Duration = Duration::from_millis(500);

/// A connection, and what is heard over it.
pub(crate) struct Line {
    client: Client,
    inbox: Inbox,
    replies: Replies,
    /// When the last message to ourselves was sent that came back.
    heard: Mutex<Option<Instant>>,
    broken: CancellationToken,
}

/// Why there is no line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LineError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] OnceError),
    /// It broke before it could be listened to.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// The system has no thread for it.
    #[error("no thread: {0}")]
    Thread(#[from] io::Error),
    /// Its thread ended.
    #[error("its thread ended")]
    Ended,
}

/// What is handed over.
pub(crate) struct Message<'a> {
    pub(crate) subject: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Why nothing was handed over.
pub(crate) enum Unhanded {
    /// The claim is trusted no more.
    TrustLost,
    /// The line is broken.
    Broken,
    /// The client refuses the message.
    Refused(String),
}

impl Line {
    /// Opens a line that lasts until it breaks or `broken` is cancelled.
    pub(super) async fn open(
        config: NatsConfig,
        name: String,
        replies: Replies,
        broken: CancellationToken,
    ) -> Result<Arc<Self>, LineError> {
        let (sender, opened) = oneshot::channel();
        // Who stops waiting for the line wants none.
        let unwanted = broken.clone().drop_guard();
        std::thread::Builder::new()
            .name("commands".to_owned())
            .spawn(move || run(&config, &name, replies, broken, sender))?;
        let line = opened.await.map_err(|_| LineError::Ended)??;
        unwanted.disarm();
        Ok(line)
    }

    async fn connect(
        config: &NatsConfig,
        name: &str,
        replies: Replies,
        broken: CancellationToken,
    ) -> Result<Arc<Self>, LineError> {
        let answers = Answers::default();
        let client = connect_once(config, name, &answers, &broken).await?;
        let inbox = Inbox::open(client.clone(), answers, broken.clone()).await?;
        replies.listen(&client).await?;
        Ok(Arc::new(Self { client, inbox, replies, heard: Mutex::default(), broken }))
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

    /// Whether the line carries messages both ways. Those who ask at the same time share the answer.
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

    /// Expects a reply, to this subject.
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
        let Message { subject, headers, body } = message;
        let publishing = async {
            let (client, subject) = (&self.client, subject.to_owned());
            match reply {
                Some(reply) => {
                    client.publish_with_reply_and_headers(subject, reply, headers, body).await
                }
                None => client.publish_with_headers(subject, headers, body).await,
            }
        };
        let mut publishing = std::pin::pin!(publishing);
        // The queue takes the message in one of these steps; there is no waiting between look and step.
        let handing = std::future::poll_fn(|context| {
            if !trusted() {
                return Poll::Ready(Err(Unhanded::TrustLost));
            }
            if self.is_broken() {
                return Poll::Ready(Err(Unhanded::Broken));
            }
            failpoint::pause("look_and_hand_over");
            publishing.as_mut().poll(context).map(|published| {
                published.map_err(|error| match error.kind() {
                    PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
                        Unhanded::Refused(error.to_string())
                    }
                    PublishErrorKind::Send => Unhanded::Broken,
                })
            })
        });
        match while_trusted(trusted, handing).await {
            Some(Ok(())) => Ok(()),
            Some(Err(unhanded)) => {
                // A queue that is closed has nobody behind it.
                if matches!(unhanded, Unhanded::Broken) {
                    self.throw_away();
                }
                Err(unhanded)
            }
            None => Err(Unhanded::TrustLost),
        }
    }

    /// Waits until the server has dealt with what was handed over, and a refusal of it would be known;
    /// false if the line broke, or was thrown away since trust ended before the server said so.
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

/// Runs a line's client until it breaks.
fn run(
    config: &NatsConfig,
    name: &str,
    replies: Replies,
    broken: CancellationToken,
    opened: oneshot::Sender<Result<Arc<Line>, LineError>>,
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
        let connecting = Line::connect(config, name, replies, broken.clone());
        let line = tokio::select! {
            line = connecting => line,
            () = broken.cancelled() => Err(LineError::Ended),
        };
        let client = line.as_ref().ok().map(|line| line.client.clone());
        if opened.send(line).is_err() {
            return;
        }
        while let Some(client) = &client
            && client.connection_state() == State::Connected
            && tokio::time::timeout(LOOK, broken.cancelled()).await.is_err()
        {}
    });
    // Not waiting for a look-up of a name that hangs.
    runtime.shutdown_background();
}
