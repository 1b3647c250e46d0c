//! Update of a schedule.

use std::iter;

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::super::change::{Decision, Rewritten, Wish};
use super::super::error::{ApiError, Code};
use super::super::reply::{Reply, ScheduleView};
use super::super::{Api, Caller, Checked};
use super::Named;
use super::advice::time_over;
use super::coming::Coming;
use super::reservations::already_exists;
use crate::guards::{Guard, Guards as _};
use crate::index::At;
use crate::port::Nats;
use crate::schedule::{
    ChangeKind, CreateSchedule, FieldFault, Pins, Schedule, SkipCause, Spec, Status, TooLarge,
    UpdateSchedule, apply_declaration, apply_update, differences,
};

impl Checked for UpdateSchedule {
    fn faults(&self, api: &Api<impl Nats>) -> Vec<FieldFault> {
        let Some(entry) = self.schedule_id.and_then(|id| api.index.get(id)) else {
            return Vec::new();
        };
        let mut schedule = Schedule::clone(&entry.schedule);
        apply_update(self, &mut schedule, &api.rules(), api.clock.now()).err().unwrap_or_default()
    }

    fn named(&mut self) -> Vec<Named<'_>> {
        let own = Named::live(&mut self.schedule_id, &mut self.schedule_name, &mut self.creator);
        iter::once(own).chain(Named::upstream(&mut self.after, None)).collect()
    }
}

/// Coming times that a difference shows by default.
pub(super) const SHOWN: u64 = 5;

/// What a schedule is to become.
#[derive(Clone, Copy)]
pub(super) enum Wanted<'a> {
    /// Some fields change.
    Updated(&'a UpdateSchedule),
    /// It is declared as a whole, by the owner that this names; `adopt` takes it over if it has none.
    Declared { declared: &'a CreateSchedule, adopt: bool, coming: &'a Coming },
}

