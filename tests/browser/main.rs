//! The dashboard in a real browser: Chromium, driven by chromedriver.
//!
//! `CHROMIUM` and `CHROMEDRIVER` name the programs, if they are not on the `PATH`. With `DASHBOARD_PICTURES` set to a
//! folder, the pictures of docs/dashboard are taken anew and put there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests fail by panicking")]

mod axe;
mod docs;
mod driver;
#[path = "../it/harness.rs"]
mod harness;
mod kept;
mod pictures;

use std::time::{Duration, Instant};

use serde_json::json;

use driver::Browser;
use harness::{Nats, Service, far, in_ms, wait_for};

async fn base(service: &Service) -> String {
    format!("http://{}", service.http().await)
}

/// From an empty service to a schedule that was created, run, paused and deleted, and one that failed, was explained
/// and run again; watched by another browser, which nobody touches.
#[tokio::test]
async fn a_newcomer_finds_the_way_while_another_browser_watches() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    let (browser, watcher) = (Browser::start().await, Browser::start().await);
    watcher.open(&format!("{base}/schedules")).await;
    browser.open(&base).await;
    browser.wait_text("There is no schedule yet").await;
    browser.fill("main input[name=name]", "first").await;
    browser.fill("main input[name=interval_seconds]", "3600").await;
    browser.click("main form[action='/act/schedule.create'] button.primary").await;
    browser.wait_text("The schedule is created.").await;
    watcher.wait_text("first").await;

    browser.click("form[action='/act/schedule.trigger'] button.primary").await;
    browser.wait_text("The run is accepted.").await;
    browser.wait_text("success").await;
    browser.open(&format!("{base}/schedules")).await;
    browser.press("j").await;
    browser.press("\u{e007}").await;
    browser.wait_text("Next times").await;

    // The same as a command, with what was typed.
    browser.click("#pause > summary").await;
    browser.fill("#pause input[name=reason]", "moving house").await;
    browser.click("#pause [data-command]").await;
    browser.wait_text("nats req cmd.scheduler.schedule.pause").await;
    browser.wait_text("nats-scheduler pause").await;
    browser.click("#commands form button").await;
    browser.click("#pause button[type=submit]:not([data-command])").await;
    browser.wait_text("The schedule is paused.").await;
    browser.wait_text("moving house").await;
    watcher.wait_text("paused").await;

    browser.click("#delete > summary").await;
    browser.click("#delete button.danger").await;
    browser.wait_text("The schedule is deleted.").await;
    watcher.wait_no_text("first").await;

    // One fails while its page is open, which nobody loads again.
    let id = nats
        .create(json!({ "name": "lost", "schedule_type": "one_time", "scheduled_at": in_ms(3_000),
                        "max_retries": 0, "target_command": "cmd.nowhere.lost" }))
        .await;
    browser.open(&format!("{base}/schedules/{id}")).await;
    browser.wait_text("no_stream").await;
    browser.open(&format!("{base}/schedules/{id}/why")).await;
    browser.wait_text("failed").await;
    let stream = r#"{"name":"LOST","subjects":["cmd.nowhere.>"],"retention":"limits","max_consumers":-1,
        "max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"storage":"memory","discard":"old",
        "num_replicas":1,"duplicate_window":1000000000}"#;
    nats.add_stream(stream).await;
    browser
        .click("form[action='/act/execution.retry'] button[type=submit]:not([data-command])")
        .await;
    browser.wait_text("this is the new one").await;
    browser.wait_text("success").await;
    for browser in [&browser, &watcher] {
        assert_eq!(browser.complaints().await, Vec::<String>::new());
    }
}

/// A page that nobody touches shows what changes within a second: it is told, and does not ask now and then.
#[tokio::test]
async fn a_change_is_shown_within_a_second_and_countdowns_go_on_by_themselves() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    let browser = Browser::start().await;
    browser.open(&format!("{base}/schedules")).await;
    let calm = async || {
        wait_for("calm", || async {
            let script = "return !isAsking && !isStale && events.readyState === EventSource.OPEN";
            (browser.run(script).await == true).then_some(())
        })
        .await;
    };
    let mut times = Vec::new();
    for n in 0..5 {
        calm().await;
        let began = Instant::now();
        let name = format!("news {n}");
        nats.create(far(&name)).await;
        browser.wait_text(&name).await;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    // This machine may pause once or twice.
    assert!(times[2] < Duration::from_secs(1), "{times:?}");
    assert_eq!(browser.run("return String(retry)").await, "undefined", "it never had to ask");

    calm().await;
    browser.run("events.close(); document.querySelectorAll('[data-live]').forEach((part) => delete part.dataset.live)").await;
    let shown = "return document.querySelector('main time[data-relative]').textContent";
    let node = "const node = document.querySelector('main time[data-relative]'); \
                node.dateTime = new Date(Date.now() + 50000).toISOString();";
    browser.run(node).await;
    for seconds in ["49", "47"] {
        wait_for("the countdown", || async {
            (browser.run(shown).await == format!("in {seconds} s")).then_some(())
        })
        .await;
    }
}

