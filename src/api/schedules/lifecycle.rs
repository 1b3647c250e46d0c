//! Pausing, resuming, and running by hand.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::super::change::Applied;
use super::super::error::ApiError;
use super::super::reply::{Links, Reply, ScheduleView};
use super::super::{Api, Caller};
use super::advice::time_over;
use super::once::{hash, repeated};
use super::preview::shown;
use super::run::{Run, check_run};
use crate::execution::Execution;
use crate::port::Nats;
use crate::schedule::declared::which_fields;
use crate::schedule::{ChangeKind, FieldFault, Resumption, Schedule};

which_fields! { request {
    /// A request to pause a schedule.
    pub struct PauseSchedule {
        /// The reason, for people; at most 500 characters.
        #[schemars(length(max = 500))]
        pub reason: Option<String>,
        /// When it is resumed by itself: in the future, at most `MAX_SCHEDULE_LOOKAHEAD_DAYS` ahead; default: never.
        #[serde(deserialize_with = "crate::schedule::instant_field")]
        pub resume_at: Option<DateTime<Utc>>,
        /// The revision that the schedule must have.
        pub expected_revision: Option<u64>,
    }
} }

which_fields! { request {
    /// A request to resume a paused schedule.
    pub struct ResumeSchedule {
        /// The revision that the schedule must have.
        pub expected_revision: Option<u64>,
    }
} }

which_fields! { run_fields request {
    /// A request to run a schedule now, beside its own times. Paused and completed schedules can be run too.
    pub struct TriggerSchedule {}
} }

/// A run by hand that will take place, whatever happens to the service.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Triggered {
    /// The schedule.
    pub schedule_id: Uuid,
    /// The execution, which the history will show.
    pub execution_id: Uuid,
    /// The finished execution, if the request waited for it and it ended in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution: Option<Execution>,
}

impl<N: Nats> Api<N> {
    /// Pauses a schedule. After the reply no occurrence is claimed until it is resumed: by a request, or by itself at
    /// `resume_at`. Pausing a paused schedule replaces its reason and its `resume_at`.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (it has ended), `conflict`, `unavailable`.
    pub async fn pause_schedule(
        &self,
        request: PauseSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let (actor, reason) = (caller.actor(), request.reason.as_deref());
        let pausing = self.check_pause(reason, request.resume_at, &actor, caller)?;
        let (author, expected) = (caller.author(&actor), request.expected_revision);
        let schedule = self
            .change(id, expected, author, None, |schedule, now| pausing.apply(schedule, now))
            .await?;
        caller.permit.waits();
        let waited_ms = self.let_claims_pass(&schedule).await;
        let resume_at = schedule.resume_at().map(shown);
        tracing::info!(schedule_id = %id, paused_by = actor, reason, resume_at, "schedule paused");
        Ok(Reply::schedule(&schedule, caller).waited(waited_ms))
    }

    /// Resumes a paused schedule. Its next time is the first that is not due yet; everything that was due becomes one
    /// entry of the history, skipped as paused.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `not_allowed` (it is not paused), `conflict`, `unavailable`.
    pub async fn resume_schedule(
        &self,
        request: ResumeSchedule,
        caller: &Caller,
    ) -> Result<Reply<ScheduleView>, ApiError> {
        let id = super::required_id(request.schedule_id)?;
        let actor = caller.actor();
        let (author, expected) = (caller.author(&actor), request.expected_revision);
        let schedule = self
            .change(id, expected, author, None, |schedule, now| self.resume(schedule, now, &actor))
            .await?;
        tracing::info!(schedule_id = %id, resumed_by = actor, "schedule resumed");
        let mut reply = Reply::schedule(&schedule, caller);
        reply.warnings.extend(time_over(&schedule));
        reply.warnings.extend(self.all_paused_warning());
        Ok(reply)
    }

