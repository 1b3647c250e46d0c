//! Records that need a newer version: older instances leave them alone, and newer ones act on them.

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Nats, far, in_ms, wait_for};

/// Makes a record one that needs format 8, as a newer version would.
async fn make_newer(nats: &Nats, id: &str) {
    wait_for("the record to be written", || async {
        let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
        let key = format!("schedule.{id}");
        let entry = bucket.entry(&key).await.unwrap().unwrap();
        let mut record: Value = serde_json::from_slice(&entry.value).unwrap();
        (record["format"], record["needs"]) = (json!(8), json!(8));
        record["spec"]["overlap"] = json!("skip");
        bucket.update(key, record.to_string().into(), entry.revision).await.ok()
    })
    .await;
}

#[tokio::test]
async fn calendars_and_groups_that_need_more_are_left_to_newer_instances() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    nats.ask("calendar.put", json!({ "name": "c" })).await;
    nats.ask("group.put", json!({ "name": "c", "limit": 1 })).await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    // The name in base64.
    for (kind, key) in [("calendar", "calendar.Yw"), ("group", "group.Yw")] {
        let entry = bucket.entry(key).await.unwrap().unwrap();
        let mut value: Value = serde_json::from_slice(&entry.value).unwrap();
        (value["format"], value["needs"]) = (json!(8), json!(8));
        let revision = bucket.put(key, value.to_string().into()).await.unwrap();
        for (operation, request) in [
            ("get", json!({ "name": "c" })),
            ("put", json!({ "name": "c", "limit": 2 })),
            ("delete", json!({ "name": "c" })),
        ] {
            let mut request = request;
            if kind == "calendar" {
                request.as_object_mut().unwrap().remove("limit");
            }
            let error = nats.refused(&format!("{kind}.{operation}"), request).await;
            assert_eq!(error["code"], "unavailable", "{kind}.{operation}: {error}");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains("newer version") && message.contains(kind), "{message}");
        }
        assert_eq!(bucket.entry(key).await.unwrap().unwrap().revision, revision, "{kind}");
    }
}

