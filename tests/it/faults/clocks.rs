//! Hosts with wrong clocks, and clocks that are set while the service runs.

use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, Service, configured, wait_for};

const FORTY_DAYS_MS: i64 = 40 * 86_400_000;

/// An instance whose host's clock is off by so many milliseconds; the file that sets it.
async fn off_by(nats: &Nats, name: &str, ms: i64) -> (Service, PathBuf) {
    let file = nats.dir().join(name);
    set(nats, &file, ms);
    let service = nats.service_with(&[("NATS_SCHEDULER_CLOCK", file.to_str().unwrap())]).await;
    (service, file)
}

fn set(nats: &Nats, file: &PathBuf, ms: i64) {
    // Replaced as a whole: it is read all the time.
    let written = nats.dir().join("clock-written");
    std::fs::write(&written, ms.to_string()).unwrap();
    std::fs::rename(&written, file).unwrap();
}

/// By how many milliseconds each command was late; by NATS's time, which is all that counts.
async fn lateness(nats: &Nats) -> Vec<i64> {
    let late = |message: async_nats::jetstream::message::StreamMessage| {
        let due = message.headers.get("Scheduler-Scheduled-For").unwrap().as_str();
        (message.time - due.parse::<DateTime<Utc>>().unwrap()).num_milliseconds()
    };
    nats.messages("COMMANDS").await.into_iter().map(late).collect()
}

async fn next_run_at(nats: &Nats, id: &str) -> DateTime<Utc> {
    let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    schedule["next_run_at"].as_str().unwrap().parse().unwrap()
}

/// Beside a good instance one comes and goes whose clock is off by so many milliseconds.
async fn is_silenced_by_nothing(ms: i64) {
    let nats = Nats::start().await;
    let good = nats.service().await;
    let ids = nats.create_beats(4, "cmd.example.beat").await;
    let hourly = json!({ "name": "hourly", "schedule_type": "cron", "cron_expression": "0 * * * *",
                         "target_command": "cmd.example.hourly" });
    let hourly = nats.create(hourly).await;
    let (mut bad, _) = off_by(&nats, "clock", ms).await;
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 16).await;
    bad.kill();
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 16).await;
    let hour = chrono::Duration::hours(1);
    assert!(next_run_at(&nats, &hourly).await <= Utc::now() + hour);
    check_ledgers(&nats, &ids).await;
    assert!(lateness(&nats).await.into_iter().all(|late| late >= 0));
    drop(good);
}

#[tokio::test]
async fn an_instance_whose_clock_is_off_by_weeks_silences_nothing() {
    tokio::join!(is_silenced_by_nothing(FORTY_DAYS_MS), is_silenced_by_nothing(-FORTY_DAYS_MS));
}

#[tokio::test]
async fn an_instance_whose_clock_is_wrong_fires_by_that_of_nats_and_says_so() {
    let nats = Nats::start().await;
    let (service, _) = off_by(&nats, "clock", FORTY_DAYS_MS).await;
    let ids = nats.create_beats(3, "cmd.example.beat").await;
    nats.wait_count("COMMANDS", 15).await;
    let late = lateness(&nats).await;
    assert!(late.iter().all(|late| (0..5000).contains(late)), "{late:?}");
    let near = chrono::Duration::minutes(1);
    let schedule = nats.ask("schedule.get", json!({ "schedule_id": ids[0] })).await;
    for field in ["created_at", "next_run_at", "last_run_at"] {
        let at: DateTime<Utc> = schedule[field].as_str().unwrap().parse().unwrap();
        assert!((at - Utc::now()).abs() < near, "{field}: {at}");
    }
    // Ids sort by NATS's time too.
    let id = uuid::Uuid::parse_str(&ids[0]).unwrap();
    let (seconds, _) = id.get_timestamp().unwrap().to_unix();
    assert!(i64::try_from(seconds).unwrap().abs_diff(Utc::now().timestamp()) < 60);
    let status = nats.ask("status", json!({})).await;
    let offset = status["clock_offset_ms"].as_f64().unwrap();
    assert!((offset - 3_456_000_000.0).abs() < 1000.0, "{status}");
    assert_eq!(status["status"], "degraded");
    assert!(status["problems"].to_string().contains("the clock of this host is"), "{status}");
    drop(service);
}

