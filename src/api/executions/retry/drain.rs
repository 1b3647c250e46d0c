//! Carries out reruns: takes up what stored requests ask for, part by part, as the schedules have room.
//!
//! One instance does it, the first of those that are heard and know all that the rerun asks for, and writes how far it has
//! come behind each part. Each execution is taken up under a key of its own, derived from the rerun's id and its own, so a
//! second instance that believes itself first, or one that begins a part again, finds what was taken up already.
//!
//! | crash | what is left | what happens |
//! |---|---|---|
//! | in the middle of a part | some of it taken up, each with a memo | the next instance begins the part again and finds them |
//! | before the part is written | the same | the same |
//! | after the last part, before its end is announced | a rerun with an event | any instance announces it |
//!
//! Memos last for a day. If all instances are gone for longer, after a part was begun and before it was written, those of
//! that part, at most [`PART`], are taken up once more.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt as _, stream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::super::error::{ApiError, Code};
use super::super::super::schedules::Key;
use super::super::super::{Api, Caller};
use super::many::by_schedule;
use super::{Retry, asked};
use crate::execution::{Done, Execution, RERUN_KEPT, Refusal, Rerun};
use crate::failpoint::failpoint;
use crate::jetstream::WriteError;
use crate::jetstream::reminder::Reminder;
use crate::plan::SCHEDULER;
use crate::port::Nats;
use crate::schedule::Author;
use crate::schedule::keyed::Keyed as _;

/// Executions taken up before it is written how far a rerun has come; their payloads are in memory meanwhile.
const PART: usize = 64;
/// Pause before what waits is looked at again.
const AGAIN: Duration = Duration::from_secs(1);
/// Interval between checks whether this instance goes first, or a rerun is old enough to be forgotten.
const LOOK: Duration = Duration::from_secs(5);
/// How long a write is pursued.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of an execution: done, or what it waits for.
type Fate = Result<Done, String>;

