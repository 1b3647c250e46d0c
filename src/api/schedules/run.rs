//! Runs beside a schedule's own times: put into its record under an id, and made from there.
//!
//! A run with an idempotency key may be asked for several times under the same id, see [`super::once`]. It is put into
//! the record once:
//!
//! - A record that holds an attempt with the id has the run.
//! - An attempt leaves the record only after the history has its outcome. So if the record does not hold it, the
//!   history is asked; and the run is written at the revision that was read before that. Whoever else put it there in
//!   the meantime has moved the revision.
//! - A record as it was before the memo was written cannot have had it, so then the history need not be asked.
//!
//! A crash leaves the run in the record or not. It is forgotten only if the history has dropped it before the memo is
//! marked as done.

use chrono::{DateTime, Utc};
use serde_json::json;
use uuid::Uuid;

use super::super::change::{Decision, Wish};
use super::super::error::{ApiError, Code};
use super::super::{Api, Caller};
use super::once::{Deed, Found, Key, Once, Unmade};
use crate::execution::Execution;
use crate::plan::{MAX_ATTEMPTS, is_full};
use crate::port::Nats;
use crate::schedule::{
    Attempt, ChangeKind, FieldFault, MAX_PAYLOAD_BYTES, Manual, Origin, Payload, Schedule, Status,
    TooLarge, check_id, check_template,
};
use crate::stored::Unknown;

/// Maximum time to wait for the outcome of a run by hand.
pub(crate) const MAX_WAIT_MS: u64 = 60_000;

/// A run that is asked for.
pub(in crate::api) struct Run {
    schedule_id: Uuid,
    manual: Manual,
    /// Whether the payload was sent before and is sent again as it is.
    verbatim: bool,
    /// How long to wait for the outcome, in milliseconds.
    pub(in crate::api) wait_ms: u64,
    /// Identifies the request if it is sent again.
    pub(in crate::api) key: Option<Key>,
}

/// A run that will take place.
pub(in crate::api) struct Placed {
    pub(in crate::api) execution_id: Uuid,
    /// The finished execution, if it was waited for and ended in time.
    pub(in crate::api) execution: Option<Execution>,
    /// Whether an earlier request with the same key asked for it.
    pub(in crate::api) repeated: bool,
}

impl Run {
    /// A run of a schedule for `caller`, with a payload of its own or the schedule's.
    pub(in crate::api) fn new(
        schedule_id: Uuid,
        payload: Option<Payload>,
        caller: &Caller,
    ) -> Self {
        let manual = Manual {
            payload,
            correlation_id: caller.correlation_id.clone(),
            by: caller.actor(),
            trace: caller.trace,
            origin: Origin::User,
            retry_of: None,
            unknown: Unknown::default(),
        };
        Self { schedule_id, manual, verbatim: false, wait_ms: 0, key: None }
    }

    /// The run as the record holds it.
    pub(in crate::api) fn manual(self) -> Manual {
        self.manual
    }

    /// The same run as one of an ended execution; `verbatim` if its payload is what that one sent.
    #[must_use]
    pub(in crate::api) fn retry_of(mut self, execution: Uuid, verbatim: bool) -> Self {
        self.manual.retry_of = Some(execution);
        self.verbatim = verbatim;
        self
    }
}

/// Putting one run into the record.
struct Placing<'a, N: Nats> {
    api: &'a Api<N>,
    run: &'a Run,
    caller: &'a Caller,
}

impl<N: Nats> Deed for Placing<'_, N> {
    /// The revision of the record before anybody could know the id of the run.
    type Draft = u64;
    /// The id of the run.
    type Made = Uuid;

    fn ids(&self, id: Uuid) -> (Uuid, Option<Uuid>) {
        (self.run.schedule_id, Some(id))
    }

    async fn prepare(&self, _: Uuid) -> Result<u64, ApiError> {
        let (schedule, revision) = self.api.read_schedule(self.run.schedule_id).await?;
        self.api.check_place(&schedule, self.run)?;
        Ok(revision)
    }

    async fn make(&self, id: Uuid, request: Found<u64>) -> Result<Uuid, Unmade> {
        let unmade_at = match request {
            Found::Before { done: true } => return Ok(id),
            Found::Before { done: false } => 0,
            Found::New(revision) => revision,
        };
        self.api.place(self.run, id, unmade_at, self.caller).await?;
        Ok(id)
    }
}

impl<N: Nats> Api<N> {
    /// Puts a run into the record of its schedule, and waits for its outcome if it says so. With a key it does so once.
    ///
    /// # Errors
    /// `not_found`, `limit_exceeded` (too many runs or callers are waiting), `too_large`, `invalid` (the payload as a
    /// template), `conflict`, `unavailable`; `not_allowed` if the key was used for another request.
    pub(in crate::api) async fn run(&self, run: &Run, caller: &Caller) -> Result<Placed, ApiError> {
        let mine = self.clock.new_id();
        let mut wait = self.wait_for(mine, run.wait_ms)?;
        let (mut execution_id, mut repeated) = (mine, false);
        match &run.key {
            // Nobody else knows the id, so no revision leaves a doubt.
            None => self.place(run, mine, u64::MAX, caller).await?,
            Some(key) => {
                let placing = Placing { api: self, run, caller };
                Once { made: execution_id, repeated } = self.once(key, mine, &placing).await?;
            }
        }
        if execution_id != mine {
            // Whoever finds no place here need not wait: the run is made.
            drop(wait.take());
            wait = self.wait_for(execution_id, run.wait_ms).unwrap_or_default();
        }
        let (by, retry_of) = (&run.manual.by, run.manual.retry_of);
        tracing::info!(
            schedule_id = %run.schedule_id, %execution_id, triggered_by = by, ?retry_of, repeated,
            "schedule triggered"
        );
        let execution = self.outcome(wait, caller).await;
        Ok(Placed { execution_id, execution, repeated })
    }

