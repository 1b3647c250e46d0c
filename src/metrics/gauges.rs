//! Values that are read at the moment of a scrape, and how they are shown.
//!
//! To add one, add a field to [`Gauges`] and write it below. Unknown values are left out: a zero would mean
//! something else.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use prometheus_client::encoding::EncodeLabelSet;

use super::collect::Scrape;
use super::groups::{self, GroupGauges};
use super::labels::TYPES;
use crate::every::every;
use crate::index::Counts;
use crate::schedule::{ScheduleType, Status};

const STATUSES: [Status; 5] = every!(Status: Active, Paused, Completed, Failed, Deleted);

/// Values that are read at the moment of a scrape.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Numbers of schedules, as this instance sees them.
    pub counts: Counts,
    /// Whether all schedules are paused at once.
    pub all_paused: bool,
    /// Number of schedules that are due and wait for a permit.
    pub queue_depth: usize,
    /// Number of schedules with a timer.
    pub timers: usize,
    /// How long the longest overdue timer has not been acted on.
    pub timer_lag: Duration,
    /// Number of claims made ahead that wait for their time.
    pub armed: usize,
    /// Number of executions that this instance acts on.
    pub active_executions: usize,
    /// Work under way, by what it waits for.
    pub in_flight: Stages,
    /// Number of records that were written but not yet seen by this instance, if known.
    pub watch_lag: Option<u64>,
    /// Seconds by which our clock is ahead of the server's, if known.
    pub clock_offset: Option<f64>,
    /// Seconds that a message takes to the server and back, if known.
    pub nats_rtt: Option<f64>,
    /// Whether there is a connection to NATS.
    pub nats_connected: bool,
    /// Whether the instance replies to requests and fires schedules.
    pub ready: bool,
    /// Number of records that cannot be read.
    pub set_aside: usize,
    /// Number of records that need a newer version.
    pub left_to_newer: usize,
    /// Number of schedules that vanished from the bucket although nobody deleted them.
    pub vanished: usize,
    /// Number of executions in the index of the history.
    pub history_entries: usize,
    /// Number of instances that are heard, this one included.
    pub instances: usize,
    /// The concurrency groups.
    pub groups: Vec<GroupGauges>,
    /// Our streams.
    pub streams: Vec<StreamGauges>,
    /// When the process started.
    pub started_at: DateTime<Utc>,
}

/// Stage of a piece of work: what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A write of the schedule's record.
    Claiming,
    /// The acknowledgement of a command.
    Delivering,
    /// The reply to a `request`.
    WaitingReply,
    /// The acknowledgement of the history.
    Recording,
}

impl Stage {
    /// Every stage.
    pub(crate) const ALL: [Self; 4] = every!(Stage: Claiming, Delivering, WaitingReply, Recording);

    fn as_str(self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Delivering => "delivering",
            Self::WaitingReply => "waiting_reply",
            Self::Recording => "recording",
        }
    }
}

/// Number of pieces of work under way, by what they wait for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stages([usize; Stage::ALL.len()]);

impl Stages {
    /// The number in each stage.
    pub(crate) fn new(count: impl Fn(Stage) -> usize) -> Self {
        Self(Stage::ALL.map(count))
    }

    /// The number in all of them.
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }
}

/// One of our streams.
#[derive(Clone, Debug)]
pub struct StreamGauges {
    /// Its name.
    pub name: String,
    /// Whether the stream exists.
    pub exists: bool,
    /// Number of its settings that differ from ours.
    pub drift: usize,
    /// Whether writes to it fail.
    pub writes_fail: bool,
}

#[derive(Clone, Copy, EncodeLabelSet)]
struct Schedules {
    r#type: ScheduleType,
    status: Status,
}

#[derive(EncodeLabelSet)]
struct InFlight {
    stage: &'static str,
}

#[derive(EncodeLabelSet)]
struct Stream {
    stream: String,
}

#[derive(EncodeLabelSet)]
struct Build {
    version: &'static str,
}

impl Gauges {
    pub(super) fn write(&self, to: &mut Scrape<'_>) -> fmt::Result {
        self.work(to)?;
        self.surroundings(to)?;
        self.records(to)?;
        groups::write(&self.groups, to)?;
        self.streams(to)?;
        self.program(to)
    }

