//! Single commands that are asked for more than once: sent once.

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Nats, wait_for};
use crate::http::Http;

fn once(more: Value) -> Value {
    let mut request = json!({ "target_command": "cmd.example.once", "command_payload": { "n": 1.0 },
                              "idempotency_key": "k" });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// Waits until no record of a schedule is left, and so all that is known of a command is in the history.
async fn settled(nats: &Nats) {
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    wait_for("the records to be gone", || async {
        let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
        keys.iter().all(|key| !key.starts_with("schedule.")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_same_key_sends_one_command() {
    let nats = Nats::start().await;
    let (service, _other) = (nats.service().await, nats.service().await);
    let (request, keyless) = (
        once(json!({})),
        json!({ "wait_ms": 20_000, "target_command": "cmd.example.once",
                                                       "command_payload": { "n": 1.0 } }),
    );
    let replies = join_all((0..20).map(|_| nats.request("execute.immediate", &request))).await;
    let id = |reply: &Value| {
        let id = reply["data"]["execution_id"].as_str();
        id.unwrap_or_else(|| panic!("{reply}")).to_owned()
    };
    let ids: BTreeSet<_> = replies.iter().map(id).collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let first = replies.iter().filter(|reply| reply["warnings"].is_null()).count();
    assert_eq!(first, 1, "the others are repetitions");
    // The header does the same, and waits for the outcome, which may have come long before.
    settled(&nats).await;
    let key = [("Nats-Msg-Id", "k")];
    let (_, by_header) = nats.request_with_headers("execute.immediate", &key, keyless).await;
    assert_eq!(by_header["warnings"][0]["code"], "repeated", "{by_header}");
    assert_eq!(by_header["data"]["execution"]["status"], "success", "{by_header}");
    assert_eq!(by_header["data"]["schedule_id"], replies[0]["data"]["schedule_id"]);
    assert!(ids.contains(&id(&by_header)));
    let http = Http::new(&service).await;
    let by_http = http.post("/api/v1/executions", request.clone()).await;
    assert!(by_http.status == 201 && ids.contains(&id(&by_http.body)), "{by_http:?}");
    assert_eq!(nats.count("COMMANDS").await, 1);
    // It stands for this request alone, of this user, and of this operation.
    let other = once(json!({ "command_payload": { "n": 2 } }));
    assert_eq!(nats.refused("execute.immediate", other).await["code"], "not_allowed");
    let created = json!({ "name": "n", "schedule_type": "immediate", "target_command": "cmd.example.once",
                          "idempotency_key": "k" });
    assert_eq!(nats.refused("schedule.create", created).await["code"], "not_allowed");
    let bob = [("X-Created-By", "bob")];
    let (_, bobs) = nats.request_with_headers("execute.immediate", &bob, request).await;
    assert!(!ids.contains(&id(&bobs)) && bobs["warnings"].is_null(), "{bobs}");
}

/// A command whose instance dies at a point is asked for again, by then sent if it was to be.
async fn repeats_after_a_death(point: &str) {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    nats.ask_the_dying("execute.immediate", &once(json!({}))).await;
    dying.exited().await;
    let _instances = (nats.service().await, nats.service().await);
    if point != "after_memo" {
        nats.wait_executions(json!({ "status": "success" }), 1).await;
        settled(&nats).await;
    }
    let request = once(json!({ "wait_ms": 20_000 }));
    let requests = (0..5).map(|_| nats.ask("execute.immediate", request.clone()));
    let replies = join_all(requests).await;
    for reply in &replies {
        assert_eq!(reply["execution"]["status"], "success", "{reply}");
        assert_eq!(reply["execution_id"], replies[0]["execution_id"]);
    }
    assert_eq!(nats.count("COMMANDS").await, 1);
}

#[tokio::test]
async fn dying_after_the_memo_lets_the_repetition_send_the_command() {
    repeats_after_a_death("after_memo").await;
}

#[tokio::test]
async fn dying_after_the_record_lets_the_repetition_find_the_command_in_the_history() {
    repeats_after_a_death("before_memo_done").await;
}

#[tokio::test]
async fn a_command_that_is_refused_does_not_use_up_its_key() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for (field, value) in [
        ("priority", json!(99)),
        ("idempotency_key", json!("")),
        ("idempotency_key", json!("x".repeat(256))),
        ("wait_ms", json!(60_001)),
    ] {
        let error = nats.refused("execute.immediate", once(json!({ field: value }))).await;
        assert_eq!(error["details"][0]["field"], field, "{error}");
    }
    let sent = nats.request("execute.immediate", &once(json!({}))).await;
    assert!(sent["warnings"].is_null(), "{sent}");
}

#[tokio::test]
async fn a_command_is_sent_again_as_it_was_sent() {
    let nats = Nats::start().await;
    let mut dying = nats.service().await;
    let command = json!({ "target_command": "cmd.worker.absent", "command_payload": { "n": 1.0 }, "priority": 9,
                          "max_retries": 0, "delivery": { "mode": "request", "timeout_seconds": 7 },
                          "wait_ms": 20_000 });
    let failed = nats.ask("execute.immediate", command.clone()).await;
    assert_eq!(failed["execution"]["error_type"], "no_responders", "{failed}");
    let other = nats.ask("execute.immediate", command).await;
    let settings = json!({ "delivery": { "mode": "request", "timeout_seconds": 7 }, "priority": 9,
                           "max_retries": 0, "retry_delay_seconds": 300 });
    assert_eq!(failed["execution"]["settings"], settings);
    let old = &failed["execution_id"];
    // Nobody answers yet; then somebody does. It is in the record before the reply.
    let retry = json!({ "execution_id": old, "wait_ms": 20_000 });
    let again = nats.ask("execution.retry", retry).await;
    assert_eq!(again["execution"]["status"], "failed", "{again}");
    nats.echo("cmd.worker.absent").await;
    let keyed = json!({ "execution_id": again["execution_id"], "idempotency_key": "r" });
    let by = [("X-Triggered-By", "ann"), ("X-Correlation-ID", "twice")];
    let (_, placed) = nats.request_with_headers("execution.retry", &by, keyed.clone()).await;
    dying.kill();
    let _instances = (nats.service().await, nats.service().await);
    let id = &placed["data"]["execution_id"];
    let ended = wait_for("the retry", || async {
        let found = nats.request("execution.get", &json!({ "execution_id": id })).await;
        (found["data"]["status"] == "success").then(|| found["data"].clone())
    })
    .await;
    for (field, value) in [
        ("retry_of", again["execution_id"].clone()),
        ("triggered_by", json!("ann")),
        ("created_by", json!("ann")),
        ("correlation_id", json!("twice")),
        ("command_payload", json!({ "n": 1.0 })),
        ("response_payload", json!({ "n": 1.0 })),
        ("settings", settings),
        ("schedule_name", json!("execute.immediate")),
    ] {
        assert_eq!(ended[field], value, "{field}: {ended}");
    }
    settled(&nats).await;
    let (_, repeated) = nats.request_with_headers("execution.retry", &by, keyed).await;
    // No link leads to a schedule that nobody can see.
    let own = json!({ "self": format!("/api/v1/executions/{}", id.as_str().unwrap()) });
    let got = nats.request("execution.get", &json!({ "execution_id": id })).await;
    for reply in [&placed, &repeated, &got] {
        assert_eq!(reply["links"], own, "{reply}");
    }
    assert_eq!(repeated["warnings"][0]["code"], "repeated", "{repeated}");
    assert_eq!(repeated["data"]["execution_id"], *id);
    // All that failed, with one request.
    let filter = json!({ "filter": { "error_type": "no_responders" }, "dry_run": true });
    let dry = nats.ask("bulk.retry", filter.clone()).await;
    assert_eq!((&dry["matched"], &dry["refused"]), (&json!(3), &json!(0)), "{dry}");
    let many = json!({ "filter": { "error_type": "no_responders" }, "idempotency_key": "all" });
    let done = nats.ask("bulk.retry", many.clone()).await;
    let retried: Vec<_> =
        done["results"].as_array().unwrap().iter().map(|one| &one["retry_of"]).collect();
    assert_eq!(retried, [old, &other["execution_id"], &again["execution_id"]], "{done}");
    let repeated = nats.ask("bulk.retry", many).await;
    assert!(
        repeated["results"].as_array().unwrap().iter().all(|one| one["repeated"] == true),
        "{repeated}"
    );
    nats.wait_executions(json!({ "status": "success" }), 4).await;
    let list = nats.request("schedule.list", &json!({})).await;
    assert_eq!(list["pagination"]["total"], 0, "no schedule is visible");
}
