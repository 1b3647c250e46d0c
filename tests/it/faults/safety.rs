//! Things that must not happen to a service or to what it stores.

use serde_json::json;

use crate::harness::{Nats, Service, far, wait_for};

#[tokio::test]
async fn it_refuses_to_serve_when_a_stream_captures_its_requests() {
    for subject in ["cmd.>", "cmd.scheduler.schedule.create", "cmd.*.status"] {
        let nats = Nats::bare().await;
        nats.add_stream(&format!(
            r#"{{"name":"GREEDY","subjects":["{subject}"],"retention":"limits","max_consumers":-1,
                "max_msgs":-1,"max_bytes":-1,"max_age":0,"max_msg_size":-1,"storage":"file",
                "discard":"old","num_replicas":1}}"#
        ))
        .await;
        let mut service = nats.spawn(&[]);
        assert!(!service.exited().await.success());
        let log = service.log();
        assert!(log.contains("GREEDY") && log.contains("cmd.scheduler.>"), "{log}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_set_aside_and_harms_nothing() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let bucket = nats.js.get_key_value("scheduler_schedules").await.unwrap();
    let id = nats
        .create(json!({ "name": "fine", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.fine" }))
        .await;
    let broken = "schedule.018f0000-0000-7000-8000-000000000000";
    bucket.put(broken, "{\"not\": \"ours\"}".into()).await.unwrap();
    bucket.put("schedule.nonsense", "x".into()).await.unwrap();
    // A sound record, but at another's key, and one whose target nobody may send to.
    let record = bucket.get(format!("schedule.{id}")).await.unwrap().unwrap();
    bucket.put("schedule.018f0000-0000-7000-8000-000000000001", record.clone()).await.unwrap();
    let evil = String::from_utf8(record.to_vec()).unwrap();
    let evil = evil.replace("cmd.example.fine", "cmd.scheduler.schedule.delete");
    let evil = evil.replace(&id, "018f0000-0000-7000-8000-000000000002");
    bucket.put("schedule.018f0000-0000-7000-8000-000000000002", evil.into()).await.unwrap();

    let status = wait_for("four records to be set aside", || async {
        let status = nats.ask("status", json!({})).await;
        (status["set_aside"].as_array().unwrap().len() == 4).then_some(status)
    })
    .await;
    assert_eq!(status["status"], "degraded");
    assert!(status["set_aside"][0]["reason"].is_string());
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 2).await;
    assert!(service.log().contains("set aside"));
    let error = nats
        .refused("schedule.get", json!({ "schedule_id": "018f0000-0000-7000-8000-000000000000" }))
        .await;
    assert_eq!(error["code"], "not_allowed");

    bucket.delete(broken).await.unwrap();
    wait_for("the mended one to be forgotten", || async {
        let status = nats.ask("status", json!({})).await;
        (status["set_aside"].as_array().unwrap().len() == 3).then_some(())
    })
    .await;
    // A restart finds the same.
    let _second = nats.service().await;
    nats.wait_count("COMMANDS", before + 4).await;
}

#[tokio::test]
async fn a_target_outside_the_allow_list_is_refused_and_never_sent_to() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let id = nats
        .create(json!({ "name": "was allowed", "schedule_type": "interval", "interval_seconds": 1,
                        "target_command": "cmd.example.narrowed", "max_retries": 0 }))
        .await;
    nats.wait_count("COMMANDS", 1).await;
    service.stop().await;
    let before = nats.count("COMMANDS").await;
    let _service = nats.service_with(&[("ALLOWED_TARGET_COMMANDS", "cmd.report.>")]).await;
    let failed = nats.wait_executions(json!({ "schedule_id": id, "status": "failed" }), 1).await;
    assert_eq!(failed[0]["error_type"], "not_allowed");
    assert_eq!(nats.count("COMMANDS").await, before);
    let error = nats
        .refused(
            "schedule.create",
            json!({ "name": "n", "schedule_type": "immediate", "target_command": "cmd.example.x" }),
        )
        .await;
    assert_eq!(error["details"][0]["field"], "target_command");
    assert!(error["message"].as_str().unwrap().contains("cmd.report.>"), "{error}");
}

#[tokio::test]
async fn it_waits_for_nats_and_says_what_is_wrong() {
    let mut nats = Nats::start().await;
    nats.server.kill();
    let service = nats.spawn(&[]);
    service.wait_log("cannot connect to NATS").await;
    nats.server.restart().await.unwrap();
    service.ready().await;
}

#[tokio::test]
async fn faulty_settings_are_all_named_and_nothing_starts() {
    let dir = tempfile::TempDir::new().unwrap();
    let mut service = Service::spawn(
        "not a url",
        dir.path(),
        &[("STREAM_REPLICAS", "4"), ("SCHEDULER_TIMEZONE", "Nowhere")],
    );
    assert_eq!(service.exited().await.code(), Some(2));
    let log = service.log();
    assert!(log.contains("STREAM_REPLICAS") && log.contains("SCHEDULER_TIMEZONE"), "{log}");
}

#[tokio::test]
async fn a_recreated_bucket_is_noticed() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    for n in 0..3 {
        nats.create(
            json!({ "name": n.to_string(), "schedule_type": "interval", "interval_seconds": 3600,
                            "target_command": "cmd.example.x" }),
        )
        .await;
    }
    // The operator's doing, while the service is away.
    service.stop().await;
    nats.js.delete_stream("KV_scheduler_schedules").await.unwrap();
    let _service = nats.service().await;
    assert_eq!(nats.request("schedule.list", &json!({})).await["pagination"]["total"], 0);
    nats.create(
        json!({ "name": "0", "schedule_type": "immediate", "target_command": "cmd.example.x" }),
    )
    .await;
}

#[tokio::test]
async fn no_answer_is_sent_where_the_caller_may_not_write() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let id = nats.create(far("mine")).await;
    nats.wait_count("SCHEDULER_AUDIT", 1).await;
    let record = format!("$KV.scheduler_schedules.schedule.{id}");
    let event = format!("evt.scheduler.schedule.created.{id}");
    let beat = format!("scheduler.instance.{}", uuid::Uuid::new_v4());
    let counts = || async {
        let mut counts = Vec::new();
        for stream in ["KV_scheduler_schedules", "SCHEDULER_AUDIT", "COMMANDS"] {
            let stream = nats.js.get_stream(stream).await.unwrap();
            counts.push(stream.get_info().await.unwrap().state.last_sequence);
        }
        counts
    };
    let before = counts().await;
    for reply in [record.as_str(), &event, &beat, "cmd.example.stolen"] {
        for subject in ["cmd.scheduler.status", "$SRV.INFO.scheduler", "cmd.scheduler.schedule.get"]
        {
            let (subject, reply) = (subject.to_owned(), reply.to_owned());
            nats.client.publish_with_reply(subject, reply, "".into()).await.unwrap();
        }
    }
    // Answered after those, so they have been dealt with.
    nats.ask("status", json!({})).await;
    let bulk = json!({ "operation": "pause", "filter": { "creator": "nobody" } });
    nats.ask("bulk.operation", bulk).await;
    assert_eq!(counts().await, before);
    assert_eq!(nats.ask("status", json!({})).await["instances"], 1, "no answer is a heartbeat");
    assert_eq!(nats.ask("schedule.get", json!({ "schedule_id": id })).await["name"], "mine");
}
