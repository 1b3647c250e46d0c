//! Waiting for a message's fate: temporary failures are waited out, final ones end it, and what waits costs nobody else
//! anything.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::jetstream::stream;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use nats_scheduler::clock::Clock;
use nats_scheduler::config::nats::{NatsConfig, parse_servers};
use nats_scheduler::dev::server::{RunningServer, ServerOptions};
use nats_scheduler::execution::Execution;
use nats_scheduler::jetstream::adapter::JetStream;
use nats_scheduler::jetstream::connect::connect;
use nats_scheduler::jetstream::history::{History, Recorded};
use nats_scheduler::jetstream::lines::Lines;
use nats_scheduler::jetstream::writes::Writes;
use nats_scheduler::port::answers::Answers;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::faults::crashes::check_ledgers;
use crate::faults::heartbeats::{Limited, NOTHING};
use crate::harness::{Nats, Service, binary, wait_for};
use crate::proxy::Proxy;

const HISTORY: &str = "SCHEDULER_EXECUTIONS";

async fn stream(nats: &Nats, name: &str, subject: &str, more: Value) {
    let mut config = json!({ "name": name, "subjects": [subject], "retention": "limits",
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1,
        "storage": "file", "discard": "old", "num_replicas": 1 });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    nats.add_stream(&config.to_string()).await;
}

async fn change(nats: &Nats, name: &str, change: impl FnOnce(&mut stream::Config)) {
    let mut config = nats.js.get_stream(name).await.unwrap().cached_info().config.clone();
    change(&mut config);
    nats.js.update_stream(config).await.unwrap();
}

/// A server with little memory, so that a target in memory can be refused for want of it while the bucket
/// is well.
async fn forgetful_server() -> Nats {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("nats.conf");
    let limits = "jetstream { store_dir: $NATS_STORE_DIR, max_memory_store: 1MB }\n";
    std::fs::write(&path, limits).unwrap();
    let options =
        ServerOptions { config: Some(path), ..ServerOptions::new(dir.path().join("store")) };
    let server = RunningServer::start(&binary(), options).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let js = async_nats::jetstream::new(client.clone());
    Nats::of(server, client, js, dir)
}

#[tokio::test]
async fn a_refusal_that_passes_is_waited_for_and_fails_nothing() {
    let nats = forgetful_server().await;
    stream(&nats, "TARGETS", "cmd.memory.>", json!({ "storage": "memory" })).await;
    stream(&nats, "FILLER", "filler", json!({ "storage": "memory" })).await;
    let service = nats.service().await;
    let refusal = loop {
        let sent = nats.js.publish("filler", vec![b'x'; 64 << 10].into()).await.unwrap();
        if let Err(error) = sent.await {
            break error.to_string();
        }
    };
    // What is small may still fit.
    while nats.js.publish("filler", "x".into()).await.unwrap().await.is_ok() {}
    let id = nats
        .create(json!({ "name": "patient", "schedule_type": "immediate", "max_retries": 0,
                        "target_command": "cmd.memory.run" }))
        .await;
    let tries = |log: String| {
        log.lines()
            .filter(|line| line.contains("publishing again") && line.contains("10023"))
            .count()
    };
    wait_for(&format!("it to be refused, as in {refusal}"), || async {
        (tries(service.log()) >= 3).then_some(())
    })
    .await;
    nats.js.get_stream("FILLER").await.unwrap().purge().await.unwrap();
    let filter = json!({ "schedule_id": id });
    let executions = nats.wait_executions(filter, 1).await;
    assert_eq!(executions[0]["status"], "success", "{executions:?}");
    assert_eq!(nats.count("TARGETS").await, 1);
}

#[tokio::test]
async fn a_request_that_nats_cannot_take_now_is_unavailable_and_not_internal() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    change(&nats, "KV_scheduler_schedules", |config| config.max_messages = 1).await;
    let schedule = |name: &str| {
        json!({ "name": name, "schedule_type": "interval",
        "interval_seconds": 3600, "target_command": "cmd.example.x" })
    };
    // The name still fits.
    for name in ["one", "two"] {
        let error = nats.refused("schedule.create", schedule(name)).await;
        assert_eq!(error["code"], "unavailable", "{error}");
    }
    change(&nats, "KV_scheduler_schedules", |config| config.max_messages = -1).await;
    nats.create(schedule("three")).await;
}

/// Answers requests with an error that is as long as a header may be.
async fn worker_with_long_errors(nats: &Nats, subject: &str) {
    let mut requests = nats.client.subscribe(subject.to_owned()).await.unwrap();
    nats.client.flush().await.unwrap();
    let client = nats.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Service-Error-Code", "500");
            headers.insert("Nats-Service-Error", "x".repeat(20_000).as_str());
            let reply = request.reply.unwrap();
            client.publish_with_headers(reply, headers, "{}".into()).await.unwrap();
        }
    });
}

