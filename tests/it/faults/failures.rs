//! What callers are told, and what is logged, when something breaks.

use std::time::Duration;

use async_nats::jetstream::stream::Config;
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Nats, Service, far, wait_for};
use crate::http::{Http, answer};
use crate::requests::messages::assert_own_words;

const BUCKET: &str = "KV_scheduler_schedules";

/// Changes the configuration of a stream behind the service's back.
async fn reconfigure(nats: &Nats, stream: &str, change: impl FnOnce(&mut Config)) {
    let mut config = nats.js.get_stream(stream).await.unwrap().cached_info().config.clone();
    change(&mut config);
    nats.js.update_stream(config).await.unwrap();
}

async fn json_service(nats: &Nats) -> Service {
    nats.service_with(&[("LOG_FORMAT", "json"), ("LOG_LEVEL", "info")]).await
}

/// The lines of the log with a message.
fn lines(service: &Service, message: &str) -> Vec<Value> {
    let log = service.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

/// Checks that an error keeps its cause, and that the log has it once, under the request's id.
async fn check(service: &Service, error: &Value, request_id: &str, operation: &str) {
    assert_eq!(error["code"], "internal", "{error}");
    let text = error.to_string();
    assert!(!text.contains("sealed") && !text.contains("NATS"), "{error}");
    assert!(error["message"].as_str().unwrap().contains(request_id), "{error}");
    let of_request = || {
        let mut found = lines(service, "request failed");
        found.retain(|line| line["request_id"] == request_id);
        found
    };
    let found = wait_for("the line in the log", || async {
        Some(of_request()).filter(|found| !found.is_empty())
    })
    .await;
    assert_eq!(found.len(), 1, "{found:?}");
    let line = &found[0];
    assert_eq!((&line["level"], &line["operation"]), (&json!("ERROR"), &json!(operation)));
    assert!(line["cause"].as_str().unwrap().contains("sealed"), "{line}");
}

#[tokio::test]
async fn the_cause_of_an_internal_error_goes_to_the_log_and_to_nobody_else() {
    let nats = Nats::start().await;
    let service = json_service(&nats).await;
    let id = nats.create(far("sealed")).await;
    reconfigure(&nats, BUCKET, |config| config.sealed = true).await;
    let (one, bulk) =
        (json!({ "schedule_id": id }), json!({ "operation": "pause", "schedule_ids": [id] }));
    let over_nats = |operation, request_id, body: &Value| {
        let (nats, body) = (&nats, body.clone());
        async move {
            let headers = [("X-Request-ID", request_id)];
            nats.request_with_headers(operation, &headers, body).await
        }
    };
    let (headers, reply) = over_nats("schedule.pause", "r-nats", &one).await;
    check(&service, &reply["error"], "r-nats", "schedule.pause").await;
    let header = headers.get("Nats-Service-Error").unwrap().as_str();
    assert_eq!(reply["error"]["message"], header);
    let (_, reply) = over_nats("bulk.operation", "r-bulk", &bulk).await;
    check(&service, &reply["data"]["failed"][0]["error"], "r-bulk", "bulk.operation").await;
    let (_, reply) =
        over_nats("bulk.create", "r-create", &json!({ "schedules": [far("another")] })).await;
    check(&service, &reply["data"]["results"][0]["error"], "r-create", "bulk.create").await;

    let http = Http::new(&service).await;
    let path = format!("/api/v1/schedules/{id}/pause");
    let asked = http.ask(Method::POST, &path).header("X-Request-ID", "r-http").json(&json!({}));
    let answered = answer(asked).await;
    check(&service, answered.refused(500, "internal"), "r-http", "schedule.pause").await;
}

#[tokio::test]
async fn a_stream_that_is_gone_is_named_and_warned_of_once_in_a_while() {
    let nats = Nats::start().await;
    let service = json_service(&nats).await;
    let run = json!({ "target_command": "cmd.example.gone", "wait_ms": 20_000 });
    let id = nats.ask("execute.immediate", run).await["execution_id"].clone();
    nats.js.delete_stream("SCHEDULER_EXECUTIONS").await.unwrap();
    for _ in 0..3 {
        let error = nats.refused("execution.get", json!({ "execution_id": id })).await;
        assert_eq!(error["code"], "unavailable", "{error}");
        let gone = "stream SCHEDULER_EXECUTIONS does not exist, or has no leader; nothing was done";
        assert_eq!(error["message"], gone);
    }
    // Each has its line; only the first is a warning.
    let found = lines(&service, "request not done");
    let levels: Vec<_> = found.iter().map(|line| line["level"].clone()).collect();
    assert_eq!(levels, ["WARN", "INFO", "INFO"], "{found:?}");
    for line in &found {
        for field in ["cause", "request_id", "correlation_id", "operation"] {
            assert!(line[field].is_string(), "{field}: {line}");
        }
    }
    let id = nats.create(far("without a bucket")).await;
    nats.js.delete_stream("KV_scheduler_schedules").await.unwrap();
    for (operation, body) in [
        ("schedule.update", json!({ "schedule_id": id, "priority": 1 })),
        ("schedule.create", far("another")),
    ] {
        let error = nats.refused(operation, body).await;
        assert_eq!(error["code"], "unavailable", "{error}");
        let gone =
            "stream KV_scheduler_schedules does not exist, or has no leader; nothing was done";
        assert_eq!(error["message"], gone, "{operation}");
    }
}

#[tokio::test]
async fn a_bucket_that_is_gone_after_a_reconnection_is_asked_after_now_and_then() {
    let mut nats = Nats::start().await;
    let mut service = json_service(&nats).await;
    nats.js.delete_stream("KV_scheduler_schedules").await.unwrap();
    nats.server.restart().await.unwrap();
    service.wait_log("cannot compare the watch with the stream").await;
    let asked = nats.client.subscribe("$JS.API.>").await.unwrap();
    nats.client.flush().await.unwrap();
    let until = tokio::time::sleep(Duration::from_secs(2));
    let questions = asked.take_until(until).count().await;
    assert!((1..100).contains(&questions), "{questions} questions in two seconds");
    assert_eq!(lines(&service, "cannot compare the watch with the stream").len(), 1);
    assert!(service.stop().await.success());
}

#[tokio::test]
async fn a_dependent_schedule_that_cannot_be_written_holds_up_no_other() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let upstream = nats.create(far("upstream")).await;
    let follower = |name: &str, bytes: usize| {
        json!({ "name": name, "schedule_type": "dependent", "after": { "schedule_id": upstream },
                "target_command": "cmd.example.follow",
                "command_payload": { "a": "x".repeat(bytes) } })
    };
    let large = nats.create(follower("large", 20_000)).await;
    let small = nats.create(follower("small", 20)).await;
    reconfigure(&nats, BUCKET, |config| config.max_message_size = 16 * 1024).await;
    for runs in 1..4 {
        nats.ask("schedule.trigger", json!({ "schedule_id": upstream })).await;
        nats.wait_executions(json!({ "schedule_id": small, "status": "success" }), runs).await;
        nats.wait_executions(json!({ "schedule_id": large, "status": "skipped" }), runs).await;
    }
    let skipped = nats.ask("execution.list", json!({ "schedule_id": large })).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "limit", "{skipped}");
}

