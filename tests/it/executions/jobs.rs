//! Jobs: commands whose outcome a worker reports.

use async_nats::jetstream::stream::DiscardPolicy;
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Nats, in_ms, wait_for};

/// A job that is due at once, with further fields.
fn job(name: &str, more: Value) -> Value {
    let mut request = json!({
        "name": name, "schedule_type": "immediate", "target_command": "cmd.example.job",
        "delivery": { "mode": "job", "timeout_seconds": 60 }, "retry": { "initial_seconds": 0, "jitter": 0 },
    });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// What a worker has of a command.
struct Command {
    execution_id: String,
    token: String,
    cancel_subject: String,
    attempt: String,
    correlation_id: String,
}

impl Command {
    fn report(&self, more: Value) -> Value {
        let mut report = json!({ "execution_id": self.execution_id, "token": self.token });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        report
    }
}

/// The `n`-th command, once it is there.
async fn command(nats: &Nats, n: usize) -> Command {
    nats.wait_count("COMMANDS", n as u64 + 1).await;
    let message = nats.messages("COMMANDS").await.remove(n);
    let header = |name: &str| message.headers.get(name).unwrap().as_str().to_owned();
    Command {
        execution_id: header("Scheduler-Execution-Id"),
        token: header("Scheduler-Token"),
        cancel_subject: header("Scheduler-Cancel-Subject"),
        attempt: header("Scheduler-Attempt"),
        correlation_id: header("X-Correlation-ID"),
    }
}

async fn execution(nats: &Nats, id: &str, status: &str) -> Value {
    wait_for(&format!("{id} to be {status}"), || async {
        let reply = nats.request("execution.get", &json!({ "execution_id": id })).await;
        (reply["data"]["status"] == status).then(|| reply["data"].clone())
    })
    .await
}

#[tokio::test]
async fn a_job_is_running_until_its_worker_reports() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let id = nats.create(job("reported", json!({}))).await;
    let command = command(&nats, 0).await;
    execution(&nats, &command.execution_id, "running").await;
    let stranger = json!({ "execution_id": command.execution_id, "token": format!("{}.0", id.replace('-', "")) });
    assert_eq!(nats.refused("execution.complete", stranger).await["code"], "not_allowed");
    let heartbeat =
        nats.ask("execution.heartbeat", command.report(json!({ "progress": 40 }))).await;
    assert_eq!(heartbeat["status"], "running");
    assert!(heartbeat["deadline"].is_string(), "{heartbeat}");
    let done = command.report(json!({ "response": { "rows": 3 } }));
    let reported = nats.ask("execution.complete", done.clone()).await;
    assert_eq!(reported["status"], "success");
    let ended = execution(&nats, &command.execution_id, "success").await;
    assert_eq!(ended["response_payload"]["rows"], 3);
    assert!(ended["duration_ms"].as_i64().unwrap() >= 0);
    // A worker that did not hear the answer reports again.
    assert_eq!(nats.ask("execution.complete", done).await["status"], "success");
    let error = nats.refused("execution.fail", command.report(json!({}))).await;
    assert_eq!(error["code"], "conflict");
    wait_for("the schedule to be completed", || async {
        let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (schedule["status"] == "completed").then_some(())
    })
    .await;
    assert_eq!(nats.count("COMMANDS").await, 1);
}

#[tokio::test]
async fn a_token_of_another_schedule_is_not_taken_while_a_job_runs_nor_afterwards() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    nats.create(job("one", json!({}))).await;
    let one = command(&nats, 0).await;
    nats.create(job("other", json!({}))).await;
    let other = command(&nats, 1).await;
    let mixed = json!({ "execution_id": one.execution_id, "token": other.token });
    for round in ["while it runs", "once it has ended"] {
        for report in ["execution.heartbeat", "execution.complete", "execution.fail"] {
            let refused = nats.refused(report, mixed.clone()).await;
            assert_eq!(refused["code"], "not_allowed", "{report} {round}: {refused}");
        }
        nats.ask("execution.complete", one.report(json!({}))).await;
        execution(&nats, &one.execution_id, "success").await;
    }
    let unknown = json!({ "execution_id": uuid::Uuid::now_v7(), "token": other.token });
    assert_eq!(nats.refused("execution.complete", unknown).await["code"], "not_found");
}

