//! What to do with a schedule now: pure functions from values to values.
//!
//! [`plan`] works out the record to write next, and the actions that are allowed once that write was accepted;
//! [`settle`] folds an outcome into the record; [`wake_at`] says when to look again. None of them knows a clock, a
//! network or another schedule, and none walks a backlog one occurrence at a time.
//!
//! An occurrence moves through the record like this; each arrow is one accepted write:
//!
//! ```text
//! next_run_at --plan--> claimed --settle--> (gone; counted)
//!      |                |  |  \--settle, failed--> waiting --plan--> claimed (next attempt)
//!      |                |  \--plan, its instance gone or its lease over--> claimed (same attempt)
//!      |                \--settle, with a worker--> running --report, or plan, late--> reported
//!      |                                                        reported --settle--> (gone) or waiting
//!      |--plan, one under way--> waiting (buffered) --plan--> claimed
//!      \--plan-----> skipped --settle--> (gone)
//! ```

mod alerts;
mod attempts;
pub(crate) mod correct;
mod group;
mod occurrences;
mod renew;
mod replan;
mod resume;
mod room;
mod settle;
mod wake;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::moment::Moment as _;
use crate::schedule::{
    Attempt, CatchUp, DeliveryMode, Halt, Phase, Schedule, Sends, SkipCause, SkippedRange, Status,
};
use crate::trigger::Trigger;
pub(crate) use attempts::lease_for;
use attempts::token;
use group::capacity_in_order;
pub use group::{Wanted, wants_slot};
use renew::renew;
pub use renew::renewal_at;
use replan::replan;
use resume::{resume, resume_at};
use room::{capacity, claimed_count, is_under_way, may_fire, room_since};
pub(crate) use room::{is_full, room};
pub(crate) use settle::count;
pub use settle::{retry_at, settle};
pub use wake::{OnlySkips, is_ours_to_end, only_skips, wake_at};

/// How far ahead of its time an occurrence is claimed, so that only its command is left to send when the time comes.
pub const LEAD: Duration = Duration::milliseconds(500);
/// Longest lead: claims are made up to this far ahead when too much is due at once for [`LEAD`].
pub const MAX_LEAD: Duration = Duration::seconds(3);
/// Most executions of a schedule under way at once; a further occurrence is skipped.
pub const MAX_CLAIMED: usize = 16;
/// Most retries of a schedule that wait at once; further failures are not tried again.
pub const MAX_WAITING: usize = 16;
/// Most attempts that a record holds, together with ends of which schedules that follow have not been told; beyond it,
/// occurrences wait until some are settled.
pub const MAX_ATTEMPTS: usize = 64;
/// Most late occurrences that `catch_up` `all` makes up for.
pub const MAX_CATCH_UP: u64 = 1000;
/// Largest lateness at which an occurrence still runs with `catch_up` `none`.
const ON_TIME: Duration = Duration::seconds(5);
/// Least time that workers have to report again once they can.
const RECONNECTING: Duration = Duration::seconds(5);
/// Least time by which a claim outlasts the time that a reply may take.
const REPLY_MARGIN: Duration = Duration::seconds(30);
/// The author of changes that no user made.
pub const SCHEDULER: &str = "scheduler";

/// What an instance knows of itself and of the others.
pub trait View {
    /// The id of this instance.
    fn me(&self) -> Uuid;
    /// Whether this instance is acting on an execution right now.
    fn is_running(&self, execution: Uuid) -> bool;
    /// Whether an execution that this instance acts on has ended, and the history does not take its outcome.
    fn is_held_up(&self, _execution: Uuid) -> bool {
        false
    }
    /// Whether an instance is known to run no more.
    fn is_gone(&self, instance: Uuid) -> bool;
    /// Whether an instance seems to run no more, so that its work may be done for it where that does no harm.
    fn is_silent(&self, _instance: Uuid) -> bool {
        false
    }
    /// Whether the stream behind a target drops the copy of a command that another instance may send too.
    fn drops_copies(&self, _target: &str) -> bool {
        false
    }
    /// Whether the history is known to have the outcome of an execution.
    fn has_ended(&self, _execution: Uuid) -> bool {
        false
    }
    /// How far ahead of its time an occurrence is claimed.
    fn lead(&self) -> Duration;
    /// How far ahead an occurrence of a schedule may be claimed now, given all that is due soon.
    fn reach(&self, _schedule: &Schedule) -> Duration {
        self.lead()
    }
    /// Since when this instance would have heard everybody: silence before that means nothing.
    fn listening_since(&self) -> DateTime<Utc>;
    /// How long softly deleted schedules are kept.
    fn deleted_retention(&self) -> Duration;
    /// Whether the next time of a schedule has to be planned again by its calendars.
    fn is_outdated(&self, _schedule: &Schedule) -> bool {
        false
    }
    /// What the latest pause of all schedules means for claims.
    fn halt(&self) -> Halt {
        Halt::default()
    }
    /// When there was last room again in a schedule's group; what waited for that was not due before.
    fn group_room_since(&self, _schedule: &Schedule) -> Option<DateTime<Utc>> {
        None
    }
}

