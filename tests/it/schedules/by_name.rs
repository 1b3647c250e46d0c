//! Schedules that requests name by creator and name.

use futures::StreamExt as _;
use futures::stream;
use nats_scheduler::api::operations::operations;
use reqwest::Method;
use schemars::SchemaGenerator;
use serde_json::{Value, json};

use crate::harness::{Nats, far};
use crate::http::{Http, answer};

/// Letters that mean something in subjects, paths, queries or terminals. (Clients of HTTP resolve `..` themselves.)
const ODD: [&str; 6] = ["a/b", "..x", "100 % sure? #1 & more", "größe\u{200f}שלום", "x.y.*.>", "+"];

async fn create_as(nats: &Nats, creator: &str, name: &str) -> String {
    let headers = [("X-Created-By", creator)];
    let (_, reply) = nats.request_with_headers("schedule.create", &headers, far(name)).await;
    reply["data"]["id"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn every_request_with_the_id_of_a_schedule_takes_its_name() {
    for operation in operations() {
        let mut generator = SchemaGenerator::default();
        let schema = (operation.request_schema)(&mut generator).to_value();
        let name = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()).unwrap();
        let fields = &generator.definitions()[name]["properties"];
        if fields.get("schedule_id").is_some() {
            assert!(fields.get("schedule_name").is_some(), "{}", operation.name);
            assert!(fields.get("creator").is_some(), "{}", operation.name);
        }
    }
}

#[tokio::test]
async fn a_name_does_what_the_id_does() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    create_as(&nats, "bob", "nightly").await;
    let id = create_as(&nats, "anna", "nightly").await;
    let by_id = json!({ "schedule_id": id });
    let by_name = json!({ "schedule_name": "nightly", "creator": "anna" });
    for operation in [
        "schedule.get",
        "schedule.preview",
        "execution.list",
        "execution.running",
        "execution.stats",
    ] {
        let given = nats.ask(operation, by_id.clone()).await;
        assert_eq!(nats.ask(operation, by_name.clone()).await, given, "{operation}");
    }
    let change = async |operation: &str, more: Value| {
        let mut request = json!({ "schedule_name": "nightly" });
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        // Who asks is the creator where the request does not say.
        let (_, reply) =
            nats.request_with_headers(operation, &[("X-Created-By", "anna")], request).await;
        assert!(reply.get("error").is_none(), "{operation}: {reply}");
        let data = reply["data"].clone();
        let of = data.get("schedule_id").unwrap_or(&data["id"]);
        assert_eq!(*of, json!(id), "{operation}: {reply}");
        data
    };
    assert_eq!(change("schedule.pause", json!({ "reason": "why" })).await["status"], "paused");
    assert_eq!(change("schedule.resume", json!({})).await["status"], "active");
    assert_eq!(change("schedule.update", json!({ "priority": 2 })).await["priority"], 2);
    let triggered = change("schedule.trigger", json!({ "wait_ms": 10_000 })).await;
    assert_eq!(triggered["execution"]["status"], "success", "{triggered}");
    let span =
        json!({ "from": "2020-01-01T00:00:00Z", "to": "2020-01-01T00:00:00Z", "dry_run": true });
    change("schedule.backfill", span).await;
    change("schedule.delete", json!({})).await;
    assert_eq!(nats.refused("schedule.get", by_name.clone()).await["code"], "not_found");
    change("schedule.restore", json!({})).await;
    change("schedule.update", json!({ "name": "renamed" })).await;
    assert_eq!(nats.refused("schedule.get", by_name).await["code"], "not_found");
    let renamed = json!({ "schedule_name": "renamed", "creator": "anna" });
    assert_eq!(nats.ask("schedule.get", renamed).await["id"], json!(id));
}

#[tokio::test]
async fn odd_names_are_found_over_both_transports() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let long = "\u{1f550}".repeat(255);
    for (n, name) in ODD.into_iter().chain([long.as_str()]).enumerate() {
        let creator = ODD[n % ODD.len()];
        let created = json!({ "created_by": creator });
        let mut request = far(name);
        request.as_object_mut().unwrap().extend(created.as_object().unwrap().clone());
        let id = nats.create(request).await;
        let by_name = json!({ "schedule_name": name, "creator": creator });
        assert_eq!(nats.ask("schedule.get", by_name).await["id"], json!(id), "{name}");
        let path = format!("/api/v1/schedules/by-name/{}/{}", encoded(creator), encoded(name));
        let got = http.get(&path).await;
        assert_eq!(got.body["data"]["id"], json!(id), "{name}: {got:?}");
        let paused = http.post(&format!("{path}/pause"), json!({})).await;
        assert_eq!(paused.body["data"]["status"], "paused", "{name}: {paused:?}");
        let executions = http.get(&format!("{path}/executions?limit=5")).await;
        assert_eq!(executions.status, 200, "{executions:?}");
        let stats = path.replace("/schedules/", "/executions/stats/");
        assert_eq!(http.get(&stats).await.body["data"]["schedule_id"], json!(id), "{name}");
        let deleted = answer(http.ask(Method::DELETE, &path)).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
        let missing = http.get(&path).await;
        missing.refused(404, "not_found");
    }
    http.get("/api/v1/schedules/by-name").await.refused(404, "not_found");
    http.get("/api/v1/schedules/by-name/anna").await.refused(404, "not_found");
    let both = http.get("/api/v1/executions?schedule_name=a").await;
    assert_eq!(both.refused(400, "invalid")["details"][0]["field"], "creator");
}

