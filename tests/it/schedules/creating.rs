//! Creating, reading, listing, deleting, previewing.

use futures::TryStreamExt as _;
use serde_json::{Value, json};

use crate::harness::{Nats, in_ms, wait_for};

fn daily(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "cron", "cron_expression": "0 3 * * *",
            "target_command": "cmd.example.nightly" })
}

#[tokio::test]
async fn each_kind_can_be_created_and_read_back() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for (kind, field, value) in [
        ("cron", "cron_expression", json!("0 2 * * MON-FRI")),
        ("interval", "interval_seconds", json!(3600)),
        ("one_time", "scheduled_at", json!(in_ms(3_600_000))),
    ] {
        let payload = json!({ "b": 1, "a": [1.50, { "z": null }] });
        let mut request = json!({ "name": kind, "schedule_type": kind, "timezone": "Europe/Berlin",
            "target_command": "cmd.example.run", "command_payload": payload, "tags": ["x", "y"],
            "priority": 9, "description": "d", "max_retries": 1, "retry_delay_seconds": 7 });
        request[field] = value;
        let created = nats.ask("schedule.create", request).await;
        let read = nats.ask("schedule.get", json!({ "schedule_id": created["id"] })).await;
        assert_eq!(read["command_payload"], payload);
        assert_eq!(read["name"], kind);
        assert_eq!(read["timezone"], "Europe/Berlin");
        assert_eq!(read["priority"], 9);
        assert_eq!(read["tags"], json!(["x", "y"]));
        assert!(read["next_run_at"].is_string(), "{read}");
        assert!(read["revision"].as_u64().unwrap() >= created["revision"].as_u64().unwrap());
    }
}

#[tokio::test]
async fn several_faults_of_form_and_content_are_reported_together() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let error = nats
        .refused(
            "schedule.create",
            json!({ "name": "", "schedule_type": "cron", "cron_expression": "61 * * * *",
                    "target_command": "cmd.scheduler.schedule.delete", "priority": "high",
                    "colour": "red", "timezone": "Mars/Base" }),
        )
        .await;
    assert_eq!(error["code"], "invalid");
    let fields: Vec<_> =
        error["details"].as_array().unwrap().iter().map(|d| d["field"].as_str().unwrap()).collect();
    for field in ["name", "cron_expression", "target_command", "priority", "colour", "timezone"] {
        assert!(fields.contains(&field), "{field}: {error}");
    }
    assert_eq!(nats.stored().await, 0, "nothing was stored");
}

#[tokio::test]
async fn a_name_whose_key_was_deleted_by_hand_is_not_given_twice() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(daily("kept")).await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
    let key = keys.iter().find(|key| key.starts_with("name.")).unwrap();
    // The first finds the schedule by what is in memory, the second by the key that is there again.
    for keys in [1, 0] {
        for key in std::iter::repeat_n(key, keys) {
            bucket.purge(key).await.unwrap();
        }
        let error = nats.refused("schedule.create", daily("kept")).await;
        assert_eq!(error["code"], "already_exists", "{error}");
        let named: Value =
            serde_json::from_slice(&bucket.get(key).await.unwrap().unwrap()).unwrap();
        assert_eq!(named["schedule_id"], id);
    }
    // Whoever found the key gone may have died before it said so.
    let left = json!({ "schedule_id": uuid::Uuid::new_v4(), "token": 0 }).to_string();
    bucket.put(key, left.into()).await.unwrap();
    let asked = daily("kept").to_string();
    // What is left is not touched while its owner may yet come, which takes longer than a client waits.
    let error = wait_for("the refusal", || async {
        let asked = asked.clone().into();
        let reply = nats.client.request("cmd.scheduler.schedule.create", asked).await.ok()?;
        serde_json::from_slice::<Value>(&reply.payload).unwrap().get("error").cloned()
    })
    .await;
    assert_eq!(error["code"], "already_exists", "{error}");
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 1);
    // And so is one of a name that is about to be taken by a change.
    let other = nats.create(daily("other")).await;
    bucket.purge(key).await.unwrap();
    let rename = json!({ "schedule_id": other, "name": "kept" });
    assert_eq!(nats.refused("schedule.update", rename).await["code"], "already_exists");
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    nats.create(daily("kept")).await;
}

