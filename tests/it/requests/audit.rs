//! Every change is announced once and in order, whatever dies, and can be looked up.

use async_nats::HeaderMap;
use nats_scheduler::client::{AuditEvent, Client, ListAudit};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Nats, in_ms, wait_for};
use crate::http::{Http, answer};

fn far(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "one_time", "scheduled_at": in_ms(3_600_000),
            "target_command": "cmd.example.far", "command_payload": { "secret": 1 } })
}

/// The events of a schedule, once there are `count` of them.
pub async fn events(nats: &Nats, id: &str, count: usize) -> Vec<Value> {
    wait_for(&format!("{count} events of {id}"), || async {
        let messages = nats.messages("SCHEDULER_AUDIT").await;
        let of_it: Vec<Value> = messages
            .iter()
            .filter(|message| message.subject.ends_with(id))
            .map(|message| {
                let event: Value = serde_json::from_slice(&message.payload).unwrap();
                let kind = event["event"].as_str().unwrap();
                assert_eq!(message.subject.as_str(), format!("evt.scheduler.schedule.{kind}.{id}"));
                event
            })
            .collect();
        assert!(of_it.len() <= count, "{of_it:?}");
        (of_it.len() == count).then_some(of_it)
    })
    .await
}

#[tokio::test]
async fn every_change_is_announced_in_order_with_who_what_and_why() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let ask = async |operation: &str, actor: &str, body: Value| {
        let by = [(actor, "alice"), ("X-Correlation-ID", operation)];
        let (_, reply) = nats.request_with_headers(operation, &by, body).await;
        assert!(reply.get("error").is_none(), "{reply}");
        reply["data"].clone()
    };
    let id = ask("schedule.create", "X-Created-By", far("told")).await["id"].clone();
    let mut update =
        json!({ "schedule_id": id, "priority": 9, "command_payload": { "secret": 2 } });
    ask("schedule.update", "X-Updated-By", update.clone()).await;
    ask("schedule.pause", "X-Paused-By", json!({ "schedule_id": id, "reason": "why not" })).await;
    ask("schedule.resume", "X-Resumed-By", json!({ "schedule_id": id })).await;
    let run = ask("schedule.trigger", "X-Triggered-By", json!({ "schedule_id": id })).await;
    ask("schedule.delete", "X-Deleted-By", json!({ "schedule_id": id, "hard_delete": true })).await;
    let events = events(&nats, id.as_str().unwrap(), 6).await;
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["created", "updated", "paused", "resumed", "triggered", "deleted"]);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["actor"], "alice");
        assert_eq!(event["schedule_id"], id);
        assert_eq!(event["name"], "told");
        assert_eq!(event["revision"], n + 1);
        assert!(event["time"].is_string() && event["event_id"].is_string());
        let request = ["create", "update", "pause", "resume", "trigger", "delete"][n];
        assert_eq!(event["correlation_id"], format!("schedule.{request}"));
    }
    assert_eq!(events[0]["target_command"], "cmd.example.far");
    assert_eq!(events[1]["updated_fields"], json!(["command_payload", "priority"]));
    assert_eq!(events[1]["changes"][1], json!({ "field": "priority", "old": 5, "new": 9 }));
    let payload = &events[1]["changes"][0];
    assert!(payload["old"].as_str().unwrap().starts_with("sha256:"), "{payload}");
    assert_ne!(payload["old"], payload["new"]);
    assert!(!events[1].to_string().contains("secret"), "payloads are not shown");
    assert_eq!(events[2]["reason"], "why not");
    assert_eq!(events[4]["execution_id"], run["execution_id"]);
    assert_eq!(events[5]["hard_delete"], true);
    update["priority"] = json!(1);
    assert_eq!(nats.refused("schedule.update", update).await["code"], "not_found");
    let key = format!("schedule.{}", id.as_str().unwrap());
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    wait_for("the record to be gone", || async {
        bucket.get(key.clone()).await.unwrap().is_none().then_some(())
    })
    .await;
}

async fn dies(point: &str) {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    // It may die before it can reply; the change is made all the same.
    nats.ask_the_dying("schedule.create", &far("announced")).await;
    dying.exited().await;
    let _next = nats.service().await;
    let list = nats.ask("schedule.list", json!({})).await;
    let id = list[0]["id"].as_str().unwrap().to_owned();
    events(&nats, &id, 1).await;
    // A second one proves that the first has left the record and does not come again.
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    events(&nats, &id, 2).await;
}

#[tokio::test]
async fn dying_before_announcing_keeps_the_event() {
    dies("before_announcing").await;
}

#[tokio::test]
async fn dying_after_announcing_does_not_announce_again() {
    dies("after_announcing").await;
}

