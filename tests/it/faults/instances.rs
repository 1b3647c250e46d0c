//! Several instances on one NATS.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, Service, in_ms, wait_for};
use crate::http::{Answer, Http, answer};
use crate::proxy::Proxy;

#[tokio::test]
async fn three_instances_fire_a_thousand_occurrences_once_each() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await, nats.service().await);
    let due = in_ms(4000);
    let requests = (0..1000).map(|n| {
        json!({ "name": n.to_string(), "schedule_type": "one_time", "scheduled_at": due,
                "target_command": "cmd.example.many" })
    });
    let requests: Vec<_> = requests.collect();
    for chunk in requests.chunks(50) {
        futures::future::join_all(chunk.iter().map(|r| nats.ask("schedule.create", r.clone())))
            .await;
    }
    nats.wait_executions(json!({ "status": "success" }), 1000).await;
    assert_eq!(nats.count("COMMANDS").await, 1000);
    assert_eq!(nats.count("SCHEDULER_EXECUTIONS").await, 1000);
    let mut by_instance: HashMap<String, usize> = HashMap::new();
    for message in nats.messages("SCHEDULER_EXECUTIONS").await {
        let execution: Value = serde_json::from_slice(&message.payload).unwrap();
        *by_instance.entry(execution["lock_id"]["instance"].to_string()).or_default() += 1;
    }
    assert_eq!(by_instance.len(), 3, "the work is shared: {by_instance:?}");
    let done = wait_for("all to be completed", || async {
        let reply = nats.request("schedule.list", &json!({ "status": "completed" })).await;
        (reply["pagination"]["total"] == 1000).then_some(())
    });
    done.await;
}

#[tokio::test]
async fn losing_an_instance_costs_a_moment_and_no_occurrence() {
    let nats = Nats::start().await;
    let (mut first, _second) = (nats.service().await, nats.service().await);
    let ids = nats.create_beats(20, "cmd.example.lost").await;
    nats.wait_count("COMMANDS", 60).await;
    first.kill();
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 200).await;
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn an_instance_that_slept_does_not_act_on_what_was_taken_over() {
    let nats = Nats::start().await;
    let (sleeper, _other) = (nats.service().await, nats.service().await);
    let ids = nats.create_beats(10, "cmd.example.sleeper").await;
    nats.wait_count("COMMANDS", 20).await;
    sleeper.signal("-STOP");
    tokio::time::sleep(Duration::from_secs(7)).await;
    sleeper.signal("-CONT");
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 50).await;
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn an_instance_that_was_cut_off_does_not_repeat_what_was_taken_over() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.server.port()).await;
    let cut_off = Service::spawn(&proxy.url(), nats.dir(), &[]);
    cut_off.ready().await;
    let _other = nats.service().await;
    let ids = nats.create_beats(20, "cmd.example.partition").await;
    nats.wait_count("COMMANDS", 60).await;
    proxy.cut();
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 160).await;
    proxy.restore();
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 100).await;
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn the_reply_to_a_deletion_comes_after_what_was_claimed_ahead() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    for n in 0..6 {
        let id = nats
            .create(json!({ "name": n.to_string(), "schedule_type": "one_time", "scheduled_at": in_ms(900),
                            "target_command": "cmd.example.ahead" }))
            .await;
        let key = format!("$KV.scheduler_schedules.schedule.{id}");
        let bucket = nats.js.get_stream("KV_scheduler_schedules").await.unwrap();
        wait_for("the claim", || async {
            let record = bucket.get_last_raw_message_by_subject(&key).await.ok()?;
            let record: Value = serde_json::from_slice(&record.payload).ok()?;
            record["attempts"][0]["phase"].is_string().then_some(())
        })
        .await;
        nats.ask("schedule.delete", json!({ "schedule_id": id, "hard_delete": n % 2 == 0 })).await;
        // Claimed before the deletion, so it is sent and recorded; and due before the reply.
        nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
        let command = nats.messages("COMMANDS").await.pop().unwrap();
        let due: DateTime<Utc> =
            command.headers.get("Scheduler-Scheduled-For").unwrap().as_str().parse().unwrap();
        assert!(due <= Utc::now());
    }
    assert_eq!(nats.count("COMMANDS").await, 6);
}

