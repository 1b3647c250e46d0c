//! What HTTP tells of the service, and what it bears: probes, figures, stopping, slow and too many clients.

use std::time::Duration;

use futures::StreamExt as _;
use futures::future::{Either, select};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::harness::{Nats, Service, wait_for, wait_within};
use crate::http::{Http, answer, healthcheck, schedule};

#[tokio::test]
async fn probes_tell_the_truth_at_every_moment() {
    let mut nats = Nats::start().await;
    // Before NATS is reached.
    let waiting = Service::spawn("nats://127.0.0.1:1", nats.dir(), &[]);
    let http = Http::new(&waiting).await;
    assert_eq!(http.get("/live").await.status, 200);
    let ready = http.get("/ready").await;
    assert_eq!((ready.status.as_u16(), &ready.body["status"]), (503, &json!("unavailable")));
    assert_eq!(http.get("/health").await.status, 503);
    let early = http.get("/api/v1/schedules").await;
    early.refused(503, "unavailable");
    assert_eq!(early.header("retry-after"), "1");
    assert!(http.get("/metrics").await.body.as_str().unwrap().contains("scheduler_ready 0"));
    let port = waiting.http().await.port().to_string();
    assert!(healthcheck(&[("API_PORT", &port)]).status.success(), "it lives");
    drop(waiting);
    assert!(!healthcheck(&[("API_PORT", &port)]).status.success(), "nobody is there");

    let service = nats.service().await;
    let http = Http::new(&service).await;
    assert_eq!(http.get("/ready").await.status, 200);
    wait_for("NATS to be looked at", || async {
        let health = http.get("/health/detailed").await.body["data"].clone();
        let round_trip = health["nats_round_trip_ms"].as_f64()?;
        let offset = health["clock_offset_ms"].as_f64()?;
        assert!(round_trip < 2000.0 && offset.abs() < 500.0, "{health}");
        assert_eq!(health["status"], "ok", "{health}");
        assert_eq!(health["streams"].as_array().unwrap().len(), 3);
        assert!(health["streams"].as_array().unwrap().iter().all(|s| s["exists"] == true));
        (health["watch_lag"] == 0).then_some(())
    })
    .await;

    // A stream that somebody changes, or deletes, while the service runs.
    let mut audit = nats.js.get_stream("SCHEDULER_AUDIT").await.unwrap();
    let mut config = audit.info().await.unwrap().config.clone();
    config.max_messages = 5;
    nats.js.update_stream(config).await.unwrap();
    wait_for("drift to be seen", || async {
        let health = http.get("/health").await;
        (health.status == 200 && health.body["status"] == "degraded").then_some(())
    })
    .await;
    let status = nats.ask("status", json!({})).await;
    assert_eq!(status["status"], "degraded");
    assert!(status["problems"][0].as_str().unwrap().contains("SCHEDULER_AUDIT"), "{status}");
    nats.js.delete_stream("SCHEDULER_AUDIT").await.unwrap();
    wait_for("the loss to be seen", || async {
        let status = http.get("/health/detailed").await.body["data"].clone();
        status["problems"][0].as_str()?.contains("does not exist").then_some(())
    })
    .await;

    // Without NATS.
    nats.server.kill();
    wait_for("the loss of NATS", || async {
        let ready = http.get("/ready").await;
        (ready.status == 503 && http.get("/live").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(http.get("/health").await.status, 503);
    nats.server.restart().await.unwrap();
    wait_within(Duration::from_secs(30), "NATS to be back", || async {
        (http.get("/ready").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_said() {
    let nats = Nats::start().await;
    let clock = nats.dir().join("clock");
    std::fs::write(&clock, "2000").unwrap();
    let service = nats.service_with(&[("NATS_SCHEDULER_CLOCK", clock.to_str().unwrap())]).await;
    let http = Http::new(&service).await;
    wait_for("the offset to be seen", || async {
        let health = http.get("/health/detailed").await.body["data"].clone();
        let offset = health["clock_offset_ms"].as_f64()?;
        assert!((1500.0..2500.0).contains(&offset), "{health}");
        assert_eq!(health["status"], "degraded");
        assert!(health["problems"][0].as_str().unwrap().contains("ahead of"), "{health}");
        Some(())
    })
    .await;
    let metrics = http.get("/metrics").await.body;
    assert!(
        metrics.as_str().unwrap().contains("scheduler_clock_offset_seconds 2.0")
            || metrics.as_str().unwrap().contains("scheduler_clock_offset_seconds 1.9"),
        "{metrics}"
    );
}

#[tokio::test]
async fn what_happens_is_counted() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let ask = async |body: Value| {
        let created = answer(
            http.ask(Method::POST, "/api/v1/schedules").header("X-Created-By", "anna").json(&body),
        )
        .await;
        assert_eq!(created.status, 201, "{created:?}");
        created.body["data"]["id"].as_str().unwrap().to_owned()
    };
    let mut failing = schedule("failing");
    failing["target_command"] = json!("cmd.nobody.there");
    failing["max_retries"] = json!(1);
    failing["retry"] = json!({ "initial_seconds": 1, "jitter": 0 });
    let failing = ask(failing).await;
    let good = ask(schedule("good")).await;
    http.post(&format!("/api/v1/schedules/{good}/trigger?wait_ms=5000"), json!({})).await;
    http.post(&format!("/api/v1/schedules/{failing}/trigger"), json!({})).await;
    nats.wait_executions(json!({ "schedule_id": failing, "status": "failed" }), 2).await;
    answer(http.ask(Method::DELETE, &format!("/api/v1/schedules/{good}"))).await;
    let text = wait_for("the counters", || async {
        let metrics = http.get("/metrics").await;
        assert_eq!(metrics.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(metrics.header("vary"), "accept");
        let text = metrics.body.as_str().unwrap().to_owned();
        text.contains("schedule_executions_total{schedule_type=\"cron\",status=\"failed\"} 2")
            .then_some(text)
    })
    .await;
    for line in [
        "schedules_created_total{type=\"cron\",creator=\"anna\"} 2",
        "schedules_deleted_total{type=\"cron\",hard_delete=\"false\"} 1",
        "schedules{type=\"cron\",status=\"active\"} 1",
        "schedules_total{type=\"cron\",status=\"active\"} 1",
        "schedule_executions_total{schedule_type=\"cron\",status=\"success\"} 1",
        "schedule_retries_total{schedule_type=\"cron\",attempt=\"2\"} 1",
        "distributed_locks_acquired_total{lock_type=\"claim\"} 3",
        "distributed_locks_acquired_total{lock_type=\"name\"} 2",
        "schedule_lateness_seconds_count{schedule_type=\"cron\"} 3",
        "schedule_execution_duration_seconds_count{schedule_type=\"cron\",status=\"success\"} 1",
        "distributed_lock_hold_duration_seconds_count{lock_type=\"claim\"} 3",
        "http_requests_total{method=\"POST\",route=\"/api/v1/schedules\",status=\"201\"} 2",
        "scheduler_ready 1",
        "scheduler_instances 1",
        "schedule_queue_depth 0",
        "scheduler_stream_up{stream=\"SCHEDULER_EXECUTIONS\"} 1",
    ] {
        assert!(text.lines().any(|have| have == line), "no {line} in\n{text}");
    }
    assert!(text.contains("# TYPE schedules_created_total counter\n") && !text.contains("# EOF"));
    let asks = http.ask(Method::GET, "/metrics").header("Accept", "application/openmetrics-text");
    let open = answer(asks).await;
    assert!(open.header("content-type").starts_with("application/openmetrics-text; version=1.0.0"));
    let open = open.body.as_str().unwrap();
    assert!(open.contains("# TYPE schedules_created counter\n") && open.ends_with("# EOF\n"));
    assert!(
        text.contains("nats_requests_total{operation=\"execution.list\",status=\"200\"}"),
        "{text}"
    );
}

#[tokio::test]
async fn stopping_refuses_first_and_finishes_what_is_in_flight() {
    let nats = Nats::bare().await;
    let mut service = nats.service().await;
    let http = Http::new(&service).await;
    let mut requests = nats.client.subscribe("cmd.slow.job").await.unwrap();
    let mut slow = schedule("slow");
    slow["target_command"] = json!("cmd.slow.job");
    slow["delivery"] = json!({ "mode": "request", "timeout_seconds": 20 });
    let id =
        http.post("/api/v1/schedules", slow).await.body["data"]["id"].as_str().unwrap().to_owned();
    let asking = http.clone();
    let path = format!("/api/v1/schedules/{id}/trigger?wait_ms=20000");
    let waiting = tokio::spawn(async move { asking.post(&path, json!({})).await });
    let request = requests.next().await.unwrap();
    service.signal("-TERM");
    let ready = wait_for("it to be not ready", || async {
        let ready = http.get("/ready").await;
        (ready.status == 503).then_some(ready)
    })
    .await;
    assert!(ready.body["problems"][0].as_str().unwrap().contains("stopping"), "{ready:?}");
    assert_eq!(http.get("/live").await.status, 200);
    http.get("/api/v1/schedules").await.refused(503, "unavailable");
    nats.client.publish(request.reply.unwrap(), "{}".into()).await.unwrap();
    let triggered = waiting.await.unwrap();
    assert_eq!(triggered.body["data"]["execution"]["status"], "success", "{triggered:?}");
    assert!(service.exited().await.success());
}

#[tokio::test]
async fn who_waits_for_an_outcome_is_answered_before_the_end() {
    let nats = Nats::start().await;
    let mut service = nats.service_with(&[("SHUTDOWN_GRACE_SECONDS", "4")]).await;
    let http = Http::new(&service).await;
    let body = json!({ "target_command": "cmd.example.job", "wait_ms": 60000,
                       "delivery": { "mode": "job", "timeout_seconds": 60 } });
    let mut commands = nats.client.subscribe("cmd.example.job").await.unwrap();
    let (asking, over_http) = (http.clone(), body.clone());
    let waiting = tokio::spawn(async move { asking.post("/api/v1/executions", over_http).await });
    commands.next().await.unwrap();
    let over_nats = nats.client.clone();
    let also = tokio::spawn(async move {
        let request = async_nats::Request::new().payload(body.to_string().into()).timeout(None);
        over_nats.send_request("cmd.scheduler.execute.immediate", request).await.unwrap()
    });
    commands.next().await.unwrap();
    // A body that never ends holds nothing up.
    let mut slow = tokio::net::TcpStream::connect(service.http().await).await.unwrap();
    let head = "POST /api/v1/schedules HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    service.signal("-TERM");
    let answered = waiting.await.unwrap();
    assert_eq!(answered.status, 201, "{answered:?}");
    assert!(answered.body["data"]["execution_id"].is_string(), "what was sent can be found");
    let also: Value = serde_json::from_slice(&also.await.unwrap().payload).unwrap();
    assert!(also["data"]["execution_id"].is_string(), "{also}");
    assert!(service.exited().await.success());
    assert!(!service.log().contains("stopped without NATS"), "{}", service.log());
}

#[tokio::test]
async fn work_that_waits_for_a_permit_is_late_and_said_to_be() {
    let nats = Nats::bare().await;
    let service = nats.service_with(&[("SCHEDULER_EXECUTOR_POOL_SIZE", "1")]).await;
    let http = Http::new(&service).await;
    let _silent = nats.client.subscribe("cmd.slow.job").await.unwrap();
    for n in 0..3 {
        let mut slow = schedule(&format!("slow {n}"));
        slow["schedule_type"] = json!("immediate");
        slow.as_object_mut().unwrap().remove("cron_expression");
        slow["target_command"] = json!("cmd.slow.job");
        slow["delivery"] = json!({ "mode": "request", "timeout_seconds": 60 });
        assert_eq!(http.post("/api/v1/schedules", slow).await.status, 201);
    }
    wait_for("the engine to be late", || async {
        let text = http.get("/metrics").await.body.as_str().unwrap().to_owned();
        let value = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        let lag = value("scheduler_timer_lag_seconds");
        (value("schedule_queue_depth") == 2.0 && lag > 1.0 && lag < 60.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn without_its_bucket_it_is_not_ready() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    assert_eq!(http.get("/ready").await.status, 200);
    nats.js.delete_stream("KV_scheduler_schedules").await.unwrap();
    wait_for("it to be not ready", || async {
        let ready = http.get("/ready").await;
        (ready.status == 503 && http.get("/live").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_change_goes_on_when_its_client_hangs_up() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let address = service.http().await;
    let items: Vec<_> = (0..100).map(|n| schedule(&n.to_string())).collect();
    let body = json!({ "schedules": items }).to_string();
    let head = format!(
        "POST /api/v1/schedules/bulk/create HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    wait_for("it to begin", || async {
        let listed = nats.request("schedule.list", &json!({ "limit": 1 })).await;
        (listed["pagination"]["total"] != 0).then_some(())
    })
    .await;
    drop(stream);
    wait_for("all to be created", || async {
        let listed = nats.request("schedule.list", &json!({ "limit": 1 })).await;
        (listed["pagination"]["total"] == 100).then_some(())
    })
    .await;
}

#[tokio::test]
async fn idle_and_slow_connections_are_ended() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let address = service.http().await;
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /live HTTP/1.1\r\nHost:").await.unwrap();
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "a head that never ends holds a connection forever");
}

#[tokio::test]
async fn too_many_requests_at_once_are_refused() {
    let nats = Nats::bare().await;
    let service = nats.service_with(&[("API_MAX_CONCURRENT", "1")]).await;
    let http = Http::new(&service).await;
    nats.server.freeze().unwrap();
    // Whichever comes first is worked on until NATS answers.
    let create = |name: &'static str| {
        let http = http.clone();
        tokio::spawn(async move { http.post("/api/v1/schedules", schedule(name)).await })
    };
    let (refused, created) = match select(create("one"), create("other")).await {
        Either::Left((refused, created)) | Either::Right((refused, created)) => {
            (refused.unwrap(), created)
        }
    };
    refused.refused(503, "unavailable");
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(http.get("/ready").await.status, 200, "probes are not counted");
    nats.server.thaw().unwrap();
    assert_eq!(created.await.unwrap().status, 201);
    assert_eq!(http.get("/api/v1/schedules").await.body["pagination"]["total"], 1);
}

#[tokio::test]
async fn traces_go_from_requests_to_commands() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let http = Http::new(&service).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let other = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let mut commands = nats.client.subscribe("cmd.example.>").await.unwrap();
    let mut body = schedule("traced");
    body["schedule_type"] = json!("interval");
    body["interval_seconds"] = json!(1);
    body.as_object_mut().unwrap().remove("cron_expression");
    let create =
        http.ask(Method::POST, "/api/v1/schedules").header("traceparent", parent).json(&body);
    let id = answer(create).await.body["data"]["id"].as_str().unwrap().to_owned();
    let mut spans = std::collections::HashSet::new();
    for _ in 0..2 {
        let command = commands.next().await.unwrap();
        let trace = command.headers.unwrap().get("traceparent").unwrap().to_string();
        assert!(trace.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{trace}");
        assert!(trace.ends_with("-01") && spans.insert(trace), "a span of its own");
    }
    http.post(&format!("/api/v1/schedules/{id}/pause"), json!({})).await;
    // A run by hand is a part of the trace of whoever asked for it.
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("traceparent", other);
    let subject = "cmd.scheduler.schedule.trigger";
    let request = json!({ "schedule_id": id, "wait_ms": 5000 }).to_string();
    let reply = nats.client.request_with_headers(subject, headers, request.into()).await.unwrap();
    let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
    let execution = reply["data"]["execution_id"].as_str().unwrap();
    let story = nats.ask("execution.get", json!({ "execution_id": execution })).await;
    let trace = story["traceparent"].as_str().unwrap();
    assert!(
        trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && trace.ends_with("-00"),
        "{story}"
    );
    // What follows is a consequence.
    let upstream = nats.create(schedule("upstream")).await;
    let mut follower = schedule("follower");
    follower["schedule_type"] = json!("dependent");
    follower["after"] = json!({ "schedule_id": upstream, "on": "completion" });
    follower.as_object_mut().unwrap().remove("cron_expression");
    let follower = nats.create(follower).await;
    let trigger = http.ask(Method::POST, &format!("/api/v1/schedules/{upstream}/trigger"));
    assert_eq!(answer(trigger.header("traceparent", other)).await.status, 200);
    let followed =
        nats.wait_executions(json!({ "schedule_id": follower, "status": "success" }), 1).await;
    let trace = followed[0]["traceparent"].as_str().unwrap();
    assert!(trace.starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{followed:?}");
}
