//! Forms that are refused, come too late or are sent twice: what was entered is kept, and why is said where it belongs.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Browser, Page};
use crate::harness::{Nats, far};

const CREATE: &str = "/act/schedule.create";
const UPDATE: &str = "/act/schedule.update";

/// The text of a control's fault.
fn fault<'a>(page: &'a Page, name: &str) -> &'a str {
    let begin = format!("<p class=\"fault\" id=\"fault-{name}\">");
    let (_, rest) = page.text.split_once(&begin).unwrap_or_else(|| panic!("{name}: {}", page.text));
    rest.split('<').next().unwrap()
}

#[tokio::test]
async fn a_form_that_is_refused_says_why_beside_its_fields() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let form = browser.page("/schedules/new").await;
    form.lacks("aria-invalid").lacks("<details open");
    let entered = [
        ("name", "faulty"),
        ("schedule_type", "cron"),
        ("cron_expression", "61 * * * *"),
        ("target_command", "cmd.a"),
        ("tags", "kept"),
        ("command_payload", "{"),
        ("max_retries", "11"),
    ];
    let page = browser.submit(&form, CREATE, &entered[..6]).await;
    assert!(fault(&page, "command_payload").contains("must be JSON"));
    page.has("a field is").lacks("<code>command_payload").has("value=\"kept\"");
    let page = browser.submit(&form, CREATE, &[&entered[..5], &entered[6..]].concat()).await;
    assert!(fault(&page, "max_retries").contains("10"));
    assert!(!fault(&page, "cron_expression").is_empty());
    page.has("2 fields are").has("aria-describedby=\"fault-cron_expression\"");
    // Each reason stands once, and what it is about is seen.
    assert_eq!(page.text.matches(fault(&page, "max_retries")).count(), 1, "{}", page.text);
    page.has("<details open><summary>Delivery and failures</summary>");
    assert_eq!(page.text.matches("<details open").count(), 1);

    let dependent = [("name", "n"), ("target_command", "cmd.a"), ("schedule_type", "dependent")];
    let page = browser.submit(&form, CREATE, &dependent).await;
    page.has("<details open><summary>After another schedule</summary>");
    let groups = browser.page("/groups").await;
    let page = browser.submit(&groups, "/act/group.put", &[("name", "g"), ("limit", "x")]).await;
    assert!(!fault(&page, "limit").is_empty());
}

#[tokio::test]
async fn after_a_conflict_what_was_entered_can_be_saved() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let mut body = far("contested");
    body["tags"] = json!(["a", "b"]);
    body["command_payload"] = json!({ "kept": 1 });
    let id = nats.create(body).await;
    let edit = browser.page(&format!("/schedules/{id}/edit")).await;
    let dry = browser.submit(&edit, UPDATE, &[("description", "mine"), ("tags", "a, c")]).await;
    dry.has("Nothing is done yet");
    let change = async |priority: u8| {
        let change = json!({ "schedule_id": id, "priority": priority });
        nats.ask("schedule.update", change).await["revision"].to_string()
    };

    // Once what changes has been shown, and once more of the whole form.
    let revision = change(7).await;
    let refused = browser.submit(&dry, UPDATE, &[]).await;
    assert_eq!(refused.status, 409);
    refused.has(&format!("now meant for revision {revision}")).has(">mine</textarea>");
    refused.has("value=\"a, c\"").has("value=\"7\"").has("&quot;kept&quot;: 1");
    let revision = change(8).await;
    let refused = browser.submit(&refused, UPDATE, &[]).await;
    refused.has(&format!("now meant for revision {revision}"));
    let dry = browser.submit(&refused, UPDATE, &[]).await;
    dry.has("Nothing is done yet").has(">mine<").has(">priority<").lacks("command_payload");
    browser.submit(&dry, UPDATE, &[]).await.leads_to();
    let saved = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(
        (&saved["description"], &saved["tags"], &saved["command_payload"]),
        (&json!("mine"), &json!(["a", "c"]), &json!({ "kept": 1 }))
    );

    for (operation, path, more) in [
        ("calendar.put", "/calendars?name=x", json!({ "days": ["2026-12-25"] })),
        ("group.put", "/groups?name=x", json!({ "limit": 1 })),
    ] {
        let mut body = more;
        body["name"] = "x".into();
        nats.ask(operation, body.clone()).await;
        let action = format!("/act/{operation}");
        let page = browser.page(path).await;
        body["description"] = "theirs".into();
        nats.ask(operation, body).await;
        let refused = browser.submit(&page, &action, &[("description", "mine")]).await;
        refused.has("now meant for revision 2").has(">mine</textarea>");
        browser.submit(&refused, &action, &[]).await.leads_to();
        browser.page(path).await.has("mine").has("revision 3");
    }
}