#[tokio::test]
async fn an_event_that_the_history_refuses_is_stored_in_its_least_form_and_holds_up_nothing() {
    let nats = Nats::start().await;
    let service = nats.service_with(&[("SCHEDULER_EXECUTOR_POOL_SIZE", "1")]).await;
    worker_with_long_errors(&nats, "cmd.worker.long").await;
    let request = |name: &str| {
        json!({ "name": name, "schedule_type": "immediate", "target_command": "cmd.worker.long",
                "max_retries": 0, "command_payload": { "text": "y".repeat(3000) },
                "delivery": { "mode": "request", "timeout_seconds": 5 } })
    };
    change(&nats, HISTORY, |config| config.max_message_size = 2500).await;
    let id = nats.create(request("least")).await;
    let failed =
        nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await.remove(0);
    assert_eq!(failed["error_type"], "service_error", "{failed}");
    assert_eq!(failed["truncated"], true, "{failed}");
    assert!(failed["command_payload"].is_null(), "{failed}");
    assert!(failed["error_message"].as_str().unwrap().starts_with("500 xxx"), "{failed}");

    // What refuses even that has one permit for requests, and must give it back.
    change(&nats, HISTORY, |config| config.max_message_size = 10).await;
    for name in ["lost one", "lost two"] {
        let id = nats.create(request(name)).await;
        wait_for("the schedule to end", || async {
            let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
            (schedule["status"] == "failed").then_some(())
        })
        .await;
    }
    let log = service.log();
    let lost = log.lines().filter(|line| line.contains("least form: it is lost"));
    // Each has a start and an end.
    assert_eq!(lost.inspect(|line| assert!(line.contains("ERROR"), "{line}")).count(), 4);
    let status = nats.ask("status", json!({})).await;
    let streams = status["streams"].as_array().unwrap();
    let history = streams.iter().find(|stream| stream["name"] == HISTORY).unwrap();
    assert!(history["write_error"].as_str().unwrap().starts_with("refused"), "{status}");
    change(&nats, HISTORY, |config| config.max_message_size = 1 << 20).await;
    let id = nats.create(request("whole again")).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;
}

#[tokio::test]
async fn an_event_that_may_not_be_published_is_kept_until_somebody_allows_it() {
    let denied = r#"publish: { deny: ["evt.scheduler.execution.>"] }"#;
    let limited = Limited::start([denied, NOTHING]).await;
    let (nats, service) = (&limited.nats, limited.service("one").await);
    let id = nats
        .create(json!({ "name": "kept", "schedule_type": "immediate", "target_command": "cmd.example.kept" }))
        .await;
    wait_for("the status to say so", || async {
        let status = nats.ask("status", json!({})).await;
        let streams = status["streams"].as_array().unwrap().clone();
        let history = streams.into_iter().find(|stream| stream["name"] == HISTORY).unwrap();
        let error = history["write_error"].as_str()?;
        (error == "refused for now").then_some(())
    })
    .await;
    service.wait_log("NATS does not let the service publish").await;
    assert_eq!(nats.count(HISTORY).await, 0);
    limited.permit([NOTHING, NOTHING]);
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(nats.count("COMMANDS").await, 1);
}

#[tokio::test]
async fn a_change_that_the_audit_refuses_for_good_holds_up_nothing() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    change(&nats, "SCHEDULER_AUDIT", |config| config.max_message_size = 10).await;
    let body = json!({ "name": "beat", "schedule_type": "interval", "interval_seconds": 1,
                       "target_command": "cmd.example.beat" });
    let id = nats.create(body).await;
    service.wait_log("audit refuses a change in its least form").await;
    wait_for("the record to be rid of it", || async {
        let bucket = nats.js.get_stream("KV_scheduler_schedules").await.ok()?;
        let key = format!("$KV.scheduler_schedules.schedule.{id}");
        let record = bucket.get_last_raw_message_by_subject(&key).await.ok()?;
        let record: Value = serde_json::from_slice(&record.payload).ok()?;
        record.get("events").is_none().then_some(())
    })
    .await;
    change(&nats, "SCHEDULER_AUDIT", |config| config.max_message_size = 1 << 20).await;
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    nats.wait_count("SCHEDULER_AUDIT", 1).await;
    let audit = nats.messages("SCHEDULER_AUDIT").await;
    assert!(audit[0].subject.as_str().contains("paused"), "{}", audit[0].subject);
    assert_eq!(service.log().matches("in its least form").count(), 1, "said once");
}

