//! Schedules declared as a whole.

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use nats_scheduler::client::{ApplyOutcome, ApplySchedule, Client, ScheduleType};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Nats, far, in_ms, wait_for};
use crate::http::{Http, answer};

fn daily() -> Value {
    json!({ "name": "daily", "created_by": "anna", "schedule_type": "cron",
            "cron_expression": "30 2 * * *", "timezone": "Europe/Berlin",
            "target_command": "cmd.example.daily", "tags": ["x"],
            "command_payload": { "a": 1, "b": [1.5] } })
}

fn with(mut request: Value, fields: &Value) -> Value {
    request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    request
}

async fn apply(nats: &Nats, request: &Value) -> Value {
    let reply = nats.request("schedule.apply", request).await;
    assert!(reply.get("error").is_none(), "{request}: {reply}");
    reply
}

/// Names and values of the fields that a reply says have changed.
fn changes(reply: &Value) -> Vec<(&str, &Value)> {
    let changes = reply["difference"]["changes"].as_array().unwrap().iter();
    changes.map(|change| (change["field"].as_str().unwrap(), &change["new"])).collect()
}

/// A file says of a schedule that it is off, which a pause by hand would not survive.
#[tokio::test]
async fn a_declaration_switches_off_and_on_and_otherwise_leaves_it() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let beat = |name: &str, fields: Value| {
        let beat = json!({ "name": name, "created_by": "anna", "schedule_type": "interval",
            "interval_seconds": 1, "target_command": "cmd.example.beat" });
        with(beat, &fields)
    };
    let off = json!({ "is_active": false });
    let created = nats.create(beat("created off", off.clone())).await;
    let declared = apply(&nats, &beat("declared off", off.clone())).await;
    assert_eq!(declared["data"]["is_active"], false, "{declared}");
    let declared = declared["data"]["id"].as_str().unwrap().to_owned();
    let on = nats.create(beat("on", json!({}))).await;
    nats.wait_executions(json!({ "schedule_id": on }), 3).await;
    for id in [&created, &declared] {
        assert_eq!(nats.ask("schedule.get", json!({ "schedule_id": id })).await["run_count"], 0);
    }
    // What it does not say it leaves as it is.
    let again = apply(&nats, &beat("declared off", json!({}))).await;
    assert_eq!(again["difference"]["outcome"], "unchanged", "{again}");
    assert_eq!(again["data"]["is_active"], false);
    let switched = json!({ "is_active": true, "dry_run": true });
    let dry = apply(&nats, &beat("declared off", switched)).await;
    assert_eq!(changes(&dry), [("is_active", &json!(true))], "{dry}");
    let on = apply(&nats, &beat("declared off", json!({ "is_active": true }))).await;
    assert_eq!(
        (changes(&on), &on["data"]["revision"]),
        (vec![("is_active", &json!(true))], &json!(2))
    );
    nats.wait_executions(json!({ "schedule_id": declared, "status": "success" }), 1).await;
    // What was due while it was off is one entry of the history.
    let skipped = json!({ "schedule_id": declared, "status": "skipped" });
    let skipped = nats.wait_executions(skipped, 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "paused", "{skipped:?}");
    let off = apply(&nats, &beat("declared off", off)).await;
    assert_eq!(changes(&off), [("is_active", &json!(false))], "{off}");
    let set = json!({ "owner": "git", "created_by": "anna", "adopt": true,
        "schedules": [with(beat("created off", json!({})), &json!({ "is_active": true }))] });
    let applied = nats.ask("bulk.apply", set).await;
    assert_eq!(applied["results"][0]["outcome"], "updated", "{applied}");
    nats.wait_executions(json!({ "schedule_id": created, "status": "success" }), 1).await;
}

