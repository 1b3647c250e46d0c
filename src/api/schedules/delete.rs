//! Deletion of a schedule.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::change::{Decision, Rewritten, Wish};
use super::super::error::ApiError;
use super::super::reply::Reply;
use super::super::{Api, Caller};
use crate::index::{At, Entry};
use crate::port::Nats;
use crate::schedule::declared::which_fields;
use crate::schedule::{
    AttemptEvent, Author, Cancel, ChangeKind, FieldFault, Schedule, ScheduleEvent, ScheduleType,
    SkipCause, Status, check_edges,
};

which_fields! { request {
    /// A request to delete a schedule.
    pub struct DeleteSchedule {
        /// Whether its record is removed too, once what is in flight is recorded and the deletion announced; default false:
        /// it is kept with status `deleted`, can be restored, and is removed after `DELETED_RETENTION_SECONDS`.
        ///
        /// If true, the schedule is no longer visible in the meantime.
        pub hard_delete: Option<bool>,
        /// The revision that the schedule must have.
        pub expected_revision: Option<u64>,
        /// Who deletes it, if no `X-Deleted-By` header says so.
        pub deleted_by: Option<String>,
    }
} }

/// Result of a deletion.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// The schedule.
    pub schedule_id: Uuid,
    /// Whether its record is removed too.
    pub hard_delete: bool,
    /// The time until which it can be restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<DateTime<Utc>>,
}

/// State that a deletion ends.
struct Before {
    kind: ScheduleType,
    /// The schedule under its name, and where the reservation of the name is, if there is one.
    name: Option<(Schedule, At)>,
}

impl<N: Nats> Api<N> {
    /// Deletes a schedule and frees its name. After the reply no occurrence is claimed any more; one that was claimed
    /// before is still delivered and recorded.
    ///
    /// A soft-deleted schedule can be deleted again only by `hard_delete`.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `conflict`, `unavailable`.
    pub async fn delete_schedule(
        &self,
        request: DeleteSchedule,
        caller: &Caller,
    ) -> Result<Reply<Deleted>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let hard_delete = request.hard_delete.unwrap_or(false);
        let mut faults = Vec::new();
        let length = request.deleted_by.as_ref().map_or(1, |text| text.chars().count());
        if !(1..=255).contains(&length) {
            faults.push(FieldFault::new("deleted_by", "must have 1 to 255 characters"));
        }
        check_edges("deleted_by", request.deleted_by.as_deref(), &mut faults);
        if !faults.is_empty() {
            return Err(faults.into());
        }
        let actor =
            caller.actor.clone().or(request.deleted_by).unwrap_or_else(|| "unknown".to_owned());
        let (author, expected) = (caller.author(&actor), request.expected_revision);
        let deleted = self.delete(id, hard_delete, expected, author, None).await?;
        let waited_ms = match &deleted {
            Some(schedule) => {
                caller.permit.waits();
                self.let_claims_pass(schedule).await
            }
            None => 0,
        };
        tracing::info!(schedule_id = %id, deleted_by = actor, hard_delete, "schedule deleted");
        let purge_at = deleted.filter(|_| !hard_delete).and_then(|s| self.purge_at(&s));
        let data = Deleted { schedule_id: id, hard_delete, purge_at };
        Ok(Reply::new(data, caller).waited(waited_ms))
    }

    /// Deletes a schedule; returns its record as written, if that is known.
    pub(super) async fn delete(
        &self,
        id: Uuid,
        hard_delete: bool,
        expected: Option<u64>,
        author: Author<'_>,
        known: Option<Arc<Entry>>,
    ) -> Result<Option<Schedule>, ApiError> {
        let known = known.filter(|entry| entry.schedule.status != Status::Deleted);
        let wish = Wish { id, author, known, removes: true };
        let deleting = |schedule, _, now| {
            self.decide_delete(schedule, now, hard_delete, expected, author.actor)
        };
        let Rewritten { schedule, with } = self.change_by(wish, deleting).await?;
        if let Some(Before { kind, name }) = with {
            self.metrics.schedule_deleted(kind, hard_delete);
            if let Some((named, reservation)) = name {
                self.free_name_at(&named, reservation).await;
            }
        }
        Ok(schedule.map(|schedule| *schedule))
    }

    /// Decides how a deletion changes a record.
    async fn decide_delete(
        &self,
        mut schedule: Schedule,
        now: DateTime<Utc>,
        hard_delete: bool,
        expected: Option<u64>,
        actor: &str,
    ) -> Result<Decision<Before>, ApiError> {
        if schedule.status == Status::Deleted && !hard_delete {
            return Err(ApiError::no_schedule(schedule.id));
        }
        super::check_expected(expected, &schedule)?;
        // Read before the write: a newer reservation belongs to a restoration.
        let reservation = self.name_revision(&schedule).await?;
        let before = Before {
            kind: schedule.spec.timing.schedule_type,
            name: reservation.map(|at| (schedule.clone(), at)),
        };
        let cause = if self.acts_on(&schedule) { SkipCause::Deleted } else { SkipCause::Paused };
        self.skip_due(&mut schedule, now, cause)?;
        mark_deleted(&mut schedule, now, actor, self.instance);
        schedule.purge = hard_delete;
        let purge_at = self.purge_at(&schedule).filter(|_| !hard_delete);
        let details = json!({
            "deleted_by": actor, "deleted_at": now, "hard_delete": hard_delete,
            "purge_at": purge_at,
        });
        let (schedule, kind) = (Box::new(schedule), ChangeKind::Deleted);
        Ok(Decision::Change { schedule, kind, details, with: before })
    }

    fn purge_at(&self, schedule: &Schedule) -> Option<DateTime<Utc>> {
        let deleted_at = schedule.deleted_at.as_ref()?;
        deleted_at.checked_add_signed(self.rules.limits.deleted_retention)
    }
}

/// Marks a record as deleted. Attempts claimed before are still delivered and recorded, and waiting ones are recorded
/// as cancelled; all of them stay until then.
fn mark_deleted(schedule: &mut Schedule, now: DateTime<Utc>, actor: &str, by: Uuid) {
    // A schedule can be deleted in any status.
    let _ = schedule.on(ScheduleEvent::Delete);
    schedule.deleted_at = Some(Box::new(now));
    schedule.deleted_by = Some(actor.into());
    schedule.updated_at = now;
    schedule.next_run_at = None;
    schedule.backfill = None;
    let reason = Some("the schedule was deleted".to_owned());
    let cancel = Cancel::new(actor.to_owned(), reason);
    for attempt in &mut schedule.attempts {
        if attempt.waits() {
            let report = Box::new(cancel.report(now));
            let _ = attempt.on(AttemptEvent::Stop { by, report });
        }
    }
}
