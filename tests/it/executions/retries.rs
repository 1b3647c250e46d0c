//! Running ended executions again, and runs by hand that are sent twice.

use std::collections::BTreeSet;

use futures::future::join_all;
use nats_scheduler::client::{
    BulkRetry, Client, ExecutionFilter, ExecutionStatus, RetryExecution, RetryPayload,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Nats, far, in_ms, wait_for};
use crate::http::{Http, answer};

/// A schedule with these fields whose first run, by hand, failed, since nobody keeps its target.
pub async fn failed(nats: &Nats, name: &str, more: Value) -> (String, String) {
    let mut request = far(name);
    request["target_command"] = json!("cmd.nowhere.a");
    request["max_retries"] = json!(0);
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = nats.create(request).await;
    let execution = triggered(nats, &id, "failed").await;
    (id, execution)
}

/// A run by hand that ends so; its id.
async fn triggered(nats: &Nats, id: &str, status: &str) -> String {
    let asked = json!({ "schedule_id": id, "wait_ms": 20_000 });
    let run = nats.ask("schedule.trigger", asked).await;
    assert_eq!(run["execution"]["status"], status, "{run}");
    run["execution_id"].as_str().unwrap().to_owned()
}

/// Lets the commands of a schedule arrive, with this payload.
pub async fn mend(nats: &Nats, id: &str, payload: Value) {
    let update =
        json!({ "schedule_id": id, "target_command": "cmd.example.a", "command_payload": payload });
    nats.ask("schedule.update", update).await;
}