#[tokio::test]
async fn what_fails_is_tried_again_and_goes_to_the_dead_letters_at_last() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let more = json!({ "max_retries": 1, "dead_letter": "cmd.report.dead", "command_payload": { "n": 1 } });
    nats.create(job("failing", more)).await;
    let first = command(&nats, 0).await;
    let failure = json!({ "error_type": "OutOfPaper", "error_message": "tray 2" });
    nats.ask("execution.fail", first.report(failure)).await;
    let failed = execution(&nats, &first.execution_id, "failed").await;
    assert_eq!(failed["error_type"], "OutOfPaper");
    assert_eq!(failed["will_retry"], true);
    let second = command(&nats, 1).await;
    assert_eq!(second.attempt, "2");
    assert_eq!(second.correlation_id, first.correlation_id);
    assert_ne!(second.execution_id, first.execution_id);
    for error_type in [String::new(), "x".repeat(101)] {
        let failure = second.report(json!({ "error_type": error_type }));
        let refused = nats.refused("execution.fail", failure).await;
        assert_eq!(refused["details"][0]["field"], "error_type", "{error_type:?}: {refused}");
    }
    // The first worker comes too late with another report.
    let stale = nats.refused("execution.complete", first.report(json!({}))).await;
    assert_eq!(stale["code"], "conflict");
    nats.ask("execution.fail", second.report(json!({ "error_message": "again" }))).await;
    nats.wait_count("COMMANDS", 3).await;
    let dead = nats.messages("COMMANDS").await.remove(2);
    let header = |name: &str| dead.headers.get(name).unwrap().as_str();
    assert_eq!(dead.subject.as_str(), "cmd.report.dead");
    assert_eq!(&dead.payload[..], br#"{"n":1}"#);
    assert_eq!(header("Scheduler-Error-Type"), "failed");
    assert_eq!(header("Scheduler-Error-Message"), "again");
    assert_eq!(header("Scheduler-Execution-Id"), second.execution_id);
}

#[tokio::test]
async fn a_failure_that_is_not_retryable_is_final() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let by_policy = json!({ "retry": { "initial_seconds": 0, "non_retryable": ["Poison"] } });
    for (n, (more, report)) in
        [(json!({}), json!({ "retryable": false })), (by_policy, json!({ "error_type": "Poison" }))]
            .into_iter()
            .enumerate()
    {
        let id = nats.create(job(&format!("final {n}"), more)).await;
        let command = command(&nats, n).await;
        nats.ask("execution.fail", command.report(report)).await;
        let failed = execution(&nats, &command.execution_id, "failed").await;
        assert_eq!(failed.get("will_retry"), None, "{failed}");
        wait_for("the schedule to have failed", || async {
            let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
            (schedule["status"] == "failed").then_some(())
        })
        .await;
    }
    assert_eq!(nats.count("COMMANDS").await, 2);
}

#[tokio::test]
async fn a_worker_that_is_lost_is_followed_by_another() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let delivery = json!({ "mode": "job", "timeout_seconds": 60, "heartbeat_seconds": 1 });
    nats.create(job("lost", json!({ "delivery": delivery }))).await;
    let first = command(&nats, 0).await;
    // It is heard for longer than it may be silent, and then no more.
    for progress in 0..4 {
        let report = first.report(json!({ "progress": progress }));
        nats.ask("execution.heartbeat", report).await;
        tokio::time::sleep(std::time::Duration::from_millis(400)).await;
    }
    let failed = execution(&nats, &first.execution_id, "failed").await;
    assert_eq!(failed["error_type"], "worker_lost");
    let second = command(&nats, 1).await;
    let error = nats.refused("execution.heartbeat", first.report(json!({}))).await;
    assert_eq!(error["code"], "conflict");
    nats.ask("execution.complete", second.report(json!({}))).await;
    execution(&nats, &second.execution_id, "success").await;
}

#[tokio::test]
async fn a_job_that_takes_too_long_times_out() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let delivery = json!({ "mode": "job", "timeout_seconds": 1 });
    nats.create(job("slow", json!({ "delivery": delivery, "max_retries": 0 }))).await;
    let command = command(&nats, 0).await;
    let failed = execution(&nats, &command.execution_id, "failed").await;
    assert_eq!(failed["error_type"], "timeout");
    assert!(failed["duration_ms"].as_i64().unwrap() >= 1000, "{failed}");
}

#[tokio::test]
async fn a_running_job_outlives_every_instance() {
    let nats = Nats::start().await;
    let mut first = nats.service().await;
    nats.create(job("outlives", json!({}))).await;
    let command = command(&nats, 0).await;
    execution(&nats, &command.execution_id, "running").await;
    first.kill();
    let _second = nats.service().await;
    nats.ask("execution.complete", command.report(json!({}))).await;
    execution(&nats, &command.execution_id, "success").await;
    assert_eq!(nats.count("COMMANDS").await, 1);
}