    /// Puts a run under an id into the record, unless it is or was there; at `unmade_at` it cannot have been.
    async fn place(
        &self,
        run: &Run,
        id: Uuid,
        unmade_at: u64,
        caller: &Caller,
    ) -> Result<(), ApiError> {
        let author = caller.author(&run.manual.by);
        let wish = Wish { id: run.schedule_id, author, known: None, removes: false };
        let placing = |schedule: Schedule, revision, now| async move {
            if schedule.attempts.iter().any(|attempt| attempt.execution_id == id) {
                return Ok(Decision::Keep(Box::new(schedule)));
            }
            if revision > unmade_at && self.history.outcome(id).await?.is_some() {
                return Ok(Decision::Keep(Box::new(schedule)));
            }
            self.with_run(schedule, run, id, now)
        };
        self.change_by(wish, placing).await?;
        Ok(())
    }

    /// The change that puts a run into a record.
    fn with_run(
        &self,
        schedule: Schedule,
        run: &Run,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Decision<()>, ApiError> {
        let schedule = self.holding(schedule, run, id, now)?;
        let mut details = json!({
            "execution_id": id, "triggered_by": run.manual.by, "triggered_at": now,
        });
        if let Some(retry_of) = run.manual.retry_of {
            details["retry_of"] = json!(retry_of);
        }
        let (schedule, kind) = (Box::new(schedule), ChangeKind::Triggered);
        Ok(Decision::Change { schedule, kind, details, with: () })
    }

    /// The record with a run in it.
    ///
    /// # Errors
    /// Those of `check_place`, and `too_large`.
    fn holding(
        &self,
        mut schedule: Schedule,
        run: &Run,
        id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Schedule, ApiError> {
        self.check_place(&schedule, run)?;
        let attempt = Attempt::manual(id, now, run.manual.clone());
        schedule.attempts.push(if run.verbatim { attempt.verbatim() } else { attempt });
        let room = self.store.room();
        let Err(refused) = room.admits_run(&schedule) else { return Ok(schedule) };
        let is_own = run.verbatim && refused.what == "override_payload";
        let what = if is_own { "command_payload" } else { refused.what };
        let error = ApiError::from(TooLarge { what, ..refused });
        let mut alone = schedule.clone();
        alone.attempts = schedule.attempts.last().cloned().into_iter().collect();
        let others = schedule.attempts.len() - 1;
        Err(match room.admits_run(&alone) {
            Ok(()) => error.passing(&format!("while {others} others wait or are under way, ")),
            Err(_) => error,
        })
    }

    /// The record as [`Api::run`] would leave it. Nothing is written.
    ///
    /// # Errors
    /// Those of [`Api::run`] that do not come from others who write or wait.
    pub(in crate::api) async fn would_run(&self, run: &Run) -> Result<Schedule, ApiError> {
        let (schedule, _) = self.read_schedule(run.schedule_id).await?;
        self.holding(schedule, run, self.clock.new_id(), self.clock.now())
    }

    /// Whether a record takes one more run.
    ///
    /// # Errors
    /// `not_found`, `limit_exceeded`, `invalid` (the payload as a template).
    fn check_place(&self, schedule: &Schedule, run: &Run) -> Result<(), ApiError> {
        let id = schedule.id;
        if schedule.status == Status::Deleted {
            return Err(ApiError::no_schedule(id));
        }
        if is_full(schedule) {
            let message = format!("{MAX_ATTEMPTS} runs of schedule {id} wait, which is the limit");
            return Err(ApiError::new(Code::LimitExceeded, message));
        }
        let is_template = schedule.spec.payload_template && !run.verbatim;
        if let Some(payload) = run.manual.payload.as_ref().filter(|_| is_template)
            && let Err(reason) = check_template(payload)
        {
            return Err(vec![FieldFault::new("override_payload", reason)].into());
        }
        Ok(())
    }
}

/// Faults of the fields that runs by hand have in common.
pub(in crate::api) fn check_run(
    payload: Option<&Payload>,
    wait_ms: Option<u64>,
    key: Option<&str>,
) -> Vec<FieldFault> {
    let mut faults = Vec::new();
    if payload.is_some_and(|payload| payload.as_str().len() > MAX_PAYLOAD_BYTES) {
        let reason = format!("must have at most {MAX_PAYLOAD_BYTES} bytes");
        faults.push(FieldFault::new("override_payload", reason));
    }
    if wait_ms.is_some_and(|ms| ms > MAX_WAIT_MS) {
        faults.push(FieldFault::new("wait_ms", format!("must be at most {MAX_WAIT_MS}")));
    }
    check_id("idempotency_key", key, &mut faults);
    faults
}