fn bodies(messages: &[async_nats::jetstream::message::StreamMessage]) -> Vec<String> {
    messages.iter().map(|m| String::from_utf8(m.payload.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_retry_sends_what_was_sent_though_the_schedule_has_changed_since() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    // What looks like a placeholder is none, since the payload was no template.
    let more = json!({ "command_payload": { "n": 1.0, "text": "${attempt} ${nothing}" } });
    let (id, old) = failed(&nats, "changed", more).await;
    let update = json!({ "schedule_id": id, "payload_template": true, "target_command": "cmd.example.a",
                         "command_payload": { "text": "$${x} ${attempt}" } });
    nats.ask("schedule.update", update).await;

    let retry = json!({ "execution_id": old, "wait_ms": 20_000 });
    let by = [("X-Triggered-By", "bob")];
    let (_, reply) = nats.request_with_headers("execution.retry", &by, retry).await;
    let retried = &reply["data"];
    assert_eq!(retried["retry_of"], old.as_str(), "{reply}");
    assert_eq!(retried["schedule_id"], id.as_str());
    let execution = &retried["execution"];
    assert_eq!(execution["status"], "success", "{reply}");
    assert_eq!(execution["retry_of"], old.as_str());
    assert_eq!(execution["triggered_by"], "bob");
    assert_eq!(execution["command_sent"], "cmd.example.a");

    let current = json!({ "execution_id": old, "payload": "current", "wait_ms": 20_000 });
    let with_current = nats.ask("execution.retry", current).await;
    assert_eq!(with_current["execution"]["status"], "success");
    let other = json!({ "execution_id": old, "override_payload": { "o": "${attempt}" }, "wait_ms": 20_000 });
    nats.ask("execution.retry", other).await;
    // What was rendered is sent as it was, not rendered again.
    let again = json!({ "execution_id": with_current["execution_id"], "wait_ms": 20_000 });
    nats.ask("execution.retry", again).await;
    let sent = bodies(&nats.messages("COMMANDS").await);
    let expected = [
        r#"{"n":1.0,"text":"${attempt} ${nothing}"}"#,
        r#"{"text":"${x} 1"}"#,
        r#"{"o":"1"}"#,
        r#"{"text":"${x} 1"}"#,
    ];
    assert_eq!(sent, expected);

    let filter = json!({ "schedule_id": id, "status": "success" });
    let listed = nats.wait_executions(filter, 4).await;
    assert!(listed[1..].iter().all(|one| one["retry_of"] == old.as_str()), "{listed:?}");
    let got = nats.ask("execution.get", json!({ "execution_id": retried["execution_id"] })).await;
    assert_eq!(got["retry_of"], old.as_str());
    assert_eq!(got["attempts"].as_array().unwrap().len(), 1, "{got}");
    let first = nats.ask("execution.get", json!({ "execution_id": old })).await;
    assert_eq!((&first["status"], &first["retry_of"]), (&json!("failed"), &Value::Null));
    let announced = wait_for("the retry in the audit", || async {
        let events = bodies(&nats.messages("SCHEDULER_AUDIT").await);
        let events = events.iter().map(|body| serde_json::from_str::<Value>(body).unwrap());
        events.into_iter().find(|event| event["execution_id"] == retried["execution_id"])
    })
    .await;
    assert_eq!((&announced["event"], &announced["retry_of"]), (&json!("triggered"), &json!(old)));
}

#[tokio::test]
async fn what_has_not_ended_or_has_no_payload_is_refused_and_says_what_to_do() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let refused = async |execution: &str, more: Value| {
        let mut request = json!({ "execution_id": execution });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let error = nats.refused("execution.retry", request).await;
        (error["code"].as_str().unwrap().to_owned(), error["message"].as_str().unwrap().to_owned())
    };
    // A job that a worker has.
    let job = json!({ "name": "job", "schedule_type": "immediate", "target_command": "cmd.example.job",
                      "delivery": { "mode": "job", "timeout_seconds": 60 } });
    let job = nats.create(job).await;
    let running = nats.wait_executions(json!({ "schedule_id": job, "status": "running" }), 1).await;
    let (code, message) = refused(running[0]["id"].as_str().unwrap(), json!({})).await;
    assert_eq!(code, "not_allowed", "{message}");
    assert!(message.contains("has not ended"), "{message}");
    // One that waits, so that only the record knows it; and one before it.
    let more = json!({ "max_retries": 1, "retry_delay_seconds": 3600 });
    let (_, first) = failed(&nats, "tried again", more).await;
    let (code, message) = refused(&first, json!({})).await;
    assert_eq!(code, "not_allowed", "{message}");
    assert!(message.contains("another attempt"), "{message}");
    let pending = wait_for("the second attempt", || async {
        let open = json!({ "include_pending": true });
        let running = nats.request("execution.running", &open).await["data"].clone();
        running.as_array().unwrap().iter().find(|one| one["status"] == "pending").cloned()
    })
    .await;
    let (code, message) = refused(pending["execution_id"].as_str().unwrap(), json!({})).await;
    assert_eq!(code, "not_allowed", "{message}");
    assert!(message.contains("has not ended"), "{message}");
    let nil = uuid::Uuid::nil().to_string();
    assert_eq!(refused(&nil, json!({})).await.0, "not_found");
    // A payload that the history does not keep.
    let large = json!({ "command_payload": { "text": "x".repeat(70_000) } });
    let (id, old) = failed(&nats, "large", large).await;
    let (code, message) = refused(&old, json!({})).await;
    assert_eq!(code, "not_allowed", "{message}");
    assert!(message.contains("current"), "{message}");
    mend(&nats, &id, json!({ "n": 2 })).await;
    let current = json!({ "execution_id": old, "payload": "current", "wait_ms": 20_000 });
    let retried = nats.ask("execution.retry", current).await;
    assert_eq!(retried["execution"]["command_payload"], json!({ "n": 2 }));
    // A schedule that is gone.
    let (id, old) = failed(&nats, "deleted", json!({})).await;
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    let (code, message) = refused(&old, json!({})).await;
    assert_eq!(code, "not_found", "{message}");
    assert!(message.contains(&id), "{message}");
    // A command that never had one has no payload of now.
    let command = json!({ "target_command": "cmd.nowhere.b", "max_retries": 0, "wait_ms": 20_000 });
    let sent = nats.ask("execute.immediate", command).await;
    let current = json!({ "payload": "current" });
    let (code, message) = refused(sent["execution_id"].as_str().unwrap(), current).await;
    assert_eq!(code, "not_allowed", "{message}");
    assert!(message.contains("execute.immediate"), "{message}");
    let both = json!({ "payload": "own", "override_payload": {}, "wait_ms": 60_001, "idempotency_key": "" });
    let (code, message) = refused(&old, both).await;
    assert_eq!(code, "invalid");
    for field in ["payload:", "wait_ms:", "idempotency_key:"] {
        assert!(message.contains(field), "{message}");
    }
}

#[tokio::test]
async fn one_skipped_occurrence_runs_with_the_payload_of_now() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut request = far("skipped");
    request["scheduled_at"] = json!(in_ms(1500));
    request["command_payload"] = json!({ "n": 1 });
    let id = nats.create(request).await;
    let until = json!({ "schedule_id": id, "resume_at": in_ms(2000) });
    nats.ask("schedule.pause", until).await;
    let filter = json!({ "schedule_id": id, "status": "skipped" });
    let skipped = nats.wait_executions(filter, 1).await;
    let execution_id = &skipped[0]["id"];
    let error = nats.refused("execution.retry", json!({ "execution_id": execution_id })).await;
    assert_eq!(error["code"], "not_allowed", "{error}");
    let current = json!({ "execution_id": execution_id, "payload": "current", "wait_ms": 20_000 });
    let retried = nats.ask("execution.retry", current).await;
    assert_eq!(retried["execution"]["status"], "success", "{retried}");
    assert_eq!(retried["execution"]["command_payload"], json!({ "n": 1 }));
}

