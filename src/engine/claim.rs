//! Claims what is due: folds what has ended into the record, decides, writes.

use std::borrow::Cow;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::time::Instant;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::Shared;
use super::core::{Claiming, Done, Outlook as _};
use super::rewrite::{catch_up, rewrite};
use super::running::Begun;
use super::slots;
use crate::failpoint::{failpoint, panic_at};
use crate::guards::Guard;
use crate::index::{At, Entry, Overall};
use crate::jetstream::WriteError;
use crate::jetstream::schedules::Written;
use crate::load::Stage;
use crate::metrics::{Lock, LockFailure};
use crate::names;
use crate::plan::{Plan, Terms, count, plan, settle};
use crate::port::Nats;
use crate::schedule::{Attempt, Schedule, SkippedRange, Status, Taken};

/// A plan whose write was accepted, and what it allows.
pub(crate) struct Accepted {
    /// The record as written.
    pub(crate) schedule: Arc<Schedule>,
    /// Attempts to make.
    pub(crate) fire: Vec<Attempt>,
    /// Attempts of other instances to finish.
    pub(crate) recover: Vec<Attempt>,
    /// Skipped occurrences to write to the history.
    pub(crate) skip: Vec<(Attempt, SkippedRange)>,
    /// Attempts with a reported end, to write to the history.
    pub(crate) finish: Vec<Attempt>,
    /// When the attempts that had waited were due.
    due: Vec<(Uuid, DateTime<Utc>)>,
    /// The write that allows all this.
    pub(crate) written: Written,
}

impl Accepted {
    /// The attempts to make, each with whether another instance may have acted on it.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = (&Attempt, bool)> {
        let recover = self.recover.iter().map(|attempt| (attempt, true));
        self.fire.iter().map(|attempt| (attempt, false)).chain(recover)
    }

    /// All executions in the plan.
    pub(crate) fn executions(&self) -> impl Iterator<Item = Uuid> {
        let attempts = self.attempts().map(|(attempt, _)| attempt).chain(&self.finish);
        let attempts = attempts.chain(self.skip.iter().map(|(attempt, _)| attempt));
        attempts.map(|attempt| attempt.execution_id)
    }

    /// When the last of the attempts to make is due.
    fn latest_due(&self) -> Option<DateTime<Utc>> {
        self.fire.iter().map(|attempt| self.due_at(attempt)).max()
    }

    /// When an attempt is due.
    pub(crate) fn due_at(&self, attempt: &Attempt) -> DateTime<Utc> {
        let waited = self.due.iter().find(|(id, _)| *id == attempt.execution_id);
        waited.map_or_else(|| self.schedule.due_at(attempt), |(_, due_at)| *due_at)
    }
}

/// Result of trying to claim.
pub(crate) enum Claimed {
    /// A write was accepted.
    Accepted(Arc<Accepted>),
    /// There was nothing to do, or there no longer is.
    Nothing,
    /// NATS is out of reach or refuses: try later.
    Later,
}

/// What a try may do, which later tries may do less of.
struct Allowed {
    claiming: Claiming,
    /// Whether it may take a slot of the schedule's group.
    admitted: bool,
    /// Whether something is left for later.
    is_later: bool,
}

/// Folds `done` into the record of schedule `id`, decides what else is due, and writes the record; repeats this until a
/// write is accepted or nothing is left to write. Besides what to claim, it is told whether it may take a slot of the
/// schedule's group.
pub(crate) async fn claim(
    shared: &Shared<impl Nats>,
    id: Uuid,
    done: &Done,
    claiming: Claiming,
    admitted: bool,
) -> Claimed {
    let mut allowed = Allowed { claiming, admitted, is_later: false };
    loop {
        if let Some(claimed) = try_once(shared, id, done, &mut allowed).await {
            return claimed;
        }
    }
}

