//! Announces changes of schedules: moves them from the record into the audit stream.
//!
//! This needs no claim. An event's id is its `Nats-Msg-Id`, so an event that two instances announce, or that one
//! announces twice after a crash, is stored once. A later write removes it from the record; until then every instance
//! that sees it announces it. The changes of a pause of all schedules wait with the pauses, and go the same way.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::Shared;
use super::core::Outlook as _;
use crate::failpoint::failpoint;
use crate::port::Nats;

/// Time for which the removal of announced changes is pursued.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Pause before it is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Announces the changes that wait with the pauses of all schedules, and takes them out there.
pub(crate) async fn announce_pauses(shared: &Shared<impl Nats>) {
    loop {
        if let Ok(delay) = shared.delay(Uuid::nil(), 0).to_std() {
            tokio::time::sleep(delay).await;
        }
        // A copy: who holds them does not honour newer ones.
        let events = shared.index.pauses().pauses.events.clone();
        if events.is_empty() {
            return;
        }
        failpoint("before_announcing");
        for change in &events {
            shared.history.audit().announce(Uuid::nil(), change).await;
            failpoint("after_announcing");
        }
        match shared.store.read_pauses().await {
            Ok((mut pauses, at)) => {
                let is_said = |id| events.iter().any(|event| event.event_id == id);
                let before = pauses.events.len();
                pauses.events.retain(|event| !is_said(event.event_id));
                let is_news = pauses.events.len() < before;
                pauses.token = shared.writer().token;
                let deadline = Instant::now() + WRITE_DEADLINE;
                let revision = match is_news {
                    true => shared.store.write_pauses(&pauses, at, deadline).await,
                    // Another instance has taken them out.
                    false => Ok(at.revision),
                };
                match revision {
                    Ok(revision) => shared.index.take_in_pauses(revision, pauses),
                    Err(error) => warn!(%error, "announced changes stay with the pauses for now"),
                }
            }
            Err(error) => warn!(%error, "cannot read the pauses of all schedules"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

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
