//! The service as NATS tools see it.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::Nats;

async fn discover(nats: &Nats, subject: &str) -> Vec<Value> {
    let inbox = nats.client.new_inbox();
    let mut replies = nats.client.subscribe(inbox.clone()).await.unwrap();
    nats.client.publish_with_reply(subject.to_owned(), inbox, "".into()).await.unwrap();
    let mut found = Vec::new();
    while let Ok(Some(reply)) =
        tokio::time::timeout(Duration::from_millis(500), replies.next()).await
    {
        found.push(serde_json::from_slice(&reply.payload).unwrap());
    }
    found
}

#[tokio::test]
async fn it_is_discovered_with_descriptions_schemas_and_true_counts() {
    let nats = Nats::start().await;
    let _instances = (nats.service().await, nats.service().await);
    let pings = discover(&nats, "$SRV.PING").await;
    assert_eq!(pings.len(), 2);
    for ping in &pings {
        assert_eq!(ping["type"], "io.nats.micro.v1.ping_response");
        assert_eq!(ping["name"], "scheduler");
    }
    assert_eq!(discover(&nats, "$SRV.PING.scheduler").await.len(), 2);
    let id = pings[0]["id"].as_str().unwrap();
    let info = discover(&nats, &format!("$SRV.INFO.scheduler.{id}")).await;
    assert_eq!(info.len(), 1);
    let endpoints = info[0]["endpoints"].as_array().unwrap();
    for name in [
        "schedule-create",
        "schedule-get",
        "schedule-list",
        "schedule-delete",
        "schedule-preview",
        "execution-get",
        "execution-list",
        "status",
    ] {
        let endpoint = endpoints.iter().find(|endpoint| endpoint["name"] == name).unwrap();
        assert_eq!(endpoint["subject"], format!("cmd.scheduler.{}", name.replace('-', ".")));
        assert!(!endpoint["metadata"]["description"].as_str().unwrap().is_empty());
        for schema in ["request_schema", "response_schema"] {
            let text = endpoint["metadata"][schema].as_str().unwrap();
            assert_eq!(serde_json::from_str::<Value>(text).unwrap()["type"], "object");
        }
    }
    for _ in 0..3 {
        nats.refused("schedule.create", json!({})).await;
    }
    let stats = discover(&nats, "$SRV.STATS.scheduler").await;
    assert_eq!(stats.len(), 2);
    let create = |stats: &Value| {
        let endpoints = stats["endpoints"].as_array().unwrap();
        endpoints.iter().find(|endpoint| endpoint["name"] == "schedule-create").unwrap().clone()
    };
    let sum = |field: &str| stats.iter().map(|s| create(s)[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("num_requests"), sum("num_errors")), (3, 3));
    assert!(sum("processing_time") > 0);
    assert!(
        stats.iter().any(|s| { create(s)["last_error"].as_str().unwrap().starts_with("400 ") })
    );
}

#[tokio::test]
async fn ids_are_given_back_and_errors_carry_the_service_headers() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let ids = [("X-Correlation-ID", "order-7"), ("X-Request-ID", "r-1")];
    let (headers, body) = nats.request_with_headers("schedule.get", &ids, json!({})).await;
    assert_eq!(headers.get("X-Correlation-ID").unwrap().as_str(), "order-7");
    assert_eq!(headers.get("X-Request-ID").unwrap().as_str(), "r-1");
    assert_eq!(headers.get("Nats-Service-Error-Code").unwrap().as_str(), "400");
    assert!(headers.get("Nats-Service-Error").unwrap().as_str().contains("schedule_id"));
    assert_eq!(body["correlation_id"], "order-7");
    assert_eq!(body["error"]["details"][0]["field"], "schedule_id");
    let (headers, body) = nats.request_with_headers("status", &[], json!({})).await;
    assert_eq!(headers.get("X-Correlation-ID").unwrap().as_str(), body["correlation_id"]);
    assert!(headers.get("Nats-Service-Error").is_none());
    let long = "x".repeat(300);
    let (_, body) =
        nats.request_with_headers("status", &[("X-Request-ID", &long)], json!({})).await;
    assert_eq!(body["error"]["details"][0]["field"], "X-Request-ID");
}

#[tokio::test]
async fn bodies_that_are_no_object_are_refused_by_every_endpoint() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    for endpoint in nats_scheduler::api::nats::endpoints() {
        for body in ["[]", "null", "{", "\u{0}", "{\"x\":1}", "\"x\"", "{}{}"] {
            let reply = nats.client.request(endpoint.subject.clone(), body.into()).await.unwrap();
            let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
            assert_eq!(reply["error"]["code"], "invalid", "{} {body}: {reply}", endpoint.name);
        }
    }
}

#[tokio::test]
async fn requests_that_wait_when_it_stops_are_answered() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    let requests: Vec<_> = (0..500)
        .map(|n| {
            let client = nats.client.clone();
            let body = json!({ "name": n.to_string(), "schedule_type": "interval",
                "interval_seconds": 3600, "target_command": "cmd.example.x" });
            tokio::spawn(async move {
                client.request("cmd.scheduler.schedule.create", body.to_string().into()).await
            })
        })
        .collect();
    nats.wait_count("KV_scheduler_schedules", 100).await;
    service.stop().await;
    let mut answered = 0;
    for request in requests {
        match request.await.unwrap() {
            Ok(reply) => {
                let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
                assert!(reply.get("error").is_none(), "{reply}");
                answered += 1;
            }
            // Sent after it had stopped listening.
            Err(error) => assert_eq!(error.kind(), async_nats::RequestErrorKind::NoResponders),
        }
    }
    assert_eq!(nats.stored().await, 2 * answered, "none half done");
}
