//! Renews claims whose executions have ended while the history does not take their outcomes: whoever took such an attempt
//! over would not know that it was made, and make it again.
//!
//! A renewal is a write of its own. What else is due for the schedule may have to wait for a permit or for its target's
//! rate, and the renewal waits for neither.

use chrono::{DateTime, Duration, Utc};

use super::attempts::lease_of;
use super::wake::renew_at;
use super::{Plan, View};
use crate::moment::Moment as _;
use crate::schedule::{AttemptEvent, Schedule};

/// When the first of a schedule's claims is to be renewed, if any is.
pub fn renewal_at(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    schedule.attempts.iter().filter_map(|attempt| renew_at(attempt, view)).min()
}

/// Renews the claims of a schedule that are to be renewed by `now`.
pub(super) fn renew(
    schedule: &Schedule,
    now: DateTime<Utc>,
    view: &impl View,
    lease: Duration,
) -> Option<Plan> {
    renewal_at(schedule, view).filter(|at| *at <= now)?;
    let mut plan = Plan::of(schedule.clone());
    for attempt in &mut plan.schedule.attempts {
        if renew_at(attempt, view).is_some_and(|at| at <= now) {
            let until = now.later(lease_of(schedule, attempt, lease));
            // Ignored: a claim can always be renewed.
            let _ = attempt.on(AttemptEvent::TakeOver { by: view.me(), until });
        }
    }
    Some(plan)
}
