//! What became of each nominal time, and why.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use nats_scheduler::client::{Became, Client, ExplainSchedule};
use serde_json::{Value, json};

use crate::harness::{Nats, far, in_ms, wait_for};
use crate::http::Http;

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

/// The lines of a reply with an outcome.
fn with<'a>(explained: &'a Value, outcome: &str) -> Vec<&'a Value> {
    let times = explained["times"].as_array().unwrap_or_else(|| panic!("{explained}"));
    times.iter().filter(|time| time["outcome"] == outcome).collect()
}

/// The lines cover each second of a schedule that fires every second, and none twice.
fn check_seconds(explained: &Value) {
    let mut next = None;
    for line in explained["times"].as_array().unwrap() {
        if line["triggered_by"].is_string() {
            continue;
        }
        let (first, count) = (time(&line["scheduled_for"]), line["count"].as_i64().unwrap());
        let last = if line["last"].is_null() { first } else { time(&line["last"]) };
        assert_eq!(last - first, TimeDelta::seconds(count - 1), "{line}");
        assert!(next.is_none_or(|next| next == first), "{next:?} is missing: {explained:#}");
        next = Some(last + TimeDelta::seconds(1));
    }
}

/// Waits until executions of a schedule with a status are in the history.
async fn wait(nats: &Nats, id: &str, status: &str, count: u64) -> Vec<Value> {
    nats.wait_executions(json!({ "schedule_id": id, "status": status, "limit": 100 }), count).await
}

#[tokio::test]
async fn each_time_is_explained_with_what_caused_it() {
    let nats = Nats::start().await;
    let mut first = nats.service().await;
    let beat = json!({ "name": "beat", "schedule_type": "interval", "interval_seconds": 1,
                       "misfire_grace_seconds": 1, "catch_up": "none", "target_command": "cmd.example.beat" });
    let id = nats.create(beat).await;
    let by_id = json!({ "schedule_id": id });
    let as_anna = [("X-Created-By", "anna")];
    wait(&nats, &id, "success", 5).await;
    let pause = json!({ "schedule_id": id, "reason": "holidays" });
    nats.request_with_headers("schedule.pause", &as_anna, pause).await;
    let while_paused = wait_for("a time that passes", || async {
        let explained = nats.ask("schedule.explain", by_id.clone()).await;
        let paused = with(&explained, "paused").first().map(|line| line["count"].as_u64());
        paused.is_some_and(|count| count >= Some(3)).then_some(explained)
    })
    .await;
    check_seconds(&while_paused);
    let paused = with(&while_paused, "paused")[0];
    assert_eq!(
        (&paused["change"]["actor"], &paused["change"]["reason"]),
        (&json!("anna"), &json!("holidays"))
    );
    assert!(
        paused["reason"].as_str().unwrap().starts_with("the schedule is paused by anna at "),
        "{paused}"
    );
    assert_eq!(while_paused["no_next"], "the schedule is paused");
    nats.ask("schedule.trigger", by_id.clone()).await;
    nats.ask("schedule.resume", by_id.clone()).await;
    wait(&nats, &id, "success", 8).await;
    let by_bob = [("X-Created-By", "bob")];
    let off = json!({ "schedule_id": id, "is_active": false });
    nats.request_with_headers("schedule.update", &by_bob, off).await;
    wait_for("a time that passes", || async {
        let explained = nats.ask("schedule.explain", by_id.clone()).await;
        let off = with(&explained, "switched_off").first().map(|off| off["change"].clone());
        off.map(|change| {
            assert_eq!((&change["event"], &change["actor"]), (&json!("updated"), &json!("bob")))
        })
    })
    .await;
    nats.ask("schedule.update", json!({ "schedule_id": id, "is_active": true })).await;
    let before = wait(&nats, &id, "success", 10).await.len() as u64;
    // Nobody is there for longer than the grace.
    assert!(first.stop().await.success());
    tokio::time::sleep(Duration::from_secs(4)).await;
    let second = nats.service().await;
    wait(&nats, &id, "success", before + 3).await;
    nats.ask("schedule.delete", by_id.clone()).await;

    let explained = nats.ask("schedule.explain", json!({ "schedule_id": id, "limit": 1000 })).await;
    check_seconds(&explained);
    assert_eq!(
        explained["description"].as_str().unwrap().split(" from").next(),
        Some("every second")
    );
    let skipped = with(&explained, "skipped");
    let of = |cause: &str| {
        skipped
            .iter()
            .find(|line| line["cause"] == cause)
            .unwrap_or_else(|| panic!("{cause}: {explained:#}"))
    };
    let paused = of("paused");
    assert_eq!(paused["change"]["reason"], "holidays", "{paused}");
    let missed = of("missed");
    let (from, to) = (time(&missed["down"]["from"]), time(&missed["down"]["to"]));
    assert!(to - from >= TimeDelta::seconds(4), "{missed}");
    assert!(missed["count"].as_u64().unwrap() >= 2, "{missed}");
    let reason = missed["reason"].as_str().unwrap();
    assert!(reason.contains("in time, and catch_up was none; no instance ran from"), "{reason}");
    let by_hand =
        with(&explained, "success").into_iter().find(|line| line["triggered_by"].is_string());
    assert!(by_hand.unwrap()["reason"].as_str().unwrap().contains("; run by "), "{by_hand:?}");
    // Many alike are one line.
    assert!(explained["times"].as_array().unwrap().len() < 25, "{explained:#}");
    assert_eq!(explained["no_next"], "the schedule is deleted");

    // In parts, and by other ways.
    let mut parts = Vec::new();
    let mut from = explained["from"].clone();
    while !from.is_null() {
        let part = json!({ "schedule_id": id, "from": from, "to": explained["to"], "limit": 2 });
        let part = nats.ask("schedule.explain", part).await;
        let times = part["times"].as_array().unwrap().clone();
        assert!(times.len() <= 3, "{part}");
        parts.extend(times);
        from = part["next_from"].clone();
    }
    check_seconds(&json!({ "times": parts }));
    let count =
        |times: &[Value]| times.iter().map(|time| time["count"].as_u64().unwrap()).sum::<u64>();
    assert_eq!(count(&parts), count(explained["times"].as_array().unwrap()));
    let http = Http::new(&second).await;
    let got = http
        .get(&format!(
            "/api/v1/schedules/{id}/explain?limit=1000&from={}&to={}",
            explained["from"].as_str().unwrap(),
            explained["to"].as_str().unwrap()
        ))
        .await;
    assert_eq!(got.body["data"], explained);
    let client = Client::new(nats.client.clone());
    let request = ExplainSchedule { schedule_id: Some(id.parse().unwrap()), ..Default::default() };
    let typed = client.explain(&request).await.unwrap().data;
    assert!(typed.times.iter().any(|time| time.outcome == Became::Skipped && time.down.is_some()));
}

