//! The operations as a NATS service named `scheduler`: `nats micro ls|info|stats` show it.

mod endpoints;
mod micro;

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::stream::{self, select_all};
use futures::{Stream, StreamExt as _};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error, info};

use super::error::{ApiError, Code};
use super::operations::Input;
use super::reply::ErrorReply;
use super::{Api, Caller};
use crate::jetstream::names;
use crate::schedule::FieldFault;
pub use endpoints::{Endpoint, endpoints};
use micro::Micro;

/// Queue group of the endpoints: each request is answered by one instance.
pub(crate) const QUEUE_GROUP: &str = "q";
/// Requests worked on at once; more wait in the subscription.
const MAX_CONCURRENT: usize = 256;

/// The endpoints, subscribed: requests wait here until [`Listening::answer`].
pub struct Listening {
    api: Arc<Api>,
    client: Client,
    endpoints: Arc<[Endpoint]>,
    subscriptions: Vec<Subscriber>,
    micro: Arc<Micro>,
    questions: Vec<(micro::Verb, Subscriber)>,
}

/// Subscribes the endpoints; when it returns the server knows of them.
///
/// # Errors
/// If NATS refuses a subscription.
pub async fn listen(
    api: Arc<Api>,
    client: Client,
) -> Result<Listening, async_nats::SubscribeError> {
    let endpoints: Arc<[Endpoint]> = endpoints().into();
    let micro = Arc::new(Micro::new(api.instance, &endpoints));
    let questions = micro.subscribe(&client).await?;
    let mut subscriptions = Vec::new();
    for endpoint in endpoints.iter() {
        let subject = endpoint.subject.clone();
        subscriptions.push(client.queue_subscribe(subject, QUEUE_GROUP.to_owned()).await?);
    }
    // A round trip on the same connection: when it is back, the server has seen the subscriptions.
    let _ = api.js.query_account().await;
    info!(endpoints = endpoints.len(), "answering requests on cmd.scheduler.>");
    Ok(Listening { api, client, endpoints, subscriptions, micro, questions })
}

impl Listening {
    /// Answers requests until `stop`, then those that are already there.
    pub async fn answer(self, stop: CancellationToken) {
        let Self { api, client, endpoints, subscriptions, micro, questions } = self;
        tokio::spawn(Arc::clone(&micro).run(client.clone(), questions, stop.clone()));
        let requests = subscriptions.into_iter().enumerate().map(|(index, subscription)| {
            let messages = until_drained(subscription, stop.clone());
            messages.map(move |message| (index, message)).boxed()
        });
        let mut requests = select_all(requests);
        let (permits, tasks) = (Arc::new(Semaphore::new(MAX_CONCURRENT)), TaskTracker::new());
        while let Some((index, message)) = requests.next().await {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
            let (api, client) = (Arc::clone(&api), client.clone());
            let (endpoints, micro) = (Arc::clone(&endpoints), Arc::clone(&micro));
            tasks.spawn(async move {
                answer(&api, &client, &endpoints[index], &micro.stats[index], message).await;
                drop(permit);
            });
        }
        tasks.close();
        tasks.wait().await;
    }
}

/// The messages of a subscription; after `stop` those that are there already, and then no more.
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

async fn answer(
    api: &Arc<Api>,
    client: &Client,
    endpoint: &Endpoint,
    stats: &micro::Counters,
    message: Message,
) {
    let started = Instant::now();
    let caller = caller(endpoint, message.headers.as_ref());
    let (caller, result) = match caller {
        Ok(caller) => {
            let caller = Arc::new(caller);
            let input = Input { given: Vec::new(), body: message.payload };
            let answer = endpoint.operation.run(api, &caller, input).await;
            let limit = client.max_payload();
            (caller, answer.and_then(|answer| within(limit, answer.body)))
        }
        Err(faults) => (Arc::new(Caller::anonymous()), Err(faults.into())),
    };
    let error =
        result.as_ref().err().map(|error| format!("{} {}", error.code.status(), error.message));
    let status = result.as_ref().map_or_else(|error| error.code.status(), |_| 200);
    api.metrics.nats_request(endpoint.operation.name, status, started.elapsed());
    stats.count(started.elapsed(), error);
    let Some(reply) = message.reply else { return };
    if !names::may_be_answered(&reply) {
        debug!(%reply, endpoint = endpoint.name, "no answer to a subject that is no inbox");
        return;
    }
    let (headers, body) = encode(result, &caller);
    if let Err(error) = client.publish_with_headers(reply, headers, body).await {
        error!(endpoint = endpoint.name, %error, "reply not sent");
    }
}

fn encode(result: Result<Bytes, ApiError>, caller: &Caller) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(names::CORRELATION_ID, caller.correlation_id.as_str());
    headers.insert(names::REQUEST_ID, caller.request_id.as_str());
    match result {
        Ok(body) => (headers, body),
        Err(error) => {
            debug!(code = ?error.code, error = error.message, request_id = caller.request_id, "request refused");
            // Headers are one line of text.
            let text = error.message.replace(char::is_control, " ");
            headers.insert(names::SERVICE_ERROR, text);
            headers.insert(names::SERVICE_ERROR_CODE, error.code.status().to_string());
            let reply = ErrorReply {
                error,
                request_id: caller.request_id.clone(),
                correlation_id: caller.correlation_id.clone(),
            };
            (headers, serde_json::to_vec(&reply).unwrap_or_default().into())
        }
    }
}

fn caller(endpoint: &Endpoint, headers: Option<&HeaderMap>) -> Result<Caller, Vec<FieldFault>> {
    Caller::from_headers(endpoint.operation.actor_header, |name| {
        Some(Ok(headers?.get(name)?.as_str()))
    })
}

/// Room for the headers of a reply.
const HEADERS: usize = 1024;

/// A reply that NATS takes.
fn within(limit: usize, body: Bytes) -> Result<Bytes, ApiError> {
    if body.len() + HEADERS <= limit {
        return Ok(body);
    }
    let message =
        format!("the reply has {} bytes, more than NATS takes: ask for fewer", body.len());
    Err(ApiError::new(Code::TooLarge, message))
}
