//! Update of a schedule.

use chrono::{DateTime, Utc};
use serde_json::json;

use super::super::change::{Decision, Rewritten, Wish};
use super::super::error::{ApiError, Code};
use super::super::reply::{Reply, ScheduleView};
use super::super::{Api, Caller, Checked};
use super::Named;
use crate::guards::{Guard, Guards as _};
use crate::index::At;
use crate::port::Nats;
use crate::schedule::{
    ChangeKind, FieldFault, Pins, Schedule, SkipCause, Status, TooLarge, UpdateSchedule,
    apply_update, differences,
};

impl Checked for UpdateSchedule {
    fn faults(&self, api: &Api<impl Nats>) -> Vec<FieldFault> {
        let Some(entry) = self.schedule_id.and_then(|id| api.index.get(id)) else {
            return Vec::new();
        };
        let mut schedule = Schedule::clone(&entry.schedule);
        apply_update(self, &mut schedule, &api.rules, api.clock.now()).err().unwrap_or_default()
    }

    fn named(&mut self) -> Option<Named<'_>> {
        Some(Named::live(&mut self.schedule_id, &mut self.schedule_name, &mut self.creator))
    }
}

/// State that an update replaces.
struct Before {
    old: Schedule,
    /// Where the reservation of the name is, if the schedule gets another name.
    reservation: Option<At>,
}

impl<N: Nats> Api<N> {
    /// Changes the given fields and no others. A new timing is planned at once; counters and history stay. After the
    /// reply no occurrence is claimed under the old state.
    ///
    /// Without `expected_revision`, an update that lost to another is made again from the new record, so updates of
    /// different fields never undo each other.
    ///
    /// # Errors
    /// `invalid`, `too_large`, `not_found`, `already_exists` (the new name is taken), `conflict`,
    /// `unavailable`.
    pub async fn update_schedule(
        &self,
        request: UpdateSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let actor = caller.actor();
        let (request, author) = (&request, caller.author(&actor));
        let wish = Wish { id, author, known: None, removes: false };
        let updating = |old, _, now| self.decide_update(request, old, now, author.actor, caller);
        let Rewritten { schedule, with: before } = self.change_by(wish, updating).await?;
        let schedule = schedule.ok_or_else(|| ApiError::no_schedule(id))?;
        Ok(self.updated(&schedule, before, caller).await)
    }

    /// Decides how an update changes a record.
    async fn decide_update(
        &self,
        request: &UpdateSchedule,
        old: Schedule,
        now: DateTime<Utc>,
        actor: &str,
        caller: &Caller,
    ) -> Result<Decision<Before>, ApiError> {
        if old.status == Status::Deleted {
            return Err(ApiError::no_schedule(old.id));
        }
        super::check_expected(request.expected_revision, &old)?;
        let mut schedule = old.clone();
        self.apply(request, &mut schedule, now, actor)?;
        if request.after.is_some() {
            self.check_after(&schedule).await?;
        }
        schedule.trace = caller.trace.map(Box::new).or_else(|| schedule.trace.take());
        self.store.room().admits(Some(&old), &schedule)?;
        let pins = match N::Guards::hold(Guard::Pin) {
            true => schedule.pin(&old),
            false => Pins::None,
        };
        if pins != Pins::None {
            self.store.room().admits_pins(&schedule, pins).map_err(still_to_be_sent)?;
        }
        let changes = differences(&old, &schedule);
        let fields: Vec<_> = changes.iter().map(|change| change["field"].clone()).collect();
        let details = json!({
            "updated_fields": fields, "changes": changes, "next_run_at": schedule.next_run_at,
            "updated_by": actor, "updated_at": now,
        });
        let renamed = schedule.spec.name != old.spec.name;
        let reservation = if renamed { self.name_revision(&old).await? } else { None };
        if renamed {
            // Repeated for each try: the reservation may have been taken over since the last one.
            self.reserve_name(&schedule, 0).await?;
        }
        let (schedule, kind) = (Box::new(schedule), ChangeKind::Updated);
        Ok(Decision::Change { schedule, kind, details, with: Before { old, reservation } })
    }

    /// Does what follows an accepted update, given the state before it.
    async fn updated(
        &self,
        schedule: &Schedule,
        before: Option<Before>,
        caller: &Caller,
    ) -> Reply<ScheduleView> {
        caller.permit.waits();
        let waited_ms = self.let_claims_pass(schedule).await;
        let updated_by = schedule.updated_by.as_deref();
        tracing::info!(schedule_id = %schedule.id, updated_by, "schedule updated");
        let mut reply = Reply::schedule(schedule, caller).waited(waited_ms);
        let Some(Before { old, reservation }) = before else { return reply };
        if let Some(reservation) = reservation {
            self.free_name_at(&old, reservation).await;
        }
        let (spec, before) = (&schedule.spec, &old.spec);
        if spec.target_command != before.target_command || spec.delivery != before.delivery {
            reply.warnings.extend(self.target_warning(schedule).await);
        }
        reply
    }

    fn apply(
        &self,
        request: &UpdateSchedule,
        schedule: &mut Schedule,
        now: DateTime<Utc>,
        actor: &str,
    ) -> Result<(), ApiError> {
        if request.changes_timing() {
            if schedule.backfill.is_some() {
                let message = format!("schedule {} is being backfilled", schedule.id);
                return Err(ApiError::new(Code::NotAllowed, message));
            }
            let cause = if schedule.fires() { SkipCause::Changed } else { SkipCause::Paused };
            self.skip_due(schedule, now, cause)?;
        }
        if request.is_active == Some(true)
            && !schedule.is_active
            && schedule.status == Status::Active
        {
            self.skip_due(schedule, now, SkipCause::Paused)?;
        }
        apply_update(request, schedule, &self.rules, now)?;
        super::touch(schedule, now, actor);
        Ok(())
    }
}

/// Error for a record without room for the payloads that an update replaces.
fn still_to_be_sent(error: TooLarge) -> ApiError {
    let mut refusal = ApiError::from(error);
    refusal.message =
        format!("{error} beside what it replaces, which is about to be sent; try again then");
    refusal
}
