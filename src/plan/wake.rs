//! When a schedule needs attention next, if its record does not change.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::*;

/// Whether nobody acts on an attempt any more: its instance is gone, or it is ours and we do not know it (we gave it
/// up, or a write that we thought lost arrived late).
pub(super) fn abandoned(by: Uuid, execution: Uuid, view: &impl View) -> bool {
    if by == view.me() { !view.is_running(execution) } else { view.is_gone(by) }
}

/// Whether a schedule has an attempt whose end was reported to this instance: no other writes it to the history.
pub fn is_ours_to_end(schedule: &Schedule, view: &impl View) -> bool {
    schedule.attempts.iter().any(|attempt| match *attempt.phase {
        Phase::Skipped { by, .. } | Phase::Corrected { by, .. } | Phase::Reported { by, .. } => {
            by == view.me() && !view.is_running(attempt.execution_id)
        }
        Phase::Waiting { .. } | Phase::Claimed { .. } | Phase::Running { .. } => false,
    })
}

/// Time before the end of its lease at which a claim is renewed: enough for several tries.
const RENEW: Duration = Duration::seconds(60);

/// When a claim of this instance is renewed, if it is.
pub(super) fn renew_at(attempt: &Attempt, view: &impl View) -> Option<DateTime<Utc>> {
    let Phase::Claimed { by, until, .. } = *attempt.phase else { return None };
    let is_ours = by == view.me() && view.is_held_up(attempt.execution_id);
    is_ours.then(|| until.earlier(RENEW))
}

/// When an attempt may be taken from another instance that seems to be gone, before that is certain. If that instance
/// is there after all and makes the attempt too, its target drops a copy, so nothing is lost by not waiting.
pub(super) fn spared_from(
    schedule: &Schedule,
    attempt: &Attempt,
    view: &impl View,
) -> Option<DateTime<Utc>> {
    let Phase::Claimed { by, at, .. } = *attempt.phase else { return None };
    let sends = schedule.sends(attempt);
    let is_kept = matches!(sends.delivery.mode, DeliveryMode::Publish | DeliveryMode::Job);
    // Asked first, so that the answer is known by the time it matters.
    let is_harmless = is_kept && by != view.me() && view.drops_copies(sends.target.as_str());
    let spared = is_harmless && view.is_silent(by) && !view.has_ended(attempt.execution_id);
    spared.then(|| schedule.due_at(attempt).max(at))
}

/// When [`plan`] finds something to do with a schedule: [`UNIX_EPOCH`](DateTime::UNIX_EPOCH) for work to do at once,
/// `None` if only a change of the record can bring work. A schedule that belongs to a group is taken to find no slot; see
/// [`wants_slot`](super::wants_slot).
pub fn wake_at(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    if view.is_outdated(schedule) {
        return Some(DateTime::UNIX_EPOCH);
    }
    let halt = view.halt();
    let occurrence = next_occurrence(schedule).map(|next| match schedule.due(next) {
        // It is skipped then.
        due if halt.is_on(due) => halt.until,
        due => due.earlier(lead(schedule, view.lead())),
    });
    occurrence.into_iter().chain(wake_besides(schedule, view)).min()
}

/// The finding that a schedule has nothing to do but write what a pause of all has skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnlySkips {
    /// When more is due, if ever.
    pub until: Option<DateTime<Utc>>,
}

/// Finds that [`plan`] would only skip what was due within a pause of all that is over by `now`; `None` if it would
/// do more, or nothing.
pub fn only_skips(
    schedule: &Schedule,
    trigger: &Trigger,
    now: DateTime<Utc>,
    view: &impl View,
) -> Option<OnlySkips> {
    let (halt, next) = (view.halt(), next_occurrence(schedule)?);
    if halt.is_on(now) || !halt.is_on(schedule.due(next)) || view.is_outdated(schedule) {
        return None;
    }
    let following = schedule.first_not_due(trigger, next, halt.until.just_before());
    // What may be claimed by now anyway takes the entry along, in one write.
    let reach = lead(schedule, view.reach(schedule));
    let following = following.map(|at| schedule.due(at).earlier(reach));
    let until = following.into_iter().chain(wake_besides(schedule, view)).min();
    until.is_none_or(|until| until > now).then_some(OnlySkips { until })
}

/// When there is something to do with a schedule besides its next occurrence.
fn wake_besides(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    let waits_for_slot = schedule.spec.group.is_some();
    let (room, halt) = (room(schedule), view.halt());
    let attempts = schedule.attempts.iter().filter_map(|attempt| match &*attempt.phase {
        Phase::Waiting { .. } => {
            may_begin_at(schedule, attempt, halt).filter(|_| room > 0 && !waits_for_slot)
        }
        Phase::Claimed { by, .. }
        | Phase::Skipped { by, .. }
        | Phase::Corrected { by, .. }
        | Phase::Reported { by, .. }
            if abandoned(*by, attempt.execution_id, view) =>
        {
            Some(DateTime::UNIX_EPOCH)
        }
        Phase::Claimed { by, .. } if *by == view.me() => renew_at(attempt, view),
        Phase::Claimed { until, .. } => {
            let spared = spared_from(schedule, attempt, view);
            Some(spared.map_or(*until, |at| at.min(*until)))
        }
        Phase::Running { .. } => lost_at(attempt, view).map(|(at, _)| at),
        Phase::Skipped { .. } | Phase::Corrected { .. } | Phase::Reported { .. } => None,
    });
    let backfill = backfill_at(schedule, halt).filter(|_| !waits_for_slot);
    let overdue = alerts::overdue_at(schedule, view);
    let (resumed, purge) = (resume_at(schedule), purge_at(schedule, view));
    let others = [backfill, resumed, overdue, purge, schedule.over_at()].into_iter().flatten();
    attempts.chain(others).min()
}

/// When a worker that has an attempt's command counts as lost, and whether that is because its time is over. It was not
/// silent while nobody could hear it.
pub(super) fn lost_at(attempt: &Attempt, view: &impl View) -> Option<(DateTime<Utc>, bool)> {
    let Phase::Running { since, deadline, heartbeat_seconds, heard_at, .. } = *attempt.phase else {
        return None;
    };
    let listening = view.listening_since();
    let deadline = deadline.max(listening.later((deadline - since).min(RECONNECTING)));
    let silent = heartbeat_seconds.zip(heard_at).map(|(seconds, heard_at)| {
        heard_at.max(listening).later(Duration::seconds(i64::from(seconds)))
    });
    Some(silent.filter(|silent| *silent < deadline).map_or((deadline, true), |at| (at, false)))
}
