//! What a visitor is at while a page keeps up, and what a page shows when something is missing: scripts, width, NATS.

use serde_json::json;

use crate::base;
use crate::driver::Browser;
use crate::harness::{Nats, far, wait_for};

/// Waits until a part has been replaced: what it was is marked.
async fn replaced(browser: &Browser, part: &str, change: impl AsyncFnOnce()) {
    browser
        .run(&format!("document.querySelector('{part}').firstElementChild.dataset.old = ''"))
        .await;
    change().await;
    wait_for("a refresh", || async {
        (browser.count(&format!("{part} > [data-old]")).await == 0).then_some(())
    })
    .await;
}

/// A refresh leaves the focus, the row of the keys, what is ticked and what is marked where they were, also if rows come
/// before them; and an address does not say what was done long ago.
#[tokio::test]
async fn a_refresh_leaves_a_visitor_where_they_are() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    for name in ["m", "n"] {
        nats.create(far(name)).await;
    }
    let browser = Browser::start().await;
    browser.open(&format!("{base}/schedules?sort=name&done=schedule.pause")).await;
    browser.wait_text("The schedule is paused.").await;
    assert_eq!(browser.run("return location.search").await, "?sort=name");
    browser.press("j").await;
    browser.press("j").await;
    let at = "return [document.activeElement.textContent, document.querySelector('tr.at a.row')?.textContent]";
    wait_for("the second row", || async {
        (browser.run(at).await == json!(["n", "n"])).then_some(())
    })
    .await;
    replaced(&browser, "#rows", async || drop(nats.create(far("a")).await)).await;
    assert_eq!(browser.run(at).await, json!(["n", "n"]));
    browser.press("k").await;
    assert_eq!(browser.run(at).await, json!(["m", "m"]));

    let tick = "document.querySelector('[aria-label=\"Select n\"]')";
    browser.run(&format!("{tick}.focus(); {tick}.checked = true")).await;
    replaced(&browser, "#rows", async || drop(nats.create(far("b")).await)).await;
    let ticked = "return [document.activeElement.ariaLabel, \
                  ...[...document.querySelectorAll('#rows :checked')].map((node) => node.ariaLabel)]";
    assert_eq!(browser.run(ticked).await, json!(["Select n", "Select n"]));
    // What is gone is not what has come in its place.
    browser.run("document.querySelector('#rows a.row').focus()").await;
    let a = nats.ask("schedule.list", json!({ "name_contains": "a" })).await;
    let a = a[0]["id"].as_str().unwrap().to_owned();
    replaced(&browser, "#rows", async || {
        nats.ask("schedule.delete", json!({ "schedule_id": a })).await;
    })
    .await;
    browser.wait_no_text("Select a").await;
    assert_eq!(browser.run("return document.activeElement.tagName").await, "BODY");

    // What is marked stays until it no longer is.
    browser
        .run("getSelection().selectAllChildren(document.querySelector('#rows a.row bdi'))")
        .await;
    nats.create(far("c")).await;
    browser.wait_text("4 in all").await;
    assert_eq!(browser.run("return String(getSelection())").await, "b");
    assert_eq!(browser.run("return document.querySelectorAll('#rows a.row').length").await, 3);
    browser.run("getSelection().empty()").await;
    wait_for("the row", || async { (browser.count("#rows a.row").await == 4).then_some(()) }).await;

    for end in ["\u{e00c}", ""] {
        browser.click("#account > summary").await;
        assert_eq!(browser.count("details.menu[open]").await, 1);
        if end.is_empty() {
            browser.click("h1").await
        } else {
            browser.press(end).await
        }
        assert_eq!(browser.count("details.menu[open]").await, 0);
    }
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// What is wrong with a form is shown, also where it is folded; what scripts alone can do is not offered without them.
#[tokio::test]
async fn forms_open_where_they_are_wrong_and_nothing_is_offered_that_does_nothing() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    let id = nats.create(far("seen")).await;
    let browser = Browser::start().await;
    browser.open(&format!("{base}/schedules/new")).await;
    browser.fill("[name=name]", "new").await;
    browser.fill("[name=target_command]", "cmd.a").await;
    browser.run("document.querySelector('[name=priority]').value = '-1'").await;
    browser.click("main button.primary").await;
    let focus = "return [document.activeElement.name, document.activeElement.checkVisibility()]";
    wait_for("the field", || async {
        (browser.run(focus).await == json!(["priority", true])).then_some(())
    })
    .await;
    browser.fill("[name=priority]", "99").await;
    browser.click("main button.primary").await;
    browser.wait_text("not right.").await;
    // No type was chosen that has what it needs, and the first of what is wrong has the focus.
    let first = "return document.activeElement === document.querySelector('[aria-invalid]')";
    wait_for("the focus", || async { (browser.run(first).await == true).then_some(()) }).await;

    let visible = "return [...document.querySelectorAll('[hidden]')].filter((node) => node.checkVisibility()).length";
    browser.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
    for path in ["/", &format!("/schedules/{id}")] {
        browser.open(&format!("{base}{path}")).await;
        browser.wait_text("seen").await;
        assert!(browser.count("[hidden]").await > 2);
        assert_eq!(browser.run(visible).await, 0, "{path}");
    }
    browser.click("form[action='/act/schedule.trigger'] [data-command]").await;
    browser.wait_text("nats req cmd.scheduler.schedule.trigger").await;
    assert!(browser.count("[data-copy]").await > 1);
    assert_eq!(browser.run(visible).await, 0);
}

