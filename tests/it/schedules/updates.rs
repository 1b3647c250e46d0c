//! Updates of schedules: any fields, at any time, by anybody, even at once.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, far, in_ms, wait_for};

fn daily(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "cron", "cron_expression": "0 3 * * *",
            "timezone": "Europe/Berlin", "target_command": "cmd.example.nightly", "description": "d",
            "command_payload": { "a": 1.50 }, "tags": ["t"], "priority": 7, "max_retries": 1 })
}

#[tokio::test]
async fn only_the_fields_that_are_given_change() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(daily("n")).await;
    let before = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    for (field, value) in [
        ("name", json!("renamed")),
        ("description", json!("other")),
        ("command_payload", json!({ "b": [2] })),
        ("tags", json!(["x", "y"])),
        ("priority", json!(1)),
        ("max_retries", json!(9)),
        ("retry_delay_seconds", json!(5)),
        ("misfire_grace_seconds", json!(60)),
        ("target_command", json!("cmd.report.nightly")),
        ("delivery", json!({ "mode": "core", "timeout_seconds": 9 })),
        ("cron_expression", json!("30 4 * * *")),
        ("timezone", json!("Asia/Tokyo")),
        ("dst_gap", json!("skip")),
        ("end_at", json!("2100-01-01T00:00:00Z")),
        ("max_runs", json!(50)),
        ("jitter_seconds", json!(5)),
        ("catch_up", json!("all")),
        ("overlap", json!("allow")),
        ("max_instances", json!(2)),
        (
            "retry",
            json!({ "initial_seconds": 7, "multiplier": 3.0, "max_seconds": 70, "jitter": 0.5,
                    "non_retryable": ["timeout"] }),
        ),
        ("dead_letter", json!("cmd.report.dead")),
        ("pause_on_failure", json!(3)),
        ("payload_template", json!(true)),
        ("is_active", json!(false)),
    ] {
        let old = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        let headers = [("X-Updated-By", "eve")];
        let mut request = json!({ "schedule_id": id });
        request[field] = value.clone();
        let (_, reply) = nats.request_with_headers("schedule.update", &headers, request).await;
        let new = &reply["data"];
        assert_eq!(new[field], value, "{reply}");
        assert_eq!(new["updated_by"], "eve");
        for (key, old) in old.as_object().unwrap() {
            let moves = ["updated_at", "updated_by", "revision", "next_run_at"];
            let follows = key == "retry" && field == "retry_delay_seconds";
            if key != field && !moves.contains(&key.as_str()) && !follows {
                assert_eq!(&new[key], old, "{key} changed with {field}");
            }
        }
    }
    let after = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(after["created_at"], before["created_at"]);
    assert_eq!(after["created_by"], before["created_by"]);
}

#[tokio::test]
async fn a_new_timing_is_planned_at_once_and_kinds_can_change() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(daily("n")).await;
    let update = |fields: Value| {
        let mut request = fields;
        request["schedule_id"] = json!(id);
        request
    };
    let soon = update(json!({ "schedule_type": "one_time", "scheduled_at": in_ms(300) }));
    nats.ask("schedule.update", soon).await;
    nats.wait_count("COMMANDS", 1).await;
    wait_for("its end", || async {
        let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (data["status"] == "completed" && data["run_count"] == 1).then_some(())
    })
    .await;
    let again = update(json!({ "schedule_type": "interval", "interval_seconds": 1 }));
    let revived = nats.ask("schedule.update", again).await;
    assert_eq!(revived["status"], "active");
    assert_eq!(revived["cron_expression"], json!(null));
    assert_eq!(revived["run_count"], 1, "counters stay");
    nats.wait_count("COMMANDS", 3).await;
    let slower = nats.ask("schedule.update", update(json!({ "interval_seconds": 3600 }))).await;
    assert_eq!(slower["start_at"], revived["start_at"], "the anchor stays");
    let next: DateTime<Utc> = slower["next_run_at"].as_str().unwrap().parse().unwrap();
    assert!(next > Utc::now() + chrono::Duration::seconds(1800), "{next}");
}

#[tokio::test]
async fn faults_are_named_and_change_nothing() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(daily("n")).await;
    nats.create(daily("taken")).await;
    let before = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    for (fields, field) in [
        (json!({ "priority": 0 }), "priority"),
        (json!({ "cron_expression": "61 * * * *" }), "cron_expression"),
        (json!({ "interval_seconds": 5 }), "interval_seconds"),
        (json!({ "schedule_type": "interval" }), "interval_seconds"),
        (json!({ "target_command": "cmd.scheduler.x" }), "target_command"),
        (json!({ "created_by": "me" }), "created_by"),
        (json!({ "name": "" }), "name"),
    ] {
        let mut request = fields;
        request["schedule_id"] = json!(id);
        let error = nats.refused("schedule.update", request.clone()).await;
        assert_eq!(error["code"], "invalid", "{request}: {error}");
        assert_eq!(error["details"][0]["field"], field, "{request}: {error}");
    }
    let taken = json!({ "schedule_id": id, "name": "taken" });
    assert_eq!(nats.refused("schedule.update", taken).await["code"], "already_exists");
    assert_eq!(nats.ask("schedule.get", json!({ "schedule_id": id })).await, before);
}

