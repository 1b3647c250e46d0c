//! Compatibility of stored values: what earlier versions wrote is read and acted on, and what newer ones wrote is kept
//! or left to them.
//!
//! `tests/formats/<n>.json` is everything that a service of format n stored, frozen: it must stay readable for ever. A
//! new format gets a file of its own.

use nats_scheduler::index::read_record;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::harness::{Nats, far, wait_for};

const FROZEN: [&str; 8] = [
    include_str!("../../formats/0.json"),
    include_str!("../../formats/1.json"),
    include_str!("../../formats/2.json"),
    include_str!("../../formats/3.json"),
    include_str!("../../formats/4.json"),
    include_str!("../../formats/5.json"),
    include_str!("../../formats/6.json"),
    include_str!("../../formats/7.json"),
];
const BUCKET: &str = "KV_scheduler_schedules";

struct Row {
    stream: &'static str,
    subject: String,
    headers: Map<String, Value>,
    body: String,
}

fn rows(frozen: &str) -> Vec<Row> {
    let all: Value = serde_json::from_str(frozen).unwrap();
    let streams = [BUCKET, "SCHEDULER_EXECUTIONS", "SCHEDULER_AUDIT"];
    let of = |stream: &'static str| {
        let rows = all[stream].as_array().unwrap().clone();
        rows.into_iter().map(move |row| Row {
            stream,
            subject: row["subject"].as_str().unwrap().to_owned(),
            headers: row["headers"].as_object().unwrap().clone(),
            body: row["body"].as_str().unwrap().to_owned(),
        })
    };
    streams.into_iter().flat_map(of).collect()
}

/// The records of schedules in a frozen store.
fn records(frozen: &str) -> Vec<Value> {
    let rows = rows(frozen).into_iter().filter(|row| row.subject.contains(".schedule."));
    let rows = rows.filter(|row| row.stream == BUCKET);
    rows.map(|row| serde_json::from_str(&row.body).unwrap()).collect()
}

/// A server that holds what a service stored, each value as `change` makes it.
async fn restored(frozen: &str, change: impl Fn(&Row, Value) -> Value) -> Nats {
    let nats = Nats::start().await;
    // Makes the streams as this version has them.
    let mut service = nats.service().await;
    assert!(service.stop().await.success());
    for row in rows(frozen) {
        let mut headers = async_nats::HeaderMap::new();
        for (name, value) in &row.headers {
            headers.insert(name.as_str(), value.as_str().unwrap());
        }
        // Raw, so that numbers stay as they were written.
        let body = match change(&row, Value::Null) {
            Value::Null => row.body.clone(),
            fields => with_fields(&row.body, &fields),
        };
        let ack = nats.js.publish_with_headers(row.subject, headers, body.into()).await.unwrap();
        ack.await.unwrap();
    }
    nats
}

/// An object of JSON text with more fields.
fn with_fields(object: &str, fields: &Value) -> String {
    let fields = fields.to_string();
    format!("{},{}", &object[..object.len() - 1], &fields[1..])
}

async fn stored_text(nats: &Nats, key: &str) -> String {
    let bucket = nats.js.get_stream(BUCKET).await.unwrap();
    let subject = format!("$KV.scheduler_schedules.{key}");
    let message = bucket.get_last_raw_message_by_subject(&subject).await.unwrap();
    String::from_utf8(message.payload.to_vec()).unwrap()
}

async fn stored(nats: &Nats, key: &str) -> Value {
    serde_json::from_str(&stored_text(nats, key).await).unwrap()
}

