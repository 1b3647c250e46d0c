//! Sets of schedules that an owner keeps.

use std::collections::BTreeSet;

use futures::future::join;
use nats_scheduler::client::{ApplySchedule, BulkApply, BulkItem, Client, Prune};
use serde_json::{Value, json};

use crate::harness::{Nats, far, wait_for};
use crate::http::Http;

fn daily(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "cron", "cron_expression": "0 3 * * *",
            "target_command": "cmd.example.daily" })
}

fn set(schedules: &[Value]) -> Value {
    json!({ "owner": "git", "created_by": "anna", "schedules": schedules })
}

fn with(mut request: Value, fields: &Value) -> Value {
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

/// How many were created, changed, left alone and refused.
fn counts(data: &Value) -> [u64; 4] {
    ["created", "updated", "unchanged", "failed"].map(|count| data[count].as_u64().unwrap())
}

async fn names(nats: &Nats, filter: Value) -> BTreeSet<String> {
    let listed = nats.ask("schedule.list", filter).await;
    let listed = listed.as_array().unwrap().iter();
    listed.map(|schedule| schedule["name"].as_str().unwrap().to_owned()).collect()
}

/// Ids and revisions of the owner's schedules with these names.
async fn prune(nats: &Nats, names: &[&str]) -> Value {
    let listed = nats.ask("schedule.list", json!({ "owner": "git", "limit": 100 })).await;
    let listed = listed.as_array().unwrap().iter();
    let gone = listed.filter(|schedule| names.contains(&schedule["name"].as_str().unwrap()));
    gone.map(|s| json!({ "schedule_id": s["id"], "expected_revision": s["revision"] })).collect()
}

#[tokio::test]
async fn a_set_is_applied_changed_and_pruned() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let all: Vec<Value> = (0..40).map(|n| daily(&format!("n{n}"))).collect();
    let dry = nats.ask("bulk.apply", with(set(&all), &json!({ "dry_run": true }))).await;
    assert_eq!(counts(&dry), [40, 0, 0, 0], "{dry}");
    assert!(dry["results"][0].get("schedule_id").is_none(), "{dry}");
    assert_eq!(names(&nats, json!({})).await.len(), 0, "nothing was written");

    let created = nats.ask("bulk.apply", set(&all)).await;
    assert_eq!(counts(&created), [40, 0, 0, 0], "{created}");
    assert_eq!(created["results"][39]["outcome"], "created");
    assert!(created["results"][0].get("difference").is_none(), "only a dry run says what changes");
    let again = nats.ask("bulk.apply", set(&all)).await;
    assert_eq!(counts(&again), [0, 0, 40, 0], "{again}");
    assert_eq!(again["results"][7]["schedule_id"], created["results"][7]["schedule_id"]);
    assert_eq!(names(&nats, json!({ "owner": "git", "limit": 100 })).await.len(), 40);
    assert_eq!(names(&nats, json!({ "owner": "" })).await.len(), 0);

    // One less, one more, one changed.
    let mut other = all[1..].to_vec();
    other[0]["priority"] = json!(9);
    other.push(daily("new"));
    let gone = prune(&nats, &["n0"]).await;
    let request = with(set(&other), &json!({ "prune": gone }));
    let dry = nats
        .ask("bulk.apply", with(request.clone(), &json!({ "dry_run": true, "count": 1 })))
        .await;
    assert_eq!(counts(&dry), [1, 1, 38, 0], "{dry}");
    let changes = &dry["results"][0]["difference"]["changes"];
    assert_eq!(*changes, json!([{ "field": "priority", "old": 5, "new": 9 }]));
    assert_eq!(dry["pruned"].as_array().unwrap().len(), 1);
    assert!(names(&nats, json!({ "limit": 100 })).await.contains("n0"), "nothing was written");
    let done = nats.ask("bulk.apply", request.clone()).await;
    assert_eq!(counts(&done), [1, 1, 38, 0], "{done}");
    assert_eq!(done["pruned"], json!([gone[0]["schedule_id"]]));
    let there = names(&nats, json!({ "owner": "git", "limit": 100 })).await;
    assert!(there.contains("new") && !there.contains("n0"), "{there:?}");
    // It has been done: what is pruned is gone, and stays gone.
    let again = nats.ask("bulk.apply", request).await;
    assert_eq!(counts(&again), [0, 0, 40, 0], "{again}");
    assert_eq!(again["not_pruned"][0]["error"]["code"], "not_found", "{again}");
}