#[tokio::test]
async fn a_schedule_becomes_what_is_declared_and_is_left_alone_after_that() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let created = apply(&nats, &daily()).await;
    assert_eq!(created["difference"]["outcome"], "created", "{created}");
    assert_eq!(created["difference"]["changes"], json!([]));
    assert_eq!(created["data"]["created_by"], "anna");
    assert!(created["difference"]["occurrences"].get("before").is_none());
    let id = created["data"]["id"].as_str().unwrap().to_owned();
    nats.ask("schedule.pause", json!({ "schedule_id": id, "reason": "why" })).await;

    // Written differently, but the same.
    let text = r#"{"name":"daily","created_by":"anna","schedule_type":"cron","cron_expression":"30 2 * * *",
        "timezone":"Europe/Berlin","target_command":"cmd.example.daily","tags":["x"],"priority":5,
        "command_payload":{ "b": [1.5],  "a": 1 }}"#;
    let revision = nats.record_revision(&id).await;
    for _ in 0..2 {
        let reply = nats.client.request("cmd.scheduler.schedule.apply", text.into()).await.unwrap();
        let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
        assert_eq!(reply["difference"]["outcome"], "unchanged", "{reply}");
        assert_eq!(reply["data"]["id"], json!(id));
        assert!(reply.get("waited_ms").is_none(), "{reply}");
    }
    assert_eq!(nats.record_revision(&id).await, revision, "nothing was written");

    // What is left out takes its default; what is no field stays.
    let other = json!({ "name": "daily", "created_by": "anna", "schedule_type": "cron",
                        "cron_expression": "30 2 * * *", "timezone": "Europe/Berlin",
                        "target_command": "cmd.example.other", "priority": 7 });
    let changed = apply(&nats, &other).await;
    assert_eq!(changed["difference"]["outcome"], "updated", "{changed}");
    assert!(changed["waited_ms"].is_number(), "for what was claimed before: {changed}");
    let fields: Vec<&str> = changes(&changed).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["command_payload", "priority", "tags", "target_command"]);
    assert!(changed["difference"].get("occurrences").is_none(), "the times stay");
    let data = &changed["data"];
    assert_eq!((&data["status"], &data["pause_reason"]), (&json!("paused"), &json!("why")));
    assert_eq!((&data["updated_by"], &data["command_payload"]), (&json!("anna"), &json!({})));
    let events = wait_for("both events", || async {
        let messages = nats.messages("SCHEDULER_AUDIT").await;
        let subject = |event: &str| format!("evt.scheduler.schedule.{event}.{id}");
        let count =
            |event| messages.iter().filter(|m| m.subject.as_str() == subject(event)).count();
        (count("updated") == 1).then(|| (count("created"), count("updated")))
    });
    assert_eq!(events.await, (1, 1));
}

#[tokio::test]
async fn a_dry_run_shows_what_would_change_and_when_it_would_fire() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let dry =
        |fields: Value| with(with(daily(), &json!({ "dry_run": true, "count": 400 })), &fields);
    let error = nats.refused("schedule.apply", dry(json!({}))).await;
    assert_eq!(error["message"], "count: must be 0 to 100");
    let dry =
        |fields: Value| with(with(daily(), &json!({ "dry_run": true, "count": 100 })), &fields);
    let none = apply(&nats, &dry(json!({}))).await;
    assert_eq!(none["difference"]["outcome"], "created", "{none}");
    assert_eq!(none["difference"]["dry_run"], json!(true));
    assert_eq!(nats.ask("schedule.list", json!({})).await, json!([]), "nothing was written");
    // Faults are found as without it.
    let fault = nats.refused("schedule.apply", dry(json!({ "priority": 11 }))).await;
    assert_eq!(fault["message"], "priority: must be 1 to 10");

    let id = apply(&nats, &daily()).await["data"]["id"].as_str().unwrap().to_owned();
    let revision = nats.record_revision(&id).await;
    // A whole year of it: its start is moved to where clocks change.
    let change = dry(json!({ "cron_expression": "0 3 * * *", "start_at": "2027-03-01T00:00:00Z" }));
    let reply = apply(&nats, &change).await;
    assert_eq!(reply["data"]["cron_expression"], "0 3 * * *");
    assert_eq!(reply["data"]["revision"], json!(1), "what a later request may expect");
    assert_eq!(
        changes(&reply),
        [("cron_expression", &json!("0 3 * * *")), ("start_at", &json!("2027-03-01T00:00:00Z"))]
    );
    let times = &reply["difference"]["occurrences"];
    assert_eq!(times["before"]["occurrences"].as_array().unwrap().len(), 100);
    assert_eq!(times["after"]["occurrences"][0], "2027-03-01T02:00:00Z");
    let moved = dry(json!({ "start_at": "2027-03-01T00:00:00Z" }));
    let reply = apply(&nats, &moved).await;
    let at = &reply["difference"]["occurrences"]["after"]["moved"][0];
    assert_eq!(*at, json!({ "at": "2027-03-28T01:00:00Z", "cause": "dst_gap" }), "{reply}");

    // An update shows the same.
    let update = json!({ "schedule_name": "daily", "creator": "anna", "cron_expression": "0 4 * * *",
                         "name": "renamed", "dry_run": true });
    let reply = nats.request("schedule.update", &update).await;
    assert_eq!(
        changes(&reply),
        [("cron_expression", &json!("0 4 * * *")), ("name", &json!("renamed"))]
    );
    assert_eq!(reply["data"]["name"], "renamed");
    let after = &reply["difference"]["occurrences"]["after"];
    assert_eq!(after["description"], "at 04:00 every day (Europe/Berlin)");
    nats.create(with(far("taken"), &json!({ "created_by": "anna" }))).await;
    let error = nats.refused("schedule.update", with(update, &json!({ "name": "taken" }))).await;
    assert_eq!(error["code"], "already_exists");
    assert_eq!(nats.record_revision(&id).await, revision, "nothing was written");
}

