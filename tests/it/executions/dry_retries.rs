//! What dry runs of `execution.retry` say, and that they write nothing.

use nats_scheduler::client::{Client, PayloadSource, RetryExecution};
use serde_json::{Value, json};

use crate::executions::retries::{failed, mend};
use crate::harness::{Nats, far, wait_for};
use crate::http::Http;

fn with(request: &Value, more: &Value) -> Value {
    let mut request = request.clone();
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// The revision of a record once nothing more is to be written to it.
async fn settled(nats: &Nats, id: &str) -> u64 {
    wait_for("the record to settle", || async {
        let record = nats.record(id).await;
        let is_empty = |field: &str| record[field].as_array().is_none_or(Vec::is_empty);
        (is_empty("attempts") && is_empty("events")).then_some(())
    })
    .await;
    nats.record_revision(id).await
}

/// The code of a refusal, which a dry run and the real one share.
async fn refused_alike(nats: &Nats, request: Value) -> String {
    let dry = nats.refused("execution.retry", with(&request, &json!({ "dry_run": true }))).await;
    let real = nats.refused("execution.retry", request.clone()).await;
    assert_eq!(dry, real, "{request}");
    dry["code"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_dry_run_says_what_would_run_and_writes_nothing() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let (id, old) = failed(&nats, "dry", json!({ "command_payload": { "n": 1 } })).await;
    let (revision, keys) = (settled(&nats, &id).await, nats.stored().await);
    let dry =
        json!({ "execution_id": old, "dry_run": true, "wait_ms": 20_000, "idempotency_key": "k" });
    let reply = nats.request("execution.retry", &dry).await;
    let expected = json!({ "dry_run": true, "retry_of": old, "schedule_id": id, "schedule_name": "dry",
                           "target_command": "cmd.nowhere.a", "payload": "own" });
    assert_eq!(reply["data"], expected, "{reply}");
    assert_eq!(reply["links"]["self"], format!("/api/v1/schedules/{id}"));
    let warnings = reply["warnings"].as_array().unwrap();
    assert_eq!((warnings.len(), &warnings[0]["code"]), (1, &json!("no_stream")), "{reply}");
    assert_eq!((nats.stored().await, nats.record_revision(&id).await), (keys, revision));

    // It goes where the schedule sends now.
    mend(&nats, &id, json!({ "n": 2 })).await;
    let revision = settled(&nats, &id).await;
    let http = Http::new(&service).await;
    let path = format!("/api/v1/executions/{old}/retry");
    let current = json!({ "dry_run": true, "payload": "current" });
    let current = http.post(&path, current).await;
    assert_eq!(current.status, 200, "{current:?}");
    let shown = &current.body["data"];
    assert_eq!(
        (&shown["payload"], &shown["target_command"], &current.body["warnings"]),
        (&json!("current"), &json!("cmd.example.a"), &Value::Null),
        "{current:?}"
    );
    let request = RetryExecution {
        execution_id: Some(old.parse().unwrap()),
        override_payload: Some(serde_json::from_str("{\"n\":3}").unwrap()),
        dry_run: Some(true),
        ..RetryExecution::default()
    };
    let client = Client::new(nats.client.clone());
    let by_client = client.retry_with(&request).await.unwrap().data;
    assert_eq!((by_client.payload, by_client.execution_id), (Some(PayloadSource::Override), None));
    assert_eq!((nats.stored().await, nats.record_revision(&id).await), (keys, revision));
    assert_eq!(nats.count("COMMANDS").await, 0);

    // The key is not used up; once it is, a dry run says so.
    let real = with(&dry, &json!({ "dry_run": false }));
    let real = nats.request("execution.retry", &real).await;
    assert_eq!(real["warnings"], Value::Null, "{real}");
    let real = &real["data"];
    assert_eq!(
        (&real["dry_run"], &real["execution"]["status"]),
        (&json!(false), &json!("success"))
    );
    let known = nats.request("execution.retry", &dry).await;
    assert_eq!(known["warnings"][0]["code"], "repeated", "{known}");
    let known = &known["data"];
    assert_eq!((&known["dry_run"], &known["execution_id"]), (&json!(true), &real["execution_id"]));
    assert_eq!(known["execution"], Value::Null, "it waits for nothing");
    let other = json!({ "execution_id": old, "payload": "current", "idempotency_key": "k" });
    assert_eq!(refused_alike(&nats, other).await, "not_allowed");
    assert_eq!(nats.count("COMMANDS").await, 1);
}

#[tokio::test]
async fn a_dry_run_of_a_command_without_a_schedule_says_where_it_would_go() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let command = json!({ "target_command": "cmd.nowhere.b", "max_retries": 0, "wait_ms": 20_000,
                          "command_payload": { "n": 1 } });
    let sent = nats.ask("execute.immediate", command).await;
    let is_gone = || async { (nats.stored().await == 0).then_some(()) };
    wait_for("the record to be gone", is_gone).await;
    let dry = json!({ "execution_id": sent["execution_id"], "dry_run": true });
    let reply = nats.request("execution.retry", &dry).await;
    let expected = json!({ "dry_run": true, "retry_of": sent["execution_id"], "schedule_id": sent["schedule_id"],
                           "schedule_name": "execute.immediate", "target_command": "cmd.nowhere.b", "payload": "own" });
    assert_eq!(reply["data"], expected, "{reply}");
    assert_eq!(reply["links"], json!({}), "no link leads to a schedule that nobody can see");
    assert_eq!(reply["warnings"][0]["code"], "no_stream", "{reply}");
    assert_eq!(nats.stored().await, 0);
    // The real one warns as well.
    let real = with(&dry, &json!({ "dry_run": false }));
    let real = nats.request("execution.retry", &real).await;
    assert_eq!(real["warnings"][0]["code"], "no_stream", "{real}");
    let current = json!({ "execution_id": sent["execution_id"], "payload": "current" });
    assert_eq!(refused_alike(&nats, current).await, "not_allowed");
}

#[tokio::test]
async fn a_dry_run_refuses_what_the_retry_would() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let of = |execution: &str| json!({ "execution_id": execution });
    assert_eq!(refused_alike(&nats, json!({})).await, "invalid");
    assert_eq!(refused_alike(&nats, of(&uuid::Uuid::nil().to_string())).await, "not_found");
    // The history does not keep so large a payload.
    let large = json!({ "command_payload": { "text": "x".repeat(70_000) } });
    let (_, old) = failed(&nats, "large", large).await;
    assert_eq!(refused_alike(&nats, of(&old)).await, "not_allowed");
    // Another attempt follows.
    let more = json!({ "max_retries": 1, "retry_delay_seconds": 3600 });
    let (_, first) = failed(&nats, "tried again", more).await;
    assert_eq!(refused_alike(&nats, of(&first)).await, "not_allowed");
    let both = json!({ "payload": "own", "override_payload": {}, "wait_ms": 60_001 });
    assert_eq!(refused_alike(&nats, with(&of(&old), &both)).await, "invalid");
    let (id, old) = failed(&nats, "deleted", json!({})).await;
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    assert_eq!(refused_alike(&nats, of(&old)).await, "not_found");

    let (id, old) = failed(&nats, "template", json!({ "payload_template": true })).await;
    let unknown = json!({ "override_payload": { "text": "${nothing}" } });
    assert_eq!(refused_alike(&nats, with(&of(&old), &unknown)).await, "invalid");
    // Jobs that wait behind one another fill the record: with what they send, and with their number.
    let job = json!({ "schedule_id": id, "target_command": "cmd.example.job", "payload_template": false,
                      "delivery": { "mode": "job", "timeout_seconds": 60 } });
    nats.ask("schedule.update", job).await;
    let body = json!({ "override_payload": { "text": "x".repeat(400_000) } });
    let run = with(&json!({ "schedule_id": id }), &body);
    wait_for("a record without room", || async {
        let reply = nats.request("schedule.trigger", &run).await;
        (reply["error"]["code"] == "too_large").then_some(())
    })
    .await;
    let dry = with(&with(&of(&old), &body), &json!({ "dry_run": true }));
    assert_eq!(nats.refused("execution.retry", dry).await["code"], "too_large");
    let (id, old) = failed(&nats, "full", json!({})).await;
    let job = json!({ "schedule_id": id, "target_command": "cmd.example.job",
                      "delivery": { "mode": "job", "timeout_seconds": 60 } });
    nats.ask("schedule.update", job).await;
    wait_for("a record with as many runs as wait", || async {
        let reply = nats.request("schedule.trigger", &json!({ "schedule_id": id })).await;
        (reply["error"]["code"] == "limit_exceeded").then_some(())
    })
    .await;
    assert_eq!(refused_alike(&nats, of(&old)).await, "limit_exceeded");
}

