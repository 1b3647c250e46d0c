//! The connection on which requests arrive.
//!
//! Anybody who may send a request decides what bytes the server hands to our client, and some of them cost the client
//! its connection (docs/design.md says which). So requests and discovery have a connection of their own. A caller can
//! cost others the requests that are in that socket, but nothing that fires, records or is heard from other instances.
//!
//! - **A lost connection** is re-established by the client, with its subscriptions.
//! - **A connection whose task has panicked** takes its subscriptions with it. Their end is how it is noticed here, and
//!   a new connection is made with the same endpoints, counters and limit. Requests that were being worked on are
//!   finished, but their answers cannot be sent.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, SubscribeError, Subscriber};
use futures::stream::{self, select_all};
use futures::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{error, info, warn};

use super::super::Api;
use super::micro::{self, Micro};
use super::{Endpoint, QUEUE_GROUP, answer, endpoints};
use crate::config::nats::NatsConfig;
use crate::health::Health;
use crate::jetstream::adapter::JetStream;
use crate::jetstream::connect::connect;
use crate::port::answers::Answers;
use crate::port::{Deaf, Nats as _};

/// Requests worked on at once; more wait in the subscription. Callers that wait for an outcome do not count.
const MAX_CONCURRENT: usize = 256;
/// A connection that lasted less than this is replaced only after [`PAUSE`].
const LASTING: Duration = Duration::from_secs(10);
/// Pause before a new connection.
const PAUSE: Duration = Duration::from_secs(1);
/// Maximum time for an answer over a connection that is not stuck.
const PROMPT: Duration = Duration::from_millis(500);
/// Interval between checks that requests are heard.
const LOOK: Duration = Duration::from_secs(1);

/// Requests as they arrive on a connection of their own.
pub struct Requests {
    api: Arc<Api>,
    endpoints: Arc<[Endpoint]>,
    micro: Arc<Micro>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    heard: Heard,
}

/// Subscriptions on one connection.
struct Heard {
    nats: JetStream,
    requests: Vec<Subscriber>,
    questions: Vec<(micro::Verb, Subscriber)>,
}

impl Requests {
    /// Subscribes the endpoints on a connection. When this returns, the server knows the subscriptions, and requests
    /// wait until [`Requests::answer`].
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn listen(api: Arc<Api>, nats: JetStream) -> Result<Self, Deaf> {
        let endpoints: Arc<[Endpoint]> = endpoints().into();
        let micro = Arc::new(Micro::new(api.instance, &endpoints, api.clock.now()));
        let heard = Heard::subscribe(nats, &endpoints, &micro).await?;
        heard.tell(&api.health);
        info!(endpoints = endpoints.len(), "answering requests on cmd.scheduler.>");
        let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
        Ok(Self { api, endpoints, micro, permits, tasks: TaskTracker::new(), heard })
    }

    /// Answers requests until `stop`, then those that have already arrived. A connection that is gone for good is
    /// replaced by a new one, named `name`.
    pub async fn answer(mut self, nats: NatsConfig, name: String, stop: CancellationToken) {
        let _looking =
            AbortOnDropHandle::new(tokio::spawn(note_silence(Arc::clone(&self.api.health))));
        loop {
            let since = Instant::now();
            self.answer_over(&stop).await;
            if stop.is_cancelled() {
                break;
            }
            self.api.health.note_hearing(None);
            error!(connection = name, "the connection for requests is gone; making it anew");
            let again = async {
                if since.elapsed() < LASTING {
                    tokio::time::sleep(PAUSE).await;
                }
                self.listen_again(&nats, &name).await
            };
            let heard = tokio::select! {
                heard = again => heard,
                () = stop.cancelled() => break,
            };
            heard.tell(&self.api.health);
            self.heard = heard;
            info!(connection = name, "requests are heard again");
        }
        self.tasks.close();
        self.tasks.wait().await;
        if self.heard.nats.flush().await.is_err() {
            warn!("last answers may not have been sent");
        }
    }

