//! Tests that every change is announced once and in order, whatever dies.

use serde_json::{Value, json};

use crate::harness::{Nats, in_ms, wait_for};

fn far(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "one_time", "scheduled_at": in_ms(3_600_000),
            "target_command": "cmd.example.far", "command_payload": { "secret": 1 } })
}

/// The events of a schedule, once there are `count` of them.
pub async fn events(nats: &Nats, id: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} events of {id}"), || async {
        let messages = nats.messages("SCHEDULER_AUDIT").await;
        let of_it: Vec<Value> = messages
            .iter()
            .filter(|message| message.subject.ends_with(id))
            .map(|message| {
                let event: Value = serde_json::from_slice(&message.payload).unwrap();
                let kind = event["event"].as_str().unwrap();
                assert_eq!(message.subject.as_str(), format!("evt.scheduler.schedule.{kind}.{id}"));
                event
            })
            .collect();
        assert!(of_it.len() <= count, "{of_it:?}");
        (of_it.len() == count).then_some(of_it)
    })
    .await
}

#[tokio::test]
async fn every_change_is_announced_in_order_with_who_what_and_why() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let ask = async |operation: &str, actor: &str, body: Value| {
        let by = [(actor, "alice"), ("X-Correlation-ID", operation)];
        let (_, reply) = nats.request_with_headers(operation, &by, body).await;
        assert!(reply.get("error").is_none(), "{reply}");
        reply["data"].clone()
    };
    let id = ask("schedule.create", "X-Created-By", far("told")).await["id"].clone();
    let mut update =
        json!({ "schedule_id": id, "priority": 9, "command_payload": { "secret": 2 } });
    ask("schedule.update", "X-Updated-By", update.clone()).await;
    ask("schedule.pause", "X-Paused-By", json!({ "schedule_id": id, "reason": "why not" })).await;
    ask("schedule.resume", "X-Resumed-By", json!({ "schedule_id": id })).await;
    let run = ask("schedule.trigger", "X-Triggered-By", json!({ "schedule_id": id })).await;
    ask("schedule.delete", "X-Deleted-By", json!({ "schedule_id": id, "hard_delete": true })).await;
    let events = events(&nats, id.as_str().unwrap(), 6).await;
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["created", "updated", "paused", "resumed", "triggered", "deleted"]);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["actor"], "alice");
        assert_eq!(event["schedule_id"], id);
        assert_eq!(event["name"], "told");
        assert_eq!(event["revision"], n + 1);
        assert!(event["time"].is_string() && event["event_id"].is_string());
        let request = ["create", "update", "pause", "resume", "trigger", "delete"][n];
        assert_eq!(event["correlation_id"], format!("schedule.{request}"));
    }
    assert_eq!(events[0]["target_command"], "cmd.example.far");
    assert_eq!(events[1]["updated_fields"], json!(["command_payload", "priority"]));
    assert_eq!(events[1]["changes"][1], json!({ "field": "priority", "old": 5, "new": 9 }));
    let payload = &events[1]["changes"][0];
    assert!(payload["old"].as_str().unwrap().starts_with("sha256:"), "{payload}");
    assert_ne!(payload["old"], payload["new"]);
    assert!(!events[1].to_string().contains("secret"), "payloads are not shown");
    assert_eq!(events[2]["reason"], "why not");
    assert_eq!(events[4]["execution_id"], run["execution_id"]);
    assert_eq!(events[5]["hard_delete"], true);
    update["priority"] = json!(1);
    assert_eq!(nats.refused("schedule.update", update).await["code"], "not_found");
    let key = format!("schedule.{}", id.as_str().unwrap());
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    wait_for("the record to be gone", || async {
        bucket.get(key.clone()).await.unwrap().is_none().then_some(())
    })
    .await;
}

async fn dies(point: &str) {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    // It may die before it can reply; the change is made all the same.
    nats.ask_the_dying("schedule.create", &far("announced")).await;
    dying.exited().await;
    let _next = nats.service().await;
    let list = nats.ask("schedule.list", json!({})).await;
    let id = list[0]["id"].as_str().unwrap().to_owned();
    events(&nats, &id, 1).await;
    // A second one proves that the first has left the record and does not come again.
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    events(&nats, &id, 2).await;
}

#[tokio::test]
async fn dying_before_announcing_keeps_the_event() {
    dies("before_announcing").await;
}

#[tokio::test]
async fn dying_after_announcing_does_not_announce_again() {
    dies("after_announcing").await;
}

#[tokio::test]
async fn what_was_seen_can_be_changed_however_often_it_fired_since() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create_beats(1, "cmd.example.seen").await.remove(0);
    let seen = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    nats.wait_count("COMMANDS", 3).await;
    let update = json!({ "schedule_id": id, "priority": 2, "expected_revision": seen["revision"] });
    let updated = nats.ask("schedule.update", update.clone()).await;
    assert_eq!(updated["revision"], 2);
    assert_eq!(nats.refused("schedule.update", update).await["code"], "conflict");
}
