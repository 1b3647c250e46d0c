//! Stored requests to run many executions again.

use reqwest::Method;
use serde_json::json;

use super::Browser;
use crate::executions::reruns::{failures, mend};
use crate::harness::{Nats, wait_for};
use crate::requests::audit::events;

const LOST: &str = r#"{"name":"LOST","subjects":["cmd.nowhere.>"],"retention":"limits","max_consumers":-1,
    "max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"storage":"memory","discard":"old",
    "num_replicas":1,"duplicate_window":1000000000}"#;

#[tokio::test]
async fn what_is_more_than_one_request_takes_is_run_again_in_the_background_until_that_is_cancelled()
 {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    browser.page("/reruns").await.has("There is no rerun.");
    let id = failures(&nats, "many", 101).await;
    // A job without a worker holds its place, so that no more than fit begin.
    nats.add_stream(LOST).await;
    let job = json!({ "delivery": { "mode": "job", "timeout_seconds": 60 } });
    mend(&nats, &id, job).await;

    let groups = browser.page("/failures").await;
    groups.has("101 × ").has("href=\"/reruns\"").has("Run again in the background …");
    let retry = "/act/bulk.retry";
    // One request shows that it would leave some out.
    let dry = browser.submit(&groups, retry, &[]).await;
    dry.has("More match than one request takes up.").has("Run all 101 again in the background");
    let dry = browser.submit(&groups, retry, &[("in_background", "true")]).await;
    dry.has("Nothing is done yet").has(">101<").lacks("Run all 101");
    assert_eq!(nats.ask("rerun.list", json!({})).await, json!([]), "nothing is stored yet");

    let stored = browser.submit(&dry, retry, &[]).await;
    let path = stored.leads_to().split('?').next().unwrap().to_owned();
    browser.page(stored.leads_to()).await.has("The request is stored.");
    let again = browser.submit(&dry, retry, &[]).await;
    assert!(again.leads_to().starts_with(&path), "a form that is sent twice stores one");
    let page = wait_for("a full record", || async {
        let page = browser.page(&path).await;
        page.text.contains("It waits:").then_some(page)
    })
    .await;
    page.has("64 of 101 run again").has("failed, with no_stream, sent to cmd.nowhere.a");
    page.has("value=\"64\"").has(">waiting<").has("by <bdi>dashboard</bdi>");
    browser
        .page("/reruns")
        .await
        .has(&format!("href=\"{path}\""))
        .has("64 of 101")
        .has(">waiting<");

    let cancel = "/act/rerun.cancel";
    let told = browser.post("/command/rerun.cancel", &page.filled(cancel, &[])).await;
    told.has("nats req cmd.scheduler.rerun.cancel").has("nats-scheduler rerun cancel");
    let forged: Vec<_> =
        page.filled(cancel, &[]).into_iter().filter(|(name, _)| name != "_form").collect();
    assert_eq!(browser.post(cancel, &forged).await.status, 403, "a form of another site");
    let cancelled = browser.submit(&page, cancel, &[]).await;
    let page = browser.page(cancelled.leads_to()).await;
    page.has("The rerun is cancelled.").has(">cancelled<").lacks(cancel);
    let told = events(&nats, path.rsplit('/').next().unwrap(), 2).await;
    let told: Vec<_> = told.iter().map(|event| (&event["event"], &event["actor"])).collect();
    let expected =
        ["rerun_requested", "rerun_cancelled"].map(|event| (json!(event), json!("dashboard")));
    assert_eq!(told, expected.each_ref().map(|(event, actor)| (event, actor)));
}

#[tokio::test]
async fn what_is_refused_is_said_with_its_reason() {
    let nats = Nats::start().await;
    let service =
        nats.service_with(&[("API_TOKENS", "writer"), ("API_READ_TOKENS", "reader")]).await;
    let gone = failures(&nats, "gone", 12).await;
    nats.ask("schedule.delete", json!({ "schedule_id": gone })).await;
    let asked = json!({ "filter": { "schedule_id": gone }, "in_background": true });
    let id = nats.ask("bulk.retry", asked).await["rerun_id"].as_str().unwrap().to_owned();
    let browser = Browser::new(&service).await;
    let sign_in = browser.page("/sign-in").await;
    browser.submit(&sign_in, "/sign-in", &[("_token", "reader")]).await.leads_to();
    let path = format!("/reruns/{id}");
    let page = wait_for("the end", || async {
        let page = browser.page(&path).await;
        page.text.contains(">done<").then_some(page)
    })
    .await;
    page.has("no schedule").has(&format!("href=\"/schedules/{gone}\"")).has("href=\"/executions/");
    page.has("The latest 10 of 12.").has("0 of 12 run again").lacks("/act/");
    let missing = format!("/reruns/{}", uuid::Uuid::nil());
    assert_eq!(browser.send(browser.ask(Method::GET, &missing)).await.status, 404);
    assert_eq!(browser.send(browser.ask(Method::GET, "/reruns/x")).await.status, 400);
}