#[tokio::test]
async fn a_retry_that_was_answered_runs_though_the_service_is_killed() {
    let nats = Nats::start().await;
    let mut dying = nats.service().await;
    let (id, old) = failed(&nats, "killed", json!({ "command_payload": { "n": 1 } })).await;
    mend(&nats, &id, json!({ "n": 2 })).await;
    let retried = nats.ask("execution.retry", json!({ "execution_id": old })).await;
    dying.kill();
    let _next = nats.service().await;
    let ended = wait_for("the retry", || async {
        let asked = json!({ "execution_id": retried["execution_id"] });
        let execution = nats.request("execution.get", &asked).await["data"].clone();
        (execution["status"] == "success").then_some(execution)
    })
    .await;
    assert_eq!(ended["retry_of"], old.as_str());
    assert_eq!(bodies(&nats.messages("COMMANDS").await), [r#"{"n":1}"#]);
}

#[tokio::test]
async fn the_same_key_makes_one_run_of_a_trigger_and_of_a_retry() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let (id, old) = failed(&nats, "once", json!({})).await;
    mend(&nats, &id, json!({})).await;
    let trigger = json!({ "schedule_id": id, "idempotency_key": "k" });
    let retry = json!({ "execution_id": old, "idempotency_key": "r" });
    let requests = (0..10).flat_map(|_| {
        [nats.request("schedule.trigger", &trigger), nats.request("execution.retry", &retry)]
    });
    let replies = join_all(requests).await;
    let ids: BTreeSet<_> = replies
        .iter()
        .map(|r| r["data"]["execution_id"].as_str().unwrap_or_else(|| panic!("{r}")))
        .collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let first = replies.iter().filter(|reply| reply["warnings"].is_null()).count();
    assert_eq!(first, 2, "the others are repetitions");
    // The header does the same, and waits for the run.
    let key = [("Nats-Msg-Id", "r")];
    let asked = json!({ "execution_id": old, "wait_ms": 20_000 });
    let (_, by_header) = nats.request_with_headers("execution.retry", &key, asked.clone()).await;
    assert_eq!(by_header["warnings"][0]["code"], "repeated", "{by_header}");
    assert_eq!(by_header["data"]["execution"]["status"], "success", "{by_header}");
    assert!(ids.contains(by_header["data"]["execution_id"].as_str().unwrap()));
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 2).await;
    assert_eq!(nats.count("COMMANDS").await, 2);
    // Another request, and another operation, need another key; another user has another one.
    let other = json!({ "execution_id": old, "payload": "current", "idempotency_key": "r" });
    assert_eq!(nats.refused("execution.retry", other).await["code"], "not_allowed");
    let other = json!({ "schedule_id": id, "idempotency_key": "r" });
    assert_eq!(nats.refused("schedule.trigger", other).await["code"], "not_allowed");
    let bobs = [("Nats-Msg-Id", "r"), ("X-Triggered-By", "bob")];
    let (_, bobs) = nats.request_with_headers("execution.retry", &bobs, asked).await;
    assert!(!ids.contains(bobs["data"]["execution_id"].as_str().unwrap()), "{bobs}");
    // The answer stays, whatever becomes of the schedule.
    nats.ask("schedule.delete", json!({ "schedule_id": id, "hard_delete": true })).await;
    assert!(
        ids.contains(nats.ask("schedule.trigger", trigger).await["execution_id"].as_str().unwrap())
    );
    assert!(
        ids.contains(nats.ask("execution.retry", retry).await["execution_id"].as_str().unwrap())
    );
}