#[tokio::test]
async fn overlaps_failures_retries_and_old_timings_are_explained() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    // The worker takes three seconds, and fails the second command.
    let mut requests = nats.client.subscribe("cmd.slow.job").await.unwrap();
    nats.client.flush().await.unwrap();
    let client = nats.client.clone();
    tokio::spawn(async move {
        let mut n = 0;
        while let Some(request) = requests.next().await {
            n += 1;
            let (client, body) =
                (client.clone(), if n == 2 { r#"{"error":"no luck"}"# } else { "{}" });
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(2500)).await;
                let _ = client.publish(request.reply.unwrap(), body.into()).await;
            });
        }
    });
    let slow = json!({ "name": "slow", "schedule_type": "interval", "interval_seconds": 1, "overlap": "skip",
                       "target_command": "cmd.slow.job", "delivery": { "mode": "request", "timeout_seconds": 10 },
                       "max_retries": 0 });
    let id = nats.create(slow).await;
    wait(&nats, &id, "success", 2).await;
    nats.ask("schedule.update", json!({ "schedule_id": id, "interval_seconds": 3600 })).await;
    let explained = wait_for("all to have ended", || async {
        let explained = nats.ask("schedule.explain", json!({ "schedule_id": id })).await;
        with(&explained, "running").is_empty().then_some(explained)
    })
    .await;
    let ran = with(&explained, "success");
    let overlaps: Vec<_> = with(&explained, "skipped");
    assert!(overlaps.len() >= 2, "{explained:#}");
    for overlap in overlaps.iter().filter(|line| line["cause"] == "overlap") {
        let blocker = overlap["blocked_by"].as_str().unwrap_or_else(|| panic!("{overlap}"));
        assert!(overlap["reason"].as_str().unwrap().contains(blocker), "{overlap}");
    }
    assert_eq!(overlaps[0]["blocked_by"], ran[0]["execution_id"]);
    // Also where what was in the way began before the span.
    let part = json!({ "schedule_id": id, "from": overlaps[0]["scheduled_for"], "limit": 1 });
    let part = nats.ask("schedule.explain", part).await;
    assert_eq!(part["times"][0]["blocked_by"], ran[0]["execution_id"], "{part:#}");
    let coming = with(&explained, "coming");
    assert_eq!(coming.len(), 1, "{explained:#}");
    assert_eq!(coming[0]["scheduled_for"], explained["next_run_at"]);
    assert!(explained["no_next"].is_null());

    let failing = json!({ "name": "failing", "schedule_type": "immediate", "max_retries": 1, "retry_delay_seconds": 600,
                          "target_command": "cmd.nobody.listens", "delivery": { "mode": "request" } });
    let id = nats.create(failing).await;
    wait(&nats, &id, "failed", 1).await;
    let explained = nats.ask("schedule.explain", json!({ "schedule_id": id })).await;
    let waiting = with(&explained, "waiting");
    assert_eq!(waiting.len(), 1, "{explained:#}");
    let reason = waiting[0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("failed, no_responders") && reason.contains("; tried again at "),
        "{reason}"
    );
    assert_eq!(waiting[0]["error_type"], "no_responders");
}

