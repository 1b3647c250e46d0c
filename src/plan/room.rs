//! How many more executions of a schedule may be under way.

use chrono::{DateTime, Utc};

use super::{MAX_ATTEMPTS, MAX_CLAIMED};
use crate::schedule::{Attempt, DeliveryMode, Overlap, Phase, Schedule};

/// How many more executions may be under way, by the overlap policy. A published command is done once its stream has
/// it; only replies and reports take time.
pub(crate) fn room(schedule: &Schedule) -> usize {
    if !schedule.spec.delivery.mode.takes_time() {
        return usize::MAX;
    }
    let allowed = match schedule.spec.overlap {
        Overlap::Allow => usize::from(schedule.spec.max_instances),
        Overlap::Skip | Overlap::BufferOne | Overlap::CancelOther => 1,
    };
    let takes_time = |attempt: &&Attempt| schedule.sends(attempt).delivery.mode.takes_time();
    let under_way = schedule.attempts.iter().filter(|attempt| is_under_way(attempt));
    let under_way = under_way.filter(takes_time).count();
    allowed.saturating_sub(under_way)
}

/// Whether a record has no place for another attempt. When an attempt has ended, its end may have to stay noted until the
/// schedules that follow have been told of it, so notes take places too.
pub(crate) fn is_full(schedule: &Schedule) -> bool {
    schedule.attempts.len() + schedule.ended.len() >= MAX_ATTEMPTS
}

/// When executions that have ended, but are not settled yet, made room, if others have to wait for it.
pub(super) fn room_since(schedule: &Schedule) -> Option<DateTime<Utc>> {
    let reported = schedule.attempts.iter().filter_map(|attempt| match &*attempt.phase {
        Phase::Reported { report, .. } => Some(report.at),
        _ => None,
    });
    reported.max().filter(|_| schedule.spec.delivery.mode.takes_time())
}

pub(super) fn is_under_way(attempt: &Attempt) -> bool {
    matches!(*attempt.phase, Phase::Claimed { .. } | Phase::Running { .. })
}

/// How many more occurrences may be claimed now.
pub(super) fn capacity(schedule: &Schedule) -> usize {
    room(schedule).min(MAX_CLAIMED.saturating_sub(claimed_count(schedule)))
}

pub(super) fn claimed_count(schedule: &Schedule) -> usize {
    schedule.attempts.iter().filter(|a| matches!(*a.phase, Phase::Claimed { .. })).count()
}

/// Whether one more execution may be claimed by the same write. Each request is claimed by itself, because it is made
/// under a permit of its own, and so is each execution that takes a slot.
pub(super) fn may_fire(schedule: &Schedule, fire: &[Attempt]) -> bool {
    let alone =
        schedule.spec.delivery.mode == DeliveryMode::Request || schedule.spec.group.is_some();
    !alone || fire.is_empty()
}
