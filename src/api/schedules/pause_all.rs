//! Pausing all schedules at once, and lifting that.
//!
//! One key of the bucket says it, see [`PausesOfAll`]. Instances learn of it by their watch, so one of them may be about
//! to claim while it is written. Each says in its heartbeats by which revision of the key everything is claimed that it
//! claims, and what it has claimed ahead. The reply waits for both.
//!
//! | crash | what is left | what happens |
//! |---|---|---|
//! | before the write | nothing | the caller asks again |
//! | after the write | all are paused, and the change waits to be announced | any instance announces it |
//! | an instance, before it says that it honours the key | | it counts as gone after five seconds, and claims nothing by then |
//!
//! An instance that has just started may not have heard of one that is suspended, so it waits until it would have: five
//! seconds after its start.
//!
//! An instance of an earlier version ignores the key. So none may be heard when all are paused.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;

use super::super::error::{ApiError, Code};
use super::super::honoured;
use super::super::reply::{Reply, Warning};
use super::super::{Api, CHANGE_TRIES, Caller, WRITE_PATIENCE};
use super::preview::shown;
use crate::jetstream::WriteError;
use crate::load::About;
use crate::port::Nats;
use crate::schedule::{PAUSE_ALL_NEEDS, PausesOfAll, Schedule, instant_field};

/// A request to pause all schedules at once.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PauseAll {
    /// The reason, for people; at most 500 characters.
    #[schemars(length(max = 500))]
    pub reason: Option<String>,
    /// When the pause ends by itself: in the future, at most `MAX_SCHEDULE_LOOKAHEAD_DAYS` ahead; default: never.
    #[serde(deserialize_with = "instant_field")]
    pub resume_at: Option<DateTime<Utc>>,
}

/// A request to lift the pause of all schedules.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ResumeAll {}

/// Whether all schedules are paused.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AllPaused {
    /// Whether they are.
    pub is_paused: bool,
    /// Since when.
    #[serde(default)]
    pub since: Option<DateTime<Utc>>,
    /// When the pause ends by itself.
    #[serde(default)]
    pub resume_at: Option<DateTime<Utc>>,
    /// Who paused them.
    #[serde(default)]
    pub paused_by: Option<String>,
    /// The reason that was given.
    #[serde(default)]
    pub reason: Option<String>,
    /// Instances that have not said in time that they claim nothing more; only in the reply to a pause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unconfirmed: Vec<Uuid>,
}

impl AllPaused {
    /// What the latest pause says at a time.
    pub(in crate::api) fn of(pauses: &PausesOfAll, now: DateTime<Utc>) -> Self {
        let pause = pauses.current(now).cloned();
        Self {
            is_paused: pause.is_some(),
            since: pause.as_ref().map(|pause| pause.from),
            resume_at: pause.as_ref().and_then(|pause| pause.until),
            paused_by: pause.as_ref().map(|pause| pause.paused_by.clone()),
            reason: pause.and_then(|pause| pause.reason),
            unconfirmed: Vec::new(),
        }
    }
}