/// The same time by three clocks, without pointing at it; the browser remembers which.
#[tokio::test]
async fn times_are_told_by_the_clock_that_one_chooses() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    let yearly = json!({ "name": "yearly", "schedule_type": "cron", "cron_expression": "0 2 1 1 *",
                         "timezone": "America/Chicago", "target_command": "cmd.example.run" });
    let id = nats.create(yearly).await;
    let browser = Browser::start().await;
    browser
        .devtools("Emulation.setTimezoneOverride", json!({ "timezoneId": "Asia/Kolkata" }))
        .await;
    let path = format!("{base}/schedules/{id}");
    browser.open(&path).await;
    browser.wait_text("-01-01 02:00:00 -06:00").await;
    browser.click("#clock").await;
    browser.wait_text("-01-01 13:30:00 +05:30").await;
    browser.open(&path).await;
    browser.wait_text("Times here").await;
    browser.wait_text("-01-01 13:30:00 +05:30").await;
    browser.click("#clock").await;
    browser.wait_text("-01-01 08:00:00 UTC").await;
    // A part that is replaced keeps to it.
    nats.ask("schedule.update", json!({ "schedule_id": id, "description": "once a year" })).await;
    browser.wait_text("once a year").await;
    browser.wait_text("-01-01 08:00:00 UTC").await;
    browser.wait_no_text("-06:00").await;
    browser.click("#clock").await;
    browser.wait_text("-01-01 02:00:00 -06:00").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// Pressing Copy puts the command into the clipboard, for each of the three ways to say it.
