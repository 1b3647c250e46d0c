//! Real processes die, and connections break, at every step; nothing is lost or doubled.

use std::time::Duration;

use serde_json::json;

use crate::executions::firing::check_ledger;
use crate::harness::{Nats, Service, in_ms, wait_for};
use crate::proxy::Proxy;

/// Kills the service at a named point, starts another, and checks the one occurrence.
async fn dies_at(point: &str, request: bool) {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    let mode = if request { "core" } else { "publish" };
    let id = nats
        .create(json!({ "name": "one", "schedule_type": "one_time", "scheduled_at": in_ms(600),
                        "target_command": "cmd.example.one", "delivery": { "mode": mode } }))
        .await;
    dying.exited().await;
    let _service = nats.service().await;
    let executions =
        nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(executions.len(), 1);
    let record = wait_for("the schedule to be completed", || async {
        let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (data["status"] == "completed").then_some(data)
    })
    .await;
    assert_eq!(record["run_count"], 1, "{point}");
    assert_eq!(record["success_count"], 1, "{point}");
    let all = nats.request("execution.list", &json!({ "schedule_id": id })).await;
    assert_eq!(all["pagination"]["total"], 1, "{point}: {all}");
    if !request {
        assert_eq!(nats.count("COMMANDS").await, 1, "{point}");
    }
    let outcomes = nats.messages("SCHEDULER_EXECUTIONS").await;
    assert_eq!(outcomes.len(), 1, "{point}: one outcome");
    // Who takes over what was sent does not know when that was.
    let sent_at = &executions[0]["timings"]["sent_at"];
    match (point, request) {
        ("after_deliver", false) => assert!(sent_at.is_null(), "{sent_at}"),
        ("before_claim" | "after_claim", _) => assert!(sent_at.is_string(), "{sent_at}"),
        _ => {}
    }
}

/// Has a task panic at a point, and checks that all is made and recorded once, and nothing is left running.
async fn panics_at(point: &str) {
    let nats = Nats::start().await;
    let service = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    let ids = nats.create_beats(3, "cmd.example.panics").await;
    nats.wait_count("COMMANDS", 15).await;
    check_ledgers(&nats, &ids).await;
    wait_for("nothing to be running", || async {
        let running = nats.ask("execution.running", json!({})).await;
        running.as_array().unwrap().is_empty().then_some(())
    })
    .await;
    assert!(service.log().contains("told to panic"), "it never came to that");
}

#[tokio::test]
async fn a_panic_while_an_attempt_is_made_costs_that_try_and_leaves_nothing_running() {
    panics_at("while_making:2").await;
}

#[tokio::test]
async fn a_panic_while_a_claim_is_written_costs_that_try_and_leaves_nothing_running() {
    // Later ones carry the outcomes of those before.
    panics_at("while_claiming:7").await;
}

#[tokio::test]
async fn a_panic_while_an_outcome_is_recorded_costs_that_try_and_leaves_nothing_running() {
    panics_at("while_recording:2").await;
}

#[tokio::test]
async fn a_panic_while_a_skip_is_recorded_leaves_what_was_claimed_with_it_to_be_made() {
    let nats = Nats::start().await;
    let mut first = nats.service().await;
    let ids = nats.create_beats(1, "cmd.example.panics").await;
    nats.wait_count("COMMANDS", 1).await;
    first.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let service = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", "while_skipping")]).await;
    let of_it = |status: &str| json!({ "schedule_id": ids[0], "status": status });
    nats.wait_executions(of_it("skipped"), 1).await;
    nats.wait_executions(of_it("success"), 4).await;
    assert!(service.log().contains("told to panic"), "it never came to that");
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn dying_before_the_claim_loses_nothing() {
    dies_at("before_claim", false).await;
}

#[tokio::test]
async fn dying_after_the_claim_loses_nothing() {
    dies_at("after_claim", false).await;
}

#[tokio::test]
async fn dying_with_a_claim_made_ahead_loses_nothing() {
    dies_at("after_arming", false).await;
}

#[tokio::test]
async fn dying_after_delivery_doubles_nothing() {
    dies_at("after_deliver", false).await;
}

#[tokio::test]
async fn dying_after_the_record_doubles_nothing() {
    dies_at("after_record", false).await;
}

#[tokio::test]
async fn dying_before_settling_doubles_nothing() {
    dies_at("before_settle", false).await;
}

#[tokio::test]
async fn dying_after_a_core_delivery_still_ends_in_one_outcome() {
    dies_at("after_deliver", true).await;
}

#[tokio::test]
async fn dying_between_a_skip_and_its_record_keeps_the_entry() {
    let nats = Nats::start().await;
    let mut first = nats.service().await;
    let id = nats
        .create(json!({ "name": "skips", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.skips" }))
        .await;
    nats.wait_count("COMMANDS", 1).await;
    first.kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut dying = nats.spawn(&[("NATS_SCHEDULER_FAILPOINT", "after_skip")]);
    dying.exited().await;
    let _last = nats.service().await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "skipped" }), 1).await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 4).await;
    // Settled means that nothing of the dead instances is left to take over.
    check_ledger(&nats, &id).await;
}

