//! What the screens show, and what their forms do.

use reqwest::Method;
use serde_json::json;

use super::{Browser, screens};
use crate::harness::{Nats, far, in_ms, wait_for};

#[tokio::test]
async fn an_address_that_leads_nowhere_is_a_page_for_browsers_and_an_error_for_programs() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    for (method, path, accept, is_page) in [
        (Method::GET, "/nope", "text/html,*/*;q=0.8", true),
        (Method::GET, "/schedules/", "text/html,*/*;q=0.8", true),
        (Method::GET, "/nope", "*/*", false),
        (Method::POST, "/nope", "text/html", false),
        (Method::GET, "/api/v1/nope", "text/html", false),
    ] {
        let reply = browser.ask(method, path).header("accept", accept).send().await.unwrap();
        assert_eq!(reply.status(), 404, "{path}");
        let text = reply.text().await.unwrap();
        assert_eq!(text.contains("<h1>Not found</h1>") && text.contains(path), is_page, "{text}");
        assert_eq!(text.contains("\"code\":\"not_found\""), !is_page, "{text}");
    }
}

#[tokio::test]
async fn a_schedule_lives_by_forms_alone() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;

    // The first screen of a new service shows how to create a schedule, and does.
    let first = browser.page("/").await;
    first.has("There is no schedule yet").has("nats req cmd.scheduler.schedule.create");
    let action = "/act/schedule.create";
    let created =
        browser.submit(&first, action, &[("name", "first"), ("interval_seconds", "3600")]).await;
    let path = created.leads_to().to_owned();
    let shown = browser.page(&path).await;
    shown.has("The schedule is created.").has("every hour").has("cmd.example.hello");
    let path = path.split('?').next().unwrap().to_owned();
    let id = path.rsplit('/').next().unwrap().to_owned();
    browser.page("/").await.lacks("There is no schedule yet");
    browser.page("/schedules?name_contains=FIRS").await.has(">first<");
    browser.page("/schedules?name_contains=other").await.lacks(">first<");

    // A form that is refused comes back as it was.
    let refused = browser
        .submit(
            &browser.page("/schedules/new").await,
            action,
            &[("name", "first"), ("schedule_type", "cron"), ("cron_expression", "every day")],
        )
        .await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    refused.has("every day").has("target_command").has("role=\"alert\"");

    // It is run, with a payload of its own, once however often the form is sent.
    let page = browser.page(&path).await;
    let fields =
        page.filled("/act/schedule.trigger", &[("override_payload", "{\"by\": \"hand\"}")]);
    let run = browser.post("/act/schedule.trigger", &fields).await;
    let execution = run.leads_to().to_owned();
    assert_eq!(browser.post("/act/schedule.trigger", &fields).await.leads_to(), execution);
    let ran = execution.trim_start_matches("/executions/").split('?').next().unwrap();
    let ran = json!({ "execution_id": ran });
    wait_for("the end of the run", || async {
        let reply = nats.request("execution.get", &ran).await;
        (reply["data"]["status"] == "success").then_some(())
    })
    .await;
    let shown = browser.page(&execution).await;
    shown.has("&quot;by&quot;: &quot;hand&quot;").has("Run again").has("dashboard");
    browser.page(&path).await.has("success").has("triggered");

    // What changes is shown before it is saved.
    let edit = browser.page(&format!("{path}/edit")).await;
    let dry = browser
        .submit(
            &edit,
            "/act/schedule.update",
            &[("interval_seconds", "7200"), ("description", "now and then")],
        )
        .await;
    dry.has("Nothing is done yet")
        .has("interval_seconds")
        .has("now and then")
        .has("every 2 hours")
        .lacks("command_payload");
    assert_eq!(
        nats.ask("schedule.get", json!({ "schedule_id": id })).await["interval_seconds"],
        3600
    );
    browser.submit(&dry, "/act/schedule.update", &[]).await.leads_to();
    let changed = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(
        (&changed["interval_seconds"], &changed["description"]),
        (&json!(7200), &json!("now and then"))
    );
    assert_eq!(
        (&changed["updated_by"], &changed["command_payload"]),
        (&json!("dashboard"), &json!({ "text": "hello" }))
    );
    // A field is emptied, and nothing is no change.
    let edit = browser.page(&format!("{path}/edit")).await;
    browser.submit(&edit, "/act/schedule.update", &[]).await.has("There is nothing to do");
    let dry = browser.submit(&edit, "/act/schedule.update", &[("description", "")]).await;
    browser.submit(&dry, "/act/schedule.update", &[]).await.leads_to();
    let emptied = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(emptied["description"].as_str().unwrap_or_default(), "");
    browser.page("/changes?event=updated").await.has("interval_seconds").has("3600").has("7200");

    // It is paused by whoever the visitor says to be, and resumed.
    let page = browser.page(&path).await;
    browser.submit(&page, "/name", &[("_name", "Änne")]).await.leads_to();
    let page = browser.page(&path).await;
    browser.submit(&page, "/act/schedule.pause", &[("reason", "moving house")]).await.leads_to();
    browser.page(&path).await.has("moving house").has("Änne").has("/act/schedule.resume");
    let page = browser.page(&path).await;
    let back = browser.submit(&page, "/act/schedule.resume", &[]).await;
    browser.page(back.leads_to()).await.has("The schedule is resumed.");

    // A backfill says what it would run.
    let page = browser.page(&path).await;
    let dry = browser
        .submit(
            &page,
            "/act/schedule.backfill",
            &[("from", "2020-01-01T00:00"), ("to", "2020-01-02T00:00")],
        )
        .await;
    dry.has("Nothing is done yet");
    // It is deleted, and restored.
    let gone = browser.submit(&page, "/act/schedule.delete", &[]).await;
    browser
        .page(gone.leads_to())
        .await
        .has("The schedule is deleted.")
        .has("/act/schedule.restore");
    let page = browser.page(&path).await;
    let back = browser.submit(&page, "/act/schedule.restore", &[]).await;
    browser.page(back.leads_to()).await.has("The schedule is restored.");
}