/// A retry whose instance dies at a point is sent again when its run has ended, as far as it was made.
async fn repeats_after_a_death(point: &str) {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    let (id, old) = failed(&nats, "survivor", json!({})).await;
    mend(&nats, &id, json!({})).await;
    let request = json!({ "execution_id": old, "idempotency_key": "k", "wait_ms": 20_000 });
    nats.ask_the_dying("execution.retry", &request).await;
    dying.exited().await;
    let _next = nats.service().await;
    if point != "after_memo" {
        nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    }
    let retried = nats.ask("execution.retry", request.clone()).await;
    assert_eq!(retried["execution"]["status"], "success", "{retried}");
    let again = nats.ask("execution.retry", request).await;
    assert_eq!(again["execution_id"], retried["execution_id"]);
    assert_eq!(nats.count("COMMANDS").await, 1);
}

#[tokio::test]
async fn dying_after_the_memo_of_a_retry_lets_the_repetition_make_it() {
    repeats_after_a_death("after_memo").await;
}

#[tokio::test]
async fn dying_after_the_run_lets_the_repetition_find_it_in_the_history() {
    repeats_after_a_death("before_memo_done").await;
}

#[tokio::test]
async fn a_refused_run_forgets_its_key() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(far("refused")).await;
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    let request = json!({ "schedule_id": id, "idempotency_key": "k" });
    assert_eq!(nats.refused("schedule.trigger", request.clone()).await["code"], "not_found");
    nats.ask("schedule.restore", json!({ "schedule_id": id })).await;
    nats.ask("schedule.trigger", request).await;
}

/// A job that a worker has given up for good, with this error type; its execution.
async fn given_up(nats: &Nats, name: &str, error_type: &str) -> String {
    let job = json!({ "name": name, "schedule_type": "immediate", "target_command": "cmd.example.job",
                      "delivery": { "mode": "job", "timeout_seconds": 60 } });
    let before = nats.count("COMMANDS").await;
    nats.create(job).await;
    nats.wait_count("COMMANDS", before + 1).await;
    let command = nats.messages("COMMANDS").await.pop().unwrap();
    let header = |name: &str| command.headers.get(name).unwrap().as_str().to_owned();
    let id = header("Scheduler-Execution-Id");
    let report = json!({ "execution_id": id, "token": header("Scheduler-Token"),
                         "error_type": error_type, "retryable": false });
    nats.ask("execution.fail", report).await;
    wait_for("the failure", || async {
        let reply = nats.request("execution.get", &json!({ "execution_id": id })).await;
        (reply["data"]["status"] == "failed").then_some(())
    })
    .await;
    id
}

#[tokio::test]
async fn error_types_are_compared_as_they_were_given() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let hostile = ["a%20b", "a b", "ü\u{7}\r\nX: 1", "\u{10348}\"{", "%", &"\u{1}".repeat(100)];
    let mut ids = Vec::new();
    for (n, error_type) in hostile.iter().enumerate() {
        ids.push(given_up(&nats, &format!("job {n}"), error_type).await);
    }
    for (error_type, id) in hostile.iter().zip(&ids) {
        let asked = json!({ "filter": { "error_type": error_type }, "dry_run": true });
        let found = nats.ask("bulk.retry", asked).await;
        assert_eq!(found["matched"], 1, "{error_type:?} {found}");
        assert_eq!(found["results"][0]["retry_of"], id.as_str(), "{error_type:?}");
    }
    let asked = json!({ "filter": { "error_type": "nobody's" }, "dry_run": true });
    assert_eq!(nats.ask("bulk.retry", asked).await["matched"], 0);
}