#[tokio::test]
async fn what_has_run_does_not_run_again() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let once = json!({ "name": "once", "schedule_type": "immediate", "target_command": "cmd.example.once" });
    let soon = json!({ "name": "soon", "schedule_type": "one_time", "scheduled_at": in_ms(500),
                       "target_command": "cmd.example.soon" });
    for request in [&once, &soon] {
        assert_eq!(apply(&nats, request).await["difference"]["outcome"], "created");
    }
    nats.wait_count("COMMANDS", 2).await;
    for request in [once, soon] {
        wait_for("the end", || async {
            let reply = apply(&nats, &request).await;
            assert_eq!(reply["difference"]["outcome"], "unchanged", "{reply}");
            (reply["data"]["status"] == "completed").then_some(())
        })
        .await;
        // Nor for another reason.
        let reply = apply(&nats, &with(request, &json!({ "description": "d" }))).await;
        assert_eq!(reply["difference"]["outcome"], "updated", "{reply}");
        assert_eq!(reply["data"]["status"], "completed");
    }
    // Later commands come after all that these could have sent.
    nats.create_beats(1, "cmd.example.beat").await;
    nats.wait_count("COMMANDS", 4).await;
    let subjects = nats.messages("COMMANDS").await;
    let beats = subjects.iter().filter(|m| m.subject.as_str() == "cmd.example.beat").count();
    assert_eq!(subjects.len() - beats, 2);
}

#[tokio::test]
async fn an_expected_revision_is_kept() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let expecting = |revision: u64, priority: u64| {
        with(daily(), &json!({ "expected_revision": revision, "priority": priority }))
    };
    let error = nats.refused("schedule.apply", expecting(1, 1)).await;
    assert_eq!((&error["code"], &error["details"][0]["reason"]), (&json!("conflict"), &json!("0")));
    assert_eq!(apply(&nats, &expecting(0, 1)).await["difference"]["outcome"], "created");
    let error = nats.refused("schedule.apply", expecting(0, 2)).await;
    assert_eq!((&error["code"], &error["details"][0]["reason"]), (&json!("conflict"), &json!("1")));
    assert_eq!(apply(&nats, &expecting(1, 2)).await["data"]["revision"], json!(2));
    assert_eq!(nats.refused("schedule.apply", expecting(1, 2)).await["code"], "conflict");
    // Another creator's schedule of that name is another one.
    let (_, reply) = nats
        .request_with_headers("schedule.apply", &[("X-Created-By", "bob")], expecting(0, 3))
        .await;
    assert_eq!(reply["data"]["created_by"], "bob", "{reply}");
    // A deleted one is none.
    nats.ask("schedule.delete", json!({ "schedule_name": "daily", "creator": "anna" })).await;
    assert_eq!(apply(&nats, &expecting(0, 4)).await["difference"]["outcome"], "created");
}

