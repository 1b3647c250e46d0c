//! Many schedules of all kinds, exported and planned.

use serde_json::{Value, json};

use super::{cli, file};
use crate::harness::{Nats, far, wait_for};

const COUNT: usize = 10_000;
/// How many kinds of them there are.
const KINDS: usize = 10;
/// Payloads whose digits, keys and characters a careless reader would change.
const PAYLOADS: [&str; 6] = [
    r#"{"z":1.10,"a":123456789012345678901234567890,"deep":{"b":[1.0,[],{}]}}"#,
    r#"{"e":1E400,"f":-0,"g":0.1000000000000000055511151231257827,"":null}"#,
    r#"{"y":"on","n":"\u0000\u202e\"","yes":"no","d":"2026-11-28","t":"12:30:45","h":"0x1F"}"#,
    r#"{"text":"two\nlines # no comment: really","tab":"\t","end":" "}"#,
    r#"{"東京":"größer","emoji":"👩‍🚀","- ":"- ","null":"null","~":"~"}"#,
    "{}",
];

/// What else a schedule of each kind may say.
fn fields(n: usize) -> Value {
    match n % KINDS {
        0 => {
            json!({ "schedule_type": "cron", "cron_expression": "H 2 * * MON-FRI", "timezone": "Europe/Berlin",
            "dst_gap": "skip", "dst_overlap": "both", "jitter_seconds": 60, "exclude": ["holidays"] })
        }
        1 => {
            json!({ "schedule_type": "cron", "cron_expression": "0 0 3 L * ?", "end_at": "2099-01-01T00:00:00.5Z",
            "max_runs": 9, "only": ["holidays"], "catch_up": "all", "overlap": "cancel_other" })
        }
        2 => {
            json!({ "schedule_type": "interval", "interval_seconds": 86_400 + n, "start_at": "2026-01-01T00:00:00.25Z",
            "overlap": "allow", "max_retries": 0, "retry": { "initial_seconds": 7, "non_retryable": ["Bad", "true"] } })
        }
        3 => {
            json!({ "schedule_type": "interval", "interval_seconds": 604_800, "pause_on_failure": 5, "failing_after": 2,
            "expect_success_within_seconds": 60, "delivery": { "mode": "core" }, "max_retries": 0 })
        }
        4 => {
            json!({ "schedule_type": "one_time", "scheduled_at": far("x")["scheduled_at"], "catch_up": "none",
            "misfire_grace_seconds": 7, "delivery": { "mode": "request", "timeout_seconds": 7 } })
        }
        5 => {
            json!({ "schedule_type": "dependent", "after": { "schedule_name": "first", "on": "completion" },
            "delivery": { "mode": "job", "timeout_seconds": 60, "heartbeat_seconds": 9 } })
        }
        6 => {
            json!({ "schedule_type": "cron", "cron_expression": "@yearly", "dead_letter": "cmd.example.dead",
            "retry_delay_seconds": 5, "priority": 1 + n % 10, "description": "two\nlines: # no comment" })
        }
        7 => {
            json!({ "schedule_type": "immediate", "delivery": { "mode": "core" }, "max_retries": 0, "tags": ["ran"] })
        }
        8 => {
            json!({ "schedule_type": "interval", "interval_seconds": 86_400, "is_active": false, "group": "database",
            "delivery": { "mode": "job", "timeout_seconds": 60 }, "payload_template": true })
        }
        _ => {
            json!({ "schedule_type": "cron", "cron_expression": "*/5 5 1 1 *", "timezone": "Asia/Kolkata",
            "owner": format!("git:{}", n % 3), "tags": ["a: b", "yes", "1.0", "- x", format!("t{n}")] })
        }
    }
}

/// One request to create many, whose payloads are exactly those.
fn requests(range: std::ops::Range<usize>) -> String {
    let items = range.map(|n| {
        let creator = ["anna", "bob's", "其他"][n % 3];
        let mut item = json!({ "name": format!("{n}: 'n' #{n}"), "target_command": "cmd.example.x",
            "created_by": creator });
        item.as_object_mut().unwrap().extend(fields(n).as_object().unwrap().clone());
        if n % KINDS == 5 {
            item["after"]["creator"] = "anna".into();
        }
        let text = item.to_string();
        format!(
            "{},\"command_payload\":{}}}",
            &text[..text.len() - 1],
            PAYLOADS[n % PAYLOADS.len()]
        )
    });
    format!("{{\"schedules\":[{}]}}", items.collect::<Vec<_>>().join(","))
}

/// Creates them, a hundred at a time.
async fn create_all(nats: &Nats) {
    let first = json!({ "name": "first", "schedule_type": "cron", "cron_expression": "@yearly",
        "target_command": "cmd.example.x", "created_by": "anna" });
    nats.create(first).await;
    for from in (1..COUNT).step_by(100) {
        let body = requests(from..(from + 100).min(COUNT));
        let reply = nats.client.request("cmd.scheduler.bulk.create", body.into()).await.unwrap();
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
        let results = reply["data"]["results"].as_array().unwrap();
        let refused: Vec<_> = results.iter().filter(|it| it.get("error").is_some()).collect();
        assert!(refused.is_empty() && !results.is_empty(), "{refused:?}");
    }
}

#[tokio::test]
async fn ten_thousand_exported_schedules_are_planned_as_they_are() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_SCHEDULES_PER_CREATOR", "20000")]).await;
    cli(&nats, &["calendar", "put", "holidays", "--day", "2099-12-25"]).await.done();
    cli(&nats, &["group", "put", "database", "--limit", "1"]).await.done();
    create_all(&nats).await;
    // What has run, what is off and what is paused are declared as they were.
    let ended = json!({ "tags": ["ran"], "status": "completed" });
    wait_for("the end of what runs at once", || async {
        let ended = nats.request("schedule.list", &ended).await;
        (ended["pagination"]["total"] == COUNT / KINDS).then_some(())
    })
    .await;
    cli(&nats, &["pause", "--tag", "1.0", "--yes"]).await.done();
    let exported = cli(&nats, &["export"]).await;
    assert!(exported.err.starts_with("1000 are paused, "), "{}", exported.err);
    let exported = exported.done();
    assert_eq!(exported.matches("\nis_active: false\n").count(), COUNT / KINDS);
    assert_eq!(exported.matches("\n---\n").count(), COUNT - 1);
    let path = file(&nats, "all.yaml", &exported);
    let plan = cli(&nats, &["plan", "-f", &path, "--detailed-exitcode"]).await;
    let unchanged = format!("Plan: 0 to create, 0 to update, 0 to delete, {COUNT} unchanged.\n");
    assert_eq!(
        (plan.code, &plan.out[..plan.out.len().min(2000)]),
        (0, unchanged.as_str()),
        "{}",
        plan.err
    );
    for payload in PAYLOADS.iter().take(2) {
        let digits = payload.trim_start_matches('{').split(',').next().unwrap().replace(':', ": ");
        assert!(exported.contains(&digits), "{digits}");
    }
    // More than the service lists at once.
    let next = ["next", "--all", "--to", "in 2h", "-n", "5000", "-o", "json"];
    let next = cli(&nats, &next).await.json();
    let number = |it: &Value| {
        it["schedule_name"].as_str().unwrap().split(':').next().unwrap().parse::<usize>().ok()
    };
    let once =
        next.as_array().unwrap().iter().filter_map(number).filter(|n| n % KINDS == 4).count();
    assert_eq!(once, COUNT / KINDS, "each once");
}
