//! Statistics of executions.

use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::task::block_in_place;
use uuid::Uuid;

use super::error::ApiError;
use super::reply::{Links, Reply};
use super::{Api, Caller};
use crate::execution::ExecutionStatus;
use crate::history_index::{Bucket, Buckets, Ended, Statistics};
use crate::index::{Coming, ScheduleFilter};
use crate::moment::Moment as _;
use crate::port::Nats;
use crate::schedule::declared::which_fields;
use crate::schedule::{FieldFault, Schedule, last_instant};

/// Longest window: what the history keeps by default, 30 days.
const MAX_WINDOW_HOURS: u32 = 720;
/// Lengths of buckets, in seconds.
const MIN_BUCKET: u32 = 60;
const MAX_BUCKET: u32 = 86_400;
/// Most buckets of a request.
const MOST_BUCKETS: i64 = 1000;

which_fields! { request {
    /// A request for statistics.
    pub struct GetStatistics {
        /// Only what was completed within so many hours: 1 to 720; default all that the history holds.
        #[schemars(range(min = 1, max = 720), example = 24)]
        pub time_window_hours: Option<u32>,
        /// Also counts by so many seconds of the window: 60 to 86400, at most 1000 buckets; default none.
        #[schemars(range(min = 60, max = 86_400), example = 3600)]
        pub bucket_seconds: Option<u32>,
    }
} }

/// Statistics of the executions that the history holds. An execution is one attempt that has an outcome; skipped
/// occurrences are counted separately.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionStatistics {
    /// The schedule; `null` for all.
    pub schedule_id: Option<Uuid>,
    /// The window; `null` for none.
    pub time_window_hours: Option<u32>,
    /// In the window: executions that succeeded, failed or were cancelled.
    pub total_executions: u64,
    /// In the window: executions that succeeded.
    pub successful: u64,
    /// In the window: executions that failed, each attempt counted.
    pub failed: u64,
    /// In the window: executions that were cancelled.
    pub cancelled: u64,
    /// In the window: occurrences that were skipped; one entry counts all its occurrences.
    pub skipped: u64,
    /// In the window: `successful` of `successful` and `failed`, 0 to 1; `null` if both are 0.
    pub success_rate: Option<f64>,
    /// In the window: mean milliseconds from start to outcome of executions that succeeded or failed.
    pub average_duration_ms: Option<f64>,
    /// In the window: the shortest of these.
    pub min_duration_ms: Option<i64>,
    /// In the window: the longest of these.
    pub max_duration_ms: Option<i64>,
    /// In the window: the most common kind of failure.
    pub most_common_error: Option<CommonError>,
    /// Executions completed in the last hour.
    pub executions_last_hour: u64,
    /// Executions completed in the last 24 hours.
    pub executions_last_24_hours: u64,
    /// Executions completed in the last 7 days.
    pub executions_last_7_days: u64,
    /// Executions that failed since the last one that succeeded.
    pub consecutive_failures: u64,
    /// The latest execution that failed.
    pub last_error: Option<LastError>,
    /// The latest execution.
    pub last_execution: Option<LastExecution>,
    /// The next occurrence of an active schedule.
    pub next_execution: Option<NextExecution>,
    /// With `bucket_seconds`: counts by time, oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buckets: Option<Vec<StatisticsBucket>>,
}

/// What was completed in a part of the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StatisticsBucket {
    /// Its begin: a whole multiple of its length since 1970. The first one may reach back beyond the window, and counts
    /// only what is in it.
    pub from: DateTime<Utc>,
    /// Executions that succeeded.
    pub successful: u64,
    /// Executions that failed, each attempt counted.
    pub failed: u64,
    /// Executions that were cancelled.
    pub cancelled: u64,
    /// Occurrences that were skipped.
    pub skipped: u64,
    /// Mean milliseconds of executions that succeeded or failed.
    pub average_duration_ms: Option<f64>,
    /// The longest of these.
    pub max_duration_ms: Option<i64>,
}

/// A kind of failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommonError {
    /// The same names as in executions; among equally common ones, the first by name.
    pub error_type: String,
    /// How often it occurred.
    pub count: u64,
}