/// Carries out reruns until `stop`.
pub(crate) async fn drain(api: Arc<Api<impl Nats>>, stop: CancellationToken) {
    let (mut changed, mut said) = (api.index.reruns_changed(), Reminder::default());
    loop {
        changed.mark_unchanged();
        let pause = match stop.run_until_cancelled(api.carry_out_all(&mut said)).await {
            None => return,
            Some(true) => continue,
            Some(false) if api.has_reruns_under_way() => AGAIN,
            Some(false) => LOOK,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            _ = changed.changed(), if pause == LOOK => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

impl<N: Nats> Api<N> {
    fn has_reruns_under_way(&self) -> bool {
        self.index.reruns().iter().any(|rerun| rerun.is_under_way())
    }

    /// Takes up a part of each rerun, if that is for this instance to do. Returns whether any has come further.
    async fn carry_out_all(&self, said: &mut Reminder) -> bool {
        let (reruns, now) = (self.index.reruns(), self.clock.now());
        let is_old = |rerun: &Rerun| rerun.ended_at.is_some_and(|at| now - at >= RERUN_KEPT);
        let mut moved = false;
        for rerun in reruns.iter().filter(|rerun| rerun.is_under_way() || is_old(rerun)) {
            if !self.is_first(rerun.needs) {
                continue;
            }
            moved |= match self.carry_out_part(&rerun.name).await {
                Ok(moved) => moved,
                Err(error) => {
                    let (cause, error) = (error.cause(), &error.message);
                    if said.is_due(error, Instant::now()) {
                        tracing::warn!(rerun = rerun.name, cause, error, "rerun is held up");
                    }
                    false
                }
            };
        }
        moved
    }

    /// Whether this is the first of the instances that may carry out a rerun, by the format that it needs.
    fn is_first(&self, needs: u16) -> bool {
        let heard = (self.members)();
        let mut able = heard.all.iter().filter(|(_, about)| about.acts_on >= needs);
        heard.is_settled && able.next().is_some_and(|(id, _)| *id == self.instance)
    }

    /// Takes up the next part of a rerun and writes how far it has come. Returns whether it has come further.
    async fn carry_out_part(&self, name: &str) -> Result<bool, ApiError> {
        let (rerun, at) = self.store.read_keyed::<Rerun>(name).await?;
        let Some(mut rerun) = rerun.filter(|rerun| !rerun.is_deleted) else { return Ok(false) };
        let now = self.clock.now();
        if let Some(ended_at) = rerun.ended_at {
            if now - ended_at < RERUN_KEPT || !rerun.events.is_empty() {
                return Ok(false);
            }
            rerun.is_deleted = true;
        } else {
            let before = rerun.progress.clone();
            let is_all = self.take_up_part(&mut rerun).await?;
            failpoint("before_rerun_part");
            if is_all {
                let author =
                    Author { actor: SCHEDULER, correlation_id: &rerun.correlation_id.clone() };
                rerun.end(self.chance.id(), self.clock.now(), author, false);
            } else if rerun.progress == before {
                return Ok(false);
            }
        }
        rerun.sign(self.chance.number());
        match self.store.write_keyed(&rerun, at, Instant::now() + PATIENCE).await {
            Ok(revision) => {
                let is_held = rerun.progress.waits_for.is_some();
                self.index.know_rerun(rerun, revision);
                Ok(!is_held)
            }
            // It was ended, or another instance was faster: going on at once, the two would race each other.
            Err(WriteError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes up the next part of a rerun. Returns whether that was all.
    async fn take_up_part(&self, rerun: &mut Rerun) -> Result<bool, ApiError> {
        self.history.catch_up().await?;
        let choice = self.choice(&rerun.filter).await?;
        let (until, after) = (rerun.until, rerun.progress.after);
        let (chosen, found) = self.history.chosen(&choice, until, after, PART).await?;
        let mut room = rerun.limit.saturating_sub(rerun.progress.counted());
        let mut asked = Vec::new();
        let mut fates: Vec<(u64, Option<Fate>)> = Vec::new();
        for (place, execution) in chosen.places.iter().copied().zip(found) {
            let is_done = rerun.progress.done.contains(&place);
            let fate = match execution.filter(|execution| !execution.will_retry) {
                _ if is_done => None,
                None => Some(Ok(Done::PassedOver)),
                Some(_) if room == 0 => break,
                Some(execution) => {
                    room -= 1;
                    asked.push((fates.len(), execution));
                    None
                }
            };
            fates.push((place, fate));
        }
        for (index, fate) in self.take_up_all(asked, rerun).await {
            fates[index].1 = Some(fate);
        }
        let waits = fates.iter().find_map(|(_, fate)| fate.as_ref()?.as_ref().err().cloned());
        let is_all = waits.is_none() && (chosen.left == 0 || fates.len() < chosen.places.len());
        rerun.progress.waits_for = waits;
        rerun
            .progress
            .note(fates.into_iter().map(|(place, fate)| (place, fate.and_then(Result::ok))));
        Ok(is_all || rerun.progress.counted() >= rerun.limit)
    }

    /// Takes up some executions: those of one schedule one after the other until it has no room, the schedules at once.
    async fn take_up_all(
        &self,
        executions: Vec<(usize, Execution)>,
        rerun: &Rerun,
    ) -> Vec<(usize, Fate)> {
        let done = stream::iter(by_schedule(executions)).map(|executions| async move {
            let mut fates: Vec<(usize, Fate)> = Vec::with_capacity(executions.len());
            for (index, execution) in executions {
                let fate = match fates.last() {
                    Some((_, Err(waits))) => Err(waits.clone()),
                    _ => self.take_up_of(rerun, &execution).await,
                };
                fates.push((index, fate));
            }
            fates
        });
        done.buffer_unordered(PART).collect::<Vec<_>>().await.concat()
    }

    async fn take_up_of(&self, rerun: &Rerun, execution: &Execution) -> Fate {
        let known = self.index.reruns();
        if known.get(&rerun.name).is_some_and(|known| !known.is_under_way()) {
            return Err("it was ended".to_owned());
        }
        let caller = Caller {
            actor: Some(rerun.created_by.clone()),
            correlation_id: rerun.correlation_id.clone(),
            ..Caller::anonymous()
        };
        let retry = Retry { payload: rerun.payload, override_payload: None };
        let key = Key {
            user: caller.actor(),
            text: format!("{}/{}", rerun.id, execution.id),
            request: asked(execution.id, &retry),
        };
        let (execution_id, schedule_id) = (execution.id, execution.schedule_id);
        match self.take_up(execution, &retry, Some(key), 0, &caller).await {
            Ok(_) => Ok(Done::Retried),
            // What passes by itself.
            Err(error)
                if error.passes
                    || matches!(
                        error.code,
                        Code::LimitExceeded | Code::Conflict | Code::Unavailable
                    ) =>
            {
                Err(error.told("bulk.retry", &caller, &self.complaints).message)
            }
            Err(error) => {
                let error = error.told("bulk.retry", &caller, &self.complaints);
                Ok(Done::Refused(Refusal { execution_id, schedule_id, reason: error.message }))
            }
        }
    }
}
