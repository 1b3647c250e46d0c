//! What became of the nominal times of one schedule.

use uuid::Uuid;

use super::HistoryIndex;
use crate::execution::ExecutionStatus;

/// Most ranges that are looked at because they may reach into a span.
const RANGES: usize = 8;
/// Most executions that are looked at because they were under way when a span begins.
const OPEN: usize = 64;

/// An execution, as its latest event shows it, or a range that was skipped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The place of the event.
    pub sequence: u64,
    /// The execution.
    pub execution: Uuid,
    /// Its status.
    pub status: ExecutionStatus,
    /// The same for all attempts at one occurrence, most probably different for others.
    pub occurrence: u64,
    /// The nominal time, or that of the first that was skipped, in Unix milliseconds.
    pub scheduled_for_ms: i64,
    /// When it began, in Unix milliseconds.
    pub started_ms: i64,
    /// When its outcome was known, in Unix milliseconds.
    pub ended_ms: Option<i64>,
}

impl HistoryIndex {
    /// The executions of a schedule with nominal times from `from_ms` to `to_ms`, by nominal time and start; and the
    /// latest ranges that were skipped before, which may reach into that span, and executions of before that were under way
    /// when it begins or later.
    pub fn ledger(&self, schedule: Uuid, from_ms: i64, to_ms: i64) -> Vec<Row> {
        let Some(number) = self.schedules.number(schedule) else { return Vec::new() };
        let (mut rows, mut before, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for chunk in &self.chunks {
            for at in chunk.of_schedule(number) {
                let Some(status) = chunk.latest_status(at) else { continue };
                let scheduled_for_ms = chunk.scheduled_for[at];
                let is_range = status.is_range();
                let started_ms = chunk.started[at];
                let ended = started_ms.saturating_add(chunk.measures[at]);
                let row = Row {
                    sequence: chunk.sequences[at],
                    execution: chunk.executions[at],
                    status,
                    occurrence: chunk.correlations[at],
                    scheduled_for_ms,
                    started_ms,
                    ended_ms: (status.is_final() && !is_range).then_some(ended),
                };
                if (from_ms..=to_ms).contains(&scheduled_for_ms) {
                    rows.push(row);
                } else if is_range && scheduled_for_ms < from_ms {
                    before.push(row);
                } else if scheduled_for_ms < from_ms
                    && row.ended_ms.is_none_or(|ended| ended >= from_ms)
                {
                    open.push(row);
                }
            }
        }
        before.sort_unstable_by_key(|row| std::cmp::Reverse(row.scheduled_for_ms));
        rows.extend(before.into_iter().take(RANGES));
        open.sort_unstable_by_key(|row: &Row| std::cmp::Reverse(row.started_ms));
        rows.extend(open.into_iter().take(OPEN));
        rows.sort_unstable_by_key(|row| (row.scheduled_for_ms, row.started_ms, row.sequence));
        rows
    }
}
