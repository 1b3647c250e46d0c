//! Limits per creator, and repeated requests.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;

use crate::harness::{Nats, far, in_ms, wait_for};

#[tokio::test]
async fn the_limit_of_a_creator_is_exact_whoever_creates_where() {
    let nats = Nats::start().await;
    let limit = [("MAX_SCHEDULES_PER_CREATOR", "25")];
    let _instances = (
        nats.service_with(&limit).await,
        nats.service_with(&limit).await,
        nats.service_with(&limit).await,
    );
    let create = |name: String| {
        let nats = &nats;
        async move { nats.request("schedule.create", &far(&name)).await }
    };
    for round in 0..4 {
        let requests = (0..60).map(|n| create(format!("{round} {n}")));
        let replies = join_all(requests).await;
        let created: Vec<_> =
            replies.iter().filter_map(|reply| reply["data"]["id"].as_str()).collect();
        for reply in replies.iter().filter(|reply| reply.get("data").is_none()) {
            assert_eq!(reply["error"]["code"], "limit_exceeded", "{reply}");
            assert!(reply["error"]["message"].as_str().unwrap().contains("25"), "{reply}");
        }
        assert_eq!(created.len(), 25, "round {round}");
        assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 25);
        // Room is there as soon as a deletion is acknowledged, for exactly as many.
        let (first, rest) = (created[0].to_owned(), &created[1..]);
        nats.ask("schedule.delete", json!({ "schedule_id": first })).await;
        let replies = join_all((0..5).map(|n| create(format!("{round} more {n}")))).await;
        let more: Vec<_> =
            replies.iter().filter_map(|reply| reply["data"]["id"].as_str()).collect();
        assert_eq!(more.len(), 1, "{replies:?}");
        let error = nats.refused("schedule.restore", json!({ "schedule_id": first })).await;
        assert_eq!(error["code"], "limit_exceeded");
        let all: Vec<_> = rest.iter().chain(&more).collect();
        let delete = json!({ "operation": "delete", "schedule_ids": all });
        assert_eq!(nats.ask("bulk.operation", delete).await["succeeded"], 25);
    }
    let mut other = far("other");
    other["created_by"] = json!("somebody else");
    nats.create(other).await;
}

/// A plan that is refused when it is meant is no plan.
#[tokio::test]
async fn a_dry_run_knows_the_limit() {
    let nats = Nats::start().await;
    let _service = nats.service_with(&[("MAX_SCHEDULES_PER_CREATOR", "5")]).await;
    let named = |name: &str| {
        let mut request = far(name);
        request["created_by"] = json!("anna");
        request
    };
    let dry = |name: &str| {
        let mut request = named(name);
        request["dry_run"] = json!(true);
        request
    };
    nats.create(named("there")).await;
    let reply = nats.request("schedule.apply", &dry("more")).await;
    assert_eq!(reply["difference"]["room"], 4, "{reply}");
    let schedules: Vec<_> = (0..6).map(|n| far(&format!("n{n}"))).chain([far("there")]).collect();
    let mut set = json!({ "owner": "git", "adopt": true, "created_by": "anna", "dry_run": true,
        "schedules": schedules });
    for dry_run in [true, false] {
        set["dry_run"] = json!(dry_run);
        let applied = nats.ask("bulk.apply", set.clone()).await;
        let counts = ["created", "updated", "failed"].map(|count| applied[count].as_u64().unwrap());
        assert_eq!(counts, [4, 1, 2], "{applied}");
        let results = applied["results"].as_array().unwrap().iter();
        let refused: Vec<_> = results.filter_map(|result| result.get("error")).collect();
        assert!(refused.iter().all(|error| error["code"] == "limit_exceeded"), "{refused:?}");
    }
    let error = nats.refused("schedule.apply", dry("more")).await;
    assert_eq!(error["code"], "limit_exceeded", "{error}");
    // What is there already needs no room.
    let mut there = dry("there");
    there["owner"] = json!("git");
    let reply = nats.request("schedule.apply", &there).await;
    assert_eq!(reply["difference"]["outcome"], "updated", "{reply}");
    assert!(reply["difference"].get("room").is_none(), "{reply}");
}

