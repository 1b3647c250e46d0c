//! What is read at the moment of a scrape, and how it is shown.
//!
//! A new one is a field of [`Gauges`] and what is registered of it below. What is not known is left out: a
//! zero would say something else.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::{EncodeGaugeValue, EncodeLabelSet};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::{Metric, Registry};

use super::labels::TYPES;
use crate::schedule::{ScheduleType, Status};

const STATUSES: [Status; 5] =
    [Status::Active, Status::Paused, Status::Completed, Status::Failed, Status::Deleted];

/// What is read at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Schedules by type and status, as this instance sees them.
    pub schedules: HashMap<(ScheduleType, Status), usize>,
    /// Schedules that are due and wait for a permit.
    pub queue_depth: usize,
    /// Schedules with a timer.
    pub timers: usize,
    /// How long what is due longest has not been acted on.
    pub timer_lag: Duration,
    /// Claims made ahead that wait for their time.
    pub armed: usize,
    /// Executions that this instance acts on.
    pub active_executions: usize,
    /// The work under way, by what it waits for.
    pub in_flight: Stages,
    /// Records that were written and that this instance has not seen, if known.
    pub watch_lag: Option<u64>,
    /// By how many seconds our clock is ahead of the server's, if known.
    pub clock_offset: Option<f64>,
    /// Seconds that a message takes to the server and back, if known.
    pub nats_rtt: Option<f64>,
    /// Whether there is a connection to NATS.
    pub nats_connected: bool,
    /// Whether the instance answers requests and fires schedules.
    pub ready: bool,
    /// Records that cannot be read.
    pub set_aside: usize,
    /// Records that need a newer version.
    pub left_to_newer: usize,
    /// Schedules that vanished from the bucket although nobody deleted them.
    pub vanished: usize,
    /// Executions that the index of the history holds.
    pub history_entries: usize,
    /// Instances that are heard, this one included.
    pub instances: usize,
    /// Our streams.
    pub streams: Vec<StreamGauges>,
    /// When the process started.
    pub started_at: DateTime<Utc>,
}

/// The pieces of work under way, by what they wait for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages {
    /// A write of the schedule's record.
    pub claiming: usize,
    /// The acknowledgement of a command.
    pub delivering: usize,
    /// The reply to a `request`.
    pub waiting_reply: usize,
    /// The acknowledgement of the history.
    pub recording: usize,
}

