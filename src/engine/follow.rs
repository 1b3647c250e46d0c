//! Runs dependent schedules: when an occurrence has ended, each schedule that follows runs once.
//!
//! The write that settles an occurrence also notes its end in the record, if another schedule follows this one. An
//! instance that sees the note adds an attempt to each dependent schedule by a compare-and-swap, under an id that is
//! derived from both; a later write then removes the note. A crash in between repeats this. An attempt that is already
//! in the record, or whose outcome is in the history, is not added again; even if that check failed, the id would still
//! be the same.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::join_all;
use tracing::{info, warn};
use uuid::Uuid;

use super::Shared;
use super::rewrite::{RETRY, catch_up, fence, rewrite};
use crate::execution::{Claim, Execution};
use crate::failpoint::failpoint;
use crate::index::{At, Entry};
use crate::jetstream::WriteError;
use crate::plan::{is_full, room};
use crate::port::Nats;
use crate::schedule::{
    Attempt, CatchUp, EndedOccurrence, Manual, Origin, Overlap, Phase, Schedule, SkipCause,
    SkippedRange, Status, TooLarge, execution_id,
};
use crate::stored::Unknown;

/// Warning about a dependent schedule that cannot be told while NATS is out of reach.
const UNTOLD: &str = "dependent schedule not told";
/// Pause before looking whether an instance of a newer version has told a schedule that we may not change.
const LEFT: Duration = Duration::from_secs(2);
/// Most ends that wait for such an instance while none is there: they take places of attempts in the record.
const MAX_LEFT: usize = 32;

/// Tells the schedules that follow `upstream` what has ended; returns the executions that all of them know of.
pub(crate) async fn follow(shared: &Shared<impl Nats>, upstream: Uuid) -> Vec<Uuid> {
    shared.let_others_go_first(upstream).await;
    let Some(entry) = shared.index.get(upstream) else { return Vec::new() };
    let (all, mut told, mut left) = (&entry.schedule.ended, Vec::new(), Vec::new());
    for ended in all {
        let dependents = shared.index.dependents(upstream).into_iter();
        let dependents = dependents.filter(|(_, on)| on.includes(ended.success));
        join_all(dependents.map(|(dependent, _)| async move {
            add(shared, dependent, upstream, ended).await;
            failpoint("after_follow");
        }))
        .await;
        let dependents = shared.index.dependents(upstream).into_iter();
        let dependents = dependents.filter(|(_, on)| on.includes(ended.success));
        let needs =
            dependents.filter_map(|(id, _)| Some((shared.index.needs_newer(id)?, id))).max();
        match needs {
            None => told.push(ended.execution_id),
            // The note stays for an instance of a newer version, which may write that record.
            Some(needs) => left.push((ended.execution_id, needs)),
        }
    }
    let beyond = left.len().saturating_sub(MAX_LEFT);
    for (execution_id, (needs, dependent)) in left.drain(..beyond) {
        if !shared.members.hears_one_for(needs) {
            warn!(
                schedule_id = %dependent,
                after = %upstream,
                %execution_id,
                "dependent schedule does not run: no instance of the version that may change it is there"
            );
            told.push(execution_id);
        }
    }
    if told.len() < all.len() {
        tokio::time::sleep(LEFT).await;
    }
    told
}

