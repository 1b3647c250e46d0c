//! Pausing, resuming, and running by hand.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::json;

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, in_ms, wait_for};

fn far(name: &str) -> serde_json::Value {
    json!({ "name": name, "schedule_type": "one_time", "scheduled_at": in_ms(3_600_000),
            "target_command": "cmd.example.far", "command_payload": { "n": 1 } })
}

#[tokio::test]
async fn after_the_reply_to_pause_nothing_is_claimed_on_any_instance() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let ids = nats.create_beats(30, "cmd.example.paused").await;
    nats.wait_count("COMMANDS", 60).await;
    let mut paused = Vec::new();
    for id in &ids {
        let request = json!({ "schedule_id": id, "reason": "maintenance" });
        let by = [("X-Paused-By", "alice")];
        let (_, reply) = nats.request_with_headers("schedule.pause", &by, request).await;
        let data = &reply["data"];
        assert_eq!(data["status"], "paused", "{reply}");
        assert_eq!(data["is_paused"], true);
        assert_eq!(data["pause_reason"], "maintenance");
        assert_eq!(data["updated_by"], "alice");
        let at = Utc::now();
        paused.push((id.clone(), nats.record_revision(id).await, at));
    }
    // What was due by then may still be on its way; the next beats must not come.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for command in nats.messages("COMMANDS").await {
        let header = |name: &str| command.headers.get(name).unwrap().as_str();
        let (_, revision, at) =
            paused.iter().find(|(id, ..)| id == header("Scheduler-Schedule-Id")).unwrap();
        let claim: u64 = header("Scheduler-Revision").parse().unwrap();
        let due: DateTime<Utc> = header("Scheduler-Scheduled-For").parse().unwrap();
        assert!(claim < *revision, "claimed at {claim}, paused at {revision}");
        assert!(due <= *at + chrono::Duration::milliseconds(50), "due {due}, paused {at}");
    }
}

#[tokio::test]
async fn resuming_records_once_what_was_missed_and_goes_on_in_the_future() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let ids = nats.create_beats(1, "cmd.example.resumed").await;
    let by_id = json!({ "schedule_id": ids[0] });
    nats.wait_count("COMMANDS", 2).await;
    nats.ask("schedule.pause", by_id.clone()).await;
    tokio::time::sleep(Duration::from_millis(3200)).await;
    let asked = Utc::now();
    let resumed = nats.ask("schedule.resume", by_id.clone()).await;
    let next: DateTime<Utc> = resumed["next_run_at"].as_str().unwrap().parse().unwrap();
    assert!(next > asked, "{next} {asked}");
    assert_eq!(resumed["status"], "active");
    assert_eq!(resumed["pause_reason"], json!(null));
    let filter = json!({ "schedule_id": ids[0], "status": "skipped" });
    let skipped = nats.wait_executions(filter, 1).await;
    assert_eq!(skipped.len(), 1);
    assert_eq!(skipped[0]["skipped"]["cause"], "paused");
    assert!(skipped[0]["skipped"]["count"].as_u64().unwrap() >= 3, "{}", skipped[0]);
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 2).await;
    assert_eq!(nats.refused("schedule.resume", by_id).await["code"], "not_allowed");
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn a_change_that_expected_another_revision_is_refused_with_the_current_one() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(far("revised")).await;
    let first = nats.ask("schedule.get", json!({ "schedule_id": id })).await["revision"].clone();
    let request = json!({ "schedule_id": id, "expected_revision": first });
    let second = nats.ask("schedule.pause", request.clone()).await["revision"].clone();
    let error = nats.refused("schedule.pause", request).await;
    assert_eq!(error["code"], "conflict");
    assert_eq!(error["details"][0]["reason"], second.to_string());
    let request = json!({ "schedule_id": id, "expected_revision": second });
    nats.ask("schedule.resume", request).await;
}

#[tokio::test]
async fn what_has_ended_or_is_gone_cannot_be_paused() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats
        .create(json!({ "name": "done", "schedule_type": "immediate", "target_command": "cmd.example.x" }))
        .await;
    wait_for("its end", || async {
        let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (data["status"] == "completed").then_some(())
    })
    .await;
    assert_eq!(
        nats.refused("schedule.pause", json!({ "schedule_id": id })).await["code"],
        "not_allowed"
    );
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    for operation in ["schedule.pause", "schedule.resume", "schedule.trigger"] {
        assert_eq!(
            nats.refused(operation, json!({ "schedule_id": id })).await["code"],
            "not_found"
        );
        assert_eq!(nats.refused(operation, json!({})).await["code"], "invalid");
    }
    let long = json!({ "schedule_id": id, "reason": "x".repeat(501) });
    assert_eq!(nats.refused("schedule.pause", long).await["details"][0]["field"], "reason");
}

