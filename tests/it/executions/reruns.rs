//! Stored requests to run many executions again, which the service carries out as there is room.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _};
use nats_scheduler::client::{
    BulkRetry, Client, ExecutionFilter, ExecutionStatus, ListReruns, RerunStatus,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Nats, far, in_ms, wait_for};
use crate::http::{Http, answer};
use crate::requests::audit::events;
use crate::schedules::groups::work;

/// A schedule of which so many runs by hand failed, since nobody keeps its target.
pub async fn failures(nats: &Nats, name: &str, count: usize) -> String {
    let mut request = far(name);
    request["target_command"] = json!("cmd.nowhere.a");
    request["max_retries"] = json!(0);
    request["tags"] = json!(["outage"]);
    let id = nats.create(request).await;
    for n in 0..count {
        nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
        // No more than wait in a record at once.
        if n % 32 == 31 {
            wait_failed(nats, &id, n + 1).await;
        }
    }
    wait_failed(nats, &id, count).await;
    id
}

async fn wait_failed(nats: &Nats, id: &str, count: usize) {
    wait_for("failures", || async {
        let asked = json!({ "schedule_id": id, "status": "failed", "limit": 1 });
        let reply = nats.request("execution.list", &asked).await;
        (reply["pagination"]["total"] == count).then_some(())
    })
    .await;
}

/// Lets the commands of a schedule arrive.
pub async fn mend(nats: &Nats, id: &str, how: Value) {
    let mut update = json!({ "schedule_id": id, "target_command": "cmd.example.a" });
    update.as_object_mut().unwrap().extend(how.as_object().unwrap().clone());
    nats.ask("schedule.update", update).await;
}

async fn rerun(nats: &Nats, id: &Value) -> Value {
    nats.ask("rerun.get", json!({ "rerun_id": id })).await
}

async fn wait_done(nats: &Nats, id: &Value) -> Value {
    wait_for("the end of the rerun", || async {
        let rerun = rerun(nats, id).await;
        (rerun["status"] == "done").then_some(rerun)
    })
    .await
}

/// Cancels the execution that is with a worker.
async fn cancel_running(nats: &Nats) {
    let running = nats.ask("execution.running", json!({})).await;
    let mut running = running.as_array().unwrap().iter();
    let running = running.find(|one| one["status"] == "running").unwrap();
    nats.ask("execution.cancel", json!({ "execution_id": running["execution_id"] })).await;
}

/// The executions that the commands of the stream run again, each once.
async fn rerun_of(nats: &Nats, schedules: &[&String]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for schedule in schedules {
        for page in 1.. {
            let asked =
                json!({ "schedule_id": schedule, "status": "success", "limit": 100, "page": page });
            let shown = nats.ask("execution.list", asked).await;
            let shown = shown.as_array().unwrap();
            for one in shown {
                let of = one["retry_of"].as_str().unwrap().to_owned();
                assert!(all.insert(of), "twice: {one}");
            }
            if shown.len() < 100 {
                break;
            }
        }
    }
    all
}

#[tokio::test]
async fn dying_before_a_part_is_written_runs_nothing_twice() {
    dies_at("before_rerun_part").await;
}

#[tokio::test]
async fn dying_in_the_middle_of_a_part_runs_nothing_twice() {
    dies_at("before_memo_done:20").await;
}

