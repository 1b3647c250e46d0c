//! Records whose times lie in the future: an instance with a fast clock wrote them, or the clock of NATS was set back.
//!
//! Such a record says that occurrences have been acted on that are not due yet, so the schedule is silent until then.
//! [`correct`] plans it again from now. Occurrences that were really acted on keep their times
//! ([`Schedule::acted_ahead`]), so that none runs twice. Those that were only skipped were never due, and the history
//! is told so: the attempt of a skipped range is put back, in the phase `corrected`.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use crate::moment::Moment as _;
use crate::schedule::{Attempt, AttemptEvent, Phase, Schedule, SkippedRange};
use crate::trigger::Trigger;

/// How far ahead the times of a record may lie: an occurrence is claimed up to [`MAX_LEAD`](super::MAX_LEAD) before its
/// time, by an instance whose time may be off by half a second.
pub const MAX_AHEAD: Duration = Duration::seconds(4);
/// Most future times that are kept as acted on, the nearest ones. By the time the others come, the history has their
/// outcome.
pub const MAX_KEPT: usize = 64;

/// What the history has on the occurrences of a schedule that were acted on ahead of their time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ActedAhead {
    /// Nominal times at which executions were made.
    pub made: Vec<DateTime<Utc>>,
    /// Ranges that were skipped: the id of their entry, their first time, and the rest.
    pub skipped: Vec<(Uuid, DateTime<Utc>, SkippedRange)>,
}

/// Whether a record has times that nobody can have acted on at `now`.
pub fn lies_ahead(schedule: &Schedule, now: DateTime<Utc>) -> bool {
    let limit = now.later(MAX_AHEAD);
    let recurs = schedule.spec.timing.schedule_type.recurs();
    recurs
        && (schedule.last_scheduled_for.is_some_and(|at| at > limit)
            || schedule.updated_at > limit
            || schedule.last_run_at.is_some_and(|at| at > limit))
}

/// Plans a record that [`lies_ahead`] again from `now` on, given what the history knows. `me` is the instance that will
/// write to the history which skips were void.
pub fn correct(
    schedule: &mut Schedule,
    trigger: &Trigger,
    acted: &ActedAhead,
    now: DateTime<Utc>,
    me: Uuid,
) {
    let mut void = Vec::new();
    for attempt in &mut schedule.attempts {
        put_back(attempt, trigger, now, &mut void);
    }
    schedule.attempts.retain(|attempt| !void.contains(&attempt.execution_id));
    let ahead = |at: &DateTime<Utc>| *at > now;
    let under_way = schedule.attempts.iter().map(|attempt| attempt.scheduled_for);
    let mut kept: Vec<_> = under_way
        .chain(acted.made.iter().copied())
        .chain(schedule.acted_ahead.iter().copied())
        .filter(ahead)
        .collect();
    kept.sort_unstable();
    kept.dedup();
    kept.truncate(MAX_KEPT);
    schedule.acted_ahead = kept.into();
    let void = acted.skipped.iter().filter(|(_, _, range)| range.last > now);
    for (id, first, range) in void.take(MAX_KEPT) {
        let phase = Phase::Corrected { by: me, range: due_by(trigger, *first, *range, now) };
        let mut attempt = Attempt::new(schedule.id, *first, 1, phase);
        attempt.execution_id = *id;
        schedule.attempts.push(attempt);
    }
    schedule.last_scheduled_for = schedule.last_scheduled_for.min(Some(now));
    schedule.last_run_at = schedule.last_run_at.min(Some(now));
    schedule
        .standing
        .iter_mut()
        .for_each(|standing| standing.each_instant(|at| *at = now.min(*at)));
    schedule.updated_at = schedule.updated_at.min(now);
    schedule.next_run_at = schedule.next_free(trigger, now).filter(|_| !schedule.has_had_all());
    schedule.planned_with = trigger.versions().to_vec().into();
}

/// The part of a skipped range that is really due by `now`.
fn due_by(
    trigger: &Trigger,
    first: DateTime<Utc>,
    range: SkippedRange,
    now: DateTime<Utc>,
) -> SkippedRange {
    let last = trigger.latest_at_or_before(now).filter(|last| *last >= first);
    let count = last.map_or(0, |last| trigger.count_in(first.just_before(), last));
    SkippedRange { last: last.unwrap_or(first), count, ..range }
}

/// Puts back the times of an attempt that lie ahead; adds the id of an attempt that is void to `void`.
fn put_back(attempt: &mut Attempt, trigger: &Trigger, now: DateTime<Utc>, void: &mut Vec<Uuid>) {
    let first = attempt.scheduled_for;
    let event = match *attempt.phase {
        // How long it was to wait is no longer known; it has waited long enough.
        Phase::Waiting { .. } if first > now => AttemptEvent::PutBack { now },
        Phase::Running { .. } => AttemptEvent::PutBack { now },
        // The history does not have it yet.
        Phase::Skipped { range, .. } if range.last > now => {
            let range = due_by(trigger, first, range, now);
            if range.count == 0 {
                void.push(attempt.execution_id);
            }
            AttemptEvent::Narrow { range }
        }
        _ => return,
    };
    // An attempt that has been running since a time already past stays as it is.
    let _ = attempt.on(event);
}

#[cfg(test)]
mod tests;
