//! Acting on accepted claims, and telling the loop what came of it.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{self, join_all};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::armed::Armed;
use super::execute::Prepared;
use super::queue::Lane;
use super::urgency::Urgent;
use super::work::{Accepted, Done};
use super::{Shared, execute, finish};
use crate::execution::Execution;
use crate::failpoint::failpoint;
use crate::schedule::Attempt;

/// How long an action counts against the bound on those under way: one that takes longer waits for
/// something that is not there.
const PROMPT: Duration = Duration::from_secs(6);
/// How often it is looked meanwhile whether its target's stream is silent, and it would wait in vain.
const LOOK: Duration = Duration::from_millis(250);

/// How long an attempt that may not be sent any more is kept from being claimed again, while there is no
/// room at its target's stream.
const CROWDED: Duration = Duration::from_secs(10);

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
    /// Those that follow the schedule know of the ends of these executions.
    Told(Uuid, Vec<Uuid>),
    /// What was done could not be folded into the record.
    Back(Uuid, Done),
    /// A permit was returned.
    Permit,
    /// A record whose times lay ahead has been looked at.
    Corrected(Uuid),
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

/// Arms the attempts of an accepted plan whose time has not come. Before the record is free again, so
/// that a loop that stops has heard of all of them.
pub(crate) fn arm(
    shared: &Shared,
    accepted: &Arc<Accepted>,
    now: DateTime<Utc>,
    events: &UnboundedSender<Event>,
) {
    for (attempt, recovered) in accepted.attempts().filter(|(a, _)| accepted.due_at(a) > now) {
        let prepared = execute::prepare(shared, accepted, attempt);
        let (accepted, attempt) = (Arc::clone(accepted), attempt.clone());
        let _ = events.send(Event::Armed(Armed { accepted, attempt, prepared, recovered }));
        failpoint("after_arming");
    }
}

/// Makes the attempts of an accepted plan that are not armed.
pub(crate) async fn act(
    shared: &Shared,
    accepted: &Arc<Accepted>,
    armed_at: DateTime<Utc>,
    lane: Lane,
    events: &UnboundedSender<Event>,
    permit: OwnedSemaphorePermit,
    urgent: Option<Urgent>,
) {
    let attempts: Vec<_> =
        accepted.attempts().filter(|(a, _)| accepted.due_at(a) <= armed_at).collect();
    let quiet = accepted.skip.is_empty() && accepted.finish.is_empty();
    match &attempts[..] {
        [] if quiet => {}
        // By far the most frequent: one attempt.
        [(attempt, recovered)] if quiet => {
            let prepared = execute::prepare(shared, accepted, attempt);
            let making = make(shared, accepted, attempt, prepared, *recovered, events, urgent);
            within_permit(shared, accepted, lane, permit, events, making).await;
        }
        attempts => {
            let finishes = join_all(accepted.finish.iter().map(|attempt| async {
                let ended = finish::finish(shared, accepted, attempt).await;
                let _ = events.send(Event::Ended(ended));
            }));
            let skips = join_all(accepted.skip.iter().map(|(attempt, range)| async {
                let skipped = execute::skip(shared, accepted, attempt, *range).await;
                let _ = events.send(Event::Ended(skipped));
            }));
            let making = async {
                drop(urgent);
                if lane == Lane::Fast {
                    join_all(attempts.iter().map(|(attempt, recovered)| {
                        let prepared = execute::prepare(shared, accepted, attempt);
                        make(shared, accepted, attempt, prepared, *recovered, events, None)
                    }))
                    .await;
                } else {
                    // One permit is one request under way.
                    for (attempt, recovered) in attempts {
                        let prepared = execute::prepare(shared, accepted, attempt);
                        make(shared, accepted, attempt, prepared, *recovered, events, None).await;
                    }
                }
            };
            let all = async { drop(future::join3(skips, finishes, making).await) };
            Box::pin(within_permit(shared, accepted, lane, permit, events, all)).await;
        }
    }
}

/// Makes an armed attempt, now that it is due, if it still stands.
pub(crate) async fn release(
    shared: &Shared,
    armed: Armed,
    events: &UnboundedSender<Event>,
    permit: OwnedSemaphorePermit,
    urgent: Urgent,
) {
    if stands(shared, &armed) {
        let Armed { accepted, attempt, prepared, recovered } = armed;
        let making = make(shared, &accepted, &attempt, prepared, recovered, events, Some(urgent));
        within_permit(shared, &accepted, Lane::Fast, permit, events, making).await;
    } else {
        shared.end([armed.attempt.execution_id]);
        let _ = events.send(Event::Look(armed.accepted.schedule.id));
    }
}

/// Whether an armed attempt is still ours: another instance that thought us gone may have taken it.
fn stands(shared: &Shared, armed: &Armed) -> bool {
    let same = |attempt: &Attempt| {
        attempt.execution_id == armed.attempt.execution_id && attempt.phase == armed.attempt.phase
    };
    let id = armed.accepted.schedule.id;
    match shared.index.get(id) {
        Some(entry) => entry.schedule.attempts.iter().any(same),
        // A change made it one that needs a newer version; what was claimed before is acted on, as long
        // as the claim is trusted.
        None => shared.index.is_left(id),
    }
}

async fn make(
    shared: &Shared,
    accepted: &Accepted,
    attempt: &Attempt,
    prepared: Prepared,
    recovered: bool,
    events: &UnboundedSender<Event>,
    urgent: Option<Urgent>,
) {
    match execute::attempt(shared, accepted, attempt, prepared, recovered, urgent).await {
        Some(ended) => {
            let _ = events.send(Event::Ended(ended));
        }
        None => {
            room(shared, accepted).await;
            shared.end([attempt.execution_id]);
            let _ = events.send(Event::Look(accepted.schedule.id));
        }
    }
}

/// Waits, before an attempt is claimed again, while too many others wait for its target's stream already:
/// they would be claimed again and again, and not sent.
async fn room(shared: &Shared, accepted: &Accepted) {
    let target = accepted.schedule.spec.target_command.as_str();
    let mut waited = Duration::ZERO;
    while waited < CROWDED && shared.delivery.is_crowded(target) {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
}

/// Runs an action under a permit; in the fast lane the permit goes back early if the action is not
/// prompt, since a stream that does not answer must not keep the others' commands waiting.
async fn within_permit(
    shared: &Shared,
    accepted: &Accepted,
    lane: Lane,
    permit: OwnedSemaphorePermit,
    events: &UnboundedSender<Event>,
    action: impl Future<Output = ()>,
) {
    let mut action = std::pin::pin!(action);
    if lane == Lane::Fast {
        tokio::select! {
            biased;
            () = &mut action => return,
            () = no_longer_prompt(shared, accepted) => {}
        }
        drop(permit);
        let _ = events.send(Event::Permit);
        action.await;
    } else {
        action.await;
        drop(permit);
    }
}

/// Waits until an action has had its time, or until its target's stream is known to be silent, which it is
/// as a rule from the start.
async fn no_longer_prompt(shared: &Shared, accepted: &Accepted) {
    let target = accepted.schedule.spec.target_command.as_str();
    let mut waited = Duration::ZERO;
    while waited < PROMPT && !shared.delivery.is_silent(target) {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
}