#[tokio::test]
async fn what_does_not_name_one_schedule_is_refused_with_a_hint() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = create_as(&nats, "anna", "nightly-backup").await;
    create_as(&nats, "anna", "Weekly Report").await;
    for (request, faults) in [
        (json!({}), &["schedule_id: is required, unless schedule_name is given"][..]),
        (
            json!({ "schedule_id": id, "schedule_name": "a", "creator": "b" }),
            &["schedule_name: cannot stand beside schedule_id"],
        ),
        (
            json!({ "schedule_id": id, "creator": "b" }),
            &["creator: says who created the schedule of schedule_name, which is not given"],
        ),
        (
            json!({ "schedule_name": "a" }),
            &["creator: is required with schedule_name, unless a header says who asks"],
        ),
        (
            json!({ "schedule_name": "", "creator": "a".repeat(256) }),
            &[
                "creator: must have 1 to 255 characters",
                "schedule_name: must have 1 to 255 characters",
            ],
        ),
    ] {
        let error = nats.refused("schedule.get", request.clone()).await;
        assert_eq!(error["code"], "invalid", "{request}: {error}");
        assert_eq!(error["message"], faults.join("; "), "{request}");
    }
    let error = nats.refused("schedule.pause", json!({ "name": "a" })).await;
    assert!(error["message"].as_str().unwrap().contains("did you mean schedule_name?"), "{error}");

    for (creator, name, message) in [
        (
            "anna",
            "nigthly-backup",
            r#"creator "anna" has no schedule named "nigthly-backup"; did you mean "nightly-backup"?"#,
        ),
        (
            "anna",
            "weekly report",
            r#"creator "anna" has no schedule named "weekly report"; did you mean "Weekly Report"?"#,
        ),
        (
            "bob",
            "nightly-backup",
            r#"creator "bob" has no schedule named "nightly-backup"; creator "anna" has one"#,
        ),
        ("bob", "else", r#"creator "bob" has no schedule named "else""#),
    ] {
        let request = json!({ "schedule_name": name, "creator": creator });
        let error = nats.refused("schedule.trigger", request).await;
        assert_eq!(error["code"], "not_found", "{error}");
        assert_eq!(error["message"], message);
    }
}

#[tokio::test]
async fn restoring_by_name_takes_the_only_deleted_one() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let by_name = json!({ "schedule_name": "again", "creator": "anna" });
    assert_eq!(nats.refused("schedule.restore", by_name.clone()).await["code"], "not_found");
    let mut ids = Vec::new();
    for _ in 0..2 {
        ids.push(create_as(&nats, "anna", "again").await);
        nats.ask("schedule.delete", by_name.clone()).await;
    }
    let error = nats.refused("schedule.restore", by_name.clone()).await;
    assert_eq!(error["code"], "conflict", "{error}");
    let named = error["details"].as_array().unwrap().iter().map(|detail| &detail["reason"]);
    assert_eq!(named.collect::<Vec<_>>(), ids.iter().collect::<Vec<_>>());
    let gone = json!({ "schedule_id": ids[0], "hard_delete": true });
    nats.ask("schedule.delete", gone).await;
    assert_eq!(nats.ask("schedule.restore", by_name.clone()).await["id"], json!(ids[1]));
    // It is there again, and another one cannot take its name.
    assert_eq!(nats.ask("schedule.get", by_name).await["id"], json!(ids[1]));
}

/// An instance has heard of a creation by another one before it is asked by name.
#[tokio::test]
async fn a_name_is_known_to_every_instance_once_its_creation_was_answered() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let asked = stream::iter(0..500).map(|n| {
        let nats = &nats;
        async move {
            let name = format!("n{n}");
            let id = create_as(nats, "anna", &name).await;
            // Instances take turns at random.
            for _ in 0..3 {
                let by_name = json!({ "schedule_name": name, "creator": "anna" });
                assert_eq!(nats.ask("schedule.get", by_name).await["id"], json!(id));
            }
        }
    });
    asked.buffer_unordered(20).collect::<Vec<()>>().await;
}
