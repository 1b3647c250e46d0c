//! Announces changes of schedules: moves them from the record into the audit stream.
//!
//! This needs no claim. An event's id is its `Nats-Msg-Id`, so an event that two instances announce, or that one
//! announces twice after a crash, is stored once. A later write removes it from the record; until then every instance
//! that sees it announces it.

use uuid::Uuid;

use super::Shared;
use super::core::Outlook as _;
use crate::failpoint::failpoint;
use crate::port::Nats;

/// Announces the events in a schedule's record, oldest first, and returns their ids.
///
/// Instances before this one in the order of preference go first; what they announce meanwhile is no longer in the
/// record.
pub(crate) async fn announce(shared: &Shared<impl Nats>, schedule: Uuid) -> Vec<Uuid> {
    if let Ok(delay) = shared.delay(schedule, 0).to_std() {
        tokio::time::sleep(delay).await;
    }
    let Some(entry) = shared.index.get(schedule) else { return Vec::new() };
    failpoint("before_announcing");
    let mut announced = Vec::new();
    for change in &entry.schedule.events {
        shared.history.audit().announce(schedule, change).await;
        failpoint("after_announcing");
        announced.push(change.event_id);
    }
    announced
}