/// A failed execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastError {
    /// The execution.
    pub execution_id: Uuid,
    /// Its schedule.
    pub schedule_id: Uuid,
    /// What went wrong, for programs.
    pub error_type: Option<String>,
    /// What went wrong, for people.
    pub error_message: Option<String>,
    /// When its outcome became known.
    pub at: DateTime<Utc>,
}

/// An execution with an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastExecution {
    /// The execution.
    pub execution_id: Uuid,
    /// Its schedule.
    pub schedule_id: Uuid,
    /// Its outcome.
    pub status: ExecutionStatus,
    /// When its outcome became known.
    pub at: DateTime<Utc>,
}

/// A future occurrence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextExecution {
    /// The schedule.
    pub schedule_id: Uuid,
    /// Its nominal time.
    pub at: DateTime<Utc>,
}

impl<N: Nats> Api<N> {
    /// Computes statistics of one schedule, or of all.
    ///
    /// # Errors
    /// `invalid`, `not_found` (neither such a schedule nor executions of it exist), `unavailable`.
    pub async fn execution_statistics(
        &self,
        request: GetStatistics,
        caller: &Caller,
    ) -> Result<Reply<ExecutionStatistics>, ApiError> {
        let (hours, now) = (request.time_window_hours, self.clock.now());
        let buckets = check(&request, now)?;
        let window = hours.map(|hours| Duration::from_secs(u64::from(hours) * 3600));
        let id = request.schedule_id;
        let found = self.history.statistics(id, now, window).await?;
        let next_execution = match id {
            None => self.next_of_all(now),
            Some(id) => match self.index.get(id).filter(|entry| !entry.schedule.purge) {
                Some(entry) => self.next_of(&entry.schedule),
                None if found.is_some() => None,
                // The index may be behind.
                None => self.next_of(&self.stored_schedule(id).await?),
            },
        };
        let (statistics, error_message) = found.unwrap_or_default();
        let mut data = ExecutionStatistics::new(statistics, error_message);
        (data.schedule_id, data.time_window_hours) = (id, hours);
        data.next_execution = next_execution;
        if let Some(buckets) = buckets {
            let counted = self.history.buckets(id, buckets).await?;
            data.buckets = Some(counted.iter().map(StatisticsBucket::from).collect());
        }
        let links = id.map_or_else(Links::default, |id| {
            let schedule = Links::schedule(id);
            Links {
                itself: Some(format!("/api/v1/executions/stats/{id}")),
                executions: schedule.executions,
                schedule: schedule.itself,
            }
        });
        Ok(Reply::new(data, caller).links(links))
    }

    /// Reads a schedule that is visible to users from the stream's leader.
    async fn stored_schedule(&self, id: Uuid) -> Result<Schedule, ApiError> {
        let record = self.record(id).await?.filter(|(schedule, _)| !schedule.purge);
        record.map(|(schedule, _)| schedule).ok_or_else(|| ApiError::no_schedule(id))
    }

    /// First occurrence of all schedules that will be acted on.
    fn next_of_all(&self, now: DateTime<Utc>) -> Option<NextExecution> {
        let halt = self.index.pauses().halt();
        if halt.is_open() {
            return None;
        }
        let (first, filter) = (halt.is_on(now).then_some(halt.until), ScheduleFilter::default());
        let coming =
            Coming { filter: &filter, now, from: first, to: last_instant(), after: None, limit: 1 };
        let (ahead, _) = block_in_place(|| self.index.coming(&coming));
        let next = ahead.first()?;
        Some(NextExecution { schedule_id: next.entry.schedule.id, at: next.occurrence.at })
    }

    /// The next occurrence of a schedule that will be acted on.
    fn next_of(&self, schedule: &Schedule) -> Option<NextExecution> {
        let overall = self.index.overall();
        let (halt, id) = (overall.pauses.halt(), schedule.id);
        let next = schedule.next_run_at.filter(|_| schedule.fires())?;
        let at = match halt.is_on(schedule.due(next)) {
            true if halt.is_open() => return None,
            true => {
                let trigger = schedule.spec.timing.trigger(id, &overall.calendars).ok()?;
                trigger.next_after(halt.until.just_before())?
            }
            false => next,
        };
        Some(NextExecution { schedule_id: id, at })
    }
}