#[tokio::test]
async fn a_name_is_taken_once_even_by_two_instances_at_once() {
    let nats = Nats::start().await;
    let (_one, _two) = (nats.service().await, nats.service().await);
    for round in 0..10 {
        let request = daily(&format!("unique {round}"));
        let tries = (0..8).map(|_| nats.request("schedule.create", &request));
        let replies = futures::future::join_all(tries).await;
        let created: Vec<_> = replies.iter().filter(|reply| reply.get("error").is_none()).collect();
        assert_eq!(created.len(), 1, "{replies:?}");
        for reply in replies.iter().filter(|reply| reply.get("error").is_some()) {
            assert_eq!(reply["error"]["code"], "already_exists", "{reply}");
        }
    }
    let reply = nats.request("schedule.list", &json!({})).await;
    assert_eq!(reply["pagination"]["total"], 10);
}

#[tokio::test]
async fn names_are_per_creator_and_free_again_after_deletion() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let as_alice = [("X-Created-By", "alice")];
    let (_, first) = nats.request_with_headers("schedule.create", &as_alice, daily("n")).await;
    assert_eq!(first["data"]["created_by"], "alice");
    let (_, again) = nats.request_with_headers("schedule.create", &as_alice, daily("n")).await;
    assert_eq!(again["error"]["code"], "already_exists");
    assert!(
        again["error"]["message"].as_str().unwrap().contains(first["data"]["id"].as_str().unwrap())
    );
    let mut by_bob = daily("n");
    by_bob["created_by"] = json!("bob");
    assert_eq!(nats.ask("schedule.create", by_bob).await["created_by"], "bob");

    for hard in [false, true] {
        let list = nats.ask("schedule.list", json!({ "creator": "alice" })).await;
        let id = list[0]["id"].clone();
        nats.ask("schedule.delete", json!({ "schedule_id": id, "hard_delete": hard })).await;
        let reply = nats.request("schedule.get", &json!({ "schedule_id": id })).await;
        if hard {
            assert_eq!(reply["error"]["code"], "not_found");
        } else {
            assert_eq!(reply["data"]["status"], "deleted");
        }
        let (_, new) = nats.request_with_headers("schedule.create", &as_alice, daily("n")).await;
        assert!(new.get("error").is_none(), "{new}");
    }
}

#[tokio::test]
async fn a_name_left_by_a_creator_that_died_is_free_after_a_while() {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "after_reserve")]).await;
    let request = daily("orphan");
    let lost = nats.client.request("cmd.scheduler.schedule.create", request.to_string().into());
    let _ = tokio::join!(lost, dying.exited());
    // Those who want the name wait until it is free, and then are many at once.
    let _services = (nats.service().await, nats.service().await);
    let tries = (0..8).map(|_| nats.request("schedule.create", &request));
    let replies = futures::future::join_all(tries).await;
    let refused: Vec<_> = replies.iter().filter_map(|reply| reply.get("error")).collect();
    assert_eq!(refused.len(), 7, "{replies:?}");
    assert!(refused.iter().all(|error| error["code"] == "already_exists"), "{replies:?}");
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 1);
}

#[tokio::test]
async fn a_soft_deleted_schedule_is_listed_on_request_and_cannot_be_deleted_twice() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(daily("gone")).await;
    let deleted = [("X-Deleted-By", "carol")];
    let request = json!({ "schedule_id": id });
    nats.request_with_headers("schedule.delete", &deleted, request.clone()).await;
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 0);
    let listed = nats.ask("schedule.list", json!({ "status": "deleted" })).await;
    assert_eq!(listed[0]["id"], json!(id));
    assert_eq!(nats.ask("schedule.get", request.clone()).await["deleted_by"], "carol");
    assert_eq!(nats.refused("schedule.delete", request).await["code"], "not_found");
}

