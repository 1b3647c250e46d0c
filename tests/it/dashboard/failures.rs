//! What failed in a row, or of a kind, is found and run again, also once its schedule was mended.

use async_nats::HeaderMap;
use nats_scheduler::names::{ERROR_TYPE, EXECUTION_ID, MESSAGE_ID};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Browser;
use crate::executions::reruns::{failures, mend};
use crate::harness::{Nats, in_ms, wait_for};

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

/// Stores a copy of a failure as another execution: with an empty error type, or with none, like former versions.
async fn store_without_a_type(nats: &Nats, error_type: Option<&str>) {
    let stored = nats.messages("SCHEDULER_EXECUTIONS").await;
    let failed = stored.iter().find(|message| message.subject.contains(".failed.")).unwrap();
    let id = Uuid::new_v4().to_string();
    let mut body: Value = serde_json::from_slice(&failed.payload).unwrap();
    (body["id"], body["event_id"]) = (json!(id), json!(id));
    body.as_object_mut().unwrap().remove("error_type");
    let mut headers = HeaderMap::new();
    for (name, values) in failed.headers.iter() {
        if !name.to_string().eq_ignore_ascii_case(ERROR_TYPE) {
            headers.insert(name.clone(), values[0].clone());
        }
    }
    headers.insert(EXECUTION_ID, id.as_str());
    headers.insert(MESSAGE_ID, id.as_str());
    if let Some(error_type) = error_type {
        body["error_type"] = json!(error_type);
        headers.insert(ERROR_TYPE, error_type);
    }
    let (subject, body) = (failed.subject.to_string(), body.to_string());
    nats.js.publish_with_headers(subject, headers, body.into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn failures_without_an_error_type_are_run_again_and_no_others() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let id = failures(&nats, "mended", 1).await;
    for error_type in [None, Some("")] {
        store_without_a_type(&nats, error_type).await;
    }
    let untyped = json!({ "status": "failed", "error_type": "" });
    let listed = nats.wait_executions(untyped.clone(), 2).await;
    assert!(listed.iter().all(|one| one["error_type"].as_str().is_none_or(str::is_empty)));
    mend(&nats, &id, json!({})).await;

    let groups = browser.page("/failures").await;
    groups.has("2 × without an error type").has("1 × ");
    let all = browser.page(&link(&groups.text, "all of this kind")).await;
    all.has("2 in all").has("checked");
    let dry = browser.submit(&groups, "/act/bulk.retry", &[]).await;
    dry.has("<dt>Matched</dt><dd>2</dd>").has("cmd.example.a");
    let told = browser.post("/command/bulk.retry", &dry.filled("/act/bulk.retry", &[])).await;
    told.has("--error-type ''");
    browser.submit(&dry, "/act/bulk.retry", &[]).await.has("Run again: done");
    nats.wait_count("COMMANDS", 2).await;

    let request = json!({ "filter": untyped, "in_background": true });
    let rerun = nats.ask("bulk.retry", request).await["rerun_id"].clone();
    let done = wait_for("the end of the rerun", || async {
        let rerun = nats.ask("rerun.get", json!({ "rerun_id": rerun })).await;
        (rerun["status"] == "done").then_some(rerun)
    })
    .await;
    assert_eq!((&done["matched"], &done["retried"]), (&json!(2), &json!(2)), "{done}");
    browser.page("/reruns").await.has("failed, without an error type");
    nats.wait_count("COMMANDS", 4).await;
}
