//! The page of the API, on which requests can be tried.

use serde_json::json;

use crate::driver::Browser;
use crate::harness::Nats;

#[tokio::test]
async fn requests_are_tried_with_the_token_that_the_api_needs() {
    let nats = Nats::start().await;
    let service = nats.service_with(&[("API_TOKENS", "writer")]).await;
    let browser = Browser::start().await;
    browser.open(&format!("{}/docs#schedule_create", crate::base(&service).await)).await;
    browser.wait_text("nats req cmd.scheduler.schedule.create").await;
    browser.wait_text("curl -X POST").await;
    // The commands say what is typed.
    let textarea = "#schedule_create textarea";
    let request = r#"{"name": "tried out", "schedule_type": "interval", "interval_seconds": 3600, "target_command": "cmd.example.it's"}"#;
    browser.fill(textarea, request).await;
    browser.wait_text("\"cmd.example.it'\\''s\"").await;
    browser.fill(textarea, r#"{"command_payload": {"n": 12345678901234567890}}"#).await;
    browser.wait_text("more digits than a browser keeps").await;
    browser.fill(textarea, &request.replace("it's", "it")).await;
    browser.click("#schedule_create form button").await;
    browser.wait_text("401 ").await;
    browser.fill("#token", "writer").await;
    browser.click("#schedule_create form button").await;
    browser.wait_text("201 ").await;
    let listed = nats.ask("schedule.list", json!({ "name_contains": "tried" })).await;
    let id = listed[0]["id"].as_str().unwrap().to_owned();

    // Fields stand in the path where the route has them there.
    browser.click("#schedule_get > summary").await;
    browser.fill("#schedule_get textarea", &format!(r#"{{"schedule_id": "{id}"}}"#)).await;
    browser.click("#schedule_get form button").await;
    browser.wait_text("200 ").await;
    browser.wait_text("\"name\": \"tried out\"").await;
    browser.fill("#find", "calendar").await;
    browser.wait_no_text("Create a schedule").await;
    // The browser itself complains of the answer 401.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|line| line.contains("401")), "{complaints:?}");
}
