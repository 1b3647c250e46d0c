//! What to do with a schedule now: a function from values to values.
//!
//! [`plan`] works out the record as it should be written next and the actions that are allowed
//! once that write was accepted; [`settle`] folds an outcome into the record; [`wake_at`] says when
//! to look again. None of them knows a clock, a network or another schedule, and none walks a
//! backlog one occurrence at a time.
//!
//! An occurrence moves through the record like this; each arrow is one accepted write:
//!
//! ```text
//! next_run_at --plan--> claimed --settle--> (gone; counted)
//!      |                   |  \--settle, failed--> waiting --plan--> claimed (next attempt)
//!      |                   \--plan, its instance gone or its lease over--> claimed (same attempt)
//!      \--plan-----> skipped --settle--> (gone)
//! ```

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::execution::{Execution, ExecutionStatus};
use crate::schedule::{Attempt, DeliveryMode, Phase, Schedule, SkipCause, SkippedRange, Status};
use crate::trigger::Trigger;

/// Executions of a schedule under way at once; a further occurrence is skipped.
pub const MAX_CLAIMED: usize = 16;
/// Retries of a schedule that wait at once; further failures are not tried again.
pub const MAX_WAITING: usize = 16;
/// Attempts that a record holds; beyond it occurrences wait until some are settled.
pub const MAX_ATTEMPTS: usize = 64;
/// Longest wait before a retry.
const MAX_RETRY_DELAY_SECONDS: i64 = 3600;

/// What an instance knows of itself and the others.
pub trait View {
    /// The id of this instance.
    fn me(&self) -> Uuid;
    /// Whether this instance is acting on an execution right now.
    fn is_running(&self, execution: Uuid) -> bool;
    /// Whether an instance is known to run no more.
    fn is_gone(&self, instance: Uuid) -> bool;
    /// How far ahead of its time an occurrence may be claimed.
    fn lead(&self) -> Duration;
    /// How long this instance lets others go first with a schedule.
    fn delay(&self, schedule: Uuid) -> Duration;
    /// How long schedules that were deleted softly are kept.
    fn deleted_retention(&self) -> Duration;
}

/// A write and what may be done once it was accepted.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// The record to write.
    pub schedule: Schedule,
    /// Attempts to make.
    pub fire: Vec<Attempt>,
    /// Attempts of others to finish: their outcome may exist already.
    pub recover: Vec<Attempt>,
    /// Skipped occurrences to write to the history.
    pub skip: Vec<(Attempt, SkippedRange)>,
}

/// Works out what to do at `now`; `None` if nothing is.
///
/// `lease` is how long the claims of this plan hold against instances that are alive.
pub fn plan(
    schedule: &Schedule,
    trigger: &Trigger,
    now: DateTime<Utc>,
    view: &impl View,
    lease: Duration,
) -> Option<Plan> {
    let mut plan = Plan {
        schedule: schedule.clone(),
        fire: Vec::new(),
        recover: Vec::new(),
        skip: Vec::new(),
    };
    let claimed = Phase::Claimed { by: view.me(), at: now, until: now + lease };
    let mut overlaps = overlaps(schedule);
    for attempt in &mut plan.schedule.attempts {
        match &mut attempt.phase {
            Phase::Waiting { due_at }
                if waits_for_its_time(schedule, attempt.manual.is_some())
                    && !overlaps
                    && *due_at <= now =>
            {
                attempt.phase = claimed.clone();
                plan.fire.push(attempt.clone());
                overlaps = schedule.spec.delivery.mode == DeliveryMode::Request;
            }
            Phase::Claimed { by, at, until } => {
                let mine = *by == view.me() && view.is_running(attempt.execution_id);
                if !mine && (abandoned(*by, attempt.execution_id, view) || *until <= now) {
                    // The first claim's time stays: the command may have been sent since then.
                    attempt.phase = Phase::Claimed { by: view.me(), at: *at, until: now + lease };
                    plan.recover.push(attempt.clone());
                }
            }
            Phase::Skipped { by, range } if abandoned(*by, attempt.execution_id, view) => {
                *by = view.me();
                let range = *range;
                plan.skip.push((attempt.clone(), range));
            }
            _ => {}
        }
    }
    match next_occurrence(schedule) {
        Some(due) if due <= now => plan.occurrences(trigger, due, now, view.me(), claimed),
        Some(due) if due <= now + lead(schedule, view) => plan.ahead(trigger, due, claimed),
        _ => {}
    }
    plan.schedule.purge |= purge_at(schedule, view).is_some_and(|at| at <= now);
    let idle = plan.fire.is_empty() && plan.recover.is_empty() && plan.skip.is_empty();
    (!idle || plan.schedule.purge != schedule.purge).then_some(plan)
}

