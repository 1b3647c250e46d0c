//! Pauses that end by themselves.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, far, in_ms, wait_for};
use crate::requests::audit::events;

/// How late a pause may end where nothing is wrong, as late as a command may be.
const PROMPT: Duration = Duration::seconds(2);

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

async fn get(nats: &Nats, id: &str) -> Value {
    nats.ask("schedule.get", json!({ "schedule_id": id })).await
}

/// The times of the commands of a schedule, in order.
async fn sent(nats: &Nats, id: &str) -> Vec<DateTime<Utc>> {
    let mut times = Vec::new();
    for command in nats.messages("COMMANDS").await {
        let header = |name: &str| command.headers.get(name).unwrap().as_str();
        if header("Scheduler-Schedule-Id") == id {
            times.push(header("Scheduler-Scheduled-For").parse().unwrap());
        }
    }
    times.sort_unstable();
    times
}

#[tokio::test]
async fn a_pause_ends_at_its_time_and_the_occurrence_of_that_time_runs() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let ids = nats.create_beats(1, "cmd.example.pause").await;
    let id = ids[0].as_str();
    nats.wait_count("COMMANDS", 1).await;
    let resume_at = time(&get(&nats, id).await["next_run_at"]) + Duration::seconds(3);
    let by = [("X-Paused-By", "alice"), ("X-Correlation-ID", "pause-1")];
    let request = json!({ "schedule_id": id, "reason": "deployment", "resume_at": resume_at });
    let (_, paused) = nats.request_with_headers("schedule.pause", &by, request).await;
    let paused_until = paused["data"]["next_run_at"].clone();
    assert_eq!(time(&paused["data"]["resume_at"]), resume_at, "{paused}");
    let listed = nats.request("schedule.list", &json!({ "status": "paused" })).await;
    assert_eq!(time(&listed["data"][0]["resume_at"]), resume_at, "{listed}");

    let events = events(&nats, id, 3).await;
    let [_, pause, resumed] = &events[..] else { panic!("{events:?}") };
    assert_eq!(time(&pause["resume_at"]), resume_at, "{pause}");
    assert_eq!(resumed["event"], "resumed");
    assert_eq!(
        (&resumed["actor"], &resumed["resumed_by"]),
        (&json!("scheduler"), &json!("scheduler"))
    );
    assert_eq!((&resumed["correlation_id"], &resumed["revision"]), (&json!("pause-1"), &json!(3)));
    assert_eq!(time(&resumed["next_run_at"]), resume_at, "{resumed}");
    let resumed_at = time(&resumed["resumed_at"]);
    assert!(resumed_at >= resume_at && resumed_at < resume_at + PROMPT, "{resumed}");

    let skipped = nats.wait_executions(json!({ "schedule_id": id, "status": "skipped" }), 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "paused");
    assert_eq!(skipped[0]["scheduled_for"], paused_until, "{skipped:?}");
    assert_eq!(time(&skipped[0]["skipped"]["last"]), resume_at - Duration::seconds(1));
    let after = wait_for("the occurrence of that time", || async {
        sent(&nats, id).await.into_iter().find(|at| *at >= time(&paused_until))
    })
    .await;
    assert_eq!(after, resume_at);
    let now = get(&nats, id).await;
    assert_eq!((&now["status"], &now["resume_at"]), (&json!("active"), &Value::Null), "{now}");
    assert_eq!((&now["pause_reason"], &now["updated_by"]), (&Value::Null, &json!("scheduler")));
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn an_end_that_is_past_or_too_far_or_of_no_pause_is_refused_by_its_name() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(far("refused")).await;
    let bulk = |at: &str| json!({ "operation": "pause", "schedule_ids": [id], "resume_at": at });
    for (at, reason) in [
        (in_ms(-1000), "must be in the future; it is now "),
        (in_ms(366 * 86_400_000), "must be within 365 days (MAX_SCHEDULE_LOOKAHEAD_DAYS)"),
        ("tomorrow".to_owned(), "must be a time in RFC 3339"),
    ] {
        let pause = json!({ "schedule_id": id, "resume_at": at });
        for (operation, request) in [("schedule.pause", pause), ("bulk.operation", bulk(&at))] {
            let error = nats.refused(operation, request).await;
            let fault = &error["details"][0];
            assert_eq!((&error["code"], &fault["field"]), (&json!("invalid"), &json!("resume_at")));
            assert!(fault["reason"].as_str().unwrap().starts_with(reason), "{operation}: {error}");
        }
    }
    let long = "x".repeat(501);
    let request = json!({ "schedule_id": id, "reason": long, "resume_at": in_ms(-1000) });
    let error = nats.refused("schedule.pause", request).await;
    assert_eq!(error["details"].as_array().unwrap().len(), 2, "both at once: {error}");
    let mut request = bulk(&in_ms(60_000));
    request["operation"] = json!("resume");
    let error = nats.refused("bulk.operation", request).await;
    assert_eq!(error["details"][0]["reason"], "belongs to operation pause", "{error}");
    assert_eq!(get(&nats, &id).await["revision"], 1);
}

