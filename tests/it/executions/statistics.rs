//! Statistics, executions under way, and the whole story of an execution.

use async_nats::HeaderMap;
use futures::StreamExt as _;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{Nats, far, in_ms, wait_for};

/// A schedule that does not fire by itself and sends to nowhere, so that it fails when it is run.
fn failing(name: &str, max_retries: u8, retry_delay_seconds: u32) -> Value {
    json!({ "name": name, "schedule_type": "one_time", "scheduled_at": in_ms(3_600_000),
            "target_command": "cmd.nowhere.bad", "max_retries": max_retries,
            "retry_delay_seconds": retry_delay_seconds })
}

/// Runs a schedule by hand and waits for the outcome; the execution's id.
async fn run(nats: &Nats, id: &str) -> String {
    let run = nats.ask("schedule.trigger", json!({ "schedule_id": id, "wait_ms": 10_000 })).await;
    assert!(run["execution"].is_object(), "no outcome in time: {run}");
    run["execution_id"].as_str().unwrap().to_owned()
}

async fn list_total(nats: &Nats, filter: Value) -> u64 {
    nats.request("execution.list", &filter).await["pagination"]["total"].as_u64().unwrap()
}

#[tokio::test]
async fn statistics_are_those_of_the_executions_in_the_history() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let good = nats.create(far("good")).await;
    let bad = nats.create(failing("bad", 1, 1)).await;

    let none = nats.ask("execution.stats", json!({ "schedule_id": good })).await;
    assert_eq!((&none["total_executions"], &none["success_rate"]), (&json!(0), &json!(null)));
    let schedule = nats.ask("schedule.get", json!({ "schedule_id": good })).await;
    let next = json!({ "schedule_id": good, "at": schedule["next_run_at"] });
    assert_eq!(none["next_execution"], next);

    run(&nats, &good).await;
    run(&nats, &good).await;
    let last_good = run(&nats, &good).await;
    run(&nats, &bad).await;
    let failed = json!({ "schedule_id": bad, "status": "failed" });
    let attempts = nats.wait_executions(failed, 2).await;

    let stats = nats.ask("execution.stats", json!({ "schedule_id": good })).await;
    assert_eq!((&stats["total_executions"], &stats["successful"]), (&json!(3), &json!(3)));
    assert_eq!((&stats["failed"], &stats["skipped"]), (&json!(0), &json!(0)));
    assert_eq!(stats["success_rate"], 1.0);
    assert_eq!(stats["consecutive_failures"], 0);
    assert_eq!(stats["executions_last_hour"], 3);
    assert_eq!(stats["last_execution"]["execution_id"], json!(last_good));
    assert_eq!(stats["last_execution"]["status"], "success");
    assert_eq!((&stats["last_error"], &stats["most_common_error"]), (&json!(null), &json!(null)));
    let listed = nats.ask("execution.list", json!({ "schedule_id": good })).await;
    let durations = listed.as_array().unwrap().iter().map(|e| e["duration_ms"].as_i64().unwrap());
    let durations: Vec<i64> = durations.collect();
    assert_eq!(stats["min_duration_ms"].as_i64(), durations.iter().min().copied());
    assert_eq!(stats["max_duration_ms"].as_i64(), durations.iter().max().copied());
    let average = stats["average_duration_ms"].as_f64().unwrap();
    assert!((average * 3.0 - durations.iter().sum::<i64>() as f64).abs() < 1e-6, "{average}");

    let stats =
        nats.ask("execution.stats", json!({ "schedule_id": bad, "time_window_hours": 1 })).await;
    assert_eq!((&stats["total_executions"], &stats["failed"]), (&json!(2), &json!(2)));
    assert_eq!(stats["success_rate"], 0.0);
    assert_eq!(stats["consecutive_failures"], 2);
    assert_eq!(stats["most_common_error"], json!({ "error_type": "no_stream", "count": 2 }));
    let error = &stats["last_error"];
    assert_eq!(
        (&error["execution_id"], &error["at"]),
        (&attempts[0]["id"], &attempts[0]["completed_at"])
    );
    assert_eq!(error["error_message"], attempts[0]["error_message"]);
    assert_eq!(error["error_type"], "no_stream");

    let all = nats.ask("execution.stats", json!({})).await;
    assert_eq!((&all["total_executions"], &all["failed"]), (&json!(5), &json!(2)));
    assert_eq!(all["success_rate"], 0.6);
    assert_eq!(all["next_execution"], next, "of two the first");

    nats.ask("schedule.delete", json!({ "schedule_id": good, "hard_delete": true })).await;
    let kept = nats.ask("execution.stats", json!({ "schedule_id": good })).await;
    assert_eq!((&kept["successful"], &kept["next_execution"]), (&json!(3), &json!(null)));
    let nowhere = json!({ "schedule_id": Uuid::nil() });
    assert_eq!(nats.refused("execution.stats", nowhere).await["code"], "not_found");
    for hours in [0, 721] {
        let error = nats.refused("execution.stats", json!({ "time_window_hours": hours })).await;
        assert_eq!(error["details"][0]["field"], "time_window_hours");
    }

    // By time: what was completed in each minute.
    let by_minute = json!({ "time_window_hours": 1, "bucket_seconds": 60 });
    let stats = nats.ask("execution.stats", by_minute).await;
    let buckets = stats["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), 61);
    let sum =
        |field: &str| buckets.iter().map(|bucket| bucket[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("successful"), sum("failed"), sum("skipped")), (3, 2, 0));
    let full = buckets.iter().rfind(|bucket| bucket["successful"] != 0).unwrap();
    let from: chrono::DateTime<chrono::Utc> = full["from"].as_str().unwrap().parse().unwrap();
    assert_eq!(from.timestamp() % 60, 0, "{full}");
    assert!(full["average_duration_ms"].as_f64() <= full["max_duration_ms"].as_f64(), "{full}");
    for (request, fault) in [
        (json!({ "bucket_seconds": 60 }), "bucket_seconds: needs time_window_hours"),
        (
            json!({ "bucket_seconds": 59, "time_window_hours": 1 }),
            "bucket_seconds: must be 60 to 86400",
        ),
        (
            json!({ "bucket_seconds": 60, "time_window_hours": 24 }),
            "bucket_seconds: would be more than 1000 buckets in the window",
        ),
    ] {
        assert_eq!(nats.refused("execution.stats", request).await["message"], fault);
    }
}