/// When a schedule that was deleted softly is removed.
fn purge_at(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    let kept = schedule.status == Status::Deleted && !schedule.purge;
    let deleted_at = schedule.deleted_at.filter(|_| kept && schedule.attempts.is_empty())?;
    deleted_at.checked_add_signed(view.deleted_retention())
}

/// Whether a waiting attempt is made when its time comes. A run by hand is, whatever the schedule
/// itself does, unless it is deleted.
fn waits_for_its_time(schedule: &Schedule, manual: bool) -> bool {
    schedule.fires() || (manual && schedule.status != Status::Deleted)
}

/// The next occurrence to act on, unless the record is full.
fn next_occurrence(schedule: &Schedule) -> Option<DateTime<Utc>> {
    let acts = schedule.fires() && schedule.attempts.len() < MAX_ATTEMPTS;
    schedule.next_run_at.filter(|_| acts)
}

/// How far ahead occurrences of a schedule are claimed. Not where an occurrence may have to give way
/// to the one before, nor while too many are claimed: that is decided when its time has come.
fn lead(schedule: &Schedule, view: &impl View) -> Duration {
    match schedule.spec.delivery.mode {
        DeliveryMode::Publish | DeliveryMode::Core if claimed_count(schedule) < MAX_CLAIMED => {
            view.lead()
        }
        _ => Duration::zero(),
    }
}

/// Whether an execution is under way that a new one must not overlap. Only replies take time: a
/// published command is done when its stream has it.
fn overlaps(schedule: &Schedule) -> bool {
    schedule.spec.delivery.mode == DeliveryMode::Request && claimed_count(schedule) > 0
}

fn claimed_count(schedule: &Schedule) -> usize {
    schedule.attempts.iter().filter(|a| matches!(a.phase, Phase::Claimed { .. })).count()
}

impl Plan {
    /// Acts on the occurrences from `due` to `now`: the latest one fires, if it can; the earlier
    /// ones become one entry.
    fn occurrences(
        &mut self,
        trigger: &Trigger,
        due: DateTime<Utc>,
        now: DateTime<Utc>,
        me: Uuid,
        claimed: Phase,
    ) {
        let just_before = |at: DateTime<Utc>| at - Duration::milliseconds(1);
        // A record may name a time that the trigger no longer yields, after an update of the time
        // zone data: it was promised, so it counts.
        let latest = trigger.latest_at_or_before(now).filter(|at| *at > due).unwrap_or(due);
        let grace = Duration::seconds(i64::from(self.schedule.spec.misfire_grace_seconds));
        let refusal = if now - latest > grace {
            Some(SkipCause::Missed)
        } else if overlaps(&self.schedule) {
            Some(SkipCause::Overlap)
        } else if claimed_count(&self.schedule) >= MAX_CLAIMED {
            Some(SkipCause::Limit)
        } else {
            None
        };
        let (earlier, earlier_last) = if latest > due {
            let last = trigger.latest_at_or_before(just_before(latest)).unwrap_or(due).max(due);
            (trigger.count_in(just_before(due), just_before(latest)).max(1), last)
        } else {
            (0, due)
        };
        match refusal {
            Some(SkipCause::Missed) => {
                let range =
                    SkippedRange { cause: SkipCause::Missed, last: latest, count: earlier + 1 };
                self.skip_range(due, range, me);
            }
            refusal => {
                if earlier > 0 {
                    let cause = SkipCause::Coalesced;
                    self.skip_range(
                        due,
                        SkippedRange { cause, last: earlier_last, count: earlier },
                        me,
                    );
                }
                if let Some(cause) = refusal {
                    self.skip_range(latest, SkippedRange { cause, last: latest, count: 1 }, me);
                } else {
                    let attempt = Attempt::new(self.schedule.id, latest, 1, claimed);
                    self.schedule.attempts.push(attempt.clone());
                    self.fire.push(attempt);
                }
            }
        }
        self.schedule.last_scheduled_for = self.schedule.last_scheduled_for.max(Some(latest));
        self.schedule.next_run_at = trigger.next_after(now.max(latest));
    }