/// Stores a request with an instance that dies at a point, and has others go on.
async fn dies_at(point: &str) {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    let (one, other) = tokio::join!(failures(&nats, "one", 70), failures(&nats, "other", 30));
    for id in [&one, &other] {
        mend(&nats, id, json!({})).await;
    }
    let request = json!({ "filter": { "tag": "outage" }, "in_background": true,
                          "idempotency_key": "after the outage" });
    let stored = nats.ask("bulk.retry", request.clone()).await;
    assert_eq!((&stored["matched"], &stored["retried"]), (&json!(100), &json!(0)), "{stored}");
    // It dies with a part that it has taken up, and of which nobody else knows.
    dying.exited().await;
    assert!(nats.count("COMMANDS").await <= 64);
    let _instances = (nats.service().await, nats.service().await);
    let id = &stored["rerun_id"];
    let done = wait_done(&nats, id).await;
    assert_eq!(
        (&done["retried"], &done["refused"], &done["passed_over"], &done["waits_for"]),
        (&json!(100), &json!(0), &json!(0), &Value::Null),
        "{done}"
    );
    nats.wait_executions(json!({ "status": "success" }), 100).await;
    assert_eq!(rerun_of(&nats, &[&one, &other]).await.len(), 100);
    assert_eq!(nats.count("COMMANDS").await, 100, "each command once");

    // The same request again is the same rerun; another one with that key is refused.
    let (_, again) = nats.request_with_headers("bulk.retry", &[], request.clone()).await;
    assert_eq!(
        (&again["data"]["rerun_id"], &again["warnings"][0]["code"]),
        (id, &json!("repeated"))
    );
    let mut other = request.clone();
    other["filter"] = json!({ "tag": "another" });
    let error = nats.refused("bulk.retry", other).await;
    assert_eq!(
        (&error["code"], &error["details"][0]["field"]),
        (&json!("not_allowed"), &json!("idempotency_key"))
    );
    assert_eq!(nats.count("COMMANDS").await, 100);
    let told = events(&nats, id.as_str().unwrap(), 2).await;
    assert_eq!(
        (&told[0]["event"], &told[1]["event"], &told[1]["retried"]),
        (&json!("rerun_requested"), &json!("rerun_ended"), &json!(100))
    );
}

#[tokio::test]
async fn what_has_no_room_waits_and_holds_up_no_other_schedule() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let full = failures(&nats, "full", 80).await;
    let free = failures(&nats, "free", 20).await;
    let job = json!({ "target_command": "cmd.report.x", "delivery": { "mode": "job", "timeout_seconds": 60 } });
    mend(&nats, &full, job).await;
    mend(&nats, &free, json!({})).await;
    let asked = json!({ "filter": { "status": "failed" }, "in_background": true });
    let stored = nats.ask("bulk.retry", asked).await;
    let id = &stored["rerun_id"];
    wait_for("those that have room", || async {
        let rerun = rerun(&nats, id).await;
        let waits = rerun["waits_for"].as_str()?.contains("64 runs of schedule");
        (waits && rerun["retried"] == 84 && rerun["status"] == "running").then_some(())
    })
    .await;
    nats.wait_executions(json!({ "schedule_id": free, "status": "success" }), 20).await;
    let _worker = work(&nats, Duration::ZERO).await;
    // The one that was sent before there was a worker.
    cancel_running(&nats).await;
    let done = wait_done(&nats, id).await;
    assert_eq!((&done["retried"], &done["matched"]), (&json!(100), &json!(100)), "{done}");
    nats.wait_executions(json!({ "schedule_id": full, "status": "success" }), 79).await;
    assert_eq!(rerun_of(&nats, &[&full, &free]).await.len(), 99);
}

