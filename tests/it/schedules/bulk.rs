//! Many schedules in one request.

use std::collections::BTreeSet;
use std::time::Instant;

use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, far, wait_for};

async fn total(nats: &Nats, filter: Value) -> u64 {
    nats.request("schedule.list", &filter).await["pagination"]["total"].as_u64().unwrap()
}

#[tokio::test]
async fn one_bad_item_stops_no_other() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    nats.create(far("taken")).await;
    let mut own = far("own");
    own["created_by"] = json!("bob");
    let request = json!({ "created_by": "alice", "schedules": [
        far("a"), { "name": 7, "colour": 1 }, far("b"), far("a"), own, [],
        { "name": "lost", "schedule_type": "immediate", "target_command": "cmd.billing.charge" },
    ]});
    let reply = nats.ask("bulk.create", request).await;
    assert_eq!((reply["created"].clone(), reply["failed"].clone()), (json!(4), json!(3)));
    let results = reply["results"].as_array().unwrap();
    assert_eq!(results.len(), 7);
    for (index, result) in results.iter().enumerate() {
        assert_eq!(result["index"], index);
        let bad = [1, 3, 5].contains(&index);
        assert_eq!(result.get("error").is_some(), bad, "{result}");
        assert_eq!(result.get("schedule_id").is_some(), !bad, "{result}");
    }
    let fields: BTreeSet<_> = results[1]["error"]["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|detail| detail["field"].as_str().unwrap())
        .collect();
    assert_eq!(
        fields,
        BTreeSet::from(["name", "colour", "schedule_type", "target_command"]),
        "faults of form and content together"
    );
    assert_eq!(results[3]["error"]["code"], "already_exists");
    assert_eq!(results[6]["warnings"][0]["code"], "no_stream");
    assert_eq!(reply["schedule_ids"][0], results[0]["schedule_id"]);
    assert_eq!(total(&nats, json!({ "creator": "alice" })).await, 3);
    assert_eq!(total(&nats, json!({ "creator": "bob" })).await, 1);
}

#[tokio::test]
async fn bulk_requests_have_a_size() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_BULK_OPERATIONS", "3")]).await;
    let many: Vec<_> = (0..4).map(|n| far(&format!("{n}"))).collect();
    for schedules in [json!(many), json!([]), Value::Null] {
        let error = nats.refused("bulk.create", json!({ "schedules": schedules })).await;
        assert_eq!(error["code"], "invalid");
        assert!(error["message"].as_str().unwrap().contains("1 to 3"), "{error}");
    }
    assert_eq!(total(&nats, json!({})).await, 0);
    let ids = vec![uuid::Uuid::new_v4(); 4];
    for (bad, field) in [
        (json!({ "operation": "pause", "schedule_ids": ids }), "schedule_ids"),
        (json!({ "operation": "pause", "schedule_ids": [] }), "schedule_ids"),
        (json!({ "operation": "pause" }), "schedule_ids"),
        (json!({ "operation": "pause", "filter": {} }), "filter"),
        (json!({ "operation": "pause", "filter": { "colour": "red" } }), "filter.colour"),
        (
            json!({ "operation": "pause", "filter": { "tags": ["a"] }, "schedule_ids": [ids[0]] }),
            "filter",
        ),
        (json!({ "filter": { "tags": ["a"] } }), "operation"),
        (json!({ "operation": "explode", "filter": { "tags": ["a"] } }), "operation"),
        (
            json!({ "operation": "pause", "filter": { "tags": ["a"] }, "reason": "x".repeat(501) }),
            "reason",
        ),
        (json!({ "operation": "resume", "filter": { "tags": ["a"] }, "reason": "x" }), "reason"),
        (
            json!({ "operation": "pause", "filter": { "tags": ["a"] }, "hard_delete": true }),
            "hard_delete",
        ),
    ] {
        let error = nats.refused("bulk.operation", bad.clone()).await;
        assert_eq!(error["code"], "invalid");
        assert_eq!(error["details"][0]["field"], field, "{bad} {error}");
    }
}