#[tokio::test]
async fn concurrent_updates_of_different_fields_lose_none() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    // It fires meanwhile, so the engine writes the same record.
    let id = nats.create_beats(1, "cmd.example.contended").await.remove(0);
    for round in 1..=5_u64 {
        let updates = [
            json!({ "schedule_id": id, "description": format!("round {round}") }),
            json!({ "schedule_id": id, "priority": round }),
            json!({ "schedule_id": id, "max_retries": round }),
            json!({ "schedule_id": id, "tags": [round.to_string()] }),
            json!({ "schedule_id": id, "command_payload": { "round": round } }),
        ];
        let updates = updates.into_iter().map(|update| nats.ask("schedule.update", update));
        futures::future::join_all(updates).await;
        let now = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        assert_eq!(now["description"], format!("round {round}"));
        assert_eq!(now["priority"], round);
        assert_eq!(now["max_retries"], round);
        assert_eq!(now["tags"], json!([round.to_string()]));
        assert_eq!(now["command_payload"], json!({ "round": round }));
    }
    nats.wait_count("COMMANDS", 3).await;
    check_ledgers(&nats, &[id]).await;
}

#[tokio::test]
async fn after_the_reply_no_occurrence_is_claimed_under_the_old_payload() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let ids = nats.create_beats(20, "cmd.example.version").await;
    nats.wait_count("COMMANDS", 40).await;
    let mut updated = Vec::new();
    for id in &ids {
        let request = json!({ "schedule_id": id, "command_payload": { "version": 2 } });
        nats.ask("schedule.update", request).await;
        let at = Utc::now();
        updated.push((id.clone(), nats.record_revision(id).await, at));
    }
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 40).await;
    for command in nats.messages("COMMANDS").await {
        let header = |name: &str| command.headers.get(name).unwrap().as_str();
        let (_, revision, at) =
            updated.iter().find(|(id, ..)| id == header("Scheduler-Schedule-Id")).unwrap();
        let claim: u64 = header("Scheduler-Revision").parse().unwrap();
        let due: DateTime<Utc> = header("Scheduler-Scheduled-For").parse().unwrap();
        if &command.payload[..] != br#"{"version":2}"# {
            assert!(claim < *revision, "claimed at {claim}, updated at {revision}");
            assert!(due <= *at + chrono::Duration::milliseconds(50), "due {due}, updated {at}");
        }
    }
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn a_name_goes_to_one_of_all_who_want_it_at_once() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    for round in 0..5 {
        let name = format!("wanted {round}");
        let mut renamed = Vec::new();
        for n in 0..4 {
            renamed.push(nats.create(daily(&format!("{round} {n}"))).await);
        }
        let renames = renamed.iter().map(|id| json!({ "schedule_id": id, "name": name }));
        let renames: Vec<_> = renames.collect();
        let renames = renames.iter().map(|request| nats.request("schedule.update", request));
        let request = daily(&name);
        let creates = (0..4).map(|_| nats.request("schedule.create", &request));
        let (renames, creates) =
            tokio::join!(futures::future::join_all(renames), futures::future::join_all(creates));
        let replies: Vec<_> = renames.into_iter().chain(creates).collect();
        let won = replies.iter().filter(|reply| reply.get("error").is_none()).count();
        assert_eq!(won, 1, "{replies:?}");
    }
    // The old names of the renamed are free.
    let list = nats.ask("schedule.list", json!({ "limit": 100 })).await;
    let names: Vec<_> =
        list.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    for round in 0..5 {
        for n in 0..4 {
            let name = format!("{round} {n}");
            let free = !names.contains(&name.as_str());
            let reply = nats.request("schedule.create", &daily(&name)).await;
            assert_eq!(reply.get("error").is_none(), free, "{name}: {reply}");
        }
    }
}

#[tokio::test]
async fn a_new_timing_while_paused_records_what_was_due_until_then() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create_beats(1, "cmd.example.slower").await.remove(0);
    nats.wait_count("COMMANDS", 1).await;
    nats.ask("schedule.pause", json!({ "schedule_id": id })).await;
    let due: DateTime<Utc> =
        nats.ask("schedule.get", json!({ "schedule_id": id })).await["next_run_at"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
    wait_for("an occurrence to be due", || async {
        (Utc::now() > due + chrono::Duration::milliseconds(1100)).then_some(())
    })
    .await;
    let slower = json!({ "schedule_id": id, "interval_seconds": 3600 });
    assert_eq!(nats.ask("schedule.update", slower).await["status"], "paused");
    let filter = json!({ "schedule_id": id, "status": "skipped" });
    let skipped = nats.wait_executions(filter, 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "paused");
    assert!(skipped[0]["skipped"]["count"].as_u64().unwrap() >= 2, "{}", skipped[0]);
}

