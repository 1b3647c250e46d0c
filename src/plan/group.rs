//! Schedules that belong to a concurrency group: their executions wait for a slot.
//!
//! An occurrence that is due and finds no slot becomes a waiting attempt, as if it were buffered, and counts like one under
//! way: whether a further occurrence of the schedule waits behind it, replaces it or is skipped goes by the overlap policy.
//! With `catch_up` `all` those behind it wait in `next_run_at`, as they do for one under way.

use chrono::{DateTime, Utc};

use super::{View, backfill_at, capacity, may_begin_at, next_occurrence, room};
use crate::schedule::{Attempt, Schedule};

/// How many more executions may be under way, behind those that are due and wait for a slot.
pub(super) fn room_behind(schedule: &Schedule, now: DateTime<Utc>) -> usize {
    let is_due = |attempt: &&Attempt| attempt.waits_until().is_some_and(|due_at| due_at <= now);
    let room = room(schedule);
    match schedule.spec.group {
        Some(_) => room.saturating_sub(schedule.attempts.iter().filter(is_due).count()),
        None => room,
    }
}

/// How many occurrences wait for a slot, or for one that does.
fn waiting_for_slot(schedule: &Schedule) -> usize {
    let waits = |attempt: &&Attempt| attempt.number == 1 && attempt.waits();
    match schedule.spec.group {
        Some(_) => schedule.attempts.iter().filter(waits).count(),
        None => 0,
    }
}

/// A schedule's need for a slot of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// When it begins.
    pub at: DateTime<Utc>,
    /// Since when it has waited: since what wants the slot is due, or since its latest run began, so that a schedule with much
    /// to make up for takes turns with others. What is left of a backfill is due whenever there is room, and waits since
    /// somebody sees it.
    pub since: Option<DateTime<Utc>>,
}

/// When a schedule could use a slot of its group, if it has something to claim.
pub fn wants_slot(schedule: &Schedule, view: &impl View) -> Option<Wanted> {
    schedule.spec.group.as_ref()?;
    if view.is_outdated(schedule) {
        return None;
    }
    let halt = view.halt();
    let attempts =
        schedule.attempts.iter().filter_map(|attempt| may_begin_at(schedule, attempt, halt));
    let attempts = attempts.min().filter(|_| room(schedule) > 0);
    let next = next_occurrence(schedule).map(|next| schedule.due(next));
    let next = next.filter(|due| !halt.is_on(*due) && capacity(schedule) > 0);
    let since = attempts.into_iter().chain(next).min();
    match (since, backfill_at(schedule, halt)) {
        (Some(since), Some(backfill)) if backfill < since => {
            Some(Wanted { at: backfill, since: None })
        }
        (Some(at), _) => Some(Wanted { at, since: Some(at).max(schedule.last_run_at) }),
        (None, Some(backfill)) => Some(Wanted { at: backfill, since: None }),
        (None, None) => None,
    }
}

/// How many more occurrences may be claimed now, or wait for a slot of the group, if each waits for those before it.
pub(super) fn capacity_in_order(schedule: &Schedule) -> usize {
    capacity(schedule).saturating_sub(waiting_for_slot(schedule))
}