#[tokio::test]
async fn a_filter_that_names_nothing_does_not_mean_all() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    nats.create(far("a")).await;
    for filter in [
        json!({}),
        json!({ "tags": [] }),
        json!({ "tags_match": "all" }),
        json!({ "tags": [], "tags_match": "all" }),
        json!({ "name_prefix": "" }),
        json!({ "name_contains": "", "target_prefix": "", "tags": [], "tags_match": "any" }),
    ] {
        let request = json!({ "operation": "delete", "filter": filter });
        let error = nats.refused("bulk.operation", request).await;
        let fault = json!({ "field": "filter",
            "reason": "must name something that the schedules have in common" });
        assert_eq!(error["details"], json!([fault]), "{filter}");
    }
    assert_eq!(total(&nats, json!({})).await, 1);
}

#[tokio::test]
async fn operations_by_name_change_the_schedules_that_have_them_and_say_which_names_nothing_has() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let of = |name: &str, creator: &str| {
        let mut request = far(name);
        request["created_by"] = json!(creator);
        request
    };
    let (a, b) = (nats.create(of("nightly", "ann")).await, nats.create(of("hourly", "ann")).await);
    let bobs = nats.create(of("nightly", "bob")).await;
    let names = json!(["nightly", "nighly", "hourly", "nightly", ""]);
    let request = |more: Value| {
        let mut request = json!({ "operation": "pause" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let unnamed = request(json!({ "schedule_names": names, "creator": "ann" }));
    let error = nats.refused("bulk.operation", unnamed).await;
    assert_eq!(error["details"][0]["field"], "schedule_name", "an empty name is none: {error}");
    let names = json!(["nightly", "nighly", "hourly", "nightly"]);
    let done = nats
        .ask("bulk.operation", request(json!({ "schedule_names": names, "creator": "ann" })))
        .await;
    assert_eq!(done["success"], json!([a, b]), "{done}");
    assert_eq!((&done["matched"], &done["refused"]), (&json!(3), &json!(1)));
    assert_eq!(done["unknown"][0]["schedule_name"], "nighly");
    assert_eq!(done["unknown"][0]["error"]["code"], "not_found");
    let hint = json!({ "field": "schedule_name", "reason": "nightly" });
    assert_eq!(done["unknown"][0]["error"]["details"][0], hint, "{done}");
    let other = nats.ask("schedule.get", json!({ "schedule_id": bobs })).await;
    assert_eq!(other["status"], "active");
    // Who asks is the creator unless it is given.
    let by = [("X-Performed-By", "bob")];
    let own = request(json!({ "schedule_names": ["nightly"], "dry_run": true }));
    let (_, reply) = nats.request_with_headers("bulk.operation", &by, own.clone()).await;
    assert_eq!(reply["data"]["success"], json!([bobs]), "{reply}");
    for (faulty, field) in [
        (own, "creator"),
        (request(json!({ "schedule_names": ["a"], "schedule_ids": [a] })), "schedule_names"),
        (request(json!({ "schedule_names": ["a"], "filter": { "owner": "x" } })), "filter"),
        (request(json!({ "schedule_ids": [a], "creator": "ann" })), "creator"),
        (request(json!({ "schedule_names": [], "creator": "ann" })), "schedule_names"),
    ] {
        let error = nats.refused("bulk.operation", faulty.clone()).await;
        assert_eq!(error["details"][0]["field"], field, "{faulty} {error}");
    }
}

#[tokio::test]
async fn operations_by_id_say_for_each_what_became_of_it() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let (a, b) = (nats.create(far("a")).await, nats.create(far("b")).await);
    let unknown = uuid::Uuid::new_v4();
    let request =
        json!({ "operation": "pause", "schedule_ids": [a, unknown, b, a], "reason": "move" });
    let by = [("X-Performed-By", "carol")];
    let (_, reply) = nats.request_with_headers("bulk.operation", &by, request).await;
    let done = &reply["data"];
    assert_eq!(done["success"], json!([a, b]), "{reply}");
    assert_eq!(done["failed"][0]["schedule_id"], json!(unknown));
    assert_eq!(done["failed"][0]["error"]["code"], "not_found");
    assert_eq!((done["succeeded"].clone(), done["refused"].clone()), (json!(2), json!(1)));
    let paused = nats.ask("schedule.get", json!({ "schedule_id": a })).await;
    assert_eq!(paused["pause_reason"], "move");
    assert_eq!(paused["updated_by"], "carol");
    let resume = json!({ "operation": "resume", "schedule_ids": [a] });
    nats.ask("bulk.operation", resume.clone()).await;
    let again = nats.ask("bulk.operation", resume).await;
    assert_eq!(again["failed"][0]["error"]["code"], "not_allowed");
    let delete = json!({ "operation": "delete", "schedule_ids": [a, b], "hard_delete": true });
    assert_eq!(nats.ask("bulk.operation", delete).await["succeeded"], 2);
    assert_eq!(
        nats.refused("schedule.get", json!({ "schedule_id": b })).await["code"],
        "not_found"
    );
}

#[tokio::test]
async fn a_filter_means_those_that_the_operation_can_change_and_a_dry_run_changes_none() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut ids = Vec::new();
    for (name, tags, target) in [
        ("eu 1", json!(["eu", "report"]), "cmd.report.a"),
        ("eu 2", json!(["eu"]), "cmd.example.a"),
        ("us 1", json!(["us", "report"]), "cmd.report.a"),
    ] {
        let mut request = far(name);
        request["tags"] = tags;
        request["target_command"] = json!(target);
        ids.push(nats.create(request).await);
    }
    let bulk = async |operation: &str, filter: Value, dry_run: bool| {
        let request = json!({ "operation": operation, "filter": filter, "dry_run": dry_run });
        let reply = nats.ask("bulk.operation", request).await;
        assert_eq!(reply["dry_run"], dry_run);
        assert_eq!(reply["failed"], json!([]), "{reply}");
        reply["success"].as_array().unwrap().clone()
    };
    let sequence = nats.js.get_stream("KV_scheduler_schedules").await.unwrap();
    let before = sequence.get_info().await.unwrap().state.last_sequence;
    for (filter, expected) in [
        (json!({ "tags": ["eu"] }), vec![0, 1]),
        (json!({ "tags": ["eu", "report"], "tags_match": "all" }), vec![0]),
        (json!({ "name_prefix": "us" }), vec![2]),
        (json!({ "target_prefix": "cmd.report." }), vec![0, 2]),
        (json!({ "creator": "unknown" }), vec![0, 1, 2]),
        (json!({ "creator": "Unknown" }), vec![]),
        (json!({ "status": "active", "name_contains": "1" }), vec![0, 2]),
    ] {
        let expected: Vec<_> = expected.into_iter().map(|n: usize| json!(ids[n])).collect();
        assert_eq!(bulk("pause", filter.clone(), true).await, expected, "{filter}");
    }
    assert_eq!(sequence.get_info().await.unwrap().state.last_sequence, before, "a dry run writes");
    assert_eq!(bulk("pause", json!({ "tags": ["eu"] }), false).await.len(), 2);
    assert_eq!(bulk("pause", json!({ "creator": "unknown" }), false).await, [json!(ids[2])]);
    assert_eq!(bulk("resume", json!({ "name_prefix": "eu" }), false).await.len(), 2);
    assert_eq!(total(&nats, json!({ "status": "paused" })).await, 1);
    assert_eq!(bulk("delete", json!({ "tags": ["report"] }), false).await.len(), 2);
    assert_eq!(bulk("delete", json!({ "tags": ["report"] }), false).await.len(), 0);
    assert_eq!(total(&nats, json!({})).await, 1);
    let deleted =
        json!({ "operation": "delete", "hard_delete": true, "filter": { "status": "deleted" } });
    assert_eq!(nats.ask("bulk.operation", deleted).await["succeeded"], 2);
}