#[tokio::test]
async fn setting_the_clock_back_or_forth_costs_no_occurrence_and_doubles_none() {
    let nats = Nats::start().await;
    let (service, file) = off_by(&nats, "clock", 0).await;
    let ids = nats.create_beats(5, "cmd.example.beat").await;
    for ms in [-20_000, 3_600_000, 0] {
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 10).await;
        set(&nats, &file, ms);
        wait_for("the step to be noticed", || async {
            let steps = service.log().matches("the clock of this host was set").count();
            (steps > 0).then_some(())
        })
        .await;
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 20).await;
    }
    let late = lateness(&nats).await;
    assert!(late.iter().all(|late| *late >= 0), "{late:?}");
    check_ledgers(&nats, &ids).await;
    // None is missing: every second has one.
    let times: Vec<Value> = nats
        .wait_executions(json!({ "schedule_id": ids[0], "limit": 100 }), 10)
        .await
        .into_iter()
        .map(|execution| execution["scheduled_for"].clone())
        .collect();
    let at = |value: &Value| value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    for pair in times.windows(2) {
        assert_eq!(at(&pair[0]) - at(&pair[1]), chrono::Duration::seconds(1), "{times:?}");
    }
}

/// A configuration in which the service may ask for the time, or not.
fn config(may_ask: bool) -> String {
    let denied = if may_ask { "no.such" } else { "$JS.API.STREAM.INFO.KV_scheduler_schedules" };
    format!(
        r#"jetstream {{ store_dir: $NATS_STORE_DIR }}
        authorization: {{ users: [
            {{ user: test, password: test }}
            {{ user: service, password: service, permissions: {{
                publish: {{ deny: ["{denied}"] }}, subscribe: {{ allow: [">"] }} }} }}
        ] }}"#
    )
}

#[tokio::test]
async fn while_the_time_cannot_be_measured_nothing_is_claimed() {
    let dir = tempfile::TempDir::new().unwrap();
    let server = configured(dir.path(), &config(true)).await;
    let user = async_nats::ConnectOptions::with_user_and_password("test".into(), "test".into());
    let client = user.connect(server.url()).await.unwrap();
    let js = async_nats::jetstream::new(client.clone());
    let nats = Nats::of(server, client, js, dir);
    nats.add_stream(include_str!("../../../streams/COMMANDS.json")).await;
    let clock = nats.dir().join("clock");
    set(&nats, &clock, 0);
    let settings = [
        ("NATS_USER", "service"),
        ("NATS_PASSWORD", "service"),
        ("NATS_SCHEDULER_CLOCK", clock.to_str().unwrap()),
    ];
    let service = nats.service_with(&settings).await;
    nats.create_beats(1, "cmd.example.beat").await;
    nats.wait_count("COMMANDS", 2).await;
    let reload = |may_ask: bool| nats.reload(&config(may_ask));
    reload(false);
    wait_for("the service to be refused", || async {
        let status = nats.ask("status", json!({})).await;
        let kind = status["jetstream_error"].as_str()?;
        kind.starts_with("no answer").then_some(())
    })
    .await;
    // The machine does not know how long it slept.
    set(&nats, &clock, 9000);
    let status = wait_for("it to be said", || async {
        let status = nats.ask("status", json!({})).await;
        status["problems"].to_string().contains("nothing is claimed").then_some(status)
    })
    .await;
    assert_eq!(status["status"], "degraded");
    // What was claimed ahead by then is sent, and no more: three occurrences pass.
    let before = nats.count("COMMANDS").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(nats.count("COMMANDS").await <= before + 1);
    reload(true);
    nats.wait_count("COMMANDS", before + 3).await;
    wait_for("the time to be known again", || async {
        let status = nats.ask("status", json!({})).await;
        (!status["problems"].to_string().contains("nothing is claimed")).then_some(())
    })
    .await;
    assert!(lateness(&nats).await.into_iter().all(|late| late >= 0));
    drop(service);
}

/// Stores an event of an execution as an instance would whose clock is fast.
pub async fn foretell(nats: &Nats, template: &Value, event: &str, change: &Value, at: &str) {
    let mut body = template.clone();
    body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", text(&body["event_id"]));
    headers.insert("Scheduler-Execution-Id", text(&body["id"]));
    headers.insert("Scheduler-Scheduled-For", text(&body["scheduled_for"]));
    headers.insert("X-Correlation-ID", text(&body["id"]));
    headers.insert("Scheduler-Started-At", at);
    if let Some(count) = body["skipped"]["count"].as_u64() {
        headers.insert("Scheduler-Skipped-Count", count.to_string());
    }
    let subject = format!("evt.scheduler.execution.{event}.{}", text(&body["schedule_id"]));
    let ack = nats.js.publish_with_headers(subject, headers, body.to_string().into()).await;
    ack.unwrap().await.unwrap();
}