#[tokio::test]
async fn what_others_have_is_not_touched() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let anna = |name: &str, owner: &str| {
        with(daily(name), &json!({ "created_by": "anna", "owner": owner }))
    };
    let theirs = nats.create(anna("theirs", "ci")).await;
    let nobodys = nats.create(anna("nobodys", "")).await;
    let request = set(&[daily("theirs"), daily("nobodys"), daily("ours")]);
    let done = nats.ask("bulk.apply", request.clone()).await;
    assert_eq!(counts(&done), [1, 0, 0, 2], "{done}");
    let message = |n: usize| done["results"][n]["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message(0), format!("schedule {theirs} (\"theirs\") belongs to owner \"ci\""));
    assert!(
        message(1).ends_with("has no owner: `adopt` makes it one of \"git\""),
        "{}",
        message(1)
    );
    assert_eq!(done["results"][0]["error"]["details"][0]["reason"], "ci");
    let adopted = nats.ask("bulk.apply", with(request, &json!({ "adopt": true }))).await;
    assert_eq!(counts(&adopted), [0, 1, 1, 1], "{adopted}");
    let by_id = json!({ "schedule_id": nobodys });
    assert_eq!(nats.ask("schedule.get", by_id.clone()).await["owner"], "git");
    assert_eq!(nats.ask("schedule.get", json!({ "schedule_id": theirs })).await["owner"], "ci");

    // One alone is treated the same way, and an owner is not lost because a request does not name it.
    let alone = anna("theirs", "git");
    assert_eq!(nats.refused("schedule.apply", alone).await["code"], "conflict");
    let without = with(daily("theirs"), &json!({ "created_by": "anna", "adopt": true }));
    assert_eq!(nats.refused("schedule.apply", without).await["code"], "conflict");
    let same = nats.request("schedule.apply", &anna("theirs", "ci")).await;
    assert_eq!(same["difference"]["outcome"], "unchanged", "{same}");

    // Neither is anything pruned that is another's, that has changed, or beside a refusal.
    let pruned = |id: &str, revision: u64| json!({ "owner": "git", "prune": [{ "schedule_id": id, "expected_revision": revision }] });
    for (id, revision, reason) in
        [(&theirs, 1, "belongs to owner"), (&nobodys, 1, "has been changed")]
    {
        let kept = nats.ask("bulk.apply", pruned(id, revision)).await;
        let error = &kept["not_pruned"][0]["error"];
        assert_eq!(error["code"], "conflict", "{kept}");
        assert!(error["message"].as_str().unwrap().contains(reason), "{kept}");
    }
    let refused = with(pruned(&nobodys, 2), &json!({ "schedules": [{ "name": "faulty" }] }));
    let kept = nats.ask("bulk.apply", refused).await;
    assert_eq!(
        (kept["failed"].as_u64(), kept["pruned"].as_array().unwrap().len()),
        (Some(1), 0),
        "{kept}"
    );
    // An update may change the owner, and an empty one takes it away.
    let update = json!({ "schedule_id": nobodys, "owner": "" });
    assert_eq!(nats.ask("schedule.update", update).await["owner"], Value::Null);
    assert_eq!(names(&nats, json!({ "owner": "git" })).await, BTreeSet::from(["ours".to_owned()]));
}

#[tokio::test]
async fn a_part_is_applied_in_the_order_of_what_follows_what() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let follows = |name: &str, upstream: &str| {
        json!({ "name": name, "schedule_type": "dependent", "target_command": "cmd.example.next",
                "after": { "schedule_name": upstream } })
    };
    let chain = [
        follows("third", "second"),
        follows("second", "first"),
        daily("first"),
        follows("lost", "none"),
    ];
    for dry_run in [true, false] {
        let request = with(set(&chain), &json!({ "dry_run": dry_run }));
        let done = nats.ask("bulk.apply", request).await;
        assert_eq!(counts(&done), [3, 0, 0, 1], "{done}");
        let error = &done["results"][3]["error"];
        assert_eq!(error["code"], "not_found", "{done}");
        assert_eq!(error["message"], "creator \"anna\" has no schedule named \"none\"");
    }
    let id = async |name: &str| {
        let by_name = json!({ "schedule_name": name, "creator": "anna" });
        nats.ask("schedule.get", by_name).await
    };
    assert_eq!(id("third").await["after"]["schedule_id"], id("second").await["id"]);
    let circle = [follows("first", "third")];
    let done = nats.ask("bulk.apply", set(&circle)).await;
    let message = done["results"][0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("would be a circle"), "{message}");
    // A creation and an update may name what they follow too.
    let created = with(follows("fourth", "third"), &json!({ "created_by": "anna" }));
    nats.create(created).await;
    let update = json!({ "schedule_name": "fourth", "creator": "anna",
                         "after": { "schedule_name": "first", "creator": "anna", "on": "failure" } });
    let updated = nats.ask("schedule.update", update).await;
    assert_eq!(
        updated["after"],
        json!({ "schedule_id": id("first").await["id"], "on": "failure" })
    );
    for (after, fault) in [
        (json!({}), "after.schedule_id: is required, unless after.schedule_name is given"),
        (
            json!({ "schedule_name": "a", "schedule_id": id("first").await["id"] }),
            "after.schedule_name: cannot stand beside schedule_id",
        ),
    ] {
        let request = with(follows("x", "y"), &json!({ "after": after, "created_by": "anna" }));
        assert_eq!(nats.refused("schedule.create", request).await["message"], fault);
    }
}

