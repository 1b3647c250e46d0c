//! Announces changes of schedules: moves them from the record into the audit stream.
//!
//! This needs no claim. An event's id is its `Nats-Msg-Id`, so an event that two instances announce, or that one
//! announces twice after a crash, is stored once. A later write removes it from the record; until then every instance
//! that sees it announces it. The changes of what holds for all schedules wait with it, and go the same way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::Shared;
use super::core::Outlook as _;
use crate::execution::Rerun;
use crate::failpoint::failpoint;
use crate::jetstream::WriteError;
use crate::port::Nats;
use crate::schedule::Group;
use crate::schedule::keyed::Keyed;
use crate::schedule::{Calendar, Change};

/// Time for which the removal of announced changes is pursued.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Pause before that removal is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Announces the changes that wait with what holds for all schedules, and takes them out there.
pub(crate) async fn announce_overall(shared: &Shared<impl Nats>) {
    loop {
        if let Ok(delay) = shared.delay(Uuid::nil(), 0).to_std() {
            tokio::time::sleep(delay).await;
        }
        let index = &shared.index;
        let pauses = index.pauses();
        let calendars: Vec<Arc<Calendar>> = index.calendars().with_news().cloned().collect();
        let groups: Vec<Arc<Group>> = index.groups().with_news().cloned().collect();
        let reruns: Vec<Arc<Rerun>> = index.reruns().with_news().cloned().collect();
        let is_all = calendars.is_empty() && groups.is_empty() && reruns.is_empty();
        if pauses.events.is_empty() && is_all {
            return;
        }
        failpoint("before_announcing");
        let mut latest = 0;
        if !pauses.events.is_empty() {
            announce_all(shared, Uuid::nil(), &pauses.events).await;
            latest = latest.max(take_out_of_pauses(shared, &pauses.events).await);
        }
        for calendar in calendars {
            latest = latest.max(announce_keyed(shared, &*calendar).await);
        }
        for group in groups {
            latest = latest.max(announce_keyed(shared, &*group).await);
        }
        for rerun in reruns {
            latest = latest.max(announce_keyed(shared, &*rerun).await);
        }
        // Then they are not announced again.
        let _ = tokio::time::timeout(AGAIN, shared.index.until_seen(latest)).await;
    }
}

async fn announce_all(shared: &Shared<impl Nats>, of: Uuid, events: &[Change]) {
    for change in events {
        shared.history.audit().announce(of, change).await;
        failpoint("after_announcing");
    }
}

/// Takes announced changes out of the pauses of all schedules; returns the revision that shows it.
async fn take_out_of_pauses(shared: &Shared<impl Nats>, said: &[Change]) -> u64 {
    let taken_out = async {
        let (mut pauses, at) = shared.store.read_pauses().await?;
        if !take_out(&mut pauses.events, said) {
            // Another instance has taken them out.
            return Ok(at.revision);
        }
        pauses.token = shared.writer().token;
        shared.store.write_pauses(&pauses, at, Instant::now() + WRITE_DEADLINE).await
    };
    settle(taken_out.await).await
}

/// Announces the changes of a calendar, a group or a rerun and takes them out there, and removes its key if it was
/// deleted; returns the revision that shows it.
async fn announce_keyed<T: Keyed>(shared: &Shared<impl Nats>, seen: &T) -> u64 {
    let (id, name, said) = (seen.head().id, seen.head().name, seen.head().events);
    announce_all(shared, id, said).await;
    let taken_out = async {
        let (one, at) = shared.store.read_keyed::<T>(name).await?;
        let Some(mut one) = one else { return Ok(at.revision) };
        let is_news = one.take_out(said);
        if one.head().is_deleted && one.head().events.is_empty() {
            return shared.store.delete(&T::key(name), at).await;
        }
        if !is_news {
            return Ok(at.revision);
        }
        one.sign(shared.writer().token);
        shared.store.write_keyed(&one, at, Instant::now() + WRITE_DEADLINE).await
    };
    settle(taken_out.await).await
}

/// Removes events that were said; returns whether there were any.
fn take_out(events: &mut Vec<Change>, said: &[Change]) -> bool {
    let before = events.len();
    events.retain(|event| !said.contains(event));
    events.len() < before
}

async fn settle(written: Result<u64, WriteError>) -> u64 {
    match written {
        Ok(revision) => revision,
        Err(error) => {
            warn!(%error, "announced changes stay where they are for now");
            tokio::time::sleep(AGAIN).await;
            0
        }
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
