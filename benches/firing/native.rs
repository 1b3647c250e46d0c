//! nats-server's own message scheduler.

use async_nats::jetstream::message::PublishMessage;
use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use crate::ground::{self, Acks, late, payload, whole_second};
use crate::harness::Nats;
use crate::lateness::Lateness;

/// Lateness of `count` commands that are due at one instant.
pub async fn burst(count: usize) -> Lateness {
    let nats = ground::start().await;
    stream(&nats).await;
    let due = whole_second(3 + count as i64 / 20_000);
    schedule(&nats, &vec![due; count]).await;
    assert!(Utc::now() < due, "scheduling took too long");
    late(&nats, "NATIVE", "native.target.>", count, |_| due).await
}

/// Lateness of commands when `rate` of them are due at every second.
pub async fn steady(rate: usize, seconds: usize) -> Lateness {
    let nats = ground::start().await;
    stream(&nats).await;
    let first = whole_second(3);
    let due: Vec<_> =
        (0..rate * seconds).map(|n| first + Duration::seconds((n / rate) as i64)).collect();
    schedule(&nats, &due).await;
    let due_of = |subject: &str| due[subject.rsplit('.').next().unwrap().parse::<usize>().unwrap()];
    late(&nats, "NATIVE", "native.target.>", rate * seconds, due_of).await
}

/// Creates a stream whose server publishes scheduled messages by itself.
async fn stream(nats: &Nats) {
    let config = json!({
        "name": "NATIVE", "subjects": ["native.>"], "storage": "file", "retention": "limits",
        "discard": "old", "num_replicas": nats.replicas(), "allow_msg_schedules": true, "allow_msg_ttl": true,
        "max_consumers": -1, "max_msgs": -1, "max_bytes": -1, "max_age": 0,
        "max_msgs_per_subject": -1, "max_msg_size": -1
    });
    let reply: Value = nats.js.request("STREAM.CREATE.NATIVE", &config).await.unwrap();
    assert!(reply.get("error").is_none(), "{reply}");
}

async fn schedule(nats: &Nats, due: &[DateTime<Utc>]) {
    let body: bytes::Bytes = payload().to_string().into();
    let mut acks = Acks::default();
    for (n, due) in due.iter().enumerate() {
        let message = PublishMessage::build()
            .payload(body.clone())
            .header("Nats-Schedule", format!("@at {}", due.to_rfc3339()))
            .header("Nats-Schedule-Target", format!("native.target.{n}"));
        acks.add(nats.js.send_publish(format!("native.schedule.{n}"), message).await.unwrap())
            .await;
    }
    acks.all().await;
}