/// One of our streams.
#[derive(Clone, Debug)]
pub struct StreamGauges {
    /// Its name.
    pub name: String,
    /// Whether it is there.
    pub exists: bool,
    /// How many of its settings differ from ours.
    pub drift: usize,
    /// Whether what is written to it fails.
    pub writes_fail: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Schedules {
    r#type: ScheduleType,
    status: Status,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InFlight {
    stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stream {
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Gauges {
    pub(super) fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let to = &mut registry;
        let schedules = TYPES.into_iter().flat_map(|kind| {
            STATUSES.map(|status| {
                let labels = Schedules { r#type: kind, status };
                (labels, self.schedules.get(&(kind, status)).copied().unwrap_or(0))
            })
        });
        family(to, "schedules", "Schedules, as this instance sees them", schedules.clone());
        // Its name is that of a counter. It stays for those who query it.
        family(to, "schedules_total", "The same as schedules, by its former name", schedules);
        gauge(
            to,
            "schedule_queue_depth",
            "Schedules that are due and wait for a permit",
            self.queue_depth,
        );
        gauge(to, "scheduler_timer_queue", "Schedules with a timer", self.timers);
        gauge(
            to,
            "scheduler_timer_lag_seconds",
            "How long what is due longest has not been acted on",
            self.timer_lag.as_secs_f64(),
        );
        gauge(
            to,
            "scheduler_armed_claims",
            "Claims made ahead that wait for their time",
            self.armed,
        );
        gauge(
            to,
            "active_executions",
            "Executions that this instance acts on",
            self.active_executions,
        );
        let stages = [
            ("claiming", self.in_flight.claiming),
            ("delivering", self.in_flight.delivering),
            ("waiting_reply", self.in_flight.waiting_reply),
            ("recording", self.in_flight.recording),
        ];
        let stages = stages.map(|(stage, count)| (InFlight { stage }, count));
        family(to, "scheduler_in_flight", "Work under way, by what it waits for", stages);
        if let Some(lag) = self.watch_lag {
            gauge(
                to,
                "scheduler_watch_lag_records",
                "Records that were written and that this instance has not seen",
                lag,
            );
        }
        if let Some(offset) = self.clock_offset {
            gauge(
                to,
                "scheduler_clock_offset_seconds",
                "By how much our clock is ahead of that of the NATS server",
                offset,
            );
        }
        if let Some(rtt) = self.nats_rtt {
            gauge(
                to,
                "scheduler_nats_rtt_seconds",
                "Time of a message to the NATS server and back",
                rtt,
            );
        }
        gauge(
            to,
            "scheduler_nats_connected",
            "Whether there is a connection to NATS",
            u32::from(self.nats_connected),
        );
        gauge(
            to,
            "scheduler_ready",
            "Whether the instance answers requests and fires schedules",
            u32::from(self.ready),
        );
        gauge(
            to,
            "scheduler_set_aside_records",
            "Records that cannot be read and are not acted on",
            self.set_aside,
        );
        to.register(
            "scheduler_schedules_vanished",
            "Schedules that vanished from the bucket although nobody deleted them",
            ConstCounter::new(self.vanished as u64),
        );
        gauge(
            to,
            "scheduler_left_to_newer_records",
            "Records that need a newer version of the service and are left to it",
            self.left_to_newer,
        );
        gauge(
            to,
            "scheduler_history_entries",
            "Executions that the index of the history holds",
            self.history_entries,
        );
        gauge(
            to,
            "scheduler_instances",
            "Instances that are heard, this one included",
            self.instances,
        );
        let stream = |stream: &StreamGauges| Stream { stream: stream.name.clone() };
        let up = self.streams.iter().map(|row| (stream(row), usize::from(row.exists)));
        family(to, "scheduler_stream_up", "Whether the stream is there", up);
        let drift = self.streams.iter().map(|row| (stream(row), row.drift));
        family(to, "scheduler_stream_drift", "Settings of the stream that differ from ours", drift);
        let failing = self.streams.iter().map(|row| (stream(row), usize::from(row.writes_fail)));
        let help = "Whether what this instance writes to the stream fails";
        family(to, "scheduler_stream_writes_failing", help, failing);
        let version = Build { version: env!("CARGO_PKG_VERSION") };
        family(to, "scheduler_build_info", "The version of the service; always 1", [(version, 1)]);
        #[allow(clippy::cast_precision_loss, reason = "exact for the next 280,000 years")]
        let started = self.started_at.timestamp_millis() as f64 / 1000.0;
        gauge(to, "process_start_time_seconds", "When the process started, in Unix time", started);
        #[cfg(target_os = "linux")]
        super::process::register(to);
        registry
    }
}

/// Registers a gauge of one value.
pub(super) fn gauge<N>(registry: &mut Registry, name: &str, help: &str, value: N)
where
    ConstGauge<N>: Metric,
    N: EncodeGaugeValue,
{
    registry.register(name, help, ConstGauge::new(value));
}

/// Registers a gauge of one value for each set of labels.
fn family<S>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    rows: impl IntoIterator<Item = (S, usize)>,
) where
    S: EncodeLabelSet + Clone + Eq + Hash + std::fmt::Debug + Send + Sync + 'static,
{
    let family = Family::<S, Gauge>::default();
    for (labels, value) in rows {
        family.get_or_create(&labels).set(i64::try_from(value).unwrap_or(i64::MAX));
    }
    registry.register(name, help, family);
}
