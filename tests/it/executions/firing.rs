//! Arrival of commands: on time, as promised, each once.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde_json::json;

use crate::harness::{DEADLINE, Nats, in_ms, wait_for};

#[tokio::test]
async fn a_command_carries_the_payload_untouched_and_what_a_receiver_needs() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    // Sent as text: key order, spacing and numbers must survive.
    let body = r#"{"name":"exact café","schedule_type":"one_time","scheduled_at":"AT",
        "target_command":"cmd.example.exact","command_payload":{"z": 1.0,  "a": 123456789012345678901}}"#
        .replace("AT", &in_ms(700));
    let reply = nats.client.request("cmd.scheduler.schedule.create", body.into()).await.unwrap();
    let reply: serde_json::Value = serde_json::from_slice(&reply.payload).unwrap();
    let due: DateTime<Utc> = reply["data"]["next_run_at"].as_str().unwrap().parse().unwrap();
    nats.wait_count("COMMANDS", 1).await;
    let command = nats.messages("COMMANDS").await.remove(0);
    assert_eq!(command.subject.as_str(), "cmd.example.exact");
    assert_eq!(&command.payload[..], br#"{"z": 1.0,  "a": 123456789012345678901}"#);
    let header = |name: &str| command.headers.get(name).map_or("", |value| value.as_str());
    assert_eq!(header("Scheduler-Schedule-Id"), reply["data"]["id"]);
    assert_eq!(header("Scheduler-Schedule-Name"), "exact caf%C3%A9");
    assert_eq!(header("Scheduler-Attempt"), "1");
    assert_eq!(header("Scheduler-Scheduled-For").parse::<DateTime<Utc>>().unwrap(), due);
    assert_eq!(header("Scheduler-Execution-Id"), header("Nats-Msg-Id"));
    assert!(header("Scheduler-Revision").parse::<u64>().unwrap() > 0);
    assert_eq!(header("traceparent").len(), 55);
    let id = header("Scheduler-Execution-Id").to_owned();
    let execution = wait_for("the execution", || async {
        let reply = nats.request("execution.get", &json!({ "execution_id": id })).await;
        reply.get("error").is_none().then(|| reply["data"].clone())
    })
    .await;
    assert_eq!(execution["status"], "success");
    assert_eq!(execution["correlation_id"], header("X-Correlation-ID"));
    assert!(command.time >= due, "never early");
    let late = command.time - due;
    assert!(late < chrono::Duration::seconds(2), "{late}");
}

#[tokio::test]
async fn every_kind_fires_and_those_that_run_once_are_completed() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let target = "cmd.example.kind";
    let once = nats
        .create(json!({ "name": "once", "schedule_type": "one_time", "scheduled_at": in_ms(500),
                        "target_command": target }))
        .await;
    let now = nats
        .create(json!({ "name": "now", "schedule_type": "immediate", "target_command": target }))
        .await;
    let cron = nats
        .create(json!({ "name": "cron", "schedule_type": "cron", "cron_expression": "* * * * * *",
                        "target_command": target }))
        .await;
    let interval = nats
        .create(json!({ "name": "interval", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": target }))
        .await;
    for (id, count) in [(&once, 1), (&now, 1), (&cron, 2), (&interval, 2)] {
        nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), count).await;
    }
    for id in [once, now] {
        let done = wait_for("the schedule to be completed", || async {
            let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
            (data["status"] == "completed").then_some(data)
        })
        .await;
        assert_eq!(done["run_count"], 1);
        assert_eq!(done["success_count"], 1);
        assert_eq!(done["next_run_at"], json!(null));
    }
}

