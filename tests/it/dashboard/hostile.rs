//! What others say is text, on every screen.

use reqwest::Method;
use serde_json::json;

use super::{Browser, screens};
use crate::harness::{Nats, in_ms, wait_for};

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
    let mut seen = 0;
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
        let token = wait_for("the command", || async {
            let commands = nats.messages("COMMANDS").await;
            let mine = commands.into_iter().find(|command| {
                command
                    .headers
                    .get("Scheduler-Execution-Id")
                    .is_some_and(|id| id.as_str() == execution)
            })?;
            Some(mine.headers.get("Scheduler-Token")?.to_string())
        })
        .await;
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