/// For each operation and each status in the filter, one schedule in every status.
#[tokio::test]
async fn a_dry_run_by_a_filter_says_of_each_what_the_run_then_does() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_BULK_OPERATIONS", "1000")]).await;
    let statuses = ["active", "paused", "completed", "failed", "deleted"];
    let filters: Vec<_> = statuses.into_iter().map(Some).chain([None]).collect();
    let operations = [("pause", false), ("resume", false), ("delete", false), ("delete", true)];
    let cases: Vec<_> = operations
        .into_iter()
        .flat_map(|operation| filters.iter().map(move |status| (operation, *status)))
        .collect();
    let mut schedules = Vec::new();
    for n in 0..cases.len() {
        for status in statuses {
            let mut request = far(&format!("{n} {status}"));
            if status == "completed" || status == "failed" {
                // Nothing keeps what the second of them is sent to.
                let target =
                    format!("cmd.{}.x", if status == "failed" { "none" } else { "example" });
                request = json!({ "name": request["name"], "schedule_type": "immediate",
                    "target_command": target, "max_retries": 0 });
            }
            request["tags"] = json!([status, format!("case {n}")]);
            schedules.push(request);
        }
    }
    let made = nats.ask("bulk.create", json!({ "schedules": schedules })).await;
    assert_eq!(made["failed"], 0, "{made}");
    for (operation, status) in [("pause", "paused"), ("delete", "deleted")] {
        let request = json!({ "operation": operation, "filter": { "tags": [status] } });
        assert_eq!(nats.ask("bulk.operation", request).await["refused"], 0);
    }
    wait_for("every status", || async {
        for status in statuses {
            if total(&nats, json!({ "status": status, "tags": [status] })).await
                != cases.len() as u64
            {
                return None;
            }
        }
        Some(())
    })
    .await;
    for (n, ((operation, hard_delete), status)) in cases.into_iter().enumerate() {
        let mut filter = json!({ "tags": [format!("case {n}")] });
        if let Some(status) = status {
            filter["status"] = json!(status);
        }
        let mut request = json!({ "operation": operation, "filter": filter });
        if hard_delete {
            request["hard_delete"] = json!(true);
        }
        let mut dry = request.clone();
        dry["dry_run"] = json!(true);
        let mut foreseen = nats.ask("bulk.operation", dry).await;
        assert_eq!(foreseen["dry_run"], true);
        let done = nats.ask("bulk.operation", request.clone()).await;
        foreseen["dry_run"] = json!(false);
        assert_eq!(foreseen, done, "{request}");
        assert!(done["matched"].as_u64() > Some(0), "{request} {done}");
    }
}

