//! Creation of schedules by bulk requests.

use futures::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::Nats;

/// Schedules per request, and requests at once.
const AT_ONCE: usize = 100;
const REQUESTS: usize = 8;

/// Creates `count` schedules.
pub async fn create(nats: &Nats, count: usize, schedule: impl Fn(usize) -> Value) {
    let all: Vec<Value> = (0..count).map(schedule).collect();
    let mut replies = futures::stream::iter(all.chunks(AT_ONCE))
        .map(|part| async move { nats.request("bulk.create", &json!({ "schedules": part })).await })
        .buffer_unordered(REQUESTS);
    while let Some(reply) = replies.next().await {
        assert_eq!(reply["data"]["failed"], 0, "{reply}");
    }
}
