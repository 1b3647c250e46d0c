//! Observes NATS: how long it takes to answer, and the state of our streams. What it says of the time goes to the
//! [clock](crate::clock).

use std::time::Duration;

use futures::StreamExt as _;
use tokio::time::Instant;

use super::provision::{STREAMS, differences};
use crate::clock::{Clock, Sample};
use crate::config::streams::StreamOptions;
use crate::names;
use crate::port::{Info, Nats, Outgoing};

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The state of one of our streams.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Its name.
    pub name: &'static str,
    /// Whether it exists; `None` if that is not known.
    pub exists: Option<bool>,
    /// Settings that differ from ours, as `setting: is X, expected Y`.
    pub drift: Vec<String>,
    /// The sequence of its last message.
    pub last_sequence: u64,
}

/// What was observed.
#[derive(Clone, Debug, Default)]
pub struct Observation {
    /// How long a message takes to the server and back.
    pub round_trip: Option<Duration>,
    /// What kind of failure it is if JetStream does not answer.
    pub jetstream_error: Option<String>,
    /// What was said about that, for the log.
    pub jetstream_cause: Option<String>,
    /// Our streams.
    pub streams: Vec<Stream>,
}

/// Observes NATS once; takes as long as NATS does, and a few seconds at most.
pub async fn observe(nats: &impl Nats, options: StreamOptions, clock: &Clock) -> Observation {
    let mut seen = Observation { round_trip: round_trip(nats).await, ..Observation::default() };
    for (name, json) in STREAMS {
        let mut stream = Stream { name, exists: None, drift: Vec::new(), last_sequence: 0 };
        let asked = Instant::now();
        let answer = tokio::time::timeout(PATIENCE, nats.info(name)).await;
        let answered = Instant::now();
        match answer {
            Ok(Ok(Info { config, state, said_at, .. })) => {
                stream.exists = Some(true);
                stream.drift = differences(json, options, &config);
                stream.last_sequence = state.last_sequence;
                // One clock for all instances: that of the leader that decides who may act.
                if let Some(theirs) = said_at.filter(|_| name == names::SCHEDULES_STREAM) {
                    clock.hear(Sample { asked, answered, theirs });
                }
            }
            Ok(Err(error)) if error.is_no_stream() => stream.exists = Some(false),
            Ok(Err(error)) => {
                seen.jetstream_error = Some(error.kind());
                seen.jetstream_cause = Some(format!("{name}: {error}"));
            }
            Err(_) => {
                let error = format!("no answer within {PATIENCE:?}");
                seen.jetstream_cause = Some(format!("{name}: {error}"));
                seen.jetstream_error = Some(error);
            }
        }
        seen.streams.push(stream);
    }
    seen
}

async fn round_trip(nats: &impl Nats) -> Option<Duration> {
    let echo = async {
        let inbox = nats.new_inbox();
        let mut messages = nats.subscribe(inbox.clone()).await.ok()?;
        // The subscription reaches the server first, on the same connection.
        nats.publish(Outgoing { subject: inbox.clone(), ..Outgoing::default() }).await.ok()?;
        messages.next().await?;
        let began = Instant::now();
        nats.publish(Outgoing { subject: inbox, ..Outgoing::default() }).await.ok()?;
        messages.next().await?;
        Some(began.elapsed())
    };
    tokio::time::timeout(PATIENCE, echo).await.ok().flatten()
}

/// The revision up to which the bucket of schedules has been written.
pub fn last_revision(streams: &[Stream]) -> Option<u64> {
    let bucket = streams.iter().find(|stream| stream.name == names::SCHEDULES_STREAM)?;
    bucket.exists.filter(|exists| *exists).map(|_| bucket.last_sequence)
}