    /// Runs a schedule now. Once the reply is sent the run takes place, even if every instance is killed immediately
    /// afterwards. A request with an `idempotency_key` or a `Nats-Msg-Id` that is repeated within a day returns the
    /// first one's execution, with the warning `repeated`.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `limit_exceeded` (too many runs or callers are waiting), `too_large` (the payload,
    /// together with what the record already holds), `unavailable`; `not_allowed` if the key was used for another
    /// request.
    pub async fn trigger_schedule(
        &self,
        request: TriggerSchedule,
        caller: &Caller,
    ) -> Result<Reply<Triggered>, ApiError> {
        let faults = check_run(
            request.override_payload.as_ref(),
            request.wait_ms,
            request.idempotency_key.as_deref(),
        );
        if !faults.is_empty() {
            return Err(faults.into());
        }
        let id = super::required_id(request.schedule_id)?;
        let asked = hash(&("schedule.trigger", id, &request.override_payload));
        let key = caller.key(request.idempotency_key.as_ref(), asked);
        let mut run = Run::new(id, request.override_payload, caller);
        (run.key, run.wait_ms) = (key, request.wait_ms.unwrap_or(0));
        let placed = self.run(&run, caller).await?;
        let execution_id = placed.execution_id;
        let data = Triggered { schedule_id: id, execution_id, execution: placed.execution };
        let mut reply = Reply::new(data, caller).links(Links::execution(execution_id, id));
        reply.warnings.extend(placed.repeated.then(|| repeated("made the run")));
        Ok(reply)
    }

    /// Makes a paused schedule active, and returns the change to announce.
    pub(super) fn resume(
        &self,
        schedule: &mut Schedule,
        now: DateTime<Utc>,
        actor: &str,
    ) -> Applied {
        let trigger = schedule
            .spec
            .timing
            .trigger(schedule.id, &self.index.calendars())
            .map_err(|fault| vec![fault])?;
        // What is skipped is ours and has not begun: the engine picks it up at once and writes it to the history.
        schedule
            .resume(&trigger, now, now, self.instance)
            .map_err(|refused| super::refused(schedule, refused))?;
        super::touch(schedule, now, actor);
        let next_run_at = schedule.next_run_at;
        let details = json!({ "next_run_at": next_run_at, "resumed_by": actor, "resumed_at": now });
        Ok((ChangeKind::Resumed, details))
    }
}

/// A pause that is requested, checked.
pub(super) struct Pausing<'a> {
    reason: Option<&'a str>,
    resumption: Option<Resumption>,
    pub(super) actor: &'a str,
}

impl<N: Nats> Api<N> {
    /// Checks what a request says of a pause.
    pub(super) fn check_pause<'a>(
        &self,
        reason: Option<&'a str>,
        resume_at: Option<DateTime<Utc>>,
        actor: &'a str,
        caller: &Caller,
    ) -> Result<Pausing<'a>, ApiError> {
        let mut faults = Vec::new();
        if reason.is_some_and(|reason| reason.chars().count() > 500) {
            faults.push(FieldFault::new("reason", "must have at most 500 characters"));
        }
        let (now, lookahead) = (self.clock.now(), self.rules.limits.lookahead);
        let resumption =
            resume_at.map(|at| Resumption::new(at, now, lookahead, &caller.correlation_id));
        match resumption.transpose() {
            Ok(resumption) if faults.is_empty() => Ok(Pausing { reason, resumption, actor }),
            checked => {
                faults.extend(checked.err());
                Err(faults.into())
            }
        }
    }
}

impl Pausing<'_> {
    /// Pauses a schedule that has not ended, and returns the change to announce.
    pub(super) fn apply(&self, schedule: &mut Schedule, now: DateTime<Utc>) -> Applied {
        let (reason, actor) = (self.reason, self.actor);
        schedule
            .pause(reason, self.resumption.clone())
            .map_err(|refused| super::refused(schedule, refused))?;
        super::touch(schedule, now, actor);
        let resume_at = schedule.resume_at();
        let details = json!({
            "reason": reason, "resume_at": resume_at, "paused_by": actor, "paused_at": now,
        });
        Ok((ChangeKind::Paused, details))
    }
}