#[tokio::test]
async fn spans_and_schedules_that_are_not_there_are_refused_by_name() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(far("later")).await;
    for (more, message) in [
        (json!({ "limit": 0 }), "limit: must be 1 to 1000"),
        (
            json!({ "to": in_ms(-90_000_000), "from": in_ms(0) }),
            "to: must be from `from` to 366 days after it",
        ),
        (
            json!({ "from": in_ms(0), "to": in_ms(367 * 86_400_000) }),
            "to: must be from `from` to 366 days after it",
        ),
        (json!({ "colour": 1 }), "colour: is not a field of this request"),
    ] {
        let mut request = json!({ "schedule_id": id });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = nats.refused("schedule.explain", request).await;
        assert!(error["message"].as_str().unwrap().starts_with(message), "{error}");
    }
    let missing = nats
        .refused("schedule.explain", json!({ "schedule_name": "nobody", "creator": "x" }))
        .await;
    assert_eq!(missing["code"], "not_found");
    assert_eq!(nats.refused("schedule.explain", json!({})).await["code"], "invalid");
    let of_later = json!({ "schedule_name": "later", "creator": "unknown" });
    let explained = nats.ask("schedule.explain", of_later).await;
    assert_eq!(explained["times"].as_array().unwrap().len(), 1, "{explained}");
    assert_eq!(explained["times"][0]["outcome"], "coming");
}

#[tokio::test]
async fn a_span_without_occurrences_says_why() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let later = json!({ "name": "later", "schedule_type": "cron", "cron_expression": "* * * * *",
                        "start_at": in_ms(3 * 86_400_000), "target_command": "cmd.example.later" });
    let id = nats.create(later).await;
    let span = json!({ "schedule_id": id, "from": in_ms(0), "to": in_ms(3_600_000) });
    let explained = nats.ask("schedule.explain", span).await;
    let [line] = &with(&explained, "not_due")[..] else { panic!("{explained:#}") };
    assert!(line["count"].as_u64().unwrap() >= 59, "{line}");
    assert!(line["reason"].as_str().unwrap().starts_with("not due: before start_at, "), "{line}");

    let id = nats.create(far("once")).await;
    let span = json!({ "schedule_id": id, "from": in_ms(-60_000), "to": in_ms(0) });
    let explained = nats.ask("schedule.explain", span).await;
    let next = explained["next_run_at"].as_str().unwrap();
    let none = format!("none of its times lies in this span; the next after it is {next}");
    assert_eq!((&explained["times"], &explained["no_times"]), (&json!([]), &json!(none)));

    let ending = json!({ "name": "ending", "schedule_type": "interval", "interval_seconds": 1, "end_at": in_ms(2500),
                         "target_command": "cmd.example.ending" });
    let id = nats.create(ending).await;
    let ended = wait_for("its end", || async {
        let got = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (got["status"] == "completed").then_some(got)
    })
    .await;
    let span = json!({ "schedule_id": id, "to": in_ms(3000) });
    let explained = nats.ask("schedule.explain", span).await;
    let end = ended["end_at"].as_str().unwrap();
    assert_eq!(explained["no_next"], format!("no time is left before its end_at, {end}"));
    let last = explained["times"].as_array().unwrap().last().unwrap();
    assert_eq!(last["reason"], format!("not due: after end_at, {end}"), "{explained:#}");
    check_seconds(&explained);
}
