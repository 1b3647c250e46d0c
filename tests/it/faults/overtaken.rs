//! A change is stored, its acknowledgement is held back, and others change the same schedule meanwhile: it is not made
//! again, and what others were told stays true.

use async_nats::Subscriber;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::{Nats, Service, far, wait_for};

/// A change that waits for its acknowledgement.
struct Held {
    nats: Nats,
    service: Service,
    id: String,
    reply: tokio::task::JoinHandle<Value>,
    /// What it is for is heard here.
    commands: Subscriber,
}

/// Makes a change of a schedule and holds its acknowledgement back, once it is stored.
async fn hold(schedule: Value, deleted: bool, operation: &'static str, more: Value) -> Held {
    let (nats, mut request) = (Nats::start().await, more);
    let id = {
        let _first = nats.service().await;
        let id = nats.create(schedule).await;
        if operation == "execution.cancel" {
            let run = nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
            request["execution_id"] = run["execution_id"].clone();
            wait_for("a worker to have it", || async {
                let open = nats.ask("execution.running", json!({ "schedule_id": id })).await;
                let instance = open[0].get("instance");
                (instance.is_none() && open[0].get("until").is_some()).then_some(())
            })
            .await;
        }
        if deleted {
            nats.ask("schedule.delete", json!({ "schedule_id": id })).await;
        }
        id
    };
    let gate = nats.dir().join("go");
    let service = nats
        .service_with(&[
            ("NATS_SCHEDULER_FAILPOINT", "lost_ack"),
            ("NATS_SCHEDULER_FAILPOINT_UNTIL", gate.to_str().unwrap()),
        ])
        .await;
    request["schedule_id"] = json!(id);
    let commands = nats.client.subscribe("cmd.example.far").await.unwrap();
    let (client, payload) = (nats.client.clone(), serde_json::to_vec(&request).unwrap());
    let reply = tokio::spawn(async move {
        let subject = format!("cmd.scheduler.{operation}");
        let reply = client.request(subject, payload.into()).await.unwrap();
        serde_json::from_slice(&reply.payload).unwrap()
    });
    service.wait_log("held at lost_ack").await;
    Held { nats, service, id, reply, commands }
}

impl Held {
    /// Changes the schedule as somebody else.
    async fn other(&self, operation: &str, more: Value) -> Value {
        let mut request = more;
        request["schedule_id"] = json!(self.id);
        self.nats.ask(operation, request).await
    }

    async fn record(&self) -> Value {
        let bucket = self.nats.js.get_stream("KV_scheduler_schedules").await.unwrap();
        let key = format!("$KV.scheduler_schedules.schedule.{}", self.id);
        let record = bucket.get_last_raw_message_by_subject(&key).await.unwrap();
        serde_json::from_slice(&record.payload).unwrap()
    }

    /// Lets the change go on, once the record holds nothing of it but what it is to be told by; its
    /// reply, and the record then.
    async fn let_go(self) -> Released {
        wait_for("all to be announced and settled", || async {
            let record = self.record().await;
            (record.get("events").is_none() && record.get("attempts").is_none()).then_some(())
        })
        .await;
        std::fs::write(self.nats.dir().join("go"), "").unwrap();
        wait_for("the reply", || async { self.reply.is_finished().then_some(()) }).await;
        let record = self.record().await;
        let Self { nats, service, reply, commands, .. } = self;
        Released { reply: reply.await.unwrap(), record, nats, commands, _service: service }
    }
}

/// A change that was answered.
struct Released {
    reply: Value,
    record: Value,
    nats: Nats,
    commands: Subscriber,
    _service: Service,
}

/// How many changes of a kind were announced.
async fn announced(nats: &Nats, kind: &str) -> usize {
    let subject = format!("evt.scheduler.schedule.{kind}.");
    let messages = nats.messages("SCHEDULER_AUDIT").await;
    messages.iter().filter(|message| message.subject.contains(&subject)).count()
}

#[tokio::test]
async fn a_run_by_hand_that_is_overtaken_takes_place_once() {
    let mut schedule = far("run");
    schedule["delivery"] = json!({ "mode": "core" });
    let held = hold(schedule, false, "schedule.trigger", json!({})).await;
    held.other("schedule.update", json!({ "priority": 7 })).await;
    let Released { reply, record, nats, mut commands, _service } = held.let_go().await;
    assert!(reply["data"]["execution_id"].is_string(), "{reply}");
    assert_eq!(record["revision"], 3, "{record}");
    assert_eq!(announced(&nats, "triggered").await, 1);
    let execution = &reply["data"]["execution_id"];
    let all = nats.wait_executions(json!({ "schedule_id": record["id"] }), 1).await;
    assert_eq!((all.len(), &all[0]["id"]), (1, execution));
    // Behind the command of another one no second command of the first can come.
    nats.ask("schedule.trigger", json!({ "schedule_id": record["id"], "wait_ms": 20_000 })).await;
    for is_first in [true, false] {
        let command = commands.next().await.unwrap();
        let headers = command.headers.unwrap();
        let id = headers.get("Scheduler-Execution-Id").unwrap().as_str();
        assert_eq!(execution == id, is_first, "{id}");
    }
}

