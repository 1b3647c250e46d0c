//! Schedules written to files.

use serde_json::{Value, json};

use super::{cli, fed};
use crate::harness::{Nats, in_ms};

/// Schedules of all kinds, with payloads that a careless reader would change.
pub fn of_all_kinds() -> Vec<Value> {
    let create = |name: &str, fields: Value| {
        let mut request =
            json!({ "name": name, "target_command": "cmd.example.x", "created_by": "anna" });
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        request
    };
    vec![
        create(
            "cron",
            json!({ "schedule_type": "cron", "cron_expression": "H 2 * * MON-FRI", "timezone": "Europe/Berlin",
            "dst_gap": "skip", "dst_overlap": "both", "jitter_seconds": 60, "end_at": "2099-01-01T00:00:00Z", "max_runs": 9,
            "owner": "git", "tags": ["a: b", "true", "1"], "description": "two\nlines # no comment" }),
        ),
        create(
            "interval",
            json!({ "schedule_type": "interval", "interval_seconds": 3600, "priority": 9, "overlap": "allow",
            "start_at": "2026-01-01T00:00:00.5Z", "max_retries": 0, "retry": { "initial_seconds": 7, "non_retryable": ["Bad"] },
            "dead_letter": "cmd.example.dead", "pause_on_failure": 5, "failing_after": 2, "expect_success_within_seconds": 60 }),
        ),
        create(
            "once",
            json!({ "schedule_type": "one_time", "scheduled_at": in_ms(3_600_000), "payload_template": true,
            "command_payload": { "id": "${execution_id}" }, "catch_up": "none", "misfire_grace_seconds": 7 }),
        ),
        create("immediate", json!({ "schedule_type": "immediate", "retry_delay_seconds": 5 })),
        create(
            "follows",
            json!({ "schedule_type": "dependent", "after": { "schedule_name": "cron", "on": "completion" },
            "delivery": { "mode": "job", "timeout_seconds": 60, "heartbeat_seconds": 9 } }),
        ),
        create(
            "yes: [no] # ~",
            json!({ "schedule_type": "cron", "cron_expression": "@daily", "created_by": "bob's" }),
        ),
        create(
            "東京 \u{202e}abc",
            json!({ "schedule_type": "cron", "cron_expression": "@hourly", "owner": "其他" }),
        ),
    ]
}

/// Files say what is off, and a pause is no part of them.
#[tokio::test]
async fn what_is_off_is_exported_and_what_is_paused_is_said() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let create = |name: &'static str, more: &'static [&'static str]| {
        let create = ["create", name, "--cron", "@yearly", "-t", "cmd.example.x"];
        cli(&nats, &[&create[..], more].concat())
    };
    create("off", &["--set", "is_active=false"]).await.done();
    create("on", &[]).await.done();
    for n in ["p1", "p2", "p3", "p4", "p5", "p6"] {
        create(n, &[]).await.done();
        cli(&nats, &["pause", n]).await.done();
    }
    let exported = cli(&nats, &["export", "off", "on"]).await;
    assert_eq!((exported.code, exported.err.as_str()), (0, ""));
    assert_eq!(exported.out.matches("is_active: false\n").count(), 1, "{}", exported.out);
    assert!(!exported.out.contains("is_active: true"), "{}", exported.out);
    cli(&nats, &["rm", "off", "--hard", "--yes"]).await.done();
    let apply = ["apply", "-f", "-", "--yes"];
    let applied = fed(&nats, exported.out.clone(), &apply).await.done();
    assert_eq!(applied, "1 created, 0 updated, 0 deleted, 1 unchanged\n");
    assert_eq!(cli(&nats, &["ls", "--off", "-o", "name"]).await.done(), "off\n");
    let on = exported.out.replace("is_active: false", "is_active: true");
    let plan = fed(&nats, on, &["plan", "-f", "-"]).await.done();
    assert!(plan.starts_with("~ off of anna\n    is_active: false -> true\n"), "{plan}");
    let all = cli(&nats, &["export"]).await;
    assert_eq!(
        all.err,
        "6 are paused, which the files do not record: p1, p2, p3, p4, p5 and 1 more\n"
    );
    let plan = fed(&nats, all.out, &["plan", "-f", "-"]).await.done();
    assert!(plan.ends_with(", 8 unchanged.\n"), "{plan}");
}