#[tokio::test]
async fn one_is_listed_bounded_ended_and_says_what_it_refused() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let kept = failures(&nats, "kept", 70).await;
    let gone = failures(&nats, "gone", 2).await;
    nats.ask("schedule.delete", json!({ "schedule_id": gone })).await;
    let job = json!({ "target_command": "cmd.report.x", "delivery": { "mode": "job", "timeout_seconds": 60 } });
    mend(&nats, &kept, job).await;

    let client = Client::new(nats.client.clone()).actor("alice");
    let of =
        |id: &str| ExecutionFilter { schedule_id: Some(id.parse().unwrap()), ..Default::default() };
    let background = |filter, limit| BulkRetry {
        filter: Some(filter),
        limit,
        in_background: Some(true),
        ..BulkRetry::default()
    };
    let refused = client.bulk_retry(&background(of(&gone), None)).await.unwrap().data;
    let refused = refused.rerun_id.unwrap();
    let done = wait_done(&nats, &json!(refused)).await;
    assert_eq!((&done["refused"], &done["retried"]), (&json!(2), &json!(0)), "{done}");
    assert_eq!(done["refusals"][0]["schedule_id"], gone.as_str());
    assert!(done["refusals"][1]["reason"].as_str().unwrap().contains("no schedule"), "{done}");

    let bounded = client.bulk_retry(&background(of(&kept), Some(3))).await.unwrap().data;
    let done = wait_done(&nats, &json!(bounded.rerun_id)).await;
    assert_eq!(
        (&done["matched"], &done["retried"], &done["limit"]),
        (&json!(70), &json!(3), &json!(3))
    );

    // 61 fit beside those three.
    let filter = ExecutionFilter { status: Some(ExecutionStatus::Failed), ..of(&kept) };
    let long = client.bulk_retry(&background(filter, None)).await.unwrap().data.rerun_id.unwrap();
    wait_for("a full record", || async {
        let rerun = client.get_rerun(long).await.unwrap().data;
        rerun.waits_for.is_some().then_some(())
    })
    .await;
    let shown = client.list_reruns(&ListReruns::default()).await.unwrap().data;
    let ids: Vec<_> = shown.iter().map(|rerun| rerun.rerun_id).collect();
    assert_eq!(ids, [long, bounded.rerun_id.unwrap(), refused], "newest first");
    assert_eq!((shown[0].status, &*shown[0].created_by), (RerunStatus::Running, "alice"));

    let http = Http::new(&service).await;
    let path = format!("/api/v1/reruns/{long}");
    assert_eq!(http.get(&path).await.body["data"]["retried"], 61);
    assert_eq!(http.get("/api/v1/reruns?limit=1").await.body["pagination"]["total"], 3);
    let cancel = http.ask(Method::POST, &format!("{path}/cancel")).header("X-Cancelled-By", "bob");
    let cancelled = answer(cancel).await;
    assert_eq!(cancelled.body["data"]["cancelled_by"], "bob", "{cancelled:?}");
    assert_eq!(cancelled.body["data"]["status"], "cancelled");
    http.post(&format!("{path}/cancel"), json!({})).await.refused(422, "not_allowed");
    // There is room for one more, and it is not taken up any more.
    cancel_running(&nats).await;
    let another = client.bulk_retry(&background(of(&kept), Some(1))).await.unwrap().data;
    wait_done(&nats, &json!(another.rerun_id)).await;
    assert_eq!(client.get_rerun(long).await.unwrap().data.retried, 61);

    let unknown = json!({ "rerun_id": uuid::Uuid::nil() });
    assert_eq!(nats.refused("rerun.get", unknown.clone()).await["code"], "not_found");
    assert_eq!(nats.refused("rerun.cancel", unknown).await["code"], "not_found");
    assert_eq!(nats.refused("rerun.get", json!({})).await["details"][0]["field"], "rerun_id");
    let bad = json!({ "filter": { "tag": "a" }, "in_background": true, "limit": 1_000_001, "cursor": "x" });
    let error = nats.refused("bulk.retry", bad).await;
    let fields = error["details"].as_array().unwrap().iter().map(|fault| fault["field"].clone());
    assert_eq!(fields.collect::<Vec<_>>(), ["limit", "cursor", "cursor"]);
    let dry = json!({ "filter": { "schedule_id": kept }, "in_background": true, "dry_run": true });
    let dry = nats.ask("bulk.retry", dry).await;
    assert_eq!((&dry["rerun_id"], dry["results"].as_array().unwrap().len()), (&Value::Null, 70));
}

#[tokio::test]
async fn one_that_ended_a_week_ago_is_forgotten() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    failures(&nats, "once", 1).await;
    let asked = json!({ "filter": { "status": "failed" }, "in_background": true });
    let id = nats.ask("bulk.retry", asked).await["rerun_id"].clone();
    wait_done(&nats, &id).await;
    events(&nats, id.as_str().unwrap(), 2).await;
    let (bucket, key) = (
        nats.js.get_key_value("scheduler_schedules").await.unwrap(),
        format!("rerun.{}", id.as_str().unwrap()),
    );
    let stored = wait_for("its events to be taken out", || async {
        let entry = bucket.entry(&key).await.unwrap()?;
        let stored: Value = serde_json::from_slice(&entry.value).unwrap();
        stored.get("events").is_none().then_some(stored)
    })
    .await;
    let mut old = stored;
    old["ended_at"] = json!(in_ms(-8 * 86_400_000));
    bucket.put(&key, serde_json::to_vec(&old).unwrap().into()).await.unwrap();
    wait_for("the key to go", || async { bucket.get(&key).await.unwrap().is_none().then_some(()) })
        .await;
    assert_eq!(nats.refused("rerun.get", json!({ "rerun_id": id })).await["code"], "not_found");
}

