//! Parts that fall silent without an error, and how soon that is repaired.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::execution::Execution;
use nats_scheduler::names;
use nats_scheduler::schedule::CreateSchedule;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::instance::{Instance, start};
use crate::nats::{Server, Trouble};

/// Creates schedules that fire every second, at different times of it.
async fn create_beats(instance: &Instance, count: u64, delivery: Value) {
    for n in 0..count {
        let request: CreateSchedule = serde_json::from_value(json!({
            "name": format!("s{n}"), "schedule_type": "interval", "interval_seconds": 1,
            "target_command": format!("cmd.example.{n}"), "delivery": delivery,
        }))
        .unwrap();
        instance.api.create_schedule(request, &instance.caller()).await.unwrap();
        sleep(Duration::from_millis(23)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_answers_nothing_for_a_moment_has_what_is_due_soon_after() {
    let server = Server::with_streams(21);
    let instances = start(&server, 1).await;
    create_beats(&instances[0].0, 30, json!({ "mode": "publish" })).await;
    sleep(Duration::from_secs(3)).await;
    let silence = Duration::from_millis(800);
    server.trouble(Some(names::COMMANDS_STREAM), Trouble::Silent, silence);
    sleep(Duration::from_secs(10)).await;
    let late = |entry: nats_scheduler::port::Entry| {
        let due = entry.headers.get(names::SCHEDULED_FOR).unwrap().as_str();
        entry.stored_at - due.parse::<DateTime<Utc>>().unwrap()
    };
    let latest = server.messages(names::COMMANDS_STREAM).into_iter().map(late).max().unwrap();
    // An acknowledgement is waited for five seconds.
    assert!(latest > TimeDelta::milliseconds(500), "nothing met the silence: {latest}");
    assert!(latest < TimeDelta::milliseconds(2500), "{latest}");
}

#[tokio::test(start_paused = true)]
async fn a_history_that_shows_nothing_is_read_on_for_who_takes_over() {
    let server = Server::with_streams(22);
    let mut instances = start(&server, 2).await;
    create_beats(&instances[0].0, 30, json!({ "mode": "core" })).await;
    sleep(Duration::from_secs(3)).await;
    server.silence_readers(names::EXECUTIONS_STREAM);
    let (instance, nats) = instances.remove(0);
    nats.kill();
    instance.die();
    let died_at = server.now();
    sleep(Duration::from_secs(20)).await;
    let taken_over: Vec<_> = server
        .messages(names::EXECUTIONS_STREAM)
        .iter()
        .map(|entry| {
            let execution: Execution = serde_json::from_slice(&entry.body).unwrap();
            (execution.scheduled_for, entry.stored_at - died_at)
        })
        .filter(|(due, _)| (*due - died_at).abs() < TimeDelta::seconds(1))
        .collect();
    assert!(taken_over.len() > 50, "{}", taken_over.len());
    let latest = taken_over.into_iter().map(|(_, recorded)| recorded).max().unwrap();
    // It counts as gone after five.
    assert!(latest > TimeDelta::seconds(4), "nothing was taken over: {latest}");
    assert!(latest < TimeDelta::milliseconds(7500), "{latest}");
}

#[tokio::test(start_paused = true)]
async fn a_bucket_that_shows_nothing_is_read_on_for_who_creates() {
    let server = Server::with_streams(23);
    let instances = start(&server, 2).await;
    sleep(Duration::from_secs(3)).await;
    server.silence_readers(names::SCHEDULES_STREAM);
    let (one, other) = (&instances[0].0, &instances[1].0);
    let began = Instant::now();
    let request = CreateSchedule::interval("s", 3600, "cmd.example.s");
    one.api.create_schedule(request, &one.caller()).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    // Where nobody waits for it that takes longer.
    while other.api.index.is_empty() {
        sleep(Duration::from_millis(10)).await;
        assert!(began.elapsed() < Duration::from_secs(15), "it is not shown");
    }
}

/// It cannot send anything, though its heartbeats could go on.
#[tokio::test(start_paused = true)]
async fn an_instance_without_a_connection_for_commands_leaves_its_work_to_the_other() {
    let server = Server::with_streams(23);
    let instances = start(&server, 2).await;
    create_beats(&instances[0].0, 30, json!({ "mode": "publish" })).await;
    sleep(Duration::from_secs(3)).await;
    let (mute, nats) = &instances[0];
    let from = server.now();
    nats.cut_lines(Duration::from_secs(20));
    sleep(Duration::from_secs(14)).await;
    let problems = mute.api.health.problems();
    assert!(problems.iter().any(|one| one.contains("no connection for commands")), "{problems:?}");
    assert!(!problems.iter().any(|one| one.contains("heartbeats")), "{problems:?}");
    let due = |entry: &nats_scheduler::port::Entry| {
        let due = entry.headers.get(names::SCHEDULED_FOR).unwrap().as_str();
        due.parse::<DateTime<Utc>>().unwrap()
    };
    let commands = server.messages(names::COMMANDS_STREAM);
    let since = from + TimeDelta::seconds(8);
    let late = commands.iter().filter(|one| due(one) > since).map(|one| one.stored_at - due(one));
    let late: Vec<_> = late.collect();
    assert!(late.len() > 100, "{}", late.len());
    assert!(*late.iter().max().unwrap() < TimeDelta::milliseconds(500), "{late:?}");
    sleep(Duration::from_secs(16)).await;
    let problems = mute.api.health.problems();
    assert!(!problems.iter().any(|one| one.contains("no connection")), "{problems:?}");
    let commands = server.messages(names::COMMANDS_STREAM);
    let ids: std::collections::BTreeSet<_> = commands
        .iter()
        .map(|one| one.headers.get(names::MESSAGE_ID).unwrap().as_str().to_owned())
        .collect();
    assert_eq!(ids.len(), commands.len(), "nothing twice");
    let seconds = (server.now() - due(&commands[0])).num_seconds();
    assert!(
        ids.len() as i64 >= (seconds - 2) * 30,
        "and nothing missed: {} in {seconds} s",
        ids.len()
    );
}