#[tokio::test]
async fn a_form_that_is_sent_after_the_session_is_said_to_be_lost() {
    let nats = Nats::start().await;
    let service = nats.service_with(&[("API_TOKENS", "writer")]).await;
    let browser = Browser::new(&service).await;
    let id = nats.create(far("guarded")).await;
    let signs_in = async |page: &Page| {
        browser.submit(page, "/sign-in", &[("_token", "writer")]).await.leads_to().to_owned()
    };
    let path = format!("/schedules/{id}");
    let at_first = browser.page("/sign-in").await;
    at_first.lacks("not done");
    signs_in(&at_first).await;
    let page = browser.page(&path).await;
    browser.cookies.lock().unwrap().clear();
    for action in ["/act/schedule.pause", "/name", "/act/schedule.trigger"] {
        let led = browser.submit(&page, action, &[]).await;
        let asked = browser.page(led.leads_to()).await;
        asked.has("what you sent was not done");
        assert_eq!(signs_in(&asked).await, path, "{action}");
        browser.cookies.lock().unwrap().clear();
    }
    assert_eq!(browser.submit(&page, "/sign-out", &[]).await.leads_to(), "/sign-in");
    let status = nats.ask("schedule.get", json!({ "schedule_id": id })).await["status"].take();
    assert_eq!(status, "active");

    // The addresses of forms, which a browser may be asked to load again, are pages too.
    signs_in(&at_first).await;
    for address in [
        "/act/schedule.pause",
        "/command/schedule.pause",
        "/run",
        "/command/run",
        "/name",
        "/sign-out",
    ] {
        let page = browser.send(browser.ask(Method::GET, address)).await;
        assert_eq!(page.status, 405, "{address}");
        page.has("<h1>Not done</h1>").has("nothing was done");
    }
}

#[tokio::test]
async fn changes_of_many_name_their_schedules_and_want_some() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let ids = [nats.create(far("first")).await, nats.create(far("second")).await];
    let gone = nats.create(far("gone")).await;
    let list = browser.page("/schedules").await;
    let action = "/act/bulk.operation";
    for operation in ["pause", "resume", "delete"] {
        let refused = browser.submit(&list, action, &[("operation", operation)]).await;
        assert_eq!(refused.status, 400);
        refused.has("tick the schedules").lacks("schedule_ids").has("href=\"/schedules\">Back");
    }
    nats.ask("schedule.delete", json!({ "schedule_id": gone })).await;
    let mut fields = list.filled(action, &[("operation", "pause")]);
    let all = ids.iter().chain([&gone]);
    fields.extend(all.map(|id| ("schedule_ids".to_owned(), id.clone())));
    let dry = browser.post(action, &fields).await;
    dry.has("Nothing is done yet").has("<bdi>first</bdi>").has("<bdi>second</bdi>");
    dry.has("Refused").has("<bdi>gone</bdi>");
    let done = browser.submit(&dry, action, &[]).await;
    done.has("Pause: done").has("<bdi>first</bdi>").has("<bdi>gone</bdi>");
    let paused: Value = nats.request("schedule.list", &json!({ "status": "paused" })).await;
    assert_eq!(paused["pagination"]["total"], 2);
}