    /// Answers what arrives on the current connection, until it is gone or drained.
    async fn answer_over(&mut self, stop: &CancellationToken) {
        let client = self.heard.nats.client().clone();
        let questions = std::mem::take(&mut self.heard.questions);
        tokio::spawn(Arc::clone(&self.micro).run(client.clone(), questions, stop.clone()));
        let subscriptions = std::mem::take(&mut self.heard.requests);
        let requests = subscriptions.into_iter().enumerate().map(|(index, subscription)| {
            let messages = until_drained(subscription, stop.clone());
            messages.map(move |message| (index, message)).boxed()
        });
        let mut requests = select_all(requests);
        while let Some((index, message)) = requests.next().await {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { break };
            let (api, client) = (Arc::clone(&self.api), client.clone());
            let (endpoints, micro) = (Arc::clone(&self.endpoints), Arc::clone(&self.micro));
            self.tasks.spawn(async move {
                answer(&api, &client, &endpoints[index], &micro.stats[index], permit, message)
                    .await;
            });
        }
    }

    async fn listen_again(&self, config: &NatsConfig, name: &str) -> Heard {
        loop {
            match connect(config, name, &Answers::default()).await {
                Ok(connection) => {
                    let nats = JetStream::new(connection, config.clone());
                    match Heard::subscribe(nats, &self.endpoints, &self.micro).await {
                        Ok(heard) => return heard,
                        Err(error) => warn!(%error, "cannot listen for requests; will retry"),
                    }
                }
                // The cause may be a file that is being replaced, for instance: it was good at the start.
                Err(error) => warn!(%error, "cannot connect for requests; will retry"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Heard {
    async fn subscribe(
        nats: JetStream,
        endpoints: &[Endpoint],
        micro: &Micro,
    ) -> Result<Self, Deaf> {
        let client = nats.client();
        let questions = micro.subscribe(client).await.map_err(|error| deaf(&error))?;
        let mut requests = Vec::new();
        for endpoint in endpoints {
            let subject = endpoint.subject.clone();
            let subscribed = client.queue_subscribe(subject, QUEUE_GROUP.to_owned()).await;
            requests.push(subscribed.map_err(|error| deaf(&error))?);
        }
        // A round trip on the same connection: once it is complete, the server has seen the subscriptions.
        let _ = nats.context().query_account().await;
        Ok(Self { nats, requests, questions })
    }

    /// Announces that requests are now heard.
    fn tell(&self, health: &Health) {
        health.load.set_unheard(health.clock.now());
        health.note_hearing(Some(self.nats.clone()));
    }
}

fn deaf(error: &SubscribeError) -> Deaf {
    Deaf(error.to_string())
}

/// Notes periods in which requests are not heard. Workers report by requests, so their silence is then our fault. A
/// connection that is up may still be stuck, so a question over it must be answered promptly.
async fn note_silence(health: Arc<Health>) {
    loop {
        let began = Instant::now();
        tokio::time::sleep(LOOK).await;
        let is_answered = tokio::time::timeout(PROMPT, health.asks_as_requests_come()).await;
        // A process that was suspended has heard nothing either.
        if is_answered != Ok(true) || began.elapsed() > LOOK * 3 {
            health.load.set_unheard(health.clock.now());
        }
    }
}

/// Messages of a subscription; after `stop` only those that have already arrived.
fn until_drained(subscription: Subscriber, stop: CancellationToken) -> impl Stream<Item = Message> {
    stream::unfold(
        (subscription, stop, false),
        |(mut subscription, stop, mut draining)| async move {
            loop {
                tokio::select! {
                    message = subscription.next() => {
                        return message.map(|message| (message, (subscription, stop, draining)));
                    }
                    () = stop.cancelled(), if !draining => {
                        draining = true;
                        subscription.drain().await.ok()?;
                    }
                }
            }
        },
    )
}
