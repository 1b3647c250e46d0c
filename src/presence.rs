//! When instances ran: so that it can be told, months later, why nothing was done at a time.
//!
//! Each instance has a key of its own in the bucket. It writes it at its start, once a minute, and when it is told to
//! stop, and the key expires after 90 days. An instance that dies leaves the time of its last sign of life; when it
//! died within the minute after that, nobody knows. Nothing else depends on these keys. A write that fails is made good
//! by the next one, unless that comes so late that the instance could not act meanwhile either: then its span has ended
//! with the last write that succeeded.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::debug;
use uuid::Uuid;

use crate::clock::Clock;
use crate::explain::Downtime;
use crate::jetstream::WriteError;
use crate::jetstream::schedules::Store;
use crate::moment::Moment as _;
use crate::names;
use crate::port::Nats;
use crate::stored::{Unknown, format, keeps_unknown};

/// Interval between writes.
const EVERY: Duration = Duration::from_secs(60);
/// Pause before a write that failed is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Time after a sign of life within which the instance may still have run.
const MAY_RUN: TimeDelta = TimeDelta::seconds(70);
/// Time after which a write that was expected every minute shows that the instance could not act meanwhile.
const INTERRUPTED: TimeDelta = TimeDelta::seconds(130);
/// How long a key is kept after the last write.
const KEPT: Duration = Duration::from_secs(90 * 86_400);
/// Most keys that are kept: one that starts removes the oldest beyond them.
const MOST: usize = 1000;
/// Most spans of one instance that are kept.
const SPANS: usize = 64;

/// A time in which an instance ran and reached NATS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Span {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
}

/// When one instance ran.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
struct Presence {
    format: u16,
    version: String,
    /// Oldest first.
    spans: Vec<Span>,
    /// Whether it was told to stop, at the end of its last span.
    left: bool,
    /// Fields that a newer version has added.
    #[serde(skip)]
    unknown: Unknown,
}

keeps_unknown!(Presence);

/// Writes down that instance `me` runs, until `stop`, and then that it leaves.
pub(crate) async fn note<N: Nats>(
    store: Store<N>,
    me: Uuid,
    clock: Clock,
    stop: CancellationToken,
) {
    let key = names::instance_key(me);
    let mut noted = Presence::new(clock.now());
    if let Err(error) = forget_oldest(&store).await {
        debug!(%error, "old notes on instances cannot be removed");
    }
    loop {
        let left = stop.is_cancelled();
        let mut presence = Presence { left, ..noted.clone() };
        presence.goes_on(clock.now());
        let written = store.note(&key, presence.encode(), KEPT).await;
        if left {
            return;
        }
        let pause = match written {
            Ok(_) => {
                noted = presence;
                EVERY
            }
            Err(error) => {
                debug!(%error, "cannot note that this instance runs");
                AGAIN
            }
        };
        let _ = stop.run_until_cancelled(tokio::time::sleep(pause)).await;
    }
}

/// The times in which no instance ran, oldest first.
///
/// # Errors
/// If the bucket cannot be read.
pub(crate) async fn downtimes<N: Nats>(store: &Store<N>) -> Result<Vec<Downtime>, WriteError> {
    let noted = store.read_all(names::INSTANCE_KEY_WILDCARD).await?;
    let presences = noted.iter().filter_map(|(_, stored)| Presence::read(stored.value.as_deref()?));
    Ok(between(&presences.collect::<Vec<_>>()))
}

async fn forget_oldest<N: Nats>(store: &Store<N>) -> Result<(), WriteError> {
    let sight = store.sight();
    let mut noted = store.read_all(names::INSTANCE_KEY_WILDCARD).await?;
    noted.retain(|(_, stored)| stored.value.is_some());
    noted.sort_unstable_by_key(|(_, stored)| stored.revision);
    let beyond = noted.len().saturating_sub(MOST - 1);
    for (key, stored) in noted.into_iter().take(beyond) {
        // One that another instance removes too, or that is written again, is left alone.
        let _ = store.delete(&key, sight.at(stored.revision)).await;
    }
    Ok(())
}

