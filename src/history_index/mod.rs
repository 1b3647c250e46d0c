//! Index of the executions in the history, in memory: enough to filter, count and order them.
//!
//! An execution is listed once, at the place of its latest event. The index holds one slot for each entry of
//! the stream and drops what the stream drops, in the same order: the oldest entry of a subject that has too
//! many, then the oldest of all. So every listed execution can be fetched, and totals are exact.
//!
//! A slot takes 67 bytes, and the map from an execution to its slot 28 to 57 more: 120 bytes for each of a
//! million executions. Each schedule in the history takes some 80 bytes more.

mod buckets;
mod choose;
mod chunk;
mod errors;
mod ledger;
mod query;
mod recent;
mod schedules;
mod statistics;
mod sums;
#[cfg(test)]
mod tests;

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

use uuid::Uuid;

use crate::execution::ExecutionStatus;
pub use buckets::{Bucket, Buckets};
pub use choose::Chosen;
use chunk::{Chunk, NO_SCHEDULE, Slot};
use errors::Errors;
pub use ledger::Row;
pub use query::{Filter, Page};
pub use recent::Recent;
use schedules::Schedules;
pub use statistics::{Ended, Statistics};

/// One event, with the fields that the index needs.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Its place in the stream.
    pub sequence: u64,
    /// Id of the execution.
    pub execution: Uuid,
    /// Id of the schedule.
    pub schedule: Uuid,
    /// The status that the event reports.
    pub status: ExecutionStatus,
    /// The correlation id of the occurrence.
    pub correlation: &'a str,
    /// The nominal time of the occurrence, in Unix milliseconds.
    pub scheduled_for_ms: i64,
    /// When the execution began, in Unix milliseconds.
    pub started_at_ms: i64,
    /// Milliseconds from the start until the outcome was known; 0 without an outcome.
    pub duration_ms: i64,
    /// For a failure: its `error_type`.
    pub error: Option<&'a str>,
    /// The subject of the command, as headers write it; `None` if the event does not say.
    pub command: Option<&'a str>,
    /// For skipped occurrences: their number.
    pub skipped: u64,
}

/// Numbers of entries that the stream keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Limit for all subjects together.
    pub messages: usize,
    /// Limit for each subject.
    pub per_subject: usize,
}

/// Index of the executions in the history.
#[derive(Debug)]
pub struct HistoryIndex {
    limits: Limits,
    /// The entries of the stream, oldest first.
    chunks: VecDeque<Chunk>,
    /// The place of the latest event of each execution.
    latest: HashMap<Uuid, u64>,
    schedules: Schedules,
    /// For subjects that have been full: the place before which nothing of them is left.
    oldest: HashMap<(u32, u8), u64>,
    errors: Errors,
    /// Keyed randomly, so that nobody can choose colliding correlation ids.
    hasher: RandomState,
    seen: u64,
    held: usize,
    foreign: usize,
}

