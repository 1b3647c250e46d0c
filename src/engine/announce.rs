//! Announcing changes of schedules: from the record into the audit stream.
//!
//! No claim is needed. An event's id is its `Nats-Msg-Id`, so an event that two instances announce, or
//! one announces twice after a crash, is stored once. It leaves the record by a later write, and until
//! then whoever sees it announces it.

use uuid::Uuid;

use super::Shared;
use super::core::Outlook as _;
use crate::failpoint::failpoint;
use crate::port::Nats;

/// Announces what a schedule's record holds, oldest first, and returns the ids of the events.
///
/// Others may go first; what they have announced meanwhile is not there any more.
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