/// Tries once; `None` if it is to be tried again.
async fn try_once(
    shared: &Shared<impl Nats>,
    id: Uuid,
    done: &Done,
    allowed: &mut Allowed,
) -> Option<Claimed> {
    // The last try may have waited for NATS, and have read a record that is newer than all else that we know.
    if allowed.claiming != Claiming::None && !shared.is_up_to_date() {
        (allowed.claiming, allowed.is_later) = (Claiming::None, true);
    }
    let sight = shared.store.sight();
    // Held until the write is accepted or given up: until then this instance does not honour newer ones.
    let overall = shared.index.overall();
    let Some(entry) = shared.index.get(id) else {
        shared.end(done.executions());
        return Some(Claimed::Nothing);
    };
    let Some(plan) = decide(shared, &overall, &entry, done, allowed) else {
        shared.end(done.executions());
        return Some(if allowed.is_later { Claimed::Later } else { Claimed::Nothing });
    };
    let claims = !plan.fire.is_empty();
    let is_full = || !shared.store.room().admits_claims(&plan.schedule);
    if claims && allowed.claiming != Claiming::None && is_full() {
        // Settling what has ended makes room for what is to begin.
        warn!(schedule_id = %id, "no room to claim; only settling");
        (allowed.claiming, allowed.is_later) = (Claiming::None, true);
        return None;
    }
    match slot(shared, &plan, entry.revision).await {
        Some(Taken::Yes) => {}
        Some(Taken::Full) => {
            allowed.admitted = false;
            return None;
        }
        Some(Taken::Stale) if Box::pin(catch_up(shared, &entry)).await => return None,
        // What has ended is settled all the same, which may be what frees a slot.
        Some(Taken::Stale) | None => {
            (allowed.admitted, allowed.is_later) = (false, true);
            return None;
        }
    }
    if claims && plan.schedule.spec.group.is_some() && !shared.is_up_to_date() {
        // It may have waited for its slot.
        return None;
    }
    carry_out(shared, plan, &entry, sight.at(entry.revision), overall, (done, allowed)).await
}

/// Writes what a plan says, and so claims what it fires; `None` if it is to be tried again.
async fn carry_out(
    shared: &Shared<impl Nats>,
    mut plan: Plan,
    entry: &Entry,
    at: At,
    overall: Arc<Overall>,
    (done, allowed): (&Done, &mut Allowed),
) -> Option<Claimed> {
    let id = plan.schedule.id;
    plan.schedule.sign(shared.writer());
    let begun = Begun::new(shared, executions(&plan));
    panic_at("while_claiming");
    if !plan.fire.is_empty() {
        failpoint("before_claim");
    }
    let Plan { schedule, fire, recover, skip, finish, due } = plan;
    let schedule = Arc::new(schedule);
    let writing = shared.load.enter(Stage::Claiming);
    let result = write(shared, &schedule, entry, at).await;
    drop(writing);
    count_claims(shared, &result, fire.len(), recover.len());
    match result {
        Ok(written) => {
            shared.end(done.executions());
            if schedule.spec.group.is_some() {
                Box::pin(slots::free(shared, &schedule, done.executions())).await;
            }
            let accepted = Accepted { schedule, fire, recover, skip, finish, due, written };
            accepted.latest_due().into_iter().for_each(|due| shared.load.claimed(due));
            begun.keep();
            Some(Claimed::Accepted(Arc::new(accepted)))
        }
        Err(WriteError::Conflict) => {
            drop((begun, overall));
            debug!(schedule_id = %id, "another write came first");
            if !Box::pin(catch_up(shared, entry)).await {
                return Some(Claimed::Later);
            }
            if schedule.spec.group.is_some() {
                let executions = fire.iter().map(|attempt| attempt.execution_id);
                Box::pin(slots::free(shared, &schedule, executions)).await;
            }
            None
        }
        Err(WriteError::TooLarge(error)) if allowed.claiming != Claiming::None => {
            warn!(schedule_id = %id, %error, "no room to claim; only settling");
            (allowed.claiming, allowed.is_later) = (Claiming::None, true);
            None
        }
        Err(error) => {
            warn!(schedule_id = %id, %error, "record not written; trying later");
            Some(Claimed::Later)
        }
    }
}

/// Takes a slot for what a plan fires, if its schedule belongs to a group. Such a plan fires one execution at most.
async fn slot(shared: &Shared<impl Nats>, plan: &Plan, revision: u64) -> slots::Answer {
    match (&plan.schedule.spec.group, &plan.fire[..]) {
        (Some(_), [attempt, ..]) => {
            Box::pin(slots::take(shared, &plan.schedule, attempt.execution_id, revision)).await
        }
        _ => Some(Taken::Yes),
    }
}