async fn dies(point: &str) {
    let nats = Nats::start().await;
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    let _ = nats
        .client
        .request("cmd.scheduler.schedule.create", job("dying", json!({})).to_string().into())
        .await;
    let command = command(&nats, 0).await;
    if point == "before_finish" {
        let report = command.report(json!({ "response": 1 })).to_string();
        let _ = nats.client.request("cmd.scheduler.execution.complete", report.into()).await;
    }
    dying.exited().await;
    let _next = nats.service().await;
    if point != "before_finish" {
        execution(&nats, &command.execution_id, "running").await;
        nats.ask("execution.complete", command.report(json!({ "response": 1 }))).await;
    }
    let ended = execution(&nats, &command.execution_id, "success").await;
    assert_eq!(ended["response_payload"], 1);
    assert_eq!(nats.count("COMMANDS").await, 1, "the worker has it once");
}

#[tokio::test]
async fn dying_before_the_job_is_noted_as_running_leaves_it_to_its_worker() {
    dies("after_deliver").await;
}

#[tokio::test]
async fn dying_before_the_start_is_settled_leaves_it_to_its_worker() {
    dies("before_settle").await;
}

#[tokio::test]
async fn dying_after_the_report_was_taken_keeps_it() {
    dies("before_finish").await;
}

#[tokio::test]
async fn cancelling_stops_what_runs_and_what_waits() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    // A job: its worker is told.
    nats.create(job("running", json!({}))).await;
    let running = command(&nats, 0).await;
    let mut told = nats.client.subscribe(running.cancel_subject.clone()).await.unwrap();
    nats.client.flush().await.unwrap();
    execution(&nats, &running.execution_id, "running").await;
    let request = json!({ "execution_id": running.execution_id, "reason": "not needed" });
    let by = [("X-Cancelled-By", "erin")];
    let (_, reply) = nats.request_with_headers("execution.cancel", &by, request.clone()).await;
    assert_eq!(reply["data"]["status"], "cancelled", "{reply}");
    let cancelled = execution(&nats, &running.execution_id, "cancelled").await;
    assert_eq!(cancelled["cancelled_by"], "erin");
    assert_eq!(cancelled["error_message"], "not needed");
    use futures::StreamExt as _;
    let message = tokio::time::timeout(DEADLINE, told.next()).await.unwrap().unwrap();
    let body: Value = serde_json::from_slice(&message.payload).unwrap();
    assert_eq!(body["execution_id"], running.execution_id.as_str());
    assert_eq!(nats.ask("execution.cancel", request).await["status"], "cancelled", "again");
    let late = nats.refused("execution.complete", running.report(json!({}))).await;
    assert_eq!(late["code"], "conflict");
    // A retry that waits: it is not made.
    let other = nats.create(job("waiting", json!({ "retry": { "initial_seconds": 3600 } }))).await;
    let failing = command(&nats, 1).await;
    nats.ask("execution.fail", failing.report(json!({}))).await;
    let waiting = wait_for("the retry", || async {
        let request = json!({ "include_pending": true });
        let reply = nats.request("execution.running", &request).await;
        let list = reply["data"].as_array()?.clone();
        list.into_iter().find(|e| e["status"] == "pending")
    })
    .await;
    let request = json!({ "execution_id": waiting["execution_id"] });
    assert_eq!(nats.ask("execution.cancel", request).await["status"], "cancelled");
    execution(&nats, waiting["execution_id"].as_str().unwrap(), "cancelled").await;
    let unknown = json!({ "execution_id": uuid::Uuid::new_v4() });
    assert_eq!(nats.refused("execution.cancel", unknown).await["code"], "not_found");
    // One of another schedule than is named, though it has been cancelled.
    let other = json!({ "execution_id": running.execution_id, "schedule_id": other });
    let refused = nats.refused("execution.cancel", other).await;
    assert_eq!(refused["code"], "not_found");
    assert!(refused["message"].as_str().unwrap().contains("is not one of schedule"), "{refused}");
}

#[tokio::test]
async fn a_heartbeat_that_comes_after_the_deadline_is_advised_against() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for (heartbeat_seconds, is_said) in [(59, false), (60, true)] {
        let delivery =
            json!({ "mode": "job", "timeout_seconds": 60, "heartbeat_seconds": heartbeat_seconds });
        let job = job(&format!("every {heartbeat_seconds}"), json!({ "delivery": delivery }));
        let warnings = nats.request("schedule.create", &job).await["warnings"].clone();
        assert_eq!(warnings.to_string().contains("heartbeat_too_long"), is_said, "{warnings}");
    }
}

