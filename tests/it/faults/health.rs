//! Health reports tell the truth: full disks, refused writes, purged buckets, lateness.

use std::time::Duration;

use async_nats::jetstream::stream::DiscardPolicy;
use futures::StreamExt as _;
use nats_scheduler::dev::server::{RunningServer, ServerOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Nats, Service, binary, far, wait_for, wait_within};

/// A server with a stream for targets whose store is full soon.
async fn small_server() -> Nats {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("small.conf");
    let limits = "jetstream { store_dir: $NATS_STORE_DIR, max_file_store: 4MB }\n";
    std::fs::write(&config, limits).unwrap();
    let options =
        ServerOptions { config: Some(config), ..ServerOptions::new(dir.path().join("store")) };
    let server = RunningServer::start(&binary(), options).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let js = async_nats::jetstream::new(client.clone());
    let nats = Nats::of(server, client, js, dir);
    nats.add_stream(
        r#"{"name":"TARGETS","subjects":["cmd.example.>","fill"],"retention":"limits",
            "max_consumers":-1,"max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,
            "storage":"file","discard":"old","num_replicas":1}"#,
    )
    .await;
    nats
}

async fn status(nats: &Nats) -> Value {
    nats.ask("status", json!({})).await
}

/// What `status` says of writes to a stream.
fn write_error<'a>(status: &'a Value, stream: &str) -> &'a Value {
    let streams = status["streams"].as_array().unwrap();
    &streams.iter().find(|one| one["name"] == stream).unwrap()["write_error"]
}

fn says(status: &Value, text: &str) -> bool {
    let problems = status["problems"].as_array().unwrap();
    status["status"] == "degraded" && problems.iter().any(|p| p.as_str().unwrap().contains(text))
}

pub async fn get(service: &Service, path: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let url = format!("http://{}{path}", service.http().await);
    let answer = client.get(url).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn probe(service: &Service, path: &str) -> (u16, Value) {
    let (status, body) = get(service, path).await;
    (status, serde_json::from_str(&body).unwrap())
}

async fn metrics(service: &Service) -> String {
    get(service, "/metrics").await.1
}

/// The value of a sample.
fn value(metrics: &str, sample: &str) -> f64 {
    let line = metrics.lines().find(|line| line.rsplit_once(' ').is_some_and(|(s, _)| s == sample));
    line.unwrap_or_else(|| panic!("{sample}")).rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn a_full_store_is_degraded_late_and_not_ready_until_there_is_room() {
    let nats = small_server().await;
    let service = nats.service().await;
    nats.create_beats(1, "cmd.example.beat").await;
    nats.wait_count("TARGETS", 1).await;
    assert_eq!(probe(&service, "/ready").await.0, 200);
    let mut refused = 0;
    while refused < 3 {
        let sent = nats.js.publish("fill", vec![b'x'; 64 << 10].into()).await.unwrap().await;
        refused += usize::from(sent.is_err());
    }
    // What is small may still fit for a moment.
    let late = wait_for("claims to fail for long", || async {
        while nats.js.publish("fill", "x".into()).await.unwrap().await.is_ok() {}
        let status = status(&nats).await;
        (status["timer_lag_ms"].as_u64().unwrap() > 5000).then_some(status)
    })
    .await;
    assert!(says(&late, "has not been acted on"), "{late}");
    assert!(says(&late, "writes to stream KV_scheduler_schedules fail"), "{late}");
    let error = write_error(&late, "KV_scheduler_schedules").as_str().unwrap();
    assert!(["refused", "refused for now"].contains(&error), "{error}");
    service.wait_log("write to a stream failed").await;
    let failing = "scheduler_stream_writes_failing{stream=\"KV_scheduler_schedules\"}";
    let text = metrics(&service).await;
    assert!(value(&text, failing) == 1.0 && value(&text, "scheduler_timer_lag_seconds") > 5.0);
    let (_, unready) = wait_for("it to be not ready", || async {
        let ready = probe(&service, "/ready").await;
        (ready.0 == 503).then_some(ready)
    })
    .await;
    assert!(unready["problems"][0].as_str().unwrap().contains("nothing can be written"));
    assert_eq!(probe(&service, "/live").await.0, 200);

    nats.js.get_stream("TARGETS").await.unwrap().purge().filter("fill").await.unwrap();
    wait_for("all to be well again", || async {
        let status = status(&nats).await;
        let ready = probe(&service, "/ready").await.0 == 200;
        (status["status"] == "ok" && ready && status["timer_lag_ms"].as_u64()? < 1000).then_some(())
    })
    .await;
    let sent = nats.count("TARGETS").await;
    nats.wait_count("TARGETS", sent + 2).await;
}

#[tokio::test]
async fn a_history_and_an_audit_that_refuse_are_said_until_they_take_again() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let streams = ["SCHEDULER_EXECUTIONS", "SCHEDULER_AUDIT"];
    let limit = async |messages: i64, discard: DiscardPolicy| {
        for name in streams {
            let mut stream = nats.js.get_stream(name).await.unwrap();
            let mut config = stream.info().await.unwrap().config.clone();
            (config.max_messages, config.discard) = (messages, discard);
            nats.js.update_stream(config).await.unwrap();
        }
    };
    nats.create_beats(1, "cmd.example.beat").await;
    nats.wait_count("SCHEDULER_EXECUTIONS", 1).await;
    nats.wait_count("SCHEDULER_AUDIT", 1).await;
    limit(1, DiscardPolicy::New).await;
    nats.create(far("not announced")).await;
    let status_of = |name: &'static str| {
        let nats = &nats;
        async move {
            let status = status(nats).await;
            let error = write_error(&status, name).as_str()?.to_owned();
            (says(&status, name) && error.starts_with("refused")).then_some(())
        }
    };
    for name in streams {
        wait_for(name, || status_of(name)).await;
        let failing = format!("scheduler_stream_writes_failing{{stream=\"{name}\"}}");
        assert_eq!(value(&metrics(&service).await, &failing), 1.0);
    }
    assert_eq!(probe(&service, "/ready").await.0, 200, "it fires and answers");
    limit(1_000_000, DiscardPolicy::Old).await;
    wait_for("both to take what they are sent", || async {
        let status = status(&nats).await;
        streams.iter().all(|name| write_error(&status, name).is_null()).then_some(())
    })
    .await;
    nats.wait_count("SCHEDULER_AUDIT", 2).await;
}

