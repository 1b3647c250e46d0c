//! Restoration of a softly deleted schedule.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::super::change::{Decision, Wish};
use super::super::error::{ApiError, Code};
use super::super::reply::{Reply, ScheduleView};
use super::super::{Api, Caller, Checked};
use super::Named;
use crate::failpoint::failpoint;
use crate::port::Nats;
use crate::schedule::declared::which_fields;
use crate::schedule::{Calendars, ChangeKind, NotNow, Schedule, Status, restore};

which_fields! { request {
    /// A request to restore a softly deleted schedule.
    pub struct RestoreSchedule {
        /// The revision that the schedule must have.
        pub expected_revision: Option<u64>,
    }
} }

impl Checked for RestoreSchedule {
    fn named(&mut self) -> Vec<Named<'_>> {
        let named = Named::live(&mut self.schedule_id, &mut self.schedule_name, &mut self.creator);
        vec![named.deleted()]
    }
}

impl<N: Nats> Api<N> {
    /// Restores a softly deleted schedule with its former status, counters and history. Its next time is the first that
    /// is not due yet; what would have been due meanwhile is not made up for.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (it is not deleted), `already_exists` (its name is taken),
    /// `limit_exceeded`, `conflict`, `unavailable`.
    pub async fn restore_schedule(
        &self,
        request: RestoreSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let (actor, expected) = (caller.actor(), request.expected_revision);
        let wish = Wish { id, author: caller.author(&actor), known: None, removes: false };
        let actor = actor.as_str();
        let restoring =
            |schedule, revision, now| self.decide_restore(schedule, revision, now, expected, actor);
        let made = self.change_by(wish, restoring).await?;
        let schedule = made.schedule.ok_or_else(|| ApiError::no_schedule(id))?;
        tracing::info!(schedule_id = %id, restored_by = actor, "schedule restored");
        let mut reply = Reply::schedule(&schedule, caller);
        reply.warnings.extend(self.timing_warnings(&schedule));
        reply.warnings.extend(self.all_paused_warning());
        reply.warnings.extend(self.target_warning(&schedule).await);
        Ok(reply)
    }

    /// Decides how a restoration changes a record.
    async fn decide_restore(
        &self,
        mut schedule: Schedule,
        revision: u64,
        now: DateTime<Utc>,
        expected: Option<u64>,
        actor: &str,
    ) -> Result<Decision<()>, ApiError> {
        if schedule.status != Status::Deleted {
            return Err(super::refused(&schedule, NotNow::NotDeleted));
        }
        super::check_expected(expected, &schedule)?;
        if schedule.spec.group.is_some() || schedule.spec.timing.has_calendars() {
            self.must_catch_up().await?;
        }
        if let Some(name) = &schedule.spec.group
            && self.index.groups().get(name).is_none()
        {
            let message = format!("its group {:?} is gone: group.put makes it anew", **name);
            return Err(ApiError::new(Code::Conflict, message));
        }
        let calendars = self.index.calendars();
        let timing = &schedule.spec.timing;
        let mut named = timing.exclude.iter().chain(timing.only.iter());
        if let Some(name) = named.find(|name| calendars.get(name).is_none()) {
            let message = format!("its calendar {name:?} is gone: calendar.put makes it anew");
            return Err(ApiError::new(Code::Conflict, message));
        }
        bring_back(&mut schedule, &calendars, now, actor)?;
        // Repeated for each try: the reservation may have been taken over since the last one.
        let reserved = self.reserve_name(&schedule, revision).await?;
        failpoint("after_reserve");
        match self.admit(&schedule, &reserved).await {
            Ok(()) => {}
            // Another request is restoring it too.
            Err(error) if error.code == Code::Conflict => return Ok(Decision::Again),
            Err(error) => return Err(error),
        }
        let details = json!({
            "status": schedule.status, "next_run_at": schedule.next_run_at,
            "restored_by": actor, "restored_at": now,
        });
        let (schedule, kind) = (Box::new(schedule), ChangeKind::Restored);
        Ok(Decision::Change { schedule, kind, details, with: () })
    }
}

fn bring_back(
    schedule: &mut Schedule,
    calendars: &Calendars,
    now: DateTime<Utc>,
    actor: &str,
) -> Result<(), ApiError> {
    let trigger =
        schedule.spec.timing.trigger(schedule.id, calendars).map_err(|fault| vec![fault])?;
    restore(schedule, &trigger, now).map_err(|refused| super::refused(schedule, refused))?;
    super::touch(schedule, now, actor);
    Ok(())
}
