//! Resumes a schedule whose pause ends by itself.
//!
//! The pause ends at its `resume_at`, however late an instance acts on it. What was due before that is skipped as
//! paused; what is due then or later is acted on, and if it is late, then by the schedule's policy for that. So it makes
//! no difference who resumes it, or whether an instance ran at the time.
//!
//! It is one write: the status, the entry of what was skipped, and the event. Of several instances one is accepted; the
//! others find a schedule that is not paused.
//!
//! | crash | what is left | what happens |
//! |---|---|---|
//! | before the write | a paused schedule whose time has come | the next instance that looks resumes it |
//! | after the write | an active schedule, a skipped attempt, an event | the attempt is taken over, the event announced |
//!
//! Nothing else is claimed by that write: what is due now that the schedule fires again may have to wait for a permit or
//! for its target's rate, and the resumption waits for neither.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::{Plan, SCHEDULER};
use crate::moment::Moment as _;
use crate::schedule::{Author, Change, ChangeKind, Schedule, Status, execution_id};
use crate::trigger::Trigger;

/// When a paused schedule is to be resumed.
pub(super) fn resume_at(schedule: &Schedule) -> Option<DateTime<Utc>> {
    schedule.resume_at().filter(|_| schedule.status == Status::Paused)
}

/// Resumes a schedule whose pause is over at `now`, in the name of the service, and notes that as a change.
pub(super) fn resume(
    schedule: &Schedule,
    trigger: &Trigger,
    now: DateTime<Utc>,
    me: Uuid,
) -> Option<Plan> {
    let at = resume_at(schedule).filter(|at| *at <= now)?;
    let mut plan = Plan::of(schedule.clone());
    let correlation_id = schedule.resumption.as_ref()?.correlation_id.as_str();
    let resumed = &mut plan.schedule;
    let before = resumed.attempts.len();
    resumed.resume(trigger, at, at.just_before(), me).ok()?;
    resumed.updated_at = now;
    resumed.updated_by = Some(SCHEDULER.into());
    // Derived, not drawn: whoever decides, and however late, gives the same id.
    let event_id = execution_id(schedule.id, at, 0);
    resumed.note_change(event_id);
    let next_run_at = resumed.next_run_at;
    let details = json!({ "next_run_at": next_run_at, "resumed_by": SCHEDULER, "resumed_at": now });
    let author = Author { actor: SCHEDULER, correlation_id };
    let change = Change::new(event_id, ChangeKind::Resumed, resumed, author, now, details);
    resumed.events.push(change);
    plan.tell_skips(before);
    Some(plan)
}
