//! What the service counts and measures, in the text that Prometheus reads.
//!
//! Recording is a look-up by small constant labels and an addition: cheap enough for every firing.
//! What can be read at any time, such as the length of a queue, is not recorded: it comes with the
//! scrape, as [`Gauges`].
//!
//! Label values that are known beforehand exist at zero from the start, so that a rate counts the
//! first event too. No label has values without end: users choose only `creator`, which is bounded.

mod format;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
pub use format::Format;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeGaugeValue, EncodeLabelSet};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::execution::ExecutionStatus;
use crate::schedule::{ScheduleType, SkipCause, Status};

/// Creators that are counted by their names; all later ones are counted as [`OTHER`].
const MAX_CREATORS: usize = 100;
/// Characters of a creator's name that are kept.
const MAX_CREATOR: usize = 64;
const OTHER: &str = "other";
/// The number of the last attempt: a schedule has at most ten retries.
const LAST_ATTEMPT: u32 = 11;

const TYPES: [ScheduleType; 5] = [
    ScheduleType::Cron,
    ScheduleType::Interval,
    ScheduleType::OneTime,
    ScheduleType::Immediate,
    ScheduleType::Dependent,
];
const STATUSES: [Status; 5] =
    [Status::Active, Status::Paused, Status::Completed, Status::Failed, Status::Deleted];
/// How an attempt that was made can end.
const ENDS: [ExecutionStatus; 3] =
    [ExecutionStatus::Success, ExecutionStatus::Failed, ExecutionStatus::Cancelled];
const CAUSES: [SkipCause; 7] = [
    SkipCause::Missed,
    SkipCause::Coalesced,
    SkipCause::Overlap,
    SkipCause::Limit,
    SkipCause::Paused,
    SkipCause::Changed,
    SkipCause::Deleted,
];

const EXECUTION_SECONDS: Buckets = Buckets(&[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0]);
const LATENESS_SECONDS: Buckets = Buckets(&[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
]);
const HOLD_SECONDS: Buckets = Buckets(&[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0,
]);
const REQUEST_SECONDS: Buckets = Buckets(&[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
]);

/// What a conditional write of a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lock {
    /// The right to make an attempt.
    Claim,
    /// The same, of an attempt that another instance, or this one before, had claimed.
    Takeover,
    /// The name of a schedule.
    Name,
}

impl Lock {
    const ALL: [Self; 3] = [Self::Claim, Self::Takeover, Self::Name];

    fn as_str(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Takeover => "takeover",
            Self::Name => "name",
        }
    }
}

/// Why a claim was not had, or not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LockFailure {
    /// Another write came first.
    Conflict,
    /// NATS did not answer, or refused.
    Unavailable,
    /// It was had, and was too old to be trusted when it should have been used.
    Expired,
}

impl LockFailure {
    const ALL: [Self; 3] = [Self::Conflict, Self::Unavailable, Self::Expired];

    fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Expired => "expired",
        }
    }
}

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

/// The counters and histograms of one instance.
pub struct Metrics {
    registry: Registry,
    creators: Mutex<HashSet<String>>,
    created: Family<Created, Counter>,
    deleted: Family<Deleted, Counter>,
    executions: Family<ByStatus, Counter>,
    execution_seconds: Histograms<ByStatus>,
    misfires: Family<ByType, Counter>,
    missed: Family<ByCause, Counter>,
    retries: Family<Retry, Counter>,
    lateness: Histograms<ByType>,
    locks: Family<ByLock, Counter>,
    lock_failures: Family<LockFailed, Counter>,
    lock_seconds: Histograms<ByLock>,
    claim_conflicts: Counter,
    corrected: Counter,
    http_requests: Family<HttpRequest, Counter>,
    http_seconds: Histograms<HttpRoute>,
    http_in_flight: Gauge,
    http_connections: Gauge,
    http_cuts: Family<HttpCut, Counter>,
    nats_requests: Family<NatsRequest, Counter>,
    nats_seconds: Histograms<Operation>,
}