#[tokio::test]
async fn what_is_cancelled_while_it_is_handed_over_is_not_completed_by_its_worker() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    nats.create(job("first", json!({}))).await;
    let first = command(&nats, 0).await;
    execution(&nats, &first.execution_id, "running").await;
    // A history that takes nothing: no hand-over is settled.
    let limit = async |messages: i64, discard: DiscardPolicy| {
        let mut stream = nats.js.get_stream("SCHEDULER_EXECUTIONS").await.unwrap();
        let mut config = stream.info().await.unwrap().config.clone();
        (config.max_messages, config.discard) = (messages, discard);
        nats.js.update_stream(config).await.unwrap();
    };
    limit(1, DiscardPolicy::New).await;
    let reports =
        [("execution.complete", json!({})), ("execution.heartbeat", json!({ "progress": 1 }))];
    let mut cancelled = Vec::new();
    for (n, (report, more)) in reports.into_iter().enumerate() {
        nats.create(job(report, json!({}))).await;
        let command = command(&nats, n + 1).await;
        let request = json!({ "execution_id": command.execution_id });
        let by = [("X-Cancelled-By", "erin")];
        let (_, reply) = nats.request_with_headers("execution.cancel", &by, request.clone()).await;
        assert_eq!(reply["data"]["status"], "running", "{reply}");
        let refused = nats.refused(report, command.report(more)).await;
        assert_eq!(refused["code"], "conflict", "{report}: {refused}");
        assert_eq!(nats.ask("execution.cancel", request).await["status"], "cancelled", "{report}");
        cancelled.push(command.execution_id);
    }
    limit(1_000_000, DiscardPolicy::Old).await;
    for id in cancelled {
        assert_eq!(execution(&nats, &id, "cancelled").await["cancelled_by"], "erin");
    }
}

#[tokio::test]
async fn cancelling_a_request_stops_waiting_for_its_reply() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let _silent = nats.client.subscribe("cmd.silent.>").await.unwrap();
    nats.client.flush().await.unwrap();
    let id = nats
        .create(json!({ "name": "silent", "schedule_type": "one_time", "scheduled_at": in_ms(200),
                        "target_command": "cmd.silent.a", "delivery": { "mode": "request", "timeout_seconds": 600 } }))
        .await;
    let running = nats.wait_executions(json!({ "schedule_id": id, "status": "running" }), 1).await;
    let execution_id = running[0]["id"].as_str().unwrap();
    nats.ask("execution.cancel", json!({ "execution_id": execution_id })).await;
    let cancelled = execution(&nats, execution_id, "cancelled").await;
    assert!(cancelled["duration_ms"].as_i64().unwrap() < 30_000, "{cancelled}");
    wait_for("the schedule to have ended", || async {
        let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (schedule["status"] == "failed").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_worker_is_not_lost_while_nobody_could_hear_it() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let delivery = json!({ "mode": "job", "timeout_seconds": 60, "heartbeat_seconds": 2 });
    nats.create(job("unheard", json!({ "delivery": delivery }))).await;
    let command = command(&nats, 0).await;
    execution(&nats, &command.execution_id, "running").await;
    service.kill();
    tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
    let _next = nats.service().await;
    for _ in 0..5 {
        nats.ask("execution.heartbeat", command.report(json!({}))).await;
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    }
    nats.ask("execution.complete", command.report(json!({}))).await;
    execution(&nats, &command.execution_id, "success").await;
    assert_eq!(nats.count("COMMANDS").await, 1);
}

#[tokio::test]
async fn what_is_cancelled_is_not_tried_again() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(job("stopped", json!({ "max_retries": 3 }))).await;
    let command = command(&nats, 0).await;
    execution(&nats, &command.execution_id, "running").await;
    nats.ask("execution.cancel", json!({ "execution_id": command.execution_id })).await;
    execution(&nats, &command.execution_id, "cancelled").await;
    let failed = nats.refused("execution.fail", command.report(json!({}))).await;
    assert_eq!(failed["code"], "conflict");
    wait_for("the schedule to have ended", || async {
        let schedule = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (schedule["status"] == "failed").then_some(())
    })
    .await;
    assert_eq!(nats.count("COMMANDS").await, 1);
}

#[tokio::test]
async fn the_history_shows_what_was_sent_whatever_the_schedule_says_now() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(job("changed", json!({ "command_payload": { "version": 1 } }))).await;
    let command = command(&nats, 0).await;
    execution(&nats, &command.execution_id, "running").await;
    let update = json!({ "schedule_id": id, "command_payload": { "version": 2 } });
    nats.ask("schedule.update", update).await;
    nats.ask("execution.complete", command.report(json!({}))).await;
    let ended = execution(&nats, &command.execution_id, "success").await;
    assert_eq!(ended["command_payload"]["version"], 1);
    assert!(ended["timings"]["sent_at"].is_string(), "{ended}");
}
