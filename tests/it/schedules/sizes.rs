//! Whatever can be created can be changed and stopped, whatever message size the server accepts.

use serde_json::{Value, json};

use crate::harness::{Nats, wait_for};
use crate::http::Http;

/// The configuration of a server that takes messages of so many bytes.
fn config(max_payload: usize) -> String {
    format!("jetstream {{ store_dir: $NATS_STORE_DIR }}\nmax_payload: {max_payload}\n")
}

/// A server that takes messages of so many bytes, with the example stream.
async fn start(max_payload: usize) -> Nats {
    Nats::with_config(&config(max_payload)).await
}

/// Starts the server again with another size of messages.
async fn restart(nats: &mut Nats, max_payload: usize) {
    std::fs::write(nats.dir().join("nats.conf"), config(max_payload)).unwrap();
    nats.server.kill();
    nats.server.restart().await.unwrap();
    wait_for("the service to know the server's limit", || async {
        let reply = nats.client.request("cmd.scheduler.status", "".into()).await.ok()?;
        let reply: Value = serde_json::from_slice(&reply.payload).ok()?;
        let known = nats.client.server_info().max_payload == max_payload;
        (known && reply["data"]["nats"]["connected"] != json!(false)).then_some(())
    })
    .await;
}

/// A payload of so many bytes.
fn payload(bytes: usize) -> Value {
    json!({ "a": "x".repeat(bytes - 8) })
}

fn schedule(name: &str, mode: &str, bytes: usize) -> Value {
    json!({ "name": name, "schedule_type": "interval", "interval_seconds": 3600,
            "target_command": "cmd.example.large", "delivery": { "mode": mode, "timeout_seconds": 600 },
            "command_payload": payload(bytes), "description": "c".repeat(1000) })
}

/// The number of bytes that a refusal says are allowed.
fn allowed(error: &Value) -> usize {
    assert_eq!(error["code"], "too_large", "{error}");
    let message = error["message"].as_str().unwrap();
    message.split_once("allows ").unwrap().1.parse().unwrap()
}

async fn change(nats: &Nats, id: &str, operation: &str, mut request: Value) {
    request["schedule_id"] = json!(id);
    nats.ask(operation, request).await;
}

/// Does everything to a schedule that can be done to it; what users wrote stays as large as it is.
async fn change_in_all_ways(nats: &Nats, id: &str, renamed: &str, bytes: usize) {
    let other = json!({ "a": "y".repeat(bytes - 8) });
    for (operation, request) in [
        ("schedule.update", json!({ "command_payload": other, "description": "d".repeat(1000) })),
        ("schedule.pause", json!({ "reason": "x".repeat(500) })),
        ("schedule.update", json!({ "interval_seconds": 1800, "description": "e".repeat(1000) })),
        ("schedule.resume", json!({})),
        ("schedule.update", json!({ "is_active": false })),
        ("schedule.update", json!({ "is_active": true, "name": renamed })),
        ("schedule.delete", json!({})),
        ("schedule.restore", json!({})),
    ] {
        change(nats, id, operation, request).await;
    }
}

/// Creates the largest schedule that the server allows, and does to it all that can be done.
async fn check(max_payload: usize, too_many: usize) {
    let nats = start(max_payload).await;
    let service = nats.service().await;
    let error = nats.refused("schedule.create", schedule("too large", "publish", too_many)).await;
    let most = allowed(&error);
    assert_eq!(error["details"][0]["field"], "command_payload", "{error}");
    let http = Http::new(&service).await;
    let answer = http.post("/api/v1/schedules", schedule("http", "publish", too_many)).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let execute =
        json!({ "target_command": "cmd.example.large", "command_payload": payload(too_many) });
    assert_eq!(allowed(&nats.refused("execute.immediate", execute).await), most);

    let id = nats.create(schedule("publish", "publish", most)).await;
    change(&nats, &id, "schedule.trigger", json!({})).await;
    change(&nats, &id, "schedule.trigger", json!({ "override_payload": payload(most) })).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 3).await;
    change_in_all_ways(&nats, &id, "hsilbup", most).await;
    change(&nats, &id, "schedule.delete", json!({ "hard_delete": true })).await;

    // One job is with a worker, and runs by hand wait behind it until there is no more room.
    let id = nats.create(schedule("job", "job", most)).await;
    wait_for("the worker to have it", || async {
        let running = nats.ask("execution.running", json!({})).await;
        (running[0]["status"] == "running").then_some(())
    })
    .await;
    let mut waiting = 0;
    let refused = loop {
        let request = json!({ "schedule_id": id, "override_payload": payload(most) });
        let reply = nats.request("schedule.trigger", &request).await;
        if reply.get("error").is_some() {
            break reply["error"].clone();
        }
        waiting += 1;
    };
    assert!(waiting > 0, "{refused}");
    assert_eq!(refused["details"][0]["field"], "override_payload", "{refused}");
    assert!(allowed(&refused) < most, "{refused}");
    let commands = nats.messages("COMMANDS").await;
    let command =
        commands.iter().find_map(|m| Some((m.headers.get("Scheduler-Token")?, m))).unwrap();
    let execution = command.1.headers.get("Scheduler-Execution-Id").unwrap().as_str();
    let report = json!({ "execution_id": execution, "token": command.0.as_str(),
                         "response": "\"".repeat(25_000) });
    nats.ask("execution.complete", report).await;
    change_in_all_ways(&nats, &id, "boj", most).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    change(&nats, &id, "schedule.delete", json!({ "hard_delete": true })).await;
    let log = service.log();
    assert!(!log.contains("code=Internal"), "{log}");
}

