//! What others say is text, on every screen.

use reqwest::Method;
use serde_json::json;

use super::{Browser, Page, screens};
use crate::harness::{Nats, far, in_ms, wait_for};

/// Texts that are markup wherever somebody forgets that they are none.
const CORPUS: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</textarea></title></svg><svg onload=alert(1)>",
    "<a href=\"javascript:alert(1)\">x</a>",
    "{{7*7}}${7*7}<!--",
    "\u{202e}gpj.exe\u{0} &lt;b&gt; \u{feff}",
];
/// What must be nowhere.
const MARKUP: [&str; 5] = ["<script>", "<img", "<svg onload", "href=\"javascript:", "<!--"];

#[tokio::test]
async fn names_payloads_errors_and_reasons_are_text_on_every_screen() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let (mut seen, mut answered) = (0, 0);
    for text in CORPUS {
        // Names and reasons have no control characters.
        let plain = text.replace('\0', "");
        let plain = plain.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
        let body = json!({
            "name": plain, "description": plain, "owner": plain, "tags": [plain],
            "schedule_type": "interval", "interval_seconds": 3600, "start_at": in_ms(3_600_000),
            "delivery": { "mode": "job", "timeout_seconds": 60 }, "max_retries": 0,
            "target_command": "cmd.example.hostile", "command_payload": { text: text },
            "exclude": [plain], "group": plain,
        });
        let put = json!({ "name": plain, "description": plain, "days": ["2020-01-01"] });
        let headers = [("X-Updated-By", plain)];
        nats.request_with_headers("calendar.put", &headers, put).await;
        let put = json!({ "name": plain, "description": plain, "limit": 9 });
        nats.request_with_headers("group.put", &headers, put).await;
        let headers = [("X-Created-By", plain), ("X-Correlation-ID", plain)];
        let (_, reply) = nats.request_with_headers("schedule.create", &headers, body).await;
        let id = reply["data"]["id"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned();
        let headers = [("X-Triggered-By", plain), ("X-Correlation-ID", plain)];
        let (_, run) = nats
            .request_with_headers("schedule.trigger", &headers, json!({ "schedule_id": id }))
            .await;
        let execution = run["data"]["execution_id"].as_str().unwrap().to_owned();
        let token = token_of(&nats, &execution).await;
        let failed = json!({ "execution_id": execution, "token": token, "error_type": plain,
                             "error_message": plain, "retryable": false });
        wait_for("the failure", || async {
            let reply = nats.request("execution.fail", &failed).await;
            reply.get("error").is_none().then_some(())
        })
        .await;
        let headers = [("X-Paused-By", plain)];
        let pause = json!({ "schedule_id": id, "reason": plain });
        let (_, reply) = nats.request_with_headers("schedule.pause", &headers, pause).await;
        assert_eq!(reply["data"]["pause_reason"], plain, "{reply}");
        nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;

        let again =
            json!({ "in_background": true, "filter": { "error_type": plain, "tag": plain } });
        let headers = [("X-Triggered-By", plain)];
        let (_, stored) = nats.request_with_headers("bulk.retry", &headers, again).await;
        let rerun = stored["data"]["rerun_id"].as_str().unwrap_or_else(|| panic!("{stored}"));

        let escaped = plain
            .replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;");
        let query: String = form_urlencoded::byte_serialize(plain.as_bytes()).collect();
        let mut paths = screens(&id, &execution);
        paths.push(format!("/executions?error_type={query}"));
        paths.push(format!("/changes?actor={query}"));
        paths.push(format!("/calendars?name={query}"));
        paths.push(format!("/groups?name={query}"));
        paths.push(format!("/reruns/{rerun}"));
        paths.push(format!("/schedules?group={query}&calendar={query}"));
        paths.push(format!("/schedules?name_contains={query}&done={query}"));
        paths.push(format!("/executions?correlation_id={query}"));
        for path in paths {
            let page = browser.page(&path).await;
            check(&page.text, &path);
            let title = page.text.split("</title>").next().unwrap();
            assert!(!title.contains('\u{202e}'), "{path}: {title}");
            seen += page.text.matches(&escaped).count();
        }
        for (what, page) in answers(&browser, &id, plain).await {
            check(&page.text, &what);
            // Quoted for a shell or as JSON it is not the same text, but for its longest word.
            let word = plain.split(|c: char| !c.is_alphanumeric()).max_by_key(|word| word.len());
            let (_, main) = page.text.split_once("<main").unwrap_or_else(|| panic!("{what}"));
            answered += usize::from(main.contains(word.unwrap()));
        }
        for path in [
            format!("/schedules?sort={query}"),
            format!("/schedules/{query}"),
            format!("/executions/{query}/x"),
        ] {
            let page = browser.send(browser.ask(Method::GET, &path)).await;
            assert!(page.status.is_client_error(), "{path}");
            if page.headers["content-type"] != "application/json" {
                check(&page.text, &path);
            }
        }
    }
    assert!(seen > 20 * CORPUS.len(), "only {seen} of them were shown at all");
    assert!(answered > 10 * CORPUS.len(), "only {answered} answers showed them");
}