impl HistoryIndex {
    /// An empty index of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            chunks: VecDeque::new(),
            latest: HashMap::new(),
            schedules: Schedules::default(),
            oldest: HashMap::new(),
            errors: Errors::default(),
            hasher: RandomState::new(),
            seen: 0,
            held: 0,
            foreign: 0,
        }
    }

    /// Forgets everything, and starts after a place of a stream with these limits.
    pub fn restart(&mut self, limits: Limits, after: u64) {
        *self = Self { seen: after, ..Self::new(limits) };
    }

    /// The limits that the index assumes the stream to have.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The highest place in the stream seen so far.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Number of executions.
    pub fn len(&self) -> usize {
        self.latest.len()
    }

    /// Number of entries that the stream must hold; `None` if entries that are not events make that
    /// uncertain.
    pub fn entries(&self) -> Option<usize> {
        (self.foreign == 0).then_some(self.held)
    }

    /// The place of an execution's latest event.
    pub fn latest(&self, execution: Uuid) -> Option<u64> {
        self.latest.get(&execution).copied()
    }

    /// Whether an execution has an outcome.
    pub fn has_ended(&self, execution: Uuid) -> bool {
        let place = self.latest(execution).and_then(|sequence| self.find(sequence));
        let status = place.and_then(|(chunk, at)| self.chunks[chunk].latest_status(at));
        status.is_some_and(ExecutionStatus::is_final)
    }

    /// Adds an event. Events arrive in the order of the stream; one seen before is ignored.
    pub fn apply(&mut self, event: Event<'_>) {
        if event.sequence <= self.seen {
            return;
        }
        let known = self.latest(event.execution).and_then(|sequence| self.find(sequence));
        // A claim that was taken over may report its start after the outcome.
        let known_status = known.and_then(|(chunk, at)| self.chunks[chunk].latest_status(at));
        let is_late =
            !event.status.is_final() && known_status.is_some_and(ExecutionStatus::is_final);
        if !is_late {
            if let Some((chunk, at)) = known {
                self.chunks[chunk].supersede(at);
            }
            self.latest.insert(event.execution, event.sequence);
        }
        let status = chunk::code(event.status);
        let (schedule, of_subject) = self.schedules.enter(event.schedule, status);
        let is_skipped = event.status.is_range();
        let error = event.error.map_or(0, |error| self.errors.code(error));
        self.push(Slot {
            sequence: event.sequence,
            execution: event.execution,
            schedule,
            status: event.status,
            is_latest: !is_late,
            error,
            command: event.command.map_or(0, |command| self.command_hash(command)),
            correlation: self.hasher.hash_one(event.correlation),
            scheduled_for: event.scheduled_for_ms,
            started: event.started_at_ms,
            measure: if is_skipped {
                i64::try_from(event.skipped).unwrap_or(i64::MAX)
            } else {
                event.duration_ms
            },
        });
        if of_subject > self.limits.per_subject {
            self.drop_oldest_of(schedule, status);
        }
        self.drop_beyond_limit();
    }

    /// Adds an entry of the stream that is not an event.
    pub fn apply_foreign(&mut self, sequence: u64) {
        if sequence <= self.seen {
            return;
        }
        self.foreign += 1;
        self.push(Slot {
            sequence,
            execution: Uuid::nil(),
            schedule: NO_SCHEDULE,
            status: ExecutionStatus::Running,
            is_latest: false,
            error: 0,
            command: 0,
            correlation: 0,
            scheduled_for: 0,
            started: 0,
            measure: 0,
        });
        self.drop_beyond_limit();
    }

    /// Forgets entries before the stream's first.
    pub fn forget_before(&mut self, first: u64) {
        self.seen = self.seen.max(first.saturating_sub(1));
        while let Some(at) = self.first_held()
            && self.chunks[0].sequences[at] < first
        {
            self.lose(0, at);
        }
        if self.latest.len() * 8 < self.latest.capacity() {
            self.latest.shrink_to(self.latest.len() * 2);
        }
    }

    /// Forgets an entry that the stream does not hold.
    pub fn forget(&mut self, sequence: u64) {
        if let Some((chunk, at)) = self.find(sequence) {
            self.lose(chunk, at);
        }
    }

    /// The hash of a command's subject; never 0, which stands for one that is not known.
    fn command_hash(&self, command: &str) -> u32 {
        (self.hasher.hash_one(command) as u32).max(1)
    }

    fn push(&mut self, slot: Slot) {
        self.seen = slot.sequence;
        self.held += 1;
        if self.chunks.back().is_none_or(Chunk::is_full) {
            self.chunks.push_back(Chunk::new());
        }
        if let Some(chunk) = self.chunks.back_mut() {
            chunk.push(slot);
        }
    }

    /// The chunk and the slot of a place in the stream.
    fn find(&self, sequence: u64) -> Option<(usize, usize)> {
        let chunk = self.chunks.partition_point(|chunk| chunk.last < sequence);
        let at = self.chunks.get(chunk)?.sequences.binary_search(&sequence).ok()?;
        Some((chunk, at))
    }

    /// The first slot of the first chunk that the stream still holds.
    fn first_held(&self) -> Option<usize> {
        self.chunks.front()?.first_held(0)
    }

    fn drop_oldest_of(&mut self, schedule: u32, status: u8) {
        let from = self.oldest.get(&(schedule, status)).copied().unwrap_or(0);
        let first = self.chunks.partition_point(|chunk| chunk.last < from);
        for chunk in first..self.chunks.len() {
            let sequences = &self.chunks[chunk].sequences;
            let start = sequences.partition_point(|sequence| *sequence < from);
            if let Some(at) = self.chunks[chunk].first_of(start, schedule, status) {
                self.oldest.insert((schedule, status), self.chunks[chunk].sequences[at] + 1);
                self.lose(chunk, at);
                return;
            }
        }
    }

    fn drop_beyond_limit(&mut self) {
        while self.held > self.limits.messages
            && let Some(at) = self.first_held()
        {
            self.lose(0, at);
        }
    }

    /// Forgets one entry.
    fn lose(&mut self, index: usize, at: usize) {
        let chunk = &mut self.chunks[index];
        let Some(status) = chunk.status(at) else { return };
        let schedule = chunk.schedules[at];
        if chunk.latest(at).is_some() {
            self.latest.remove(&chunk.executions[at]);
        }
        chunk.lose(at);
        self.held -= 1;
        if schedule == NO_SCHEDULE {
            self.foreign -= 1;
        } else if self.schedules.leave(schedule, status) {
            for status in 0..chunk::STATUSES as u8 {
                self.oldest.remove(&(schedule, status));
            }
        }
        self.tidy(index);
    }

    /// Drops, compacts or merges chunks that are mostly empty.
    fn tidy(&mut self, index: usize) {
        let chunk = &mut self.chunks[index];
        if chunk.is_gone() {
            self.chunks.remove(index);
            return;
        }
        if !chunk.is_sparse() {
            return;
        }
        chunk.compact();
        let len = |index: usize| self.chunks.get(index).map_or(chunk::SLOTS, Chunk::len);
        let first = if index > 0 && len(index - 1) + len(index) <= chunk::SLOTS {
            index - 1
        } else if len(index) + len(index + 1) <= chunk::SLOTS {
            index
        } else {
            return;
        };
        if let Some(later) = self.chunks.remove(first + 1) {
            self.chunks[first].append(later);
        }
    }
}
