//! An instance dies while it sends a command, and the schedule is changed before another takes it over.

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::{Nats, in_ms, wait_for};

/// A server with two streams that forget ids within a second, so that only a search finds a copy.
async fn two_streams() -> Nats {
    let nats = Nats::bare().await;
    for (name, subjects) in [("FIRST", "cmd.first.>"), ("SECOND", "cmd.second.>")] {
        nats.add_stream(
            &json!({ "name": name, "subjects": [subjects], "retention": "limits", "max_consumers": -1,
                     "max_msgs": -1, "max_bytes": -1, "max_age": 0, "max_msg_size": -1,
                     "storage": "file", "discard": "old", "num_replicas": 1,
                     "duplicate_window": 1_000_000_000 })
            .to_string(),
        )
        .await;
    }
    nats
}

/// Creates a schedule whose instance dies at a point of its first attempt, and changes it.
async fn changed_after_death(
    nats: &Nats,
    point: &str,
    more: Value,
) -> (String, crate::harness::Service) {
    let mut dying = nats.service_with(&[("NATS_SCHEDULER_FAILPOINT", point)]).await;
    let mut request = json!({ "name": "before", "schedule_type": "one_time", "scheduled_at": in_ms(400),
                              "target_command": "cmd.first.one", "command_payload": { "v": 1 } });
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let id = nats.create(request).await;
    dying.exited().await;
    let service = nats.service().await;
    // Before the dead instance counts as gone.
    nats.ask(
        "schedule.update",
        json!({ "schedule_id": id, "name": "after", "target_command": "cmd.second.two",
                "command_payload": { "v": 2 }, "delivery": { "mode": "publish" } }),
    )
    .await;
    if point != "after_record" {
        let open = nats.ask("execution.running", json!({ "schedule_id": id })).await;
        assert_eq!(open[0]["schedule_name"], "before", "it is shown as it will be sent: {open}");
    }
    (id, service)
}

/// The one execution of a schedule, once it has succeeded.
async fn only_execution(nats: &Nats, id: &str) -> Value {
    let filter = json!({ "schedule_id": id, "status": "success" });
    let all = nats.wait_executions(filter, 1).await;
    assert_eq!(all.len(), 1);
    nats.ask("execution.get", json!({ "execution_id": all[0]["id"] })).await
}

async fn check_sent_as_before(point: &str) {
    let nats = two_streams().await;
    let (id, _service) = changed_after_death(&nats, point, json!({})).await;
    let execution = only_execution(&nats, &id).await;
    assert_eq!(execution["command_sent"], "cmd.first.one", "{point}: {execution}");
    assert_eq!(execution["command_payload"], json!({ "v": 1 }), "{point}");
    assert_eq!(execution["schedule_name"], "before", "{point}");
    let sent = nats.messages("FIRST").await;
    assert_eq!(sent.len(), 1, "{point}");
    assert_eq!(sent[0].payload, r#"{"v":1}"#, "{point}");
    assert_eq!(
        sent[0].headers.get("Scheduler-Schedule-Name").unwrap().as_str(),
        "before",
        "{point}"
    );
    assert_eq!(nats.count("SECOND").await, 0, "{point}");
    let record = wait_for("it to be settled", || async {
        let record = nats.ask("schedule.get", json!({ "schedule_id": id })).await;
        (record["status"] == "completed").then_some(record)
    })
    .await;
    assert_eq!(record["target_command"], "cmd.second.two");
}

#[tokio::test]
async fn a_command_that_went_out_before_an_update_is_found_where_it_went() {
    check_sent_as_before("after_deliver").await;
}

#[tokio::test]
async fn a_command_that_was_claimed_before_an_update_is_sent_as_it_was_claimed() {
    check_sent_as_before("after_claim").await;
}

#[tokio::test]
async fn a_claimed_core_command_stays_one_when_the_mode_is_changed() {
    let nats = two_streams().await;
    let mut heard = nats.client.subscribe("cmd.loose.one").await.unwrap();
    let more = json!({ "target_command": "cmd.loose.one", "delivery": { "mode": "core" } });
    let (id, _service) = changed_after_death(&nats, "after_claim", more).await;
    let execution = only_execution(&nats, &id).await;
    assert_eq!(execution["command_sent"], "cmd.loose.one");
    assert_eq!(heard.next().await.unwrap().payload, r#"{"v":1}"#);
    assert_eq!(nats.count("SECOND").await, 0);
}

#[tokio::test]
async fn a_retry_sends_what_the_schedule_says_when_it_is_made() {
    let nats = two_streams().await;
    let more =
        json!({ "target_command": "cmd.nowhere.one", "max_retries": 1, "retry_delay_seconds": 0 });
    let (id, _service) = changed_after_death(&nats, "after_record", more).await;
    let execution = only_execution(&nats, &id).await;
    assert_eq!(
        (&execution["attempt_number"], &execution["schedule_name"]),
        (&json!(2), &json!("after"))
    );
    let sent = nats.messages("SECOND").await;
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].payload, r#"{"v":2}"#);
    let failed = nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;
    assert_eq!(failed[0]["command_sent"], "cmd.nowhere.one");
}