#[tokio::test]
async fn a_set_has_its_own_faults_and_those_of_its_items() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for (request, message) in [
        (json!({}), "owner: is required: 1 to 255 characters; schedules: is required, or prune"),
        (
            json!({ "owner": "git", "schedules": [], "count": 101 }),
            "schedules: must have 1 to 100 items (MAX_BULK_OPERATIONS), not 0; count: must be 0 to 100",
        ),
    ] {
        let error = nats.refused("bulk.apply", request).await;
        assert_eq!((&error["code"], error["message"].as_str()), (&json!("invalid"), Some(message)));
    }
    let items = [
        json!(7),
        with(daily("a"), &json!({ "owner": "other", "dry_run": true })),
        with(daily("b"), &json!({ "colour": "red" })),
        daily("c"),
        with(daily("c"), &json!({ "priority": 1 })),
    ];
    let done = nats.ask("bulk.apply", set(&items)).await;
    // Of two with the same name the later one counts.
    assert_eq!(counts(&done), [1, 1, 0, 3], "{done}");
    let message = |n: usize| done["results"][n]["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(
        message(1),
        "owner: is that of the whole request; dry_run: is that of the whole request"
    );
    assert!(message(2).starts_with("colour: is not a field of this request"), "{}", message(2));
    let c = json!({ "schedule_name": "c", "creator": "anna" });
    assert_eq!(nats.ask("schedule.get", c).await["priority"], 1);
}

#[tokio::test]
async fn two_may_apply_a_set_at_once_and_one_that_dies_is_finished_by_the_next() {
    let nats = Nats::start().await;
    let mut first = nats.service().await;
    let all: Vec<Value> = (0..100).map(|n| daily(&format!("n{n}"))).collect();
    let request = set(&all);
    nats.ask_the_dying("bulk.apply", &request).await;
    wait_for("the first of them", || async {
        (nats.count("SCHEDULER_AUDIT").await > 10).then_some(())
    })
    .await;
    first.kill();
    let _instances = (nats.service().await, nats.service().await);
    let (one, other) =
        join(nats.ask("bulk.apply", request.clone()), nats.ask("bulk.apply", request)).await;
    for done in [&one, &other] {
        let [created, updated, unchanged, failed] = counts(done);
        assert_eq!((created + unchanged, updated, failed), (100, 0, 0), "{done}");
    }
    let total = nats.request("schedule.list", &json!({ "owner": "git" })).await;
    assert_eq!(total["pagination"]["total"], 100);
}

#[tokio::test]
async fn the_client_and_http_apply_sets_too() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let done = http.post("/api/v1/schedules/bulk/apply", set(&[daily("a")])).await;
    assert_eq!(counts(&done.body["data"]), [1, 0, 0, 0], "{done:?}");
    let client = Client::new(nats.client.clone()).actor("anna");
    let item = ApplySchedule {
        name: Some("a".to_owned()),
        schedule_type: Some(nats_scheduler::client::ScheduleType::Immediate),
        target_command: Some("cmd.example.daily".to_owned()),
        ..ApplySchedule::default()
    };
    let other = nats.create(with(far("b"), &json!({ "created_by": "anna", "owner": "git" }))).await;
    let request = BulkApply {
        owner: Some("git".to_owned()),
        schedules: Some(vec![BulkItem::from(&item)]),
        prune: Some(vec![Prune { schedule_id: other.parse().unwrap(), expected_revision: 1 }]),
        ..BulkApply::default()
    };
    let data = client.bulk_apply(&request).await.unwrap().data;
    assert_eq!((data.updated, data.pruned.len()), (1, 1), "{data:?}");
}
