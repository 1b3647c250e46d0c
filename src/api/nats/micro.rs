//! The NATS Services API (ADR-32): `$SRV.PING|INFO|STATS`, for the service as a whole, by its name and by its id.
//!
//! async-nats has an implementation, but it cannot count an error whose reply has a body, as ours have, and it lists
//! endpoints in random order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Client, Message, Subscriber};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::stream::{SelectAll, select_all};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::warn;
use uuid::Uuid;

use super::{Endpoint, QUEUE_GROUP};
use crate::names;
use crate::text::short;

const NAME: &str = "scheduler";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const DESCRIPTION: &str = "Runs jobs on time: cron, interval, one-time and immediate schedules";

/// The service as presented to discovery.
pub(super) struct Micro {
    id: String,
    started: DateTime<Utc>,
    endpoints: Vec<About>,
    /// Counters of each endpoint, in the order of the endpoints.
    pub(super) stats: Vec<Counters>,
}

struct About {
    name: String,
    subject: String,
    metadata: BTreeMap<String, String>,
}

/// Counters of one endpoint.
#[derive(Default)]
pub(super) struct Counters(Mutex<Counts>);

#[derive(Clone, Default)]
struct Counts {
    requests: u64,
    errors: u64,
    last_error: String,
    processing_time: Duration,
}

impl Counters {
    /// Counts a request.
    pub(super) fn count(&self, took: Duration, error: Option<String>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.requests += 1;
        counts.processing_time += took;
        if let Some(error) = error {
            counts.errors += 1;
            // All endpoints share one message.
            counts.last_error = short(error);
        }
    }

    fn get(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone, Copy)]
pub(super) enum Verb {
    Ping,
    Info,
    Stats,
}

/// Fields that all responses have in common.
#[derive(Serialize)]
struct MicroResponse<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    name: &'static str,
    id: &'a str,
    version: &'static str,
    metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<EndpointResponse<'a>>>,
}

#[derive(Serialize)]
struct EndpointResponse<'a> {
    name: &'a str,
    subject: &'a str,
    queue_group: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a BTreeMap<String, String>>,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    stats: Option<StatsResponse>,
}

/// Statistics, with times in nanoseconds as ADR-32 requires.
#[derive(Serialize)]
struct StatsResponse {
    num_requests: u64,
    num_errors: u64,
    last_error: String,
    processing_time: u128,
    average_processing_time: u128,
}

impl Micro {
    pub(super) fn new(instance: Uuid, endpoints: &[Endpoint], started: DateTime<Utc>) -> Self {
        let about = |endpoint: &Endpoint| About {
            name: endpoint.name.clone(),
            subject: endpoint.subject.clone(),
            metadata: endpoint.metadata.clone(),
        };
        Self {
            id: instance.simple().to_string(),
            started,
            endpoints: endpoints.iter().map(about).collect(),
            stats: endpoints.iter().map(|_| Counters::default()).collect(),
        }
    }

    /// Subscribes to the subjects of discovery.
    pub(super) async fn subscribe(
        &self,
        client: &Client,
    ) -> Result<Vec<(Verb, Subscriber)>, async_nats::SubscribeError> {
        let mut subscriptions = Vec::new();
        for (verb, word) in [(Verb::Ping, "PING"), (Verb::Info, "INFO"), (Verb::Stats, "STATS")] {
            for scope in [String::new(), format!(".{NAME}"), format!(".{NAME}.{}", self.id)] {
                subscriptions.push((verb, client.subscribe(format!("$SRV.{word}{scope}")).await?));
            }
        }
        Ok(subscriptions)
    }

    /// Answers until `stop`, or until the subscriptions end.
    pub(super) async fn run(
        self: Arc<Self>,
        client: Client,
        subscriptions: Vec<(Verb, Subscriber)>,
        stop: CancellationToken,
    ) {
        let mut questions: SelectAll<_> = select_all(
            subscriptions
                .into_iter()
                .map(|(verb, subscriber)| subscriber.map(move |message| (verb, message)).boxed()),
        );
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                question = questions.next() => match question {
                    Some((verb, message)) => self.answer(&client, verb, message).await,
                    None => return,
                },
            }
        }
    }

    async fn answer(&self, client: &Client, verb: Verb, message: Message) {
        let Some(reply) = message.reply.filter(|reply| names::may_be_answered(reply)) else {
            return;
        };
        let body = serde_json::to_vec(&self.response(verb)).unwrap_or_default();
        if let Err(error) = client.publish(reply, body.into()).await {
            warn!(%error, "service discovery not answered");
        }
    }

    fn response(&self, verb: Verb) -> MicroResponse<'_> {
        let (kind, with_info, with_stats) = match verb {
            Verb::Ping => ("io.nats.micro.v1.ping_response", false, false),
            Verb::Info => ("io.nats.micro.v1.info_response", true, false),
            Verb::Stats => ("io.nats.micro.v1.stats_response", false, true),
        };
        let endpoints = self.endpoints.iter().zip(&self.stats).map(|(about, counters)| {
            let stats = with_stats.then(|| {
                let counts = counters.get();
                let total = counts.processing_time.as_nanos();
                StatsResponse {
                    num_requests: counts.requests,
                    num_errors: counts.errors,
                    last_error: counts.last_error,
                    processing_time: total,
                    average_processing_time: total / u128::from(counts.requests.max(1)),
                }
            });
            EndpointResponse {
                name: &about.name,
                subject: &about.subject,
                queue_group: QUEUE_GROUP,
                metadata: with_info.then_some(&about.metadata),
                stats,
            }
        });
        MicroResponse {
            kind,
            name: NAME,
            id: &self.id,
            version: VERSION,
            metadata: BTreeMap::new(),
            description: with_info.then_some(DESCRIPTION),
            started: with_stats.then_some(self.started),
            endpoints: (with_info || with_stats).then(|| endpoints.collect()),
        }
    }
}
