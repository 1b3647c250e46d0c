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
use super::rewrite::{RETRY, WRITE_DEADLINE};
use crate::execution::Rerun;
use crate::failpoint::failpoint;
use crate::jetstream::WriteError;
use crate::port::Nats;
use crate::schedule::Group;
use crate::schedule::keyed::Keyed;
use crate::schedule::{Calendar, Change};

/// How long to wait until the index shows that announced changes were removed.
const SEEN_WITHIN: Duration = Duration::from_millis(500);

/// Announces the changes that wait with what holds for all schedules, and takes them out there.
pub(crate) async fn announce_overall(shared: &Shared<impl Nats>) {
    loop {
        shared.let_others_go_first(Uuid::nil()).await;
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
        let _ = tokio::time::timeout(SEEN_WITHIN, shared.index.until_seen(latest)).await;
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
    revision_or_pause(taken_out.await).await
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
    revision_or_pause(taken_out.await).await
}

/// Removes events that were said; returns whether there were any.
fn take_out(events: &mut Vec<Change>, said: &[Change]) -> bool {
    let before = events.len();
    events.retain(|event| !said.contains(event));
    events.len() < before
}

/// The revision of a write; 0, after a pause, if it failed.
async fn revision_or_pause(written: Result<u64, WriteError>) -> u64 {
    match written {
        Ok(revision) => revision,
        Err(error) => {
            warn!(%error, "announced changes stay where they are for now");
            tokio::time::sleep(RETRY).await;
            0
        }
    }
}

/// Announces the events in a schedule's record, oldest first, and returns their ids.
///
/// Instances before this one in the order of preference go first; what they announce meanwhile is no longer in the
/// record.
pub(crate) async fn announce(shared: &Shared<impl Nats>, schedule: Uuid) -> Vec<Uuid> {
    shared.let_others_go_first(schedule).await;
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