impl Presence {
    fn new(now: DateTime<Utc>) -> Self {
        Self {
            format: format::FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            spans: vec![Span { from: now, to: now }],
            left: false,
            unknown: Unknown::default(),
        }
    }

    /// Notes that the instance runs at `now`. If it could not note that in time, it could not act either.
    fn goes_on(&mut self, now: DateTime<Utc>) {
        match self.spans.last_mut() {
            Some(span) if now <= span.to.later(INTERRUPTED) => span.to = span.to.max(now),
            _ => self.spans.push(Span { from: now, to: now }),
        }
        if self.spans.len() > SPANS {
            self.spans.remove(0);
        }
    }

    fn encode(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    fn read(value: &[u8]) -> Option<Self> {
        serde_json::from_slice(value).ok()
    }
}

/// The times between spans of all instances.
fn between(presences: &[Presence]) -> Vec<Downtime> {
    // Start, last sign of life, and the time until which it may have run.
    let mut spans: Vec<(DateTime<Utc>, DateTime<Utc>, DateTime<Utc>)> = Vec::new();
    for presence in presences {
        for (n, span) in presence.spans.iter().enumerate() {
            let is_exact = presence.left && n + 1 == presence.spans.len();
            let until = if is_exact { span.to } else { span.to.later(MAY_RUN) };
            spans.push((span.from, span.to, until));
        }
    }
    spans.sort_unstable();
    let mut downtimes = Vec::new();
    let mut before: Option<(DateTime<Utc>, DateTime<Utc>)> = None;
    for (from, to, until) in spans {
        if let Some((last, most)) = before
            && from > most
        {
            downtimes.push(Downtime { from: last, to: from });
        }
        before = Some(before.map_or((to, until), |(last, most)| (last.max(to), most.max(until))));
    }
    downtimes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn ran(spans: &[(i64, i64)], left: bool) -> Presence {
        let span = |(from, to): &(i64, i64)| Span { from: at(*from), to: at(*to) };
        Presence { spans: spans.iter().map(span).collect(), left, ..Presence::new(at(0)) }
    }

    fn gaps(presences: &[Presence]) -> Vec<(i64, i64)> {
        let second = |at: DateTime<Utc>| at.timestamp();
        between(presences).iter().map(|gap| (second(gap.from), second(gap.to))).collect()
    }

    #[test]
    fn no_instance_ran_between_their_spans() {
        assert_eq!(gaps(&[]), []);
        // Before the first and after the last nothing is known.
        assert_eq!(gaps(&[ran(&[(10, 100)], false)]), []);
        // One that left did so then; one that died may have run for a minute more.
        assert_eq!(gaps(&[ran(&[(0, 100)], true), ran(&[(101, 200)], false)]), [(100, 101)]);
        assert_eq!(gaps(&[ran(&[(0, 100)], false), ran(&[(170, 200)], false)]), []);
        assert_eq!(gaps(&[ran(&[(0, 100)], false), ran(&[(171, 200)], false)]), [(100, 171)]);
        // While another one runs nothing is missed.
        let long = ran(&[(0, 500)], false);
        assert_eq!(gaps(&[ran(&[(0, 100)], true), long, ran(&[(400, 600)], true)]), []);
        // One that slept.
        assert_eq!(gaps(&[ran(&[(0, 100), (1000, 1100)], false)]), [(100, 1000)]);
    }

    #[test]
    fn an_instance_that_could_not_write_for_two_minutes_could_not_act() {
        let mut presence = Presence::new(at(0));
        for second in [60, 120, 180, 400, 460] {
            presence.goes_on(at(second));
        }
        assert_eq!(presence.spans, ran(&[(0, 180), (400, 460)], false).spans);
        // A clock that goes back takes nothing away.
        presence.goes_on(at(450));
        assert_eq!(presence.spans[1].to, at(460));
        for night in 1..200 {
            presence.goes_on(at(86_400 * night));
        }
        assert_eq!((presence.spans.len(), presence.spans[0].from), (SPANS, at(86_400 * 136)));
        let read = Presence::read(&presence.encode()).unwrap();
        assert_eq!((read.spans, read.left), (presence.spans, false));
    }
}
