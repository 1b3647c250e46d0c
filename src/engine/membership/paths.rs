//! The subjects by which an instance sends heartbeats, and what it says there.
//!
//! Earlier versions hear each other on `evt.scheduler.instance.<id>`, among the events that users listen to. Heartbeats
//! now go to `scheduler.instance.<id>`, and to the old subject only while an instance needs them there:
//!
//! | who | speaks by | hears |
//! |---|---|---|
//! | an earlier instance | the old subject, with an empty body | the old subject |
//! | an instance alone, or among its kind | the present subject | both |
//! | an instance in [`COMPANY`] of an earlier one | both | both |
//! | an instance that NATS refuses the present subject | the old subject, with [`old_subject_only`](Beat) | both, as far as it may |
//!
//! Two rules produce this, and neither needs to know a version or a permission:
//!
//! - **We use the old subject until we hear ourselves by the present one.** At the start, and after a lost connection,
//!   that is one heartbeat. It comes before we claim anything, so an earlier instance, which takes the claim of an
//!   instance that it has not heard for that of a dead one, has heard of us by then. Where publishing or subscribing
//!   is refused, it is every heartbeat.
//! - **We use the old subject for every instance that we hear on it and that does not say that it hears the present
//!   one.** These are all whose body is not ours, and those that say `old_subject_only`. We do so for [`COMPANY`] after
//!   the last such heartbeat, far longer than silence takes to count, so that an instance that was suspended or cut off
//!   finds us there when it comes back. A goodbye ends it at once.
//!
//! Two instances that use both subjects do not keep each other doing so: heartbeats sent for the sake of an earlier
//! instance say that their sender hears the present subject.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::HEARTBEAT;
use crate::load::{About, Load};
use crate::stored::format;
use crate::text::within;

/// How long we use the old subject for an instance that needs it, after its last heartbeat.
pub(super) const COMPANY: Duration = Duration::from_secs(30);
/// Time without hearing ourselves after which we count as deaf: ten heartbeats, so a hiccup of NATS does not count.
const DEAF_AFTER: Duration = Duration::from_millis(2500);
/// Pause after a refusal before the present subject is tried again: permissions may have been granted since.
const TRY_AGAIN: Duration = Duration::from_secs(20);

/// The format of [`Beat`].
const FORMAT: u32 = 1;
/// The whole body of a goodbye on the old subject.
pub(super) const OLD_GOODBYE: &[u8] = b"leaving";

/// The body of a heartbeat. Fields may be added; readers ignore those that they do not know.
#[derive(Debug, Serialize)]
pub(super) struct Beat {
    format: u32,
    version: &'static str,
    started_at: DateTime<Utc>,
    /// Whether this is the sender's last heartbeat.
    leaving: bool,
    /// Number of schedules with a next time, as the sender sees them.
    schedules: usize,
    /// Number of executions that the sender acts on.
    in_flight: usize,
    /// The highest format of records that the sender may act on.
    acts_on: u16,
    /// How far the sender's time may be behind that of NATS, in milliseconds.
    time_error_ms: u32,
    /// Interval between the sender's heartbeats, in milliseconds.
    every_ms: u32,
    /// Revision of the pauses of all schedules by which everything is claimed that the sender claims.
    honours: u64,
    /// The latest time that the sender has claimed ahead, in Unix milliseconds.
    armed_until_ms: i64,
    /// A subject that only the sender's connection listens to. If NATS answers a question there with "no responders",
    /// the sender is gone.
    listens_on: String,
    /// Whether the sender cannot use the present subject. Absent otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    old_subject_only: bool,
}

impl Beat {
    pub(super) fn new(
        started_at: DateTime<Utc>,
        load: &Load,
        time_error_ms: u32,
        listens_on: String,
    ) -> Self {
        let [schedules, in_flight] =
            [&load.timers, &load.executions].map(|count| count.load(Ordering::Relaxed));
        let (leaving, old_subject_only) = (false, false);
        let version = env!("CARGO_PKG_VERSION");
        Self {
            format: FORMAT,
            version,
            started_at,
            leaving,
            schedules,
            in_flight,
            acts_on: format::supported(),
            time_error_ms,
            every_ms: u32::try_from(HEARTBEAT.as_millis()).unwrap_or(u32::MAX),
            honours: load.honours.load(Ordering::Relaxed),
            armed_until_ms: load.armed_until_ms(),
            listens_on,
            old_subject_only,
        }
    }

    pub(super) fn leaving(self) -> Self {
        Self { leaving: true, ..self }
    }

    pub(super) fn old_subject_only(self, old_subject_only: bool) -> Self {
        Self { old_subject_only, ..self }
    }

    pub(super) fn to_bytes(&self) -> bytes::Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

/// Longest version that is kept of another instance, in bytes.
const MAX_VERSION: usize = 64;

/// What a heartbeat says of its sender, as far as it can be read: newer versions may say it in other ways.
pub(super) fn about(body: &[u8]) -> About {
    let said: Value = serde_json::from_slice(body).unwrap_or_default();
    let number = |field: &str| usize::try_from(said[field].as_u64()?).ok();
    let version = said["version"].as_str();
    About {
        version: version.map(|version| within(version, MAX_VERSION).into_owned()),
        started_at: said["started_at"].as_str().and_then(|at| at.parse().ok()),
        schedules: number("schedules"),
        in_flight: number("in_flight"),
        acts_on: number("acts_on").and_then(|format| format.try_into().ok()).unwrap_or(0),
        honours: said["honours"].as_u64().unwrap_or(0),
        armed_until: said["armed_until_ms"].as_i64().and_then(DateTime::from_timestamp_millis),
    }
}

/// What is read from another instance's heartbeat. Without these fields, or without JSON, it is a heartbeat all the
/// same.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Whether it is a goodbye.
    pub(super) leaving: bool,
    /// Whether the sender must be addressed by the old subject.
    pub(super) needs_old: bool,
    /// The highest format of records that the sender may act on.
    pub(super) acts_on: u16,
    /// How far the sender's time may be behind that of NATS, in milliseconds.
    pub(super) time_error_ms: u32,
    /// Whether the sender sends heartbeats as often as we do, so that a late one means something.
    pub(super) is_frequent: bool,
    /// A subject that only the sender's connection listens to.
    pub(super) listens_on: Option<String>,
}

