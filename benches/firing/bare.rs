//! The bare protocol: the minimum that a scheduler with claims between instances and a history writes for each firing.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde_json::json;

use crate::ground::{self, Acks, IN_FLIGHT, late, payload, whole_second};
use crate::harness::Nats;
use crate::lateness::Lateness;

/// Lateness of `count` commands that are due at one instant.
pub async fn burst(count: usize) -> Lateness {
    let nats = ground::start().await;
    for (name, subjects, per_subject) in [("RECORDS", "records.>", 1), ("HISTORY", "history.>", -1)]
    {
        let config = json!({
            "name": name, "subjects": [subjects], "storage": "file", "retention": "limits", "discard": "old",
            "num_replicas": nats.replicas(), "max_msgs_per_subject": per_subject, "max_consumers": -1, "max_msgs": -1,
            "max_bytes": -1, "max_age": 0, "max_msg_size": -1,
        });
        nats.add_stream(&config.to_string()).await;
    }
    // A record has about 1,000 bytes, and so does an outcome.
    let record: bytes::Bytes = "x".repeat(1_000).into();
    let mut acks = Acks::default();
    for n in 0..count {
        let message = PublishMessage::build().payload(record.clone());
        acks.add(nats.js.send_publish(format!("records.{n}"), message).await.unwrap()).await;
    }
    acks.all().await;
    let due = whole_second(2);
    wait_until(due).await;
    let (nats, body) = (Arc::new(nats), bytes::Bytes::from(payload().to_string()));
    let fired = futures::stream::iter(0..count).map(|n| {
        let (nats, record, body) = (Arc::clone(&nats), record.clone(), body.clone());
        tokio::spawn(async move { fire(&nats, n, record, body).await })
    });
    fired.buffer_unordered(IN_FLIGHT).for_each(|done| async { done.unwrap() }).await;
    late(&nats, "COMMANDS", "cmd.example.>", count, |_| due).await
}

/// Claims, sends and records one firing.
async fn fire(nats: &Nats, n: usize, record: bytes::Bytes, body: bytes::Bytes) {
    let revision = n as u64 + 1;
    let claim =
        PublishMessage::build().payload(record.clone()).expected_last_subject_sequence(revision);
    let command = PublishMessage::build().payload(body).message_id(n.to_string());
    let outcome = PublishMessage::build().payload(record).message_id(format!("{n}.outcome"));
    for (subject, message) in [
        (format!("records.{n}"), claim),
        ("cmd.example.bare".to_owned(), command),
        (format!("history.{n}"), outcome),
    ] {
        nats.js.send_publish(subject, message).await.unwrap().await.unwrap();
    }
}

async fn wait_until(due: DateTime<Utc>) {
    let left = (due - Utc::now()).to_std().unwrap_or(Duration::ZERO);
    tokio::time::sleep(left).await;
}
