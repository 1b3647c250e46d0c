//! Who may see and do what.

use reqwest::Method;
use serde_json::json;

use super::{Browser, screens};
use crate::harness::{Nats, far, wait_for};

async fn sign_in(browser: &Browser, token: &str) -> super::Page {
    let page = browser.page("/sign-in?next=/schedules").await;
    browser.submit(&page, "/sign-in", &[("_token", token), ("_name", "anna")]).await
}

#[tokio::test]
async fn a_token_becomes_a_cookie_that_ends_with_it() {
    let nats = Nats::start().await;
    let file = nats.dir().join("tokens");
    std::fs::write(&file, "full writer-token\nread reader-token\nworker worker-token\n").unwrap();
    let settings = [("API_TOKENS_FILE", file.to_str().unwrap())];
    let (one, other) = (nats.service_with(&settings).await, nats.service_with(&settings).await);
    let browser = Browser::new(&one).await;
    let id = nats.create(far("guarded")).await;
    for path in screens(&id, &id) {
        let page = browser.send(browser.ask(Method::GET, &path)).await;
        assert!(page.leads_to().starts_with("/sign-in?next=%2F"), "{path}");
    }
    let events = browser.send(browser.ask(Method::GET, "/events")).await;
    assert_eq!(events.status, 401);
    for (token, reason) in
        [("nobody", "not known"), ("", "not known"), ("worker-token", "only report")]
    {
        let refused = sign_in(&browser, token).await;
        assert_eq!(refused.status, 403, "{token}");
        refused.has(reason);
        assert!(browser.cookies.lock().unwrap().is_empty(), "{token}");
    }

    let signed_in = sign_in(&browser, "writer-token").await;
    assert_eq!(signed_in.leads_to(), "/schedules");
    let cookies: Vec<_> =
        signed_in.headers.get_all("set-cookie").iter().map(|one| one.to_str().unwrap()).collect();
    let session =
        cookies.iter().find(|cookie| cookie.starts_with("nats-scheduler-session=")).unwrap();
    assert!(
        session.contains("; HttpOnly; SameSite=Strict") && !session.contains("Secure"),
        "{session}"
    );
    assert!(!session.contains("writer-token"), "{session}");
    let page = browser.page(&format!("/schedules/{id}")).await;
    page.has("anna").has("guarded").has("/act/schedule.pause");
    browser.submit(&page, "/act/schedule.pause", &[]).await.leads_to();
    let paused = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!((&paused["status"], &paused["updated_by"]), (&json!("paused"), &json!("anna")));

    // Behind TLS the cookie goes over TLS alone.
    let form = vec![("_token".to_owned(), "reader-token".to_owned())];
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let proxied =
        browser.ask(Method::POST, "/sign-in").header("x-forwarded-proto", "https").body(body);
    let proxied = proxied.send().await.unwrap();
    assert!(proxied.headers()["set-cookie"].to_str().unwrap().ends_with("; Secure"));

    // Every instance accepts it, as long as the token is accepted.
    let elsewhere = Browser::new(&other).await;
    elsewhere.cookies.lock().unwrap().clone_from(&browser.cookies.lock().unwrap());
    elsewhere.page("/schedules").await.has("guarded");
    std::fs::write(&file, "read reader-token\n").unwrap();
    for browser in [&browser, &elsewhere] {
        wait_for("the end of the session", || async {
            let page = browser.send(browser.ask(Method::GET, "/")).await;
            (page.status == 303).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn who_may_only_read_sees_no_action_and_is_refused_all() {
    let nats = Nats::start().await;
    let service =
        nats.service_with(&[("API_TOKENS", "writer"), ("API_READ_TOKENS", "reader")]).await;
    let browser = Browser::new(&service).await;
    let id = nats.create(far("seen")).await;
    sign_in(&browser, "reader").await.leads_to();
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    let mut token = String::new();
    for path in screens(&id, run["execution_id"].as_str().unwrap()) {
        let page = browser.page(&path).await;
        page.lacks("/act/").lacks("/command/").has("reading only");
        if path.ends_with("/edit") {
            page.has("Your token is for reading only.").lacks(">Cancel<");
        }
        token = page.filled("/sign-out", &[])[0].1.clone();
    }
    for operation in nats_scheduler::api::operations::operations() {
        for way in ["act", "command"] {
            let fields = vec![
                ("_form".to_owned(), token.clone()),
                ("schedule_id".to_owned(), id.clone()),
                ("name".to_owned(), "made".to_owned()),
            ];
            let refused = browser.post(&format!("/{way}/{}", operation.name), &fields).await;
            assert!(
                matches!(refused.status.as_u16(), 403 | 404),
                "{way} {}: {}",
                operation.name,
                refused.text
            );
        }
    }
    let list = browser.page("/schedules?name_contains=seen").await;
    list.has("seen").lacks("name=\"filter\"").lacks("that match").lacks("name=\"schedule_ids\"");
    for path in ["/act/bulk.operation", "/command/bulk.operation"] {
        let fields =
            [("_form", &*token), ("filter", r#"{"name_contains":"seen"}"#), ("operation", "pause")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        assert_eq!(browser.post(path, &fields).await.status, 403, "{path}");
    }
    for path in ["/run", "/command/run"] {
        let fields = vec![
            ("_form".to_owned(), token.clone()),
            ("_key".to_owned(), "key".to_owned()),
            ("schedule_ids".to_owned(), id.clone()),
        ];
        assert_eq!(browser.post(path, &fields).await.status, 403, "{path}");
    }
    let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!((&schedule["status"], &schedule["revision"]), (&json!("active"), &json!(2)));
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 1);

    let page = browser.page("/").await;
    assert_eq!(browser.submit(&page, "/sign-out", &[]).await.leads_to(), "/sign-in");
    let page = browser.send(browser.ask(Method::GET, "/")).await;
    page.leads_to();
}

#[tokio::test]
async fn pages_of_other_sites_can_neither_change_nor_see() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let id = nats.create(far("kept")).await;
    let page = browser.page(&format!("/schedules/{id}")).await;
    let fields = page.filled("/act/schedule.delete", &[]);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&fields).finish();
    let post = || browser.ask(Method::POST, "/act/schedule.delete").body(body.clone());
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        let refused = browser.send(post().header(name, value)).await;
        assert_eq!(refused.status, 403, "{name}: {value}");
    }
    // The right origin without the page's own token, or with that of another visitor.
    let other = Browser::new(&service).await;
    let others = other.page(&format!("/schedules/{id}")).await.filled("/act/schedule.delete", &[]);
    let without: Vec<_> = fields.iter().filter(|(name, _)| name != "_form").cloned().collect();
    for fields in [others, without] {
        assert_eq!(browser.post("/act/schedule.delete", &fields).await.status, 403);
    }
    // A name that is not this machine's leads here all the same: so a page evades the rules of browsers.
    let request = browser.ask(Method::GET, "/").header("host", "evil.example");
    assert_eq!(browser.send(request).await.status, 403);
    assert_eq!(nats.ask("schedule.get", json!({ "schedule_id": id })).await["status"], "active");
    assert_eq!(browser.send(post().header("sec-fetch-site", "same-origin")).await.status, 303);
    assert_eq!(nats.ask("schedule.get", json!({ "schedule_id": id })).await["status"], "deleted");
    // Older browsers say only where a form comes from. They write a host in small letters, and proxies may not.
    let place = browser.base.replace("http://127.0.0.1", "localhost");
    let form = page.filled("/name", &[("_name", "anna")]);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let post = browser.ask(Method::POST, "/name").body(body).header("host", place.to_uppercase());
    let named = browser.send(post.header("origin", format!("http://{place}"))).await;
    assert_eq!(named.status, 303, "{}", named.text);
}
