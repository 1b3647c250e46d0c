//! Status of the service.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::ApiError;
use super::reply::Reply;
use super::schedules::AllPaused;
use super::{Api, Caller};
pub use crate::config::in_force::SettingInForce;
use crate::health::Seen;
use crate::index::{Counts, SetAside, Vanished};
use crate::jetstream::writes::OurStream;
use crate::load::About;
use crate::port::Nats;
use crate::stored::format;

/// A request for the status.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GetStatus {
    /// Whether to show the settings of the instance that answers; default no.
    pub include_settings: Option<bool>,
}

/// Status of the service, as seen by the instance that answers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ServiceStatus {
    /// `ok`, or `degraded` if something needs an operator.
    #[schemars(extend("enum" = ["ok", "degraded"]))]
    pub status: String,
    /// Problems, each in a sentence for people.
    pub problems: Vec<String>,
    /// The version of the service.
    pub version: String,
    /// The instance that answers.
    pub instance: Uuid,
    /// When this instance started.
    pub started_at: DateTime<Utc>,
    /// Instances that this one hears from, itself included.
    pub instances: usize,
    /// These instances, and what each says of itself.
    #[serde(default)]
    pub members: Vec<MemberStatus>,
    /// The NATS server that it is connected to.
    pub nats_server: String,
    /// Whether it is currently connected.
    pub nats_connected: bool,
    /// Round trip of a message to the server, in milliseconds.
    pub nats_round_trip_ms: Option<f64>,
    /// What kind of failure it is if JetStream does not answer; the log says why.
    pub jetstream_error: Option<String>,
    /// How far the host's clock is ahead of that of NATS, which the service goes by, in milliseconds.
    pub clock_offset_ms: Option<f64>,
    /// Records that were written but that this instance has not seen yet.
    pub watch_lag: Option<u64>,
    /// How long the oldest due occurrence has not been acted on, in milliseconds.
    pub timer_lag_ms: u64,
    /// Schedules by status.
    pub schedules: BTreeMap<String, usize>,
    /// Number of schedules that are failing.
    pub failing: usize,
    /// Number of schedules that are overdue.
    pub overdue: usize,
    /// Whether all schedules are paused, and by whom.
    #[serde(default)]
    pub all_paused: Option<AllPaused>,
    /// The streams of the service.
    pub streams: Vec<StreamStatus>,
    /// Unreadable records: they are not acted on and harm nothing else.
    pub set_aside: Vec<SetAside>,
    /// Schedules that vanished from the bucket without being deleted, since the instance started.
    pub vanished: Option<Vanished>,
    /// Records that need a newer version of the service, which this instance leaves to such instances.
    pub left_to_newer: LeftToNewer,
    /// The settings of the instance that answers, if they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Vec<SettingInForce>>,
}

/// A running instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemberStatus {
    /// Its id.
    pub instance: Uuid,
    /// Its version.
    pub version: Option<String>,
    /// When it started.
    pub started_at: Option<DateTime<Utc>>,
    /// Number of schedules with a next time, as it sees them.
    pub schedules: Option<usize>,
    /// Number of executions that it acts on.
    pub in_flight: Option<usize>,
}

impl From<(Uuid, About)> for MemberStatus {
    fn from((instance, about): (Uuid, About)) -> Self {
        let About { version, started_at, schedules, in_flight, .. } = about;
        Self { instance, version, started_at, schedules, in_flight }
    }
}

/// Records that an instance leaves to instances of a newer version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftToNewer {
    /// Number of these records.
    pub count: usize,
    /// The highest format that one of them needs.
    pub needs: u16,
    /// The format that this instance knows.
    pub supported: u16,
}

/// How long vanished schedules count as a problem: somebody has to know, and nothing restores them.
const VANISHED_LATELY: TimeDelta = TimeDelta::hours(1);

