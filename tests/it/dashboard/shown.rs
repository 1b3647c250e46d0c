//! What screens show beside what the way through them does: marks, strips, plots, what waits, what is out of order.

use serde_json::{Value, json};

use super::Browser;
use crate::harness::{Nats, far, in_ms, wait_for};

/// Attributes of the rectangles of a plot that are not its ground: place and width.
fn marks(part: &str) -> Vec<(f64, f64)> {
    let number = |tag: &str, name: &str| -> f64 {
        let (_, rest) = tag.split_once(&format!(" {name}=\"")).unwrap();
        rest.split('"').next().unwrap().parse().unwrap()
    };
    let tags = part.split("<rect ").skip(1).map(|rest| rest.split('>').next().unwrap());
    let marks = tags.filter(|tag| !tag.contains("ground"));
    marks
        .map(|tag| (number(&format!(" {tag}"), "x"), number(&format!(" {tag}"), "width")))
        .collect()
}

/// The row of a table that has a text.
fn row<'a>(page: &'a str, text: &str) -> &'a str {
    let rows = page.split("<tr").find(|row| row.contains(text));
    rows.unwrap_or_else(|| panic!("no row with {text:?} in {page}"))
}

/// A time so many milliseconds from now, as it may stand in an address.
fn query_time(ms: i64) -> String {
    in_ms(ms).replace("+00:00", "Z")
}

/// Schedules whose runs a worker holds, so that all runs beyond the first of each wait.
async fn held(nats: &Nats, count: usize, runs: usize) -> Vec<String> {
    let mut waiting = Vec::new();
    for n in 0..count {
        let mut job = far(&format!("job {n}"));
        job["delivery"] = json!({ "mode": "job", "timeout_seconds": 600 });
        let id = nats.create(job).await;
        for _ in 0..runs {
            let run = nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
            waiting.push(run["execution_id"].as_str().unwrap().to_owned());
        }
    }
    waiting
}

#[tokio::test]
async fn each_that_waits_has_a_page_however_many_wait_and_can_be_cancelled_there() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let waiting = held(&nats, 2, 55).await;
    wait_for("a worker to have one", || async {
        let running = nats.ask("execution.running", json!({})).await;
        (running.as_array()?.len() == 2).then_some(())
    })
    .await;
    for id in [&waiting[1], &waiting[54], &waiting[56]] {
        let found = nats.ask("execution.running", json!({ "execution_id": id })).await;
        let found = found.as_array().unwrap();
        assert_eq!((found.len(), &found[0]["execution_id"]), (1, &json!(id)), "{found:?}");
        let page = browser.page(&format!("/executions/{id}")).await;
        page.has("pending")
            .has("cmd.example.")
            .has("<dt>Attempt</dt><dd>1</dd>")
            .has("correlation_id=");
    }
    let page = browser.page(&format!("/executions/{}", waiting[1])).await;
    let done = browser.submit(&page, "/act/execution.cancel", &[("reason", "not needed")]).await;
    done.leads_to();
    let asked = json!({ "execution_id": waiting[1] });
    wait_for("the end of it", || async {
        let reply = nats.request("execution.get", &asked).await;
        (reply["data"]["status"] == "cancelled").then_some(())
    })
    .await;
    browser.page(&format!("/executions/{}", waiting[1])).await.has("Cancelled by");
    let none = json!({ "execution_id": uuid::Uuid::nil() });
    assert_eq!(nats.ask("execution.running", none).await, json!([]));
}