#[tokio::test]
async fn what_failed_is_explained_and_run_again() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let id = nats
        .create(json!({ "name": "lost", "schedule_type": "one_time", "scheduled_at": in_ms(1_000),
                        "max_retries": 0, "target_command": "cmd.nowhere.lost" }))
        .await;
    let failed = nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;
    let execution = failed[0]["id"].as_str().unwrap().to_owned();
    browser.page("/").await.has("no_stream").has("1 failure");
    browser.page(&format!("/executions/{execution}")).await.has("no_stream").has("claimed");
    let why = browser.page(&format!("/schedules/{id}/why")).await;
    why.has("no_stream").has("failed").has("/act/execution.retry");

    let groups = browser.page("/failures").await;
    groups.has("1 × ").has("cmd.nowhere.lost");
    let stream = r#"{"name":"LOST","subjects":["cmd.nowhere.>"],"retention":"limits","max_consumers":-1,
        "max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"storage":"memory","discard":"old",
        "num_replicas":1,"duplicate_window":1000000000}"#;
    nats.add_stream(stream).await;
    let dry = browser.submit(&groups, "/act/bulk.retry", &[]).await;
    dry.has("Nothing is done yet").has("Matched");
    assert_eq!(nats.count("LOST").await, 0);
    browser.submit(&dry, "/act/bulk.retry", &[]).await.has("Run again: done");
    nats.wait_count("LOST", 1).await;
    let page = browser.page(&format!("/executions/{execution}")).await;
    let dry = browser.submit(&page, "/act/execution.retry", &[("dry_run", "true")]).await;
    dry.has("Nothing is done yet").has("<bdi>lost</bdi> is run again, to ");
    dry.has("<bdi>cmd.nowhere.lost</bdi>").has("with the payload that it sent");
    assert_eq!(nats.count("LOST").await, 1);
    let again = browser.submit(&dry, "/act/execution.retry", &[]).await;
    nats.wait_count("LOST", 2).await;
    let shown = wait_for("the outcome", || async {
        let page = browser.page(again.leads_to()).await;
        page.text.contains("success").then_some(page)
    })
    .await;
    shown.has("Runs again").has(&execution);
}

