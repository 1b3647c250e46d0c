//! Creation of a schedule, once if it has an idempotency key.
//!
//! Making one schedule under one id is safe however often it is tried: reserving a schedule's name again fences all
//! earlier reservations for it, so of several requests that create the same schedule one writes its record and the
//! others find it.

use serde_json::json;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::reply::{Reply, ScheduleView};
use super::super::{Api, Caller, Checked};
use super::Named;
use super::named::is_key;
use super::once::{Deed, Found, Key, Once, Unmade, hash, repeated as repeated_by};
use crate::port::Nats;
use crate::schedule::{Change, ChangeKind, CreateSchedule, FieldFault, Schedule, new_schedule};

impl Checked for CreateSchedule {
    fn faults(&self, api: &Api<impl Nats>) -> Vec<FieldFault> {
        let (id, now) = (api.clock.new_id(), api.clock.now());
        new_schedule(self, &api.rules(), id, now, "unknown", "", api.writer())
            .err()
            .unwrap_or_default()
    }

    fn named(&mut self) -> Vec<Named<'_>> {
        Named::upstream(&mut self.after, self.created_by.clone()).into_iter().collect()
    }
}

/// The creation of one schedule, whose record `make` builds for its id.
struct Creation<'a, N: Nats, F> {
    api: &'a Api<N>,
    make: F,
}

impl<N: Nats, F: Fn(Uuid) -> Result<Schedule, ApiError> + Sync> Deed for Creation<'_, N, F> {
    type Draft = Schedule;
    /// The schedule as it is stored, and its revision.
    type Made = (Schedule, u64);

    fn ids(&self, id: Uuid) -> (Uuid, Option<Uuid>) {
        (id, None)
    }

    async fn prepare(&self, id: Uuid) -> Result<Schedule, ApiError> {
        let schedule = (self.make)(id)?;
        self.api.check_after(&schedule).await?;
        Ok(schedule)
    }

    async fn make(&self, id: Uuid, request: Found<Schedule>) -> Result<(Schedule, u64), Unmade> {
        let (schedule, revision) = match request {
            Found::New(schedule) => self.api.store_new(schedule, true).await?,
            Found::Before { done } => match self.api.record(id).await.map_err(Unmade::Kept)? {
                Some(found) => found,
                None if done => return Err(Unmade::Kept(gone(id))),
                None => self.api.store_new((self.make)(id)?, true).await?,
            },
        };
        if schedule.purge { Err(Unmade::Kept(gone(id))) } else { Ok((schedule, revision)) }
    }
}

/// Hash of a request's content, independent of its sender and key.
fn asked(request: &CreateSchedule) -> String {
    hash(&CreateSchedule { idempotency_key: None, created_by: None, ..request.clone() })
}

fn gone(id: Uuid) -> ApiError {
    let message = format!("this request created schedule {id}, which has been deleted for good");
    let mut error = ApiError::new(Code::NotFound, message);
    error.details = vec![FieldFault::new("schedule_id", id.to_string())];
    error
}

impl<N: Nats> Api<N> {
    /// Creates a schedule. Once the reply is sent, the schedule survives everything that JetStream survives.
    ///
    /// A request with an `idempotency_key` or a `Nats-Msg-Id` that is repeated within a day creates nothing more. It
    /// returns the schedule of the first request, with the warning `repeated`.
    ///
    /// # Errors
    /// `invalid`, `too_large`, `already_exists`, `limit_exceeded`, `conflict`, `unavailable`; `not_allowed` if the key
    /// was used for another request, `not_found` if its schedule was deleted for good.
    pub async fn create_schedule(
        &self,
        request: CreateSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let created_by = caller
            .actor
            .clone()
            .or_else(|| request.created_by.clone())
            .unwrap_or_else(|| "unknown".to_owned());
        let new = |id| self.new_record(&request, id, &created_by, caller);
        let key = request.idempotency_key.as_ref().or(caller.message_id.as_ref());
        let (schedule, revision, repeated) = match key {
            Some(key) => {
                if !is_key(key) || !is_key(&created_by) {
                    new(self.clock.new_id())?;
                }
                let request = asked(&request);
                let key = Key { user: created_by.clone(), text: key.clone(), request };
                let deed = Creation { api: self, make: new };
                let Once { made, repeated } = self.once(&key, self.clock.new_id(), &deed).await?;
                (made.0, made.1, repeated)
            }
            None => {
                let schedule = new(self.clock.new_id())?;
                self.check_after(&schedule).await?;
                let (schedule, revision) = self.store_new(schedule, false).await?;
                (schedule, revision, false)
            }
        };
        tracing::info!(
            schedule_id = %schedule.id,
            name = schedule.spec.name,
            created_by,
            correlation_id = caller.correlation_id,
            repeated,
            "schedule created"
        );
        let mut reply = Reply::schedule(&schedule, caller);
        reply.warnings.extend(self.target_warning(&schedule).await);
        reply.warnings.extend(self.timing_warnings(&schedule));
        reply.warnings.extend(self.all_paused_warning());
        if repeated {
            reply.warnings.push(repeated_by("created the schedule"));
        }
        self.show(schedule, revision);
        Ok(reply)
    }

    /// The requested record, with the event that announces it.
    pub(super) fn new_record(
        &self,
        request: &CreateSchedule,
        id: Uuid,
        created_by: &str,
        caller: &Caller,
    ) -> Result<Schedule, ApiError> {
        let (now, correlation_id) = (self.clock.now(), &caller.correlation_id);
        let (mut schedule, _) = new_schedule(
            request,
            &self.rules(),
            id,
            now,
            created_by,
            correlation_id,
            self.writer(),
        )?;
        schedule.trace = caller.trace.map(Box::new);
        self.store.room().admits(None, &schedule)?;
        let details = json!({
            "schedule_type": schedule.spec.timing.schedule_type,
            "target_command": schedule.spec.target_command,
            "next_run_at": schedule.next_run_at,
            "created_by": created_by,
            "created_at": schedule.created_at,
        });
        // A declaration may be made by another than the creator.
        let author = caller.author(caller.actor.as_deref().unwrap_or(created_by));
        let created =
            Change::new(self.clock.new_id(), ChangeKind::Created, &schedule, author, now, details);
        schedule.events.push(created);
        Ok(schedule)
    }

    /// Refuses a schedule that follows a missing one, or one that follows this one.
    pub(super) async fn check_after(&self, schedule: &Schedule) -> Result<(), ApiError> {
        let Some(after) = schedule.spec.timing.follows() else { return Ok(()) };
        let upstream = after.schedule_id;
        let stored = self.record(upstream).await?;
        let there = stored.is_some_and(|(stored, _)| stored.is_live());
        let reason = if !there {
            format!("there is no schedule {upstream}")
        } else if self.index.leads_to(upstream, schedule.id) {
            format!("schedule {upstream} follows this one, so this would be a circle")
        } else {
            return Ok(());
        };
        Err(vec![FieldFault::new("after.schedule_id", reason)].into())
    }
}