/// One of the service's streams.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct StreamStatus {
    /// Its name.
    pub name: String,
    /// Whether it exists, if that is known.
    pub exists: Option<bool>,
    /// Settings that differ from ours.
    pub drift: Vec<String>,
    /// What kind of failure it is if writes to it fail; the log says why.
    pub write_error: Option<String>,
}

impl<N: Nats> Api<N> {
    /// Problems, each in a sentence for people; empty if all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.health.problems();
        let unreadable = self.index.set_aside().len();
        if unreadable > 0 {
            problems.push(format!("{unreadable} records cannot be read"));
        }
        let older = self.all_paused_now().and_then(|_| self.ignores_pauses());
        problems.extend(older.map(|(instance, _)| {
            format!("all schedules are paused, and instance {instance} does not know that: it goes on firing")
        }));
        let (count, needs) = self.index.left_to_newer();
        let others = self.health.load.others_act_on.load(Ordering::Relaxed);
        if count > 0 && others < usize::from(needs) {
            problems.push(format!(
                "{count} schedules need a newer version of the service, and none is heard: they do not fire"
            ));
        }
        if let Some(Vanished { schedules, at }) = self.index.vanished()
            && self.clock.now() - at < VANISHED_LATELY
        {
            let at = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            problems.push(format!(
                "{schedules} schedules vanished from the bucket although nobody deleted them, the last at {at}"
            ));
        }
        problems
    }

    /// Returns the status of the service. What it says of NATS is a few seconds old at most.
    ///
    /// # Errors
    /// None; the return type is that of all operations.
    pub async fn status(
        &self,
        request: GetStatus,
        caller: &Caller,
    ) -> Result<Reply<ServiceStatus>, ApiError> {
        let Counts { schedules: kinds, failing, overdue } = self.index.counts();
        let mut schedules: BTreeMap<String, usize> = BTreeMap::new();
        for ((_, status), count) in kinds {
            *schedules.entry(status.as_str().to_owned()).or_default() += count;
        }
        let problems = self.problems();
        let (count, needs) = self.index.left_to_newer();
        let left_to_newer = LeftToNewer { count, needs, supported: format::supported() };
        let Seen { nats, watch_lag, .. } = self.health.seen();
        let write_error = |stream: &str| {
            let place = OurStream::ALL.into_iter().find(|place| place.stream() == stream)?;
            self.health.writes.trouble(place).map(|trouble| trouble.error.to_owned())
        };
        let streams = nats.streams.into_iter().map(|stream| StreamStatus {
            name: stream.name.to_owned(),
            exists: stream.exists,
            drift: stream.drift,
            write_error: write_error(stream.name),
        });
        let load = &self.health.load;
        let timer_lag = load.timer_lag(self.clock.now());
        let server = self.nats.server();
        let millis = |time: std::time::Duration| time.as_secs_f64() * 1000.0;
        let status = ServiceStatus {
            status: if problems.is_empty() { "ok" } else { "degraded" }.to_owned(),
            problems,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance,
            started_at: self.started_at,
            instances: load.instances.load(Ordering::Relaxed),
            members: (self.members)().all.into_iter().map(MemberStatus::from).collect(),
            nats_server: format!("{} {}", server.name, server.version),
            nats_connected: self.health.is_connected(),
            nats_round_trip_ms: nats.round_trip.map(millis),
            jetstream_error: nats.jetstream_error,
            clock_offset_ms: self
                .clock
                .host_offset()
                .map(|(offset, _)| offset.as_seconds_f64() * 1000.0),
            watch_lag,
            timer_lag_ms: u64::try_from(timer_lag.as_millis()).unwrap_or(u64::MAX),
            schedules,
            failing,
            overdue,
            all_paused: self.all_paused_now(),
            streams: streams.collect(),
            set_aside: self.index.set_aside(),
            vanished: self.index.vanished(),
            left_to_newer,
            settings: (request.include_settings == Some(true)).then(|| self.settings.clone()),
        };
        Ok(Reply::new(status, caller))
    }
}