#[tokio::test]
async fn an_idle_instance_is_not_late() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    nats.create_beats(3, "cmd.example.beat").await;
    nats.wait_count("COMMANDS", 3).await;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut late = 0;
    for _ in 0..150 {
        tick.tick().await;
        late += usize::from(status(&nats).await["timer_lag_ms"].as_u64().unwrap() > 20);
    }
    assert!(late < 15, "{late} of 150 looks found it late");
}

#[tokio::test]
async fn a_retry_is_late_from_when_it_was_promised() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let id = nats
        .create(json!({ "name": "fails", "schedule_type": "immediate", "max_retries": 1,
                        "retry": { "initial_seconds": 4, "jitter": 0 },
                        "target_command": "cmd.nobody.there" }))
        .await;
    let failed = nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 2).await;
    let [retry, first] = &failed[..] else { panic!("{failed:?}") };
    assert_eq!(first["timings"]["due_at"], first["scheduled_for"]);
    assert_eq!(retry["timings"]["due_at"], first["retry_at"]);
    assert_eq!(retry["scheduled_for"], first["scheduled_for"]);
    let text = metrics(&service).await;
    let bucket = |le: &str| {
        value(
            &text,
            &format!("schedule_lateness_seconds_bucket{{le=\"{le}\",schedule_type=\"immediate\"}}"),
        )
    };
    assert_eq!((bucket("2.5"), bucket("+Inf")), (2.0, 2.0), "{text}");
}

#[tokio::test]
async fn what_waited_for_room_is_not_late() {
    let nats = Nats::bare().await;
    let service = nats.service().await;
    let mut requests = nats.client.subscribe("cmd.slow.job").await.unwrap();
    let mut slow = far("slow");
    slow["target_command"] = json!("cmd.slow.job");
    slow["delivery"] = json!({ "mode": "request", "timeout_seconds": 30 });
    let id = nats.create(slow).await;
    // Two by hand: the second waits for the first, which takes four seconds.
    for _ in 0..2 {
        nats.ask("schedule.trigger", json!({ "schedule_id": id })).await;
    }
    let first = requests.next().await.unwrap();
    let began = std::time::Instant::now();
    wait_within(Duration::from_secs(10), "four seconds", || async {
        (began.elapsed() > Duration::from_secs(4)).then_some(())
    })
    .await;
    nats.client.publish(first.reply.unwrap(), "{}".into()).await.unwrap();
    let second = requests.next().await.unwrap();
    nats.client.publish(second.reply.unwrap(), "{}".into()).await.unwrap();
    nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 2).await;
    let text = metrics(&service).await;
    let bucket = |le: &str| {
        value(
            &text,
            &format!("schedule_lateness_seconds_bucket{{le=\"{le}\",schedule_type=\"one_time\"}}"),
        )
    };
    assert_eq!((bucket("2.5"), bucket("+Inf")), (2.0, 2.0), "{text}");
}