#[tokio::test]
async fn many_are_changed_after_a_dry_run_and_lists_have_pages() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    for n in 0..30 {
        nats.create(far(&format!("many {n:02}"))).await;
    }
    nats.create(far("another")).await;
    let list = browser.page("/schedules?sort=name&name_contains=many").await;
    list.has("30 in all, page 1 of 2").has("many 24").lacks("many 25").lacks("another");
    list.has("name_contains=many&amp;page=2");
    let second = browser.page("/schedules?sort=name&name_contains=many&page=2").await;
    second.has("many 25").has("rel=\"prev\"").lacks("many 24");

    let filter = r#"{"name_contains":"many"}"#;
    let fields = [("filter", filter), ("operation", "pause"), ("reason", "all of them")];
    let dry = browser.submit(&list, "/act/bulk.operation", &fields).await;
    dry.has("Nothing is done yet").has(">30<");
    let paused = json!({ "status": "paused", "limit": 1 });
    assert_eq!(nats.request("schedule.list", &paused).await["pagination"]["total"], 0);
    browser.submit(&dry, "/act/bulk.operation", &[]).await.has("done");
    assert_eq!(nats.request("schedule.list", &paused).await["pagination"]["total"], 30);
}

#[tokio::test]
async fn all_that_match_are_changed_each_once_and_what_is_not_on_the_page_too() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    for n in 0..27 {
        nats.create(far(&format!("many {n:02}"))).await;
    }
    let kept = nats.create(far("another")).await;
    // Without a filter there is nothing that they have in common.
    browser.page("/schedules").await.has("with a filter: all that match").lacks("name=\"filter\"");
    let list = browser.page("/schedules?sort=-name&name_contains=many&creator=unknown").await;
    let filter = r#"{"creator":"unknown","name_contains":"many"}"#;
    list.has("name=\"filter\"").has(">27</span> that match").lacks("formaction=\"/command/bulk");
    let ticked = list.text.split("name=\"schedule_ids\" value=\"").nth(1).unwrap();
    let ticked = ticked.split('"').next().unwrap().to_owned();
    let asked = |operation: &'static str| {
        // Those that are ticked are among those that match.
        let more = [("filter", filter), ("schedule_ids", &*ticked), ("operation", operation)];
        list.filled("/act/bulk.operation", &more)
    };
    let revisions = async || {
        let all = json!({ "name_contains": "many", "limit": 100, "status": "active" });
        let active = nats.ask("schedule.list", all.clone()).await;
        let mut paused = all;
        paused["status"] = json!("paused");
        let paused = nats.ask("schedule.list", paused).await;
        let of = |listed: &serde_json::Value| {
            let listed = listed.as_array().unwrap().iter();
            listed.map(|one| one["revision"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        (of(&active), of(&paused))
    };
    for (operation, button, after) in [
        ("pause", "Pause 27 schedules", (vec![], vec![2; 27])),
        ("resume", "Resume 27 schedules", (vec![3; 27], vec![])),
    ] {
        let dry = browser.post("/act/bulk.operation", &asked(operation)).await;
        dry.has("Nothing is done yet")
            .has(button)
            .has("All that match")
            .lacks("name=\"schedule_ids\"");
        // The script would ask for the page again, which answers forms alone.
        dry.lacks("data-live");
        for path in ["/act/bulk.operation", "/command/bulk.operation"] {
            let mut forged = dry.filled("/act/bulk.operation", &[]);
            forged.retain(|(name, _)| name != "_form");
            assert_eq!(browser.post(path, &forged).await.status, 403, "{path}");
        }
        assert_ne!(revisions().await, after, "nothing is done");
        let fields = dry.filled("/act/bulk.operation", &[]);
        let told = browser.post("/command/bulk.operation", &fields).await;
        let option = if operation == "pause" { "pause" } else { "resume" };
        told.has(&format!("nats-scheduler {option} --creator unknown --contains many"))
            .has("--timeout 5m")
            .has("/api/v1/schedules/bulk/operation")
            .lacks("schedule_ids");
        for (n, matched) in [27, 0, 0].into_iter().enumerate() {
            let done = browser.submit(&dry, "/act/bulk.operation", &[]).await;
            done.has(&format!("<dt>Matched</dt><dd>{matched}</dd>"));
            assert_eq!(revisions().await, after, "the form is sent {} times", n + 1);
        }
    }
    let dry = browser.post("/act/bulk.operation", &asked("delete")).await;
    dry.has("Delete 27 schedules");
    browser.submit(&dry, "/act/bulk.operation", &[]).await.has("Delete: done");
    browser.post("/act/bulk.operation", &asked("delete")).await.has("There is nothing to do");
    let left = nats.ask("schedule.list", json!({})).await;
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (1, &json!(kept)));

    // Nothing runs many that match, and what is ticked is not run in their place.
    let list = browser.page("/schedules?name_contains=another").await;
    let more = [("filter", r#"{"name_contains":"another"}"#), ("schedule_ids", &*kept)];
    let fields = list.filled("/act/bulk.operation", &more);
    for path in ["/run", "/command/run"] {
        let refused = browser.post(path, &fields).await;
        assert_eq!(refused.status, 400, "{path}");
        refused.has("all that match cannot be run together");
    }
    assert_eq!(nats.count("COMMANDS").await, 0);
}

#[tokio::test]
async fn a_page_does_not_wait_for_counts_unless_it_is_asked_to() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    // Each has a number of runs, so it is counted by itself: a day of seconds.
    for n in 0..60 {
        nats.create(
            json!({ "name": format!("tick {n}"), "schedule_type": "interval", "interval_seconds": 1,
                            "start_at": in_ms(3_600_000), "max_runs": 1_000_000,
                            "target_command": "cmd.example.tick" }),
        )
        .await;
    }
    let soon = browser.page("/upcoming").await;
    soon.has("data-coming")
        .has("/upcoming?whole=true")
        .has("tick 7")
        .lacks("in the busiest minute");
    let whole = browser.page("/upcoming?whole=true").await;
    whole.has("in the busiest minute").lacks("data-coming").lacks("whole=true");
    // Now they are known.
    browser.page("/upcoming").await.has("in the busiest minute").lacks("data-coming");
}

#[tokio::test]
async fn an_action_can_be_seen_as_a_command() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let id = nats.create(far("told")).await;
    let page = browser.page(&format!("/schedules/{id}")).await;
    let fields = page.filled("/act/schedule.pause", &[("reason", "it's late")]);
    let told = browser.post("/command/schedule.pause", &fields).await;
    assert_eq!(told.status, 200, "{}", told.text);
    told.has("nats req cmd.scheduler.schedule.pause")
        .has(&format!("curl -X POST {}/api/v1/schedules/{id}/pause", browser.base));
    told.has("it'\\''s late").has(&format!("nats-scheduler pause {id}"));
    assert_eq!(
        nats.ask("schedule.get", json!({ "schedule_id": id })).await["status"],
        "active",
        "nothing is done"
    );
}

#[tokio::test]
async fn all_schedules_are_paused_and_resumed() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    nats.create(far("one")).await;
    let page = browser.page("/system").await;
    page.has("KV_scheduler_schedules").has("(this one)");
    browser
        .submit(&page, "/act/schedule.pause_all", &[("reason", "the database moves")])
        .await
        .leads_to();
    browser.page("/").await.has("All schedules are paused").has("the database moves");
    let page = browser.page("/system").await;
    browser.submit(&page, "/act/schedule.resume_all", &[]).await.leads_to();
    browser.page("/").await.lacks("All schedules are paused");
}

