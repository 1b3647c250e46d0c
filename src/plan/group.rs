//! Schedules that belong to a concurrency group: their executions wait for a slot.
//!
//! An occurrence that is due and finds no slot becomes a waiting attempt, as if it were buffered, and counts like one under
//! way: whether a further occurrence of the schedule waits behind it, replaces it or is skipped goes by the overlap policy.
//! With `catch_up` `all` occurrences wait in `next_run_at`, as they do for each other.

use chrono::{DateTime, Utc};

use super::{MAX_ATTEMPTS, View, capacity, next_occurrence, room, waits_for_its_time, waits_until};
use crate::schedule::{Phase, Schedule};

/// How many more executions may be under way, behind those that are due and wait for a slot.
pub(super) fn room_behind(schedule: &Schedule, now: DateTime<Utc>) -> usize {
    let waits = |phase: &Phase| matches!(phase, Phase::Waiting { due_at } if *due_at <= now);
    let room = room(schedule);
    match schedule.spec.group {
        Some(_) => {
            let waiting = schedule.attempts.iter().filter(|attempt| waits(&attempt.phase));
            room.saturating_sub(waiting.count())
        }
        None => room,
    }
}

/// Since when, or from when on, a schedule could use a slot of its group; `None` if it has nothing to claim.
pub fn wants_slot_at(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    schedule.spec.group.as_ref()?;
    if view.is_outdated(schedule) {
        return None;
    }
    let halt = view.halt();
    let attempts = schedule.attempts.iter().filter_map(|attempt| match &*attempt.phase {
        Phase::Waiting { due_at } => {
            let waits = waits_for_its_time(schedule, attempt.manual.as_deref());
            waits.then(|| waits_until(*due_at, attempt.manual.as_deref(), halt))
        }
        _ => None,
    });
    let attempts = attempts.min().filter(|_| room(schedule) > 0);
    let next = next_occurrence(schedule, false).map(|next| schedule.due(next));
    let next = next.filter(|due| !halt.is_on(*due) && capacity(schedule) > 0);
    let backfill = schedule.backfill.as_ref().filter(|_| {
        schedule.fires() && schedule.attempts.len() < MAX_ATTEMPTS && capacity(schedule) > 0
    });
    let backfill = backfill.map(|_| halt.until.max(DateTime::UNIX_EPOCH));
    [attempts, next, backfill].into_iter().flatten().min()
}