#[tokio::test]
async fn intervals_keep_their_anchor_and_miss_no_beat() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats
        .create(json!({ "name": "beat", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.beat" }))
        .await;
    nats.wait_count("COMMANDS", 5).await;
    let start = nats.ask("schedule.get", json!({ "schedule_id": id })).await["start_at"].clone();
    let start: DateTime<Utc> = start.as_str().unwrap().parse().unwrap();
    for (k, command) in nats.messages("COMMANDS").await.iter().enumerate() {
        let at: DateTime<Utc> =
            command.headers.get("Scheduler-Scheduled-For").unwrap().as_str().parse().unwrap();
        assert_eq!(at, start + chrono::Duration::seconds(i64::try_from(k).unwrap()));
        assert!(command.time >= at, "never early");
    }
}

/// The priorities of 30 schedules that are due at one instant, in the order of their commands.
async fn order(settings: &[(&str, &str)]) -> Vec<u64> {
    let nats = Nats::start().await;
    let _service = nats.service_with(settings).await;
    let due = in_ms(2500);
    for n in 0..30 {
        let priority = 1 + n % 10;
        nats.create(
            json!({ "name": n.to_string(), "schedule_type": "one_time", "scheduled_at": due,
                    "target_command": "cmd.example.order", "priority": priority,
                    "command_payload": { "priority": priority } }),
        )
        .await;
    }
    nats.wait_count("COMMANDS", 30).await;
    let commands = nats.messages("COMMANDS").await;
    let payloads = commands.iter().map(|command| serde_json::from_slice(&command.payload).unwrap());
    payloads.map(|payload: serde_json::Value| payload["priority"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_higher_priority_goes_first() {
    // One at a time, so the order of claims is the order of commands.
    let strictly = order(&[("SCHEDULER_MAX_IN_FLIGHT", "1")]).await;
    assert!(strictly.is_sorted_by(|a, b| a >= b), "{strictly:?}");
    // All at once, by one thread: several share them out, and each sends its own in order.
    let at_once = order(&[("TOKIO_WORKER_THREADS", "1")]).await;
    assert!(at_once.is_sorted_by(|a, b| a >= b), "{at_once:?}");
}

#[tokio::test]
async fn a_request_keeps_its_reply_and_an_error_reply_fails_it() {
    let nats = Nats::bare().await;
    let _service = nats.service().await;
    let mut requests = nats.client.subscribe("cmd.worker.*").await.unwrap();
    let client = nats.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let Some(reply) = request.reply else { continue };
            match request.subject.as_str() {
                "cmd.worker.good" => {
                    client.publish(reply, r#"{"rows": 3}"#.into()).await.unwrap();
                }
                "cmd.worker.bad" => {
                    let mut headers = async_nats::HeaderMap::new();
                    headers.insert("Nats-Service-Error", "out of paper");
                    headers.insert("Nats-Service-Error-Code", "507");
                    client.publish_with_headers(reply, headers, "{}".into()).await.unwrap();
                }
                "cmd.worker.big" => {
                    client.publish(reply, vec![b'x'; 200_000].into()).await.unwrap();
                }
                _ => {}
            }
        }
    });
    for (target, status, error_type, response) in [
        ("cmd.worker.good", "success", json!(null), json!({ "rows": 3 })),
        ("cmd.worker.bad", "failed", json!("service_error"), json!({})),
        ("cmd.worker.big", "success", json!(null), json!(null)),
        ("cmd.worker.silent", "failed", json!("timeout"), json!(null)),
        ("cmd.nobody.there", "failed", json!("no_responders"), json!(null)),
    ] {
        let id = nats
            .create(json!({ "name": target, "schedule_type": "immediate", "target_command": target,
                            "delivery": { "mode": "request", "timeout_seconds": 1 }, "max_retries": 0 }))
            .await;
        let found = nats.wait_executions(json!({ "schedule_id": id, "status": status }), 1).await;
        assert_eq!(found[0]["error_type"], error_type, "{target}: {}", found[0]);
        assert_eq!(found[0]["response_payload"], response, "{target}");
        assert_eq!(found[0]["truncated"] == json!(true), target == "cmd.worker.big");
        if target == "cmd.worker.bad" {
            assert_eq!(found[0]["error_message"], "507 out of paper");
        }
        let wanted = if status == "success" { "completed" } else { "failed" };
        wait_for("the schedule's end", || async {
            let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
            (data["status"] == wanted).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_request_that_a_stream_answers_is_no_success() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats
        .create(json!({ "name": "captured", "schedule_type": "immediate", "max_retries": 0,
                        "target_command": "cmd.example.captured", "delivery": { "mode": "request" } }))
        .await;
    let found = nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;
    assert_eq!(found[0]["error_type"], "captured");
    assert_eq!(found[0]["uncertain"], true, "a worker may have seen it");
}

#[tokio::test]
async fn core_is_sent_to_whoever_listens() {
    let nats = Nats::bare().await;
    let _service = nats.service().await;
    let mut heard = nats.client.subscribe("cmd.ping.>").await.unwrap();
    nats.client.flush().await.unwrap();
    nats.create(
        json!({ "name": "ping", "schedule_type": "immediate", "target_command": "cmd.ping.now",
                        "delivery": { "mode": "core" }, "command_payload": { "n": 1 } }),
    )
    .await;
    let message = tokio::time::timeout(DEADLINE, heard.next()).await.unwrap().unwrap();
    assert_eq!(&message.payload[..], br#"{"n":1}"#);
}

#[tokio::test]
async fn a_target_without_a_stream_fails_and_is_tried_again_until_there_is_one() {
    let nats = Nats::bare().await;
    let _service = nats.service().await;
    let id = nats
        .create(
            json!({ "name": "early", "schedule_type": "immediate", "target_command": "cmd.late.run",
                        "max_retries": 5, "retry_delay_seconds": 1 }),
        )
        .await;
    let failed = nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;
    assert_eq!(failed[0]["error_type"], "no_stream");
    assert_eq!(failed[0]["will_retry"], true);
    nats.add_stream(r#"{"name":"LATE","subjects":["cmd.late.>"],"retention":"limits","max_consumers":-1,
        "max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"storage":"file","discard":"old","num_replicas":1}"#).await;
    let done = nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(done[0]["correlation_id"], failed[0]["correlation_id"], "one occurrence");
    assert_eq!(done[0]["scheduled_for"], failed[0]["scheduled_for"]);
    assert!(done[0]["attempt_number"].as_u64().unwrap() >= 2);
    let record = wait_for("the schedule to be completed", || async {
        let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (data["status"] == "completed").then_some(data)
    })
    .await;
    assert_eq!(record["success_count"], 1);
}

#[tokio::test]
async fn what_was_due_while_nobody_ran_is_made_up_for_once() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let id = nats
        .create(json!({ "name": "gap", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.gap" }))
        .await;
    nats.wait_count("COMMANDS", 2).await;
    assert!(service.stop().await.success());
    let before = nats.count("COMMANDS").await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(nats.count("COMMANDS").await, before, "nobody runs");
    let _service = nats.service().await;
    let skipped = nats.wait_executions(json!({ "schedule_id": id, "status": "skipped" }), 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "coalesced");
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), before + 2).await;
    check_ledger(&nats, &id).await;
}

/// Every nominal time of an interval of one second, from the first to the last that was acted on,
/// is in the history exactly once, whatever its attempts and whatever was run beside it, and every
/// success of what goes into `COMMANDS` is one command.
pub async fn check_ledger(nats: &Nats, id: &str) {
    let mut counts: HashMap<i64, u64> = HashMap::new();
    let mut entries = Vec::new();
    let mut successes = HashMap::new();
    let mut page = 1;
    loop {
        let reply = nats
            .request("execution.list", &json!({ "schedule_id": id, "page": page, "limit": 100 }))
            .await;
        let executions = reply["data"].as_array().unwrap();
        if executions.is_empty() {
            break;
        }
        page += 1;
        for execution in executions {
            assert_ne!(execution["status"], "running", "{execution}");
            let captured = execution["command_sent"].as_str().unwrap().starts_with("cmd.example.");
            if execution["status"] == "success" && captured {
                successes.insert(execution["id"].as_str().unwrap().to_owned(), execution.clone());
            }
            if execution["attempt_number"] != 1 || execution["triggered_by"].is_string() {
                continue;
            }
            let at = |value: &serde_json::Value| {
                value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap().timestamp_millis()
            };
            let first = at(&execution["scheduled_for"]);
            let count = execution["skipped"]["count"].as_u64().unwrap_or(1);
            for k in 0..i64::try_from(count).unwrap() {
                *counts.entry(first + k * 1000).or_default() += 1;
                entries.push((first + k * 1000, execution.clone()));
            }
        }
    }
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    for (at, _) in &doubled {
        entries.iter().filter(|(time, _)| time == *at).for_each(|(_, entry)| eprintln!("{entry}"));
    }
    assert!(doubled.is_empty(), "{doubled:?}");
    let (first, last) = (*counts.keys().min().unwrap(), *counts.keys().max().unwrap());
    let expected = u64::try_from((last - first) / 1000 + 1).unwrap();
    assert_eq!(counts.len() as u64, expected, "no gap");
    let commands = commands_of(nats, id).await;
    assert!(commands.values().all(|count| *count == 1), "a command twice: {commands:?}");
    let missing = successes.iter().filter(|(id, _)| !commands.contains_key(*id));
    let missing: Vec<_> = missing.map(|(_, execution)| execution).collect();
    if !missing.is_empty() {
        // Whether it is lost, or only shown late.
        let stream = nats.js.get_stream("COMMANDS").await.unwrap();
        let (info, again) = (stream.cached_info(), commands_of(nats, id).await.len());
        panic!(
            "they succeeded, and their commands are not there: {missing:#?}; {} of {} were read, and {again} \
             once more; {:?} {:?}",
            commands.len(),
            successes.len(),
            info.state,
            info.cluster
        );
    }
}

/// How often the command of each execution of a schedule is in `COMMANDS`.
async fn commands_of(nats: &Nats, schedule_id: &str) -> HashMap<String, u64> {
    let mut commands = HashMap::new();
    for command in nats.messages("COMMANDS").await {
        if command.headers.get("Scheduler-Schedule-Id").unwrap().as_str() == schedule_id {
            let execution = command.headers.get("Scheduler-Execution-Id").unwrap().to_string();
            *commands.entry(execution).or_insert(0) += 1;
        }
    }
    commands
}
