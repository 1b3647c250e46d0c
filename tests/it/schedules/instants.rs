//! Instants: there is one way to read what users write, and what is shown can be written again.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::harness::{Nats, far, in_ms};
use crate::http::Http;

/// The last second of yesterday, and the one after it that no clock shows.
fn second_60() -> String {
    let yesterday = (Utc::now() - chrono::Duration::days(1)).date_naive();
    format!("{yesterday}T23:59:60Z")
}

fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap();
    DateTime::parse_from_rfc3339(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_utc()
}

/// Writes of the bucket while a schedule fires a few times: a loop would write thousands.
async fn check_quiet(nats: &Nats, id: &str) {
    let before = nats.record_revision(id).await;
    let fired = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", fired + 3).await;
    let writes = nats.record_revision(id).await - before;
    assert!(writes < 30, "{writes} writes for 3 occurrences");
}

#[tokio::test]
async fn second_60_is_the_second_after_it() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let at = second_60();
    for catch_up in ["latest", "all"] {
        let request = json!({ "name": catch_up, "schedule_type": "interval", "interval_seconds": 1,
                              "start_at": at, "catch_up": catch_up, "target_command": "cmd.example.leap" });
        let id = nats.create(request).await;
        check_quiet(&nats, &id).await;
        let shown = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        assert!(shown["start_at"].as_str().unwrap().ends_with("T00:00:00Z"), "{shown}");
        let preview = json!({ "schedule_id": id, "after": at, "count": 3 });
        let preview = nats.ask("schedule.preview", preview).await;
        let times: Vec<_> = preview["occurrences"].as_array().unwrap().iter().map(time).collect();
        assert!(times.is_sorted_by(|a, b| a < b), "{preview}");
        nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    }
    let soon = (Utc::now() + chrono::Duration::minutes(2)).format("%Y-%m-%dT%H:%M:60Z").to_string();
    let once = json!({ "name": "once", "schedule_type": "one_time", "scheduled_at": soon,
                       "target_command": "cmd.example.leap" });
    let shown = nats.ask("schedule.create", once).await;
    assert!(shown["scheduled_at"].as_str().unwrap().ends_with(":00Z"), "{shown}");
    assert_eq!(shown["scheduled_at"], shown["next_run_at"]);
}

#[tokio::test]
async fn records_with_second_60_are_put_right_when_they_are_read() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let beat = json!({ "name": "old", "schedule_type": "interval", "interval_seconds": 1,
                       "target_command": "cmd.example.leap", "catch_up": "all" });
    let (id, once) = (nats.create(beat).await, nats.create(far("once")).await);
    service.stop().await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let at = second_60();
    for (id, field) in [(&id, "start_at"), (&once, "scheduled_at")] {
        let key = format!("schedule.{id}");
        let record = bucket.get(&key).await.unwrap().unwrap();
        let mut record: Value = serde_json::from_slice(&record).unwrap();
        let stored = if field == "start_at" {
            at.clone()
        } else {
            (Utc::now() + chrono::Duration::hours(1)).format("%Y-%m-%dT%H:%M:60Z").to_string()
        };
        record["spec"]["timing"][field] = json!(stored);
        record["next_run_at"] = json!(stored);
        bucket.put(&key, record.to_string().into()).await.unwrap();
    }
    let _service = nats.service().await;
    check_quiet(&nats, &id).await;
    for id in [&id, &once] {
        let shown = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        for field in ["start_at", "scheduled_at", "next_run_at"] {
            assert!(!shown[field].as_str().unwrap_or_default().contains(":60"), "{shown}");
        }
    }
}

/// All fields of a request that are instants, with the names of what they stand in.
fn instants(schema: &Value, root: &Value, found: &mut Vec<Vec<String>>, path: &[String]) {
    let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next());
    let schema = name.map_or(schema, |name| &root["$defs"][name]);
    if schema["format"] == "date-time" {
        found.push(path.to_vec());
    }
    for any in ["anyOf", "allOf"].iter().filter_map(|key| schema[*key].as_array()).flatten() {
        instants(any, root, found, path);
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        instants(field, root, found, &[path, std::slice::from_ref(name)].concat());
    }
}