#[tokio::test]
async fn one_by_what_was_sent_is_left_to_instances_that_know_that() {
    let nats = Nats::start().await;
    let mut newer = nats.service().await;
    let id = failures(&nats, "sent", 3).await;
    mend(&nats, &id, json!({})).await;
    // It cannot run before it is mended: of another target there is nothing.
    let filter = |command: &str| json!({ "command_sent": command });
    let none = json!({ "filter": filter("cmd.example.a"), "dry_run": true });
    assert_eq!(nats.ask("bulk.retry", none).await["matched"], 0);
    let dry = json!({ "filter": filter("cmd.nowhere.a"), "dry_run": true });
    let dry = nats.ask("bulk.retry", dry).await;
    assert_eq!(
        (&dry["matched"], &dry["results"][0]["target_command"]),
        (&json!(3), &json!("cmd.example.a"))
    );
    assert!(newer.stop().await.success());

    // Instances as they were before, of which one is the first of all; and one that is asked, and stops at once.
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "before_rerun_part")]).await;
    let stored = json!({ "filter": filter("cmd.nowhere.a"), "in_background": true });
    nats.ask_the_dying("bulk.retry", &stored).await;
    dying.exited().await;
    let before = nats.count("COMMANDS").await;
    let older = nats.service_with(&[("NATS_SCHEDULER_FORMAT", "6")]).await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let keys: Vec<_> = bucket.keys().await.unwrap().try_collect().await.unwrap();
    let key = keys.into_iter().find(|key| key.starts_with("rerun.")).unwrap();
    let rerun_id = key.strip_prefix("rerun.").unwrap();
    let kept = async || bucket.entry(&key).await.unwrap().unwrap();
    let stored = kept().await;
    let record: Value = serde_json::from_slice(&stored.value).unwrap();
    assert_eq!((&record["needs"], &record["format"]), (&json!(7), &json!(7)), "{record}");
    // One that they know is carried out meanwhile.
    let other = json!({ "filter": { "schedule_id": id }, "in_background": true });
    let other = nats.ask("bulk.retry", other).await["rerun_id"].clone();
    wait_done(&nats, &other).await;
    assert_eq!(kept().await.revision, stored.revision, "it is left alone");
    let error = nats.refused("rerun.get", json!({ "rerun_id": rerun_id })).await;
    assert_eq!(error["code"], "unavailable", "{error}");
    let _newer = nats.service().await;
    wait_for("the newer one to carry it out", || async {
        let record: Value = serde_json::from_slice(&kept().await.value).unwrap();
        (record["progress"]["retried"] == 3 && record["ended_at"].is_string()).then_some(())
    })
    .await;
    assert!(nats.count("COMMANDS").await >= before + 3);
    drop(older);
}

#[tokio::test]
async fn what_a_record_has_no_room_for_yet_is_run_again_when_it_has() {
    let nats =
        Nats::with_config("jetstream { store_dir: $NATS_STORE_DIR }\nmax_payload: 262144\n").await;
    let _service = nats.service().await;
    let mut request = far("large");
    request["target_command"] = json!("cmd.nobody.a");
    request["delivery"] = json!({ "mode": "request", "timeout_seconds": 10 });
    request["command_payload"] = json!({ "a": "x".repeat(40_000) });
    request["max_retries"] = json!(0);
    let id = nats.create(request).await;
    for failed in 1..9 {
        nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
        wait_failed(&nats, &id, failed).await;
    }
    let mut commands = nats.client.subscribe("cmd.nobody.a").await.unwrap();
    nats.client.flush().await.unwrap();
    let asked = json!({ "filter": { "schedule_id": id }, "in_background": true });
    let asked = nats.ask("bulk.retry", asked).await["rerun_id"].clone();
    // Nobody is answered yet, so as many wait as the record has room for.
    wait_for("the rerun to wait for room", || async {
        let rerun = rerun(&nats, &asked).await;
        rerun["waits_for"].as_str()?.contains("others wait or are under way").then_some(())
    })
    .await;
    for _ in 1..9 {
        let reply = commands.next().await.unwrap().reply.unwrap();
        nats.client.publish(reply, "{}".into()).await.unwrap();
    }
    let done = wait_done(&nats, &asked).await;
    assert_eq!((&done["retried"], &done["refused"]), (&json!(8), &json!(0)), "{done}");
}