/// With NATS out of reach a page of several parts keeps those that cannot be read, and says so.
#[tokio::test]
async fn parts_that_cannot_be_read_stay_as_they_were() {
    let mut nats = Nats::start().await;
    let service = nats.service().await;
    let base = base(&service).await;
    let id = nats.create(far("ran")).await;
    nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    let browser = Browser::start().await;
    browser.open(&base).await;
    browser.wait_text("1 succeeded").await;
    nats.server.kill();
    browser.wait_text("What cannot be read now stays as it was at").await;
    browser.wait_text("1 succeeded").await;
    assert_eq!(browser.count("main [data-failed]").await, 0);
    nats.server.restart().await.unwrap();
    browser.wait_no_text("What cannot be read now").await;
    browser.wait_text("1 succeeded").await;
}

/// No page is wider than the window, and what opens lies inside it.
#[tokio::test]
async fn nothing_lies_beside_the_window() {
    let nats = Nats::start().await;
    let service = nats.service_with(&[("API_TOKENS", "writer")]).await;
    let base = base(&service).await;
    let id = nats.create(far("with a rather long name, as people like to give")).await;
    nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    let browser = Browser::start().await;
    browser.open(&base).await;
    browser.fill("input[name=_token]", "writer").await;
    browser.fill("input[name=_name]", "somebody with a long name").await;
    browser.click("button.primary").await;
    browser.wait_text("Now").await;
    for width in [360, 390, 430, 1000] {
        browser.emulate(width, "light").await;
        for path in ["/", "/schedules", "/executions", "/upcoming", &format!("/schedules/{id}")] {
            browser.open(&format!("{base}{path}")).await;
            browser.wait_text("Now").await;
            let over = browser.run("return document.documentElement.scrollWidth").await;
            assert!(over.as_u64().unwrap() <= width.into(), "{path}: {over} of {width}");
        }
        browser.open(&format!("{base}/schedules")).await;
        let target = "return getComputedStyle(document.querySelector('#rows div.dim')).display";
        assert_eq!(browser.run(target).await, "block", "a target stands below its name");
        for menu in ["#more", "#account"] {
            browser.click(&format!("{menu} > summary")).await;
            let script = format!(
                "const box = document.querySelector('{menu} > :last-child').getBoundingClientRect(); \
                 return [box.left, box.right]"
            );
            let sides = browser.run(&script).await;
            // What is open may lie over the other.
            browser.press("\u{e00c}").await;
            let side = |n: usize| sides[n].as_f64().unwrap();
            assert!(
                side(0) >= 0.0 && side(1) <= width.into() && side(1) > side(0),
                "{menu} at {width}: {sides}"
            );
        }
    }
}
