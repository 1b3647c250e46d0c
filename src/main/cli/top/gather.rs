//! Asks for what the screen shows: a few requests, each for no more than a screen has room for.

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::client::{
    Client, ClientError, ExecutionStatistics, ExplainSchedule, GetStatistics, ListRunning,
    ListSchedules, ListUpcoming, RunningExecution, ScheduleSummary, ServiceStatus, Sort, Status,
    UpcomingOccurrence,
};
use uuid::Uuid;

use crate::cli::moment;
use crate::cli::text::safe;
use crate::cli::words::word;

/// Rows of a list.
const ROWS: u64 = 50;
/// What is due and not acted on for longer than this is late.
const LATE: TimeDelta = TimeDelta::seconds(2);
/// Times of a schedule that its details show.
const TIMES: u64 = 20;

/// What a row of a list says of a schedule. Its texts are safe.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) schedule: Uuid,
    pub(super) name: String,
    /// When it is due, began or was due.
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) note: String,
}

/// The state of the service.
#[derive(Clone, Debug)]
pub(super) struct Health {
    pub(super) is_ok: bool,
    pub(super) status: String,
    pub(super) instances: usize,
    pub(super) schedules: Vec<(String, usize)>,
    pub(super) failing: usize,
    pub(super) overdue: usize,
    pub(super) running: u64,
    pub(super) problems: Vec<String>,
    /// Executions that ended in the last hour, and how many of them failed.
    pub(super) last_hour: (u64, u64),
    /// Executions that ended in the last whole minute.
    pub(super) last_minute: u64,
    pub(super) lag_ms: u64,
}

pub(super) struct Gathered {
    /// The time of the service.
    pub(super) now: DateTime<Utc>,
    pub(super) health: Health,
    /// The rows of each list, in their order.
    pub(super) rows: [Vec<Row>; 4],
}

/// Asks the service how it is, and what is due, running, late and failing.
///
/// # Errors
/// Those of the requests.
pub(super) async fn gather(client: &Client, now: DateTime<Utc>) -> Result<Gathered, ClientError> {
    let upcoming = ListUpcoming { limit: Some(ROWS), ..ListUpcoming::default() };
    let running = ListRunning { limit: Some(ROWS), ..ListRunning::default() };
    let hour = GetStatistics {
        time_window_hours: Some(1),
        bucket_seconds: Some(60),
        ..GetStatistics::default()
    };
    let (status, upcoming, running, hour) = futures::try_join!(
        client.status(),
        client.upcoming(&upcoming),
        client.running(&running),
        client.statistics(&hour),
    )?;
    let status = status.data;
    // Where nothing is wrong, nothing is searched for.
    let is_behind =
        i64::try_from(status.timer_lag_ms).unwrap_or(i64::MAX) > LATE.num_milliseconds();
    let late = some(
        is_behind,
        client,
        ListSchedules {
            status: Some(Status::Active),
            due_before: now.checked_sub_signed(LATE),
            sort: Some(Sort::NextRun),
            ..ListSchedules::default()
        },
    );
    let overdue = some(
        status.overdue > 0,
        client,
        ListSchedules { is_overdue: Some(true), ..ListSchedules::default() },
    );
    let failing = some(
        status.failing > 0,
        client,
        ListSchedules { is_failing: Some(true), ..ListSchedules::default() },
    );
    let (late, overdue, failing) = futures::try_join!(late, overdue, failing)?;
    let total = running.pagination.map_or(running.data.len() as u64, |it| it.total);
    let late = late.iter().map(late_row).chain(overdue.iter().map(overdue_row));
    Ok(Gathered {
        now: upcoming.data.from,
        health: health(status, total, &hour.data),
        rows: [
            upcoming.data.occurrences.iter().map(due_row).collect(),
            running.data.iter().map(running_row).collect(),
            late.collect(),
            failing.iter().map(failing_row).collect(),
        ],
    })
}

async fn some(
    is_asked: bool,
    client: &Client,
    request: ListSchedules,
) -> Result<Vec<ScheduleSummary>, ClientError> {
    if !is_asked {
        return Ok(Vec::new());
    }
    Ok(client.list(&ListSchedules { limit: Some(ROWS), ..request }).await?.data)
}

fn health(status: ServiceStatus, running: u64, hour: &ExecutionStatistics) -> Health {
    let mut problems: Vec<_> = status.problems.iter().map(|it| safe(it)).collect();
    problems.extend(status.all_paused.as_ref().map(|all| {
        let by = all.paused_by.as_deref().unwrap_or("somebody");
        let reason = all.reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
        safe(&format!("all schedules are paused by {by}{reason}"))
    }));
    // The last one is not over.
    let minute = hour.buckets.iter().flatten().rev().nth(1);
    Health {
        is_ok: status.status == "ok",
        status: safe(&status.status),
        instances: status.instances,
        schedules: status.schedules.iter().map(|(word, count)| (safe(word), *count)).collect(),
        failing: status.failing,
        overdue: status.overdue,
        running,
        problems,
        last_hour: (hour.total_executions, hour.failed),
        last_minute: minute.map_or(0, |it| it.successful + it.failed + it.cancelled),
        lag_ms: status.timer_lag_ms,
    }
}

fn due_row(it: &UpcomingOccurrence) -> Row {
    let note = it.moved.as_ref().map(word).unwrap_or_default();
    Row { schedule: it.schedule_id, name: safe(&it.schedule_name), at: Some(it.due_at), note }
}

fn running_row(it: &RunningExecution) -> Row {
    let attempt = (it.attempt_number > 1).then(|| format!("attempt {}", it.attempt_number));
    let progress = it.progress.map(|percent| format!("{percent} %"));
    let target = Some(safe(&it.target_command));
    let note = [attempt, progress, target].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let at = it.since.or(Some(it.scheduled_for));
    Row { schedule: it.schedule_id, name: safe(&it.schedule_name), at, note }
}

fn late_row(it: &ScheduleSummary) -> Row {
    let note = safe(&it.target_command);
    Row { schedule: it.id, name: safe(&it.name), at: it.next_run_at, note }
}

fn overdue_row(it: &ScheduleSummary) -> Row {
    let note = "overdue: no success in time".to_owned();
    Row { schedule: it.id, name: safe(&it.name), at: it.last_success_at, note }
}

fn failing_row(it: &ScheduleSummary) -> Row {
    let outcome = it.last_outcome.as_ref().map(word).unwrap_or_default();
    let note = format!("{outcome}, {} of {} failed", it.failure_count, it.run_count);
    Row { schedule: it.id, name: safe(&it.name), at: it.last_run_at, note }
}

/// What becomes of a schedule's times, and why, one on each line.
///
/// # Errors
/// Those of the request.
pub(super) async fn details(client: &Client, id: Uuid) -> Result<Vec<String>, ClientError> {
    let request =
        ExplainSchedule { schedule_id: Some(id), limit: Some(TIMES), ..ExplainSchedule::default() };
    let explained = client.explain(&request).await?.data;
    let mut lines = vec![safe(&explained.description), String::new()];
    lines.extend(explained.times.iter().map(|it| {
        let count = if it.count > 1 { format!(" ({} times)", it.count) } else { String::new() };
        let outcome = word(&it.outcome);
        safe(&format!("{}  {outcome}{count}: {}", moment::absolute(it.scheduled_for), it.reason))
    }));
    lines.extend(explained.no_next.as_ref().map(|reason| safe(reason)));
    Ok(lines)
}