/// Creates schedules of every half minute until one of them waits for its jitter, for some seconds; returns
/// its nominal time too.
async fn waiting_for_its_jitter(nats: &Nats, name: &str) -> (String, DateTime<Utc>) {
    for n in 0..200 {
        let request = json!({ "name": format!("{name} {n}"), "schedule_type": "interval",
                              "interval_seconds": 30, "jitter_seconds": 25, "start_at": in_ms(400),
                              "target_command": "cmd.example.spread" });
        let id = nats.create(request).await;
        let preview = json!({ "schedule_id": id, "count": 1 });
        let preview = nats.ask("schedule.preview", preview).await;
        let time =
            |field: &str| preview[field][0].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        let (nominal, due) = (time("occurrences"), time("due"));
        if (4..12).contains(&(due - nominal).num_seconds()) {
            wait_for("its nominal time", || async {
                // Not by the service's clock, which may be a little behind.
                (Utc::now() > nominal + chrono::Duration::milliseconds(250)).then_some(())
            })
            .await;
            return (id, nominal);
        }
        nats.ask("schedule.delete", json!({ "schedule_id": id, "hard_delete": true })).await;
    }
    panic!("no jitter of some seconds");
}

#[tokio::test]
async fn a_change_while_an_occurrence_waits_for_its_jitter_does_not_drop_it() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut changed = Vec::new();
    for (name, changes) in [
        ("timing", vec![("schedule.update", json!({ "interval_seconds": 30 }))]),
        ("paused", vec![("schedule.pause", json!({})), ("schedule.resume", json!({}))]),
        ("off", [false, true].map(|on| ("schedule.update", json!({ "is_active": on }))).to_vec()),
        ("deleted", vec![("schedule.delete", json!({})), ("schedule.restore", json!({}))]),
    ] {
        let (id, nominal) = waiting_for_its_jitter(&nats, name).await;
        for (operation, mut request) in changes {
            request["schedule_id"] = json!(id);
            nats.ask(operation, request).await;
        }
        let shown = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        let next: DateTime<Utc> = shown["next_run_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(next, nominal, "{name}");
        let preview = json!({ "schedule_id": id, "count": 1 });
        let preview = nats.ask("schedule.preview", preview).await;
        assert_eq!(preview["occurrences"][0], shown["next_run_at"], "{name}");
        let past = json!({ "schedule_id": id, "from": nominal - chrono::Duration::seconds(20),
                           "to": nominal, "dry_run": true });
        assert_eq!(nats.ask("schedule.backfill", past).await["count"], 0, "{name}");
        changed.push((name, id, shown["next_run_at"].clone()));
    }
    for (name, id, nominal) in changed {
        let ran = nats.wait_executions(json!({ "schedule_id": id }), 1).await;
        let first = ran.last().unwrap();
        assert_eq!(
            (&first["status"], &first["scheduled_for"]),
            (&json!("success"), &nominal),
            "{name}"
        );
    }
}

/// A change whose acknowledgement is lost after it was stored.
async fn lose_an_acknowledgement(operation: &str, more: Value) -> (Nats, String, Value) {
    let nats = Nats::start().await;
    let id = {
        let _first = nats.service().await;
        let id = nats.create(far("lost")).await;
        if operation == "schedule.restore" {
            nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
        }
        id
    };
    let _service = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "lost_ack")]).await;
    let mut request = json!({ "schedule_id": id });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let reply = nats.ask(operation, request).await;
    let event = match operation {
        "schedule.pause" => "paused",
        "schedule.update" => "updated",
        "schedule.delete" => "deleted",
        "schedule.restore" => "restored",
        _ => "triggered",
    };
    let subject = format!(".{event}.{id}");
    wait_for("its event", || async {
        let messages = nats.messages("SCHEDULER_AUDIT").await;
        let count = messages.iter().filter(|m| m.subject.ends_with(&subject)).count();
        assert!(count <= 1, "announced {count} times");
        (count == 1).then_some(())
    })
    .await;
    (nats, id, reply)
}

#[tokio::test]
async fn a_change_whose_acknowledgement_is_lost_is_made_once() {
    let (_nats, _, reply) =
        lose_an_acknowledgement("schedule.pause", json!({ "reason": "x" })).await;
    assert_eq!((&reply["revision"], &reply["status"]), (&json!(2), &json!("paused")));
    let update = json!({ "name": "renamed", "priority": 9, "expected_revision": 1 });
    let (_nats, _, reply) = lose_an_acknowledgement("schedule.update", update).await;
    assert_eq!((&reply["revision"], &reply["name"]), (&json!(2), &json!("renamed")));
    let (_nats, _, reply) = lose_an_acknowledgement("schedule.restore", json!({})).await;
    assert_eq!((&reply["revision"], &reply["status"]), (&json!(3), &json!("active")));
    let (nats, _, _) = lose_an_acknowledgement("schedule.delete", json!({})).await;
    let _service = nats.service().await;
    nats.create(far("lost")).await;
}

#[tokio::test]
async fn a_run_by_hand_whose_acknowledgement_is_lost_runs_once() {
    let (nats, id, _) = lose_an_acknowledgement("schedule.trigger", json!({})).await;
    let _service = nats.service().await;
    nats.wait_executions(json!({ "schedule_id": id }), 1).await;
    assert_eq!(nats.count("COMMANDS").await, 1);
}