#[tokio::test]
async fn an_update_that_is_overtaken_replaces_no_newer_payload() {
    let first = json!({ "command_payload": { "v": 1 } });
    let held = hold(far("payload"), false, "schedule.update", first).await;
    held.other("schedule.update", json!({ "command_payload": { "v": 2 } })).await;
    let Released { reply, record, nats, .. } = held.let_go().await;
    assert_eq!(reply["data"]["revision"], 3, "{reply}");
    assert_eq!(
        (&record["revision"], &record["spec"]["command_payload"]["v"]),
        (&json!(3), &json!(2))
    );
    assert_eq!(announced(&nats, "updated").await, 2);
}

#[tokio::test]
async fn pausing_and_resuming_undo_nothing_that_came_later() {
    let held = hold(far("paused"), false, "schedule.pause", json!({ "reason": "first" })).await;
    held.other("schedule.resume", json!({})).await;
    let Released { reply, record, nats, _service: service, .. } = held.let_go().await;
    assert_eq!((&reply["data"]["status"], &record["revision"]), (&json!("active"), &json!(3)));
    assert_eq!(record["status"], "active");
    assert_eq!(announced(&nats, "paused").await, 1);
    drop((nats, service));

    let held = hold(far("deleted"), false, "schedule.delete", json!({})).await;
    held.other("schedule.restore", json!({})).await;
    let Released { reply, record, nats, _service: service, .. } = held.let_go().await;
    assert!(reply.get("error").is_none(), "{reply}");
    assert_eq!((&record["status"], &record["revision"]), (&json!("active"), &json!(3)));
    // Its name is its own.
    let error = nats.refused("schedule.create", far("deleted")).await;
    assert_eq!(error["code"], "already_exists");
    drop((nats, service));

    let held = hold(far("restored"), true, "schedule.restore", json!({})).await;
    held.other("schedule.delete", json!({})).await;
    let Released { reply, record, nats, .. } = held.let_go().await;
    assert!(reply.get("error").is_none(), "{reply}");
    assert_eq!((&record["status"], &record["revision"]), (&json!("deleted"), &json!(4)));
    assert_eq!(announced(&nats, "restored").await, 1);
}

#[tokio::test]
async fn a_backfill_that_is_overtaken_runs_once() {
    let now = chrono::Utc::now();
    let hourly = json!({ "name": "hourly", "schedule_type": "interval", "interval_seconds": 3600,
                         "start_at": (now - chrono::Duration::minutes(90)).to_rfc3339(),
                         "target_command": "cmd.example.hourly" });
    let span = json!({ "from": (now - chrono::Duration::minutes(100)).to_rfc3339(),
                       "to": (now - chrono::Duration::minutes(1)).to_rfc3339() });
    let held = hold(hourly, false, "schedule.backfill", span).await;
    wait_for("the backfill to be over", || async {
        held.record().await.get("backfill").is_none().then_some(())
    })
    .await;
    held.other("schedule.update", json!({ "priority": 7 })).await;
    let Released { reply, record, nats, .. } = held.let_go().await;
    assert_eq!(reply["data"]["count"], 2, "{reply}");
    assert_eq!(record["revision"], 3, "{record}");
    assert_eq!(announced(&nats, "backfilled").await, 1);
}

#[tokio::test]
async fn a_change_is_not_made_again_behind_a_pause_by_the_service_itself() {
    let failing = json!({ "name": "fails", "schedule_type": "interval", "interval_seconds": 3600,
                          "start_at": crate::harness::in_ms(-5_400_000), "max_retries": 0,
                          "pause_on_failure": 1, "target_command": "cmd.nowhere.fails" });
    let held = hold(failing, false, "schedule.update", json!({ "priority": 9 })).await;
    let span = json!({ "from": crate::harness::in_ms(-6_000_000), "to": crate::harness::in_ms(-4_000_000) });
    held.other("schedule.backfill", span).await;
    wait_for("the service to pause it", || async {
        (held.record().await["status"] == "paused").then_some(())
    })
    .await;
    let Released { reply, record, nats, .. } = held.let_go().await;
    assert!(reply.get("error").is_none(), "{reply}");
    // Created, updated, backfilled, paused.
    assert_eq!((&record["revision"], &record["status"]), (&json!(4), &json!("paused")));
    assert_eq!(announced(&nats, "updated").await, 1);
}

#[tokio::test]
async fn who_cannot_know_whether_its_change_was_made_says_so_and_does_not_repeat_it() {
    let held = hold(far("many"), false, "schedule.pause", json!({})).await;
    held.other("schedule.resume", json!({})).await;
    for round in 0..40 {
        held.other("schedule.update", json!({ "priority": 1 + round % 10 })).await;
    }
    let Released { reply, record, nats, .. } = held.let_go().await;
    assert_eq!(reply["error"]["code"], "unavailable", "{reply}");
    assert_eq!((&record["status"], &record["revision"]), (&json!("active"), &json!(43)));
    assert_eq!(announced(&nats, "paused").await, 1);
}

#[tokio::test]
async fn a_cancellation_that_is_overtaken_by_its_own_end_is_done() {
    let mut job = far("job");
    job["delivery"] = json!({ "mode": "job", "timeout_seconds": 600 });
    let held = hold(job, false, "execution.cancel", json!({ "reason": "enough" })).await;
    held.other("schedule.update", json!({ "priority": 7 })).await;
    let Released { reply, record, nats, _service, .. } = held.let_go().await;
    assert_eq!(reply["data"]["status"], "cancelled", "{reply}");
    let filter = json!({ "schedule_id": record["id"] });
    let all = nats.wait_executions(filter, 1).await;
    assert_eq!((all.len(), &all[0]["status"]), (1, &json!("cancelled")));
}