#[tokio::test]
async fn lanes_show_a_day_of_each_schedule_that_comes_next() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let every = |name: &str, seconds: u64, more: Value| {
        let mut body = json!({ "name": name, "schedule_type": "interval", "interval_seconds": seconds,
                               "start_at": in_ms(1_000), "target_command": "cmd.example.lane" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    for n in 0..3 {
        nats.create(every(&format!("second {n}"), 1, json!({}))).await;
    }
    nats.create(every("minute", 60, json!({}))).await;
    nats.create(every("hour", 3600, json!({ "start_at": in_ms(1_800_000) }))).await;
    nats.create(every("bounded", 60, json!({ "max_runs": 100 }))).await;
    nats.create(every("daily", 86_400, json!({ "start_at": in_ms(43_200_000) }))).await;
    let page = browser.page("/upcoming").await;
    // All of the day is drawn, however many occurrences come first.
    for (name, marked) in [("second 1", 1), ("minute", 1), ("hour", 24), ("daily", 1)] {
        let lane = marks(row(&page.text, &format!(">{name}<")));
        assert!(lane.len().abs_diff(marked) <= 2, "{name}: {lane:?}");
    }
    let end = |name: &str| {
        let lane = marks(row(&page.text, &format!(">{name}<")));
        lane.iter().map(|(x, width)| x + width).fold(0.0, f64::max)
    };
    assert!(end("minute") > 599.0 && end("hour") > 560.0, "to the end of the day");
    assert!((20.0..60.0).contains(&end("bounded")), "100 minutes: {}", end("bounded"));
    assert!((295.0..310.0).contains(&end("daily")), "{}", end("daily"));
    page.has("class=\"axis\"");
}

#[tokio::test]
async fn parts_of_the_day_have_each_occurrence_once() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let day = |n: i64| {
        let day = chrono::Utc::now() + chrono::TimeDelta::days(n);
        day.format("%Y-%m-%dT00:00:00Z").to_string()
    };
    let body = json!({ "name": "busy", "schedule_type": "cron", "cron_expression": "*/5 * * * *",
                       "target_command": "cmd.example.lane", "start_at": day(2), "max_runs": 250 });
    let id = nats.create(body).await;
    let span = json!({ "from": day(2), "to": day(3), "lanes": 5, "limit": 1 });
    let reply = nats.ask("schedule.upcoming", span.clone()).await;
    let lanes = &reply["lanes"];
    assert_eq!((&lanes["part_ms"], &lanes["more"]), (&json!(900_000), &json!(false)), "{lanes}");
    let lane = &lanes["schedules"][0];
    assert_eq!((&lane["schedule_id"], &lane["scheduled_for"]), (&json!(id), &json!(day(2))));
    let counts: Vec<u64> =
        lane["counts"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (96, 250));
    assert!(counts[..83].iter().all(|count| *count == 3), "{counts:?}");
    assert_eq!(counts[83..85], [1, 0], "until its number of runs is used up");
    let none = nats.ask("schedule.upcoming", json!({ "limit": 1 })).await;
    assert!(none.get("lanes").is_none(), "{none}");
    let more = json!({ "lanes": 51 });
    assert_eq!(nats.refused("schedule.upcoming", more).await["details"][0]["field"], "lanes");
}

#[tokio::test]
async fn times_of_a_span_lie_where_they_were_and_one_goes_back_and_forth() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let id = nats
        .create(json!({ "name": "paced", "schedule_type": "interval", "interval_seconds": 3_600,
                        "start_at": in_ms(1_000), "target_command": "cmd.example.run" }))
        .await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    // Two hours on either side of now: it ran in the middle, and comes once more behind that, in parts of equal width.
    let (from, to) = (query_time(-7_200_000), query_time(7_200_000));
    let path = format!("/schedules/{id}/why?from={from}&to={to}");
    let page = browser.page(&path).await;
    let (_, strip) = page.text.split_once("svg class=\"times\"").unwrap();
    let strip = marks(strip.split("</svg>").next().unwrap());
    assert_eq!(strip.len(), 2, "{strip:?}");
    assert!((490.0..515.0).contains(&strip[0].0), "{strip:?}");
    assert!((740.0..765.0).contains(&strip[1].0), "{strip:?}");
    page.has("class=\"axis\"").has("rel=\"prev\"");
    let earlier =
        page.text.split("rel=\"prev\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let before = browser.page(&earlier.replace("&amp;", "&")).await;
    before.has("none of its times lies in this span").has("rel=\"next\"");
    let later =
        before.text.split("rel=\"next\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    browser.page(&later.replace("&amp;", "&")).await.has("success");
}

#[tokio::test]
async fn the_next_are_shown_however_far_off_and_a_failing_schedule_is_not_all_is_well() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    nats.create(
        json!({ "name": "weekly", "schedule_type": "interval", "interval_seconds": 604_800,
                        "start_at": in_ms(500_000_000), "target_command": "cmd.example.run" }),
    )
    .await;
    let page = browser.page("/").await;
    page.has(">weekly<").has("The service is healthy").lacks("All is well").lacks("Nothing comes");
}

#[tokio::test]
async fn a_schedule_shows_clock_changes_its_strip_and_until_when_it_is_paused() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    // The night when summer time begins, each year.
    let id = nats
        .create(
            json!({ "name": "gap", "schedule_type": "cron", "cron_expression": "30 2 25-31 3 SUN",
                        "timezone": "Europe/Berlin", "target_command": "cmd.example.run" }),
        )
        .await;
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    let execution = run["execution_id"].as_str().unwrap();
    let path = format!("/schedules/{id}");
    let page = browser.page(&format!("{path}?whole=true")).await;
    page.has("moved: the clock skips this time").has("03:00:00 +02:00");
    page.has("<ol class=\"strip\"").has("<figure class=\"plot\"").has("took ");
    page.has(&format!("href=\"/executions/{execution}\""));
    browser.page("/schedules").await.has("<ol class=\"strip\"");

    let day = chrono::Utc::now() + chrono::TimeDelta::days(30);
    let until = day.format("%Y-%m-%dT03:04").to_string();
    let fields = [("reason", "moving house"), ("resume_at", &*until)];
    browser.submit(&page, "/act/schedule.pause", &fields).await.leads_to();
    let page = browser.page(&path).await;
    page.has("resumed by itself at")
        .has(&day.format("%Y-%m-%d 03:04:00 UTC").to_string())
        .has("moving house");
    browser.submit(&page, "/act/schedule.delete", &[]).await.leads_to();
    let page = browser.page(&path).await;
    page.has("Delete for good");
    browser.submit(&page, "/act/schedule.delete", &[]).await.leads_to();
    assert_eq!(
        nats.refused("schedule.get", json!({ "schedule_id": id })).await["code"],
        "not_found"
    );
}

