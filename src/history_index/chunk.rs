//! Chunks: runs of the stream in columns, small enough to change and large enough to count fast.
//!
//! Queries look at one or two fields of very many events, so each field has its own column: a look at all of
//! a million events reads a few megabytes, which takes about a millisecond.

use std::sync::OnceLock;

use uuid::Uuid;

use super::sums::{Latest, Sums};
use crate::execution::ExecutionStatus;

/// Number of slots of a full chunk. Few in tests, so that tests cross the borders of chunks.
pub(super) const SLOTS: usize = if cfg!(test) { 8 } else { 1024 };

/// Number of statuses.
pub(super) const STATUSES: usize = 6;

/// The number for no schedule: that of entries that are not events.
pub(super) const NO_SCHEDULE: u32 = u32::MAX;

/// Kinds below this are the latest events of executions; the kind is the number of the status.
const LATEST: u8 = 8;
/// Added to the kind of an event that is not the latest of its execution.
const SUPERSEDED: u8 = 8;
/// The kind of an entry that the stream no longer holds.
const GONE: u8 = u8::MAX;

/// Statuses by their codes.
const ORDER: [ExecutionStatus; STATUSES] = [
    ExecutionStatus::Running,
    ExecutionStatus::Success,
    ExecutionStatus::Failed,
    ExecutionStatus::Skipped,
    ExecutionStatus::Cancelled,
    ExecutionStatus::Corrected,
];

/// A status as columns store it.
pub(super) fn code(status: ExecutionStatus) -> u8 {
    match status {
        ExecutionStatus::Running => 0,
        ExecutionStatus::Success => 1,
        ExecutionStatus::Failed => 2,
        ExecutionStatus::Skipped => 3,
        ExecutionStatus::Cancelled => 4,
        ExecutionStatus::Corrected => 5,
    }
}

/// One entry of the stream.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub sequence: u64,
    pub execution: Uuid,
    pub schedule: u32,
    pub status: ExecutionStatus,
    pub is_latest: bool,
    pub error: u16,
    /// A hash of what was sent; 0 if the event does not say.
    pub command: u32,
    pub correlation: u64,
    pub scheduled_for: i64,
    pub started: i64,
    /// For skipped occurrences their number, otherwise the milliseconds from start to outcome.
    pub measure: i64,
}

/// Selects the latest events to count.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub schedule: Option<u32>,
    /// Whether each schedule is wanted, by its number.
    pub schedules: Option<Vec<bool>>,
    pub statuses: Statuses,
    pub error: Option<u16>,
    /// The hash of what was sent; events that do not say match too.
    pub command: Option<u32>,
    /// The first and the last wanted nominal time, in Unix milliseconds.
    pub scheduled: (i64, i64),
    /// The first and the last wanted start, in Unix milliseconds.
    pub started: (i64, i64),
}

impl Wanted {
    /// Whether it goes by nothing but status and start.
    fn is_plain(&self) -> bool {
        let all_times = self.scheduled == (i64::MIN, i64::MAX);
        let is_any = self.schedule.is_none() && self.schedules.is_none();
        is_any && self.error.is_none() && self.command.is_none() && all_times
    }
}

/// Some statuses, by the bits of their codes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statuses(u8);

impl Statuses {
    /// These statuses; none stands for all.
    pub(super) fn of(statuses: &[ExecutionStatus]) -> Self {
        match statuses {
            [] => Self(u8::MAX),
            some => Self(some.iter().fold(0, |bits, status| bits | 1 << code(*status))),
        }
    }

    fn has(self, code: u8) -> bool {
        self.0 & 1 << code != 0
    }
}

/// Consecutive entries of the stream, oldest first.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The last place in the chunk.
    pub last: u64,
    pub sequences: Vec<u64>,
    pub executions: Vec<Uuid>,
    pub schedules: Vec<u32>,
    kinds: Vec<u8>,
    pub errors: Vec<u16>,
    commands: Vec<u32>,
    pub correlations: Vec<u64>,
    pub scheduled_for: Vec<i64>,
    pub started: Vec<i64>,
    pub measures: Vec<i64>,
    /// Number of latest events by status.
    counts: [usize; STATUSES],
    gone: usize,
    /// Bounds of the starts of latest events: none lies outside.
    bounds: (i64, i64),
    sums: OnceLock<Sums>,
}

