//! Spans that a trace collector receives.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use serde_json::json;

use crate::harness::{Nats, wait_for};

type Collected = Arc<Mutex<Vec<u8>>>;

async fn collect(State(collected): State<Collected>, body: Bytes) {
    collected.lock().unwrap().extend_from_slice(&body);
}

/// The bytes of a hexadecimal text.
fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[tokio::test]
async fn an_execution_is_a_span_under_the_ids_of_its_command() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let collected = Collected::default();
    let collector =
        Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&collected));
    tokio::spawn(async move { axum::serve(listener, collector).await.unwrap() });

    let nats = Nats::start().await;
    let mut service = nats.service_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let id = nats
        .create(json!({ "name": "spanned", "schedule_type": "immediate",
                        "target_command": "cmd.example.spanned" }))
        .await;
    let done = nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
    let context = done[0]["traceparent"].as_str().unwrap().to_owned();
    // Stopping sends what is left.
    assert!(service.stop().await.success());
    let parts: Vec<_> = context.split('-').collect();
    wait_for("the span", || async {
        let collected = collected.lock().unwrap();
        let has = |part: &[u8]| collected.windows(part.len()).any(|window| window == part);
        let whole = has(&bytes(parts[1])) && has(&bytes(parts[2]));
        (whole && has(b"spanned") && has(b"cmd.example.spanned")).then_some(())
    })
    .await;
}