#[tokio::test]
async fn what_runs_shows_its_progress_and_what_ended_its_reply_and_trace() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let execution = held(&nats, 1, 1).await.remove(0);
    let token = wait_for("the command", || async {
        let commands = nats.messages("COMMANDS").await;
        Some(commands.first()?.headers.get("Scheduler-Token")?.to_string())
    })
    .await;
    let heard = json!({ "execution_id": execution, "token": token, "progress": 40 });
    wait_for("the worker to be known", || async {
        nats.request("execution.heartbeat", &heard).await.get("error").is_none().then_some(())
    })
    .await;
    wait_for("the progress", || async {
        browser.page("/").await.text.contains("<progress max=\"100\" value=\"40\"").then_some(())
    })
    .await;
    let done = json!({ "execution_id": execution, "token": token, "response": { "pages": 17 } });
    nats.ask("execution.complete", done).await;
    nats.wait_executions(json!({ "status": "success" }), 1).await;
    let page = browser.page(&format!("/executions/{execution}")).await;
    page.has("&quot;pages&quot;: 17").has("acknowledged").has("Sent to");
}

#[tokio::test]
async fn what_falls_together_is_told_and_what_is_out_of_order_is_on_the_system_page() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let schedules: Vec<_> = (0..120)
        .map(|n| json!({ "name": format!("night {n}"), "schedule_type": "cron", "cron_expression": "0 3 * * *",
                         "target_command": "cmd.example.run" }))
        .collect();
    for part in schedules.chunks(60) {
        nats.ask("bulk.create", json!({ "schedules": part })).await;
    }
    let page = browser.page("/upcoming?whole=true").await;
    page.has("in the busiest minute").has("H in place of a minute or hour");

    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let key = format!("schedule.{}", uuid::Uuid::from_u128(7));
    bucket.put(key.clone(), "no record".into()).await.unwrap();
    let mut stream = nats.js.get_stream("SCHEDULER_AUDIT").await.unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    config.max_age = std::time::Duration::from_secs(86_400);
    nats.js.update_stream(config).await.unwrap();
    wait_for("both to be seen", || async {
        let page = browser.page("/system").await;
        let row = page.text.split("<tr").find(|row| row.contains(">SCHEDULER_AUDIT<"))?;
        (page.text.contains(&key) && row.contains("max_age")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn executions_and_changes_are_found_by_time() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let id = nats.create(far("timed")).await;
    nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
    nats.wait_executions(json!({ "status": "success" }), 1).await;
    let (before, after) = (query_time(-60_000), query_time(60_000));
    for (path, finds) in [
        (format!("/executions?whole=true&started_after={before}&started_before={after}"), true),
        (format!("/executions?whole=true&started_before={before}"), false),
        (format!("/executions?whole=true&scheduled_from={after}"), false),
        (format!("/executions?whole=true&scheduled_from={before}&scheduled_to={after}"), true),
        // Without a zone it is UTC.
        ("/executions?whole=true&started_before=2020-01-01T00:00".to_owned(), false),
        (format!("/changes?since={before}&until={after}"), true),
        (format!("/changes?until={before}"), false),
        (format!("/changes?since={after}"), false),
    ] {
        let page = browser.page(&path).await;
        assert_eq!(page.text.contains(">timed<"), finds, "{path}: {}", page.text);
    }
}

#[tokio::test]
async fn what_does_not_fire_is_not_said_to_be_due_and_no_filter_is_in_force_unseen() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let browser = Browser::new(&service).await;
    let mut ids = Vec::new();
    for name in ["fires", "paused", "rests", "off", "deleted"] {
        let mut body = far(name);
        body["is_active"] = (name != "off").into();
        body["tags"] = json!(["of all"]);
        ids.push(nats.create(body).await);
    }
    let pause = |more: Value| {
        let mut fields = more;
        fields["schedule_id"] =
            ids[if fields["resume_at"].is_null() { 1 } else { 2 }].clone().into();
        fields
    };
    nats.ask("schedule.pause", pause(json!({}))).await;
    nats.ask("schedule.pause", pause(json!({ "resume_at": in_ms(7_200_000) }))).await;
    nats.ask("schedule.delete", json!({ "schedule_id": ids[4] })).await;
    let (all, deleted) =
        (browser.page("/schedules").await, browser.page("/schedules?status=deleted").await);
    let due = |page: &super::Page, name: &str| {
        row(&page.text, &format!(">{name}<")).contains(" min</time>")
    };
    assert!(due(&all, "fires"));
    for name in ["paused", "rests", "off"] {
        assert!(!due(&all, name), "{name}");
    }
    assert!(!due(&deleted, "deleted"));
    assert!(row(&all.text, ">rests<").contains("resumed "));
    for (id, title) in ids.iter().zip([
        "Next times",
        "Times if it were resumed",
        "Times, but for the pause",
        "Times if it were switched on",
        "Times if it were restored",
    ]) {
        let page = browser.page(&format!("/schedules/{id}")).await;
        page.has(&format!("<h2>{title}</h2>"));
        assert_eq!(page.text.contains("; next "), title == "Next times", "{title}");
    }

    all.has("<details><summary>More");
    browser.page("/schedules?tags=of+all").await.has("<details open><summary>More");
    browser.page("/schedules?status=active").await.has("<details><summary>More");
    browser
        .page("/executions?scheduled_from=2026-01-01T00:00:00Z")
        .await
        .has("<details open><summary>More");
    let idle = "the other filters are not in force";
    browser.page("/executions?correlation_id=x&status=failed").await.has(idle);
    browser.page("/executions?correlation_id=x").await.lacks(idle);
    browser.page("/executions?status=failed").await.lacks(idle);
    browser.page("/schedules?page=99").await.has("4 in all, there is no page 99").has(">Previous<");
}
