//! What is said of schedules that fail, are overdue, and recover: once, whatever dies, and to a webhook too.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use nats_scheduler::client::{AuditEvent, Client, Ending, ListAudit, ListSchedules};
use serde_json::{Value, json};

use crate::executions::workers::{interpreter, packages};
use crate::harness::{Nats, in_ms, wait_for, wait_within};
use crate::http::Http;
use crate::requests::audit::events;

/// A schedule that nobody answers, with one attempt each time.
fn unanswered(name: &str, more: Value) -> Value {
    let mut request = json!({
        "name": name, "schedule_type": "interval", "interval_seconds": 1, "max_retries": 0,
        "target_command": "cmd.worker.absent", "delivery": { "mode": "request", "timeout_seconds": 1 },
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// A schedule that fires in a year, and of which a success is expected at once.
fn expected(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "interval", "interval_seconds": 31_536_000,
            "start_at": in_ms(-1000), "target_command": "cmd.example.expected",
            "expect_success_within_seconds": 1 })
}

async fn names(nats: &Nats, filter: Value) -> Vec<Value> {
    let found = nats.ask("schedule.list", filter).await;
    found.as_array().unwrap().iter().map(|one| one["name"].clone()).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_schedule_that_keeps_failing_says_so_once_and_once_that_it_has_recovered() {
    let nats = Nats::start().await;
    let (service, _other) = (nats.service().await, nats.service().await);
    let id = nats.create(unanswered("fails", json!({ "failing_after": 2 }))).await;
    let well = unanswered(
        "well",
        json!({ "target_command": "cmd.example.well", "delivery": { "mode": "publish" } }),
    );
    nats.create(well).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 4).await;
    let said = events(&nats, &id, 2).await;
    assert_eq!(kinds(&said), ["created", "failing"]);
    let failing = &said[1];
    assert_eq!((&failing["actor"], &failing["name"]), (&json!("scheduler"), &json!("fails")));
    assert_eq!(failing["consecutive_failures"], 2);
    assert_eq!(failing["error_type"], "no_responders");
    let last = failing["execution_id"].as_str().unwrap();
    let execution = nats.ask("execution.get", json!({ "execution_id": last })).await;
    assert_eq!(execution["status"], "failed");
    assert_eq!(failing["correlation_id"], execution["correlation_id"]);
    let shown = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!((&shown["is_failing"], &shown["last_outcome"]), (&json!(true), &json!("failed")));
    assert_eq!(shown["failing_since"], failing["failing_since"]);
    assert_eq!((&shown["last_success_at"], &shown["is_overdue"]), (&json!(null), &json!(false)));
    assert_eq!(shown["revision"], 1, "nobody has changed it");
    for (filter, found) in [
        (json!({ "is_failing": true }), "fails"),
        (json!({ "is_failing": false }), "well"),
        (json!({ "last_outcome": "failed" }), "fails"),
        (json!({ "last_outcome": "success", "is_overdue": false }), "well"),
    ] {
        assert_eq!(names(&nats, filter).await, [found]);
    }
    let http = Http::new(&service).await;
    let by_http = http.get("/api/v1/schedules?is_failing=true&last_outcome=failed").await;
    assert_eq!(by_http.body["data"][0]["name"], "fails", "{:?}", by_http.body);
    assert_eq!(nats.ask("status", json!({})).await["failing"], 1);
    wait_for("the gauge", || async {
        let (_, text) = service.probe("/metrics").await?;
        text.contains("\nscheduler_schedules_failing 1\n").then_some(())
    })
    .await;
    // Somebody answers now.
    nats.echo("cmd.worker.absent").await;
    let said = events(&nats, &id, 3).await;
    assert_eq!(said[2]["event"], "recovered");
    assert_eq!(said[2]["recovered_from"], json!(["failing"]));
    assert_eq!(said[2]["failing_since"], failing["failing_since"]);
    let shown = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!((&shown["is_failing"], &shown["last_outcome"]), (&json!(false), &json!("success")));
    assert!(shown["last_success_at"].as_str() >= said[2]["last_success_at"].as_str(), "{shown}");
    // Typed.
    let client = Client::new(nats.client.clone());
    let filter = ListSchedules { last_outcome: Some(Ending::Success), ..ListSchedules::default() };
    let found = client.list(&filter).await.unwrap().data;
    assert!(found.iter().any(|one| one.name == "fails" && one.last_success_at.is_some()));
    let asked = ListAudit { event: Some(AuditEvent::Recovered), ..ListAudit::default() };
    let listed = client.audit(&asked).await.unwrap().data;
    assert_eq!((listed.len(), listed[0].schedule_id.to_string()), (1, id));
}

#[tokio::test]
async fn a_schedule_without_a_success_is_overdue_even_if_no_instance_ran_and_says_so_once() {
    let nats = Nats::start().await;
    let mut first = nats.service().await;
    let id = nats.create(expected("expected")).await;
    assert!(first.stop().await.success());
    // Both see it at the same time, and each dies once it has said so.
    let dying = [("NATS_SCHEDULER_FAILPOINT", "after_announcing")];
    let mut both = (nats.spawn(&dying), nats.spawn(&dying));
    let (one, other) = (both.0.exited().await, both.1.exited().await);
    assert!(!one.success() && !other.success());
    let _instances = (nats.service().await, nats.service().await);
    let said = events(&nats, &id, 2).await;
    assert_eq!(kinds(&said), ["created", "overdue"]);
    assert_eq!(said[1]["expect_success_within_seconds"], 1);
    assert_eq!(said[1]["last_success_at"], json!(null));
    let shown = wait_for("what was announced to leave the record", || async {
        let shown = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (shown["is_overdue"] == true).then_some(shown)
    })
    .await;
    assert_eq!(shown["overdue_since"], said[1]["overdue_since"]);
    assert_eq!(names(&nats, json!({ "is_overdue": true })).await, ["expected"]);
    assert_eq!(nats.ask("status", json!({})).await["overdue"], 1);
    // Nothing is expected of it while it is paused.
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    let paused = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(paused["is_overdue"], false);
    nats.ask("schedule.resume", json!({ "schedule_id": id })).await;
    nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    let said = events(&nats, &id, 6).await;
    let last = &said[5];
    assert_eq!(kinds(&said)[2..], ["paused", "resumed", "triggered", "recovered"]);
    assert_eq!(last["recovered_from"], json!(["overdue"]));
    assert_eq!(last["overdue_since"], said[1]["overdue_since"]);
}

#[tokio::test]
async fn an_expectation_that_a_weekend_breaks_is_warned_of() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let weekdays = |within: u64| {
        json!({ "name": format!("w{within}"), "schedule_type": "cron", "cron_expression": "0 8 * * 1-5",
                "target_command": "cmd.example.a", "expect_success_within_seconds": within })
    };
    let (day, weekend) = (86_400, 3 * 86_400);
    let created = nats.request("schedule.create", &weekdays(day)).await;
    let warning = &created["warnings"][0];
    assert_eq!(warning["code"], "expected_too_soon", "{created}");
    assert_eq!(warning["field"], "expect_success_within_seconds");
    assert!(warning["message"].as_str().unwrap().contains("for 259200 s"), "{warning}");
    let enough = nats.request("schedule.create", &weekdays(weekend)).await;
    assert!(enough.get("warnings").is_none(), "{enough}");
    let id = &enough["data"]["id"];
    let less = json!({ "schedule_id": id, "expect_success_within_seconds": weekend - 1 });
    let less = nats.request("schedule.update", &less).await;
    assert_eq!(less["warnings"][0]["code"], "expected_too_soon", "{less}");
    let other = json!({ "schedule_id": id, "description": "as before" });
    let other = nats.request("schedule.update", &other).await;
    assert!(other.get("warnings").is_none(), "{other}");
    let applied = nats.request("schedule.apply", &weekdays(day + 1)).await;
    assert_eq!(applied["warnings"][0]["code"], "expected_too_soon", "{applied}");
    // The jitter makes a gap longer.
    let jitter = json!({ "schedule_id": id, "jitter_seconds": 3600, "expect_success_within_seconds": weekend });
    let jitter = nats.request("schedule.update", &jitter).await;
    assert_eq!(jitter["warnings"][0]["code"], "expected_too_soon", "{jitter}");
    // What fires once has no gap.
    let mut last = weekdays(day);
    (last["name"], last["max_runs"]) = (json!("last"), json!(1));
    let last = nats.request("schedule.create", &last).await;
    assert!(last.get("warnings").is_none(), "{last}");
    let once = json!({ "name": "once", "schedule_type": "one_time", "scheduled_at": in_ms(86_400_000),
                       "target_command": "cmd.example.a", "expect_success_within_seconds": 1 });
    let once = nats.request("schedule.create", &once).await;
    assert!(once.get("warnings").is_none(), "{once}");
}