impl Metrics {
    /// All of them at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let to = &mut registry;
        let metrics = Self {
            creators: Mutex::default(),
            created: add(to, "schedules_created", "Schedules created", Family::default()),
            deleted: add(to, "schedules_deleted", "Schedules deleted", Family::default()),
            executions: add(
                to,
                "schedule_executions",
                "Executions that ended, and occurrences that were skipped",
                Family::default(),
            ),
            execution_seconds: add(
                to,
                "schedule_execution_duration_seconds",
                "Time from the start of an execution to its outcome",
                Family::new_with_constructor(EXECUTION_SECONDS),
            ),
            misfires: add(
                to,
                "schedule_misfires",
                "Occurrences that nobody could act on within their misfire grace",
                Family::default(),
            ),
            missed: add(
                to,
                "schedule_missed",
                "Occurrences that were not acted on, by cause",
                Family::default(),
            ),
            retries: add(
                to,
                "schedule_retries",
                "Retries, by the number of the attempt",
                Family::default(),
            ),
            lateness: add(
                to,
                "schedule_lateness_seconds",
                "Time from when an attempt was due to when its command was sent",
                Family::new_with_constructor(LATENESS_SECONDS),
            ),
            locks: add(
                to,
                "distributed_locks_acquired",
                "Claims that were accepted",
                Family::default(),
            ),
            lock_failures: add(
                to,
                "distributed_locks_failed",
                "Claims that were not had, or not kept",
                Family::default(),
            ),
            lock_seconds: add(
                to,
                "distributed_lock_hold_duration_seconds",
                "How long claims were held",
                Family::new_with_constructor(HOLD_SECONDS),
            ),
            claim_conflicts: add(
                to,
                "scheduler_claim_conflicts",
                "Claims of attempts that lost against another write",
                Counter::default(),
            ),
            corrected: add(
                to,
                "scheduler_records_corrected",
                "Schedules whose times lay ahead of the time and that were planned again",
                Counter::default(),
            ),
            http_requests: add(to, "http_requests", "HTTP requests", Family::default()),
            http_seconds: add(
                to,
                "http_request_duration_seconds",
                "Time to answer an HTTP request",
                Family::new_with_constructor(REQUEST_SECONDS),
            ),
            http_in_flight: add(
                to,
                "http_requests_in_flight",
                "HTTP requests that are being answered",
                Gauge::default(),
            ),
            http_connections: add(
                to,
                "http_connections",
                "HTTP connections that are open",
                Gauge::default(),
            ),
            http_cuts: add(
                to,
                "http_connections_cut",
                "HTTP connections that were ended for their clients' slowness or for want of room",
                Family::default(),
            ),
            nats_requests: add(to, "nats_requests", "NATS requests", Family::default()),
            nats_seconds: add(
                to,
                "nats_request_duration_seconds",
                "Time to answer a NATS request",
                Family::new_with_constructor(REQUEST_SECONDS),
            ),
            registry,
        };
        metrics.start_at_zero();
        metrics
    }

    /// The text of `/metrics`: counters and histograms, and what is read at the moment.
    pub fn encode(&self, now: &Gauges, format: Format) -> String {
        let mut text = String::with_capacity(64 * 1024);
        // Writing to a string does not fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &now.registry());
        let _ = encode_eof(&mut text);
        match format {
            Format::OpenMetrics => text,
            Format::Classic => format::classic(&text),
        }
    }

    /// A schedule was created.
    pub fn schedule_created(&self, kind: ScheduleType, creator: &str) {
        let labels = Created { r#type: kind.as_str(), creator: self.creator(creator) };
        self.created.get_or_create(&labels).inc();
    }

    /// A schedule was deleted, for good or so that it can be restored.
    pub fn schedule_deleted(&self, kind: ScheduleType, hard: bool) {
        let labels = Deleted { r#type: kind.as_str(), hard_delete: hard };
        self.deleted.get_or_create(&labels).inc();
    }

    /// A claim was accepted.
    pub fn claimed(&self, lock: Lock) {
        self.locks.get_or_create(&ByLock::of(lock)).inc();
    }

    /// A claim was not had, or not kept.
    pub fn claim_failed(&self, lock: Lock, reason: LockFailure) {
        let labels = LockFailed { lock_type: lock.as_str(), reason: reason.as_str() };
        self.lock_failures.get_or_create(&labels).inc();
        if reason == LockFailure::Conflict && lock != Lock::Name {
            self.claim_conflicts.inc();
        }
    }

    /// A claim is not held any more.
    pub fn claim_held(&self, lock: Lock, held: Duration) {
        self.lock_seconds.get_or_create(&ByLock::of(lock)).observe(held.as_secs_f64());
    }

    /// A command was sent, that much after its attempt was due.
    pub fn sent(&self, kind: ScheduleType, lateness: Duration) {
        self.lateness.get_or_create(&ByType::of(kind)).observe(lateness.as_secs_f64());
    }

    /// An attempt that was made has ended. One that is with a worker has not ended yet, and what was
    /// never made is [`skipped`](Self::skipped): neither counts here.
    pub fn ended(&self, kind: ScheduleType, status: ExecutionStatus, duration: Option<Duration>) {
        if !ENDS.contains(&status) {
            return;
        }
        let labels = ByStatus::of(kind, status);
        self.executions.get_or_create(&labels).inc();
        if let Some(duration) = duration {
            self.execution_seconds.get_or_create(&labels).observe(duration.as_secs_f64());
        }
    }

    /// Occurrences were not acted on.
    pub fn skipped(&self, kind: ScheduleType, cause: SkipCause, count: u64) {
        let labels = ByStatus::of(kind, ExecutionStatus::Skipped);
        self.executions.get_or_create(&labels).inc_by(count);
        self.missed.get_or_create(&ByCause { cause: cause.as_str() }).inc_by(count);
        if cause == SkipCause::Missed {
            self.misfires.get_or_create(&ByType::of(kind)).inc_by(count);
        }
    }

    /// A failed attempt is to be made again, as this one: 2 is the first retry.
    pub fn retried(&self, kind: ScheduleType, attempt: u32) {
        let attempt = attempt.min(LAST_ATTEMPT);
        self.retries.get_or_create(&Retry { schedule_type: kind.as_str(), attempt }).inc();
    }

    /// A schedule whose times lay ahead was planned again.
    pub fn corrected(&self) {
        self.corrected.inc();
    }

    /// An HTTP request was answered. The route is the pattern that it matched, not its path.
    pub fn http_request(
        &self,
        method: &'static str,
        route: &'static str,
        status: u16,
        elapsed: Duration,
    ) {
        self.http_requests.get_or_create(&HttpRequest { method, route, status }).inc();
        let labels = HttpRoute { method, route };
        self.http_seconds.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    /// An HTTP request is being answered until what this returns is dropped.
    pub fn http_in_flight(&self) -> Counted {
        Counted::new(&self.http_in_flight)
    }

    /// An HTTP connection is open until what this returns is dropped.
    pub fn http_connection(&self) -> Counted {
        Counted::new(&self.http_connections)
    }

    /// So many HTTP connections were cut for a reason.
    pub fn http_cut(&self, reason: &'static str, count: u64) {
        self.http_cuts.get_or_create(&HttpCut { reason }).inc_by(count);
    }

    /// A NATS request was answered, with 200 or the code of an error.
    pub fn nats_request(&self, operation: &'static str, status: u16, elapsed: Duration) {
        self.nats_requests.get_or_create(&NatsRequest { operation, status }).inc();
        self.nats_seconds.get_or_create(&Operation { operation }).observe(elapsed.as_secs_f64());
    }

    /// The label for a creator: who comes first keeps the name.
    fn creator(&self, creator: &str) -> String {
        let name: String = creator.chars().take(MAX_CREATOR).collect();
        let mut known = self.creators.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&name) {
            return name;
        }
        if known.len() >= MAX_CREATORS {
            return OTHER.to_owned();
        }
        known.insert(name.clone());
        name
    }

    fn start_at_zero(&self) {
        for kind in TYPES {
            for hard_delete in [false, true] {
                let labels = Deleted { r#type: kind.as_str(), hard_delete };
                drop(self.deleted.get_or_create(&labels));
            }
            for status in ENDS {
                drop(self.executions.get_or_create(&ByStatus::of(kind, status)));
                drop(self.execution_seconds.get_or_create(&ByStatus::of(kind, status)));
            }
            drop(self.executions.get_or_create(&ByStatus::of(kind, ExecutionStatus::Skipped)));
            drop(self.misfires.get_or_create(&ByType::of(kind)));
            drop(self.lateness.get_or_create(&ByType::of(kind)));
            for attempt in 2..=LAST_ATTEMPT {
                let labels = Retry { schedule_type: kind.as_str(), attempt };
                drop(self.retries.get_or_create(&labels));
            }
        }
        for cause in CAUSES {
            drop(self.missed.get_or_create(&ByCause { cause: cause.as_str() }));
        }
        for lock in Lock::ALL {
            drop(self.locks.get_or_create(&ByLock::of(lock)));
            drop(self.lock_seconds.get_or_create(&ByLock::of(lock)));
            for reason in LockFailure::ALL {
                let labels = LockFailed { lock_type: lock.as_str(), reason: reason.as_str() };
                drop(self.lock_failures.get_or_create(&labels));
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Counts in a gauge until it is dropped.
#[must_use]
pub struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Gauges {
    fn registry(&self) -> Registry {
        let mut registry = Registry::default();
        let to = &mut registry;
        let schedules = TYPES.into_iter().flat_map(|kind| {
            STATUSES.map(|status| {
                let labels = Schedules { r#type: kind.as_str(), status: status.as_str() };
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
        process(to);
        registry
    }
}

/// What Linux says of the process; left out where `/proc` is not mounted.
#[cfg(target_os = "linux")]
fn process(registry: &mut Registry) {
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
        // The name of the program comes before, and may hold anything.
        && let Some((_, stat)) = stat.rsplit_once(')')
    {
        // The first one here is the third of proc_pid_stat(5).
        let fields: Vec<u64> =
            stat.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
        let field = |number: usize| fields.get(number - 4).copied().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "exact for ages")]
        let (ticks, rate) =
            ((field(14) + field(15)) as f64, rustix::param::clock_ticks_per_second() as f64);
        let cpu = ConstCounter::new(ticks / rate);
        registry.register("process_cpu_seconds", "Processor time used", cpu);
        let resident = field(24) * rustix::param::page_size() as u64;
        gauge(registry, "process_resident_memory_bytes", "Memory that is resident", resident);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is that of the folder.
        let open = open.count().saturating_sub(1);
        gauge(registry, "process_open_fds", "Open file descriptors", open);
    }
}

/// Registers a metric and returns it.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

/// Registers a gauge of one value.
fn gauge<N>(registry: &mut Registry, name: &str, help: &str, value: N)
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

type Histograms<S> = Family<S, Histogram, Buckets>;

/// The upper bounds of a histogram.
#[derive(Clone, Copy)]
struct Buckets(&'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Created {
    r#type: &'static str,
    creator: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Deleted {
    r#type: &'static str,
    hard_delete: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByType {
    schedule_type: &'static str,
}

impl ByType {
    fn of(kind: ScheduleType) -> Self {
        Self { schedule_type: kind.as_str() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    schedule_type: &'static str,
    status: &'static str,
}

impl ByStatus {
    fn of(kind: ScheduleType, status: ExecutionStatus) -> Self {
        Self { schedule_type: kind.as_str(), status: status.as_str() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCause {
    cause: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Retry {
    schedule_type: &'static str,
    attempt: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByLock {
    lock_type: &'static str,
}

impl ByLock {
    fn of(lock: Lock) -> Self {
        Self { lock_type: lock.as_str() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LockFailed {
    lock_type: &'static str,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpRequest {
    method: &'static str,
    route: &'static str,
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpCut {
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpRoute {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NatsRequest {
    operation: &'static str,
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Schedules {
    r#type: &'static str,
    status: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InFlight {
    stage: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stream {
    stream: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a sample: its name with its labels.
    fn value(text: &str, sample: &str) -> Option<f64> {
        let line =
            text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(s, _)| s == sample));
        line.and_then(|line| line.rsplit_once(' ')).and_then(|(_, value)| value.parse().ok())
    }

    fn now(metrics: &Metrics, sample: &str) -> Option<f64> {
        value(&metrics.encode(&Gauges::default(), Format::OpenMetrics), sample)
    }

    #[test]
    fn the_text_is_whole_and_describes_each_metric_once() {
        let metrics = Metrics::new();
        metrics.http_request("GET", "/metrics", 200, Duration::from_millis(1));
        metrics.nats_request("schedule.get", 404, Duration::from_millis(1));
        let text = metrics.encode(&Gauges::default(), Format::OpenMetrics);
        assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
        let mut described = HashSet::new();
        for line in text.lines().filter(|line| line.starts_with("# ") && *line != "# EOF") {
            let what: Vec<_> = line.split(' ').take(3).collect();
            assert!(described.insert(what.join(" ")), "twice: {line}");
        }
        for sample in [
            r#"http_requests_total{method="GET",route="/metrics",status="200"}"#,
            r#"http_request_duration_seconds_count{method="GET",route="/metrics"}"#,
            r#"nats_requests_total{operation="schedule.get",status="404"}"#,
            r#"nats_request_duration_seconds_count{operation="schedule.get"}"#,
        ] {
            assert_eq!(value(&text, sample), Some(1.0), "{sample}");
        }
    }

    #[test]
    fn what_is_known_beforehand_starts_at_zero() {
        let metrics = Metrics::new();
        for sample in [
            r#"schedules_total{type="cron",status="active"}"#,
            r#"schedules_deleted_total{type="one_time",hard_delete="true"}"#,
            r#"schedule_executions_total{schedule_type="interval",status="skipped"}"#,
            r#"schedule_execution_duration_seconds_count{schedule_type="cron",status="failed"}"#,
            r#"schedule_misfires_total{schedule_type="dependent"}"#,
            r#"schedule_missed_total{cause="overlap"}"#,
            r#"schedule_retries_total{schedule_type="immediate",attempt="2"}"#,
            r#"schedule_lateness_seconds_count{schedule_type="cron"}"#,
            r#"distributed_locks_acquired_total{lock_type="takeover"}"#,
            r#"distributed_locks_failed_total{lock_type="claim",reason="expired"}"#,
            r#"distributed_lock_hold_duration_seconds_count{lock_type="name"}"#,
            "scheduler_claim_conflicts_total",
            "http_requests_in_flight",
            "schedule_queue_depth",
            "active_executions",
            r#"scheduler_in_flight{stage="waiting_reply"}"#,
            "scheduler_ready",
        ] {
            assert_eq!(now(&metrics, sample), Some(0.0), "{sample}");
        }
    }

    #[test]
    fn skipped_occurrences_are_executions_and_only_missed_ones_are_misfires() {
        let metrics = Metrics::new();
        metrics.skipped(ScheduleType::Cron, SkipCause::Missed, 7);
        metrics.skipped(ScheduleType::Cron, SkipCause::Overlap, 2);
        metrics.ended(ScheduleType::Cron, ExecutionStatus::Skipped, None);
        metrics.ended(ScheduleType::Cron, ExecutionStatus::Running, None);
        for (sample, expected) in [
            (r#"schedule_misfires_total{schedule_type="cron"}"#, 7.0),
            (r#"schedule_missed_total{cause="missed"}"#, 7.0),
            (r#"schedule_missed_total{cause="overlap"}"#, 2.0),
            (r#"schedule_executions_total{schedule_type="cron",status="skipped"}"#, 9.0),
        ] {
            assert_eq!(now(&metrics, sample), Some(expected), "{sample}");
        }
        let text = metrics.encode(&Gauges::default(), Format::OpenMetrics);
        assert!(!text.contains(r#"status="running""#), "it has not ended");
    }

    #[test]
    fn executions_are_counted_and_timed_once_they_end() {
        let metrics = Metrics::new();
        let took = Some(Duration::from_secs(3));
        metrics.ended(ScheduleType::Interval, ExecutionStatus::Success, took);
        metrics.sent(ScheduleType::Interval, Duration::from_millis(3));
        metrics.retried(ScheduleType::Interval, 2);
        metrics.retried(ScheduleType::Interval, 1000);
        let labels = r#"schedule_type="interval",status="success""#;
        for (sample, expected) in [
            (format!("schedule_executions_total{{{labels}}}"), 1.0),
            (format!("schedule_execution_duration_seconds_sum{{{labels}}}"), 3.0),
            (format!("schedule_execution_duration_seconds_bucket{{le=\"2.5\",{labels}}}"), 0.0),
            (format!("schedule_execution_duration_seconds_bucket{{le=\"5.0\",{labels}}}"), 1.0),
            (r#"schedule_lateness_seconds_count{schedule_type="interval"}"#.to_owned(), 1.0),
            (r#"schedule_retries_total{schedule_type="interval",attempt="2"}"#.to_owned(), 1.0),
            (r#"schedule_retries_total{schedule_type="interval",attempt="11"}"#.to_owned(), 1.0),
        ] {
            assert_eq!(now(&metrics, &sample), Some(expected), "{sample}");
        }
    }

    #[test]
    fn lost_claims_are_conflicts_and_lost_names_are_not() {
        let metrics = Metrics::new();
        metrics.claim_failed(Lock::Claim, LockFailure::Conflict);
        metrics.claim_failed(Lock::Takeover, LockFailure::Conflict);
        metrics.claim_failed(Lock::Name, LockFailure::Conflict);
        metrics.claim_failed(Lock::Claim, LockFailure::Unavailable);
        metrics.claimed(Lock::Claim);
        metrics.claim_held(Lock::Claim, Duration::from_millis(20));
        for sample in [
            r#"distributed_locks_failed_total{lock_type="name",reason="conflict"}"#,
            r#"distributed_locks_failed_total{lock_type="claim",reason="unavailable"}"#,
            r#"distributed_locks_acquired_total{lock_type="claim"}"#,
            r#"distributed_lock_hold_duration_seconds_count{lock_type="claim"}"#,
        ] {
            assert_eq!(now(&metrics, sample), Some(1.0), "{sample}");
        }
        assert_eq!(now(&metrics, "scheduler_claim_conflicts_total"), Some(2.0));
    }

    #[test]
    fn creators_are_bounded_in_number_and_length() {
        let metrics = Metrics::new();
        for number in 0..1000 {
            metrics.schedule_created(ScheduleType::Cron, &format!("creator-{number}"));
        }
        metrics.schedule_created(ScheduleType::Cron, "creator-0");
        metrics.schedule_deleted(ScheduleType::Cron, true);
        let text = metrics.encode(&Gauges::default(), Format::OpenMetrics);
        assert_eq!(text.matches("schedules_created_total{").count(), MAX_CREATORS + 1);
        for (creator, expected) in [("creator-0", 2.0), ("creator-99", 1.0), (OTHER, 900.0)] {
            let sample = format!(r#"schedules_created_total{{type="cron",creator="{creator}"}}"#);
            assert_eq!(value(&text, &sample), Some(expected), "{creator}");
        }
        let metrics = Metrics::new();
        metrics.schedule_created(ScheduleType::Cron, &"ü".repeat(300));
        metrics.schedule_created(ScheduleType::Cron, "a \"b\"\\\n");
        let text = metrics.encode(&Gauges::default(), Format::OpenMetrics);
        let cut = format!(r#"creator="{}""#, "ü".repeat(MAX_CREATOR));
        assert!(text.contains(&cut) && text.contains(r#"creator="a \"b\"\\\n""#), "{text}");
    }

    #[test]
    fn http_requests_are_in_flight_until_they_are_answered() {
        let metrics = Metrics::new();
        let first = metrics.http_in_flight();
        let second = metrics.http_in_flight();
        assert_eq!(now(&metrics, "http_requests_in_flight"), Some(2.0));
        drop(first);
        assert_eq!(now(&metrics, "http_requests_in_flight"), Some(1.0));
        drop(second);
        assert_eq!(now(&metrics, "http_requests_in_flight"), Some(0.0));
    }

    #[test]
    fn what_is_read_at_the_scrape_is_shown_and_what_is_unknown_is_left_out() {
        let metrics = Metrics::new();
        let unknown = metrics.encode(&Gauges::default(), Format::OpenMetrics);
        let gauges = Gauges {
            schedules: [((ScheduleType::Cron, Status::Paused), 4)].into(),
            timer_lag: Duration::from_millis(1500),
            in_flight: Stages { delivering: 3, ..Stages::default() },
            watch_lag: Some(5),
            clock_offset: Some(-0.25),
            nats_rtt: Some(0.002),
            ready: true,
            vanished: 3,
            streams: vec![StreamGauges {
                name: "S".to_owned(),
                exists: true,
                drift: 2,
                writes_fail: true,
            }],
            started_at: DateTime::from_timestamp_millis(1_700_000_000_500).unwrap(),
            ..Gauges::default()
        };
        let text = metrics.encode(&gauges, Format::OpenMetrics);
        for (sample, expected) in [
            (r#"schedules{type="cron",status="paused"}"#, 4.0),
            (r#"schedules_total{type="cron",status="paused"}"#, 4.0),
            (r#"scheduler_in_flight{stage="delivering"}"#, 3.0),
            ("scheduler_timer_lag_seconds", 1.5),
            ("scheduler_watch_lag_records", 5.0),
            ("scheduler_clock_offset_seconds", -0.25),
            ("scheduler_nats_rtt_seconds", 0.002),
            ("scheduler_ready", 1.0),
            ("scheduler_schedules_vanished_total", 3.0),
            (r#"scheduler_stream_up{stream="S"}"#, 1.0),
            (r#"scheduler_stream_drift{stream="S"}"#, 2.0),
            (r#"scheduler_stream_writes_failing{stream="S"}"#, 1.0),
            ("process_start_time_seconds", 1_700_000_000.5),
        ] {
            assert_eq!(value(&text, sample), Some(expected), "{sample}");
        }
        for name in ["watch_lag_records", "clock_offset_seconds", "nats_rtt_seconds", "stream_up"] {
            assert!(!unknown.contains(&format!("scheduler_{name}")), "{name}");
        }
        let version = format!("scheduler_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
        assert_eq!(value(&text, &version), Some(1.0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_measured() {
        let text = Metrics::new().encode(&Gauges::default(), Format::OpenMetrics);
        let of = |sample| value(&text, sample).unwrap();
        assert!(of("process_resident_memory_bytes") > 500_000.0);
        assert!(of("process_open_fds") >= 3.0);
        assert!((0.0..3600.0).contains(&of("process_cpu_seconds_total")));
    }
}