#[tokio::test]
async fn an_outcome_is_not_recorded_again_after_the_stream_forgot_its_id() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let id = nats
        .create(json!({ "name": "one", "schedule_type": "immediate",
                        "target_command": "cmd.example.one" }))
        .await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    service.stop().await;
    change(&nats, HISTORY, |config| config.duplicate_window = Duration::from_millis(100)).await;
    // The stream has forgotten all ids that are older than one that it takes twice.
    let probe = || async {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "probe");
        let subject = "evt.scheduler.execution.probe.x";
        let sent = nats.js.publish_with_headers(subject, headers, "".into()).await.unwrap();
        !sent.await.unwrap().duplicate
    };
    assert!(probe().await);
    wait_for("the id to be forgotten", || async { probe().await.then_some(()) }).await;
    let stored = nats.messages(HISTORY).await;
    let execution: Execution = serde_json::from_slice(&stored[0].payload).unwrap();
    let stop = CancellationToken::new();
    let writes = Arc::new(Writes::default());
    let config =
        NatsConfig { servers: parse_servers(&nats.url()).unwrap(), ..NatsConfig::default() };
    let connection = connect(&config, "test", &Answers::default()).await.unwrap();
    let port = JetStream::new(connection, config);
    let lines = Lines::open(port.clone(), "test".to_owned(), stop.clone()).await;
    let history = History::open(port, lines, writes, Clock::default(), stop.clone()).await.unwrap();
    // As a takeover does that did not see the outcome in time.
    assert_eq!(history.record(&execution).await, Recorded::Duplicate);
    assert_eq!(nats.count(HISTORY).await, stored.len() as u64);
    stop.cancel();
}

#[tokio::test]
async fn a_cut_longer_than_the_duplicate_window_doubles_nothing() {
    let nats = Nats::bare().await;
    let window = json!({ "duplicate_window": 2_000_000_000_u64 });
    stream(&nats, "COMMANDS", "cmd.example.>", window).await;
    let proxy = Proxy::start(nats.server.port()).await;
    let cut = Service::spawn(&proxy.url(), nats.dir(), &[]);
    cut.ready().await;
    let _other = nats.service().await;
    let ids = nats.create_beats(40, "cmd.example.cut").await;
    for _ in 0..2 {
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 80).await;
        proxy.cut();
        // Until the other instance has taken over, and the stream has forgotten what was sent before.
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 320).await;
        proxy.restore();
    }
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 120).await;
    check_ledgers(&nats, &ids).await;
}

/// Creates schedules of every second, many at once.
async fn create_many(nats: &Nats, count: usize, target: impl Fn(usize) -> String) {
    let requests = (0..count).map(|n| {
        let target = target(n);
        json!({ "name": format!("{target} {n}"), "schedule_type": "interval",
                "interval_seconds": 1, "target_command": target })
    });
    let requests: Vec<Value> = requests.collect();
    futures::stream::iter(requests)
        .for_each_concurrent(32, |request| async move {
            nats.create(request).await;
        })
        .await;
}

/// How late the commands of a stream were stored that were due since a time, in order.
async fn lateness(nats: &Nats, stream: &str, since: DateTime<Utc>) -> Vec<Duration> {
    let mut late = Vec::new();
    for message in nats.messages(stream).await {
        let due = message.headers.get("Scheduler-Scheduled-For").unwrap().as_str();
        let due: DateTime<Utc> = due.parse().unwrap();
        if due >= since {
            late.push((message.time - due).to_std().unwrap_or_default());
        }
    }
    late.sort_unstable();
    late
}

#[tokio::test]
async fn targets_whose_stream_answers_nothing_cost_the_others_nothing() {
    let nats = Nats::bare().await;
    stream(&nats, "DEAD", "cmd.dead.>", json!({ "no_ack": true })).await;
    stream(&nats, "COMMANDS", "cmd.example.>", json!({})).await;
    let settings = [
        ("LOG_LEVEL", "warn,nats_scheduler::api::nats=info"),
        ("MAX_SCHEDULES_PER_CREATOR", "2000"),
    ];
    let _service = nats.service_with(&settings).await;
    create_many(&nats, 50, |_| "cmd.example.beat".to_owned()).await;
    create_many(&nats, 1500, |n| format!("cmd.dead.{n}")).await;
    let since = Utc::now();
    let began = Instant::now();
    nats.wait_count("COMMANDS", nats.count("COMMANDS").await + 600).await;
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    let late = lateness(&nats, "COMMANDS", since).await;
    assert!(late.len() >= 500, "{}", late.len());
    let p99 = late[late.len() * 99 / 100];
    assert!(p99 < Duration::from_millis(1500), "p99 {p99:?}, most {:?}", late.last());
    let dead = nats.messages("DEAD").await;
    let sent: HashSet<_> = dead.iter().map(|message| message.subject.to_string()).collect();
    assert!(sent.len() > 100, "the others are sent too: {}", sent.len());
}
