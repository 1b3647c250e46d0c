//! The page that shows the API.

use reqwest::Method;
use serde_json::Value;

use super::Browser;
use crate::harness::Nats;

#[tokio::test]
async fn the_page_of_the_api_runs_nothing_inline_and_leads_to_the_dashboard_and_back() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    browser.page("/").await.has("href=\"/docs\"");
    let page = browser.page("/docs").await;
    page.has("href=\"/schedules\"").has("<html lang=\"en\">").lacks("<style").lacks(" style=");
    page.lacks("=\"http").lacks("{dashboard}");
    assert_eq!(page.text.matches("<script").count(), 1);
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for (file, kind) in [("style.css", "text/css"), ("docs.js", "text/javascript")] {
        page.has(&format!("\"/docs/{file}\""));
        let served = browser.page(&format!("/docs/{file}")).await;
        assert!(served.headers["content-type"].to_str().unwrap().starts_with(kind), "{file}");
        assert_eq!(served.headers["x-content-type-options"], "nosniff");
    }
    let other = browser.send(browser.ask(Method::GET, "/docs/other.js")).await;
    assert_eq!(other.status, 404);

    let without = nats.service_with(&[("DASHBOARD", "off")]).await;
    Browser::new(&without).await.page("/docs").await.lacks("href=\"/schedules\"").has("API");
}

/// An example may ask for something that is not there, but it is never malformed.
#[tokio::test]
async fn every_example_of_the_api_is_understood() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let document: Value = serde_json::from_str(&browser.page("/openapi.json").await.text).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let mut sent = 0;
    for operation in paths.flat_map(|methods| methods.as_object().unwrap().values()) {
        let Some(name) = operation["x-operation"].as_str() else { continue };
        let reply = nats.request(name, &operation["x-example"]).await;
        let code = reply["error"]["code"].as_str().unwrap_or_default();
        let fine = ["", "not_found", "not_allowed", "conflict", "already_exists"];
        assert!(fine.contains(&code), "{name}: {reply}");
        sent += 1;
    }
    assert!(sent > 40, "{sent}");
}