/// Writes the record, or removes it if it was deleted for good and this settles its last attempt.
async fn write(
    shared: &Shared<impl Nats>,
    schedule: &Arc<Schedule>,
    entry: &Entry,
    at: At,
) -> Result<Written, WriteError> {
    if schedule.is_over() {
        let (key, sent) = (names::schedule_key(schedule.id), Instant::now());
        let revision = Box::pin(shared.store.delete(&key, at)).await?;
        shared.index.apply(&key, revision, None);
        return Ok(Written { revision, sight: at.sight, sent });
    }
    let is_replanned = entry.schedule.planned_with != schedule.planned_with;
    if is_replanned {
        failpoint("before_replan");
    }
    let written = rewrite(shared, entry, Arc::clone(schedule), at).await?;
    if is_replanned {
        failpoint("after_replan");
    }
    if is_resumed(&entry.schedule, schedule) {
        let next_run_at = schedule.next_run_at.map(|at| at.to_rfc3339());
        info!(schedule_id = %schedule.id, next_run_at, "schedule resumed: its pause is over");
        failpoint("after_resuming");
    }
    Ok(written)
}

/// Whether a write resumes a schedule whose pause ended by itself: nothing else that the engine writes does so.
fn is_resumed(before: &Schedule, after: &Schedule) -> bool {
    before.status == Status::Paused && after.status != Status::Paused
}

/// Counts the claims that a write carried.
fn count_claims(
    shared: &Shared<impl Nats>,
    result: &Result<Written, WriteError>,
    fire: usize,
    recover: usize,
) {
    for (lock, claims) in [(Lock::Claim, fire), (Lock::Takeover, recover)] {
        for _ in 0..claims {
            match result {
                Ok(_) => shared.metrics.claimed(lock),
                Err(WriteError::Conflict) => {
                    shared.metrics.claim_failed(lock, LockFailure::Conflict);
                }
                Err(_) => shared.metrics.claim_failed(lock, LockFailure::Unavailable),
            }
        }
    }
}

/// Works out what the record should look like next and what that allows; `None` if there is nothing to write.
fn decide(
    shared: &Shared<impl Nats>,
    overall: &Overall,
    entry: &Entry,
    done: &Done,
    &Allowed { claiming, admitted, .. }: &Allowed,
) -> Option<Plan> {
    let mut schedule = Cow::Borrowed(&*entry.schedule);
    let mut settled = schedule.is_over();
    let followed = !done.ended.is_empty() && shared.index.is_followed(schedule.id);
    for execution in &done.ended {
        let has_attempt = settle(schedule.to_mut(), execution, followed);
        if !has_attempt && !shared.holds(Guard::Settle) {
            count(schedule.to_mut(), execution, false);
        }
        settled |= has_attempt;
    }
    if schedule.events.iter().any(|event| done.announced.contains(&event.event_id)) {
        schedule.to_mut().events.retain(|event| !done.announced.contains(&event.event_id));
        settled = true;
    }
    if schedule.ended.iter().any(|ended| done.told.contains(&ended.execution_id)) {
        schedule.to_mut().ended.retain(|ended| !done.told.contains(&ended.execution_id));
        settled = true;
    }
    // With an occurrence that is claimed early, the plan would be more than what this work may do.
    let early = claiming != Claiming::Skips;
    let terms = Terms { lease: shared.lease(&schedule.spec), admitted, early };
    let now = shared.clock.now();
    let trigger = overall.calendars.restrict(&schedule.spec.timing, &entry.trigger);
    let planned = (claiming != Claiming::None)
        .then(|| plan(&schedule, &trigger, now, shared, terms))
        .flatten()
        .filter(|plan| match claiming {
            Claiming::All => true,
            Claiming::Fast => !plan.asks(),
            Claiming::Skips => plan.sends().next().is_none(),
            Claiming::None => false,
        });
    planned.or_else(|| {
        let schedule = settled.then(|| schedule.into_owned())?;
        Some(Plan::of(schedule))
    })
}

fn executions(plan: &Plan) -> Vec<Uuid> {
    let attempts = plan.fire.iter().chain(&plan.recover).chain(&plan.finish);
    let attempts = attempts.chain(plan.skip.iter().map(|(attempt, _)| attempt));
    attempts.map(|attempt| attempt.execution_id).collect()
}
