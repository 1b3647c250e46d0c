//! Acting on accepted claims, and telling the loop what came of it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{self, join_all};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::armed::Armed;
use super::queue::Lane;
use super::urgency::Urgent;
use super::work::Accepted;
use super::{Shared, execute};
use crate::clock;
use crate::execution::Execution;
use crate::failpoint::failpoint;
use crate::schedule::{Attempt, Phase};

/// How long an action counts against the bound on those under way: one that takes longer waits for
/// something that is not there.
const PROMPT: Duration = Duration::from_secs(6);

/// What work tells the loop.
pub(crate) enum Event {
    /// The schedule's record is free for the next write.
    Free(Uuid),
    /// The same, but nothing came of it: look again later.
    Later(Uuid),
    /// A claim made ahead was accepted.
    Armed(Armed),
    /// An execution's outcome is in the history.
    Ended(Box<Execution>),
    /// Changes of the schedule are in the audit stream.
    Announced(Uuid, Vec<Uuid>),
    /// A permit was returned.
    Permit,
    /// Something about the schedule changed that its record does not show.
    Look(Uuid),
}

/// A schedule whose record is being worked on. However the work ends, even by a panic, the loop
/// hears of it.
pub(crate) struct Held {
    id: Uuid,
    events: UnboundedSender<Event>,
    done: bool,
}

impl Held {
    pub(crate) fn new(id: Uuid, events: UnboundedSender<Event>) -> Self {
        Self { id, events, done: false }
    }

    pub(crate) fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// The record is free again.
    pub(crate) fn free(&mut self) {
        self.done = true;
        self.send(Event::Free(self.id));
    }

    pub(crate) fn events(&self) -> &UnboundedSender<Event> {
        &self.events
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.done {
            self.send(Event::Later(self.id));
        }
    }
}

/// Makes the attempts of an accepted plan, and arms those whose time has not come.
pub(crate) async fn act(
    shared: &Shared,
    accepted: &Arc<Accepted>,
    lane: Lane,
    events: &UnboundedSender<Event>,
    permit: OwnedSemaphorePermit,
    urgent: Option<Urgent>,
) {
    let now = clock::now();
    let (due, ahead): (Vec<_>, Vec<_>) =
        accepted.fire.iter().partition(|attempt| attempt.scheduled_for <= now);
    for attempt in ahead {
        let (accepted, attempt) = (Arc::clone(accepted), attempt.clone());
        let _ = events.send(Event::Armed(Armed { accepted, attempt }));
        failpoint("after_arming");
    }
    let recover = accepted.recover.iter().map(|attempt| (attempt, true));
    let attempts: Vec<_> = due.into_iter().map(|attempt| (attempt, false)).chain(recover).collect();
    match (&attempts[..], &accepted.skip[..]) {
        ([], []) => {}
        // By far the most frequent: one attempt.
        ([(attempt, recovered)], []) => {
            let making = make(shared, accepted, attempt, *recovered, events, urgent);
            within_permit(lane, permit, events, making).await;
        }
        (attempts, skips) => {
            let skips = join_all(skips.iter().map(|(attempt, range)| async {
                let skipped = execute::skip(shared, accepted, attempt, *range).await;
                let _ = events.send(Event::Ended(skipped));
            }));
            let making = async {
                drop(urgent);
                if lane == Lane::Fast {
                    join_all(attempts.iter().map(|(attempt, recovered)| {
                        make(shared, accepted, attempt, *recovered, events, None)
                    }))
                    .await;
                } else {
                    // One permit is one request under way.
                    for (attempt, recovered) in attempts {
                        make(shared, accepted, attempt, *recovered, events, None).await;
                    }
                }
            };
            let both = async { drop(future::join(skips, making).await) };
            Box::pin(within_permit(lane, permit, events, both)).await;
        }
    }
}

/// Makes an armed attempt, now that it is due, if it still stands.
pub(crate) async fn release(
    shared: &Shared,
    armed: &Armed,
    events: &UnboundedSender<Event>,
    permit: OwnedSemaphorePermit,
    urgent: Urgent,
) {
    if stands(shared, armed) {
        let (accepted, attempt) = (&armed.accepted, &armed.attempt);
        let making = make(shared, accepted, attempt, false, events, Some(urgent));
        within_permit(Lane::Fast, permit, events, making).await;
    } else {
        shared.end([armed.attempt.execution_id]);
        let _ = events.send(Event::Look(armed.accepted.schedule.id));
    }
}

/// Whether an armed attempt is still what the schedule's record asks for: a user may have deleted,
/// paused or changed the schedule since it was claimed.
fn stands(shared: &Shared, armed: &Armed) -> bool {
    let schedule = &armed.accepted.schedule;
    let same = |attempt: &Attempt| {
        attempt.execution_id == armed.attempt.execution_id
            && matches!((&attempt.phase, &armed.attempt.phase),
                (Phase::Claimed { by, at, .. }, Phase::Claimed { by: b, at: a, .. })
                    if by == b && at == a)
    };
    shared.index.get(schedule.id).is_some_and(|entry| {
        let spec = &entry.schedule.spec;
        let unchanged = Arc::ptr_eq(spec, &schedule.spec) || *spec == schedule.spec;
        unchanged && entry.schedule.attempts.iter().any(same)
    })
}

async fn make(
    shared: &Shared,
    accepted: &Accepted,
    attempt: &Attempt,
    recovered: bool,
    events: &UnboundedSender<Event>,
    urgent: Option<Urgent>,
) {
    match execute::attempt(shared, accepted, attempt, recovered, urgent).await {
        Some(ended) => {
            let _ = events.send(Event::Ended(ended));
        }
        None => {
            shared.end([attempt.execution_id]);
            let _ = events.send(Event::Look(accepted.schedule.id));
        }
    }
}

/// Runs an action under a permit; in the fast lane the permit goes back early if the action is not
/// prompt, since a stream that does not answer must not keep the others' commands waiting.
async fn within_permit(
    lane: Lane,
    permit: OwnedSemaphorePermit,
    events: &UnboundedSender<Event>,
    action: impl Future<Output = ()>,
) {
    let mut action = std::pin::pin!(action);
    if lane == Lane::Fast {
        if tokio::time::timeout(PROMPT, &mut action).await.is_ok() {
            return;
        }
        drop(permit);
        let _ = events.send(Event::Permit);
        action.await;
    } else {
        action.await;
        drop(permit);
    }
}