/// What forms are answered with that have such a text in a field: what would happen, the same as a command, and why not.
async fn answers(browser: &Browser, id: &str, text: &str) -> Vec<(String, Page)> {
    let path = format!("/schedules/{id}");
    let filter = json!({ "name_contains": text }).to_string();
    let list = format!("/schedules?{}", query("name_contains", text));
    let calendar = format!("/calendars?{}", query("name", text));
    let group = format!("/groups?{}", query("name", text));
    let edit = format!("{path}/edit");
    let named = format!("{text} {text}");
    let create = [("name", text), ("schedule_type", "cron"), ("cron_expression", text)];
    let many = [("filter", &*filter), ("operation", "pause"), ("reason", text)];
    let mut answers = Vec::new();
    for (page, action, fields) in [
        (&*edit, "schedule.update", &[("description", &*named)][..]),
        (&*edit, "schedule.update", &[("schedule_type", "cron"), ("cron_expression", text)]),
        ("/schedules/new", "schedule.create", &create),
        (&*list, "bulk.operation", &many),
        (&*calendar, "calendar.put", &[("days", text)]),
        (&*group, "group.put", &[("description", &*named), ("limit", "none")]),
        ("/failures", "bulk.retry", &[]),
        (&*path, "schedule.delete", &[("schedule_id", text)]),
    ] {
        let form = browser.page(page).await;
        for to in ["act", "command"] {
            let fields = form.filled(&format!("/act/{action}"), fields);
            let what = format!("/{to}/{action}");
            let page = browser.post(&what, &fields).await;
            // A field that the schema says is a number is refused before anything is said.
            if !(to == "command" && page.status.is_client_error()) {
                answers.push((format!("{what}: {fields:?}"), page));
            }
        }
    }
    answers
}

fn query(name: &str, value: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish()
}

/// Replies of workers and reasons of cancellations, beside what is only shown to whoever signs in.
#[tokio::test]
async fn replies_reasons_and_addresses_are_text_too() {
    let nats = Nats::start().await;
    let service = nats.service_with(&[("API_TOKENS", "writer")]).await;
    let browser = Browser::new(&service).await;
    for text in CORPUS {
        let plain = text.replace('\0', "");
        let path = format!("/sign-in?{}", query("next", &plain));
        let page = browser.page(&path).await;
        check(&page.text, &path);
        let wrong =
            browser.submit(&page, "/sign-in", &[("_token", &plain), ("_name", &plain)]).await;
        check(&wrong.text, "what a wrong token is answered with");
        assert!(wrong.status.is_client_error(), "{wrong:?}");
    }
    let page = browser.page("/sign-in").await;
    browser.submit(&page, "/sign-in", &[("_token", "writer")]).await.leads_to();
    let mut job = far("job");
    job["delivery"] = json!({ "mode": "job", "timeout_seconds": 60 });
    let id = nats.create(job).await;
    for (n, text) in CORPUS.into_iter().enumerate() {
        let plain = text.replace('\0', "");
        let run = nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
        let execution = run["execution_id"].as_str().unwrap().to_owned();
        let token = token_of(&nats, &execution).await;
        let (operation, body) = if n % 2 == 0 {
            let reply = json!({ "text": text, text: [text] });
            let done = json!({ "execution_id": execution, "token": token, "response": reply });
            ("execution.complete", done)
        } else {
            ("execution.cancel", json!({ "execution_id": execution, "reason": plain }))
        };
        let headers = [("X-Created-By", &*plain)];
        wait_for("the end", || async {
            let (_, reply) = nats.request_with_headers(operation, &headers, body.clone()).await;
            reply.get("error").is_none().then_some(())
        })
        .await;
        wait_for("the outcome", || async {
            let asked = json!({ "execution_id": execution });
            let reply = nats.request("execution.get", &asked).await;
            (!["running", "pending"].contains(&reply["data"]["status"].as_str()?)).then_some(())
        })
        .await;
        let page = browser.page(&format!("/executions/{execution}")).await;
        check(&page.text, operation);
        // Escaped, and a reply as JSON, but for its longest word.
        let word = plain.split(|c: char| !c.is_alphanumeric()).max_by_key(|word| word.len());
        assert!(page.text.contains(word.unwrap()), "{operation} of {text:?}: {}", page.text);
        for path in screens(&id, &execution) {
            check(&browser.page(&path).await.text, &path);
        }
    }
}

/// The token of the command of an execution.
async fn token_of(nats: &Nats, execution: &str) -> String {
    wait_for("the command", || async {
        let commands = nats.messages("COMMANDS").await;
        let mine = commands.into_iter().find(|command| {
            let id = command.headers.get("Scheduler-Execution-Id");
            id.is_some_and(|id| id.as_str() == execution)
        })?;
        Some(mine.headers.get("Scheduler-Token")?.to_string())
    })
    .await
}

fn check(text: &str, path: &str) {
    for markup in MARKUP {
        assert!(!text.contains(markup), "{markup} on {path}");
    }
    assert_eq!(text.matches("<script").count(), 1, "{path}");
    // Attributes stand in double quotes, and outside of them there is nothing of others.
    for tag in text.split('<').skip(1).filter_map(|rest| rest.split('>').next()) {
        let outside: String = tag.split('"').step_by(2).collect();
        let has_handler = outside.split_whitespace().any(|word| word.starts_with("on"));
        assert!(!outside.contains('\'') && !has_handler, "{tag} on {path}");
    }
}