#[tokio::test]
async fn a_command_is_copied() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    let id = nats.create(far("copied")).await;
    let browser = Browser::start().await;
    let allowed = json!({ "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"] });
    browser.devtools("Browser.grantPermissions", allowed).await;
    browser.open(&format!("{base}/schedules/{id}/edit")).await;
    browser.fill("[name=description]", "it's typed").await;
    browser.click("main [data-command]").await;
    let edit = format!("nats-scheduler edit {id}");
    for (n, begin) in
        [(1, "nats req cmd.scheduler.schedule.update"), (2, "curl -X PUT"), (3, &*edit)]
    {
        browser.click(&format!("#commands .copy:nth-of-type({n}) [data-copy]")).await;
        wait_for("the copy", || async {
            let text = browser.run("return navigator.clipboard.readText()").await;
            let text = text.as_str()?.replace("'\\''", "'");
            (text.starts_with(begin) && text.contains("it's typed")).then_some(())
        })
        .await;
        browser.wait_text("Copied").await;
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// What matches a filter is changed together, also what is on another page, and what takes long comes when it is there.
#[tokio::test]
async fn all_that_match_are_changed_together_and_what_takes_long_comes_by_itself() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    for n in 0..30 {
        // Each is counted by itself in the minutes that come: a day of seconds.
        nats.create(json!({ "name": format!("many {n:02}"), "schedule_type": "interval", "interval_seconds": 1,
                            "start_at": in_ms(3_600_000), "max_runs": 1_000_000,
                            "target_command": "cmd.example.many" }))
            .await;
    }
    nats.create(far("another")).await;
    let browser = Browser::start().await;
    browser.open(&format!("{base}/upcoming")).await;
    browser.wait_text("in the busiest minute").await;
    assert_eq!(browser.count("[data-coming]").await, 0);

    browser.open(&format!("{base}/schedules?name_contains=many")).await;
    browser.wait_text("all 30 that match").await;
    browser.click("input[name=filter]").await;
    browser.fill("fieldset.many input[name=reason]", "moving house").await;
    browser.click("fieldset.many button[value=pause]").await;
    browser.wait_text("Nothing is done yet").await;
    browser.wait_text("Pause 30 schedules").await;
    browser.click("main [data-command]").await;
    browser.wait_text("nats-scheduler pause --contains many --reason 'moving house'").await;
    browser.click("#commands form button").await;
    browser.click("main button.primary").await;
    browser.wait_text("Pause: done").await;
    let paused = nats.request("schedule.list", &json!({ "status": "paused" })).await;
    assert_eq!(paused["pagination"]["total"], 30);
    browser.open(&format!("{base}/schedules?status=active")).await;
    browser.wait_text("another").await;
    browser.wait_text("all 1 that match").await;
    // A schedule that comes meanwhile counts among those that match.
    nats.create(far("yet another")).await;
    browser.wait_text("all 2 that match").await;
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn one_signs_in_and_reads_only_what_the_token_is_for() {
    let nats = Nats::start().await;
    let settings = [("API_TOKENS", "writer"), ("API_READ_TOKENS", "reader")];
    let service = nats.service_with(&settings).await;
    nats.create(far("guarded")).await;
    let base = base(&service).await;
    let browser = Browser::start().await;
    browser.open(&format!("{base}/schedules")).await;
    browser.fill("input[name=_token]", "wrong").await;
    browser.click("button.primary").await;
    browser.wait_text("This token is not known.").await;
    browser.fill("input[name=_token]", "reader").await;
    browser.click("button.primary").await;
    browser.wait_text("guarded").await;
    browser.wait_text("reading only").await;
    assert_eq!(browser.count("form[action^='/act/']").await, 0);
    assert_eq!(browser.count("input[type=checkbox]").await, 0);
    browser.click("#account summary").await;
    browser.click("form[action='/sign-out'] button").await;
    browser.wait_text("The tokens are those of the API").await;
    browser.fill("input[name=_token]", "writer").await;
    browser.fill("input[name=_name]", "anna").await;
    browser.click("button.primary").await;
    browser.open(&format!("{base}/schedules")).await;
    browser.wait_text("anna").await;
    assert!(browser.count("form[action='/act/bulk.operation']").await > 0);
}

#[tokio::test]
async fn a_page_says_that_nats_or_the_service_is_lost_and_heals() {
    let mut nats = Nats::start().await;
    let port = free_port();
    let settings = [("API_PORT", port.as_str())];
    let mut service = nats.service_with(&settings).await;
    nats.create(far("still there")).await;
    let base = base(&service).await;
    let browser = Browser::start().await;
    browser.open(&format!("{base}/schedules")).await;
    browser.wait_text("still there").await;
    nats.server.kill();
    browser.wait_text("NATS is out of reach").await;
    browser.wait_text("still there").await;
    nats.server.restart().await.unwrap();
    browser.wait_no_text("NATS is out of reach").await;

    service.kill();
    browser.wait_text("The service does not answer.").await;
    let service = nats.service_with(&settings).await;
    browser.wait_no_text("The service does not answer.").await;
    wait_for("the service", || async {
        let reply = nats.request("schedule.list", &json!({})).await;
        reply.get("error").is_none().then_some(())
    })
    .await;
    nats.create(far("quite new")).await;
    browser.wait_text("quite new").await;
    drop(service);
}

#[tokio::test]
async fn what_others_say_does_nothing_and_keys_do_what_they_say() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    let hostile = "\"><img src=x onerror=window.hacked=1><script>window.hacked=1</script>";
    let mut body = far(hostile);
    body["description"] = hostile.into();
    body["command_payload"] = json!({ hostile: hostile });
    body["tags"] = json!([hostile]);
    nats.ask("calendar.put", json!({ "name": hostile, "description": hostile })).await;
    nats.ask("group.put", json!({ "name": hostile, "limit": 1 })).await;
    let id = nats.create(body).await;
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    let execution = run["execution_id"].as_str().unwrap();
    let lost = json!({ "name": format!("{hostile} lost"), "schedule_type": "one_time", "scheduled_at": in_ms(500),
                       "max_retries": 0, "target_command": "cmd.nowhere.lost" });
    let lost = nats.create(lost).await;
    nats.wait_executions(json!({ "schedule_id": lost, "status": "failed" }), 1).await;
    let again = json!({ "filter": { "tag": hostile, "status": "success" }, "in_background": true, "limit": 1 });
    nats.ask("bulk.retry", again).await;
    let browser = Browser::start().await;
    for path in [
        "/".to_owned(),
        "/schedules".to_owned(),
        "/executions".to_owned(),
        "/failures".to_owned(),
        "/reruns".to_owned(),
        "/upcoming".to_owned(),
        "/calendars".to_owned(),
        "/groups".to_owned(),
        "/changes".to_owned(),
        format!("/schedules/{id}"),
        format!("/schedules/{id}/edit"),
        format!("/schedules/{id}/why"),
        format!("/executions/{execution}"),
    ] {
        browser.open(&format!("{base}{path}")).await;
        browser.wait_text(if path == "/" { "Now" } else { "onerror" }).await;
        // The part that the script replaces is text too.
        nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
        assert_eq!(browser.run("return String(window.hacked)").await, "undefined", "{path}");
        assert_eq!(browser.count("main img, main script").await, 0, "{path}");
        // What turns the direction of writing turns no more than its own text.
        let turning = "const open = e => getComputedStyle(e).unicodeBidi === 'normal'; \
                       return String([...document.querySelectorAll('main *')].filter(open).length)";
        assert_eq!(browser.run(turning).await, "0", "{path}");
        assert_eq!(browser.run(BESIDE_OURS).await, json!([]), "{path}");
    }
    let pause = json!({ "reason": hostile });
    nats.request_with_headers("schedule.pause_all", &[("X-Paused-By", hostile)], pause).await;
    browser.open(&format!("{base}/system")).await;
    browser.wait_text("All schedules are paused").await;
    assert_eq!(browser.run(BESIDE_OURS).await, json!([]), "/system");
    nats.ask("schedule.resume_all", json!({})).await;
    // Keys go from row to row, and from screen to screen.
    browser.open(&format!("{base}/schedules")).await;
    browser.wait_text("lost").await;
    let at = "return [...document.querySelectorAll('main tr:has(a.row)')]\
              .findIndex((row) => row.contains(document.activeElement))";
    for (key, row) in [("j", 0), ("j", 1), ("k", 0), ("k", 0)] {
        browser.press(key).await;
        // The part may just be replaced.
        wait_for(key, || async { (browser.run(at).await == row).then_some(()) }).await;
    }
    browser.press("g").await;
    browser.press("f").await;
    browser.wait_text("Run again all of this kind").await;
    browser.open(&base).await;
    browser.press("?").await;
    browser.wait_text("next, previous row").await;
    browser.press("\u{e00c}").await;
    browser.press("/").await;
    assert_eq!(browser.run("return document.activeElement.id").await, "search");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// On a phone nothing but a table that says so is wider than the screen, and every control has a name.
#[tokio::test]
async fn pages_fit_a_phone_and_name_their_controls() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    let id = nats
        .create(far(
            "with a rather long name, as people like to give to what they do not want to forget",
        ))
        .await;
    let browser = Browser::start().await;
    browser.emulate(390, "dark").await;
    for path in [
        "/",
        "/schedules",
        "/upcoming",
        "/calendars",
        "/groups",
        "/changes",
        "/system",
        "/docs",
        "/failures",
        "/reruns",
        "/executions",
        &format!("/schedules/{id}"),
        &format!("/schedules/{id}/edit"),
        &format!("/schedules/{id}/why"),
    ] {
        browser.open(&format!("{base}{path}")).await;
        browser.wait_text("Now").await;
        let over = browser.run("return document.documentElement.scrollWidth - innerWidth").await;
        assert!(over.as_i64().unwrap() <= 0, "{path} is {over} pixels too wide");
        let nameless = browser
            .run(
                "return [...document.querySelectorAll('a, button, summary, input:not([type=hidden]), select, textarea')]\
                 .filter((node) => !(node.textContent.trim() || node.labels?.length || node.ariaLabel || node.value))\
                 .map((node) => node.outerHTML)",
            )
            .await;
        assert_eq!(nameless, json!([]), "{path}");
    }
    browser.open(&base).await;
    browser.click("#more > summary").await;
    let sides = "const box = document.querySelector('#more > ul').getBoundingClientRect(); \
                 return box.width > 0 && box.left >= 0 && box.right <= innerWidth";
    assert_eq!(browser.run(sides).await, true, "all of the navigation can be reached");
    browser.click("#more a[href='/groups']").await;
    browser.wait_text("There is no group.").await;
}

/// Texts of others that stand in one element with words of ours: nothing keeps their direction from turning those.
const BESIDE_OURS: &str = "\
    const texts = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT); \
    const found = []; \
    while (texts.nextNode()) { \
        const { data, parentElement } = texts.currentNode; \
        const isAlone = parentElement.textContent.trim() === data.trim(); \
        if (data.includes('onerror') && !isAlone) found.push(parentElement.outerHTML); \
    } \
    return found";

/// A port that nothing listens on.
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port().to_string()
}