/// A payload whose digits and keys are in an order of their own.
const PAYLOAD: &str = r#"{"z":1.10,"a":123456789012345678901234567890,"e":1E400,"y":"on","n":"\u0000\u202e\"","deep":{"b":[1.0,[]]},"<<":{"a":1}}"#;

#[tokio::test]
async fn what_is_exported_is_what_there_is() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for request in of_all_kinds() {
        nats.create(request).await;
    }
    cli(&nats, &["create", "digits", "--cron", "@yearly", "-t", "cmd.example.x", "-p", PAYLOAD])
        .await
        .done();
    let yaml = cli(&nats, &["export"]).await.done();
    assert_eq!(yaml.matches("---\n").count(), 7);
    let digits = r#"command_payload: {"z": 1.10, "a": 123456789012345678901234567890, "e": 1E400, "y": "on","#;
    assert!(yaml.contains(digits), "{yaml}");
    assert!(
        yaml.contains("after:\n  schedule_name: cron\n  creator: anna\n  \"on\": completion\n"),
        "{yaml}"
    );
    let json = cli(&nats, &["export", "-o", "json"]).await.done();
    let lines: Vec<Value> = serde_json::from_str(&json.replace("1E400", "1")).unwrap();
    assert_eq!(lines.len(), 8);
    for (exported, what) in [(yaml.clone(), "YAML"), (json, "JSON")] {
        let plan = fed(&nats, exported, &["plan", "-f", "-", "--detailed-exitcode"]).await;
        assert_eq!(
            plan.out, "Plan: 0 to create, 0 to update, 0 to delete, 8 unchanged.\n",
            "{what}: {}",
            plan.err
        );
        assert_eq!(plan.code, 0);
    }
    // Somewhere else the same files make the same schedules.
    let other = Nats::start().await;
    let _other = other.service().await;
    let applied = fed(&other, yaml.clone(), &["apply", "-f", "-", "--yes"]).await.done();
    assert_eq!(applied, "8 created, 0 updated, 0 deleted, 0 unchanged\n");
    assert_eq!(cli(&other, &["export"]).await.done(), yaml);
    let payload = cli(&other, &["get", "digits", "-o", "json"]).await.done();
    assert!(payload.contains("\"e\": 1E400,\n    \"y\": \"on\""), "{payload}");
}

#[tokio::test]
async fn a_payload_that_yaml_cannot_say_is_left_out_alone() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let create = |name: &'static str, payload: &'static str| {
        cli(&nats, &["create", name, "--cron", "@yearly", "-t", "cmd.example.x", "-p", payload])
    };
    create("fine", r#"{"a":1}"#).await.done();
    create("twice", r#"{"deep":[{"a":1,"a":2}]}"#).await.done();
    let yaml = cli(&nats, &["export"]).await;
    assert_eq!(yaml.code, 1, "{yaml:?}");
    let said = "error: twice of anna: left out: it has the key \"a\" twice in one object";
    assert!(yaml.err.starts_with(said), "{yaml:?}");
    let plan = fed(&nats, yaml.out, &["plan", "-f", "-"]).await.done();
    assert_eq!(plan, "Plan: 0 to create, 0 to update, 0 to delete, 1 unchanged.\n");
    let json = cli(&nats, &["export", "-o", "json"]).await.done();
    let plan = fed(&nats, json, &["plan", "-f", "-"]).await.done();
    assert_eq!(plan, "Plan: 0 to create, 0 to update, 0 to delete, 2 unchanged.\n");
    let edited = cli(&nats, &["edit", "twice", "--yes"]).await;
    assert_eq!(edited.code, 2, "no editor can help: {edited:?}");
    assert!(edited.err.contains("the key \"a\" twice"), "{edited:?}");
}
