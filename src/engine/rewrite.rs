//! Writes a record at the revision that the write was decided from, and waits for the one that came first.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::Shared;
use crate::index::{At, Entry};
use crate::jetstream::WriteError;
use crate::jetstream::schedules::Written;
use crate::names;
use crate::port::Nats;
use crate::schedule::Schedule;

/// Time for which a write with an unknown result is pursued before the record is left for later.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// Pause before a failed write is tried again.
pub(super) const RETRY: Duration = Duration::from_millis(500);

/// Writes a record that was decided from an entry, at the entry's revision, and updates this instance's index with it.
pub(super) async fn rewrite(
    shared: &Shared<impl Nats>,
    entry: &Entry,
    schedule: Arc<Schedule>,
    at: At,
) -> Result<Written, WriteError> {
    let deadline = Instant::now() + WRITE_DEADLINE;
    let written = shared.store.write(&schedule, at, deadline).await?;
    let trigger = entry.trigger.clone();
    shared.index.wrote(Entry { revision: written.revision, schedule, trigger });
    Ok(written)
}

/// Writes the record of an entry anew, unchanged: then writes that were decided from its former revision, and may still be on
/// their way, are refused.
pub(super) async fn fence(
    shared: &Shared<impl Nats>,
    entry: &Entry,
    at: At,
) -> Result<Written, WriteError> {
    let mut schedule = Schedule::clone(&entry.schedule);
    schedule.sign(shared.writer());
    rewrite(shared, entry, Arc::new(schedule), at).await
}

/// Waits until the index shows a newer revision than `entry`. The watch brings it within milliseconds; if it does not,
/// the leader is asked.
pub(super) async fn catch_up(shared: &Shared<impl Nats>, entry: &Entry) -> bool {
    let id = entry.schedule.id;
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        if shared.index.get(id).is_none_or(|now| now.revision > entry.revision) {
            return true;
        }
    }
    let key = names::schedule_key(id);
    match shared.store.read(&key).await {
        Ok(Some(stored)) if stored.revision < entry.revision => {
            warn!(schedule_id = %id, "the bucket has an older record than it showed");
            shared.index.doubt(id, entry.revision);
            false
        }
        Ok(Some(stored)) => {
            shared.index.apply(&key, stored.revision, stored.value.as_deref());
            true
        }
        Ok(None) => {
            shared.index.apply(&key, entry.revision, None);
            true
        }
        Err(error) => {
            warn!(schedule_id = %id, %error, "record not read; trying later");
            false
        }
    }
}
