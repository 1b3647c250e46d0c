//! What axe-core finds on the screens: whether people with a keyboard alone, a screen reader or poor sight can use them.
//!
//! `AXE` names its script, else it is where `.ci/run` puts it. It is only for this test, and no part of the program.

use std::path::Path;

use serde_json::{Value, json};

use crate::driver::Browser;
use crate::harness::{Nats, far, in_ms};

const USUAL: &str = "target/tools/axe-core-4.14.1/package/axe.min.js";

fn script() -> String {
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join(USUAL);
    let path = std::env::var_os("AXE").map_or(usual, Into::into);
    std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; see .ci/run, or set AXE", path.display()))
}

/// A service in which everything has something to show. Returns the screens.
async fn filled(nats: &Nats) -> Vec<String> {
    let named = json!({ "name": "holidays", "days": ["2026-12-25"], "spans": [
        { "start": "2026-12-31T12:00:00Z", "end": "2027-01-01T00:00:00Z" }] });
    nats.ask("calendar.put", named).await;
    nats.ask("group.put", json!({ "name": "warehouse", "limit": 1 })).await;
    let mut body = far("job");
    body["delivery"] = json!({ "mode": "job", "timeout_seconds": 60 });
    body["group"] = "warehouse".into();
    let job = nats.create(body).await;
    for _ in 0..2 {
        nats.ask("schedule.trigger", json!({ "schedule_id": job })).await;
    }
    let paused = nats
        .create(json!({ "name": "paused", "schedule_type": "interval", "interval_seconds": 60,
                        "exclude": ["holidays"], "target_command": "cmd.example.run" }))
        .await;
    nats.ask("schedule.pause", json!({ "schedule_id": paused, "reason": "moving house" })).await;
    let id = nats.create(far("well")).await;
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    let execution = run["execution_id"].as_str().unwrap().to_owned();
    let lost = json!({ "name": "lost", "schedule_type": "one_time", "scheduled_at": in_ms(500),
                       "max_retries": 0, "target_command": "cmd.nowhere.lost" });
    let lost = nats.create(lost).await;
    let failed = nats.wait_executions(json!({ "schedule_id": lost, "status": "failed" }), 1).await;
    let failed = failed[0]["id"].as_str().unwrap().to_owned();
    let again = json!({ "filter": { "schedule_id": lost }, "in_background": true });
    let rerun = nats.ask("bulk.retry", again).await["rerun_id"].as_str().unwrap().to_owned();
    nats.ask("schedule.pause_all", json!({ "reason": "the database moves" })).await;
    let mut paths: Vec<String> = [
        "/",
        "/schedules",
        "/schedules/new",
        "/executions",
        "/failures",
        "/reruns",
        "/upcoming",
        "/calendars",
        "/calendars?name=holidays",
        "/groups",
        "/groups?name=warehouse",
        "/changes",
        "/system",
        "/docs",
        "/schedules/unknown",
    ]
    .map(str::to_owned)
    .into();
    paths.extend([&id, &job, &paused, &lost].map(|id| format!("/schedules/{id}")));
    paths.extend([format!("/schedules/{id}/edit"), format!("/schedules/{lost}/why")]);
    paths.push(format!("/reruns/{rerun}"));
    paths.extend([execution, failed].map(|id| format!("/executions/{id}")));
    paths
}

#[tokio::test]
async fn axe_finds_nothing_in_light_and_dark() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = crate::base(&service).await;
    let (browser, script) = (Browser::start().await, script());
    let paths = filled(&nats).await;
    // It does find what is wrong.
    browser.open(&format!("{base}/system")).await;
    browser.run("document.querySelector('main').append(document.createElement('img'))").await;
    let planted = look(&browser, &script, "/system").await;
    assert!(planted.len() == 1 && planted[0].contains("image-alt"), "{planted:?}");

    let mut found = Vec::new();
    for scheme in ["light", "dark"] {
        browser.emulate(1200, scheme).await;
        for path in &paths {
            browser.open(&format!("{base}{path}")).await;
            browser.wait_text(if path == "/docs" { "/api/v1/schedules" } else { "Now" }).await;
            found.extend(look(&browser, &script, &format!("{path} ({scheme})")).await);
        }
    }
    browser.emulate(390, "light").await;
    for path in &paths {
        browser.open(&format!("{base}{path}")).await;
        browser.wait_text(if path == "/docs" { "/api/v1/schedules" } else { "Now" }).await;
        found.extend(look(&browser, &script, &format!("{path} (phone)")).await);
    }
    browser.emulate(1200, "dark").await;
    found.extend(answers(&browser, &base, &script).await);
    let signed = nats.service_with(&[("API_TOKENS", "writer")]).await;
    for scheme in ["light", "dark"] {
        browser.emulate(1200, scheme).await;
        browser.open(&format!("{}/sign-in", crate::base(&signed).await)).await;
        browser.wait_text("The tokens are those of the API").await;
        found.extend(look(&browser, &script, &format!("/sign-in ({scheme})")).await);
    }
    found.sort();
    found.dedup();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What it finds where forms lead to, and in the dialogs.
async fn answers(browser: &Browser, base: &str, script: &str) -> Vec<String> {
    let mut found = Vec::new();
    browser.open(&format!("{base}/failures")).await;
    browser.click("form[action='/act/bulk.retry'] button[type=submit]").await;
    browser.wait_text("Nothing is done yet").await;
    found.extend(look(browser, script, "a dry run").await);
    browser.click("main [data-command]").await;
    browser.wait_text("nats req cmd.scheduler.bulk.retry").await;
    found.extend(look(browser, script, "the commands").await);
    browser.click("#commands form button").await;
    browser.click("main button.primary").await;
    browser.wait_text("done").await;
    found.extend(look(browser, script, "what was done").await);
    browser.open(&format!("{base}/schedules/new")).await;
    browser.fill("main input[name=name]", "refused").await;
    browser.fill("main input[name=target_command]", "no command").await;
    browser.click("main form[action='/act/schedule.create'] button.primary").await;
    browser.wait_text("not right.").await;
    found.extend(look(browser, script, "a form that is refused").await);
    browser.press("?").await;
    browser
        .run("document.getElementById('help').open || document.getElementById('help').showModal()")
        .await;
    browser.wait_text("next, previous row").await;
    found.extend(look(browser, script, "the keys").await);
    found
}

/// What it finds, with all that can be opened being open.
async fn look(browser: &Browser, script: &str, page: &str) -> Vec<String> {
    let open = "document.querySelectorAll('main details').forEach((one, n) => { if (n < 40) one.open = true; });";
    let asked =
        format!("{script};{open} return axe.run(document, {{ resultTypes: ['violations'] }});");
    let result = browser.run(&asked).await;
    let all = result["violations"].as_array().unwrap_or_else(|| panic!("{page}: {result}"));
    all.iter()
        .flat_map(|one| {
            let nodes = one["nodes"].as_array().unwrap();
            nodes.iter().map(|node| told(page, one, node)).take(3).collect::<Vec<_>>()
        })
        .collect()
}

fn told(page: &str, violation: &Value, node: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{page}: {}: {}: {}",
        text(&violation["id"]),
        text(&node["failureSummary"]),
        text(&node["html"])
    )
}
