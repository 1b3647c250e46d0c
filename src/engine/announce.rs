//! Announcing changes of schedules: from the record into the audit stream.
//!
//! No claim is needed. An event's id is its `Nats-Msg-Id`, so an event that two instances announce, or
//! one announces twice after a crash, is stored once. It leaves the record by a later write, and until
//! then whoever sees it announces it.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use tracing::warn;
use uuid::Uuid;

use super::Shared;
use super::core::Sight as _;
use crate::failpoint::failpoint;
use crate::jetstream::deliver::connected;
use crate::jetstream::writes::Place;
use crate::jetstream::{WriteError, names};
use crate::schedule::Change;

/// Pause between tries.
const RETRY: Duration = Duration::from_millis(500);

/// Announces what a schedule's record holds, oldest first, and returns the ids of the events.
///
/// Others may go first; what they have announced meanwhile is not there any more.
pub(crate) async fn announce(shared: &Shared, schedule: Uuid) -> Vec<Uuid> {
    if let Ok(delay) = shared.delay(schedule, 0).to_std() {
        tokio::time::sleep(delay).await;
    }
    let Some(entry) = shared.index.get(schedule) else { return Vec::new() };
    failpoint("before_announcing");
    let mut announced = Vec::new();
    for change in &entry.schedule.events {
        publish(shared, schedule, change).await;
        failpoint("after_announcing");
        announced.push(change.event_id);
    }
    announced
}

async fn publish(shared: &Shared, schedule: Uuid, change: &Change) {
    let subject = names::schedule_subject(change.kind.event(), schedule);
    let message = |change: &Change| {
        let body = Bytes::copy_from_slice(change.body.get().as_bytes());
        PublishMessage::build().payload(body).message_id(change.event_id.to_string())
    };
    let (mut message, mut complained, mut is_bare) = (message(change), false, false);
    let mut insistent = shared.store.writes().insist(Place::Audit);
    loop {
        connected(&shared.js.client()).await;
        let sent = match shared.js.send_publish(subject.clone(), message.clone()).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        let Err(error) = sent.map_err(WriteError::from) else { return };
        // Perhaps it is too large: that it was done matters more than all that was said of it.
        if matches!(error, WriteError::Refused(_)) && !std::mem::replace(&mut is_bare, true) {
            let bare = Bytes::copy_from_slice(change.bare().body.get().as_bytes());
            message = message.payload(bare);
            continue;
        }
        insistent.failed(&error);
        if !std::mem::replace(&mut complained, true) {
            warn!(schedule_id = %schedule, event = change.kind.event(), %error, "change cannot be announced; trying on");
        }
        tokio::time::sleep(RETRY).await;
    }
}
