//! Load of an engine, for metrics and health.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use uuid::Uuid;

pub use crate::metrics::Stage;
use crate::metrics::Stages;

/// What an instance says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    /// Its version.
    pub(crate) version: Option<String>,
    /// When it started.
    pub(crate) started_at: Option<DateTime<Utc>>,
    /// Number of schedules with a next time, as it sees them.
    pub(crate) schedules: Option<usize>,
    /// Number of executions that it acts on.
    pub(crate) in_flight: Option<usize>,
    /// The highest format of records that it may act on.
    pub(crate) acts_on: u16,
    /// Revision of the keys that hold for all schedules (pauses, calendars, groups) by which it claims.
    pub(crate) honours: u64,
    /// The latest time that it has claimed ahead.
    pub(crate) armed_until: Option<DateTime<Utc>>,
}

/// The instances that one hears, itself included.
#[derive(Clone, Debug, Default)]
pub(crate) struct Instances {
    /// What each says of itself.
    pub(crate) all: BTreeMap<Uuid, About>,
    /// Whether these are all that there are: it has heard itself for so long that any other would have been heard.
    pub(crate) is_settled: bool,
}

/// Figures that the engine keeps up to date as it works.
#[derive(Debug, Default)]
pub struct Load {
    /// Number of schedules with a timer.
    pub timers: AtomicUsize,
    /// Number of schedules that are due and wait for a permit.
    pub waiting: AtomicUsize,
    /// Number of claims made ahead that wait for their time.
    pub armed: AtomicUsize,
    /// How much further ahead than usual claims are made at present, in milliseconds.
    pub extra_lead_ms: AtomicI64,
    /// Number of executions that this instance acts on.
    pub executions: AtomicUsize,
    /// Number of instances that are heard, this one included.
    pub instances: AtomicUsize,
    /// The format up to which one of the other instances may act on records.
    pub others_act_on: AtomicUsize,
    /// Whether heartbeats use the old subject because NATS refuses the current one.
    pub old_heartbeats: AtomicBool,
    /// Whether this instance does not hear its own heartbeats, and so takes nothing over from others.
    pub deaf: AtomicBool,
    /// Whether it has no connection for commands, and so leaves its work to others.
    pub mute: AtomicBool,
    /// How far the clock of the slowest instance that is heard may be behind ours, in milliseconds.
    pub time_error_ms: AtomicI64,
    /// Revision of the keys that hold for all schedules by which everything is claimed here.
    pub honours: AtomicU64,
    /// The latest time that was claimed ahead, in Unix milliseconds.
    armed_until_ms: AtomicI64,
    /// Since when requests over NATS have been heard without a break, in Unix milliseconds.
    heard_since_ms: AtomicI64,
    /// When the next timer is due, or since when the longest overdue one is, in Unix milliseconds; 0 for
    /// none.
    next_due_ms: AtomicI64,
    /// Number of schedules that wait for a slot of each group, without groups for which none waits.
    lines: Mutex<BTreeMap<String, usize>>,
    stages: [AtomicUsize; Stage::ALL.len()],
}

impl Load {
    /// Sets when the next timer is due, or since when the longest overdue one is.
    pub fn set_next_due(&self, due: Option<DateTime<Utc>>) {
        self.next_due_ms.store(due.map_or(0, |due| due.timestamp_millis()), Ordering::Relaxed);
    }

    /// How long that timer is overdue at `now`.
    pub fn timer_lag(&self, now: DateTime<Utc>) -> Duration {
        let due_ms = self.next_due_ms.load(Ordering::Relaxed);
        let late_ms = if due_ms == 0 { 0 } else { now.timestamp_millis() - due_ms };
        Duration::from_millis(u64::try_from(late_ms).unwrap_or_default())
    }

    /// Notes that an occurrence was claimed that is due at `due`: before this instance honours newer pauses of all
    /// schedules, since whoever asks for one waits for both.
    pub fn claimed(&self, due: DateTime<Utc>) {
        self.armed_until_ms.fetch_max(due.timestamp_millis(), Ordering::Relaxed);
    }

    /// The latest time that was claimed, in Unix milliseconds.
    pub fn armed_until_ms(&self) -> i64 {
        self.armed_until_ms.load(Ordering::Relaxed)
    }

    /// Notes that up to `now` requests over NATS were not heard.
    pub fn set_unheard(&self, now: DateTime<Utc>) {
        self.heard_since_ms.store(now.timestamp_millis(), Ordering::Relaxed);
    }

    /// Since when requests over NATS have been heard without a break.
    pub fn heard_since(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.heard_since_ms.load(Ordering::Relaxed))
            .unwrap_or_default()
    }

    /// How far the clock of the slowest instance that is heard may be behind ours: what is past for us may
    /// still lie ahead for it, by up to this much.
    pub fn time_error(&self) -> chrono::Duration {
        chrono::Duration::milliseconds(self.time_error_ms.load(Ordering::Relaxed).max(0))
    }

    /// Sets how many schedules wait for a slot of some groups.
    pub fn set_waiting_for_slot(&self, lines: impl IntoIterator<Item = (String, usize)>) {
        let mut lines = lines.into_iter().peekable();
        if lines.peek().is_none() {
            return;
        }
        let mut known = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(lines);
        known.retain(|_, waiting| *waiting > 0);
    }

    /// How many schedules wait for a slot of a group.
    pub fn waiting_for_slot(&self, group: &str) -> usize {
        let known = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(group).copied().unwrap_or_default()
    }

    /// Counts a piece of work until the guard is dropped.
    pub fn enter(&self, stage: Stage) -> InStage<'_> {
        let count = &self.stages[stage as usize];
        count.fetch_add(1, Ordering::Relaxed);
        InStage(count)
    }

    /// Number of pieces of work under way, by stage.
    pub fn stages(&self) -> Stages {
        Stages::new(|stage| self.stages[stage as usize].load(Ordering::Relaxed))
    }
}

/// Guard that counts a piece of work in its stage until it is dropped.
pub struct InStage<'a>(&'a AtomicUsize);

impl Drop for InStage<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
