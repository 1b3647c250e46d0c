//! Logs: one JSON object per line, with what is needed to find more, and without secrets.

use serde_json::{Value, json};

use crate::harness::{Nats, Service, wait_for};
use crate::proxy::Proxy;

#[tokio::test]
async fn lines_are_objects_with_ids_and_without_payloads() {
    let nats = Nats::start().await;
    let secret = "a-secret-of-the-payload";
    let settings = [("LOG_FORMAT", "json"), ("LOG_LEVEL", "nats_scheduler=trace,info")];
    let service = nats.service_with(&settings).await;
    let mut ids = Vec::new();
    for target in ["cmd.example.logged", "cmd.nobody.there"] {
        let body = json!({ "name": target, "schedule_type": "immediate", "target_command": target,
                           "command_payload": { "key": secret }, "max_retries": 0 });
        ids.push(nats.create(body).await);
    }
    let failed = nats.wait_executions(json!({ "schedule_id": ids[1] }), 1).await[0].clone();
    nats.wait_executions(json!({ "schedule_id": ids[0], "status": "success" }), 1).await;
    // A request that is refused says why, and not what it was.
    nats.refused("schedule.create", json!({ "name": secret, "command_payload": 1 })).await;
    let log = wait_for("the failure in the log", || async {
        let log = service.log();
        log.contains("execution failed").then_some(log)
    })
    .await;
    assert!(!log.contains(secret), "a payload is in the log");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    for line in &lines {
        for field in ["timestamp", "level", "target", "message"] {
            assert!(line[field].is_string(), "no {field}: {line}");
        }
    }
    let of = |message: &str| {
        let found: Vec<_> = lines.iter().filter(|line| line["message"] == message).collect();
        assert!(!found.is_empty(), "{message}");
        found
    };
    let failures = of("execution failed");
    assert_eq!(failures.len(), 1, "one line: {failures:?}");
    let line = failures[0];
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["execution_id"], failed["id"]);
    assert_eq!(line["schedule_id"], ids[1]);
    assert_eq!(line["correlation_id"], failed["correlation_id"]);
    assert_eq!(of("schedule created").len(), 2);
    assert!(of("execution succeeded")[0]["correlation_id"].is_string());
}

#[tokio::test]
async fn a_server_that_hangs_up_while_it_restarts_is_no_error() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.server.port()).await;
    let service = Service::spawn(&proxy.url(), nats.dir(), &[]);
    service.ready().await;
    // It takes connections and ends them at once.
    proxy.cut();
    service.wait_log("client error").await;
    proxy.restore();
    let connected = || service.log().matches("connected to NATS connection").count();
    wait_for("the connections to be back", || async { (connected() >= 4).then_some(()) }).await;
    let log = service.log();
    let errors: Vec<_> = log.lines().filter(|line| line.contains(" ERROR ")).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
