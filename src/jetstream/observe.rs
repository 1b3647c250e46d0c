//! How NATS is, as we see it: how long it takes, and how our streams stand. What it says of the time goes
//! to the [clock](crate::clock).

use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Info;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::time::Instant;

use super::provision::{STREAMS, StreamOptions, differences};
use crate::clock::{Clock, Sample};
use crate::names;

/// Longest time that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// One of our streams as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Its name.
    pub name: &'static str,
    /// Whether it is there; `None` if that is not known.
    pub exists: Option<bool>,
    /// Settings that differ from ours, as `setting: is X, expected Y`.
    pub drift: Vec<String>,
    /// The last message that it has.
    pub last_sequence: u64,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// How long a message takes to the server and back.
    pub round_trip: Option<Duration>,
    /// Why JetStream does not answer, if it does not.
    pub jetstream_error: Option<String>,
    /// Our streams.
    pub streams: Vec<Stream>,
}

/// What the server says of a stream.
#[derive(Deserialize)]
struct Answer {
    /// Its clock when it answered.
    ts: Option<DateTime<Utc>>,
    error: Option<jetstream::Error>,
}

/// Looks once; takes as long as NATS, and a few seconds at most.
pub async fn observe(
    js: &jetstream::Context,
    options: StreamOptions,
    clock: &Clock,
) -> Observation {
    let mut seen = Observation { round_trip: round_trip(js).await, ..Observation::default() };
    for (name, json) in STREAMS {
        let mut stream = Stream { name, exists: None, drift: Vec::new(), last_sequence: 0 };
        let asked = Instant::now();
        let client = js.client();
        let request = client.request(format!("$JS.API.STREAM.INFO.{name}"), "".into());
        let body = match tokio::time::timeout(PATIENCE, request).await {
            Ok(Ok(reply)) => reply.payload,
            Ok(Err(error)) => {
                seen.jetstream_error = Some(error.to_string());
                seen.streams.push(stream);
                continue;
            }
            Err(_) => {
                seen.jetstream_error = Some(format!("no answer within {PATIENCE:?}"));
                seen.streams.push(stream);
                continue;
            }
        };
        let answered = Instant::now();
        match serde_json::from_slice::<Answer>(&body) {
            Ok(Answer { error: Some(error), .. }) => {
                let missing = error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND;
                if missing {
                    stream.exists = Some(false);
                } else {
                    seen.jetstream_error = Some(error.to_string());
                }
            }
            Ok(Answer { ts, error: None }) => {
                if let Ok(info) = serde_json::from_slice::<Info>(&body) {
                    stream.exists = Some(true);
                    stream.drift = differences(json, options, &info);
                    stream.last_sequence = info.state.last_sequence;
                }
                // One clock for all: that of the leader that decides who may act.
                if let Some(theirs) = ts.filter(|_| name == names::SCHEDULES_STREAM) {
                    clock.hear(Sample { asked, answered, theirs });
                }
            }
            Err(error) => seen.jetstream_error = Some(error.to_string()),
        }
        seen.streams.push(stream);
    }
    seen
}

async fn round_trip(js: &jetstream::Context) -> Option<Duration> {
    use futures::StreamExt as _;

    let client = js.client();
    let echo = async {
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(inbox.clone()).await.ok()?;
        // The subscription goes ahead of this on the same connection.
        client.publish(inbox.clone(), "".into()).await.ok()?;
        messages.next().await?;
        let began = Instant::now();
        client.publish(inbox, "".into()).await.ok()?;
        messages.next().await?;
        Some(began.elapsed())
    };
    tokio::time::timeout(PATIENCE, echo).await.ok().flatten()
}

/// The revision up to which the bucket of schedules was written.
pub fn last_revision(streams: &[Stream]) -> Option<u64> {
    let bucket = streams.iter().find(|stream| stream.name == names::SCHEDULES_STREAM)?;
    bucket.exists.filter(|exists| *exists).map(|_| bucket.last_sequence)
}