#[tokio::test]
async fn expectations_that_make_no_sense_are_refused() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let id = nats
        .create(unanswered("n", json!({ "failing_after": 3, "expect_success_within_seconds": 60 })))
        .await;
    for (field, value) in [
        ("failing_after", json!(0)),
        ("failing_after", json!(1001)),
        ("failing_after", json!("two")),
        ("expect_success_within_seconds", json!(31_536_001)),
        ("expect_success_within_seconds", json!(-1)),
        ("expect_success_within_seconds", json!(1.5)),
    ] {
        let created =
            nats.refused("schedule.create", unanswered("m", json!({ field: value }))).await;
        let updated =
            nats.refused("schedule.update", json!({ "schedule_id": id, field: value })).await;
        for error in [&created, &updated] {
            assert_eq!(
                (&error["code"], &error["details"][0]["field"]),
                (&json!("invalid"), &json!(field)),
                "{error}"
            );
        }
    }
    let error = http.error("/api/v1/schedules?last_outcome=fine").await;
    assert_eq!(error["details"][0]["field"], "last_outcome", "{error}");
    let shown = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(
        (&shown["failing_after"], &shown["expect_success_within_seconds"]),
        (&json!(3), &json!(60))
    );
    // 0 takes the expectation back, and a declaration that leaves fields out takes their defaults.
    let none = json!({ "schedule_id": id, "expect_success_within_seconds": 0 });
    let shown = nats.ask("schedule.update", none).await;
    assert_eq!(shown["expect_success_within_seconds"], json!(null));
    let declared = unanswered("n", json!({ "dry_run": true }));
    let applied = nats.request("schedule.apply", &declared).await;
    let changed: Vec<_> = applied["difference"]["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["field"])
        .collect();
    assert_eq!(changed, ["failing_after"], "{applied}");
}

