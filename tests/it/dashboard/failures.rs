//! What failed in a row, or of a kind, is found and run again, also once its schedule was mended.

use serde_json::json;

use super::Browser;
use crate::executions::reruns::{failures, mend};
use crate::harness::{Nats, in_ms};

/// The part of a page behind a text.
fn behind<'a>(page: &'a str, text: &str) -> &'a str {
    page.split_once(text).unwrap_or_else(|| panic!("no {text:?} in {page}")).1
}

/// What a link leads to that shows this text.
fn link(page: &str, text: &str) -> String {
    let (before, _) =
        page.split_once(&format!("\">{text}</a>")).unwrap_or_else(|| panic!("no {text} in {page}"));
    before.rsplit_once("href=\"").unwrap().1.replace("&amp;", "&")
}

#[tokio::test]
async fn many_that_failed_in_a_row_are_one_line_with_what_mends_all_of_them() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let id = nats
        .create(json!({ "name": "broken", "schedule_type": "interval", "interval_seconds": 1, "max_runs": 5,
                        "max_retries": 0, "start_at": in_ms(1_000), "target_command": "cmd.nowhere.a" }))
        .await;
    let ended = json!({ "schedule_id": id, "status": "failed" });
    nats.wait_executions(ended, 5).await;
    // A run by hand that fails likewise is none of them.
    nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    mend(&nats, &id, json!({})).await;
    let why = browser.page(&format!("/schedules/{id}/why")).await;
    why.has(" (5)").has("Run these again …");
    let listed = browser.page(&link(&why.text, "executions")).await;
    listed.has("5 in all");
    let dry = browser.submit(&why, "/act/bulk.retry", &[]).await;
    dry.has("Nothing is done yet").has("<dt>Matched</dt><dd>5</dd>").has("cmd.example.a");
    assert_eq!(nats.count("COMMANDS").await, 0);
    let told = browser.post("/command/bulk.retry", &dry.filled("/act/bulk.retry", &[])).await;
    told.has("nats req cmd.scheduler.bulk.retry")
        .has("nats-scheduler retry --failed")
        .has("--scheduled-from");
    browser.submit(&dry, "/act/bulk.retry", &[]).await.has("Run again: done");
    nats.wait_count("COMMANDS", 5).await;
}

#[tokio::test]
async fn failures_of_a_kind_are_run_again_by_what_was_sent_and_not_by_what_is_sent_now() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let mended = failures(&nats, "mended", 3).await;
    mend(&nats, &mended, json!({})).await;
    // It failed elsewhere, and goes where the others failed by now.
    let other = nats
        .create(
            json!({ "name": "other", "schedule_type": "one_time", "scheduled_at": in_ms(600_000),
                        "max_retries": 0, "target_command": "cmd.nowhere.b" }),
        )
        .await;
    nats.ask("schedule.trigger", json!({ "schedule_id": other, "wait_ms": 5000 })).await;
    nats.ask("schedule.update", json!({ "schedule_id": other, "target_command": "cmd.nowhere.a" }))
        .await;
    // One that never had a schedule counts among its kind.
    let single = json!({ "target_command": "cmd.nowhere.a", "max_retries": 0, "wait_ms": 5000 });
    nats.ask("execute.immediate", single).await;

    let groups = browser.page("/failures").await;
    groups.has("4 × ").has("1 × ");
    browser.page(&link(&groups.text, "all of this kind")).await.has("4 in all");
    let dry = browser.submit(&groups, "/act/bulk.retry", &[]).await;
    dry.has("<dt>Matched</dt><dd>4</dd>").has("Where they go");
    assert!(
        behind(&dry.text, "<bdi>cmd.example.a</bdi></code>").starts_with(": 3"),
        "{}",
        dry.text
    );
    assert!(
        behind(&dry.text, "<bdi>cmd.nowhere.a</bdi></code>").starts_with(": 1"),
        "{}",
        dry.text
    );
    browser
        .submit(&dry, "/act/bulk.retry", &[])
        .await
        .has("<dt>Run again, or would be</dt><dd>4</dd>");
    nats.wait_count("COMMANDS", 3).await;

    let sent = |command: &str| json!({ "status": "failed", "command_sent": command });
    let total = async |command: &str| {
        nats.request("execution.list", &sent(command)).await["pagination"]["total"].clone()
    };
    assert_eq!((total("cmd.nowhere.b").await, total("cmd.nowhere").await), (json!(1), json!(0)));
}