#[tokio::test]
async fn another_pause_replaces_the_end_and_who_resumes_by_hand_leaves_none() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut ids = Vec::new();
    for name in ["forever", "longer", "by hand", "deleted", "switched off", "last"] {
        ids.push(nats.create(far(name)).await);
    }
    let [forever, longer, by_hand, deleted, off, last] = &ids[..] else { panic!() };
    let pause = json!({ "operation": "pause", "schedule_ids": ids, "resume_at": in_ms(4000) });
    assert_eq!(nats.ask("bulk.operation", pause).await["succeeded"], 6);
    let again = nats.ask("schedule.pause", json!({ "schedule_id": forever })).await;
    assert_eq!(again["resume_at"], Value::Null, "{again}");
    let later = in_ms(3_600_000);
    let request = json!({ "schedule_id": longer, "resume_at": later });
    nats.ask("schedule.pause", request).await;
    let resumed = nats.ask("schedule.resume", json!({ "schedule_id": by_hand })).await;
    assert_eq!(resumed["resume_at"], Value::Null, "{resumed}");
    nats.ask("schedule.pause", json!({ "schedule_id": by_hand })).await;
    let update = json!({ "schedule_id": off, "is_active": false, "priority": 7 });
    assert!(nats.ask("schedule.update", update).await["resume_at"].is_string());
    let request = json!({ "schedule_id": last, "resume_at": in_ms(4500) });
    nats.ask("schedule.pause", request).await;
    nats.ask("schedule.delete", json!({ "schedule_id": deleted })).await;
    // The last of them ends after all the others would have ended.
    events(&nats, last, 4).await;
    for (id, status, revision) in
        [(forever, "paused", 3), (longer, "paused", 3), (by_hand, "paused", 4), (off, "active", 4)]
    {
        let now = get(&nats, id).await;
        assert_eq!((&now["status"], &now["revision"]), (&json!(status), &json!(revision)), "{now}");
    }
    assert_eq!(get(&nats, off).await["is_active"], false);
    assert!(get(&nats, longer).await["resume_at"].is_string());
    // What comes back after the end of its pause is resumed at once.
    let restored = nats.ask("schedule.restore", json!({ "schedule_id": deleted })).await;
    assert_eq!(restored["status"], "paused", "{restored}");
    let events = events(&nats, deleted, 5).await;
    assert_eq!(
        (&events[4]["event"], &events[4]["actor"]),
        (&json!("resumed"), &json!("scheduler"))
    );
    assert_eq!(get(&nats, deleted).await["status"], "active");
}