#[tokio::test]
async fn every_field_that_is_an_instant_takes_rfc_3339_and_nothing_else() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let (mut tried, good) = (0, "2026-01-31T09:00:60+01:00");
    for operation in nats_scheduler::api::operations::operations() {
        let mut generator = schemars::SchemaGenerator::default();
        let schema = (operation.request_schema)(&mut generator).to_value();
        let root = json!({ "$defs": generator.take_definitions(true) });
        let mut found = Vec::new();
        instants(&schema, &root, &mut found, &[]);
        for path in found {
            tried += 1;
            for (text, is_sound) in [
                (good, true),
                (" 2026-01-31T09:00:00Z", false),
                ("2026-01-31T09:00:00Z ", false),
                ("2026-01-31T09:00:00+0100", false),
                ("9999-12-31T23:59:59.999-23:59", false),
                ("+10000-01-01T00:00:00Z", false),
            ] {
                let mut request = json!(text);
                for name in path.iter().rev() {
                    request = json!({ name: request });
                }
                let reply = nats.request(operation.name, &request).await;
                let details = reply["error"]["details"].as_array().cloned().unwrap_or_default();
                let refused = details.iter().any(|fault| {
                    fault["field"] == path.join(".")
                        && ["RFC 3339", "0000 to 9999"]
                            .iter()
                            .any(|text| fault["reason"].as_str().unwrap().contains(text))
                });
                assert_eq!(refused, !is_sound, "{} {request}: {reply}", operation.name);
            }
        }
    }
    assert!(tried >= 15, "{tried} fields");
    let http = Http::new(&service).await;
    for (text, status) in [
        ("2026-01-31T09:00:60Z", 200),
        ("2026-01-31T09:00:00%2B0100", 400),
        ("%202026-01-31T09:00:00Z", 400),
    ] {
        let answer = http.get(&format!("/api/v1/executions?started_after={text}")).await;
        assert_eq!(answer.status, status, "{text}: {answer:?}");
    }
}

/// Near the end of what a clock can say.
const LAST: &str = "+262142-12-31T23:59:59.999Z";
/// And near its beginning.
const FIRST: &str = "-262143-01-01T00:00:00Z";

#[tokio::test]
async fn records_of_the_end_of_time_stop_nothing() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let waiting = |at: &str| {
        json!([{ "execution_id": uuid::Uuid::new_v4(), "scheduled_for": at, "number": 1,
                 "phase": "waiting", "due_at": at }])
    };
    let running = |at: &str| {
        json!([{ "execution_id": uuid::Uuid::new_v4(), "scheduled_for": at, "number": 1,
                 "phase": "running", "since": at, "deadline": at, "heartbeat_seconds": u32::MAX,
                 "heard_at": at }])
    };
    let soon = in_ms(0);
    let retry = json!({ "initial_seconds": u32::MAX, "multiplier": 1e300, "max_seconds": u32::MAX,
                        "jitter": 1e300, "non_retryable": [] });
    let mut ids = Vec::new();
    for at in [FIRST, LAST] {
        for (n, changes) in [
            vec![("/next_run_at", json!(at))],
            vec![("/next_run_at", json!(soon)), ("/spec/timing/start_at", json!(at))],
            vec![("/spec/timing/start_at", json!(at)), ("/spec/timing/end_at", json!(at))],
            vec![("/last_scheduled_for", json!(at)), ("/updated_at", json!(at))],
            vec![("/attempts", waiting(at))],
            vec![("/attempts", running(at))],
            vec![("/spec/timing/interval_seconds", json!(u32::MAX)), ("/next_run_at", json!(soon))],
            vec![("/spec/retry", retry.clone()), ("/spec/timing/jitter_seconds", json!(u32::MAX))],
        ]
        .into_iter()
        .enumerate()
        {
            let target = if n % 2 == 0 { "cmd.example.end" } else { "cmd.nobody.end" };
            let id = nats
                .create(json!({ "name": format!("{at} {n}"), "schedule_type": "interval",
                                "interval_seconds": 1, "target_command": target }))
                .await;
            let key = format!("schedule.{id}");
            let record = bucket.get(&key).await.unwrap().unwrap();
            let mut record: Value = serde_json::from_slice(&record).unwrap();
            for (pointer, value) in changes {
                let (parent, field) = pointer.rsplit_once('/').unwrap();
                record.pointer_mut(parent).unwrap()[field] = value;
            }
            bucket.put(&key, record.to_string().into()).await.unwrap();
            ids.push(id);
        }
    }
    for id in &ids {
        for after in [json!(null), json!("9999-12-31T23:59:59Z"), json!("0000-01-01T00:00:00Z")] {
            let preview = json!({ "schedule_id": id, "after": after, "count": 1000 });
            let reply = nats.request("schedule.preview", &preview).await;
            assert_ne!(reply["error"]["code"], "internal", "{reply}");
        }
        for operation in ["schedule.get", "schedule.pause", "schedule.resume", "schedule.trigger"] {
            let reply = nats.request(operation, &json!({ "schedule_id": id })).await;
            assert_ne!(reply["error"]["code"], "internal", "{operation}: {reply}");
        }
    }
    let beat = nats.create_beats(1, "cmd.example.beat").await.remove(0);
    nats.wait_executions(json!({ "schedule_id": beat, "status": "success" }), 3).await;
    for id in &ids {
        let reply = nats.request("schedule.delete", &json!({ "schedule_id": id })).await;
        assert_ne!(reply["error"]["code"], "internal", "{reply}");
    }
    assert!(!service.log().contains("panicked"), "a part of the service has panicked");
}