/// A pipeline applies the schedules of others: they stay theirs, and the audit shows the pipeline.
#[tokio::test]
async fn who_declares_the_schedules_of_others_stands_in_the_events() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let by = |header: &'static str| [(header, "ci")];
    let declared = |name: &str, priority: u64| {
        let mut request = far(name);
        request["priority"] = priority.into();
        request["created_by"] = "anna".into();
        request
    };
    let set =
        |name: &str, priority| json!({ "owner": "git", "schedules": [declared(name, priority)] });
    for priority in [1, 2] {
        let one = declared("over nats", priority);
        let (_, reply) =
            nats.request_with_headers("schedule.apply", &by("X-Applied-By"), one).await;
        assert_eq!(reply["data"]["created_by"], "anna", "{reply}");
        let many = set("in a set", priority);
        let (_, reply) = nats.request_with_headers("bulk.apply", &by("X-Performed-By"), many).await;
        assert_eq!(reply["data"]["failed"], 0, "{reply}");
        for (path, header, body) in [
            ("/api/v1/schedules/apply", "X-Applied-By", declared("over http", priority)),
            ("/api/v1/schedules/bulk/apply", "X-Performed-By", set("in a set over http", priority)),
        ] {
            let request = http.ask(Method::POST, path).header(header, "ci").json(&body);
            assert_eq!(answer(request).await.status, 200, "{path}");
        }
    }
    for name in ["over nats", "over http", "in a set", "in a set over http"] {
        let asked = json!({ "schedule_name": name, "creator": "anna" });
        let schedule = nats.ask("schedule.get", asked).await;
        assert_eq!(schedule["updated_by"], "ci", "{schedule}");
        let told = events(&nats, schedule["id"].as_str().unwrap(), 2).await;
        let told: Vec<_> = told.iter().map(|event| (&event["event"], &event["actor"])).collect();
        assert_eq!(
            told,
            [(&json!("created"), &json!("ci")), (&json!("updated"), &json!("ci"))],
            "{name}"
        );
    }
    let created = nats.ask("audit.list", json!({ "event": "created", "actor": "ci" })).await;
    assert!(
        created.as_array().unwrap().iter().all(|event| event["created_by"] == "anna"),
        "{created}"
    );
    assert_eq!(nats.ask("audit.list", json!({ "actor": "anna" })).await, json!([]));

    // Whoever says nothing of the creator is it, and a header that names one goes before the body.
    let mut own = declared("own", 1);
    own.as_object_mut().unwrap().remove("created_by");
    let (_, reply) = nats.request_with_headers("schedule.apply", &by("X-Applied-By"), own).await;
    assert_eq!(reply["data"]["created_by"], "ci", "{reply}");
    let headers = [("X-Applied-By", "ci"), ("X-Created-By", "bob")];
    let (_, reply) =
        nats.request_with_headers("schedule.apply", &headers, declared("of bob", 1)).await;
    assert_eq!(reply["data"]["created_by"], "bob", "{reply}");
    // What follows another one by its name follows one of the same creator.
    let mut follower = declared("follower", 1);
    let fields = follower.as_object_mut().unwrap();
    fields.remove("scheduled_at");
    fields.insert("schedule_type".to_owned(), "dependent".into());
    fields.insert("after".to_owned(), json!({ "schedule_name": "over nats" }));
    let (_, reply) =
        nats.request_with_headers("schedule.apply", &by("X-Applied-By"), follower).await;
    assert_eq!(reply["data"]["created_by"], "anna", "{reply}");

    let document = http.get("/openapi.json").await.body;
    for (path, headers) in [
        ("/api/v1/schedules/apply", ["X-Applied-By", "X-Created-By"]),
        ("/api/v1/schedules/bulk/apply", ["X-Performed-By", "X-Created-By"]),
    ] {
        let parameters = document["paths"][path]["post"]["parameters"].as_array().unwrap();
        for header in headers {
            assert!(parameters.iter().any(|one| one["name"] == header), "{path} {header}");
        }
    }
}

#[tokio::test]
async fn what_was_seen_can_be_changed_however_often_it_fired_since() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create_beats(1, "cmd.example.seen").await.remove(0);
    let seen = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    nats.wait_count("COMMANDS", 3).await;
    let update = json!({ "schedule_id": id, "priority": 2, "expected_revision": seen["revision"] });
    let updated = nats.ask("schedule.update", update.clone()).await;
    assert_eq!(updated["revision"], 2);
    assert_eq!(nats.refused("schedule.update", update).await["code"], "conflict");
}