#[tokio::test]
async fn of_several_instances_one_resumes() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await, nats.service().await);
    let ids = nats.create_beats(30, "cmd.example.several").await;
    nats.wait_count("COMMANDS", 30).await;
    let resume_at = Utc::now() + Duration::seconds(3);
    let pause = json!({ "operation": "pause", "schedule_ids": ids, "resume_at": resume_at });
    assert_eq!(nats.ask("bulk.operation", pause).await["succeeded"], 30);
    for id in &ids {
        let events = events(&nats, id, 3).await;
        let resumed_at = time(&events[2]["resumed_at"]);
        assert!(resumed_at >= resume_at && resumed_at < resume_at + PROMPT, "{events:?}");
        nats.wait_executions(json!({ "schedule_id": id, "status": "skipped" }), 1).await;
    }
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 60).await;
    for id in &ids {
        assert_eq!(get(&nats, id).await["revision"], 3, "one resumption, and no other change");
        let skipped = json!({ "schedule_id": id, "status": "skipped" });
        let skipped = nats.request("execution.list", &skipped).await;
        assert_eq!(skipped["pagination"]["total"], 1, "{skipped}");
    }
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn a_pause_that_ends_while_nothing_runs_has_ended_then_whoever_dies() {
    let nats = Nats::start().await;
    let mut first = nats.service().await;
    let id = nats
        .create(json!({ "name": "beat", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.beat", "catch_up": "all" }))
        .await;
    nats.wait_count("COMMANDS", 1).await;
    let resume_at = time(&get(&nats, &id).await["next_run_at"]) + Duration::seconds(2);
    let paused = json!({ "schedule_id": id, "resume_at": resume_at });
    let paused_until = nats.ask("schedule.pause", paused).await["next_run_at"].clone();
    first.kill();
    let back = resume_at + Duration::milliseconds(2500);
    tokio::time::sleep((back - Utc::now()).to_std().unwrap()).await;
    // Dies right after the write: the event and the entry are left to others.
    let mut dying = nats.spawn(&[("NATS_SCHEDULER_FAILPOINT", "after_resuming")]);
    dying.exited().await;
    let _last = nats.service().await;
    let events = events(&nats, &id, 3).await;
    assert_eq!(time(&events[2]["next_run_at"]), resume_at, "{events:?}");
    assert!(time(&events[2]["resumed_at"]) >= back, "{events:?}");
    let skipped = nats.wait_executions(json!({ "schedule_id": id, "status": "skipped" }), 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "paused");
    assert_eq!(time(&skipped[0]["skipped"]["last"]), resume_at - Duration::seconds(1));
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before.max(3) + 2).await;
    let after: Vec<_> =
        sent(&nats, &id).await.into_iter().filter(|at| *at >= time(&paused_until)).collect();
    assert_eq!(after[0], resume_at, "what came after is late, and made up for: {after:?}");
    assert!(after.windows(2).all(|pair| pair[1] - pair[0] == Duration::seconds(1)), "{after:?}");
    check_ledgers(&nats, &[id]).await;
}

/// The codes of the warnings of a reply, with what they are about.
fn warnings(reply: &Value) -> Vec<(&str, &str)> {
    let warnings = reply["warnings"].as_array().into_iter().flatten();
    warnings.map(|one| (one["code"].as_str().unwrap(), one["message"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn who_resumes_a_schedule_whose_only_time_has_passed_is_told_so() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let time = in_ms(3000);
    let mut ids = Vec::new();
    for name in ["one", "in bulk", "switched off"] {
        let once = json!({ "name": name, "schedule_type": "one_time", "scheduled_at": time,
                           "target_command": "cmd.example.once" });
        ids.push(nats.create(once).await);
    }
    ids.push(nats.create(far("lies ahead")).await);
    let [one, in_bulk, off, ahead] = &ids[..] else { panic!() };
    let update = |on: bool| json!({ "schedule_id": off, "is_active": on });
    nats.ask("schedule.update", update(false)).await;
    let pause = json!({ "operation": "pause", "schedule_ids": [one, in_bulk, ahead] });
    assert_eq!(nats.ask("bulk.operation", pause).await["succeeded"], 3);
    let passed: DateTime<Utc> = time.parse().unwrap();
    wait_for("its time", || async { (Utc::now() > passed).then_some(()) }).await;

    let message = format!(
        "its time, {}, passed while it was paused or switched off: it will not run and is marked failed; run it by hand, or \
         give it another time",
        get(&nats, one).await["scheduled_at"].as_str().unwrap()
    );
    let resumed = nats.request("schedule.resume", &json!({ "schedule_id": one })).await;
    assert_eq!(warnings(&resumed), [("time_over", message.as_str())], "{resumed}");
    let in_many = format!("schedule {in_bulk}: {message}");
    for dry_run in [true, false] {
        let request =
            json!({ "operation": "resume", "schedule_ids": [in_bulk, ahead], "dry_run": dry_run });
        let resumed = nats.request("bulk.operation", &request).await;
        assert_eq!(warnings(&resumed), [("time_over", in_many.as_str())], "{resumed}");
    }
    let switched = nats.request("schedule.update", &update(true)).await;
    assert_eq!(warnings(&switched), [("time_over", message.as_str())], "{switched}");
    for id in [one, in_bulk, off] {
        wait_for("failed", || async { (get(&nats, id).await["status"] == "failed").then_some(()) })
            .await;
    }
    for is_active in [false, true] {
        let update = json!({ "schedule_id": ahead, "is_active": is_active });
        let updated = nats.request("schedule.update", &update).await;
        assert_eq!(warnings(&updated), [], "{updated}");
    }
}

#[tokio::test]
async fn what_was_cancelled_while_it_was_paused_has_failed_once_it_is_resumed() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let job = json!({ "name": "job", "schedule_type": "immediate", "target_command": "cmd.example.job",
                      "delivery": { "mode": "job" } });
    let id = nats.create(job).await;
    let running = json!({ "schedule_id": id, "status": "running" });
    let running = nats.wait_executions(running, 1).await;
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    nats.ask("execution.cancel", json!({ "execution_id": running[0]["id"] })).await;
    wait_for("its end", || async { nats.record(&id).await["attempts"].is_null().then_some(()) })
        .await;
    let resumed = nats.ask("schedule.resume", json!({ "schedule_id": id })).await;
    assert_eq!(resumed["status"], "failed", "{resumed}");
}
