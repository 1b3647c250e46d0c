//! Callers that wait for an outcome: they make nobody else wait, and ask NATS for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::Request;
use async_nats::jetstream::message::StreamMessage;
use futures::StreamExt as _;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::harness::{Nats, Service, far, wait_for};
use crate::http::Http;

/// Callers at once: more than requests are worked on at once, over either transport.
const CALLERS: usize = 600;
/// How long they would wait.
const PATIENCE_MS: u64 = 60_000;
/// Within which another request is answered.
const AT_ONCE: Duration = Duration::from_secs(1);

/// A job that a worker has until the test reports.
fn job(n: usize) -> Value {
    json!({ "target_command": format!("cmd.example.job.n{n}"), "wait_ms": PATIENCE_MS,
            "delivery": { "mode": "job", "timeout_seconds": 600, "heartbeat_seconds": 600 } })
}

/// Reports all jobs as done.
async fn complete(nats: &Nats, commands: &[StreamMessage]) {
    let report = |command: &StreamMessage| {
        let header = |name: &str| command.headers.get(name).unwrap().to_string();
        let report = json!({ "execution_id": header("Scheduler-Execution-Id"),
                             "token": header("Scheduler-Token") });
        async move { nats.ask("execution.complete", report).await }
    };
    futures::stream::iter(commands).map(report).buffer_unordered(32).collect::<Vec<_>>().await;
}

/// Counts the questions about the history that NATS is asked.
async fn count_reads(nats: &Nats) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    for subject in [
        "$JS.API.DIRECT.GET.SCHEDULER_EXECUTIONS",
        "$JS.API.DIRECT.GET.SCHEDULER_EXECUTIONS.>",
        "$JS.API.STREAM.MSG.GET.SCHEDULER_EXECUTIONS",
    ] {
        let (mut asked, count) =
            (nats.client.subscribe(subject).await.unwrap(), Arc::clone(&count));
        tokio::spawn(async move {
            while asked.next().await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    nats.client.flush().await.unwrap();
    count
}

/// Lets all callers come, some after the others: while they are worked on they do count.
async fn all(nats: &Nats, caller: impl Fn(usize) -> JoinHandle<Value>) -> Vec<JoinHandle<Value>> {
    let mut callers = Vec::new();
    while callers.len() < CALLERS {
        callers.extend((callers.len()..callers.len() + 100).map(&caller));
        nats.wait_count("COMMANDS", callers.len() as u64).await;
    }
    callers
}

/// Checks that others are served while all callers wait, and that these get their outcomes when they come.
async fn check(nats: &Nats, service: &Service, callers: Vec<JoinHandle<Value>>) {
    let http = Http::new(service).await;
    wait_for("all starts in the history", || async {
        let running = nats.request("execution.list", &json!({ "status": "running" })).await;
        (running["pagination"]["total"] == CALLERS as u64).then_some(())
    })
    .await;
    let reads = count_reads(nats).await;
    let quiet_until = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0;
    while rounds < 3 || Instant::now() < quiet_until {
        rounds += 1;
        let asked = Instant::now();
        nats.ask("status", json!({})).await;
        let took = asked.elapsed();
        assert!(took < AT_ONCE, "status took {took:?} over NATS");
        let asked = Instant::now();
        assert_eq!(http.get("/health/detailed").await.status, 200);
        let took = asked.elapsed();
        assert!(took < AT_ONCE, "status took {took:?} over HTTP");
    }
    assert_eq!(reads.load(Ordering::SeqCst), 0, "those who wait ask for nothing");
    assert!(callers.iter().all(|caller| !caller.is_finished()), "they wait");
    complete(nats, &nats.messages("COMMANDS").await).await;
    for caller in callers {
        let reply = tokio::time::timeout(Duration::from_secs(30), caller).await.unwrap().unwrap();
        let execution = &reply["data"]["execution"];
        assert_eq!(execution["status"], "success", "{reply}");
        assert_eq!(execution["id"], reply["data"]["execution_id"], "{reply}");
    }
    // The engine looks too, before it records what was reported.
    let read = reads.load(Ordering::SeqCst);
    assert!((CALLERS..=CALLERS * 4).contains(&read), "{read} reads for {CALLERS} outcomes");
}

#[tokio::test]
async fn callers_that_wait_over_nats_keep_nobody_else_waiting() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let caller = |n| {
        let (client, body) = (nats.client.clone(), job(n).to_string());
        let patience = Some(Duration::from_millis(PATIENCE_MS + 10_000));
        let request = Request::new().payload(body.into()).timeout(patience);
        tokio::spawn(async move {
            let sent = client.send_request("cmd.scheduler.execute.immediate", request);
            serde_json::from_slice(&sent.await.unwrap().payload).unwrap()
        })
    };
    check(&nats, &service, all(&nats, caller).await).await;
}

#[tokio::test]
async fn callers_that_wait_over_http_keep_nobody_else_waiting() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let caller = |n| {
        let request = http.ask(reqwest::Method::POST, "/api/v1/executions").json(&job(n));
        let request = request.timeout(Duration::from_millis(PATIENCE_MS + 10_000));
        tokio::spawn(async move { request.send().await.unwrap().json().await.unwrap() })
    };
    check(&nats, &service, all(&nats, caller).await).await;
}

#[tokio::test]
async fn those_who_wait_are_answered_before_the_service_ends() {
    let nats = Nats::start().await;
    let mut service = nats.service_with(&[("SHUTDOWN_GRACE_SECONDS", "3")]).await;
    let http = Http::new(&service).await;
    let over_http = tokio::spawn({
        let request = http.ask(reqwest::Method::POST, "/api/v1/executions").json(&job(1));
        let request = request.timeout(Duration::from_secs(30));
        async move { request.send().await.unwrap().json::<Value>().await.unwrap() }
    });
    let over_nats = tokio::spawn({
        let request = Request::new().payload(job(2).to_string().into());
        let request = request.timeout(Some(Duration::from_secs(30)));
        let client = nats.client.clone();
        async move {
            let reply =
                client.send_request("cmd.scheduler.execute.immediate", request).await.unwrap();
            serde_json::from_slice::<Value>(&reply.payload).unwrap()
        }
    });
    nats.wait_count("COMMANDS", 2).await;
    assert!(service.stop().await.success());
    for reply in join_all([over_http, over_nats]).await {
        let data = &reply.unwrap()["data"];
        assert!(data["execution_id"].is_string() && data["execution"].is_null(), "{data}");
    }
}

#[tokio::test]
async fn an_outcome_that_comes_in_time_is_in_the_reply_at_once() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(far("quick")).await;
    for wait_ms in [1, 5_000] {
        let asked = Instant::now();
        let run = json!({ "schedule_id": id, "wait_ms": wait_ms });
        let triggered = nats.ask("schedule.trigger", run).await;
        assert!(asked.elapsed() < Duration::from_secs(3));
        if wait_ms > 1 {
            assert_eq!(triggered["execution"]["status"], "success", "{triggered}");
        }
    }
}
