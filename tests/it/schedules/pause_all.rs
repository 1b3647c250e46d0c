//! Pausing all schedules at once.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, far, in_ms, wait_for};
use crate::http::Http;
use crate::requests::audit::events;

/// The id that stands for all schedules in events.
const ALL: &str = "00000000-0000-0000-0000-000000000000";

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

async fn status(nats: &Nats) -> Value {
    nats.ask("status", json!({})).await
}

/// The nominal times of the commands that were not sent by hand, in the order in which they were stored.
async fn sent(nats: &Nats) -> Vec<DateTime<Utc>> {
    let mut times = Vec::new();
    for command in nats.messages("COMMANDS").await {
        let header = |name: &str| command.headers.get(name).unwrap().as_str();
        if command.subject.as_str() != "cmd.example.byhand" {
            times.push(header("Scheduler-Scheduled-For").parse().unwrap());
        }
    }
    times
}

async fn wait_sent_after(nats: &Nats, after: DateTime<Utc>) {
    wait_for("a command for a later time", || async {
        sent(nats).await.into_iter().any(|at| at > after).then_some(())
    })
    .await;
}

#[tokio::test]
async fn nothing_is_due_between_the_reply_and_the_end_and_what_was_due_is_recorded() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await, nats.service().await);
    let ids = nats.create_beats(30, "cmd.example.beat").await;
    let hand = nats
        .create(json!({ "name": "byhand", "schedule_type": "interval", "interval_seconds": 3600,
                                   "target_command": "cmd.example.byhand" }));
    let hand = hand.await;
    nats.ask("schedule.pause", json!({ "schedule_id": ids[0], "reason": "itself" })).await;
    nats.wait_count("COMMANDS", 60).await;

    let by = [("X-Paused-By", "alice"), ("X-Correlation-ID", "all-1")];
    let (_, paused) =
        nats.request_with_headers("schedule.pause_all", &by, json!({ "reason": "a leak" })).await;
    let replied = Utc::now();
    assert_eq!(paused["data"]["is_paused"], true, "{paused}");
    assert_eq!(
        (&paused["data"]["paused_by"], &paused["data"]["reason"]),
        (&json!("alice"), &json!("a leak"))
    );
    assert!(paused.get("warnings").is_none(), "{paused}");

    // One that is created now does not fire either, and its creator is told why.
    let new =
        json!({ "name": "new", "schedule_type": "immediate", "target_command": "cmd.example.new" });
    let new = nats.request("schedule.create", &new).await;
    assert_eq!(new["warnings"][0]["code"], "all_paused", "{new}");
    let new = new["data"]["id"].as_str().unwrap();
    nats.ask("schedule.delete", json!({ "schedule_id": hand })).await;
    let restored = nats.request("schedule.restore", &json!({ "schedule_id": hand })).await;
    assert_eq!(restored["warnings"][0]["code"], "all_paused", "{restored}");
    let upcoming = nats.request("schedule.upcoming", &json!({})).await;
    assert_eq!(upcoming["data"]["occurrences"], json!([]), "{upcoming}");
    assert_eq!(upcoming["warnings"][0]["code"], "all_paused");
    let all = status(&nats).await;
    assert_eq!(
        (&all["all_paused"]["reason"], &all["status"]),
        (&json!("a leak"), &json!("ok")),
        "{all}"
    );
    let next = |asked: Value| nats.ask("execution.stats", asked);
    for asked in [json!({}), json!({ "schedule_id": ids[1] })] {
        assert_eq!(next(asked).await["next_execution"], Value::Null);
    }
    // A run by hand is made.
    let run = json!({ "schedule_id": hand, "wait_ms": 5000 });
    assert_eq!(nats.ask("schedule.trigger", run).await["execution"]["status"], "success");
    let explained = nats.ask("schedule.explain", json!({ "schedule_id": ids[1] })).await;
    let last = explained["times"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["outcome"], &last["change"]["event"]),
        (&json!("paused"), &json!("paused_all")),
        "{last}"
    );
    assert_eq!(explained["no_next"], "all schedules are paused", "{explained}");

    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let resumed = nats.request("schedule.resume_all", &json!({})).await;
    let lifted = Utc::now();
    assert_eq!(resumed["data"], json!({ "is_paused": false }), "{resumed}");
    wait_sent_after(&nats, lifted + Duration::seconds(2)).await;
    let meanwhile: Vec<_> = sent(&nats)
        .await
        .into_iter()
        .filter(|at| *at > replied && *at < lifted - Duration::seconds(1))
        .collect();
    assert!(meanwhile.is_empty(), "{meanwhile:?} between {replied} and {lifted}");
    // What was due is one entry of each, and the one that was paused itself stays so.
    let skipped = wait_for("what was due meanwhile", || async {
        let asked = json!({ "status": "skipped", "limit": 100 });
        let found = nats.ask("execution.list", asked).await;
        let found = found.as_array().unwrap().clone();
        (found.len() >= 30).then_some(found)
    })
    .await;
    assert_eq!(skipped.len(), 30, "{skipped:?}");
    for one in &skipped {
        assert_eq!(one["skipped"]["cause"], "paused", "{one}");
        let count = one["skipped"]["count"].as_u64().unwrap();
        assert!(count >= 3 || one["schedule_id"] == new, "{one}");
    }
    let itself = nats.ask("schedule.get", json!({ "schedule_id": ids[0] })).await;
    assert_eq!((&itself["status"], &itself["pause_reason"]), (&json!("paused"), &json!("itself")));
    let gone = nats.ask("schedule.get", json!({ "schedule_id": new })).await;
    assert_eq!((&gone["status"], &gone["next_run_at"]), (&json!("failed"), &Value::Null), "{gone}");
    let explained = nats.ask("schedule.explain", json!({ "schedule_id": ids[1] })).await;
    let reasons = explained["times"].to_string();
    assert!(reasons.contains("all schedules were paused by alice at "), "{reasons}");

    let events = events(&nats, ALL, 2).await;
    assert_eq!(
        (&events[0]["event"], &events[1]["event"]),
        (&json!("paused_all"), &json!("resumed_all"))
    );
    assert_eq!(
        (&events[0]["actor"], &events[0]["correlation_id"]),
        (&json!("alice"), &json!("all-1"))
    );
    let listed = nats.ask("audit.list", json!({ "event": "paused_all" })).await;
    assert_eq!(listed[0]["reason"], "a leak", "{listed}");
    let again = nats.refused("schedule.resume_all", json!({})).await;
    assert_eq!(again["code"], "not_allowed", "{again}");
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn a_pause_of_all_ends_at_its_time_and_outlives_every_instance() {
    let nats = Nats::start().await;
    let mut first = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "before_announcing:2")]).await;
    let ids = nats.create_beats(1, "cmd.example.beat").await;
    nats.wait_count("COMMANDS", 2).await;
    let resume_at = in_ms(6000);
    let request = json!({ "resume_at": resume_at });
    // It dies before it has announced the change, and perhaps before it has answered.
    nats.ask_the_dying("schedule.pause_all", &request).await;
    first.exited().await;
    let paused_at = Utc::now();
    let _second = nats.service().await;
    let all = status(&nats).await["all_paused"].clone();
    let asked = resume_at.parse::<DateTime<Utc>>().unwrap();
    assert!((time(&all["resume_at"]) - asked).num_milliseconds() < 2, "{all}");
    events(&nats, ALL, 1).await;
    let upcoming = nats.ask("schedule.upcoming", json!({})).await;
    let next = time(&upcoming["occurrences"][0]["scheduled_for"]);
    assert!(next >= time(&all["resume_at"]), "{upcoming}");
    for asked in [json!({}), json!({ "schedule_id": ids[0] })] {
        let stats = nats.ask("execution.stats", asked).await;
        assert_eq!(time(&stats["next_execution"]["at"]), next, "{stats}");
    }
    let explained = nats.ask("schedule.explain", json!({ "schedule_id": ids[0] })).await;
    let reason = explained["no_next"].as_str().unwrap();
    assert!(reason.starts_with("all schedules are paused until "), "{reason}");
    wait_sent_after(&nats, time(&all["resume_at"])).await;
    let sent = sent(&nats).await;
    let meanwhile = |at: &&DateTime<Utc>| **at > paused_at && **at < next;
    assert_eq!(sent.iter().filter(meanwhile).count(), 0, "{sent:?}");
    assert!(sent.contains(&next), "the first time after it runs: {next} of {sent:?}");
    assert_eq!(status(&nats).await.get("all_paused"), Some(&Value::Null));
    let skipped = nats.wait_executions(json!({ "status": "skipped" }), 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "paused");
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_refused_and_what_is_odd_in_the_bucket_pauses() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    for (request, field) in [
        (json!({ "resume_at": in_ms(-1000) }), "resume_at"),
        (json!({ "reason": "x".repeat(501) }), "reason"),
        (json!({ "schedule_id": ALL }), "schedule_id"),
    ] {
        let refused = nats.refused("schedule.pause_all", request).await;
        assert_eq!(
            (&refused["code"], &refused["details"][0]["field"]),
            (&json!("invalid"), &json!(field))
        );
    }
    let http = Http::new(&service).await;
    let paused = http.post("/api/v1/schedules/pause-all", json!({ "reason": "by http" })).await;
    assert_eq!(
        (paused.status.as_u16(), &paused.body["data"]["reason"]),
        (200, &json!("by http")),
        "{paused:?}"
    );
    let lifted = http.post("/api/v1/schedules/resume-all", json!({})).await;
    assert_eq!(
        (lifted.status.as_u16(), &lifted.body["data"]["is_paused"]),
        (200, &json!(false)),
        "{lifted:?}"
    );

    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    bucket.put("pause_all", "on, please".into()).await.unwrap();
    let all = wait_for("it to count as a pause", || async {
        let all = status(&nats).await["all_paused"].clone();
        all.is_object().then_some(all)
    })
    .await;
    let reason = all["reason"].as_str().unwrap();
    assert!(reason.starts_with("the key pause_all cannot be read: "), "{reason}");
    nats.ask("schedule.resume_all", json!({})).await;
    nats.ask("schedule.pause_all", json!({})).await;
    // Who takes the key away lifts it too.
    bucket.delete("pause_all").await.unwrap();
    wait_for("the pause to be gone", || async {
        status(&nats).await["all_paused"].is_null().then_some(())
    })
    .await;
    let id = nats.create(far("later")).await;
    nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 5000 })).await;
}

#[tokio::test]
async fn an_instance_that_would_not_honour_it_is_named() {
    let nats = Nats::start().await;
    let _new = nats.service().await;
    let mut old = nats.service_with(&[("NATS_SCHEDULER_FORMAT", "3")]).await;
    let older = status(&nats).await["members"].clone();
    assert_eq!(older.as_array().unwrap().len(), 2, "{older}");
    let refused = nats.refused("schedule.pause_all", json!({})).await;
    assert_eq!(refused["code"], "not_allowed");
    let message = refused["message"].as_str().unwrap();
    assert!(message.contains("would go on firing: it does not know pauses of all"), "{message}");
    assert!(status(&nats).await["all_paused"].is_null());
    old.stop().await;
    let paused = wait_for("nobody to object", || async {
        let reply = nats.request("schedule.pause_all", &json!({})).await;
        reply.get("data").cloned()
    })
    .await;
    assert_eq!(paused["is_paused"], true);
}
