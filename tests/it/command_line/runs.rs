//! Runs by hand: sent again, and followed to their end.

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde_json::{Value, json};

use super::{cli, plain};
use crate::harness::{Nats, in_ms, wait_for};

#[tokio::test]
async fn a_key_makes_one_run_of_each() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for name in ["one", "two"] {
        cli(&nats, &["create", name, "--cron", "0 0 1 1 *", "-t", "cmd.example.x"]).await.done();
    }
    let run = ["run", "one", "two", "--key", "release", "--wait", "-o", "name"];
    let ran = cli(&nats, &run).await.done();
    let ids: Vec<_> = ran.lines().collect();
    assert!(ids.len() == 2 && ids[0] != ids[1], "{ran}");
    let again = cli(&nats, &run).await;
    assert_eq!(again.err.matches("warning: ").count(), 2, "{again:?}");
    assert_eq!(again.done(), ran);
    let retry = ["retry", ids[0], ids[1], "--key", "release", "--wait", "-o", "name"];
    let retried = cli(&nats, &retry).await.done();
    assert_eq!(retried.lines().count(), 2, "{retried}");
    assert_eq!(cli(&nats, &retry).await.done(), retried);
    let (code, said) = cli(&nats, &["run", "two", "--key", "release/one"]).await.failed();
    assert!(code == 1 && said.contains("key"), "{said}");
}

/// Answers requests of an operation, one after the other, and the last of them again and again.
async fn answer(nats: &Nats, operation: &str, replies: Vec<Value>) {
    let subject = format!("cmd.scheduler.{operation}");
    let mut requests = nats.client.subscribe(subject).await.unwrap();
    nats.client.flush().await.unwrap();
    let (client, mut replies) = (nats.client.clone(), VecDeque::from(replies));
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let reply =
                if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() };
            let body = reply.unwrap().to_string().into();
            client.publish(request.reply.unwrap(), body).await.unwrap();
        }
    });
}

fn refusal(code: &str) -> Value {
    json!({ "error": { "code": code, "message": format!("it is {code}") },
        "request_id": "r", "correlation_id": "c" })
}

/// What a service says of a run that failed twice: of its trigger, and of both executions.
async fn replies_of_a_run(nats: &Nats) -> [Value; 3] {
    let mut service = nats.service().await;
    let ask =
        ["create", "ask", "--cron", "0 0 1 1 *", "-t", "cmd.nobody.listens", "--mode", "request"];
    let more = ["--set", "max_retries=1", "--set", "retry_delay_seconds=0", "-o", "name"];
    cli(nats, &[&ask[..], &more].concat()).await.done();
    let named = json!({ "schedule_name": "ask", "creator": "anna" });
    let trigger = nats.request("schedule.trigger", &named).await;
    nats.wait_executions(json!({ "status": "failed" }), 2).await;
    let of = |id: &Value| json!({ "execution_id": id });
    let first = nats.request("execution.get", &of(&trigger["data"]["execution_id"])).await;
    let attempts = first["data"]["attempts"].as_array().unwrap();
    let second = attempts.iter().find(|it| it["attempt_number"] == 2).unwrap();
    let second = nats.request("execution.get", &of(&second["id"])).await;
    assert_eq!((&first["data"]["will_retry"], attempts.len()), (&json!(true), 2));
    service.stop().await;
    [trigger, first, second]
}

#[tokio::test]
async fn a_run_that_was_accepted_is_not_lost_with_its_end() {
    let nats = Nats::start().await;
    let [trigger, first, second] = replies_of_a_run(&nats).await;
    let id = trigger["data"]["execution_id"].as_str().unwrap();
    answer(&nats, "schedule.trigger", vec![trigger.clone()]).await;
    let mut retried = trigger.clone();
    retried["data"]["retry_of"] = json!(id);
    answer(&nats, "execution.retry", vec![retried]).await;
    let away = refusal("unavailable");
    let known = vec![first.clone(), away, first.clone(), first, second, refusal("internal")];
    answer(&nats, "execution.get", known).await;
    let followed = cli(&nats, &["run", "ask", "--wait=20s"]).await;
    assert_eq!(followed.code, 1, "{followed:?}");
    assert!(followed.out.contains(" failed") && followed.err.is_empty(), "{followed:?}");

    let lost = cli(&nats, &["run", "ask", "--wait=20s"]).await;
    assert_eq!((lost.code, lost.out), (1, format!("ask: requested execution {id}\n")));
    assert_eq!(
        plain(&lost.err),
        "error: ask: it is internal\nask: execution <id> was accepted: `history --execution <id>` shows how it ends\n"
    );
    let lost = cli(&nats, &["run", "ask", "--wait=20s", "-o", "json"]).await;
    let reply: Value = serde_json::from_str(&lost.out).unwrap();
    assert_eq!((lost.code, reply["execution_id"].as_str()), (1, Some(id)));
    let lost = cli(&nats, &["retry", id, "--wait=20s", "-o", "name"]).await;
    assert_eq!((lost.code, lost.out), (1, format!("{id}\n")));
}

#[tokio::test]
async fn whoever_resumes_what_can_run_no_more_is_told() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let time = in_ms(2000);
    cli(&nats, &["create", "once", "--at", &time, "-t", "cmd.example.x"]).await.done();
    cli(&nats, &["pause", "once"]).await.done();
    let passed: DateTime<Utc> = time.parse().unwrap();
    wait_for("its time", || async { (Utc::now() > passed).then_some(()) }).await;
    for arguments in [&["resume", "once", "--dry-run"][..], &["resume", "once"]] {
        let resumed = cli(&nats, arguments).await;
        let warning = "passed while it was paused or switched off: it will not run";
        assert!(resumed.err.contains(warning), "{resumed:?}");
    }
}