/// Checks a request; returns the buckets that it asks for.
fn check(request: &GetStatistics, now: DateTime<Utc>) -> Result<Option<Buckets>, ApiError> {
    let (hours, seconds) = (request.time_window_hours, request.bucket_seconds);
    let mut faults = Vec::new();
    if hours.is_some_and(|hours| !(1..=MAX_WINDOW_HOURS).contains(&hours)) {
        let reason = format!("must be 1 to {MAX_WINDOW_HOURS}");
        faults.push(FieldFault::new("time_window_hours", reason));
    }
    let buckets = seconds.zip(hours).map(|(seconds, hours)| {
        let to_ms = now.timestamp_millis();
        let from_ms = to_ms - i64::from(hours) * 3_600_000;
        Buckets { from_ms, to_ms, width_ms: i64::from(seconds) * 1000 }
    });
    match (seconds, &buckets) {
        (Some(seconds), _) if !(MIN_BUCKET..=MAX_BUCKET).contains(&seconds) => {
            let reason = format!("must be {MIN_BUCKET} to {MAX_BUCKET}");
            faults.push(FieldFault::new("bucket_seconds", reason));
        }
        (Some(_), None) => {
            faults.push(FieldFault::new("bucket_seconds", "needs time_window_hours"));
        }
        (Some(_), Some(buckets)) if faults.is_empty() && buckets.count() > MOST_BUCKETS => {
            let reason = format!("would be more than {MOST_BUCKETS} buckets in the window");
            faults.push(FieldFault::new("bucket_seconds", reason));
        }
        _ => {}
    }
    if faults.is_empty() { Ok(buckets) } else { Err(faults.into()) }
}

impl From<&Bucket> for StatisticsBucket {
    fn from(counted: &Bucket) -> Self {
        let timed = counted.successful + counted.failed;
        Self {
            from: DateTime::from_timestamp_millis(counted.from_ms).unwrap_or_default(),
            successful: counted.successful,
            failed: counted.failed,
            cancelled: counted.cancelled,
            skipped: counted.skipped,
            average_duration_ms: (timed > 0).then(|| counted.duration_sum_ms as f64 / timed as f64),
            max_duration_ms: counted.duration_max_ms,
        }
    }
}

impl ExecutionStatistics {
    fn new(found: Statistics, error_message: Option<String>) -> Self {
        let at = |ended: &Ended| {
            DateTime::from_timestamp_millis(ended.completed_at_ms).unwrap_or_default()
        };
        let timed = found.successful + found.failed;
        let share = |sum: f64| (timed > 0).then(|| sum / timed as f64);
        Self {
            schedule_id: None,
            time_window_hours: None,
            total_executions: timed + found.cancelled,
            successful: found.successful,
            failed: found.failed,
            cancelled: found.cancelled,
            skipped: found.skipped,
            success_rate: share(found.successful as f64),
            average_duration_ms: share(found.duration_sum_ms as f64),
            min_duration_ms: found.duration_min_ms,
            max_duration_ms: found.duration_max_ms,
            most_common_error: found
                .most_common_error
                .map(|(error_type, count)| CommonError { error_type, count }),
            executions_last_hour: found.last_hour,
            executions_last_24_hours: found.last_day,
            executions_last_7_days: found.last_week,
            consecutive_failures: found.consecutive_failures,
            last_error: found.last_failed.map(|failed| LastError {
                execution_id: failed.execution,
                schedule_id: failed.schedule,
                error_type: found.last_error,
                error_message,
                at: at(&failed),
            }),
            last_execution: found.last.map(|last| LastExecution {
                execution_id: last.execution,
                schedule_id: last.schedule,
                status: last.status,
                at: at(&last),
            }),
            next_execution: None,
            buckets: None,
        }
    }
}
