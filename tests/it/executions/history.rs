//! Contents of the history.

use serde_json::{Value, json};

use crate::harness::{Nats, in_ms, wait_for};
use crate::http::Http;

#[tokio::test]
async fn executions_are_filtered_paged_and_counted() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let good = nats
        .create(json!({ "name": "good", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.good" }))
        .await;
    let bad = nats
        .create(json!({ "name": "bad", "schedule_type": "immediate", "max_retries": 0,
                        "target_command": "cmd.nowhere.bad" }))
        .await;
    nats.wait_executions(json!({ "schedule_id": good }), 4).await;
    nats.ask("schedule.delete", json!({ "schedule_id": good })).await;
    let failed = nats.wait_executions(json!({ "status": "failed" }), 1).await;
    assert_eq!(failed[0]["schedule_id"], json!(bad));
    assert_eq!(failed[0]["error_type"], "no_stream");

    let all = nats.request("execution.list", &json!({ "schedule_id": good, "limit": 100 })).await;
    let total = all["pagination"]["total"].as_u64().unwrap();
    let ids: Vec<_> = all["data"].as_array().unwrap().iter().map(|e| e["id"].clone()).collect();
    assert_eq!(ids.len() as u64, total);
    let times: Vec<_> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["scheduled_for"].as_str().unwrap())
        .collect();
    assert!(times.is_sorted_by(|a, b| a > b), "newest first: {times:?}");

    let mut paged = Vec::new();
    for page in 1..=total.div_ceil(2) {
        let reply = nats
            .request("execution.list", &json!({ "schedule_id": good, "page": page, "limit": 2 }))
            .await;
        assert_eq!(reply["pagination"]["total"], total);
        paged.extend(reply["data"].as_array().unwrap().iter().map(|e| e["id"].clone()));
    }
    assert_eq!(paged, ids);

    let second = &all["data"][ids.len() - 2]["started_at"];
    let after = nats
        .request("execution.list", &json!({ "schedule_id": good, "started_after": second }))
        .await;
    assert_eq!(after["pagination"]["total"], total - 2);
    let missing = nats
        .refused("execution.get", json!({ "execution_id": "018f0000-0000-8000-8000-000000000000" }))
        .await;
    assert_eq!(missing["code"], "not_found");
}

#[tokio::test]
async fn a_running_request_is_seen_running_and_then_ended_once() {
    use futures::StreamExt as _;
    let nats = Nats::bare().await;
    let _service = nats.service().await;
    let mut requests = nats.client.subscribe("cmd.slow.job").await.unwrap();
    let id = nats
        .create(
            json!({ "name": "slow", "schedule_type": "immediate", "target_command": "cmd.slow.job",
                        "delivery": { "mode": "request" } }),
        )
        .await;
    let request = requests.next().await.unwrap();
    let running = nats.wait_executions(json!({ "schedule_id": id, "status": "running" }), 1).await;
    assert_eq!(running[0]["completed_at"], json!(null));
    nats.client.publish(request.reply.unwrap(), "\"done\"".into()).await.unwrap();
    let done = nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(done[0]["id"], running[0]["id"]);
    assert_eq!(done[0]["response_payload"], "done");
    let all = nats.request("execution.list", &json!({ "schedule_id": id })).await;
    assert_eq!(all["pagination"]["total"], 1, "two events, one execution");
}

#[tokio::test]
async fn the_history_survives_restarts_and_a_purge_blocks_nothing() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let create = |name: &str| json!({ "name": name, "schedule_type": "immediate", "target_command": "cmd.example.x" });
    let id = nats.create(create("before")).await;
    nats.wait_executions(json!({ "schedule_id": id }), 1).await;
    service.stop().await;
    let mut service = nats.service().await;
    nats.wait_executions(json!({ "schedule_id": id }), 1).await;

    nats.js.get_stream("SCHEDULER_EXECUTIONS").await.unwrap().purge().await.unwrap();
    service.kill();
    // A claim is left behind, and the history that might know its outcome is empty.
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "after_claim")]).await;
    let id = nats
        .create(json!({ "name": "after", "schedule_type": "one_time", "scheduled_at": in_ms(700),
                        "target_command": "cmd.example.x" }))
        .await;
    dying.exited().await;
    let _service = nats.service().await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    wait_for("the old ones to be gone", || async {
        let reply = nats.request("execution.list", &json!({})).await;
        (reply["pagination"]["total"] == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_payload_too_large_to_keep_is_left_out_of_the_history_and_sent_whole() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats
        .create(json!({ "name": "large", "schedule_type": "immediate", "target_command": "cmd.example.x",
                        "command_payload": { "text": "x".repeat(300_000) } }))
        .await;
    let found = nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(found[0]["truncated"], true);
    assert_eq!(found[0]["command_payload"], json!(null));
    assert!(nats.messages("COMMANDS").await[0].payload.len() > 300_000);
    let error = nats
        .refused(
            "schedule.create",
            json!({ "name": "too large", "schedule_type": "immediate", "target_command": "cmd.example.x",
                    "command_payload": { "text": "x".repeat(600_000) } }),
        )
        .await;
    assert_eq!(error["details"][0]["field"], "command_payload");
}

#[tokio::test]
async fn executions_are_found_by_statuses_errors_tags_and_targets() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let once = |name: &str, target: &str, tag: &str, mode: &str| {
        json!({ "name": name, "schedule_type": "immediate", "target_command": target, "tags": [tag],
                "delivery": { "mode": mode }, "max_retries": 0 })
    };
    nats.create(once("sent", "cmd.example.a", "day", "publish")).await;
    nats.create(once("asked", "cmd.nobody.a", "day", "request")).await;
    nats.create(once("lost", "cmd.nobody.b", "night", "publish")).await;
    for (status, count) in [("success", 1), ("failed", 2)] {
        nats.wait_executions(json!({ "status": status }), count).await;
    }
    let names = async |filter: Value| {
        let reply = nats.request("execution.list", &filter).await;
        let found = reply["data"].as_array().unwrap_or_else(|| panic!("{reply}"));
        let mut names: Vec<_> =
            found.iter().map(|one| one["schedule_name"].as_str().unwrap().to_owned()).collect();
        assert_eq!(reply["pagination"]["total"], names.len(), "{reply}");
        names.sort();
        names
    };
    assert_eq!(
        names(json!({ "statuses": ["success", "failed"] })).await,
        ["asked", "lost", "sent"]
    );
    assert_eq!(names(json!({ "error_type": "no_responders" })).await, ["asked"]);
    let none = || Vec::<String>::new();
    let by_kind = async || {
        assert_eq!(names(json!({ "error_type": "no_responders", "tag": "night" })).await, none());
        assert_eq!(names(json!({ "tag": "day" })).await, ["asked", "sent"]);
        assert_eq!(names(json!({ "tag": "day", "statuses": ["failed"] })).await, ["asked"]);
        assert_eq!(names(json!({ "target_command": "cmd.nobody.b" })).await, ["lost"]);
        assert_eq!(names(json!({ "target_command": "cmd.nobody" })).await, none());
    };
    by_kind().await;
    // Where few of many schedules have executions, those few are looked at instead of all.
    for n in 0..30 {
        nats.create(json!({ "name": format!("idle {n}"), "schedule_type": "cron",
            "cron_expression": "0 0 1 1 *", "target_command": "cmd.nobody.b", "tags": ["day"] }))
            .await;
    }
    by_kind().await;
    let http = Http::new(&service).await;
    let found = http.get("/api/v1/executions?statuses=failed&statuses=skipped&tag=night").await;
    assert_eq!(found.body["data"][0]["schedule_name"], "lost", "{found:?}");
    let long = "x".repeat(256);
    let request = json!({ "tag": long, "status": "failed", "statuses": ["failed"], "limit": 0 });
    let fault = nats.refused("execution.list", request).await;
    assert_eq!(
        fault["message"],
        "tag: must have 1 to 255 characters; statuses: cannot stand beside status; limit: must be 1 to 100"
    );
}

/// Whoever listened to the Python service finds its fields; replies have each once.
#[tokio::test]
async fn events_have_the_names_of_their_predecessors_too() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let once = |name: &str, target: &str, mode: &str| {
        json!({ "name": name, "schedule_type": "immediate", "target_command": target,
                "delivery": { "mode": mode }, "max_retries": 0 })
    };
    nats.create(once("begun", "cmd.example.job", "job")).await;
    nats.create(once("lost", "cmd.nobody.b", "publish")).await;
    for status in ["running", "failed"] {
        nats.wait_executions(json!({ "status": status }), 1).await;
    }
    for message in nats.messages("SCHEDULER_EXECUTIONS").await {
        let event: Value = serde_json::from_slice(&message.payload).unwrap();
        assert_eq!(event["execution_id"], event["id"], "{event}");
        assert_eq!(event["target_command"], event["command_sent"], "{event}");
        let failed = event["status"] == "failed";
        assert_eq!(event.get("will_retry"), failed.then_some(&json!(false)), "{event}");
        assert_eq!(event.get("failed_at"), event.get("completed_at").filter(|_| failed), "{event}");
        let asked = json!({ "execution_id": event["id"] });
        let reply = nats.ask("execution.get", asked).await;
        for name in ["execution_id", "target_command", "failed_at", "will_retry"] {
            assert_eq!(reply.get(name), None, "{reply}");
        }
    }
}
