//! Sums over some executions of a chunk.

use std::collections::HashMap;

use crate::execution::ExecutionStatus;

/// The latest event of one execution, from the columns of a chunk.
pub(super) struct Latest {
    /// Its slot.
    pub(super) at: usize,
    pub(super) status: ExecutionStatus,
    /// Its duration in milliseconds, or the number of skipped occurrences.
    pub(super) measure: i64,
    pub(super) completed: i64,
    /// The number of its error type.
    pub(super) error: u16,
}

/// Sums over some executions of a chunk.
#[derive(Debug)]
pub(super) struct Sums {
    pub(super) successful: u64,
    pub(super) failed: u64,
    pub(super) cancelled: u64,
    pub(super) skipped: u64,
    pub(super) duration_sum: i128,
    /// The shortest and the longest duration.
    pub(super) durations: (i64, i64),
    /// The first and the last completion.
    pub(super) completed: (i64, i64),
    /// Number of failures after the last success.
    pub(super) failures: u64,
    /// The slots of the newest execution and of the newest failure.
    pub(super) last: Option<usize>,
    pub(super) last_failed: Option<usize>,
    /// Count of each error type.
    pub(super) errors: HashMap<u16, u64>,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            successful: 0,
            failed: 0,
            cancelled: 0,
            skipped: 0,
            duration_sum: 0,
            durations: (i64::MAX, i64::MIN),
            completed: (i64::MAX, i64::MIN),
            failures: 0,
            last: None,
            last_failed: None,
            errors: HashMap::new(),
        }
    }
}

impl Sums {
    /// Adds an execution; executions arrive newest first.
    pub(super) fn add(&mut self, event: &Latest) {
        let Latest { at, status, measure, completed, error } = *event;
        self.completed = (self.completed.0.min(completed), self.completed.1.max(completed));
        match status {
            ExecutionStatus::Running => return,
            ExecutionStatus::Skipped | ExecutionStatus::Corrected => {
                self.skipped = self.skipped.saturating_add_signed(measure);
                return;
            }
            ExecutionStatus::Cancelled => self.cancelled += 1,
            ExecutionStatus::Success => self.successful += 1,
            ExecutionStatus::Failed => {
                self.failed += 1;
                self.failures += u64::from(self.successful == 0);
                self.last_failed.get_or_insert(at);
                *self.errors.entry(error).or_default() += 1;
            }
        }
        self.last.get_or_insert(at);
        if status != ExecutionStatus::Cancelled {
            self.duration_sum += i128::from(measure);
            self.durations = (self.durations.0.min(measure), self.durations.1.max(measure));
        }
    }
}
