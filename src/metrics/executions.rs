//! Outcomes of occurrences: each is counted and timed once, where it becomes known.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::declare::{Buckets, Histograms, family};
use super::labels::TYPES;
use crate::every::every;
use crate::execution::ExecutionStatus;
use crate::schedule::{ScheduleType, SkipCause};

/// Statuses with which an attempt can end.
const ENDS: [ExecutionStatus; 3] = every!(
    ExecutionStatus: Success, Failed, Cancelled;
    but ExecutionStatus::Running | ExecutionStatus::Skipped | ExecutionStatus::Corrected
);
const CAUSES: [SkipCause; 7] = every!(
    SkipCause: Missed, Coalesced, Overlap, Limit, Paused, Changed, Deleted; but SkipCause::Other(_)
);
/// The number of the last attempt: a schedule has at most ten retries.
const LAST_ATTEMPT: u32 = 11;

const EXECUTION_SECONDS: Buckets = Buckets(&[0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0]);
const LATENESS_SECONDS: Buckets = Buckets(&[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
]);

pub(super) struct Executions {
    ended: Family<ByStatus, Counter>,
    seconds: Histograms<ByStatus>,
    misfires: Family<ByType, Counter>,
    missed: Family<ByCause, Counter>,
    retries: Family<Retry, Counter>,
    lateness: Histograms<ByType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    schedule_type: ScheduleType,
    status: ExecutionStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByType {
    schedule_type: ScheduleType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCause {
    cause: SkipCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Retry {
    schedule_type: ScheduleType,
    attempt: u32,
}

impl Executions {
    pub(super) fn new(to: &mut Registry) -> Self {
        let types = TYPES.map(|schedule_type| ByType { schedule_type });
        let ends = TYPES
            .into_iter()
            .flat_map(|schedule_type| ENDS.map(|status| ByStatus { schedule_type, status }));
        let skipped =
            TYPES.map(|schedule_type| ByStatus { schedule_type, status: ExecutionStatus::Skipped });
        let retries = TYPES.into_iter().flat_map(|schedule_type| {
            (2..=LAST_ATTEMPT).map(move |attempt| Retry { schedule_type, attempt })
        });
        Self {
            ended: family(
                to,
                "schedule_executions",
                "Executions that ended, and occurrences that were skipped",
                Family::default(),
                ends.clone().chain(skipped),
            ),
            seconds: family(
                to,
                "schedule_execution_duration_seconds",
                "Time from the start of an execution to its outcome",
                EXECUTION_SECONDS.histograms(),
                ends,
            ),
            misfires: family(
                to,
                "schedule_misfires",
                "Occurrences that nobody could act on within their misfire grace",
                Family::default(),
                types,
            ),
            missed: family(
                to,
                "schedule_missed",
                "Occurrences that were not acted on, by cause",
                Family::default(),
                CAUSES.map(|cause| ByCause { cause }),
            ),
            retries: family(
                to,
                "schedule_retries",
                "Retries, by the number of the attempt",
                Family::default(),
                retries,
            ),
            lateness: family(
                to,
                "schedule_lateness_seconds",
                "Time from when an attempt was due to when its command was sent",
                LATENESS_SECONDS.histograms(),
                types,
            ),
        }
    }
}

impl Metrics {
    /// Records how long after its due time a command was sent.
    pub fn sent(&self, kind: ScheduleType, lateness: Duration) {
        let labels = ByType { schedule_type: kind };
        self.executions.lateness.get_or_create(&labels).observe(lateness.as_secs_f64());
    }

    /// Counts an attempt that has ended. One that is with a worker has not ended yet, and one that was never
    /// made is [`skipped`](Self::skipped): neither counts here.
    pub fn ended(&self, kind: ScheduleType, status: ExecutionStatus, duration: Option<Duration>) {
        if !ENDS.contains(&status) {
            return;
        }
        let labels = ByStatus { schedule_type: kind, status };
        self.executions.ended.get_or_create(&labels).inc();
        if let Some(duration) = duration {
            self.executions.seconds.get_or_create(&labels).observe(duration.as_secs_f64());
        }
    }

    /// Counts occurrences that were not acted on.
    pub fn skipped(&self, kind: ScheduleType, cause: SkipCause, count: u64) {
        let labels = ByStatus { schedule_type: kind, status: ExecutionStatus::Skipped };
        self.executions.ended.get_or_create(&labels).inc_by(count);
        self.executions.missed.get_or_create(&ByCause { cause }).inc_by(count);
        if cause == SkipCause::Missed {
            let labels = ByType { schedule_type: kind };
            self.executions.misfires.get_or_create(&labels).inc_by(count);
        }
    }

    /// Counts a retry of a failed attempt; `attempt` 2 is the first retry.
    pub fn retried(&self, kind: ScheduleType, attempt: u32) {
        let labels = Retry { schedule_type: kind, attempt: attempt.min(LAST_ATTEMPT) };
        self.executions.retries.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{now, text};
    use super::*;

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
        assert!(!text(&metrics).contains(r#"status="running""#), "it has not ended");
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
}