#[tokio::test]
async fn many_are_taken_up_oldest_first_within_a_bound_and_each_says_what_became_of_it() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let tagged = json!({ "tags": ["outage"] });
    let (one, first) = failed(&nats, "one", tagged.clone()).await;
    let second = triggered(&nats, &one, "failed").await;
    let (gone, third) = failed(&nats, "gone", tagged.clone()).await;
    let (_, fourth) = failed(&nats, "another", json!({})).await;
    let tried = json!({ "max_retries": 1, "retry": { "initial_seconds": 0, "jitter": 0 } });
    let (tried, _) = failed(&nats, "tried", tried).await;
    let of_tried =
        nats.wait_executions(json!({ "schedule_id": tried, "status": "failed" }), 2).await;
    let last = of_tried[0]["id"].as_str().unwrap().to_owned();
    mend(&nats, &one, json!({ "n": 2 })).await;
    nats.ask("schedule.delete", json!({ "schedule_id": gone })).await;

    let of = |result: &Value| -> Vec<String> {
        let results = result["results"].as_array().unwrap();
        results.iter().map(|one| one["retry_of"].as_str().unwrap().to_owned()).collect()
    };
    let everything = json!({ "filter": { "status": "failed" }, "dry_run": true });
    let all = nats.ask("bulk.retry", everything).await;
    assert_eq!(of(&all), [&first, &second, &third, &fourth, &last].map(Clone::clone), "{all}");
    assert_eq!((&all["matched"], &all["passed_over"]), (&json!(6), &json!(1)));
    assert_eq!((&all["retried"], &all["refused"]), (&json!(4), &json!(1)));
    assert_eq!(all["results"][2]["error"]["code"], "not_found");
    assert!(all["results"][0]["execution_id"].is_null(), "{all}");
    // The target is that of now.
    let now = json!({ "filter": { "target_command": "cmd.example.a" }, "dry_run": true });
    assert_eq!(of(&nats.ask("bulk.retry", now).await), [first.clone(), second.clone()]);
    let prefix = json!({ "filter": { "target_command": "cmd.example" }, "dry_run": true });
    assert_eq!(nats.ask("bulk.retry", prefix).await["matched"], 0);
    let named =
        json!({ "filter": { "schedule_name": "one", "creator": "unknown" }, "dry_run": true });
    assert_eq!(of(&nats.ask("bulk.retry", named).await), [first.clone(), second.clone()]);
    let unnamed = json!({ "filter": { "schedule_name": "one" } });
    let error = nats.refused("bulk.retry", unnamed).await;
    assert_eq!(error["details"][0]["field"], "filter.creator", "{error}");
    let tag = json!({ "filter": { "tag": "outage", "schedule_id": gone }, "dry_run": true });
    assert_eq!(nats.ask("bulk.retry", tag).await["matched"], 0, "a deleted one has no tags");
    let started = nats.ask("execution.get", json!({ "execution_id": second })).await;
    let started = &started["started_at"];
    let span = json!({ "filter": { "from": started, "to": started }, "dry_run": true });
    assert_eq!(of(&nats.ask("bulk.retry", span).await), vec![second.clone()]);

    // Part by part.
    let mut request = json!({ "filter": { "tag": "outage" }, "limit": 1, "idempotency_key": "o" });
    let part = nats.ask("bulk.retry", request.clone()).await;
    assert_eq!((of(&part), &part["matched"]), (vec![first.clone()], &json!(2)), "{part}");
    let mut next = request.clone();
    next["cursor"] = part["next_cursor"].clone();
    let rest = nats.ask("bulk.retry", next).await;
    assert_eq!((of(&rest), &rest["next_cursor"]), (vec![second.clone()], &Value::Null), "{rest}");
    nats.wait_count("COMMANDS", 2).await;
    // All of it again, with the same key.
    request["limit"] = json!(10);
    let again = nats.ask("bulk.retry", request).await;
    assert!(
        again["results"].as_array().unwrap().iter().all(|one| one["repeated"] == true),
        "{again}"
    );
    assert_eq!(again["results"][0]["execution_id"], part["results"][0]["execution_id"]);
    assert_eq!(again["results"][1]["execution_id"], rest["results"][0]["execution_id"]);
    let done = nats.wait_executions(json!({ "schedule_id": one, "status": "success" }), 2).await;
    assert_eq!(done.len(), 2);
    assert_ne!(done[0]["correlation_id"], done[1]["correlation_id"], "two requests");
    assert_eq!(nats.count("COMMANDS").await, 2);
    let bad = json!({ "filter": { "status": "running", "tag": "" }, "limit": 0, "cursor": "x" });
    let error = nats.refused("bulk.retry", bad).await;
    let fields = error["details"].as_array().unwrap().iter().map(|fault| fault["field"].clone());
    assert_eq!(fields.collect::<Vec<_>>(), ["filter.tag", "filter.status", "limit", "cursor"]);
    assert_eq!(nats.refused("bulk.retry", json!({ "filter": {} })).await["code"], "invalid");
}