#[tokio::test]
async fn several_statuses_are_run_again_together() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let (id, first) = failed(&nats, "several", json!({})).await;
    let mut job = far("job");
    job["target_command"] = json!("cmd.example.job");
    job["delivery"] = json!({ "mode": "job", "timeout_seconds": 60 });
    let job = nats.create(job).await;
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": job })).await;
    nats.wait_executions(json!({ "schedule_id": job, "status": "running" }), 1).await;
    nats.ask("execution.cancel", json!({ "execution_id": run["execution_id"] })).await;
    nats.wait_executions(json!({ "schedule_id": job, "status": "cancelled" }), 1).await;
    mend(&nats, &id, json!({})).await;
    let of = async |filter: Value| {
        let dry = nats.ask("bulk.retry", json!({ "filter": filter, "dry_run": true })).await;
        let results = dry["results"].as_array().unwrap();
        let mut ids: Vec<_> =
            results.iter().map(|one| one["retry_of"].as_str().unwrap().to_owned()).collect();
        ids.sort();
        ids
    };
    let mut both = vec![first.clone(), run["execution_id"].as_str().unwrap().to_owned()];
    both.sort();
    assert_eq!(of(json!({ "statuses": ["cancelled", "failed"] })).await, both);
    assert_eq!(of(json!({ "statuses": ["failed"] })).await, [first.as_str()]);
    // None is as good as no field: those that failed, as without it.
    assert_eq!(of(json!({ "statuses": [], "schedule_id": id })).await, [first]);
    assert_eq!(of(json!({ "statuses": [], "schedule_id": job })).await, [""; 0]);
    let bad = json!({ "filter": { "status": "failed", "statuses": ["running"] } });
    let error = nats.refused("bulk.retry", bad).await;
    let fields: Vec<_> =
        error["details"].as_array().unwrap().iter().map(|it| &it["field"]).collect();
    assert_eq!(fields, ["filter.statuses", "filter.statuses"], "{error}");
    let listed = json!({ "status": "failed", "statuses": ["failed"] });
    let error = nats.refused("execution.list", listed).await;
    assert_eq!(error["details"][0]["reason"], "cannot stand beside status", "{error}");

    // Stored, it is for instances that know it.
    let stored =
        json!({ "filter": { "statuses": ["failed", "cancelled"] }, "in_background": true });
    let stored = nats.ask("bulk.retry", stored).await;
    assert_eq!(stored["matched"], 2, "{stored}");
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let rerun = stored["rerun_id"].as_str().unwrap();
    let record = bucket.get(format!("rerun.{rerun}")).await.unwrap().unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    assert_eq!(
        (&record["needs"], &record["filter"]["statuses"][1]),
        (&json!(7), &json!("cancelled"))
    );
    wait_for("the end of the rerun", || async {
        let rerun = nats.ask("rerun.get", json!({ "rerun_id": rerun })).await;
        (rerun["status"] == "done" && rerun["retried"] == 2).then_some(())
    })
    .await;
}