    fn work(&self, to: &mut Scrape<'_>) -> fmt::Result {
        let schedules = TYPES.into_iter().flat_map(|kind| {
            STATUSES.map(|status| {
                let count = self.counts.schedules.get(&(kind, status)).copied().unwrap_or(0);
                (Schedules { r#type: kind, status }, count)
            })
        });
        to.gauges("schedules", "Schedules, as this instance sees them", schedules.clone())?;
        // The name is that of a counter. It stays for those who query it.
        to.gauges("schedules_total", "The same as schedules, by its former name", schedules)?;
        to.gauge(
            "scheduler_schedules_failing",
            "Schedules of which too many occurrences have failed in a row",
            self.counts.failing,
        )?;
        to.gauge(
            "scheduler_schedules_overdue",
            "Schedules that have had no success for longer than is expected of them",
            self.counts.overdue,
        )?;
        to.gauge(
            "scheduler_all_paused",
            "Whether all schedules are paused at once",
            usize::from(self.all_paused),
        )?;
        to.gauge(
            "schedule_queue_depth",
            "Schedules that are due and wait for a permit",
            self.queue_depth,
        )?;
        to.gauge("scheduler_timer_queue", "Schedules with a timer", self.timers)?;
        to.gauge(
            "scheduler_timer_lag_seconds",
            "How long what is due longest has not been acted on",
            self.timer_lag.as_secs_f64(),
        )?;
        to.gauge(
            "scheduler_armed_claims",
            "Claims made ahead that wait for their time",
            self.armed,
        )?;
        to.gauge(
            "active_executions",
            "Executions that this instance acts on",
            self.active_executions,
        )?;
        let stages = Stage::ALL.map(|stage| InFlight { stage: stage.as_str() });
        let stages = stages.into_iter().zip(self.in_flight.0);
        to.gauges("scheduler_in_flight", "Work under way, by what it waits for", stages)
    }

    fn surroundings(&self, to: &mut Scrape<'_>) -> fmt::Result {
        to.gauge_if_known(
            "scheduler_watch_lag_records",
            "Records that were written and that this instance has not seen",
            self.watch_lag,
        )?;
        to.gauge_if_known(
            "scheduler_clock_offset_seconds",
            "By how much our clock is ahead of that of the NATS server",
            self.clock_offset,
        )?;
        to.gauge_if_known(
            "scheduler_nats_rtt_seconds",
            "Time of a message to the NATS server and back",
            self.nats_rtt,
        )?;
        to.gauge(
            "scheduler_nats_connected",
            "Whether there is a connection to NATS",
            u32::from(self.nats_connected),
        )?;
        to.gauge(
            "scheduler_ready",
            "Whether the instance answers requests and fires schedules",
            u32::from(self.ready),
        )
    }

    fn records(&self, to: &mut Scrape<'_>) -> fmt::Result {
        to.gauge(
            "scheduler_set_aside_records",
            "Records that cannot be read and are not acted on",
            self.set_aside,
        )?;
        to.counter(
            "scheduler_schedules_vanished",
            "Schedules that vanished from the bucket although nobody deleted them",
            self.vanished,
        )?;
        to.gauge(
            "scheduler_left_to_newer_records",
            "Records that need a newer version of the service and are left to it",
            self.left_to_newer,
        )?;
        to.gauge(
            "scheduler_history_entries",
            "Executions that the index of the history holds",
            self.history_entries,
        )?;
        to.gauge(
            "scheduler_instances",
            "Instances that are heard, this one included",
            self.instances,
        )
    }

    fn streams(&self, to: &mut Scrape<'_>) -> fmt::Result {
        let of_each = |value: fn(&StreamGauges) -> usize| {
            let row = move |one: &StreamGauges| (Stream { stream: one.name.clone() }, value(one));
            self.streams.iter().map(row)
        };
        to.gauges(
            "scheduler_stream_up",
            "Whether the stream is there",
            of_each(|stream| usize::from(stream.exists)),
        )?;
        to.gauges(
            "scheduler_stream_drift",
            "Settings of the stream that differ from ours",
            of_each(|stream| stream.drift),
        )?;
        to.gauges(
            "scheduler_stream_writes_failing",
            "Whether what this instance writes to the stream fails",
            of_each(|stream| usize::from(stream.writes_fail)),
        )
    }

    fn program(&self, to: &mut Scrape<'_>) -> fmt::Result {
        let version = Build { version: env!("CARGO_PKG_VERSION") };
        to.gauges("scheduler_build_info", "The version of the service; always 1", [(version, 1)])?;
        #[allow(clippy::cast_precision_loss, reason = "exact for the next 280,000 years")]
        let started = self.started_at.timestamp_millis() as f64 / 1000.0;
        to.gauge("process_start_time_seconds", "When the process started, in Unix time", started)
    }
}