/// An instance dies at a failpoint, with a target whose stream has forgotten ids by the time that another one takes over.
async fn dies_and_is_forgotten(retention: &str, failpoint: &str, sent: u64) {
    let nats = Nats::bare().await;
    nats.add_stream(&format!(
        r#"{{"name":"COMMANDS","subjects":["cmd.example.>"],"retention":"{retention}","max_consumers":-1,
            "max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"storage":"file",
            "discard":"old","num_replicas":1,"duplicate_window":1000000000}}"#,
    ))
    .await;
    for n in 0..20 {
        nats.js.publish(format!("cmd.example.{n}"), "another".into()).await.unwrap().await.unwrap();
    }
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", failpoint)]).await;
    let id = nats
        .create(
            json!({ "name": "forgotten", "schedule_type": "one_time", "scheduled_at": in_ms(600),
                        "target_command": "cmd.example.one" }),
        )
        .await;
    dying.exited().await;
    assert_eq!(nats.count("COMMANDS").await, 20 + sent);
    // The instance counts as gone only after the stream's window is over.
    let _service = nats.service().await;
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    assert_eq!(nats.count("COMMANDS").await, 21);
}

#[tokio::test]
async fn a_command_is_not_doubled_after_its_stream_forgot_the_id() {
    tokio::join!(
        dies_and_is_forgotten("limits", "after_deliver", 1),
        dies_and_is_forgotten("workqueue", "after_deliver", 1),
        // That it is not there has to be known, too.
        dies_and_is_forgotten("workqueue", "after_claim", 0),
    );
}

#[tokio::test]
async fn dying_after_a_refusal_is_in_the_record_ends_as_it_says() {
    let nats = Nats::bare().await;
    nats.add_stream(
        r#"{"name":"COMMANDS","subjects":["cmd.example.>"],"retention":"limits","max_consumers":-1,
            "max_msgs":1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"storage":"file",
            "discard":"new","num_replicas":1,"duplicate_window":120000000000}"#,
    )
    .await;
    nats.js.publish("cmd.example.all", "it has".into()).await.unwrap().await.unwrap();
    let at = [("NATS_SCHEDULER_FAILPOINT", "after_giving_up")];
    let mut dying = nats.service_with(&at).await;
    let id = nats
        .create(json!({ "name": "refused", "schedule_type": "one_time", "scheduled_at": in_ms(600),
                        "target_command": "cmd.example.one", "max_retries": 0 }))
        .await;
    dying.exited().await;
    // Who takes over must not send what was given up, though there is room now.
    nats.js.get_stream("COMMANDS").await.unwrap().purge().await.unwrap();
    let _service = nats.service().await;
    let executions =
        nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;
    assert_eq!(executions[0]["error_type"], "refused", "{executions:?}");
    let failed = wait_for("the schedule to have failed", || async {
        let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (data["status"] == "failed").then_some(data)
    })
    .await;
    assert_eq!((&failed["run_count"], &failed["failure_count"]), (&json!(1), &json!(1)));
    assert_eq!(nats.messages("SCHEDULER_EXECUTIONS").await.len(), 1);
    assert_eq!(nats.count("COMMANDS").await, 0);
}

