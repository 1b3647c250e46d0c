//! A reader that does nothing with the messages of a stream.

use std::time::Instant;

use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push};
use futures::StreamExt as _;

use crate::harness::Nats;

/// Reads a stream to its end; returns how many messages are `wanted` by their subjects, and the time in seconds.
pub async fn read(
    nats: &Nats,
    stream: &str,
    deliver_policy: DeliverPolicy,
    headers_only: bool,
    wanted: impl Fn(&str) -> bool,
) -> (usize, f64) {
    let started = Instant::now();
    let stream = nats.js.get_stream(stream).await.unwrap();
    let config = push::OrderedConfig {
        deliver_subject: nats.client.new_inbox(),
        deliver_policy,
        replay_policy: ReplayPolicy::Instant,
        filter_subject: ">".to_owned(),
        headers_only,
        ..push::OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(config).await.unwrap().messages().await.unwrap();
    let mut shown = 0;
    while let Some(message) = messages.next().await {
        let message = message.unwrap();
        shown += usize::from(wanted(&message.subject));
        if message.info().unwrap().pending == 0 {
            break;
        }
    }
    (shown, started.elapsed().as_secs_f64())
}
