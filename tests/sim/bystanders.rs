//! What takes long, or answers nothing, holds up nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use nats_scheduler::api::reports::CancelExecution;
use nats_scheduler::api::schedules::{ExplainSchedule, PauseAll};
use nats_scheduler::execution::{Execution, ExecutionStatus};
use nats_scheduler::names;
use nats_scheduler::port::{Outgoing, Permission, Wire as _};
use nats_scheduler::schedule::CreateSchedule;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::instance::{Instance, start};
use crate::nats::{Server, Trouble};

async fn create(instance: &Instance, request: Value) -> Uuid {
    let request: CreateSchedule = serde_json::from_value(request).unwrap();
    let created = instance.api.create_schedule(request, &instance.caller()).await;
    created.unwrap().data.id
}

/// Answers the requests to a subject after a while, or only hears them.
async fn serve(server: &Server, subject: &str, after: Option<Duration>) {
    let nats = server.connect();
    let mut commands = nats.subscribe(subject.to_owned()).await.unwrap();
    tokio::spawn(async move {
        while let Some(command) = commands.next().await {
            if let Some((reply, after)) = command.reply.zip(after) {
                let nats = nats.clone();
                tokio::spawn(async move {
                    sleep(after).await;
                    let answer = Outgoing { subject: reply.to_string(), ..Outgoing::default() };
                    nats.publish(answer).await.unwrap();
                });
            }
        }
    });
}

/// Creates a stream of commands.
fn commands(server: &Server, name: &str, subjects: &str) {
    let config = json!({ "name": name, "subjects": [subjects], "storage": "file",
        "retention": "limits", "discard": "old", "num_replicas": 1, "max_consumers": -1,
        "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1,
        "max_msgs_per_subject": -1, "duplicate_window": 120_000_000_000_u64 });
    server.create_stream(serde_json::from_value(config).unwrap());
}

/// The history's events of a schedule.
fn events(server: &Server, schedule: Uuid) -> Vec<Execution> {
    let events = server.messages(names::EXECUTIONS_STREAM).into_iter();
    events
        .map(|entry| serde_json::from_slice(&entry.body).unwrap())
        .filter(|event: &Execution| event.schedule_id == schedule)
        .collect()
}

/// A request that is answered every second.
fn answered() -> Value {
    json!({ "name": "healthy", "schedule_type": "interval", "interval_seconds": 1,
        "target_command": "cmd.answers", "delivery": { "mode": "request" } })
}

/// A request that nobody hears, with a dead letter.
fn unheard(n: u32) -> Value {
    json!({ "name": format!("s{n}"), "schedule_type": "interval", "interval_seconds": 2,
        "target_command": "cmd.nobody", "delivery": { "mode": "request" },
        "max_retries": 0, "dead_letter": "cmd.dead.x" })
}