#[tokio::test]
async fn what_the_bucket_takes_no_more_is_too_large() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let mut large = far("large");
    large["command_payload"] = json!({ "a": "x".repeat(20_000) });
    let id = nats.create(large.clone()).await;
    reconfigure(&nats, BUCKET, |config| config.max_message_size = 16 * 1024).await;
    let error = nats.refused("schedule.pause", json!({ "schedule_id": id })).await;
    assert_eq!(error["code"], "too_large", "{error}");
    assert!(error["message"].as_str().unwrap().contains("16384"), "{error}");
    large["name"] = json!("another");
    assert_eq!(nats.refused("schedule.create", large).await["code"], "too_large");
    let http = Http::new(&service).await;
    let path = format!("/api/v1/schedules/{id}/pause");
    http.post(&path, json!({})).await.refused(413, "too_large");
    let bulk = json!({ "operation": "pause", "schedule_ids": [id] });
    let refused = nats.ask("bulk.operation", bulk).await;
    assert_eq!(refused["failed"][0]["error"]["code"], "too_large", "{refused}");
    // It can be made small enough.
    let update = json!({ "schedule_id": id, "command_payload": { "a": 1 } });
    nats.ask("schedule.update", update).await;
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
}

#[tokio::test]
async fn what_http_does_not_do_in_time_or_has_no_room_for_leaves_a_line() {
    let nats = Nats::start().await;
    let settings = [
        ("LOG_FORMAT", "json"),
        ("LOG_LEVEL", "info"),
        ("API_TIMEOUT_SECONDS", "1"),
        ("API_MAX_CONCURRENT", "1"),
    ];
    let service = nats.service_with(&settings).await;
    let http = Http::new(&service).await;
    nats.server.freeze().unwrap();
    let ask = |name: &'static str| {
        let asked = http.ask(Method::POST, "/api/v1/schedules").json(&far(name));
        answer(asked.header("X-Request-ID", name).header("X-Correlation-ID", "c"))
    };
    wait_for("NATS to stand still", || async {
        let asked = nats.client.request("$JS.API.INFO", "".into());
        tokio::time::timeout(Duration::from_millis(100), asked).await.is_err().then_some(())
    })
    .await;
    // Whichever comes first is worked on until NATS answers, the other is one too many.
    let (one, other) = tokio::join!(ask("r-one"), ask("r-other"));
    nats.server.thaw().unwrap();
    for answered in [one, other] {
        answered.refused(503, "unavailable");
    }
    for text in ["not done within 1 s", "1 requests are under way"] {
        let line = wait_for(text, || async {
            let found = lines(&service, "request not done");
            found.into_iter().find(|line| line["error"].as_str().unwrap().contains(text))
        })
        .await;
        assert!(line["request_id"].as_str().unwrap().starts_with("r-"), "{line}");
        let told = (&line["correlation_id"], &line["operation"]);
        assert_eq!(told, (&json!("c"), &json!("schedule.create")), "{line}");
    }
}

#[tokio::test]
async fn of_a_damaged_record_the_log_says_what_the_library_said() {
    let nats = Nats::start().await;
    let service = json_service(&nats).await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let id = "018f0000-0000-7000-8000-000000000000";
    bucket.put(format!("schedule.{id}"), "{\"not\": \"ours\"}".into()).await.unwrap();
    let aside = wait_for("it to be set aside", || async {
        let status = nats.ask("status", json!({})).await;
        status["set_aside"].get(0).cloned()
    })
    .await;
    let reason = "it lacks a field, or has a value that cannot be, at line 1, column 15";
    assert_eq!(aside["reason"], reason, "{aside}");
    let error = nats.refused("schedule.get", json!({ "schedule_id": id })).await;
    assert_own_words(&error, "schedule.get");
    let message = format!("the record of schedule {id} cannot be read: {reason}");
    assert_eq!(error["message"], message);
    let found = lines(&service, "record set aside: it cannot be read");
    assert!(found[0]["cause"].as_str().unwrap().contains("missing field"), "{found:?}");
}