/// The names and events of changes, once there are as many as expected.
async fn changes(nats: &Nats, request: Value, expected: &[(&str, &str)]) -> Vec<Value> {
    let found = wait_for(&format!("{expected:?} by {request}"), || async {
        let reply = nats.request("audit.list", &request).await;
        let total = reply["pagination"]["total"].as_u64().unwrap_or_else(|| panic!("{reply}"));
        (total >= expected.len() as u64).then(|| reply["data"].as_array().unwrap().clone())
    })
    .await;
    let listed: Vec<_> = found
        .iter()
        .map(|change| (change["name"].as_str().unwrap(), change["event"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, expected, "{request}");
    found
}

#[tokio::test]
async fn changes_are_found_by_schedule_user_event_and_time() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let by = async |actor: &str, operation: &str, body: Value| {
        let header = [("X-Created-By", actor)];
        let (_, reply) = nats.request_with_headers(operation, &header, body).await;
        assert!(reply.get("error").is_none(), "{reply}");
        reply["data"].clone()
    };
    let one = by("anna", "schedule.create", far("one")).await["id"].clone();
    by("\u{1f600} b%20", "schedule.create", far("two")).await;
    by("bob", "schedule.pause", json!({ "schedule_id": one, "reason": "holidays" })).await;
    by("bob", "schedule.update", json!({ "schedule_id": one, "priority": 9 })).await;
    let deletion = json!({ "schedule_id": one, "hard_delete": true });
    by("anna", "schedule.delete", deletion).await;
    let of_one = json!({ "schedule_id": one });
    let all = [("one", "deleted"), ("one", "updated"), ("one", "paused"), ("one", "created")];
    let found = changes(&nats, of_one, &all).await;
    assert_eq!(found[1]["changes"], json!([{ "field": "priority", "old": 5, "new": 9 }]));
    assert_eq!((&found[2]["reason"], &found[2]["actor"]), (&json!("holidays"), &json!("bob")));
    assert_eq!(found[3]["target_command"], "cmd.example.far");
    changes(&nats, json!({ "actor": "bob" }), &all[1..3]).await;
    changes(&nats, json!({ "actor": "\u{1f600} b%20" }), &[("two", "created")]).await;
    changes(&nats, json!({ "event": "deleted" }), &all[..1]).await;
    let two = json!({ "schedule_name": "two", "creator": "\u{1f600} b%20" });
    changes(&nats, two, &[("two", "created")]).await;
    let span = json!({ "since": found[2]["time"], "until": found[1]["time"] });
    changes(&nats, span, &all[1..3]).await;
    let page = nats.request("audit.list", &json!({ "page": 2, "limit": 2 })).await;
    assert_eq!((&page["pagination"]["page"], &page["pagination"]["total"]), (&json!(2), &json!(5)));
    assert_eq!(page["data"][0]["event"], "paused");
    let fault = nats.refused("audit.list", json!({ "event": "odd", "limit": 0 })).await;
    assert_eq!(
        fault["message"],
        "event: must be one of created, updated, deleted, restored, paused, resumed, triggered, \
         backfilled, failing, overdue, recovered, paused_all, resumed_all, \
         calendar_put, calendar_deleted, group_put, group_deleted, rerun_requested, \
         rerun_cancelled, rerun_ended"
    );

    let http = Http::new(&service).await;
    let of_bob = http.get("/api/v1/audit?actor=bob&event=paused").await;
    assert_eq!(of_bob.body["data"], json!([found[2]]), "{of_bob:?}");
    let of_one = http.get(&format!("/api/v1/schedules/{}/audit", one.as_str().unwrap())).await;
    assert_eq!(of_one.body["data"], json!(found));
    let client = Client::new(nats.client.clone());
    let request = ListAudit { event: Some(AuditEvent::Paused), ..ListAudit::default() };
    let event = client.audit(&request).await.unwrap().data.remove(0);
    assert_eq!((event.actor.as_str(), event.reason.as_deref()), ("bob", Some("holidays")));
    assert_eq!(serde_json::to_value(&event).unwrap(), found[2]);
}

#[tokio::test]
async fn an_instance_that_starts_finds_earlier_changes_also_those_of_other_versions() {
    let nats = Nats::start().await;
    let mut first = nats.service().await;
    let id = nats.create(far("early")).await;
    events(&nats, &id, 1).await;
    first.kill();
    // Earlier versions had no headers, and newer ones may have other events.
    let mut said = nats.messages("SCHEDULER_AUDIT").await.remove(0);
    let mut event: Value = serde_json::from_slice(&said.payload).unwrap();
    for (kind, extra) in [("paused", json!("why")), ("shifted", json!({ "by": [1, 2.50] }))] {
        event["event"] = json!(kind);
        event["reason"] = if kind == "paused" { extra.clone() } else { Value::Null };
        event["extra"] = extra;
        said.subject = format!("evt.scheduler.schedule.{kind}.{id}").into();
        let body = event.to_string().into();
        nats.js
            .publish_with_headers(said.subject.clone(), HeaderMap::new(), body)
            .await
            .unwrap()
            .await
            .unwrap();
    }
    let odd = "evt.scheduler.schedule.odd.no-id";
    nats.js.publish(odd, "no JSON".into()).await.unwrap().await.unwrap();
    let _second = nats.service().await;
    let expected = [("early", "shifted"), ("early", "paused"), ("early", "created")];
    let found = changes(&nats, json!({}), &expected).await;
    assert_eq!(found[0]["extra"], json!({ "by": [1, 2.5] }));
    let since = json!({ "since": in_ms(-60_000), "schedule_id": id });
    changes(&nats, since, &expected).await;
    // What the stream loses is no longer found.
    let stream = nats.js.get_stream("SCHEDULER_AUDIT").await.unwrap();
    stream.purge().filter(format!("evt.scheduler.schedule.paused.{id}")).await.unwrap();
    wait_for("the rest", || async {
        let reply = nats.request("audit.list", &json!({})).await;
        (reply["pagination"]["total"] == 2).then_some(())
    })
    .await;
    changes(&nats, json!({}), &[("early", "shifted"), ("early", "created")]).await;
}