#[tokio::test]
async fn a_deleted_schedule_fires_on_no_instance() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let ids = nats.create_beats(30, "cmd.example.deleted").await;
    nats.wait_count("COMMANDS", 40).await;
    let mut revisions = HashMap::new();
    for id in &ids {
        nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
        revisions.insert(id.clone(), nats.record_revision(id).await);
    }
    settle_down_deleted(&nats).await;
    for command in nats.messages("COMMANDS").await {
        let header = |name: &str| command.headers.get(name).unwrap().as_str();
        let claim: u64 = header("Scheduler-Revision").parse().unwrap();
        let id = header("Scheduler-Schedule-Id");
        assert!(claim < revisions[id], "{id} was claimed at {claim}, after its deletion");
    }
}

/// Waits until no new command has come for longer than every interval in the test.
async fn settle_down_deleted(nats: &Nats) {
    let before = nats.count("COMMANDS").await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let after = nats.count("COMMANDS").await;
    assert!(after <= before + 30, "only what was in flight may still come");
}

#[tokio::test]
async fn an_instance_that_hears_late_waits_for_what_another_one_has_answered() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.server.port()).await;
    let late = Service::spawn(&proxy.url(), nats.dir(), &[]);
    late.ready().await;
    let service = nats.service().await;
    let (one, late) = (Http::new(&service).await, Http::new(&late).await);
    for (kind, field, body) in [
        ("calendars", "exclude", json!({ "days": ["2026-12-25"] })),
        ("groups", "group", json!({ "limit": 1 })),
    ] {
        let path = format!("/api/v1/{kind}/x");
        let put = answer(one.ask(Method::PUT, &path).json(&body)).await;
        assert_eq!(put.status.as_u16(), 200, "{put:?}");
        proxy.deafen();
        let uses = if field == "group" { json!("x") } else { json!(["x"]) };
        let user = json!({ "name": kind, "schedule_type": "interval", "interval_seconds": 3600,
                           "start_at": in_ms(3_600_000), "target_command": "cmd.example.beat",
                           "delivery": { "mode": "job" }, field: uses });
        let made = answer(one.ask(Method::POST, "/api/v1/schedules").json(&user)).await;
        assert_eq!(made.status.as_u16(), 201, "{made:?}");
        let listed = after_a_moment(&proxy, late.get(&format!("/api/v1/{kind}"))).await;
        assert_eq!(listed.body["data"][0]["used_by"], 1, "{listed:?}");
        let refused = answer(late.ask(Method::DELETE, &path)).await;
        refused.refused(409, "conflict");
    }
    let fails = json!({ "name": "fails", "schedule_type": "immediate", "max_retries": 0,
                        "target_command": "cmd.nowhere.run" });
    nats.create(fails).await;
    nats.wait_executions(json!({ "status": "failed" }), 1).await;
    proxy.deafen();
    let rerun = json!({ "filter": { "error_type": "no_stream" }, "in_background": true });
    let rerun = answer(one.ask(Method::POST, "/api/v1/executions/bulk/retry").json(&rerun)).await;
    assert!(rerun.body["data"]["rerun_id"].is_string(), "{rerun:?}");
    let listed = after_a_moment(&proxy, late.get("/api/v1/reruns")).await;
    assert_eq!(listed.body["data"].as_array().map(Vec::len), Some(1), "{listed:?}");
}

/// The answer of an instance that hears again a moment after it was asked: one from memory would come at once.
async fn after_a_moment(proxy: &Proxy, asking: impl Future<Output = Answer>) -> Answer {
    let (answer, ()) = tokio::join!(asking, async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        proxy.let_hear();
    });
    answer
}