/// How late a schedule's successes were that were due later than a time.
fn lateness(server: &Server, schedule: Uuid, from: DateTime<Utc>) -> Vec<TimeDelta> {
    let made = events(server, schedule).into_iter();
    made.filter(|event| event.status == ExecutionStatus::Success && event.scheduled_for > from)
        .map(|event| event.time - event.scheduled_for)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_of_dead_letters_holds_up_no_requests() {
    let server = Server::with_streams(31);
    commands(&server, "DEAD", "cmd.dead.>");
    serve(&server, "cmd.answers", Some(Duration::ZERO)).await;
    let instances = start(&server, 1).await;
    let instance = &instances[0].0;
    let healthy = create(instance, answered()).await;
    // As many as may wait for replies at once; nobody hears them.
    for n in 0..100 {
        create(instance, unheard(n)).await;
    }
    sleep(Duration::from_secs(4)).await;
    server.trouble(Some("DEAD"), Trouble::Silent, Duration::from_secs(600));
    let from = server.now() + TimeDelta::seconds(10);
    sleep(Duration::from_secs(40)).await;
    let late = lateness(&server, healthy, from);
    assert!(late.len() >= 28, "{} in 30 s", late.len());
    let latest = late.into_iter().max().unwrap();
    assert!(latest < TimeDelta::seconds(2), "{latest}");
}

#[tokio::test(start_paused = true)]
async fn questions_about_a_silent_stream_hold_up_none_about_others() {
    let server = Server::with_streams(35);
    commands(&server, "DEAD", "cmd.dead.>");
    server.trouble(Some("DEAD"), Trouble::Silent, Duration::from_secs(600));
    let instances = start(&server, 1).await;
    let instance = &instances[0].0;
    let every_second = |name: String, target: String| {
        json!({ "name": name, "schedule_type": "interval", "interval_seconds": 1,
            "target_command": target })
    };
    for n in 0..30 {
        create(instance, every_second(format!("dead {n}"), format!("cmd.dead.{n}"))).await;
    }
    // By now it is asked where all these go.
    sleep(Duration::from_secs(8)).await;
    for n in 0..5 {
        let name = format!("new {n}");
        commands(&server, &format!("NEW{n}"), &format!("cmd.new{n}.>"));
        let id = create(instance, every_second(name, format!("cmd.new{n}.x"))).await;
        let began = Instant::now();
        while events(&server, id).is_empty() {
            assert!(began.elapsed() < Duration::from_millis(2500), "{n}: {:?}", began.elapsed());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_stops_still_honours_pauses_and_stops_what_is_cancelled() {
    let server = Server::with_streams(32);
    serve(&server, "cmd.silent", None).await;
    let mut instances = start(&server, 1).await;
    let stopping = instances.remove(0).0;
    let id = create(
        &stopping,
        json!({ "name": "long", "schedule_type": "immediate", "target_command": "cmd.silent",
            "delivery": { "mode": "request", "timeout_seconds": 60 } }),
    )
    .await;
    sleep(Duration::from_secs(2)).await;
    let other = Instance::start(&server, 7).await;
    sleep(Duration::from_secs(6)).await;
    let running = events(&server, id);
    let [started] = &running[..] else { panic!("{running:?}") };
    let began = Instant::now();
    let stopped = tokio::spawn(stopping.stop());
    sleep(Duration::from_millis(500)).await;
    let asked = Instant::now();
    let paused = other.api.pause_all(PauseAll::default(), &other.caller()).await.unwrap();
    assert!(paused.warnings.is_empty(), "{:?}", paused.warnings);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    let cancel = CancelExecution { execution_id: Some(started.id), ..CancelExecution::default() };
    other.api.cancel_execution(cancel, &other.caller()).await.unwrap();
    stopped.await.unwrap();
    // It would have waited for eight seconds.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    sleep(Duration::from_secs(2)).await;
    let ends: Vec<_> = events(&server, id).into_iter().map(|event| event.status).collect();
    assert_eq!(ends, [ExecutionStatus::Running, ExecutionStatus::Cancelled]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_nats_is_noted_as_a_time_in_which_nothing_ran() {
    let server = Server::with_streams(33);
    let instances = start(&server, 2).await;
    let instance = &instances[0].0;
    let id = create(
        instance,
        json!({ "name": "s", "schedule_type": "interval", "interval_seconds": 20,
            "target_command": "cmd.example.s", "misfire_grace_seconds": 10 }),
    )
    .await;
    sleep(Duration::from_secs(90)).await;
    let from = server.now();
    server.stall(Duration::from_secs(600));
    sleep(Duration::from_secs(700)).await;
    let request = ExplainSchedule { schedule_id: Some(id), ..ExplainSchedule::default() };
    let explained = instance.api.explain_schedule(request, &instance.caller()).await.unwrap().data;
    let down = explained.times.iter().find_map(|time| time.down).expect("nothing ran");
    let is_near =
        |at: DateTime<Utc>, other: DateTime<Utc>| (at - other).abs() < TimeDelta::seconds(75);
    assert!(is_near(down.from, from), "{} is not {from}", down.from);
    assert!(is_near(down.to, from + TimeDelta::seconds(600)), "{} to {}", down.from, down.to);
}

#[tokio::test(start_paused = true)]
async fn who_follows_runs_for_each_end_though_nobody_could_tell_it_for_long() {
    let server = Server::with_streams(34);
    let instances = start(&server, 1).await;
    let (instance, nats) = &instances[0];
    let upstream = create(
        instance,
        json!({ "name": "upstream", "schedule_type": "interval", "interval_seconds": 1,
            "target_command": "cmd.example.up", "catch_up": "all" }),
    )
    .await;
    let dependent = create(
        instance,
        json!({ "name": "dependent", "schedule_type": "dependent",
            "after": { "schedule_id": upstream, "on": "completion" },
            "target_command": "cmd.example.down" }),
    )
    .await;
    sleep(Duration::from_secs(5)).await;
    // Whether an end was told already is a question to the history.
    let question = format!("$JS.API.STREAM.INFO.{}", names::EXECUTIONS_STREAM);
    nats.forbid(Permission::Publish, &question, Duration::from_secs(150));
    sleep(Duration::from_secs(200)).await;
    let made = |of: Uuid| {
        let made = events(&server, of).into_iter().filter(|event| event.status.is_final());
        made.map(|event| event.id).collect::<BTreeSet<_>>().len()
    };
    let (ends, runs) = (made(upstream), made(dependent));
    assert!(ends > 190, "{ends}");
    assert!(ends - runs < 5, "{runs} of {ends}");
}

#[tokio::test(start_paused = true)]
async fn dead_letters_that_were_taken_over_hold_up_no_requests_either() {
    let server = Server::with_streams(36);
    commands(&server, "DEAD", "cmd.dead.>");
    serve(&server, "cmd.answers", Some(Duration::ZERO)).await;
    let (first, nats) = start(&server, 1).await.remove(0);
    let healthy = create(&first, answered()).await;
    // More than may wait for replies at once.
    for n in 0..150 {
        create(&first, unheard(n)).await;
    }
    sleep(Duration::from_secs(4)).await;
    server.trouble(Some("DEAD"), Trouble::Silent, Duration::from_secs(600));
    sleep(Duration::from_secs(10)).await;
    nats.kill();
    first.die();
    let _second = Instance::start(&server, 7).await;
    let from = server.now() + TimeDelta::seconds(15);
    sleep(Duration::from_secs(50)).await;
    let late = lateness(&server, healthy, from);
    assert!(late.len() >= 30, "{} in 35 s", late.len());
    let latest = late.into_iter().max().unwrap();
    assert!(latest < TimeDelta::seconds(2), "{latest}");
}

#[tokio::test(start_paused = true)]
async fn what_ends_at_an_instance_that_stops_is_settled_while_it_waits_for_others() {
    let server = Server::with_streams(37);
    serve(&server, "cmd.silent", None).await;
    serve(&server, "cmd.answers", Some(Duration::from_millis(600))).await;
    let mut instances = start(&server, 2).await;
    let stopping = instances.remove(0).0;
    sleep(Duration::from_secs(8)).await;
    let every_second = |name: String, target: &str, timeout: u64| {
        json!({ "name": name, "schedule_type": "interval", "interval_seconds": 1,
            "target_command": target, "max_instances": 1,
            "delivery": { "mode": "request", "timeout_seconds": timeout } })
    };
    let mut quick = Vec::new();
    for n in 0..10 {
        // Each instance waits for some of them.
        create(&stopping, every_second(format!("long {n}"), "cmd.silent", 60)).await;
        let one = every_second(format!("quick {n}"), "cmd.answers", 60);
        quick.push(create(&stopping, one).await);
    }
    // They are under way when it stops, and end while it waits for the long ones.
    sleep(Duration::from_millis(5_300)).await;
    let from = server.now();
    stopping.stop().await;
    sleep(Duration::from_secs(10)).await;
    for id in quick {
        let later = events(&server, id).into_iter().filter(|event| event.scheduled_for > from);
        let later: Vec<_> = later.filter(|event| event.status.is_final()).collect();
        let is_success = |event: &Execution| event.status == ExecutionStatus::Success;
        let made = later.iter().filter(|event| is_success(event)).count();
        assert!(made >= 15 && later.iter().all(is_success), "{made} of {}: {later:?}", later.len());
    }
}