    /// Claims an occurrence whose time has not come.
    fn ahead(&mut self, trigger: &Trigger, due: DateTime<Utc>, claimed: Phase) {
        let attempt = Attempt::new(self.schedule.id, due, 1, claimed);
        self.schedule.attempts.push(attempt.clone());
        self.fire.push(attempt);
        self.schedule.last_scheduled_for = self.schedule.last_scheduled_for.max(Some(due));
        self.schedule.next_run_at = trigger.next_after(due);
    }

    fn skip_range(&mut self, first: DateTime<Utc>, range: SkippedRange, me: Uuid) {
        let phase = Phase::Skipped { by: me, range };
        let attempt = Attempt::new(self.schedule.id, first, 1, phase);
        self.schedule.attempts.push(attempt.clone());
        self.skip.push((attempt, range));
    }
}

/// Whether nobody acts on an attempt any more: its instance is gone, or it is ours and forgotten
/// (we gave it up, or a write that we thought lost arrived late).
fn abandoned(by: Uuid, execution: Uuid, view: &impl View) -> bool {
    if by == view.me() { !view.is_running(execution) } else { view.is_gone(by) }
}

/// When to call [`plan`] for a schedule: `None` if only a change of the record can bring work.
pub fn wake_at(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    // A date that somebody wrote by hand may lie at the end of time.
    let polite = |at: DateTime<Utc>| {
        at.checked_add_signed(view.delay(schedule.id)).unwrap_or(DateTime::<Utc>::MAX_UTC)
    };
    let overlaps = overlaps(schedule);
    let attempts = schedule.attempts.iter().filter_map(|attempt| match &attempt.phase {
        Phase::Waiting { due_at } => {
            let waits = waits_for_its_time(schedule, attempt.manual.is_some()) && !overlaps;
            waits.then(|| polite(*due_at))
        }
        Phase::Claimed { by, .. } | Phase::Skipped { by, .. }
            if abandoned(*by, attempt.execution_id, view) =>
        {
            Some(if *by == view.me() { DateTime::UNIX_EPOCH } else { polite(DateTime::UNIX_EPOCH) })
        }
        Phase::Claimed { by, .. } if *by == view.me() => None,
        Phase::Claimed { until, .. } => Some(polite(*until)),
        Phase::Skipped { .. } => None,
    });
    let occurrence = next_occurrence(schedule).map(|due| polite(due - lead(schedule, view)));
    attempts.chain(occurrence).chain(purge_at(schedule, view).map(polite)).min()
}

/// When an attempt that failed at `now` is tried again: exponential from `retry_delay_seconds`.
/// `None` if it is not: its retries are used up, or too many others wait already.
pub fn retry_at(schedule: &Schedule, number: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let spec = &schedule.spec;
    let waiting = |attempt: &&Attempt| matches!(attempt.phase, Phase::Waiting { .. });
    let too_many = schedule.attempts.iter().filter(waiting).count() >= MAX_WAITING;
    if number > u32::from(spec.max_retries) || too_many {
        return None;
    }
    let doubled = i64::from(spec.retry_delay_seconds) << (number - 1).min(12);
    Some(now + Duration::seconds(doubled.min(MAX_RETRY_DELAY_SECONDS)))
}

/// Folds a final event into the record. Does nothing, and returns false, if the record no longer
/// holds the attempt: settling twice is settling once.
pub fn settle(schedule: &mut Schedule, ended: &Execution) -> bool {
    let Some(index) = schedule.attempts.iter().position(|a| a.execution_id == ended.id) else {
        return false;
    };
    let attempt = schedule.attempts.remove(index);
    match ended.status {
        ExecutionStatus::Success => schedule.success_count += 1,
        ExecutionStatus::Failed => schedule.failure_count += 1,
        ExecutionStatus::Skipped | ExecutionStatus::Cancelled | ExecutionStatus::Running => {}
    }
    if ended.status != ExecutionStatus::Skipped {
        schedule.run_count += 1;
        schedule.last_run_at = schedule.last_run_at.max(ended.started_at);
    }
    if let Some(due_at) = ended.retry_at
        && schedule.status != Status::Deleted
    {
        schedule.attempts.push(attempt.retry(schedule.id, due_at));
    }
    let over = schedule.next_run_at.is_none() && schedule.attempts.is_empty();
    if over && schedule.status == Status::Active {
        let recurs = schedule.spec.timing.schedule_type.recurs();
        let succeeded = ended.status == ExecutionStatus::Success;
        schedule.status = if recurs || succeeded { Status::Completed } else { Status::Failed };
    }
    true
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