/// On what terms claims are made.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long they hold against instances that are alive.
    pub lease: Duration,
    /// Whether a schedule that belongs to a group may take a slot of it.
    pub admitted: bool,
    /// Whether the next occurrence may be claimed before its time.
    pub early: bool,
}

impl From<Duration> for Terms {
    /// Claims with a lease, ahead of their time too, of schedules that belong to no group or may take a slot.
    fn from(lease: Duration) -> Self {
        Self { lease, admitted: true, early: true }
    }
}

/// A write, and what may be done once it was accepted.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// The record to write.
    pub schedule: Schedule,
    /// Attempts to make.
    pub fire: Vec<Attempt>,
    /// Attempts of other instances to finish: their outcome may exist already.
    pub recover: Vec<Attempt>,
    /// Skipped occurrences to write to the history.
    pub skip: Vec<(Attempt, SkippedRange)>,
    /// Attempts with a reported end, and skipped occurrences of other instances, to write to the history unless it has
    /// their outcome.
    pub finish: Vec<Attempt>,
    /// When the attempts that had waited were due; once they are claimed, the record no longer says so.
    pub due: Vec<(Uuid, DateTime<Utc>)>,
}

/// Works out what to do at `now`; `None` if there is nothing to do.
pub fn plan(
    schedule: &Schedule,
    trigger: &Trigger,
    now: DateTime<Utc>,
    view: &impl View,
    terms: impl Into<Terms>,
) -> Option<Plan> {
    let terms = terms.into();
    if let Some(plan) = renew(schedule, now, view, terms.lease) {
        return Some(plan);
    }
    if let Some(plan) = replan(schedule, trigger, now) {
        return Some(plan);
    }
    if let Some(plan) = resume(schedule, trigger, now, view.me()) {
        return Some(plan);
    }
    let mut plan = Plan::of(schedule.clone());
    let (me, halt) = (view.me(), view.halt());
    let waits_for_slot = schedule.spec.group.is_some() && !terms.admitted;
    let claimed = Phase::Claimed { by: me, at: now, until: now.later(terms.lease) };
    plan.end_late_jobs(schedule, now, view);
    plan.take_over(schedule, now, view, terms.lease);
    plan.take_up_waiting(schedule, now, view, terms);
    plan.skip_halted(trigger, halt, now, me);
    let next = next_occurrence(&plan.schedule);
    let next = next.filter(|next| !halt.is_on(schedule.due(*next)));
    if let Some(next) = next
        && may_fire(schedule, &plan.fire)
    {
        let due = schedule.due(next);
        let may_claim = (!waits_for_slot).then_some(&claimed);
        if due <= now && schedule.spec.catch_up == CatchUp::All {
            plan.each_occurrence(trigger, next, now, me, may_claim);
        } else if due <= now {
            plan.occurrences(trigger, next, now, me, may_claim);
        } else if terms.early && due <= now.later(lead(&plan.schedule, view.reach(schedule))) {
            plan.fire_at(next, &claimed);
            plan.go_on(trigger, next);
        }
    }
    if !waits_for_slot {
        plan.backfill(trigger, now, halt, &claimed);
    }
    if plan.schedule.over_at().is_some_and(|at| at <= now) {
        plan.schedule.end_if_over(now);
    }
    alerts::overdue(&mut plan.schedule, now, view);
    plan.schedule.purge |= purge_at(schedule, view).is_some_and(|at| at <= now);
    let idle = plan.fire.is_empty()
        && plan.recover.is_empty()
        && plan.skip.is_empty()
        && plan.finish.is_empty()
        && plan.schedule == *schedule;
    (!idle).then_some(plan)
}

