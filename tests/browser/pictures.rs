//! The pictures of the documents.

use std::path::PathBuf;

use serde_json::json;

use crate::driver::Browser;
use crate::harness::{Nats, in_ms, wait_for};

/// Longest picture: they are loaded with the documents.
const MOST_BYTES: usize = 60_000;
/// All of them: they stay in the history for ever.
const MOST_BYTES_OF_ALL: usize = 2_000_000;

/// Without `DASHBOARD_PICTURES` the pictures are taken all the same, and thrown away.
#[tokio::test]
async fn every_screen_has_small_pictures_in_light_and_dark_and_on_a_phone() {
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
    let paced = nats
        .create(json!({ "name": "import", "schedule_type": "interval", "interval_seconds": 1, "max_runs": 8,
                        "max_retries": 0, "target_command": "cmd.nowhere.import" }))
        .await;
    nats.wait_executions(json!({ "schedule_id": paced, "status": "failed" }), 8).await;
    let failed = nats.wait_executions(json!({ "status": "failed" }), 9).await;
    let failed = failed[0]["id"].as_str().unwrap();
    nats.ask("calendar.put", json!({ "name": "holidays", "days": ["2026-12-25", "2027-01-01"] }))
        .await;
    let again = json!({ "filter": { "schedule_id": paced }, "in_background": true });
    nats.ask("bulk.retry", again).await;
    let token = nats.service_with(&[("API_TOKENS", "writer")]).await;
    let pictures = [
        ("now", "/".to_owned(), "hello"),
        ("schedules", "/schedules".to_owned(), "hello"),
        ("schedule", format!("/schedules/{tick}"), "hello"),
        ("edit", format!("/schedules/{tick}/edit"), "hello"),
        ("why", format!("/schedules/{paced}/why"), "no_stream"),
        ("executions", "/executions".to_owned(), "hello"),
        ("execution", format!("/executions/{failed}"), "no_stream"),
        ("failures", "/failures".to_owned(), "no_stream"),
        ("reruns", "/reruns".to_owned(), "failed"),
        ("upcoming", "/upcoming".to_owned(), "in the busiest minute"),
        ("calendars", "/calendars".to_owned(), "holidays"),
        ("group", "/groups?name=warehouse".to_owned(), "1 waiting"),
        ("changes", "/changes".to_owned(), "created"),
        ("system", "/system".to_owned(), "SCHEDULER_AUDIT"),
        ("api", "/docs#schedule_restore".to_owned(), "nats req"),
    ];
    let signed = crate::base(&token).await;
    let browser = Browser::start().await;
    let folder = std::env::var_os("DASHBOARD_PICTURES").map(PathBuf::from);
    let mut all = 0;
    for (kind, width, scheme) in
        [("light", 1000, "light"), ("dark", 1000, "dark"), ("phone", 390, "light")]
    {
        browser.emulate(width, scheme).await;
        let screens =
            pictures.iter().map(|(name, path, text)| (*name, format!("{base}{path}"), *text));
        let sign_in = ("sign-in", format!("{signed}/sign-in"), "The tokens are those of the API");
        for (name, address, text) in screens.chain([sign_in]) {
            browser.open(&address).await;
            browser.wait_text(text).await;
            let picture = browser.picture().await;
            assert!(picture.len() < MOST_BYTES, "{name} {kind} has {} bytes", picture.len());
            all += picture.len();
            if let Some(folder) = &folder {
                std::fs::write(folder.join(format!("{name}-{kind}.webp")), picture).unwrap();
            }
        }
    }
    assert!(all < MOST_BYTES_OF_ALL, "{all} bytes in all");
}