#[tokio::test]
async fn repeated_kills_of_a_busy_service_leave_a_whole_ledger() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let ids = nats.create_beats(20, "cmd.example.busy").await;
    for round in 1..=3 {
        nats.wait_count("COMMANDS", round * 50).await;
        service.kill();
        service = nats.service().await;
    }
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 40).await;
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn a_restart_of_nats_loses_and_doubles_nothing() {
    let mut nats = Nats::start().await;
    let _service = nats.service().await;
    let ids = nats.create_beats(20, "cmd.example.restart").await;
    for round in 1..=2 {
        nats.wait_count("COMMANDS", round * 60).await;
        nats.server.kill();
        nats.server.restart().await.unwrap();
        wait_for("NATS to answer again", || async {
            nats.js.get_stream("COMMANDS").await.ok().map(|_| ())
        })
        .await;
    }
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 60).await;
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn a_frozen_nats_only_delays() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats
        .create(json!({ "name": "frozen", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.frozen" }))
        .await;
    nats.wait_count("COMMANDS", 2).await;
    nats.server.freeze().unwrap();
    // Longer than an acknowledgement may take: claims and deliveries become unknown.
    tokio::time::sleep(Duration::from_secs(8)).await;
    nats.server.thaw().unwrap();
    let before = wait_for("NATS to answer again", || async {
        let stream = nats.js.get_stream("COMMANDS").await.ok()?;
        Some(stream.cached_info().state.messages)
    })
    .await;
    nats.wait_count("COMMANDS", before + 3).await;
    check_ledgers(&nats, &[id]).await;
}

#[tokio::test]
async fn a_lost_connection_loses_and_doubles_nothing() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.server.port()).await;
    let service = Service::spawn(&proxy.url(), nats.dir(), &[]);
    service.ready().await;
    let ids = nats.create_beats(20, "cmd.example.cut").await;
    // Once shorter and once longer than an acknowledgement may take.
    for pause in [2, 7] {
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 50).await;
        proxy.cut();
        tokio::time::sleep(Duration::from_secs(pause)).await;
        proxy.restore();
    }
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 60).await;
    check_ledgers(&nats, &ids).await;
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    use futures::StreamExt as _;
    let nats = Nats::bare().await;
    let mut service = nats.service().await;
    let mut requests = nats.client.subscribe("cmd.slow.job").await.unwrap();
    let id = nats
        .create(
            json!({ "name": "slow", "schedule_type": "immediate", "target_command": "cmd.slow.job",
                        "delivery": { "mode": "request", "timeout_seconds": 20 } }),
        )
        .await;
    let request = requests.next().await.unwrap();
    service.signal("-TERM");
    service.wait_log("stopping").await;
    nats.client.publish(request.reply.unwrap(), "{}".into()).await.unwrap();
    assert!(service.exited().await.success());
    let _next = nats.service().await;
    let data = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
    assert_eq!(data["status"], "completed", "recorded and settled before it left");
    let again = futures::FutureExt::now_or_never(requests.next());
    assert!(again.is_none(), "and not sent again");
}

#[tokio::test]
async fn stopping_in_the_middle_of_a_burst_records_all_that_was_sent() {
    let nats = Nats::start().await;
    let mut service = nats.service_with(&[("MAX_SCHEDULES_PER_CREATOR", "2000")]).await;
    let due = in_ms(6_000);
    for part in 0..15 {
        let schedule = |n| {
            json!({ "name": format!("burst {part}.{n}"), "schedule_type": "one_time",
                    "scheduled_at": due, "target_command": "cmd.example.burst" })
        };
        let schedules: Vec<_> = (0..100).map(schedule).collect();
        nats.ask("bulk.create", json!({ "schedules": schedules })).await;
    }
    wait_for("the first commands", || async { (nats.count("COMMANDS").await > 0).then_some(()) })
        .await;
    // Outcomes wait for commands now.
    service.signal("-TERM");
    assert!(service.exited().await.success());
    let commands = nats.count("COMMANDS").await;
    assert_eq!(nats.count("SCHEDULER_EXECUTIONS").await, commands);
    assert!(commands > 64, "{commands} are too few to make outcomes wait");
}

#[tokio::test]
async fn a_stopping_instance_keeps_its_long_request_to_itself() {
    use futures::StreamExt as _;
    let nats = Nats::bare().await;
    let mut service = nats.service().await;
    let mut requests = nats.client.subscribe("cmd.long.job").await.unwrap();
    let id = nats
        .create(
            json!({ "name": "long", "schedule_type": "immediate", "target_command": "cmd.long.job",
                        "delivery": { "mode": "request", "timeout_seconds": 20 } }),
        )
        .await;
    let request = requests.next().await.unwrap();
    let _other = nats.service().await;
    service.signal("-TERM");
    // Longer than the silence after which an instance counts as gone.
    let again = tokio::time::timeout(Duration::from_secs(8), requests.next()).await;
    assert!(again.is_err(), "the request was sent again while it was waited for");
    nats.client.publish(request.reply.unwrap(), "{}".into()).await.unwrap();
    assert!(service.exited().await.success());
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
}

/// Stops schedules that fired every second and checks their ledgers.
pub async fn check_ledgers(nats: &Nats, ids: &[String]) {
    settle_down(nats, ids).await;
    for id in ids {
        check_ledger(nats, id).await;
    }
}

/// Deletes schedules and waits until nothing of them is in flight.
async fn settle_down(nats: &Nats, ids: &[String]) {
    for id in ids {
        nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
    }
    for id in ids {
        let key = format!("$KV.scheduler_schedules.schedule.{id}");
        wait_for("attempts to be settled", || async {
            let bucket = nats.js.get_stream("KV_scheduler_schedules").await.ok()?;
            let record = bucket.get_last_raw_message_by_subject(&key).await.ok()?;
            let record: serde_json::Value = serde_json::from_slice(&record.payload).ok()?;
            record.get("attempts").is_none().then_some(())
        })
        .await;
    }
}