impl Chunk {
    pub(super) fn new() -> Self {
        Self {
            last: 0,
            sequences: Vec::with_capacity(SLOTS),
            executions: Vec::with_capacity(SLOTS),
            schedules: Vec::with_capacity(SLOTS),
            kinds: Vec::with_capacity(SLOTS),
            errors: Vec::with_capacity(SLOTS),
            commands: Vec::with_capacity(SLOTS),
            correlations: Vec::with_capacity(SLOTS),
            scheduled_for: Vec::with_capacity(SLOTS),
            started: Vec::with_capacity(SLOTS),
            measures: Vec::with_capacity(SLOTS),
            counts: [0; STATUSES],
            gone: 0,
            bounds: (i64::MAX, i64::MIN),
            sums: OnceLock::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.kinds.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= SLOTS
    }

    /// Whether the stream no longer holds any of its entries.
    pub(super) fn is_gone(&self) -> bool {
        self.gone == self.len()
    }

    pub(super) fn push(&mut self, slot: Slot) {
        let status = code(slot.status);
        self.sums.take();
        self.last = slot.sequence;
        self.sequences.push(slot.sequence);
        self.executions.push(slot.execution);
        self.schedules.push(slot.schedule);
        self.kinds.push(if slot.is_latest { status } else { status + SUPERSEDED });
        self.errors.push(slot.error);
        self.commands.push(slot.command);
        self.correlations.push(slot.correlation);
        self.scheduled_for.push(slot.scheduled_for);
        self.started.push(slot.started);
        self.measures.push(slot.measure);
        if slot.is_latest {
            self.counts[usize::from(status)] += 1;
            self.bounds = (self.bounds.0.min(slot.started), self.bounds.1.max(slot.started));
        }
    }

    /// The code of the status of an execution's latest event; `None` for all other entries.
    pub(super) fn latest(&self, at: usize) -> Option<u8> {
        Some(self.kinds[at]).filter(|kind| *kind < LATEST)
    }

    /// The same as a status.
    pub(super) fn latest_status(&self, at: usize) -> Option<ExecutionStatus> {
        ORDER.get(usize::from(self.kinds[at])).copied()
    }

    /// The code of an event's status; `None` for an entry that is gone.
    pub(super) fn status(&self, at: usize) -> Option<u8> {
        let kind = self.kinds[at];
        (kind != GONE).then_some(kind % SUPERSEDED)
    }

    /// When an execution's outcome was known, in Unix milliseconds.
    pub(super) fn completed(&self, at: usize) -> i64 {
        let counts = [ExecutionStatus::Skipped, ExecutionStatus::Corrected].map(code);
        if counts.contains(&self.kinds[at]) {
            self.started[at]
        } else {
            self.started[at].saturating_add(self.measures[at])
        }
    }

    /// The slots of a schedule.
    pub(super) fn of_schedule(
        &self,
        schedule: u32,
    ) -> impl DoubleEndedIterator<Item = usize> + Clone {
        let slots = self.schedules.iter().enumerate();
        slots.filter(move |(_, known)| **known == schedule).map(|(at, _)| at)
    }

    /// Sums of all executions in the chunk, computed once and kept until it changes.
    pub(super) fn sums(&self) -> &Sums {
        self.sums.get_or_init(|| self.sums_of((0..self.len()).rev()))
    }

    /// Sums of the executions whose latest events are in these slots, given newest first.
    pub(super) fn sums_of(&self, slots: impl Iterator<Item = usize>) -> Sums {
        let mut sums = Sums::default();
        for at in slots {
            if let Some(status) = self.latest_status(at).filter(|status| status.is_final()) {
                let (measure, completed) = (self.measures[at], self.completed(at));
                sums.add(&Latest { at, status, measure, completed, error: self.errors[at] });
            }
        }
        sums
    }

    /// The first slot from `from` on that the stream still holds.
    pub(super) fn first_held(&self, from: usize) -> Option<usize> {
        self.kinds[from..].iter().position(|kind| *kind != GONE).map(|at| from + at)
    }

    /// The first slot from `from` on with an event of a subject.
    pub(super) fn first_of(&self, from: usize, schedule: u32, status: u8) -> Option<usize> {
        let slots = self.schedules[from..].iter().zip(&self.kinds[from..]);
        slots
            .enumerate()
            .find(|(_, (s, kind))| {
                **s == schedule && **kind != GONE && **kind % SUPERSEDED == status
            })
            .map(|(at, _)| from + at)
    }

    /// Notes that a later event of the execution has arrived.
    pub(super) fn supersede(&mut self, at: usize) {
        if let Some(status) = self.latest(at) {
            self.sums.take();
            self.counts[usize::from(status)] -= 1;
            self.kinds[at] = status + SUPERSEDED;
        }
    }

    /// Notes that the stream dropped an entry.
    pub(super) fn lose(&mut self, at: usize) {
        self.supersede(at);
        if self.kinds[at] != GONE {
            self.kinds[at] = GONE;
            self.gone += 1;
        }
    }

    /// Whether so many entries are gone that the chunk should be compacted.
    pub(super) fn is_sparse(&self) -> bool {
        self.gone * 2 >= self.len()
    }

    /// Drops the slots of entries that are gone.
    pub(super) fn compact(&mut self) {
        let held: Vec<bool> = self.kinds.iter().map(|kind| *kind != GONE).collect();
        keep(&mut self.sequences, &held);
        keep(&mut self.executions, &held);
        keep(&mut self.schedules, &held);
        keep(&mut self.kinds, &held);
        keep(&mut self.errors, &held);
        keep(&mut self.commands, &held);
        keep(&mut self.correlations, &held);
        keep(&mut self.scheduled_for, &held);
        keep(&mut self.started, &held);
        keep(&mut self.measures, &held);
        self.gone = 0;
        // The sums name slots.
        self.sums.take();
        let starts = || self.started.iter().copied();
        self.bounds = (starts().min().unwrap_or(i64::MAX), starts().max().unwrap_or(i64::MIN));
    }

    /// Appends all slots of a later chunk.
    pub(super) fn append(&mut self, mut later: Self) {
        self.sums.take();
        self.last = later.last;
        self.sequences.append(&mut later.sequences);
        self.executions.append(&mut later.executions);
        self.schedules.append(&mut later.schedules);
        self.kinds.append(&mut later.kinds);
        self.errors.append(&mut later.errors);
        self.commands.append(&mut later.commands);
        self.correlations.append(&mut later.correlations);
        self.scheduled_for.append(&mut later.scheduled_for);
        self.started.append(&mut later.started);
        self.measures.append(&mut later.measures);
        for (count, more) in self.counts.iter_mut().zip(later.counts) {
            *count += more;
        }
        self.gone += later.gone;
        self.bounds = (self.bounds.0.min(later.bounds.0), self.bounds.1.max(later.bounds.1));
    }

    /// Number of wanted latest events.
    pub(super) fn count(&self, wanted: &Wanted) -> usize {
        let ((from, to), (first, last)) = (wanted.started, self.bounds);
        if last < from || to < first {
            return 0;
        }
        let counts = self.counts.iter().zip(0..);
        let counts = counts.filter(|(_, code)| wanted.statuses.has(*code));
        let most = counts.map(|(count, _)| *count).sum();
        let all_started = from <= first && last <= to;
        let is_plain = wanted.is_plain();
        if most == 0 || (all_started && is_plain) {
            return most;
        }
        if let Some(schedule) = wanted.schedule {
            return self.of_schedule(schedule).filter(|at| self.is_wanted(*at, wanted)).count();
        }
        if !is_plain {
            return (0..self.len()).filter(|at| self.is_wanted(*at, wanted)).count();
        }
        let kind = |kind: u8| kind < LATEST && wanted.statuses.has(kind);
        let started = |at: i64| (from <= at) & (at <= to);
        let slots = self.kinds.iter().zip(&self.started);
        slots.filter(|(k, at)| kind(**k) & started(**at)).count()
    }

    /// Whether it is not known what the event of a slot sent.
    pub(super) fn is_untold(&self, at: usize) -> bool {
        self.commands[at] == 0
    }

    /// Notes what the event of a slot sent.
    pub(super) fn learn(&mut self, at: usize, command: u32) {
        self.commands[at] = command;
    }

    /// Whether the event of a slot is wanted.
    pub(super) fn is_wanted(&self, at: usize, wanted: &Wanted) -> bool {
        let Some(status) = self.latest(at) else { return false };
        let (from, to) = wanted.started;
        wanted.statuses.has(status)
            && wanted.schedule.is_none_or(|schedule| schedule == self.schedules[at])
            && wanted.error.is_none_or(|error| error == self.errors[at])
            && wanted.command.is_none_or(|command| [0, command].contains(&self.commands[at]))
            && (wanted.scheduled.0..=wanted.scheduled.1).contains(&self.scheduled_for[at])
            && wanted.schedules.as_ref().is_none_or(|are_wanted| {
                are_wanted.get(self.schedules[at] as usize).is_some_and(|is_wanted| *is_wanted)
            })
            && (from..=to).contains(&self.started[at])
    }
}

fn keep<T>(column: &mut Vec<T>, held: &[bool]) {
    let mut held = held.iter();
    column.retain(|_| held.next() == Some(&true));
    column.shrink_to_fit();
}
