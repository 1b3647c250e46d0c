//! Overlong texts from others are still recorded, cut and marked.

use async_nats::HeaderMap;
use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::Nats;

/// Replies with the error that a request's payload asks for, or without one.
async fn respond(nats: &Nats, subject: &'static str) {
    let mut requests = nats.client.subscribe(subject).await.unwrap();
    nats.client.flush().await.unwrap();
    let client = nats.client.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let wish: Value = serde_json::from_slice(&request.payload).unwrap();
            let mut headers = HeaderMap::new();
            if let Some(error) = wish["error"].as_str() {
                let bytes = wish["bytes"].as_u64().unwrap() as usize;
                headers.insert("Nats-Service-Error", error.repeat(bytes).as_str());
                headers.insert("Nats-Service-Error-Code", "500");
            }
            let body = "\u{1}".repeat(wish["body"].as_u64().unwrap_or(0) as usize);
            let _ = client.publish_with_headers(request.reply.unwrap(), headers, body.into()).await;
        }
    });
}

fn request(payload: Value) -> Value {
    json!({ "target_command": "cmd.service.long", "command_payload": payload, "max_retries": 0,
            "delivery": { "mode": "request", "timeout_seconds": 20 }, "wait_ms": 20_000 })
}

#[tokio::test]
async fn errors_that_are_long_and_hard_to_encode_are_recorded_and_wedge_nothing() {
    // Without a stream, which would answer first.
    let nats = Nats::bare().await;
    let _service = nats.service().await;
    respond(&nats, "cmd.service.long").await;
    let hostile = request(json!({ "error": "\u{1}", "bytes": 200_000 }));
    let failing = (0..25).map(|_| nats.request("execute.immediate", &hostile));
    for reply in futures::future::join_all(failing).await {
        let execution = &reply["data"]["execution"];
        assert_eq!(execution["status"], "failed", "{reply}");
        assert_eq!(execution["error_type"], "service_error");
        let message = execution["error_message"].as_str().unwrap();
        assert!(message.starts_with("500 \u{1}"), "{message}");
        assert!(message.ends_with("... (200004 bytes)"), "{message}");
        assert!(message.len() < 5_000);
    }
    let failed = nats.wait_executions(json!({ "status": "failed" }), 25).await;
    assert_eq!(failed.len(), 20, "a page of them can be read");
    // Bytes that are no JSON become six times as many; a reply that is too long so is left out, and says it.
    for (body, is_kept) in [(1_000, true), (60_000, false)] {
        let reply = nats.ask("execute.immediate", request(json!({ "body": body }))).await;
        let execution = &reply["execution"];
        assert_eq!(execution["status"], "success", "the request lane lives on: {reply}");
        assert_eq!(execution["response_payload"].is_string(), is_kept);
        assert_eq!(execution["truncated"] == true, !is_kept);
    }
}
