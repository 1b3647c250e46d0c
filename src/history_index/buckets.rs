//! Counts of executions by when they were completed.

use uuid::Uuid;

use super::HistoryIndex;
use crate::execution::ExecutionStatus;

/// Times of the same length, one after another.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// The first instant that counts, in Unix milliseconds; it may lie inside the first bucket.
    pub from_ms: i64,
    /// The last instant that counts.
    pub to_ms: i64,
    /// Their length in milliseconds. They begin at whole multiples of it.
    pub width_ms: i64,
}

/// What was completed in one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// Its begin, in Unix milliseconds.
    pub from_ms: i64,
    /// Executions that succeeded.
    pub successful: u64,
    /// Executions that failed.
    pub failed: u64,
    /// Executions that were cancelled.
    pub cancelled: u64,
    /// Occurrences that were skipped.
    pub skipped: u64,
    /// Total milliseconds of all that succeeded or failed.
    pub duration_sum_ms: i128,
    /// The longest of them.
    pub duration_max_ms: Option<i64>,
}

impl Buckets {
    /// How many they are.
    pub fn count(&self) -> i64 {
        self.to_ms.div_euclid(self.width_ms) - self.from_ms.div_euclid(self.width_ms) + 1
    }
}

impl HistoryIndex {
    /// What was completed in each bucket, of one schedule or of all.
    pub fn buckets(&self, schedule: Option<Uuid>, buckets: Buckets) -> Vec<Bucket> {
        let Buckets { from_ms, to_ms, width_ms } = buckets;
        let first = from_ms.div_euclid(width_ms);
        let empty = |n: i64| Bucket { from_ms: (first + n) * width_ms, ..Bucket::default() };
        let mut counted: Vec<Bucket> = (0..buckets.count()).map(empty).collect();
        let number = schedule.map(|schedule| self.schedules.number(schedule));
        if number == Some(None) {
            return counted;
        }
        for chunk in &self.chunks {
            let (earliest, latest) = chunk.sums().completed;
            if latest < from_ms || to_ms < earliest {
                continue;
            }
            for at in 0..chunk.len() {
                let completed = chunk.completed(at);
                let is_of_it = number.flatten().is_none_or(|number| chunk.schedules[at] == number);
                if !is_of_it || !(from_ms..=to_ms).contains(&completed) {
                    continue;
                }
                let place = usize::try_from(completed.div_euclid(width_ms) - first);
                let bucket = place.ok().and_then(|place| counted.get_mut(place));
                if let Some((status, bucket)) = chunk.latest_status(at).zip(bucket) {
                    bucket.add(status, chunk.measures[at]);
                }
            }
        }
        counted
    }
}

impl Bucket {
    fn add(&mut self, status: ExecutionStatus, measure: i64) {
        match status {
            ExecutionStatus::Running => return,
            ExecutionStatus::Skipped | ExecutionStatus::Corrected => {
                self.skipped = self.skipped.saturating_add_signed(measure);
                return;
            }
            ExecutionStatus::Cancelled => {
                self.cancelled += 1;
                return;
            }
            ExecutionStatus::Success => self.successful += 1,
            ExecutionStatus::Failed => self.failed += 1,
        }
        self.duration_sum_ms += i128::from(measure);
        self.duration_max_ms = self.duration_max_ms.max(Some(measure));
    }
}