#[tokio::test]
async fn after_a_crash_in_between_the_same_key_takes_up_only_the_rest() {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "before_memo_done:3")]).await;
    let (id, _) = failed(&nats, "many", json!({})).await;
    for _ in 0..5 {
        triggered(&nats, &id, "failed").await;
    }
    mend(&nats, &id, json!({})).await;
    let request = json!({ "filter": { "schedule_id": id }, "idempotency_key": "k" });
    nats.ask_the_dying("bulk.retry", &request).await;
    dying.exited().await;
    let _next = nats.service().await;
    nats.wait_count("COMMANDS", 3).await;
    let done = nats.ask("bulk.retry", request).await;
    assert_eq!((&done["matched"], &done["retried"]), (&json!(6), &json!(6)), "{done}");
    let repeated = done["results"].as_array().unwrap().iter().filter(|one| one["repeated"] == true);
    assert_eq!(repeated.count(), 3, "{done}");
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 6).await;
    assert_eq!(nats.count("COMMANDS").await, 6);
}

#[tokio::test]
async fn retries_are_asked_for_over_http_and_by_the_client_too() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let (id, old) = failed(&nats, "asked", json!({})).await;
    mend(&nats, &id, json!({})).await;
    let path = format!("/api/v1/executions/{old}/retry?wait_ms=20000");
    let ask = || http.ask(Method::POST, &path).header("Idempotency-Key", "h");
    let retried = answer(ask()).await;
    assert_eq!(retried.status, 200, "{retried:?}");
    assert_eq!(retried.body["data"]["execution"]["status"], "success", "{retried:?}");
    let again = answer(ask()).await;
    assert_eq!(again.body["data"]["execution_id"], retried.body["data"]["execution_id"]);
    assert_eq!(again.body["warnings"][0]["code"], "repeated");
    http.post(&format!("/api/v1/executions/{}/retry", uuid::Uuid::nil()), json!({}))
        .await
        .refused(404, "not_found");
    let request = json!({ "filter": { "schedule_id": id }, "dry_run": true });
    let many = http.post("/api/v1/executions/bulk/retry", request).await;
    assert_eq!((many.status.as_u16(), &many.body["data"]["retried"]), (200, &json!(1)), "{many:?}");
    http.get("/api/v1/executions/bulk").await.refused(404, "not_found");

    let client = Client::new(nats.client.clone()).actor("alice");
    let run = client.retry(old.parse().unwrap()).await.unwrap().data;
    assert_eq!(run.retry_of.to_string(), old);
    let request = RetryExecution {
        execution_id: Some(run.retry_of),
        payload: Some(RetryPayload::Current),
        wait_ms: Some(20_000),
        ..RetryExecution::default()
    };
    let ended = client.retry_with(&request).await.unwrap().data.execution.unwrap();
    assert_eq!((ended.status, ended.retry_of), (ExecutionStatus::Success, Some(run.retry_of)));
    let filter = ExecutionFilter { schedule_id: Some(run.schedule_id), ..Default::default() };
    let many = BulkRetry { filter: Some(filter), ..BulkRetry::default() };
    let many = client.bulk_retry(&many).await.unwrap().data;
    assert_eq!((many.matched, many.retried, many.results[0].retry_of), (1, 1, run.retry_of));
}