#[tokio::test]
async fn each_skipped_occurrence_of_a_range_is_counted() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats
        .create(json!({ "name": "paused", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.x" }))
        .await;
    let paused = nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    let next: chrono::DateTime<chrono::Utc> =
        serde_json::from_value(paused["next_run_at"].clone()).unwrap();
    let until = next + chrono::Duration::milliseconds(2_100);
    wait_for("three occurrences to pass", || async { (chrono::Utc::now() > until).then_some(()) })
        .await;
    nats.ask("schedule.resume", json!({ "schedule_id": id })).await;
    let skipped = json!({ "schedule_id": id, "status": "skipped" });
    let entries = nats.wait_executions(skipped, 1).await;
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    let count = entries[0]["skipped"]["count"].as_u64().unwrap();
    assert!(count >= 3, "{entries:?}");
    let stats = nats.ask("execution.stats", json!({ "schedule_id": id })).await;
    assert_eq!(stats["skipped"], count);
    assert_eq!(stats["total_executions"], stats["successful"], "what is skipped is no execution");
}

#[tokio::test]
async fn an_execution_shows_all_attempts_at_its_occurrence() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let bad = nats.create(failing("bad", 1, 1)).await;
    let good = nats.create(far("good")).await;
    let first = run(&nats, &bad).await;
    let failed = nats.wait_executions(json!({ "schedule_id": bad }), 2).await;
    // Another occurrence of the same schedule.
    run(&nats, &bad).await;
    let second = failed[0]["id"].as_str().unwrap();
    for id in [first.as_str(), second] {
        let story = nats.ask("execution.get", json!({ "execution_id": id })).await;
        assert_eq!((&story["id"], &story["status"]), (&json!(id), &json!("failed")));
        let attempts = story["attempts"].as_array().unwrap();
        let numbers: Vec<_> = attempts.iter().map(|a| a["attempt_number"].as_u64()).collect();
        assert_eq!(numbers, [Some(1), Some(2)]);
        assert_eq!((&attempts[0]["id"], &attempts[1]["id"]), (&json!(first), &json!(second)));
        assert_eq!(attempts[0]["will_retry"], true);
        assert_eq!(attempts[1]["command_payload"], json!({}));
    }
    let once = run(&nats, &good).await;
    let story = nats.ask("execution.get", json!({ "execution_id": once })).await;
    assert_eq!(story["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(story["attempts"][0]["id"], story["id"]);
}

#[tokio::test]
async fn executions_are_found_by_the_correlation_id_of_a_request() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let (good, bad) = (nats.create(far("good")).await, nats.create(failing("bad", 0, 0)).await);
    let headers = [("X-Correlation-ID", "order-4711")];
    for id in [&good, &bad, &good] {
        let body = json!({ "schedule_id": id, "wait_ms": 10_000 });
        nats.request_with_headers("schedule.trigger", &headers, body).await;
    }
    run(&nats, &good).await;
    let mut found = Vec::new();
    for page in 1..=2 {
        let body = json!({ "correlation_id": "order-4711", "page": page, "limit": 2 });
        let reply = nats.request("execution.by_correlation", &body).await;
        assert_eq!(reply["pagination"]["total"], 3, "{reply}");
        found.extend(reply["data"].as_array().unwrap().clone());
    }
    let schedules: Vec<_> = found.iter().map(|e| e["schedule_id"].as_str().unwrap()).collect();
    assert_eq!(schedules, [&good, &bad, &good], "newest first");
    assert!(found.iter().all(|e| e["correlation_id"] == "order-4711"));
    let reply =
        nats.request("execution.by_correlation", &json!({ "correlation_id": "order" })).await;
    assert_eq!((&reply["data"], &reply["pagination"]["total"]), (&json!([]), &json!(0)));
    let error = nats.refused("execution.by_correlation", json!({ "limit": 0 })).await;
    let fields: Vec<_> =
        error["details"].as_array().unwrap().iter().map(|fault| &fault["field"]).collect();
    assert_eq!(fields, ["correlation_id", "limit"]);
}

#[tokio::test]
async fn what_is_under_way_is_shown_until_it_ends() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut requests = nats.client.subscribe("cmd.slow.job").await.unwrap();
    let slow = nats
        .create(
            json!({ "name": "slow", "schedule_type": "immediate", "target_command": "cmd.slow.job",
                        "delivery": { "mode": "request", "timeout_seconds": 60 } }),
        )
        .await;
    let request = requests.next().await.unwrap();
    let running = wait_for("the running execution", || async {
        let running = nats.ask("execution.running", json!({ "schedule_id": slow })).await;
        running.as_array().unwrap().first().cloned()
    })
    .await;
    assert_eq!((&running["status"], &running["schedule_id"]), (&json!("running"), &json!(slow)));
    assert_eq!(running["schedule_name"], "slow");
    assert_eq!(
        (&running["attempt_number"], &running["target_command"]),
        (&json!(1), &json!("cmd.slow.job"))
    );
    assert_eq!(running["correlation_id"], running["execution_id"]);
    for field in ["scheduled_for", "since", "until", "instance"] {
        assert!(running[field].is_string(), "{field} of {running}");
    }

    // What has ended is not shown, even before its record says so.
    let good = nats.create(far("good")).await;
    run(&nats, &good).await;
    let all = nats.request("execution.running", &json!({})).await;
    assert_eq!(all["pagination"]["total"], 1, "{all}");
    assert_eq!(all["data"][0]["execution_id"], running["execution_id"]);
    let other = nats.ask("execution.running", json!({ "schedule_id": good })).await;
    assert_eq!(other, json!([]));

    let bad = nats.create(failing("bad", 1, 3600)).await;
    run(&nats, &bad).await;
    let pending = wait_for("the retry", || async {
        let body = json!({ "include_pending": true });
        let reply = nats.request("execution.running", &body).await;
        (reply["pagination"]["total"] == 2).then(|| reply["data"][1].clone())
    })
    .await;
    assert_eq!((&pending["status"], &pending["schedule_id"]), (&json!("pending"), &json!(bad)));
    assert_eq!(pending["attempt_number"], 2);
    assert!(pending["due_at"].is_string() && pending["since"].is_null(), "{pending}");
    let page = json!({ "include_pending": true, "page": 2, "limit": 1 });
    let page = nats.request("execution.running", &page).await;
    assert_eq!((&page["data"][0], &page["pagination"]["total"]), (&pending, &json!(2)));

    nats.client.publish(request.reply.unwrap(), "\"done\"".into()).await.unwrap();
    nats.wait_executions(json!({ "schedule_id": slow, "status": "success" }), 1).await;
    let all = nats.request("execution.running", &json!({})).await;
    assert_eq!((&all["data"], &all["pagination"]["total"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn what_is_purged_is_neither_listed_nor_counted() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let (gone, kept) = (nats.create(far("gone")).await, nats.create(far("kept")).await);
    for id in [&gone, &kept, &gone, &gone, &kept] {
        run(&nats, id).await;
    }
    let stream = nats.js.get_stream("SCHEDULER_EXECUTIONS").await.unwrap();
    let subject = format!("evt.scheduler.execution.completed.{gone}");
    stream.purge().filter(subject).await.unwrap();
    assert_eq!(list_total(&nats, json!({ "schedule_id": gone, "limit": 2 })).await, 0);
    assert_eq!(list_total(&nats, json!({})).await, 2);

    // Nobody looks at these, and they are not the oldest. It is noticed as soon every time.
    for left in 3..6 {
        run(&nats, &gone).await;
        run(&nats, &kept).await;
        stream.purge().filter(format!("evt.scheduler.execution.completed.{gone}")).await.unwrap();
        wait_for("the statistics to follow", || async {
            let reply = nats.request("execution.stats", &json!({})).await;
            (reply["data"]["total_executions"] == left).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn events_without_the_headers_of_today_are_counted() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let id = nats.create(failing("bad", 0, 0)).await;
    run(&nats, &id).await;
    let stored = nats.messages("SCHEDULER_EXECUTIONS").await.remove(0);
    let old = Uuid::new_v4().to_string();
    let mut event: Value = serde_json::from_slice(&stored.payload).unwrap();
    event["id"] = json!(old);
    let mut headers = HeaderMap::new();
    headers.insert("Scheduler-Execution-Id", old.as_str());
    for name in ["Scheduler-Scheduled-For", "Scheduler-Started-At", "X-Correlation-ID"] {
        headers.insert(name, stored.headers.get(name).unwrap().as_str());
    }
    let body = event.to_string().into();
    let publish = nats.js.publish_with_headers(stored.subject.clone(), headers, body);
    publish.await.unwrap().await.unwrap();
    for restarted in [false, true] {
        if restarted {
            service.stop().await;
            service = nats.service().await;
        }
        nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 2).await;
        let stats = nats.ask("execution.stats", json!({ "schedule_id": id })).await;
        assert_eq!((&stats["failed"], &stats["consecutive_failures"]), (&json!(2), &json!(2)));
        assert_eq!(stats["most_common_error"], json!({ "error_type": "no_stream", "count": 1 }));
        assert_eq!(stats["last_error"]["execution_id"], json!(old));
        let story = nats.ask("execution.get", json!({ "execution_id": old })).await;
        assert_eq!(story["status"], "failed");
    }
}

#[tokio::test]
async fn a_busy_schedule_does_not_push_out_the_others() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let (quiet, busy) = (nats.create(far("quiet")).await, nats.create(far("busy")).await);
    let kept = run(&nats, &quiet).await;
    run(&nats, &busy).await;
    let stored = nats.messages("SCHEDULER_EXECUTIONS").await.remove(1);
    let publish = |_| {
        let mut headers = HeaderMap::new();
        headers.insert("Scheduler-Execution-Id", Uuid::new_v4().to_string());
        for name in ["Scheduler-Scheduled-For", "Scheduler-Started-At", "X-Correlation-ID"] {
            headers.insert(name, stored.headers.get(name).unwrap().as_str());
        }
        let body = stored.payload.clone();
        let publish = nats.js.publish_with_headers(stored.subject.clone(), headers, body);
        async move { publish.await.unwrap().await.unwrap() }
    };
    let published = futures::stream::iter(0..12_000).map(publish).buffer_unordered(1000);
    assert_eq!(published.count().await, 12_000);
    // The stream keeps ten thousand of a schedule and a kind of event, and so does the index.
    wait_for("the busy one's share", || async {
        (list_total(&nats, json!({ "schedule_id": busy })).await == 10_000).then_some(())
    })
    .await;
    assert_eq!(nats.count("SCHEDULER_EXECUTIONS").await, 10_001);
    let list = nats.ask("execution.list", json!({ "schedule_id": quiet })).await;
    assert_eq!(list[0]["id"], json!(kept));
    let stats = nats.ask("execution.stats", json!({ "schedule_id": quiet })).await;
    assert_eq!(stats["successful"], 1);
}