#[tokio::test]
async fn lists_are_paged_with_exact_totals_in_order_of_creation() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for n in 0..25 {
        nats.create(daily(&format!("s{n:02}"))).await;
    }
    let mut names = Vec::new();
    for page in 1..=3 {
        let reply = nats.request("schedule.list", &json!({ "page": page, "limit": 10 })).await;
        assert_eq!(reply["pagination"]["total"], 25);
        names.extend(
            reply["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|s| s["name"].as_str().unwrap().to_owned()),
        );
    }
    let expected: Vec<_> = (0..25).map(|n| format!("s{n:02}")).collect();
    assert_eq!(names, expected);
    let error = nats.refused("schedule.list", json!({ "page": 0, "limit": 101 })).await;
    assert_eq!(error["details"].as_array().unwrap().len(), 2, "{error}");
}

#[tokio::test]
async fn the_limit_per_creator_says_the_limit() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_SCHEDULES_PER_CREATOR", "2")]).await;
    let id = nats.create(daily("one")).await;
    nats.create(daily("two")).await;
    let error = nats.refused("schedule.create", daily("three")).await;
    assert_eq!(error["code"], "limit_exceeded");
    assert!(error["message"].as_str().unwrap().contains('2'), "{error}");
    nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    nats.create(daily("three")).await;
}

#[tokio::test]
async fn preview_lists_times_marks_moved_ones_and_stores_nothing() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let preview = nats
        .ask(
            "schedule.preview",
            json!({ "schedule_type": "cron", "cron_expression": "30 2 * * *",
                    "timezone": "Europe/Berlin", "after": "2026-03-28T00:00:00Z", "count": 3 }),
        )
        .await;
    assert_eq!(
        preview["occurrences"],
        json!(["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"])
    );
    assert_eq!(preview["moved"], json!([{ "at": "2026-03-29T01:00:00Z", "cause": "dst_gap" }]));
    assert!(preview["description"].as_str().unwrap().contains("02:30"), "{preview}");
    assert_eq!(nats.stored().await, 0);

    let id = nats.create(daily("shown")).await;
    let of_existing = nats
        .ask(
            "schedule.preview",
            json!({ "schedule_id": id, "after": "2026-01-01T03:00:00Z", "count": 1 }),
        )
        .await;
    assert_eq!(of_existing["occurrences"], json!(["2026-01-02T03:00:00Z"]), "after is exclusive");
    for bad in [
        json!({ "schedule_id": id, "count": 1001 }),
        json!({ "schedule_id": id, "cron_expression": "* * * * *" }),
        json!({ "schedule_type": "cron" }),
        json!({ "schedule_id": "018f0000-0000-7000-8000-000000000000" }),
    ] {
        nats.refused("schedule.preview", bad).await;
    }
}

#[tokio::test]
async fn a_target_without_a_stream_is_a_warning_and_not_an_error() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut request = daily("no stream");
    request["target_command"] = json!("cmd.nowhere.run");
    let reply = nats.request("schedule.create", &request).await;
    assert_eq!(reply["warnings"][0]["code"], "no_stream", "{reply}");
    assert!(reply["warnings"][0]["message"].as_str().unwrap().contains("nats stream"), "{reply}");
    let mut request = daily("captured");
    request["delivery"] = json!({ "mode": "request" });
    let reply = nats.request("schedule.create", &request).await;
    assert_eq!(reply["warnings"][0]["code"], "captured", "{reply}");
    let reply = nats.request("schedule.create", &daily("fine")).await;
    assert!(reply.get("warnings").is_none(), "{reply}");
}

#[tokio::test]
async fn all_schedules_are_loaded_at_start_however_many() {
    let nats = Nats::start().await;
    let mut service = nats.service_with(&[("MAX_SCHEDULES_PER_CREATOR", "5000")]).await;
    let requests: Vec<_> = (0..2500)
        .map(|n| {
            json!({ "name": n.to_string(), "schedule_type": "interval", "interval_seconds": 3600,
                    "start_at": in_ms(3_600_000), "target_command": "cmd.example.x" })
        })
        .collect();
    for chunk in requests.chunks(100) {
        futures::future::join_all(chunk.iter().map(|r| nats.ask("schedule.create", r.clone())))
            .await;
    }
    service.stop().await;
    let _next = nats.service().await;
    let status = nats.ask("status", json!({})).await;
    assert_eq!(status["schedules"]["active"], 2500);
}
