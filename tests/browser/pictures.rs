//! The pictures of the documents.

use std::path::PathBuf;

use serde_json::json;

use crate::driver::Browser;
use crate::harness::{Nats, in_ms, wait_for};

/// Longest picture: they are loaded with the documents.
const MOST_BYTES: usize = 160_000;

/// Without `DASHBOARD_PICTURES` the pictures are taken all the same, and thrown away.
#[tokio::test]
async fn pictures_of_the_screens_are_small() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = crate::base(&service).await;
    let zone = "Europe/Berlin";
    for (name, cron, target) in [
        ("nightly report", "0 2 * * MON-FRI", "cmd.report.build"),
        ("invoices", "0 6 1 * *", "cmd.billing.invoice"),
        ("health of the shop", "*/5 * * * *", "cmd.example.check"),
        ("backup", "30 3 * * *", "cmd.example.backup"),
        ("newsletter", "0 9 * * MON", "cmd.example.mail"),
    ] {
        nats.ask(
            "schedule.create",
            json!({ "name": name, "schedule_type": "cron", "cron_expression": cron, "timezone": zone,
                    "target_command": target, "max_retries": 0, "tags": ["demo"], "created_by": "anna" }),
        )
        .await;
    }
    let tick = nats
        .ask(
            "schedule.create",
            json!({ "name": "hello", "schedule_type": "interval", "interval_seconds": 1,
                    "target_command": "cmd.example.hello", "command_payload": { "text": "hello" } }),
        )
        .await["id"]
        .clone();
    nats.create(json!({ "name": "lost", "schedule_type": "one_time", "scheduled_at": in_ms(500),
                        "max_retries": 0, "target_command": "cmd.nowhere.lost" }))
        .await;
    nats.wait_executions(json!({ "schedule_id": tick, "status": "success" }), 12).await;
    let tick = tick.as_str().unwrap();
    nats.ask(
        "group.put",
        json!({ "name": "warehouse", "limit": 2, "description": "Heavy queries" }),
    )
    .await;
    for name in ["sales", "stock", "returns"] {
        let body = json!({ "name": name, "schedule_type": "cron", "cron_expression": "0 2 * * *", "timezone": zone,
                           "target_command": "cmd.example.query", "group": "warehouse",
                           "delivery": { "mode": "job", "timeout_seconds": 3600 } });
        let id = nats.create(body).await;
        nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
    }
    wait_for("one to wait", || async {
        let group = nats.ask("group.get", json!({ "name": "warehouse" })).await;
        (group["running"] == 2 && group["waiting"] == 1).then_some(())
    })
    .await;
    let browser = Browser::start().await;
    let folder = std::env::var_os("DASHBOARD_PICTURES").map(PathBuf::from);
    for (name, path, width, scheme, text) in [
        ("now", "/".to_owned(), 1100, "light", "hello"),
        ("schedules-dark", "/schedules".to_owned(), 1100, "dark", "hello"),
        ("schedule", format!("/schedules/{tick}"), 1100, "light", "hello"),
        ("group", "/groups?name=warehouse".to_owned(), 1100, "light", "1 waiting"),
        ("api-dark", "/docs#schedule_restore".to_owned(), 900, "dark", "nats req"),
        ("phone", format!("/schedules/{tick}"), 390, "dark", "hello"),
    ] {
        browser.emulate(width, scheme).await;
        browser.open(&format!("{base}{path}")).await;
        browser.wait_text(text).await;
        let picture = browser.picture().await;
        assert!(picture.len() < MOST_BYTES, "{name} has {} bytes", picture.len());
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        }
    }
}
