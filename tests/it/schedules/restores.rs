//! Fate of softly deleted schedules.

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Nats, far, in_ms, wait_for};

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
    // Its own millisecond is not past yet.
    let past = at + chrono::Duration::milliseconds(50);
    tokio::time::sleep((past - Utc::now()).to_std().unwrap_or_default()).await;
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

#[tokio::test]
async fn restoring_one_schedule_many_times_at_once_keeps_its_name() {
    let nats = Nats::start().await;
    let limit = [("MAX_SCHEDULES_PER_CREATOR", "2")];
    let _instances = (nats.service_with(&limit).await, nats.service_with(&limit).await);
    let other = nats.create(far("other")).await;
    for round in 0..8 {
        let name = format!("again {round}");
        let id = nats.create(far(&name)).await;
        let by_id = json!({ "schedule_id": id });
        nats.ask("schedule.delete", by_id.clone()).await;
        let replies = join_all((0..6).map(|_| nats.request("schedule.restore", &by_id))).await;
        let done = replies.iter().filter(|reply| reply.get("data").is_some()).count();
        assert_eq!(done, 1, "{replies:?}");
        for reply in replies.iter().filter(|reply| reply.get("data").is_none()) {
            assert_eq!(reply["error"]["code"], "not_allowed", "{reply}");
        }
        // There is room, and the name is taken all the same.
        nats.ask("schedule.delete", json!({ "schedule_id": other })).await;
        let error = nats.refused("schedule.create", far(&name)).await;
        assert_eq!(error["code"], "already_exists", "{error}");
        nats.ask("schedule.delete", json!({ "schedule_id": id, "hard_delete": true })).await;
        nats.ask("schedule.restore", json!({ "schedule_id": other })).await;
    }
}

#[tokio::test]
async fn restoring_what_is_still_under_way_waits_for_its_outcome() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut worker = nats.client.subscribe("cmd.slow.answer").await.unwrap();
    let mut soon = far("slow");
    soon["scheduled_at"] = json!(in_ms(300));
    soon["target_command"] = json!("cmd.slow.answer");
    soon["delivery"] = json!({ "mode": "request" });
    let id = nats.create(soon).await;
    let by_id = json!({ "schedule_id": id });
    let request = worker.next().await.unwrap();
    nats.ask("schedule.delete", by_id.clone()).await;
    assert_eq!(nats.ask("schedule.restore", by_id.clone()).await["status"], "active");
    nats.client.publish(request.reply.unwrap(), "{}".into()).await.unwrap();
    wait_for("the outcome", || async {
        let schedule = nats.ask("schedule.get", by_id.clone()).await;
        (schedule["status"] == "completed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn dying_while_a_name_is_taken_over_leaves_it_to_one() {
    let nats = Nats::start().await;
    let die = async |point: &str, operation: &str, body: Value| {
        let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
        let subject = format!("cmd.scheduler.{operation}");
        let client = nats.client.clone();
        let asking = tokio::spawn(async move {
            // It retries by itself until the reservation is old enough to be taken over.
            loop {
                let body = body.to_string().into();
                let _ = client.request(subject.clone(), body).await;
            }
        });
        dying.exited().await;
        asking.abort();
    };
    // The first leaves a reservation behind, the second dies while it takes that over.
    die("after_reserve", "schedule.create", far("contested")).await;
    die("after_fence", "schedule.create", far("contested")).await;
    let _next = nats.service().await;
    let created = wait_for("the name", || async {
        let reply = nats.request("schedule.create", &far("contested")).await;
        reply["data"]["id"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(nats.refused("schedule.create", far("contested")).await["code"], "already_exists");
    let list = nats.request("schedule.list", &json!({})).await;
    assert_eq!(list["pagination"]["total"], 1);
    assert_eq!(list["data"][0]["id"], json!(created));
}