#[tokio::test]
async fn restoring_at_once_does_not_exceed_the_limit() {
    let nats = Nats::start().await;
    let limit = [("MAX_SCHEDULES_PER_CREATOR", "6")];
    let _instances = (nats.service_with(&limit).await, nats.service_with(&limit).await);
    let mut deleted = Vec::new();
    for n in 0..10 {
        let id = nats.create(far(&format!("{n}"))).await;
        nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
        deleted.push(id);
    }
    let restore = |id: &String| {
        let (nats, request) = (&nats, json!({ "schedule_id": id }));
        async move { nats.request("schedule.restore", &request).await }
    };
    let replies = join_all(deleted.iter().map(restore)).await;
    let restored = replies.iter().filter(|reply| reply.get("data").is_some()).count();
    assert_eq!(restored, 6, "{replies:?}");
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 6);
}

#[tokio::test]
async fn a_creation_that_died_does_not_take_a_place_for_good() {
    let nats = Nats::start().await;
    let limit = ("MAX_SCHEDULES_PER_CREATOR", "1");
    let dies = [limit, ("NATS_SCHEDULER_FAILPOINT", "after_reserve")];
    let mut dying = nats.service_with(&dies).await;
    nats.ask_the_dying("schedule.create", &far("dead")).await;
    dying.exited().await;
    let _next = nats.service_with(&[limit]).await;
    let created = wait_for("room for another", || async {
        let reply = nats.request("schedule.create", &far("alive")).await;
        reply["data"]["id"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(nats.refused("schedule.create", far("third")).await["code"], "limit_exceeded");
    nats.ask("schedule.delete", json!({ "schedule_id": created })).await;
    nats.create(far("dead")).await;
}

#[tokio::test]
async fn a_repeated_creation_returns_the_first_schedule() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let mut request = far("once");
    request["idempotency_key"] = json!("order 4711");
    let first = nats.ask("schedule.create", request.clone()).await;
    let again = nats.request("schedule.create", &request).await;
    assert_eq!(again["data"]["id"], first["id"], "{again}");
    assert_eq!(again["warnings"][0]["code"], "repeated");
    // The header does the same, and the field is not part of what is asked for.
    let key = [("Nats-Msg-Id", "order 4711")];
    let (_, by_header) = nats.request_with_headers("schedule.create", &key, far("once")).await;
    assert_eq!(by_header["error"]["code"], "not_allowed", "another time to run at: {by_header}");
    request.as_object_mut().unwrap().remove("idempotency_key");
    let (_, by_header) = nats.request_with_headers("schedule.create", &key, request.clone()).await;
    assert_eq!(by_header["data"]["id"], first["id"], "{by_header}");
    // Without a key it is another creation, which the name refuses and says whose it is.
    let error = nats.refused("schedule.create", request.clone()).await;
    assert_eq!(error["code"], "already_exists");
    assert_eq!(error["details"][1]["reason"], first["id"]);
    // Another creator's key is another key.
    let theirs = [("Nats-Msg-Id", "order 4711"), ("X-Created-By", "bob")];
    let (_, bob) = nats.request_with_headers("schedule.create", &theirs, request.clone()).await;
    assert_ne!(bob["data"]["id"], first["id"]);
    assert_eq!(bob["data"]["created_by"], "bob", "{bob}");
    // It still names the schedule when that is renamed or deleted, and says so when it is gone.
    let update = json!({ "schedule_id": first["id"], "name": "renamed" });
    nats.ask("schedule.update", update).await;
    let (_, renamed) = nats.request_with_headers("schedule.create", &key, request.clone()).await;
    assert_eq!(renamed["data"]["name"], "renamed");
    nats.ask("schedule.delete", json!({ "schedule_id": first["id"], "hard_delete": true })).await;
    let (_, gone) = nats.request_with_headers("schedule.create", &key, request.clone()).await;
    assert_eq!(gone["error"]["code"], "not_found", "{gone}");
    let bad = json!({ "idempotency_key": "" });
    let error = nats.refused("schedule.create", bad).await;
    assert!(error["message"].as_str().unwrap().contains("idempotency_key"), "{error}");
}

#[tokio::test]
async fn a_creation_that_is_sent_many_times_at_once_creates_one_schedule() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await, nats.service().await);
    for round in 0..5 {
        let mut request = far(&format!("at once {round}"));
        request["idempotency_key"] = json!(format!("k{round}"));
        let replies = join_all((0..12).map(|_| nats.request("schedule.create", &request))).await;
        let ids: BTreeSet<_> = replies
            .iter()
            .map(|r| r["data"]["id"].as_str().unwrap_or_else(|| panic!("{r}")))
            .collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        assert_eq!(
            nats.request("schedule.list", &json!({})).await["pagination"]["total"],
            round + 1
        );
    }
    nats.wait_count("SCHEDULER_AUDIT", 5).await;
    assert_eq!(nats.count("SCHEDULER_AUDIT").await, 5, "one event each");
}