/// State that an update replaces.
pub(super) struct Before {
    pub(super) old: Schedule,
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
        let (wanted, expected) = (Wanted::Updated(&request), request.expected_revision);
        if request.dry_run == Some(true) {
            return self.try_update(id, wanted, expected, SHOWN, caller).await;
        }
        let actor = caller.actor();
        let author = caller.author(&actor);
        let wish = Wish { id, author, known: None, removes: false };
        let updating =
            |old, _, now| self.decide_update(wanted, expected, old, now, author.actor, caller);
        let Rewritten { schedule, with: before } = self.change_by(wish, updating).await?;
        let schedule = schedule.ok_or_else(|| ApiError::no_schedule(id))?;
        let Some(before) = before else { return Ok(Reply::schedule(&schedule, caller)) };
        let reply = self.updated(&schedule, before, caller).await;
        caller.permit.waits();
        Ok(reply.waited(self.let_claims_pass(&schedule).await))
    }

    /// Shows what an update would do, with the next `count` times where they change.
    pub(super) async fn try_update(
        &self,
        id: Uuid,
        wanted: Wanted<'_>,
        expected: Option<u64>,
        count: u64,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let (old, _) = self.read_schedule(id).await?;
        let (now, actor) = (self.clock.now(), caller.actor());
        let new = self.updated_record(wanted, expected, &old, now, &actor, caller).await?;
        if new.spec.name != old.spec.name
            && let Some(other) = self.look_up(&new.created_by, &new.spec.name).await?
        {
            return Err(already_exists(&new.spec.name, other));
        }
        let difference = Some(Box::new(self.difference(&old, &new, true, count)));
        Ok(Reply { difference, ..Reply::schedule(&new, caller) })
    }

    /// The record that an update makes of another, if it may.
    async fn updated_record(
        &self,
        wanted: Wanted<'_>,
        expected: Option<u64>,
        old: &Schedule,
        now: DateTime<Utc>,
        actor: &str,
        caller: &Caller,
    ) -> Result<Schedule, ApiError> {
        if old.status == Status::Deleted {
            return Err(ApiError::no_schedule(old.id));
        }
        super::check_expected(expected, old)?;
        if let Wanted::Declared { declared, adopt, .. } = wanted {
            check_owner(old, declared.owner.as_deref().unwrap_or_default(), adopt)?;
        }
        let mut schedule = old.clone();
        if !self.apply(wanted, &mut schedule, now, actor)? {
            return Ok(schedule);
        }
        let is_coming = matches!(wanted, Wanted::Declared { coming, .. } if coming.has(&schedule));
        if schedule.spec.timing.follows() != old.spec.timing.follows() && !is_coming {
            self.check_after(&schedule).await?;
        }
        schedule.trace = caller.trace.map(Box::new).or_else(|| schedule.trace.take());
        self.store.room().admits(Some(old), &schedule)?;
        let pins = match N::Guards::hold(Guard::Pin) {
            true => schedule.pin(old),
            false => Pins::None,
        };
        if pins != Pins::None {
            self.store.room().admits_pins(&schedule, pins).map_err(still_to_be_sent)?;
        }
        Ok(schedule)
    }

    /// Decides how an update changes a record.
    pub(super) async fn decide_update(
        &self,
        wanted: Wanted<'_>,
        expected: Option<u64>,
        old: Schedule,
        now: DateTime<Utc>,
        actor: &str,
        caller: &Caller,
    ) -> Result<Decision<Before>, ApiError> {
        let schedule = self.updated_record(wanted, expected, &old, now, actor, caller).await?;
        let changes = differences(&old, &schedule);
        if changes.is_empty() && matches!(wanted, Wanted::Declared { .. }) {
            return Ok(Decision::Keep(Box::new(old)));
        }
        let fields: Vec<_> = changes.iter().map(|change| &change.field).collect();
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

    /// Does what follows an accepted update, given the state before it, but for waiting until claims have passed.
    pub(super) async fn updated(
        &self,
        schedule: &Schedule,
        Before { old, reservation }: Before,
        caller: &Caller,
    ) -> Reply<ScheduleView> {
        let updated_by = schedule.updated_by.as_deref();
        tracing::info!(schedule_id = %schedule.id, updated_by, "schedule updated");
        let mut reply = Reply::schedule(schedule, caller);
        if let Some(reservation) = reservation {
            self.free_name_at(&old, reservation).await;
        }
        let (spec, before) = (&schedule.spec, &old.spec);
        if spec.target_command != before.target_command || spec.delivery != before.delivery {
            reply.warnings.extend(self.target_warning(schedule).await);
        }
        let expects = |spec: &Spec| spec.expect_success_within_seconds;
        if spec.timing != before.timing || expects(spec) != expects(before) {
            reply.warnings.extend(self.timing_warnings(schedule));
        }
        reply.warnings.extend(time_over(schedule).filter(|_| schedule.is_active && !old.is_active));
        reply.warnings.extend(self.all_paused_warning());
        reply
    }

    /// Makes the record what is wanted; false if it is that already.
    fn apply(
        &self,
        wanted: Wanted<'_>,
        schedule: &mut Schedule,
        now: DateTime<Utc>,
        actor: &str,
    ) -> Result<bool, ApiError> {
        let (new_timing, is_active) = match wanted {
            Wanted::Updated(update) => (update.changes_timing(), update.is_active),
            Wanted::Declared { declared, .. } => {
                let kept = declared.timing().kept(&schedule.spec.timing, self.rules.timezone);
                (kept.is_none(), declared.is_active)
            }
        };
        if new_timing {
            if schedule.backfill.is_some() {
                let message = format!("schedule {} is being backfilled", schedule.id);
                return Err(ApiError::new(Code::NotAllowed, message));
            }
            let cause = if self.acts_on(schedule) { SkipCause::Changed } else { SkipCause::Paused };
            self.skip_due(schedule, now, cause)?;
        }
        let switches_on = is_active == Some(true) && !schedule.is_active;
        if switches_on && schedule.status == Status::Active {
            self.skip_due(schedule, now, SkipCause::Paused)?;
        }
        match wanted {
            Wanted::Updated(update) => {
                apply_update(update, schedule, &self.rules(), now)?;
            }
            Wanted::Declared { declared, .. } => {
                if !apply_declaration(declared, schedule, &self.rules(), now)? {
                    return Ok(false);
                }
            }
        }
        super::touch(schedule, now, actor);
        Ok(true)
    }
}

/// Refuses to touch what another owner has. A schedule of nobody's becomes somebody's only on request.
pub(super) fn check_owner(schedule: &Schedule, owner: &str, adopt: bool) -> Result<(), ApiError> {
    let (id, name) = (schedule.id, &schedule.spec.name);
    let has = schedule.spec.owner.as_deref().map_or("", String::as_str);
    if has == owner || has.is_empty() && adopt {
        return Ok(());
    }
    let message = match has {
        "" => format!("schedule {id} ({name:?}) has no owner: `adopt` makes it one of {owner:?}"),
        has => format!("schedule {id} ({name:?}) belongs to owner {has:?}"),
    };
    let mut error = ApiError::new(Code::Conflict, message);
    error.details = vec![FieldFault::new("owner", has)];
    Err(error)
}

/// Error for a record without room for the payloads that an update replaces.
fn still_to_be_sent(error: TooLarge) -> ApiError {
    let mut refusal = ApiError::from(error);
    refusal.message =
        format!("{error} beside what it replaces, which is about to be sent; try again then");
    refusal
}