#[tokio::test]
async fn a_purged_bucket_is_noticed_and_said() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(nats.create(far(&format!("far {n}"))).await);
    }
    let bucket = nats.js.get_stream("KV_scheduler_schedules").await.unwrap();
    // One of them, and its name stays.
    bucket.purge().filter(format!("$KV.scheduler_schedules.schedule.{}", ids[0])).await.unwrap();
    wait_for("one to vanish", || async {
        let status = status(&nats).await;
        (status["vanished"]["schedules"] == 1).then_some(())
    })
    .await;
    let left = nats.request("schedule.list", &json!({})).await;
    assert_eq!(left["pagination"]["total"], 2, "{left}");
    // All.
    bucket.purge().await.unwrap();
    let said = wait_for("all to vanish", || async {
        let status = status(&nats).await;
        (status["vanished"]["schedules"] == 3).then_some(status)
    })
    .await;
    assert!(says(&said, "3 schedules vanished"), "{said}");
    assert!(said["vanished"]["at"].is_string(), "{said}");
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 0);
    for id in &ids {
        let error = nats.refused("schedule.get", json!({ "schedule_id": id })).await;
        assert_eq!(error["code"], "not_found");
    }
    assert_eq!(value(&metrics(&service).await, "scheduler_schedules_vanished_total"), 3.0);
    // Their names are free, and what comes after is as ever.
    wait_for("it to be ready", || async {
        (probe(&service, "/ready").await.0 == 200).then_some(())
    })
    .await;
    let id = nats.create(far("far 0")).await;
    nats.ask("schedule.delete", json!({ "schedule_id": id, "hard_delete": true })).await;
    nats.create_beats(1, "cmd.example.beat").await;
    nats.wait_count("COMMANDS", 12).await;
    assert_eq!(status(&nats).await["vanished"]["schedules"], 3, "what is deleted does not vanish");
}

#[tokio::test]
async fn what_was_set_aside_clears_when_it_is_deleted() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let strange =
        ["schedule.nonsense", "schedule.other", "schedule.018F0000-0000-7000-8000-00000000000A"];
    let keys = [&strange[..], &["schedule.018f0000-0000-7000-8000-000000000000"]].concat();
    for key in &keys {
        bucket.put(*key, "x".into()).await.unwrap();
    }
    let wait_aside = async |count: usize| {
        wait_for(&format!("{count} records set aside"), || async {
            let status = status(&nats).await;
            (status["set_aside"].as_array().unwrap().len() == count).then_some(())
        })
        .await;
    };
    wait_aside(4).await;
    bucket.delete(keys[0]).await.unwrap();
    bucket.purge(keys[1]).await.unwrap();
    wait_aside(2).await;
    // Without a marker: only a replay shows it.
    let stream = nats.js.get_stream("KV_scheduler_schedules").await.unwrap();
    for key in strange {
        stream.purge().filter(format!("$KV.scheduler_schedules.{key}")).await.unwrap();
    }
    wait_aside(1).await;
    bucket.delete(keys[3]).await.unwrap();
    wait_aside(0).await;
    let status = status(&nats).await;
    assert_eq!((&status["status"], &status["vanished"]), (&json!("ok"), &json!(null)), "{status}");
}

#[tokio::test]
async fn what_follows_from_a_lost_history_is_said_while_it_is_gone_and_afterwards() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let id = nats.create_beats(1, "cmd.example.unrecorded").await.remove(0);
    nats.wait_count("COMMANDS", 1).await;
    nats.js.delete_stream("SCHEDULER_EXECUTIONS").await.unwrap();
    wait_for("the loss to be said", || async {
        says(&status(&nats).await, "a schedule with 16 of them skips what is due").then_some(())
    })
    .await;
    // As many run as may be under way at once, and no more.
    wait_within(Duration::from_secs(60), "an occurrence to be skipped", || async {
        nats.record(&id).await.to_string().contains(r#""limit""#).then_some(())
    })
    .await;
    let sent = nats.count("COMMANDS").await;
    assert!((16..=18).contains(&sent), "{sent}");
    // Whoever starts creates it, and then all is recorded.
    service.kill();
    let _service = nats.service().await;
    let of_it = |status: &str| json!({ "schedule_id": id, "status": status });
    let skipped = nats.wait_executions(of_it("skipped"), 1).await;
    assert_eq!(skipped[0]["skipped"]["cause"], "limit", "{skipped:?}");
    let explained = nats.ask("schedule.explain", json!({ "schedule_id": id })).await;
    assert!(
        explained.to_string().contains("the history did not take their outcomes"),
        "{explained}"
    );
}
