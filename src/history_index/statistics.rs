//! Statistics of executions.

use std::cmp::Reverse;
use std::collections::HashMap;

use uuid::Uuid;

use super::HistoryIndex;
use super::chunk::Chunk;
use super::sums::Sums;
use crate::execution::ExecutionStatus;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;

/// An execution that has an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The place of the event with the outcome.
    pub sequence: u64,
    /// Id of the execution.
    pub execution: Uuid,
    /// Id of the schedule.
    pub schedule: Uuid,
    /// The outcome.
    pub status: ExecutionStatus,
    /// When the outcome was known, in Unix milliseconds.
    pub completed_at_ms: i64,
}

/// Statistics of one schedule, or of all. An execution is an attempt that has an outcome; skipped occurrences
/// are not executions, and are counted apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Within the window: executions that succeeded.
    pub successful: u64,
    /// Within the window: executions that failed.
    pub failed: u64,
    /// Within the window: executions that were cancelled.
    pub cancelled: u64,
    /// Within the window: occurrences that were skipped.
    pub skipped: u64,
    /// Within the window: total milliseconds of all that succeeded or failed.
    pub duration_sum_ms: i128,
    /// Within the window: the shortest of these durations.
    pub duration_min_ms: Option<i64>,
    /// Within the window: the longest of these durations.
    pub duration_max_ms: Option<i64>,
    /// Within the window: the most common error type and its count; of several that are equally common, the
    /// first by name.
    pub most_common_error: Option<(String, u64)>,
    /// Number of executions in the last hour.
    pub last_hour: u64,
    /// Number of executions in the last 24 hours.
    pub last_day: u64,
    /// Number of executions in the last 7 days.
    pub last_week: u64,
    /// Number of failures since the last success.
    pub consecutive_failures: u64,
    /// The latest execution.
    pub last: Option<Ended>,
    /// The latest failure.
    pub last_failed: Option<Ended>,
    /// The error type of the latest failure.
    pub last_error: Option<String>,
}

impl HistoryIndex {
    /// Statistics at `now_ms` of one schedule, or of all; `None` if the history has nothing of it. The window
    /// reaches from `window_ms` ago until now, and includes what was completed within it.
    pub fn statistics(
        &self,
        schedule: Option<Uuid>,
        now_ms: i64,
        window_ms: Option<i64>,
    ) -> Option<Statistics> {
        let number = schedule.map(|schedule| self.schedules.number(schedule).ok_or(()));
        let number = number.transpose().ok()?;
        let mut tally = Tally {
            now_ms,
            window_from_ms: window_ms.map_or(i64::MIN, |window| now_ms.saturating_sub(window)),
            ..Tally::default()
        };
        for chunk in self.chunks.iter().rev() {
            match number {
                None => tally.add(chunk, chunk.sums(), (0..chunk.len()).rev()),
                Some(number) => {
                    let slots = chunk.of_schedule(number).rev();
                    tally.add(chunk, &chunk.sums_of(slots.clone()), slots);
                }
            }
        }
        let ended = |(chunk, at): (&Chunk, usize)| {
            Some(Ended {
                sequence: chunk.sequences[at],
                execution: chunk.executions[at],
                schedule: self.schedules.id(chunk.schedules[at]),
                status: chunk.latest_status(at)?,
                completed_at_ms: chunk.completed(at),
            })
        };
        let mut found = tally.found;
        found.last = tally.last.and_then(ended);
        found.last_failed = tally.last_failed.and_then(ended);
        let last_error =
            tally.last_failed.and_then(|(chunk, at)| self.errors.name(chunk.errors[at]));
        let errors = tally.errors.into_iter();
        let named = errors.filter_map(|(code, count)| Some((self.errors.name(code)?, count)));
        let common = named.max_by_key(|(name, count)| (*count, Reverse(*name)));
        found.last_error = last_error.map(str::to_owned);
        found.most_common_error = common.map(|(name, count)| (name.to_owned(), count));
        Some(found)
    }
}

/// Counts so far, from the newest event backwards.
#[derive(Default)]
struct Tally<'a> {
    now_ms: i64,
    window_from_ms: i64,
    found: Statistics,
    has_succeeded: bool,
    last: Option<(&'a Chunk, usize)>,
    last_failed: Option<(&'a Chunk, usize)>,
    errors: HashMap<u16, u64>,
}

impl<'a> Tally<'a> {
    /// Adds the sums of some slots: at once if each period holds all or none of them, otherwise one by one.
    fn add(&mut self, chunk: &'a Chunk, sums: &Sums, slots: impl Iterator<Item = usize>) {
        let (first, last) = sums.completed;
        let periods = [HOUR_MS, DAY_MS, WEEK_MS].map(|period| self.now_ms.saturating_sub(period));
        let is_cut = |from: &i64| first < *from && *from <= last;
        if periods.iter().chain([&self.window_from_ms]).any(is_cut) {
            for at in slots {
                self.add_whole(chunk, &chunk.sums_of([at].into_iter()), periods);
            }
        } else {
            self.add_whole(chunk, sums, periods);
        }
    }

    fn add_whole(&mut self, chunk: &'a Chunk, sums: &Sums, periods: [i64; 3]) {
        let ended = sums.successful + sums.failed + sums.cancelled;
        let found = &mut self.found;
        let counts = [&mut found.last_hour, &mut found.last_day, &mut found.last_week];
        for (from, count) in periods.into_iter().zip(counts) {
            *count += if sums.completed.0 >= from { ended } else { 0 };
        }
        if !self.has_succeeded {
            found.consecutive_failures += sums.failures;
            self.has_succeeded = sums.successful > 0;
        }
        self.last = self.last.or(sums.last.map(|at| (chunk, at)));
        self.last_failed = self.last_failed.or(sums.last_failed.map(|at| (chunk, at)));
        if sums.completed.0 < self.window_from_ms {
            return;
        }
        found.successful += sums.successful;
        found.failed += sums.failed;
        found.cancelled += sums.cancelled;
        found.skipped = found.skipped.saturating_add(sums.skipped);
        if sums.successful + sums.failed > 0 {
            let (min, max) = sums.durations;
            found.duration_sum_ms += sums.duration_sum;
            found.duration_min_ms = Some(found.duration_min_ms.map_or(min, |known| known.min(min)));
            found.duration_max_ms = Some(found.duration_max_ms.map_or(max, |known| known.max(max)));
        }
        for (error, times) in &sums.errors {
            *self.errors.entry(*error).or_default() += times;
        }
    }
}