#[tokio::test]
async fn settings_are_shown_and_secrets_are_not() {
    let nats = Nats::start().await;
    let secret = "not-to-be-shown";
    let settings = [("API_READ_TOKENS", secret), ("MAX_BULK_OPERATIONS", "77")];
    let service = nats.service_with(&settings).await;
    let status = nats.ask("status", json!({ "include_settings": true })).await;
    assert!(!status.to_string().contains(secret), "{status}");
    let find = |name: &str| {
        let all = status["settings"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    let token = json!({ "name": "API_READ_TOKENS", "is_set": true, "is_secret": true });
    assert_eq!(find("API_READ_TOKENS"), token);
    assert_eq!(find("MAX_BULK_OPERATIONS")["value"], "77");
    assert_eq!(find("API_HOST")["is_set"], false);
    assert!(nats.ask("status", json!({})).await.get("settings").is_none());

    // Who reads payloads may read these.
    let browser = Browser::new(&service).await;
    let sign_in = browser.page("/sign-in").await;
    browser.submit(&sign_in, "/sign-in", &[("_token", secret)]).await.leads_to();
    let page = browser.page("/system").await;
    page.has("MAX_BULK_OPERATIONS").has(">77<").has("set, and secret").lacks(secret);
}

#[tokio::test]
async fn those_that_are_ticked_are_run_each_once_after_a_dry_run() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        ids.push(nats.create(far(name)).await);
    }
    let list = browser.page("/schedules").await;
    list.has("formaction=\"/run\"");
    let mut fields = list.filled("/act/bulk.operation", &[]);
    assert_eq!(browser.post("/run", &fields).await.status, 400, "none is ticked");
    fields.extend(ids[..2].iter().map(|id| ("schedule_ids".to_owned(), id.clone())));
    let dry = browser.post("/run", &fields).await;
    dry.has("Nothing is done yet").has(">one<").has(">two<").lacks(">three<");
    assert_eq!(nats.count("COMMANDS").await, 0);
    let told = browser.post("/command/run", &dry.filled("/run", &[])).await;
    told.has(&format!("nats-scheduler run {}", ids[0]))
        .has(&format!("nats-scheduler run {}", ids[1]));
    browser.submit(&dry, "/run", &[]).await.has("2 of 2 runs are accepted").has("/executions/");
    browser.submit(&dry, "/run", &[]).await.has("2 of 2 runs are accepted");
    nats.wait_count("COMMANDS", 2).await;
    let all = nats.wait_executions(json!({ "status": "success" }), 2).await;
    assert_eq!(all.len(), 2, "a form that is sent twice runs each once");
    // A key of another form runs them again, and one that is unknown says so beside the others.
    let dry = browser.post("/run", &fields).await;
    let mut fields = dry.filled("/run", &[]);
    fields.push(("schedule_ids".to_owned(), uuid::Uuid::nil().to_string()));
    browser.post("/run", &fields).await.has("2 of 3 runs are accepted").has("failed");
    nats.wait_count("COMMANDS", 4).await;
}