#[tokio::test]
async fn a_run_by_hand_carries_its_own_payload_and_the_requests_correlation() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(far("by hand")).await;
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    let headers = [("X-Triggered-By", "bob"), ("X-Correlation-ID", "order-7")];
    let request = json!({ "schedule_id": id, "override_payload": { "n": 2 }, "wait_ms": 10_000 });
    let (_, reply) = nats.request_with_headers("schedule.trigger", &headers, request).await;
    let run = &reply["data"];
    assert_eq!(run["execution"]["status"], "success", "a paused schedule can be run: {reply}");
    assert_eq!(run["execution"]["triggered_by"], "bob");
    assert_eq!(run["execution"]["correlation_id"], "order-7");
    assert_eq!(run["execution"]["command_payload"], json!({ "n": 2 }));
    let command = nats.messages("COMMANDS").await.remove(0);
    assert_eq!(&command.payload[..], br#"{"n":2}"#);
    assert_eq!(command.headers.get("X-Correlation-ID").unwrap().as_str(), "order-7");
    assert_eq!(command.headers.get("Nats-Msg-Id").unwrap().as_str(), run["execution_id"]);
    let plain = nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
    assert_ne!(plain["execution_id"], run["execution_id"]);
    nats.wait_count("COMMANDS", 2).await;
    assert_eq!(&nats.messages("COMMANDS").await[1].payload[..], br#"{"n":1}"#);
    let record = wait_for("both to be counted", || async {
        let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (data["run_count"] == 2).then_some(data)
    })
    .await;
    assert_eq!(record["status"], "paused", "its own occurrence is still to come");
    assert!(record["next_run_at"].is_string());
}

#[tokio::test]
async fn a_run_by_hand_survives_the_death_of_every_instance() {
    let nats = Nats::bare().await;
    let mut service = nats.service().await;
    let mut request = far("durable");
    request["retry_delay_seconds"] = json!(1);
    let id = nats.create(request).await;
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
    service.kill();
    nats.add_stream(include_str!("../../../streams/COMMANDS.json")).await;
    let _next = nats.service().await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(nats.count("COMMANDS").await, 1);
    nats.ask("execution.get", json!({ "execution_id": run["execution_id"] })).await;
}

#[tokio::test]
async fn a_failed_run_by_hand_is_tried_again_as_itself() {
    let nats = Nats::bare().await;
    let _service = nats.service().await;
    let mut request = far("retried");
    request["retry_delay_seconds"] = json!(0);
    request["max_retries"] = json!(2);
    let id = nats.create(request).await;
    let headers = [("X-Correlation-ID", "retried-1")];
    nats.request_with_headers("schedule.trigger", &headers, json!({ "schedule_id": id })).await;
    let filter = json!({ "schedule_id": id, "status": "failed" });
    let failed = nats.wait_executions(filter, 3).await;
    for execution in &failed {
        assert_eq!(execution["correlation_id"], "retried-1");
        assert_eq!(execution["triggered_by"], "unknown");
    }
    let numbers: Vec<_> = failed.iter().map(|e| e["attempt_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 2, 1]);
}

#[tokio::test]
async fn the_reply_to_a_change_says_how_long_it_waited_for_what_was_claimed_ahead() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for (operation, more) in [
        ("schedule.pause", json!({})),
        ("schedule.update", json!({ "command_payload": { "n": 2 } })),
        ("schedule.delete", json!({})),
    ] {
        // It is claimed at once, for a time that is near.
        let (name, at) = (operation, in_ms(450));
        let request = json!({ "name": name, "schedule_type": "one_time", "scheduled_at": at,
                              "target_command": "cmd.example.near", "command_payload": { "n": 1 } });
        let id = nats.create(request).await;
        wait_for("it to be claimed", || async {
            let open = nats.ask("execution.running", json!({ "schedule_id": id })).await;
            (!open.as_array().unwrap().is_empty()).then_some(())
        })
        .await;
        let (mut request, asked) = (more, Utc::now());
        request["schedule_id"] = json!(id);
        let reply = nats.request(operation, &request).await;
        let (answered, due) = (Utc::now(), at.parse::<DateTime<Utc>>().unwrap());
        let waited_ms = reply["waited_ms"].as_i64().unwrap();
        assert!(answered >= due, "{operation}: due {due}, answered {answered}");
        assert!((1..=500).contains(&waited_ms), "{operation}: {reply}");
        assert!(waited_ms <= (answered - asked).num_milliseconds() + 1, "{operation}: {reply}");
        let sent = nats.wait_executions(json!({ "schedule_id": id }), 1).await;
        assert_eq!(sent[0]["status"], "success", "{operation}");
    }
    for command in nats.messages("COMMANDS").await {
        assert_eq!(command.payload, r#"{"n":1}"#, "what was claimed is sent as it was claimed");
    }
    let id = nats.create(far("waits for nothing")).await;
    let by_id = json!({ "schedule_id": id });
    let paused = nats.request("schedule.pause", &by_id).await;
    assert_eq!(paused["waited_ms"], 0, "{paused}");
    let resumed = nats.request("schedule.resume", &by_id).await;
    assert_eq!(resumed.get("waited_ms"), None, "{resumed}");
    let bulk = json!({ "operation": "pause", "schedule_ids": [id] });
    let paused = nats.request("bulk.operation", &bulk).await;
    assert_eq!(paused["waited_ms"], 0, "{paused}");
}