/// What a webhook was sent: the key and the body of each request. It takes what comes after the first few.
#[derive(Clone, Default)]
struct Webhook(Arc<Mutex<Vec<(String, Value)>>>);

impl Webhook {
    async fn start(&self, refused: usize) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let take = move |State(hook): State<Self>, headers: HeaderMap, body: String| async move {
            let key = headers["idempotency-key"].to_str().unwrap().to_owned();
            let mut sent = hook.0.lock().unwrap();
            sent.push((key, serde_json::from_str(&body).unwrap()));
            if sent.len() <= refused { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
        };
        let routes = axum::Router::new().route("/hook", axum::routing::post(take));
        let routes = routes.with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        url
    }

    async fn wait(&self, count: usize) -> Vec<(String, Value)> {
        wait_for(&format!("{count} requests to the webhook"), || async {
            let sent = self.0.lock().unwrap().clone();
            (sent.len() >= count).then_some(sent)
        })
        .await
    }
}

/// The forwarder, which ends with the test.
struct Forwarder(std::process::Child);

impl Forwarder {
    fn start(nats: &Nats, url: &str) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/webhook/forward.py");
        let child = Command::new(interpreter())
            .arg(program)
            .env("PYTHONPATH", packages("webhook"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "*")
            .env("NATS_URL", nats.url())
            .env("WEBHOOK_URL", url)
            .env_remove("NATS_USER")
            .env_remove("NATS_PASSWORD")
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Whether its consumer is there, so that it misses nothing from now on.
    async fn forwards(nats: &Nats) {
        wait_for("the forwarder's consumer", || async {
            let stream = nats.js.get_stream("SCHEDULER_AUDIT").await.unwrap();
            stream.consumer_info("alerts-webhook").await.ok()
        })
        .await;
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_webhook_is_told_of_each_change_of_state_in_order_whoever_dies() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let hook = Webhook::default();
    let url = hook.start(2).await;
    let mut forwarder = Forwarder::start(&nats, &url);
    Forwarder::forwards(&nats).await;
    // What others publish there is no event.
    let (stranger, odd) =
        ("evt.scheduler.schedule.failing.x", json!({ "event_id": "a\nb", "name": 1 }));
    for body in ["no JSON".to_owned(), "[]".to_owned(), odd.to_string()] {
        nats.js.publish(stranger, body.into()).await.unwrap().await.unwrap();
    }
    let id = nats.create(unanswered("nightly \"sync\"", json!({}))).await;
    // It is refused, and tried again.
    let first = hook.wait(1).await;
    forwarder.0.kill().unwrap();
    nats.echo("cmd.worker.absent").await;
    events(&nats, &id, 3).await;
    forwarder = Forwarder::start(&nats, &url);
    // The server gives the forwarder that was killed some time.
    let sent = wait_within(Duration::from_secs(60), "what the webhook took", || async {
        let sent = hook.0.lock().unwrap().clone();
        sent.iter().any(|(_, body)| body["event"]["event"] == "recovered").then_some(sent)
    })
    .await;
    let (recovered, before) = sent.split_last().unwrap();
    assert!(before.len() >= 3 && before.iter().all(|one| *one == first[0]), "{sent:#?}");
    assert_ne!(recovered.0, first[0].0);
    let said = events(&nats, &id, 3).await;
    assert_eq!((&first[0].1["event"], &recovered.1["event"]), (&said[1], &said[2]));
    assert_eq!(recovered.1["text"], "nightly \"sync\" has recovered");
    let text = first[0].1["text"].as_str().unwrap();
    assert!(text.starts_with("nightly \"sync\" is failing: 1 in a row, the last with: "), "{text}");
    drop(forwarder);
}