#[tokio::test]
async fn what_a_fast_clock_wrote_into_a_record_is_planned_again() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let id = nats.create_beats(1, "cmd.example.beat").await.remove(0);
    nats.wait_count("COMMANDS", 3).await;
    assert!(service.stop().await.success());
    // As an instance leaves it whose clock is forty days ahead: it ran one occurrence of then and one of
    // soon, and skipped all others.
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let key = format!("schedule.{id}");
    let entry = bucket.entry(&key).await.unwrap().unwrap();
    let mut record: Value = serde_json::from_slice(&entry.value).unwrap();
    let last: DateTime<Utc> = record["last_scheduled_for"].as_str().unwrap().parse().unwrap();
    let far = last + chrono::Duration::milliseconds(FORTY_DAYS_MS);
    let soon = last + chrono::Duration::seconds(15);
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
    let second = chrono::Duration::seconds(1);
    record["last_scheduled_for"] = json!(text(far));
    record["next_run_at"] = json!(text(far + second));
    bucket.update(&key, record.to_string().into(), entry.revision).await.unwrap();
    let history = nats.messages("SCHEDULER_EXECUTIONS").await;
    let template: Value = serde_json::from_slice(&history.last().unwrap().payload).unwrap();
    let ids = ["018f0000-0000-8000-8000-00000000000a", "018f0000-0000-8000-8000-00000000000b"];
    for (made, at) in ids.into_iter().zip([soon, far]) {
        let event = json!({ "id": made, "event_id": format!("{made}.outcome"),
                            "scheduled_for": text(at), "started_at": text(far) });
        foretell(&nats, &template, "completed", &event, &text(far)).await;
    }
    let skipped = "018f0000-0000-8000-8000-00000000000c";
    let count = FORTY_DAYS_MS / 1000 - 1;
    let event = json!({ "id": skipped, "event_id": format!("{skipped}.outcome"), "status": "skipped",
                        "scheduled_for": text(last + second), "started_at": null,
                        "skipped": { "cause": "coalesced", "last": text(far - second), "count": count } });
    foretell(&nats, &template, "skipped", &event, &text(far)).await;

    let service = nats.service().await;
    service.wait_log("planned again from now").await;
    // It fires again, every second but that one; and the history says what is true.
    let until = soon + chrono::Duration::seconds(4);
    wait_for("a later occurrence to have run", || async {
        (next_run_at(&nats, &id).await > until).then_some(())
    })
    .await;
    let of_soon = text(soon);
    for message in nats.messages("COMMANDS").await {
        let at = message.headers.get("Scheduler-Scheduled-For").unwrap().as_str();
        assert_ne!(at, of_soon, "it was acted on already");
    }
    let filter = json!({ "schedule_id": id, "status": "corrected" });
    let corrected = nats.wait_executions(filter, 1).await.remove(0);
    assert_eq!(corrected["id"], skipped);
    let really = corrected["skipped"]["count"].as_i64().unwrap();
    assert!((0..60).contains(&really), "{corrected}");
    let nothing = nats.request("execution.list", &json!({ "status": "skipped" })).await;
    assert_eq!(nothing["pagination"]["total"], 0, "{nothing}");
    let statistics = nats.ask("execution.stats", json!({ "schedule_id": id })).await;
    assert_eq!(statistics["skipped"], really, "{statistics}");
    // Each second up to now has a run, or is inside what was really skipped.
    let mut times: std::collections::BTreeSet<i64> =
        (1..=really).map(|k| (last + chrono::Duration::seconds(k)).timestamp_millis()).collect();
    let runs = json!({ "schedule_id": id, "status": "success", "limit": 100 });
    for run in nats.wait_executions(runs, 10).await {
        let at: DateTime<Utc> = run["scheduled_for"].as_str().unwrap().parse().unwrap();
        assert!(times.insert(at.timestamp_millis()), "{run}");
    }
    let missing: Vec<_> = (1..=18)
        .map(|k| (last + chrono::Duration::seconds(k)).timestamp_millis())
        .filter(|at| !times.contains(at))
        .collect();
    assert!(missing.is_empty(), "{missing:?} after {last}");
    let record = bucket.get(&key).await.unwrap().unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(record["acted_ahead"].as_array().unwrap().len(), 1, "{record}");
}