#[tokio::test]
async fn ten_thousand_are_paused_by_a_filter_in_seconds_with_an_event_each() {
    let nats = Nats::start().await;
    let _service = nats
        .service_with(&[("MAX_SCHEDULES_PER_CREATOR", "10000"), ("MAX_BULK_OPERATIONS", "1000")])
        .await;
    for chunk in 0..10 {
        let schedules: Vec<_> = (0..1000).map(|n| far(&format!("{chunk} {n}"))).collect();
        let reply = nats.ask("bulk.create", json!({ "schedules": schedules })).await;
        assert_eq!(reply["created"], 1000, "{}", reply["results"][0]);
    }
    nats.wait_count("SCHEDULER_AUDIT", 10_000).await;
    let client = async_nats::ConnectOptions::new()
        .request_timeout(Some(crate::harness::DEADLINE))
        .connect(nats.url())
        .await
        .unwrap();
    let body = json!({ "operation": "pause", "filter": { "creator": "unknown" } }).to_string();
    let started = Instant::now();
    let reply = client.request("cmd.scheduler.bulk.operation", body.into()).await.unwrap();
    eprintln!("paused after {:?}", started.elapsed());
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(reply["data"]["succeeded"], 10_000, "{}", reply["data"]["failed"]);
    assert_eq!(reply["data"]["success"].as_array().unwrap().len(), 10_000);
    assert_eq!(total(&nats, json!({ "status": "paused" })).await, 10_000);
    nats.wait_count("SCHEDULER_AUDIT", 20_000).await;
    let mut paused = BTreeSet::new();
    for message in nats.messages("SCHEDULER_AUDIT").await {
        if let Some(id) = message.subject.strip_prefix("evt.scheduler.schedule.paused.") {
            assert!(paused.insert(id.to_owned()), "{id} announced twice");
        }
    }
    assert_eq!(paused.len(), 10_000);
}

#[tokio::test]
async fn what_fires_while_it_is_paused_in_bulk_keeps_its_ledger() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let ids = nats.create_beats(50, "cmd.example.bulk").await;
    nats.wait_count("COMMANDS", 100).await;
    let filter = json!({ "target_prefix": "cmd.example.bulk" });
    let request = json!({ "operation": "pause", "filter": filter });
    let reply = nats.ask("bulk.operation", request).await;
    assert_eq!(reply["succeeded"], 50, "{reply}");
    let count = nats.count("COMMANDS").await;
    let request = json!({ "operation": "resume", "filter": filter });
    assert_eq!(nats.ask("bulk.operation", request).await["succeeded"], 50);
    wait_for("more commands", || async {
        (nats.count("COMMANDS").await >= count + 100).then_some(())
    })
    .await;
    check_ledgers(&nats, &ids).await;
}