#[tokio::test]
async fn pages_load_nothing_but_our_own_files_and_run_nothing_inline() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let id = nats.create(far("strict")).await;
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    for path in screens(&id, run["execution_id"].as_str().unwrap()) {
        let page = browser.page(&path).await;
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        for (name, value) in [("x-content-type-options", "nosniff"), ("cache-control", "no-store")]
        {
            assert_eq!(page.headers[name], value, "{path}");
        }
        page.lacks(" style=")
            .lacks("<style")
            .lacks(" onclick=")
            .lacks("=\"http")
            .lacks("=\"//")
            .has("<html lang=\"en\">");
        page.has("<main").has("<h1").has("aria-label=\"Screens\"").has("href=\"#main\"");
        assert_eq!(page.text.matches("<script").count(), 1, "{path}");
        for (n, input) in page.text.split("<input ").enumerate().skip(1) {
            let tag = input.split('>').next().unwrap();
            let before = page.text.split("<input ").take(n).collect::<String>();
            let is_labelled = before.rfind("<label").is_some_and(|begin| {
                before[begin..].find("</label>").is_none() || tag.contains("id=\"search\"")
            });
            let needs_none = tag.contains("type=\"hidden\"") || tag.contains("aria-label=");
            assert!(needs_none || is_labelled, "{path}: nothing says what {tag} is");
        }
    }
    let page = browser.page("/").await;
    for file in ["dashboard.css", "dashboard.js", "icon.svg"] {
        let (before, _) = page.text.split_once(&format!("/{file}\"")).unwrap();
        let path = format!("{}/{file}", before.rsplit('"').next().unwrap());
        let asset = browser.page(&path).await;
        assert!(asset.headers["cache-control"].to_str().unwrap().contains("immutable"));
        let stale = path.replace("/assets/", "/assets/0");
        assert_eq!(browser.send(browser.ask(Method::GET, &stale)).await.status, 404, "{stale}");
    }
}

#[tokio::test]
async fn payloads_can_be_hidden_and_the_dashboard_left_out() {
    let nats = Nats::start().await;
    let hiding = nats.service_with(&[("DASHBOARD_PAYLOADS", "hide")]).await;
    let browser = Browser::new(&hiding).await;
    let mut secret = far("secret");
    secret["command_payload"] = json!({ "password": "xyzzy" });
    let id = nats.create(secret).await;
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    for path in screens(&id, run["execution_id"].as_str().unwrap()) {
        browser.page(&path).await.lacks("xyzzy");
    }
    // What is hidden stays as it is.
    let edit = browser.page(&format!("/schedules/{id}/edit")).await;
    let dry = browser.submit(&edit, "/act/schedule.update", &[("description", "changed")]).await;
    dry.lacks("xyzzy").lacks("command_payload");
    browser.submit(&dry, "/act/schedule.update", &[]).await.leads_to();
    let kept = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(kept["command_payload"], json!({ "password": "xyzzy" }));

    let without = nats.service_with(&[("DASHBOARD", "off")]).await;
    let browser = Browser::new(&without).await;
    for path in screens(&id, &id) {
        let page = browser.send(browser.ask(Method::GET, &path)).await;
        assert_eq!(page.status, 404, "{path}");
    }
}