async fn repeats_after_a_death(point: &str) {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    let mut request = far("survivor");
    request["idempotency_key"] = json!("k");
    let _ = nats.client.request("cmd.scheduler.schedule.create", request.to_string().into()).await;
    dying.exited().await;
    let _next = nats.service().await;
    let created = nats.ask("schedule.create", request.clone()).await;
    assert_eq!(nats.ask("schedule.create", request).await["id"], created["id"]);
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 1);
}

#[tokio::test]
async fn dying_after_the_memo_lets_the_repetition_create_it() {
    repeats_after_a_death("after_memo").await;
}

#[tokio::test]
async fn dying_after_the_name_lets_the_repetition_create_it() {
    repeats_after_a_death("after_reserve").await;
}

#[tokio::test]
async fn dying_before_the_reply_lets_the_repetition_find_it() {
    repeats_after_a_death("before_memo_done").await;
}

#[tokio::test]
async fn a_refused_creation_forgets_its_key() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let taken = nats.create(far("taken")).await;
    let mut request = far("taken");
    request["idempotency_key"] = json!("k");
    assert_eq!(nats.refused("schedule.create", request.clone()).await["code"], "already_exists");
    nats.ask("schedule.delete", json!({ "schedule_id": taken })).await;
    let created = nats.ask("schedule.create", request).await;
    assert_ne!(created["id"], json!(taken));
}

#[tokio::test]
async fn a_repetition_finds_the_schedule_though_its_time_has_passed() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut request = far("soon");
    request["scheduled_at"] = json!(in_ms(1000));
    request["idempotency_key"] = json!("k");
    let created = nats.ask("schedule.create", request.clone()).await;
    nats.wait_count("COMMANDS", 1).await;
    assert_eq!(nats.ask("schedule.create", request.clone()).await["id"], created["id"]);
    request["idempotency_key"] = json!("another");
    assert_eq!(nats.refused("schedule.create", request).await["code"], "invalid");
}

#[tokio::test]
async fn an_array_is_no_object_wherever_it_stands() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut request = far("arrays");
    for delivery in [json!([]), json!(["core", 5]), json!("core")] {
        request["delivery"] = delivery;
        let error = nats.refused("schedule.create", request.clone()).await;
        assert_eq!(error["details"][0]["field"], "delivery", "{error}");
        let reason = error["details"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with("must be a JSON object"), "{error}");
    }
    request["delivery"] = json!({ "mode": "cor" });
    let error = nats.refused("schedule.create", request.clone()).await;
    let expected = "delivery.mode: must be one of publish, request, job, core; did you mean core?";
    assert_eq!(error["message"], expected);
    let operation = json!({ "operation": "pause", "filter": [] });
    assert_eq!(nats.refused("bulk.operation", operation).await["details"][0]["field"], "filter");
    let many: Vec<_> = (0..21).map(|n| n.to_string()).collect();
    for (operation, body) in [
        ("schedule.list", json!({ "tags": many })),
        ("bulk.operation", json!({ "operation": "pause", "filter": { "tags": many } })),
    ] {
        let error = nats.refused(operation, body).await;
        assert!(
            error["message"].as_str().unwrap().contains("tags: must have at most 20 items"),
            "{error}"
        );
    }
}
