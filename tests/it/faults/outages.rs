//! NATS stands still or goes away, and instances die, while there is work for several.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::faults::health::get;
use crate::harness::{Nats, Service, in_ms, wait_for, wait_within};
use crate::proxy::Proxy;

/// Answers requests on a subject after a while; returns how often each execution was asked for.
async fn answer_after(
    nats: &Nats,
    subject: &'static str,
    delay: Duration,
) -> Arc<Mutex<HashMap<String, usize>>> {
    let asked = Arc::new(Mutex::new(HashMap::new()));
    let mut requests = nats.client.subscribe(subject).await.unwrap();
    nats.client.flush().await.unwrap();
    let (client, counts) = (nats.client.clone(), Arc::clone(&asked));
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let headers = request.headers.as_ref().unwrap();
            let id = headers.get("Scheduler-Execution-Id").unwrap().as_str().to_owned();
            *counts.lock().unwrap().entry(id).or_insert(0) += 1;
            let (client, reply) = (client.clone(), request.reply.unwrap());
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                let _ = client.publish(reply, "done".into()).await;
            });
        }
    });
    asked
}

/// A counter of all instances together, by a part of its labels.
async fn counted(instances: &[&Service], name: &str, labels: &str) -> u64 {
    let mut sum = 0;
    for instance in instances {
        let (_, text) = get(instance, "/metrics").await;
        let of = |line: &&str| line.starts_with(name) && line.contains(labels);
        let value = |line: &str| line.rsplit(' ').next()?.parse::<u64>().ok();
        sum += text.lines().filter(of).filter_map(value).sum::<u64>();
    }
    sum
}

async fn create_due(nats: &Nats, count: usize, due: &str, target: &str, mode: &str) {
    let creates = (0..count).map(|n| {
        json!({ "name": format!("{target} {n}"), "schedule_type": "one_time", "scheduled_at": due,
                "target_command": target, "misfire_grace_seconds": 3600,
                "delivery": { "mode": mode, "timeout_seconds": 60 } })
    });
    let creates: Vec<_> = creates.collect();
    for chunk in creates.chunks(50) {
        join_all(chunk.iter().map(|create| nats.ask("schedule.create", create.clone()))).await;
    }
}

#[tokio::test]
async fn requests_that_are_awaited_while_nats_stands_still_are_sent_once() {
    let nats = Nats::start().await;
    let instances = [nats.service().await, nats.service().await];
    let asked = answer_after(&nats, "cmd.slow", Duration::from_secs(12)).await;
    create_due(&nats, 6, &in_ms(1500), "cmd.slow", "request").await;
    nats.wait_executions(json!({ "status": "running" }), 6).await;
    wait_for("the service to know that they have arrived", || async {
        let known = |service: &Service| service.log().matches("NATS has the request").count();
        (instances.iter().map(known).sum::<usize>() == 6).then_some(())
    })
    .await;
    nats.server.freeze().unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    nats.server.thaw().unwrap();
    nats.wait_executions(json!({ "status": "success" }), 6).await;
    let asked = asked.lock().unwrap().clone();
    assert!(asked.len() == 6 && asked.values().all(|times| *times == 1), "{asked:?}");
}

#[tokio::test]
async fn what_fell_due_while_nats_was_away_is_shared_out_and_not_fought_over() {
    let mut nats = Nats::start().await;
    let (one, two, three) = (nats.service().await, nats.service().await, nats.service().await);
    let count = 600;
    let due = in_ms(6000);
    create_due(&nats, count, &due, "cmd.example.overdue", "publish").await;
    // Changes that were not announced yet would be written beside what is due, by whoever announced them.
    wait_for("all creations to be announced and settled", || async {
        let stored = nats.messages("KV_scheduler_schedules").await;
        let is_waiting = |body: &[u8]| body.windows(10).any(|part| part == b"\"events\":[");
        let records = stored.iter().filter(|one| one.subject.contains(".schedule."));
        let settled = records.filter(|one| !is_waiting(&one.payload)).count();
        (settled == count).then_some(())
    })
    .await;
    let due: DateTime<Utc> = due.parse().unwrap();
    assert!(Utc::now() < due - chrono::Duration::seconds(1), "it falls due while NATS is away");
    let before = counted(&[&one, &two, &three], "distributed_locks_failed", "conflict").await;
    nats.server.kill();
    let past_due = due + chrono::Duration::seconds(1) - Utc::now();
    tokio::time::sleep(past_due.to_std().unwrap_or_default()).await;
    nats.server.restart().await.unwrap();
    nats.wait_count("COMMANDS", count as u64).await;
    nats.wait_executions(json!({ "status": "success" }), count as u64).await;
    let after = counted(&[&one, &two, &three], "distributed_locks_failed", "conflict").await;
    assert!(after - before < count as u64 / 10, "{} refused claims", after - before);
    assert_eq!(nats.count("COMMANDS").await, count as u64);
}