/// Some say one thing, some another, and some delete it meanwhile: each is done, one after the other.
#[tokio::test]
async fn many_may_apply_at_once() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await, nats.service().await);
    let asked = (0..60).map(|n| {
        let nats = &nats;
        async move {
            if n % 10 == 9 {
                let by_name = json!({ "schedule_name": "daily", "creator": "anna" });
                let reply = nats.request("schedule.delete", &by_name).await;
                let refused = &reply["error"]["code"];
                assert!(refused.is_null() || refused == "not_found", "{reply}");
                return;
            }
            let priority = n % 3 + 1;
            let reply = apply(nats, &with(daily(), &json!({ "priority": priority }))).await;
            assert_eq!(reply["data"]["priority"], json!(priority), "{reply}");
        }
    });
    join_all(asked).await;
    let last = apply(&nats, &daily()).await;
    let listed = nats.ask("schedule.list", json!({ "creator": "anna" })).await;
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    assert_eq!(listed[0]["id"], last["data"]["id"]);
}

#[tokio::test]
async fn the_client_and_http_apply_too() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let created = http.post("/api/v1/schedules/apply", daily()).await;
    assert_eq!(
        (created.status.as_u16(), &created.body["difference"]["outcome"]),
        (200, &json!("created"))
    );
    let client = Client::new(nats.client.clone()).actor("anna");
    let request = ApplySchedule {
        name: Some("daily".to_owned()),
        schedule_type: Some(ScheduleType::Cron),
        cron_expression: Some("30 2 * * *".to_owned()),
        timezone: Some("Europe/Berlin".to_owned()),
        target_command: Some("cmd.example.daily".to_owned()),
        dry_run: Some(true),
        ..ApplySchedule::default()
    };
    let difference = client.apply(&request).await.unwrap().difference.unwrap();
    assert_eq!((difference.outcome, difference.dry_run), (ApplyOutcome::Updated, true));
    assert_eq!(difference.changes.len(), 2, "{:?}", difference.changes);
    let path = "/api/v1/schedules/by-name/anna/daily";
    let dry =
        answer(http.ask(Method::PATCH, path).json(&json!({ "priority": 1, "dry_run": true })))
            .await;
    assert_eq!(dry.body["difference"]["changes"][0]["old"], json!(5), "{dry:?}");
}

/// What was claimed under the old state is due before the reply, so nothing of that state comes after it.
#[tokio::test]
async fn after_the_reply_nothing_of_the_old_state_is_sent() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let beat = |n: usize, target: &str| {
        json!({ "name": format!("beat {n}"), "created_by": "anna", "schedule_type": "interval",
                "interval_seconds": 1, "target_command": target, "owner": "git" })
    };
    for n in 0..5 {
        apply(&nats, &beat(n, "cmd.example.old")).await;
    }
    let mut target = "cmd.example.old";
    for turn in 0..6 {
        let next = if turn % 2 == 0 { "cmd.example.new" } else { "cmd.example.old" };
        // Shortly before all five are due, when they are claimed.
        nats.wait_count("COMMANDS", nats.count("COMMANDS").await + 5).await;
        let first = json!({ "schedule_name": "beat 0", "creator": "anna" });
        let due = nats.ask("schedule.get", first).await["next_run_at"].as_str().unwrap().to_owned();
        let due: DateTime<Utc> = due.parse().unwrap();
        let until = due - TimeDelta::milliseconds(200) - Utc::now();
        tokio::time::sleep(until.to_std().unwrap_or_default()).await;
        if turn < 3 {
            join_all((0..5).map(|n| {
                let (nats, request) = (&nats, beat(n, next));
                async move { apply(nats, &request).await }
            }))
            .await;
        } else {
            let all: Vec<Value> = (0..5).map(|n| beat(n, next)).collect();
            let request = json!({ "owner": "git", "created_by": "anna", "schedules": all });
            let reply = nats.request("bulk.apply", &request).await;
            assert_eq!(reply["data"]["updated"], json!(5), "{reply}");
            assert!(reply["waited_ms"].is_number(), "{reply}");
        }
        let replied_at = Utc::now() + TimeDelta::milliseconds(20);
        nats.wait_count("COMMANDS", nats.count("COMMANDS").await + 6).await;
        for message in nats.messages("COMMANDS").await {
            let headers = &message.headers;
            let due: DateTime<Utc> =
                headers.get("Scheduler-Scheduled-For").unwrap().as_str().parse().unwrap();
            let is_old = message.subject.as_str() == target;
            assert!(
                !is_old || due <= replied_at,
                "turn {turn}: {target} at {due}, after {replied_at}"
            );
        }
        target = next;
    }
}
