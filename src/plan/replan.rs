//! Plans a schedule again whose calendars have changed.
//!
//! The calendars count from when they were changed, however late an instance acts on the schedule: its next time is the
//! first that is open from then on. If its former next time had come by then, it was due, and stays. What was acted on is
//! not used again. Nothing else is decided by that write. It is made at the record's revision, and whoever sees it has
//! seen the calendars before: so nothing is claimed by the former calendars after it.
//!
//! A crash before the write leaves a record that the next instance which looks at it plans again; a crash after it leaves
//! nothing to do.

use chrono::{DateTime, Utc};

use super::Plan;
use crate::schedule::{Schedule, Status};
use crate::trigger::Trigger;

/// Plans a schedule by a trigger whose calendars are not those that it was planned with.
pub(super) fn replan(schedule: &Schedule, trigger: &Trigger, now: DateTime<Utc>) -> Option<Plan> {
    let is_planned = matches!(*schedule.status, Status::Active | Status::Paused) && !schedule.purge;
    if !is_planned || schedule.planned_with[..] == *trigger.versions() {
        return None;
    }
    let mut plan = Plan::of(schedule.clone());
    let since = trigger.calendars_since();
    let changed = since.unwrap_or(now).max(schedule.updated_at).min(now);
    if since.is_some() && schedule.next_run_at.is_some_and(|next| next <= changed) {
        plan.schedule.planned_with = trigger.versions().to_vec().into();
        return Some(plan);
    }
    plan.schedule.plan_from(Some(trigger.without_calendars()), trigger, changed);
    if plan.schedule.has_had_all() {
        plan.schedule.next_run_at = None;
    }
    plan.schedule.end_if_over(now);
    Some(plan)
}