#[tokio::test]
async fn what_a_dead_instance_left_is_taken_over_by_one_and_not_tried_by_all() {
    let nats = Nats::start().await;
    let many = [("SCHEDULER_EXECUTOR_POOL_SIZE", "100")];
    let mut dead = nats.service_with(&many).await;
    let asked = answer_after(&nats, "cmd.left", Duration::from_secs(8)).await;
    create_due(&nats, 40, &in_ms(500), "cmd.left", "request").await;
    wait_for("the requests", || async { (asked.lock().unwrap().len() == 40).then_some(()) }).await;
    let one = nats.service_with(&many).await;
    let (two, three) = (nats.service_with(&many).await, nats.service_with(&many).await);
    dead.kill();
    let twice = || async { asked.lock().unwrap().values().all(|times| *times == 2).then_some(()) };
    wait_within(Duration::from_secs(20), "all to be taken over", twice).await;
    let refused = counted(&[&one, &two, &three], "distributed_locks_failed", "conflict").await;
    assert!(refused < 8, "{refused} refused claims");
    nats.wait_executions(json!({ "status": "success" }), 40).await;
    let asked: Vec<usize> = asked.lock().unwrap().values().copied().collect();
    assert!(asked.iter().all(|times| *times == 2), "{asked:?}");
}

#[tokio::test]
async fn no_worker_is_lost_while_nats_stands_still() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let job = json!({ "name": "job", "schedule_type": "one_time", "scheduled_at": in_ms(500),
        "target_command": "cmd.example.job", "max_retries": 0,
        "delivery": { "mode": "job", "timeout_seconds": 60, "heartbeat_seconds": 3 } });
    nats.create(job).await;
    nats.wait_count("COMMANDS", 1).await;
    let command = nats.messages("COMMANDS").await.pop().unwrap();
    let header = |name: &str| command.headers.get(name).unwrap().as_str().to_owned();
    let (id, token) = (header("Scheduler-Execution-Id"), header("Scheduler-Token"));
    let report = |operation: &'static str| {
        let body = json!({ "execution_id": id, "token": token });
        let nats = &nats;
        async move { nats.request(operation, &body).await }
    };
    wait_for("the first heartbeat", || async {
        (report("execution.heartbeat").await["data"]["status"] == "running").then_some(())
    })
    .await;
    nats.server.freeze().unwrap();
    tokio::time::sleep(Duration::from_secs(6)).await;
    nats.server.thaw().unwrap();
    // It was not heard for twice as long as it may be silent, and goes on as soon as that is possible.
    for _ in 0..3 {
        let beat: Value = report("execution.heartbeat").await;
        assert_eq!(beat["data"]["status"], "running", "{beat}");
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    let done = report("execution.complete").await;
    assert_eq!(done["data"]["status"], "success", "{done}");
    nats.wait_executions(json!({ "status": "success" }), 1).await;
}

#[tokio::test]
async fn an_instance_that_can_send_and_not_hear_holds_up_nothing() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.server.port()).await;
    let deaf = Service::spawn(&proxy.url(), nats.dir(), &[]);
    deaf.ready().await;
    let _other = nats.service().await;
    let ids = nats.create_beats(20, "cmd.example.deaf").await;
    nats.wait_count("COMMANDS", 60).await;
    proxy.deafen();
    tokio::time::sleep(Duration::from_secs(14)).await;
    proxy.let_hear();
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 60).await;
    check_ledgers(&nats, &ids).await;
    for execution in nats.messages("SCHEDULER_EXECUTIONS").await {
        let execution: Value = serde_json::from_slice(&execution.payload).unwrap();
        let instant = |name: &str| -> DateTime<Utc> {
            execution["timings"][name]
                .as_str()
                .unwrap_or_else(|| panic!("{execution}"))
                .parse()
                .unwrap()
        };
        if execution["status"] != "skipped" {
            // Five seconds of silence, after two and a half until it counts.
            let late = instant("acknowledged_at") - instant("due_at");
            assert!(late < chrono::Duration::seconds(9), "{late} late: {execution}");
        }
    }
}
