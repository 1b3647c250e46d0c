//! What becomes of schedules that are deleted softly.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::harness::{Nats, in_ms, wait_for};

fn far(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "one_time", "scheduled_at": in_ms(3_600_000),
            "target_command": "cmd.example.far" })
}

#[tokio::test]
async fn a_restored_schedule_goes_on_as_it_was() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let id = nats.create_beats(1, "cmd.example.back").await.remove(0);
    let by_id = json!({ "schedule_id": id });
    nats.wait_count("COMMANDS", 2).await;
    let deleted = nats.ask("schedule.delete", by_id.clone()).await;
    let purge_at: DateTime<Utc> = deleted["purge_at"].as_str().unwrap().parse().unwrap();
    assert!(purge_at > Utc::now() + chrono::Duration::days(29), "{deleted}");
    let listed = nats.ask("schedule.list", json!({ "status": "deleted" })).await;
    assert_eq!(listed[0]["id"], json!(id));
    let before = nats.count("COMMANDS").await;
    let asked = Utc::now();
    let by = [("X-Restored-By", "dora")];
    let (_, reply) = nats.request_with_headers("schedule.restore", &by, by_id.clone()).await;
    let restored = &reply["data"];
    assert_eq!(restored["status"], "active", "{reply}");
    assert_eq!(restored["deleted_at"], Value::Null);
    assert_eq!(restored["updated_by"], "dora");
    assert!(restored["run_count"].as_u64().unwrap() >= 1, "{restored}");
    let next: DateTime<Utc> = restored["next_run_at"].as_str().unwrap().parse().unwrap();
    assert!(next >= asked, "{next} {asked}");
    nats.wait_count("COMMANDS", before + 2).await;
    assert_eq!(nats.refused("schedule.restore", by_id).await["code"], "not_allowed");
    let event = wait_for("the event", || async {
        let messages = nats.messages("SCHEDULER_AUDIT").await;
        let subject = format!("evt.scheduler.schedule.restored.{id}");
        let found = messages.iter().find(|message| message.subject.as_str() == subject)?;
        Some(serde_json::from_slice::<Value>(&found.payload).unwrap())
    })
    .await;
    assert_eq!(event["restored_by"], "dora");
    assert_eq!(event["actor"], "dora");
}

#[tokio::test]
async fn restoring_gives_back_the_status_and_needs_the_name() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(far("named")).await;
    let by_id = json!({ "schedule_id": id });
    nats.ask("schedule.pause", json!({ "schedule_id": id, "reason": "why" })).await;
    let stale = json!({ "schedule_id": id, "expected_revision": 1 });
    assert_eq!(nats.refused("schedule.delete", stale.clone()).await["code"], "conflict");
    nats.ask("schedule.delete", json!({ "schedule_id": id, "expected_revision": 2 })).await;
    assert_eq!(nats.refused("schedule.restore", stale).await["code"], "conflict");
    let other = nats.create(far("named")).await;
    let error = nats.refused("schedule.restore", by_id.clone()).await;
    assert_eq!(error["code"], "already_exists");
    assert_eq!(error["details"][1]["reason"], json!(other));
    nats.ask("schedule.delete", json!({ "schedule_id": other, "hard_delete": true })).await;
    let restored = nats.ask("schedule.restore", by_id).await;
    assert_eq!(restored["status"], "paused");
    assert_eq!(restored["pause_reason"], "why");
    assert_eq!(nats.refused("schedule.create", far("named")).await["code"], "already_exists");
    let unknown = json!({ "schedule_id": uuid::Uuid::new_v4() });
    assert_eq!(nats.refused("schedule.restore", unknown).await["code"], "not_found");
}

#[tokio::test]
async fn a_one_time_whose_time_has_passed_is_restored_as_ended() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut soon = far("soon");
    soon["scheduled_at"] = json!(in_ms(1500));
    let id = nats.create(soon.clone()).await;
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    let at: DateTime<Utc> = soon["scheduled_at"].as_str().unwrap().parse().unwrap();
    tokio::time::sleep((at - Utc::now()).to_std().unwrap_or_default()).await;
    let restored = nats.ask("schedule.restore", json!({ "schedule_id": id })).await;
    assert_eq!(restored["status"], "failed", "{restored}");
    assert_eq!(restored["next_run_at"], Value::Null);
}

#[tokio::test]
async fn a_name_is_one_schedules_whoever_restores_and_creates_at_once() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    for round in 0..10 {
        let name = format!("race {round}");
        let id = nats.create(far(&name)).await;
        let by_id = json!({ "schedule_id": id });
        nats.ask("schedule.delete", by_id.clone()).await;
        let create = far(&name);
        let (restored, created) = tokio::join!(
            nats.request("schedule.restore", &by_id),
            nats.request("schedule.create", &create),
        );
        let done = [&restored, &created].map(|reply| reply.get("data").is_some());
        assert!(done[0] != done[1], "one of the two: {restored} {created}");
        let list = nats.request("schedule.list", &json!({ "name_prefix": name })).await;
        assert_eq!(list["pagination"]["total"], 1);
    }
}

#[tokio::test]
async fn what_was_deleted_softly_is_removed_after_its_time() {
    let nats = Nats::start().await;
    let kept = [("DELETED_RETENTION_SECONDS", "2")];
    let mut service = nats.service_with(&kept).await;
    let (gone, back) = (nats.create(far("gone")).await, nats.create(far("back")).await);
    for id in [&gone, &back] {
        nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    }
    nats.ask("schedule.restore", json!({ "schedule_id": back })).await;
    // However long nobody runs.
    service.kill();
    let _next = nats.service_with(&kept).await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    wait_for("the record to be gone", || async {
        bucket.get(format!("schedule.{gone}")).await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(
        nats.refused("schedule.restore", json!({ "schedule_id": gone })).await["code"],
        "not_found"
    );
    assert_eq!(nats.ask("schedule.get", json!({ "schedule_id": back })).await["status"], "active");
}