impl<N: Nats> Api<N> {
    /// Pauses all schedules, also those that are created later. After the reply none of their occurrences is due until
    /// the pause is lifted: by a request, or by itself at `resume_at`. Pausing again replaces the reason and
    /// `resume_at`.
    ///
    /// # Errors
    /// `invalid`, `not_allowed` (an instance runs that does not know such pauses), `conflict`, `unavailable`.
    pub async fn pause_all(
        &self,
        request: PauseAll,
        caller: &Caller,
    ) -> Result<Reply<AllPaused>, ApiError> {
        let (actor, reason) = (caller.actor(), request.reason.as_deref());
        self.check_pause(reason, request.resume_at, &actor, caller)?;
        self.all_know_pauses()?;
        let author = caller.author(&actor);
        let (pauses, revision) = self
            .change_pauses(|pauses, event_id, now| {
                // Again: it may have taken long to get here, and would end another pause in the past.
                self.check_pause(reason, request.resume_at, &actor, caller)?;
                pauses.pause(event_id, now, author, reason, request.resume_at);
                Ok(())
            })
            .await?;
        caller.permit.waits();
        let asked = Instant::now();
        let unconfirmed = self.honoured_by_all(revision, PAUSE_ALL_NEEDS).await;
        self.let_armed_pass().await;
        let resume_at = request.resume_at.map(shown);
        tracing::warn!(paused_by = actor, reason, resume_at, "all schedules paused");
        let waited_ms = u64::try_from(asked.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut reply =
            Reply::new(AllPaused::of(&pauses, self.clock.now()), caller).waited(waited_ms);
        let not_yet = "it fires nothing more; ask again to wait for it";
        reply.warnings.extend(honoured::warnings(&unconfirmed, not_yet));
        reply.data.unconfirmed = unconfirmed;
        Ok(reply)
    }

    /// Lifts the pause of all schedules. What was due meanwhile is skipped as paused, one entry for each schedule; those
    /// that are paused themselves stay so.
    ///
    /// # Errors
    /// `not_allowed` (they are not paused), `conflict`, `unavailable`.
    pub async fn resume_all(
        &self,
        _: ResumeAll,
        caller: &Caller,
    ) -> Result<Reply<AllPaused>, ApiError> {
        let actor = caller.actor();
        let author = caller.author(&actor);
        let (pauses, _) = self
            .change_pauses(|pauses, event_id, now| match pauses.resume(event_id, now, author) {
                true => Ok(()),
                false => Err(ApiError::new(Code::NotAllowed, "no pause of all schedules is on")),
            })
            .await?;
        tracing::warn!(resumed_by = actor, "the pause of all schedules is lifted");
        Ok(Reply::new(AllPaused::of(&pauses, self.clock.now()), caller))
    }

    /// The pause of all schedules, if one is on.
    pub(in crate::api) fn all_paused_now(&self) -> Option<AllPaused> {
        let all = AllPaused::of(&self.index.pauses(), self.clock.now());
        all.is_paused.then_some(all)
    }

    /// Whether the occurrences of a schedule are acted on at present.
    pub(super) fn acts_on(&self, schedule: &Schedule) -> bool {
        schedule.fires() && !self.index.pauses().halt().is_on(self.clock.now())
    }

    /// A warning that nothing fires at present, if so.
    pub(in crate::api) fn all_paused_warning(&self) -> Option<Warning> {
        let known = self.index.pauses();
        let pause = known.current(self.clock.now())?;
        let by = &pause.paused_by;
        let until = pause.until.map_or_else(
            || "until schedule.resume_all lifts the pause".to_owned(),
            |until| format!("until {}", shown(until)),
        );
        Some(Warning {
            code: "all_paused".to_owned(),
            field: String::new(),
            message: format!("all schedules have been paused by {by}: nothing fires {until}"),
        })
    }

    /// Changes the pauses until a write is accepted, once: a change whose acknowledgement was lost is recognised.
    async fn change_pauses(
        &self,
        change: impl Fn(&mut PausesOfAll, Uuid, DateTime<Utc>) -> Result<(), ApiError>,
    ) -> Result<(PausesOfAll, u64), ApiError> {
        let (event_id, deadline) = (self.chance.id(), Instant::now() + WRITE_PATIENCE);
        let mut first = None;
        for _ in 0..CHANGE_TRIES {
            let (mut pauses, at) = self.store.read_pauses().await?;
            match pauses.has_made(event_id, *first.get_or_insert(pauses.revision)) {
                Some(false) => {}
                Some(true) => return Ok((pauses, at.revision)),
                None => {
                    let message = "too much has changed since to tell whether it was done";
                    return Err(ApiError::new(Code::Unavailable, message));
                }
            }
            if pauses.is_full() {
                let message = "too many changes wait until the audit stream takes them; try again";
                return Err(ApiError::new(Code::Unavailable, message));
            }
            change(&mut pauses, event_id, self.clock.now())?;
            pauses.token = self.chance.number();
            match self.store.write_pauses(&pauses, at, deadline).await {
                Ok(revision) => {
                    // Then a request that comes next finds it.
                    self.wait_until_seen(revision).await;
                    return Ok((pauses, revision));
                }
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }

    fn all_know_pauses(&self) -> Result<(), ApiError> {
        let Some((instance, about)) = self.ignores_pauses() else { return Ok(()) };
        let version = about.version.unwrap_or_else(|| "an earlier version".to_owned());
        let message = format!(
            "instance {instance} ({version}) would go on firing: it does not know pauses of all schedules; replace it \
             first"
        );
        Err(ApiError::new(Code::NotAllowed, message))
    }

    /// An instance that does not know pauses of all schedules, if one is heard.
    pub(in crate::api) fn ignores_pauses(&self) -> Option<(Uuid, About)> {
        let all = (self.members)().all;
        all.into_iter().find(|(_, about)| about.acts_on < PAUSE_ALL_NEEDS)
    }
}