/// Adds an attempt to a dependent schedule, once.
async fn add(shared: &Shared<impl Nats>, dependent: Uuid, upstream: Uuid, ended: &EndedOccurrence) {
    let origin = Uuid::from_u128(dependent.as_u128() ^ ended.execution_id.as_u128());
    let id = execution_id(origin, ended.at, 1);
    loop {
        let sight = shared.store.sight();
        let Some(entry) = shared.index.get(dependent) else { return };
        let schedule = &entry.schedule;
        let known = schedule.attempts.iter().any(|attempt| attempt.execution_id == id);
        let ends = matches!(*schedule.status, Status::Deleted | Status::Completed | Status::Failed);
        if known || ends || schedule.purge || schedule.has_had_all() {
            return;
        }
        match shared.history.outcome(id).await {
            Ok(None) => {}
            Ok(Some(_)) => return,
            Err(error) => {
                shared.retries.fail(UNTOLD, dependent, None, &error);
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        let mut schedule = Schedule::clone(schedule);
        let attempt = new_attempt(shared, &schedule, id, upstream, ended);
        let full = is_full(&schedule);
        if full || !has_room(shared, &schedule, &attempt) {
            if let Some(claim) = claim_skip(shared, &entry, sight.at(entry.revision)).await {
                return skip(shared, &entry, &attempt, claim, ended).await;
            }
            continue;
        }
        if attempt.waits() {
            schedule.occurrence_count.add();
        }
        schedule.attempts.push(attempt.clone());
        schedule.last_scheduled_for = schedule.last_scheduled_for.max(Some(ended.at));
        schedule.sign(shared.writer());
        let schedule = Arc::new(schedule);
        match rewrite(shared, &entry, Arc::clone(&schedule), sight.at(entry.revision)).await {
            Ok(_) => {
                info!(schedule_id = %dependent, after = %upstream, execution_id = %id, "dependent schedule runs");
                return;
            }
            Err(WriteError::Conflict) => {
                catch_up(shared, &entry).await;
            }
            Err(WriteError::TooLarge(error)) => {
                let claim = unwritten(shared, &entry, &error);
                return skip(shared, &entry, &attempt, claim, ended).await;
            }
            Err(error) => {
                shared.retries.fail(UNTOLD, dependent, None, &error);
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Says in the history alone that a dependent schedule does not run: its record has no room even for that.
async fn skip(
    shared: &Shared<impl Nats>,
    entry: &Entry,
    attempt: &Attempt,
    claim: Claim,
    ended: &EndedOccurrence,
) {
    let range = SkippedRange::one(SkipCause::Limit, ended.at);
    let now = shared.clock.now();
    let skipped = Execution::skipped(&entry.schedule, attempt, range, claim, now);
    shared.history.record(&skipped).await;
}

/// The claim under which a schedule is skipped whose record cannot be written at all, since the server or the bucket takes
/// less than it did. Nobody can write it, so nothing needs to be fenced; and others that follow the same schedule must not
/// wait until somebody can.
fn unwritten(shared: &Shared<impl Nats>, entry: &Entry, error: &TooLarge) -> Claim {
    warn!(schedule_id = %entry.schedule.id, %error, "dependent schedule does not run: its record cannot be written");
    shared.claim_of(entry.revision)
}

/// Writes the record unchanged, so that this instance may say in the history that the schedule is skipped. Returns nothing
/// if another write came first, or the record cannot be written now.
async fn claim_skip(shared: &Shared<impl Nats>, entry: &Entry, at: At) -> Option<Claim> {
    match fence(shared, entry, at).await {
        Ok(written) => Some(shared.claim_of(written.revision)),
        Err(WriteError::Conflict) => {
            catch_up(shared, entry).await;
            None
        }
        Err(WriteError::TooLarge(error)) => Some(unwritten(shared, entry, &error)),
        Err(error) => {
            shared.retries.fail(UNTOLD, entry.schedule.id, None, &error);
            tokio::time::sleep(RETRY).await;
            None
        }
    }
}

/// Whether the record has room for another attempt.
fn has_room(shared: &Shared<impl Nats>, schedule: &Schedule, attempt: &Attempt) -> bool {
    let mut with = schedule.clone();
    with.attempts.push(attempt.clone());
    shared.store.room().admits_run(&with).is_ok()
}

/// The attempt to add; or a skipped one if the schedule is paused, or too slow for the schedule that it follows.
fn new_attempt(
    shared: &Shared<impl Nats>,
    schedule: &Schedule,
    execution_id: Uuid,
    upstream: Uuid,
    ended: &EndedOccurrence,
) -> Attempt {
    let scheduled_for: DateTime<Utc> = ended.at;
    let waits = |attempt: &&Attempt| attempt.waits();
    let (overlap, room) = (schedule.spec.overlap, room(schedule));
    // An attempt that came just before counts as having its room, though nobody has claimed it yet.
    let before = schedule.attempts.iter().filter(waits).filter(|one| one.number == 1).count();
    let may_wait = schedule.spec.catch_up == CatchUp::All
        || (matches!(overlap, Overlap::BufferOne | Overlap::CancelOther)
            && schedule.attempts.iter().filter(waits).count() <= room);
    let refusal = if !schedule.fires() {
        Some(SkipCause::Paused)
    } else if room <= before && !may_wait {
        Some(SkipCause::Overlap)
    } else {
        None
    };
    let phase = match refusal {
        None => Phase::Waiting { due_at: shared.clock.now() },
        Some(cause) => {
            let range = SkippedRange::one(cause, scheduled_for);
            Phase::Skipped { by: shared.members.me(), range }
        }
    };
    let manual = Manual {
        payload: None,
        correlation_id: ended.correlation_id.clone(),
        by: format!("schedule {upstream}"),
        trace: ended.trace,
        origin: Origin::Upstream,
        retry_of: None,
        unknown: Unknown::default(),
    };
    Attempt::beside(execution_id, scheduled_for, phase, manual)
}