impl Heard {
    /// Reads a heartbeat that came by the old subject if `by_old`, otherwise by the present one.
    pub(super) fn read(body: &[u8], by_old: bool) -> Self {
        #[derive(Deserialize)]
        struct Said {
            #[serde(rename = "format")]
            _is_ours: IgnoredAny,
            #[serde(default)]
            leaving: bool,
            #[serde(default)]
            old_subject_only: bool,
            #[serde(default)]
            acts_on: u16,
            #[serde(default)]
            time_error_ms: u32,
            every_ms: Option<u32>,
            listens_on: Option<String>,
        }
        match serde_json::from_slice::<Said>(body) {
            Ok(said) => Self {
                leaving: said.leaving,
                needs_old: by_old && said.old_subject_only,
                acts_on: said.acts_on,
                time_error_ms: said.time_error_ms,
                is_frequent: said
                    .every_ms
                    .is_some_and(|ms| u128::from(ms) <= HEARTBEAT.as_millis()),
                listens_on: said.listens_on,
            },
            Err(_) => {
                let leaving = by_old && body == OLD_GOODBYE;
                Self { leaving, needs_old: by_old && !leaving, ..Self::default() }
            }
        }
    }
}

/// The subjects that work for us, and the instances that need the old one.
#[derive(Debug)]
pub(super) struct Paths {
    /// Since when we have tried to hear ourselves by the present subject.
    trying: Instant,
    /// When we last heard ourselves by the present subject.
    present: Option<Instant>,
    /// When we last heard ourselves by either subject.
    any: Option<Instant>,
    /// When NATS last refused the present subject, or we last tried it again; `None` once we hear ourselves.
    refused: Option<Instant>,
    /// When instances that need the old subject were last heard.
    company: HashMap<Uuid, Instant>,
}

/// The subjects that one heartbeat goes to, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// Whether it goes by the present subject.
    pub(super) present: bool,
    /// Whether to subscribe to the present subject again first, since it was refused.
    pub(super) again: bool,
    /// Whether it goes by the old subject.
    pub(super) old: bool,
    /// Whether it says on the old subject that we cannot use the present one.
    pub(super) old_only: bool,
}

impl Paths {
    pub(super) fn new(now: Instant) -> Self {
        let company = HashMap::new();
        Self { trying: now, present: None, any: None, refused: None, company }
    }

    /// The subjects that the next heartbeat goes to, and how.
    pub(super) fn next(&mut self, now: Instant) -> Way {
        self.company.retain(|_, heard| now.duration_since(*heard) < COMPANY);
        let again = self.refused.is_some_and(|at| now.duration_since(at) >= TRY_AGAIN);
        if again {
            self.refused = Some(now);
        }
        let heard = self.refused.is_none() && is_fresh(self.present, now);
        // Until then our heartbeat may only be under way.
        let unheard = now.duration_since(self.present.unwrap_or(self.trying));
        let old_only = self.refused.is_some() || unheard > DEAF_AFTER;
        Way {
            present: self.refused.is_none() || again,
            again,
            old: !heard || !self.company.is_empty(),
            old_only,
        }
    }

    /// Notes that we heard ourselves; returns whether that ends a refusal.
    pub(super) fn hear_ourselves(&mut self, by_old: bool, now: Instant) -> bool {
        self.any = Some(now);
        if by_old {
            return false;
        }
        self.present = Some(now);
        self.refused.take().is_some()
    }

    /// Notes what another instance's heartbeat says it needs.
    pub(super) fn hear(&mut self, id: Uuid, heard: &Heard, now: Instant) {
        if heard.leaving {
            self.company.remove(&id);
        } else if heard.needs_old {
            self.company.insert(id, now);
        }
    }

    /// Notes that NATS refused the present subject; returns whether that is news.
    pub(super) fn refuse(&mut self, now: Instant) -> bool {
        self.present = None;
        self.refused.replace(now).is_none()
    }

    /// Notes that there is no connection: what we heard before says nothing about the next one.
    pub(super) fn disconnect(&mut self, now: Instant) {
        (self.trying, self.present, self.any) = (now, None, None);
    }

    /// Whether we do not hear our own heartbeats.
    pub(super) fn is_deaf(&self, now: Instant) -> bool {
        !is_fresh(self.any, now)
    }

    /// For how long we have not heard ourselves, while there was a connection.
    pub(super) fn deaf_for(&self, now: Instant) -> Duration {
        now.duration_since(self.any.unwrap_or(self.trying))
    }
}

fn is_fresh(heard: Option<Instant>, now: Instant) -> bool {
    heard.is_some_and(|heard| now.duration_since(heard) <= DEAF_AFTER)
}

#[cfg(test)]
mod tests;