#[tokio::test]
async fn a_record_that_needs_more_is_left_alone_and_not_lost() {
    let nats = Nats::start().await;
    let settings = [("MAX_SCHEDULES_PER_CREATOR", "2")];
    let _service = nats.service_with(&settings).await;
    let mut later = far("soon");
    later["scheduled_at"] = json!(in_ms(4000));
    let id = nats.create(later.clone()).await;
    make_newer(&nats, &id).await;
    let left = wait_for("it to be left", || async {
        let status = nats.ask("status", json!({})).await;
        (status["left_to_newer"]["count"] == 1).then(|| status.clone())
    })
    .await;
    assert_eq!(left["left_to_newer"], json!({ "count": 1, "needs": 8, "supported": 7 }));
    assert_eq!(left["set_aside"], json!([]));
    // Nobody acts on it, and that is said.
    assert!(left["problems"].to_string().contains("need a newer version"), "{left}");
    let before = nats.record_revision(&id).await;
    for (operation, more) in [
        ("schedule.get", json!({})),
        ("schedule.update", json!({ "priority": 9 })),
        ("schedule.pause", json!({ "reason": "r" })),
        ("schedule.trigger", json!({})),
        ("schedule.delete", json!({})),
        ("schedule.delete", json!({ "hard_delete": true })),
    ] {
        let mut request = json!({ "schedule_id": id });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = nats.refused(operation, request).await;
        assert_eq!(error["code"], "unavailable", "{operation}: {error}");
    }
    // It keeps its name and its place among its creator's.
    assert_eq!(nats.refused("schedule.create", later).await["code"], "already_exists");
    nats.create(far("second")).await;
    assert_eq!(nats.refused("schedule.create", far("third")).await["code"], "limit_exceeded");
    // Its time passes.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(nats.count("COMMANDS").await, 0);
    assert_eq!(nats.record_revision(&id).await, before);
    // A newer instance acts on it.
    let _newer = nats.service_with(&[("NATS_SCHEDULER_FORMAT", "8")]).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(nats.count("COMMANDS").await, 1);
    wait_for("both to be content", || async {
        let status = nats.ask("status", json!({})).await;
        (status["instances"] == 2 && status["status"] == "ok").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_record_that_needs_more_is_on_time_where_newer_instances_run() {
    let nats = Nats::start().await;
    let _older = (nats.service().await, nats.service().await, nats.service().await);
    let _newer = nats.service_with(&[("NATS_SCHEDULER_FORMAT", "8")]).await;
    let ids = nats.create_beats(8, "cmd.example.newer").await;
    // In full swing: what older ones have claimed by then is acted on.
    nats.wait_count("COMMANDS", 24).await;
    for id in &ids {
        make_newer(&nats, id).await;
    }
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 48).await;
    let mut late = Vec::new();
    for message in nats.messages("COMMANDS").await {
        let due = message.headers.get("Scheduler-Scheduled-For").unwrap().as_str();
        let due = due.parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        late.push((message.time - due).num_milliseconds());
    }
    late.sort_unstable();
    // Those that may not act on it are not waited for.
    assert!(late[late.len() * 9 / 10] < 200, "{late:?}");
    let mut seen = std::collections::HashMap::new();
    for message in nats.messages("COMMANDS").await {
        let (id, at) = (
            message.headers.get("Scheduler-Schedule-Id").unwrap().to_string(),
            message.headers.get("Scheduler-Scheduled-For").unwrap().to_string(),
        );
        *seen.entry((id, at)).or_insert(0) += 1;
    }
    assert!(seen.values().all(|times| *times == 1), "{seen:?}");
}

/// Heartbeats of an instance of a newer version, which does nothing, until they are dropped.
fn newer_that_does_nothing(nats: &Nats) -> tokio_util::task::AbortOnDropHandle<()> {
    let (client, id) = (nats.client.clone(), Uuid::new_v4());
    let beating = tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        loop {
            tick.tick().await;
            let beat = json!({ "format": 1, "acts_on": 8 }).to_string();
            client.publish(format!("scheduler.instance.{id}"), beat.into()).await.unwrap();
        }
    });
    tokio_util::task::AbortOnDropHandle::new(beating)
}

#[tokio::test]
async fn ends_are_kept_for_newer_instances_that_are_heard() {
    let nats = Nats::start().await;
    let _older = nats.service().await;
    let newer = newer_that_does_nothing(&nats);
    let daily = json!({ "name": "upstream", "schedule_type": "cron", "cron_expression": "0 3 * * *",
        "start_at": "2026-01-01T00:00:00Z", "target_command": "cmd.example.upstream" });
    let upstream = nats.create(daily).await;
    let dependent = nats
        .create(json!({ "name": "dependent", "schedule_type": "dependent", "catch_up": "all",
            "after": { "schedule_id": upstream, "on": "completion" },
            "target_command": "cmd.example.dependent" }))
        .await;
    make_newer(&nats, &dependent).await;
    // More ends than would be kept if nobody was heard.
    let span = json!({ "schedule_id": upstream, "from": "2026-02-01T00:00:00Z",
        "to": "2026-03-17T00:00:00Z" });
    assert_eq!(nats.ask("schedule.backfill", span).await["count"], 44);
    nats.wait_executions(json!({ "schedule_id": upstream, "status": "success", "limit": 100 }), 44)
        .await;
    let noted = async || nats.record(&upstream).await["ended"].as_array().map_or(0, Vec::len);
    wait_for("all of them to be noted", || async { (noted().await == 44).then_some(()) }).await;
    // The older instance looks again every two seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(noted().await, 44);
    let _newer = nats.service_with(&[("NATS_SCHEDULER_FORMAT", "8")]).await;
    drop(newer);
    nats.wait_executions(
        json!({ "schedule_id": dependent, "status": "success", "limit": 100 }),
        44,
    )
    .await;
}