#[tokio::test]
async fn what_can_be_created_can_be_stopped_where_messages_are_small() {
    check(65_536, 30_000).await;
}

#[tokio::test]
async fn what_can_be_created_can_be_stopped_where_messages_are_of_middle_size() {
    check(131_072, 80_000).await;
}

#[tokio::test]
async fn what_can_be_created_can_be_stopped_where_messages_are_as_large_as_by_default() {
    check(1_048_576, 500 * 1024).await;
}

#[tokio::test]
async fn what_has_become_too_large_can_still_be_stopped() {
    let mut nats = start(1_048_576).await;
    let service = nats.service().await;
    let id = nats.create(schedule("old", "publish", 80_000)).await;
    let gone = nats.create(schedule("gone", "publish", 80_000)).await;
    restart(&mut nats, 131_072).await;
    for (operation, request) in [
        ("schedule.pause", json!({})),
        ("schedule.update", json!({ "description": "d".repeat(1000) })),
        ("schedule.resume", json!({})),
        ("schedule.trigger", json!({})),
        ("schedule.delete", json!({})),
        ("schedule.restore", json!({})),
    ] {
        change(&nats, &id, operation, request).await;
        if operation == "schedule.trigger" {
            // A deletion cancels what waits, and after a reconnection nothing is claimed for a moment.
            let sent = json!({ "schedule_id": id, "status": "success" });
            nats.wait_executions(sent, 2).await;
        }
    }
    let more = json!({ "schedule_id": id, "command_payload": payload(80_001) });
    assert_eq!(nats.refused("schedule.update", more).await["code"], "too_large");
    wait_for("all to be settled and announced", || async {
        let bucket = nats.js.get_key_value("scheduler_schedules").await.ok()?;
        for id in [&id, &gone] {
            let record = bucket.get(format!("schedule.{id}")).await.ok()??;
            let record: Value = serde_json::from_slice(&record).ok()?;
            if record.get("attempts").is_some() || record.get("events").is_some() {
                return None;
            }
        }
        Some(())
    })
    .await;

    // Not even its payload fits.
    restart(&mut nats, 65_536).await;
    let error = nats.refused("schedule.pause", json!({ "schedule_id": id })).await;
    assert_eq!(error["code"], "too_large", "{error}");
    assert!(error["message"].as_str().unwrap().contains("hard_delete"), "{error}");
    change(&nats, &id, "schedule.update", json!({ "command_payload": { "a": 1 } })).await;
    change(&nats, &id, "schedule.pause", json!({})).await;
    change(&nats, &gone, "schedule.delete", json!({ "hard_delete": true })).await;
    wait_for("the record to be gone", || async {
        let bucket = nats.js.get_key_value("scheduler_schedules").await.ok()?;
        bucket.get(format!("schedule.{gone}")).await.ok()?.is_none().then_some(())
    })
    .await;
    drop(service);
}

#[tokio::test]
async fn a_worker_s_report_is_taken_however_full_the_record_is() {
    let nats = start(65_536).await;
    let _service = nats.service().await;
    let mut job = schedule("full", "job", 9_000);
    job["start_at"] = json!(crate::harness::in_ms(3_600_000));
    job["max_retries"] = json!(3);
    let id = nats.create(job).await;
    // One is with a worker; others wait behind it until there is no room for another.
    let run = |bytes: usize| json!({ "schedule_id": id, "override_payload": json!({ "a": "\"".repeat(bytes / 2) }) });
    nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
    let mut bytes = 16_384;
    while bytes > 16 {
        let reply = nats.request("schedule.trigger", &run(bytes)).await;
        if reply.get("error").is_some() {
            assert!(reply["error"]["code"] != "internal", "{reply}");
            bytes /= 2;
        }
    }
    // Nor is there for further changes, which nobody can announce.
    let audit = nats.js.get_stream("SCHEDULER_AUDIT").await.unwrap();
    let mut config = audit.cached_info().config.clone();
    // It is full, which passes: what it refuses for good would be given up.
    nats.wait_count("SCHEDULER_AUDIT", 1).await;
    config.discard = async_nats::jetstream::stream::DiscardPolicy::New;
    config.max_messages = i64::try_from(nats.count("SCHEDULER_AUDIT").await).unwrap();
    nats.js.update_stream(config).await.unwrap();
    let pause = json!({ "schedule_id": id, "reason": "\u{1}".repeat(500) });
    let mut pauses = 0;
    let refused = loop {
        let reply = nats.request("schedule.pause", &pause).await;
        pauses += 1;
        if reply.get("error").is_some() {
            break reply["error"].clone();
        }
        assert!(pauses < 1000, "each adds to the record");
    };
    assert_eq!(refused["code"], "too_large", "{refused}");
    let stands = |expected: u64| {
        let nats = &nats;
        async move {
            nats.wait_count("COMMANDS", expected).await;
            let stream = nats.js.get_stream("COMMANDS").await.unwrap();
            let command = stream.get_raw_message(expected).await.unwrap();
            let header = |name: &str| command.headers.get(name).unwrap().to_string();
            (header("Scheduler-Execution-Id"), header("Scheduler-Token"))
        }
    };
    let (execution, token) = stands(1).await;
    let report = json!({ "execution_id": execution, "token": token, "retryable": false,
                         "error_type": "\u{1}".repeat(100), "error_message": "\u{1}".repeat(2000) });
    assert_eq!(nats.ask("execution.fail", report).await["status"], "failed");
    let (execution, token) = stands(2).await;
    let report = json!({ "execution_id": execution, "token": token,
                         "response": "\"".repeat(16_000) });
    assert_eq!(nats.ask("execution.complete", report).await["status"], "success");
    nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
}
