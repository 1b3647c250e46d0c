//! Workers' reports on jobs, and when they count.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::api::reports::CompleteExecution;
use nats_scheduler::execution::{Execution, ExecutionStatus};
use nats_scheduler::guards::Guard;
use nats_scheduler::names;
use nats_scheduler::port::Entry;
use nats_scheduler::schedule::{CreateSchedule, Schedule};
use serde_json::json;
use tokio::runtime::Builder;

use crate::guards;
use crate::instance::{Instance, start};
use crate::nats::{Server, full};

async fn create(instance: &Instance, request: serde_json::Value) {
    let request: CreateSchedule = serde_json::from_value(request).unwrap();
    instance.api.create_schedule(request, &instance.caller()).await.unwrap();
}

/// The report of whoever got a command that the job is done.
fn done(command: &Entry) -> CompleteExecution {
    let header = |name| command.headers.get(name).unwrap().as_str();
    CompleteExecution {
        execution_id: Some(header(names::EXECUTION_ID).parse().unwrap()),
        token: Some(header(names::TOKEN).to_owned()),
        response: None,
    }
}

/// All ends in the history, with when it got them.
fn ends(server: &Server) -> Vec<(Execution, DateTime<Utc>)> {
    let events = server.messages(names::EXECUTIONS_STREAM).into_iter();
    events
        .map(|entry| (serde_json::from_slice(&entry.body).unwrap(), entry.stored_at))
        .filter(|(event, _): &(Execution, _)| event.status.is_final())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_report_is_recorded_at_once_whichever_instance_is_told() {
    let server = Server::with_streams(11);
    let instances = start(&server, 3).await;
    for n in 0..12 {
        let job = json!({
            "name": format!("s{n}"), "schedule_type": "interval", "interval_seconds": 2,
            "target_command": format!("cmd.report.{n}"), "delivery": { "mode": "job" },
        });
        create(&instances[n % 3].0, job).await;
    }
    let mut told = 0;
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        for command in &server.messages(names::COMMANDS_STREAM)[told..] {
            let (instance, _) = &instances[told % 3];
            instance.api.complete_execution(done(command), &instance.caller()).await.unwrap();
            told += 1;
        }
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ends = ends(&server);
    assert!(ends.len() > 100 && ends.len() == told, "{} ends of {told} reports", ends.len());
    let late = |(end, stored): &(Execution, DateTime<Utc>)| *stored - end.completed_at.unwrap();
    let latest = ends.iter().map(late).max().unwrap();
    assert!(latest < TimeDelta::milliseconds(150), "{latest}");
}

/// What became of a job that was taken over.
struct TakenOver {
    /// Whether the report that it is done was acknowledged.
    is_heard: bool,
    /// Whether its outcome is that it is done.
    is_done: bool,
    /// When its outcome was recorded, since its first instance died.
    recorded: Duration,
}

/// Has an instance die with a job that is on its way, another one take it over when the target's stream is full, and
/// the worker report `later`.
async fn taken_over(later: Option<Duration>) -> TakenOver {
    let server = Server::with_streams(4);
    let mut instances = start(&server, 2).await;
    let at = server.now() + TimeDelta::seconds(3);
    let job = json!({
        "name": "s", "schedule_type": "one_time", "scheduled_at": at,
        "target_command": "cmd.report.x", "delivery": { "mode": "job", "timeout_seconds": 60 },
    });
    create(&instances[0].0, job).await;
    let command = loop {
        if let Some(command) = server.messages(names::COMMANDS_STREAM).pop() {
            break command;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let records = server.messages(names::SCHEDULES_STREAM).into_iter();
    let prefix = names::key_subject(names::SCHEDULE_KEY_PREFIX);
    let record = records.filter(|entry| entry.subject.starts_with(&prefix)).last().unwrap();
    let record: Schedule = serde_json::from_slice(&record.body).unwrap();
    let by = record.attempts[0].phase.by();
    let claimed = instances.iter().position(|(one, _)| Some(one.api.instance) == by).unwrap();
    let (instance, nats) = instances.remove(claimed);
    nats.kill();
    instance.die();
    let died_at = server.now();
    server.trouble(Some(names::COMMANDS_STREAM), full(), Duration::from_secs(60));
    let (left, _) = &instances[0];
    let mut is_heard = false;
    if let Some(later) = later {
        tokio::time::sleep(later).await;
        is_heard = left.api.complete_execution(done(&command), &left.caller()).await.is_ok();
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let ends = ends(&server);
    let [(end, stored_at)] = &ends[..] else { panic!("{} ends", ends.len()) };
    let recorded = (*stored_at - died_at).to_std().unwrap();
    TakenOver { is_heard, is_done: end.status == ExecutionStatus::Success, recorded }
}

/// Reports such a job at each moment around that at which it is refused to who has taken it over: how often that was
/// acknowledged, how often it was refused, and how often another outcome was recorded than what was said.
fn reported_meanwhile() -> (usize, usize, usize) {
    let run = |later| {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(taken_over(later))
    };
    let recorded = run(None).recorded;
    let runs = (0..30).map(|n| run(Some(recorded.saturating_sub(Duration::from_millis(n)))));
    let runs: Vec<_> = runs.collect();
    let heard = runs.iter().filter(|run| run.is_heard).count();
    let wrong = runs.iter().filter(|run| run.is_heard != run.is_done).count();
    (heard, runs.len() - heard, wrong)
}

#[test]
fn a_report_that_is_acknowledged_counts_though_the_job_is_refused_to_another_instance() {
    let (heard, refused, wrong) = reported_meanwhile();
    assert_eq!(wrong, 0);
    assert!(heard > 2 && refused > 2, "not about the moment when both happen: {heard} {refused}");
    let (_, _, wrong) = guards::without(Some(Guard::GiveUp), reported_meanwhile);
    assert!(wrong > 0, "the guard is not missed");
}