/// When a softly deleted schedule is removed.
fn purge_at(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    let kept = schedule.status == Status::Deleted && !schedule.purge;
    let deleted_at = schedule.deleted_at.as_ref();
    let deleted_at = deleted_at.filter(|_| kept && schedule.attempts.is_empty())?;
    Some(deleted_at.later(view.deleted_retention()))
}

/// When a waiting attempt may be made, by its schedule and a pause of all schedules; `None` while the schedule does not
/// fire. A run by hand waits for neither, but is not made once the schedule is deleted.
fn may_begin_at(schedule: &Schedule, attempt: &Attempt, halt: Halt) -> Option<DateTime<Utc>> {
    let due_at = attempt.waits_until()?;
    if attempt.is_by_hand() {
        return (schedule.status != Status::Deleted).then_some(due_at);
    }
    schedule.fires().then(|| due_at.max(halt.until))
}

/// The next occurrence to act on, unless the record is full or the occurrence has to wait for those before it.
fn next_occurrence(schedule: &Schedule) -> Option<DateTime<Utc>> {
    let acts = schedule.fires() && !is_full(schedule);
    let waits = schedule.spec.catch_up == CatchUp::All && capacity_in_order(schedule) == 0;
    schedule.next_run_at.filter(|_| acts && !waits)
}

/// When the rest of a backfill may go on, if there is room for it. Never while a calendar that the schedule names is
/// missing: the remaining times are not known then.
fn backfill_at(schedule: &Schedule, halt: Halt) -> Option<DateTime<Utc>> {
    let is_left = schedule.backfill.is_some() && schedule.fires() && !schedule.lacks_calendar();
    let has_room = !is_full(schedule) && capacity(schedule) > 0;
    (is_left && has_room).then(|| halt.until.max(DateTime::UNIX_EPOCH))
}

/// How far ahead occurrences of a schedule are claimed: not at all if an occurrence may have to give way to the one
/// before, or while too many are claimed, since that is decided when its time comes.
fn lead(schedule: &Schedule, most: Duration) -> Duration {
    match schedule.spec.delivery.mode {
        DeliveryMode::Publish | DeliveryMode::Core if claimed_count(schedule) < MAX_CLAIMED => most,
        _ => Duration::zero(),
    }
}

/// Whether the next occurrence of a schedule may be claimed at `now`, with the longest lead.
pub fn may_be_claimed_early(schedule: &Schedule, now: DateTime<Utc>, halt: Halt) -> bool {
    let early = lead(schedule, MAX_LEAD);
    let due = next_occurrence(schedule).map(|next| schedule.due(next));
    due.is_some_and(|due| !early.is_zero() && !halt.is_on(due) && due.earlier(early) <= now)
}

impl Plan {
    /// What the attempts to make send; those that are taken over send what they were claimed with.
    pub(crate) fn sends(&self) -> impl Iterator<Item = Sends<'_>> {
        self.fire.iter().chain(&self.recover).map(|attempt| self.schedule.sends(attempt))
    }

    /// Whether any of them waits for a reply.
    pub(crate) fn asks(&self) -> bool {
        self.sends().any(|sends| sends.delivery.mode == DeliveryMode::Request)
    }

    /// Skips what was due before the end of a pause of all schedules that is over.
    fn skip_halted(&mut self, trigger: &Trigger, halt: Halt, now: DateTime<Utc>, me: Uuid) {
        let is_halted = |next: DateTime<Utc>| halt.is_on(self.schedule.due(next));
        if halt.is_on(now) || !next_occurrence(&self.schedule).is_some_and(is_halted) {
            return;
        }
        let before = self.schedule.attempts.len();
        self.schedule.skip_due(trigger, halt.until.just_before(), SkipCause::Paused, me);
        self.tell_skips(before);
    }

    /// Adds what the attempts from index `first` on skip to what is to be written to the history.
    fn tell_skips(&mut self, first: usize) {
        let skips = self.schedule.attempts[first..].iter().filter_map(|attempt| {
            let range = attempt.phase.range()?;
            Some((attempt.clone(), range))
        });
        self.skip.extend(skips);
    }

    /// A plan whose write allows nothing.
    pub(crate) fn of(schedule: Schedule) -> Self {
        let (fire, recover, skip, finish) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { schedule, fire, recover, skip, finish, due: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