async fn id_of(nats: &Nats, name: &str) -> String {
    let request = json!({ "name": name });
    let reply = nats.request("schedule.list", &json!({})).await;
    let found = reply["data"].as_array().unwrap().iter().find(|one| one["name"] == name);
    found.unwrap_or_else(|| panic!("no {request} in {reply}"))["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn what_every_format_stored_is_read_fired_and_rewritten() {
    for frozen in FROZEN {
        let nats = restored(frozen, |_, nothing| nothing).await;
        let history = nats.count("SCHEDULER_EXECUTIONS").await;
        let _service = nats.service().await;
        let status = nats.ask("status", json!({})).await;
        assert_eq!(status["set_aside"], json!([]));
        assert_eq!(status["left_to_newer"]["count"], 0);
        // It fires, also what was claimed by an instance that is no more, and what follows it.
        nats.wait_executions(json!({ "status": "success" }), history + 3).await;
        for name in ["cron", "follower"] {
            let id = id_of(&nats, name).await;
            let filter = json!({ "schedule_id": id, "status": "success" });
            let shown = nats.wait_executions(filter, 3).await;
            let story = nats.ask("execution.get", json!({ "execution_id": shown[0]["id"] })).await;
            assert_eq!(story["schedule_name"], name);
            assert_eq!(stored(&nats, &format!("schedule.{id}")).await["format"], 7);
        }
        // What was stored of executions is shown as it was.
        let skipped = nats.wait_executions(json!({ "status": "skipped" }), 1).await;
        assert!(skipped.iter().any(|one| one["skipped"]["cause"] == "overlap"), "{skipped:?}");
        // Names are taken, and users can change what is there.
        let taken = json!({ "name": "paused", "created_by": "bob" });
        let mut again = far("paused");
        again.as_object_mut().unwrap().extend(taken.as_object().unwrap().clone());
        assert_eq!(nats.refused("schedule.create", again).await["code"], "already_exists");
        let paused = id_of(&nats, "paused").await;
        let resumed = nats.ask("schedule.resume", json!({ "schedule_id": paused })).await;
        assert_eq!((&resumed["status"], &resumed["revision"]), (&json!("active"), &json!(3)));
        let worked = id_of(&nats, "every field").await;
        let update = json!({ "schedule_id": worked, "priority": 2 });
        nats.ask("schedule.update", update).await;
        let text = stored_text(&nats, &format!("schedule.{worked}")).await;
        assert!(text.contains("12345678901234567890123"), "{text}");
        check_alerts(&nats, frozen).await;
        check_pauses_of_all(&nats, frozen).await;
        check_calendars(&nats, frozen).await;
        check_groups(&nats, frozen).await;
        check_reruns(&nats, frozen).await;
        // What was sent is found, also of events whose headers do not say.
        let sent = json!({ "command_sent": "cmd.nowhere.x", "status": "failed" });
        let all = nats.ask("execution.list", json!({ "status": "failed", "limit": 100 })).await;
        let all = all.as_array().unwrap();
        let to = |command: &Value| all.iter().filter(|one| one["command_sent"] == *command).count();
        let command = &all.last().unwrap()["command_sent"];
        let found = nats
            .request("execution.list", &json!({ "command_sent": command, "status": "failed" }))
            .await;
        assert_eq!(found["data"].as_array().unwrap().len(), to(command), "{found}");
        assert_eq!(nats.ask("execution.list", sent).await, json!([]));
    }
}

/// A request to run many again by what was sent is carried out.
async fn check_reruns(nats: &Nats, frozen: &str) {
    if !frozen.contains("$KV.scheduler_schedules.rerun.") {
        return;
    }
    wait_for("the end of the rerun", || async {
        let all = nats.ask("rerun.list", json!({})).await;
        (all[0]["status"] == "done").then_some(())
    })
    .await;
}

/// The change that had not been announced is, and the pauses go on explaining.
async fn check_pauses_of_all(nats: &Nats, frozen: &str) {
    if !frozen.contains("$KV.scheduler_schedules.pause_all") {
        return;
    }
    let all = crate::requests::audit::events(nats, "00000000-0000-0000-0000-000000000000", 1).await;
    assert_eq!(all[0]["event"], "resumed_all");
    let kept = wait_for("the event to be taken out", || async {
        let kept = stored(nats, "pause_all").await;
        kept.get("events").is_none().then_some(kept)
    })
    .await;
    assert_eq!(
        (&kept["pauses"][0]["reason"], &kept["revision"]),
        (&json!("the database moves"), &json!(4))
    );
    assert!(nats.ask("status", json!({})).await["all_paused"].is_null());
}

/// One schedule has a slot of a group, which it keeps; another one gets the slot of a schedule that is gone.
async fn check_groups(nats: &Nats, frozen: &str) {
    if !frozen.contains("$KV.scheduler_schedules.group.") {
        return;
    }
    wait_for("the slot", || async {
        let group = nats.ask("group.get", json!({ "name": "warehouse" })).await;
        let slots = group["slots"].as_array()?.iter();
        let names: Vec<_> = slots.filter_map(|slot| slot["schedule_name"].as_str()).collect();
        assert!(names.contains(&"sales"), "{group}");
        (names == ["sales", "returns"]).then_some(())
    })
    .await;
}

/// A schedule goes by its calendar, whose change that had not been announced is.
async fn check_calendars(nats: &Nats, frozen: &str) {
    if !frozen.contains("$KV.scheduler_schedules.calendar.") {
        return;
    }
    let calendar = nats.ask("calendar.get", json!({ "name": "holidays" })).await;
    assert_eq!((&calendar["day_count"], &calendar["used_by"]), (&json!(2), &json!(1)));
    let events =
        crate::requests::audit::events(nats, calendar["calendar_id"].as_str().unwrap(), 2).await;
    assert_eq!((&events[1]["event"], &events[1]["spans"]), (&json!("calendar_put"), &json!(1)));
    let asked = json!({ "schedule_name": "daily", "creator": "bob", "from": "2026-12-24T00:00:00Z",
                        "to": "2026-12-27T00:00:00Z" });
    let told = nats.ask("schedule.explain", asked).await;
    let line = &told["times"][0];
    assert_eq!((&line["outcome"], &line["count"]), (&json!("excluded"), &json!(3)), "{told}");
}

/// What was failing and overdue when it was stored has recovered, and says so.
async fn check_alerts(nats: &Nats, frozen: &str) {
    let stored = records(frozen);
    let was_failing = |one: &&Value| one["standing"]["alerts"]["failing_since"].is_string();
    for record in stored.iter().filter(was_failing) {
        wait_for("the recovery to be announced", || async {
            let asked = json!({ "schedule_id": record["id"], "event": "recovered" });
            let found = nats.ask("audit.list", asked).await;
            let from = found[0]["recovered_from"].clone();
            (from == json!(["failing", "overdue"])).then_some(())
        })
        .await;
    }
}

/// Fields of a newer version.
fn newer() -> Value {
    json!({ "zz_new": { "a": [1, null, "x"] }, "zz_more": 2.5 })
}

fn has_newer(value: &Value) -> bool {
    let new = newer();
    new.as_object().unwrap().iter().all(|(name, new)| &value[name] == new)
}

#[tokio::test]
async fn fields_of_newer_versions_survive_what_older_ones_do() {
    let nats = restored(FROZEN[7], |row, _| {
        if row.subject.contains(".schedule.") && row.stream == BUCKET {
            Value::Null
        } else {
            newer()
        }
    })
    .await;
    // And within the records, at every level.
    for mut record in records(FROZEN[7]) {
        // Numbers that a reader of JSON would change are not what this is about.
        if record["spec"]["name"] == "every field" {
            record["spec"]["command_payload"] = json!({});
        }
        add_everywhere(&mut record, &newer());
        let id = record["id"].as_str().unwrap();
        let subject = format!("$KV.scheduler_schedules.schedule.{id}");
        nats.js.publish(subject, record.to_string().into()).await.unwrap().await.unwrap();
    }
    let history = nats.count("SCHEDULER_EXECUTIONS").await;
    let _service = nats.service().await;
    nats.wait_executions(json!({ "status": "success" }), history + 4).await;
    let id = id_of(&nats, "cron").await;
    for (operation, more) in [
        ("schedule.pause", json!({ "reason": "r" })),
        ("schedule.resume", json!({})),
        ("schedule.trigger", json!({})),
        ("schedule.update", json!({ "priority": 9, "name": "cron 2" })),
        (
            "schedule.update",
            json!({ "cron_expression": "*/3 * * * * *", "delivery": { "mode": "core" } }),
        ),
        ("schedule.update", json!({ "retry": { "max_seconds": 9 } })),
        ("schedule.delete", json!({})),
        ("schedule.restore", json!({})),
    ] {
        let mut request = json!({ "schedule_id": id });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        nats.ask(operation, request).await;
    }
    let record = stored(&nats, &format!("schedule.{id}")).await;
    let standing = ["/standing", "/standing/alerts"];
    let spec = ["", "/spec", "/spec/timing", "/spec/delivery", "/spec/retry"];
    for place in spec.into_iter().chain(standing) {
        assert!(has_newer(record.pointer(place).unwrap()), "{place}: {record}");
    }
    let follower = stored(&nats, &format!("schedule.{}", id_of(&nats, "follower").await)).await;
    assert!(has_newer(&follower["spec"]["timing"]["after"]), "{follower}");
    // An attempt that a worker has, through a heartbeat.
    let id = id_of(&nats, "every field").await;
    let record = stored(&nats, &format!("schedule.{id}")).await;
    let attempts = record["attempts"].as_array().unwrap();
    let running = attempts.iter().find(|attempt| attempt["phase"] == "running").unwrap();
    let request = json!({ "execution_id": running["execution_id"], "token": running["token"] });
    nats.ask("execution.heartbeat", request).await;
    let record = stored(&nats, &format!("schedule.{id}")).await;
    let attempts = record["attempts"].as_array().unwrap();
    let heard = attempts.iter().find(|attempt| attempt["heard_at"].is_string()).unwrap();
    assert!(has_newer(heard), "{heard}");
    // What it ends with starts from what was said when it began.
    let request = json!({ "execution_id": running["execution_id"], "token": running["token"] });
    nats.ask("execution.complete", request).await;
    let done = json!({ "schedule_id": id, "status": "success" });
    let done = nats.wait_executions(done, 1).await;
    let story = nats.ask("execution.get", json!({ "execution_id": done[0]["id"] })).await;
    assert!(has_newer(&story) && story["attempts"].is_array(), "{story}");
}

/// Adds fields to every object of a record that is ours, and not a user's.
fn add_everywhere(value: &mut Value, fields: &Value) {
    match value {
        Value::Object(object) => {
            for (name, value) in object.iter_mut() {
                if !["command_payload", "payload", "body", "writer"].contains(&name.as_str()) {
                    add_everywhere(value, fields);
                }
            }
            object.extend(fields.as_object().unwrap().clone());
        }
        Value::Array(values) => values.iter_mut().for_each(|value| add_everywhere(value, fields)),
        _ => {}
    }
}

/// A record with everything that a record can hold.
fn full_record() -> Value {
    let mut all = records(FROZEN[7]).into_iter();
    let mut record = all.find(|record| record["spec"]["name"] == "every field").unwrap();
    let (at, id) = ("2026-01-01T00:00:00Z", "018f0000-0000-7000-8000-000000000001");
    record["spec"]["command_payload"] = json!({});
    record["backfill"] =
        json!({ "id": id, "next": at, "until": at, "by": "b", "correlation_id": "c" });
    record["ended"] =
        json!([{ "execution_id": id, "success": true, "correlation_id": "c", "at": at }]);
    record["spec"]["timing"]["after"] = json!({ "schedule_id": id, "on": "failure" });
    record["deleted_from"] = json!("paused");
    record["resumption"] = json!({ "at": at, "correlation_id": "c" });
    record["spec"]["expect_success_within_seconds"] = json!(60);
    record["spec"]["failing_after"] = json!(2);
    let alerts = json!({ "failing_since": at, "overdue_since": at, "expected_since": at });
    record["standing"] =
        json!({ "last_outcome": "cancelled", "last_success_at": at, "alerts": alerts });
    record["needs"] = json!(3);
    let attempt = |more: Value| {
        let mut attempt = json!({ "execution_id": id, "scheduled_for": at, "number": 1 });
        attempt.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        attempt
    };
    let report = json!({ "ending": "failed", "at": at, "error_type": "e", "is_final": true });
    let cancel = json!({ "by": "ops", "reason": "r" });
    record["attempts"].as_array_mut().unwrap().extend([
        attempt(json!({ "phase": "claimed", "by": id, "at": at, "until": at, "cancel": cancel })),
        attempt(json!({ "phase": "corrected", "by": id, "cause": "missed", "last": at, "count": 0 })),
        attempt(json!({ "phase": "reported", "by": id, "since": at, "report": report })),
        attempt(json!({ "phase": "skipped", "by": id, "cause": "bank_holiday", "last": at, "count": 3 })),
    ]);
    record["events"][0]["kind"] = json!("applied");
    record["acted_ahead"] = json!([at]);
    record
}

fn field() -> impl Strategy<Value = (String, Value)> {
    let value = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..3).prop_map(Value::from),
        Just(json!({ "a": { "b": [] } })),
    ];
    ("zz_.{0,6}", value)
}

proptest! {
    #[test]
    fn a_record_with_any_unknown_fields_is_rewritten_with_all_of_them(
        fields in prop::collection::btree_map(field().prop_map(|(name, _)| name), field(), 1..5),
    ) {
        let fields: Map<String, Value> =
            fields.into_iter().map(|(name, (_, value))| (name, value)).collect();
        let mut record = full_record();
        add_everywhere(&mut record, &Value::Object(fields));
        let (mut schedule, _) = read_record(None, record.to_string().as_bytes()).unwrap();
        let written = serde_json::to_value(&schedule).unwrap();
        prop_assert_eq!(&written, &record);
        // Who writes it next changes nothing but who wrote it.
        let writer = schedule.writer;
        schedule.sign(writer);
        prop_assert_eq!(&serde_json::to_value(&schedule).unwrap(), &record);
    }
}

#[tokio::test]
async fn keys_of_kinds_that_are_not_known_are_ignored() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    for key in ["calendar.holidays", "plain", "schedules.x", "template.018f"] {
        bucket.put(key, "{\"a\":1}".into()).await.unwrap();
    }
    let id = nats.create(far("after them")).await;
    nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(nats.ask("status", json!({})).await["set_aside"], json!([]));
}
