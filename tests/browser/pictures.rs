//! The pictures of the documents.

use std::path::PathBuf;

use serde_json::json;

use crate::driver::Browser;
use crate::harness::{Nats, in_ms};

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
    let browser = Browser::start().await;
    let folder = std::env::var_os("DASHBOARD_PICTURES").map(PathBuf::from);
    for (name, path, width, scheme) in [
        ("now", "/".to_owned(), 1100, "light"),
        ("schedules-dark", "/schedules".to_owned(), 1100, "dark"),
        ("schedule", format!("/schedules/{tick}"), 1100, "light"),
        ("phone", format!("/schedules/{tick}"), 390, "dark"),
    ] {
        browser.emulate(width, scheme).await;
        browser.open(&format!("{base}{path}")).await;
        browser.wait_text("hello").await;
        let picture = browser.picture().await;
        assert!(picture.len() < MOST_BYTES, "{name} has {} bytes", picture.len());
        if let Some(folder) = &folder {
            std::fs::write(folder.join(format!("{name}.png")), picture).unwrap();
        }
    }
}
