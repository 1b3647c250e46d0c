//! Tasks that carry out what the core decides, and report back to it.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{self, join_all};

use super::claim::{Accepted, Claimed, claim};
use super::core::{self, Claiming, Event, Lane};
use super::dead_letter::{self, Concluded};
use super::deliver::{Firing, Made};
use super::holds::{Events, Held, Lent, Ours, Permit};
use super::urgency::Urgent;
use super::{Shared, deliver, finish, outcomes, record};
use crate::failpoint::failpoint;
use crate::port::Nats;
use crate::schedule::{Attempt, DeliveryMode, Target};

/// Time for which an action counts against the bound on those under way. One that takes longer is waiting for something
/// that does not answer.
const PROMPT: Duration = Duration::from_secs(6);
/// Interval between checks whether the target's stream is silent, when waiting longer is pointless.
const LOOK: Duration = Duration::from_millis(250);

/// Folds what has ended into a record, claims what is due, and makes the attempts that are not armed.
pub(crate) async fn work(
    shared: Arc<Shared<impl Nats>>,
    mut held: Held,
    claiming: Claiming,
    admitted: bool,
    permit: Permit,
    urgent: Option<Urgent>,
) {
    if !held.done().ended.is_empty() {
        failpoint("before_settle");
    }
    match claim(&shared, held.id(), held.done(), claiming, admitted).await {
        Claimed::Nothing => held.free(),
        // What is held goes back.
        Claimed::Later => {}
        Claimed::Accepted(accepted) => {
            let (now, events) = (shared.clock.now(), held.events().clone());
            arm(&shared, &accepted, now, &events);
            held.free();
            make_due(&shared, &accepted, now, &events, permit, urgent).await;
        }
    }
}

/// Arms the attempts of an accepted plan whose time has not come. It does so before the record is free again, so that a
/// draining core has heard of all of them.
fn arm(shared: &Shared<impl Nats>, accepted: &Arc<Accepted>, now: DateTime<Utc>, events: &Events) {
    let _ours = Ours::all(shared, events, accepted);
    for (attempt, recovered) in accepted.attempts().filter(|(a, _)| accepted.due_at(a) > now) {
        let (due, priority) = (accepted.due_at(attempt), accepted.schedule.spec.priority);
        let execution = attempt.execution_id;
        let attempt = deliver::prepare(shared, accepted, attempt, recovered);
        events.send(Event::Armed(core::Armed { due, priority, execution, attempt }));
        failpoint("after_arming");
    }
}

/// Makes the attempts of an accepted plan that were already due when the others were armed.
async fn make_due(
    shared: &Arc<Shared<impl Nats>>,
    accepted: &Arc<Accepted>,
    armed_at: DateTime<Utc>,
    events: &Events,
    permit: Permit,
    urgent: Option<Urgent>,
) {
    let attempts: Vec<_> =
        accepted.attempts().filter(|(a, _)| accepted.due_at(a) <= armed_at).collect();
    let quiet = accepted.skip.is_empty() && accepted.finish.is_empty();
    match &attempts[..] {
        [] if quiet => {}
        // By far the most frequent case: one attempt.
        [(attempt, recovered)] if quiet => {
            let _ours = Ours::one(shared, events, accepted, attempt.execution_id);
            let firing = deliver::prepare(shared, accepted, attempt, *recovered);
            make_alone(shared, firing, events, permit, urgent).await;
        }
        attempts => {
            drop(urgent);
            make_several(shared, accepted, attempts, events, permit).await;
        }
    }
}

/// Makes several attempts of an accepted plan, or writes what it skips and finishes besides, side by side.
async fn make_several(
    shared: &Arc<Shared<impl Nats>>,
    accepted: &Arc<Accepted>,
    attempts: &[(&Attempt, bool)],
    events: &Events,
    permit: Permit,
) {
    // If one panics, another may have ended already, and wait to be recorded. So each is let go by itself, and is guarded
    // before any of them begins.
    let ours = |attempt: &Attempt| Ours::one(shared, events, accepted, attempt.execution_id);
    let finishes: Vec<_> = (accepted.finish.iter())
        .map(|attempt| (ours(attempt), attempt))
        .map(|(ours, attempt)| async move {
            let _ours = ours;
            let ended = finish::finish(shared, accepted, attempt).await;
            dead_letter::end(shared, accepted, attempt, ended, events).await;
        })
        .collect();
    let skips: Vec<_> = (accepted.skip.iter())
        .map(|(attempt, range)| (ours(attempt), attempt, *range))
        .map(|(ours, attempt, range)| async move {
            let _ours = ours;
            let skipped = record::skip(shared, accepted, attempt, range).await;
            events.send(Event::Ended(skipped));
        })
        .collect();
    let asks =
        |attempt: &Attempt| accepted.schedule.sends(attempt).delivery.mode == DeliveryMode::Request;
    let (asking, others): (Vec<_>, Vec<_>) =
        attempts.iter().copied().partition(|(attempt, _)| asks(attempt));
    let made = |attempts: Vec<(&Attempt, bool)>| -> Vec<_> {
        let guarded = attempts.into_iter().map(|(attempt, recovered)| {
            let (ours, attempt) = (ours(attempt), attempt.clone());
            async move {
                let _ours = ours;
                let firing = deliver::prepare(shared, accepted, &attempt, recovered);
                make(shared, firing, events, None, None).await;
            }
        });
        guarded.collect()
    };
    let (asking, others) = (made(asking), join_all(made(others)));
    // One permit covers one request under way; the others await no reply and need not wait for it.
    let asking = async {
        for attempt in asking {
            attempt.await;
        }
    };
    let (skips, finishes) = (join_all(skips), join_all(finishes));
    let mut all = Box::pin(async {
        drop(future::join4(skips, finishes, others, asking).await);
    });
    let (target, permit) = (target(accepted), Lent::new(permit));
    within_permit(shared, target, &permit, all.as_mut()).await;
}

/// Makes an armed attempt that is now due, if it is still ours.
pub(crate) async fn release(
    shared: Arc<Shared<impl Nats>>,
    firing: Box<Firing>,
    events: Events,
    permit: Permit,
    urgent: Urgent,
) {
    let (accepted, execution) = (Arc::clone(&firing.accepted), firing.attempt.execution_id);
    let _ours = Ours::one(&shared, &events, &accepted, execution);
    if !stands(&shared, &accepted, &firing.attempt) {
        return let_go(&shared, &firing, &events);
    }
    make_alone(&shared, firing, &events, permit, Some(urgent)).await;
}

/// Whether an armed attempt is still ours: an instance that thought us gone may have taken it over.
fn stands(shared: &Shared<impl Nats>, accepted: &Accepted, armed: &Attempt) -> bool {
    let same = |attempt: &Attempt| {
        attempt.execution_id == armed.execution_id && attempt.phase == armed.phase
    };
    let id = accepted.schedule.id;
    match shared.index.get(id) {
        Some(entry) => entry.schedule.attempts.iter().any(same),
        // A change has left the record to newer versions; what was claimed before is acted on while the claim is
        // trusted.
        None => shared.index.is_left(id),
    }
}

/// Lets go of an attempt that was not made, so that it is claimed again.
fn let_go(shared: &Shared<impl Nats>, firing: &Firing, events: &Events) {
    shared.end([firing.attempt.execution_id]);
    events.send(Event::Changed(firing.accepted.schedule.id));
}

/// Makes an attempt under a permit of its own.
async fn make_alone(
    shared: &Arc<Shared<impl Nats>>,
    firing: Box<Firing>,
    events: &Events,
    permit: Permit,
    urgent: Option<Urgent>,
) {
    let (accepted, permit) = (Arc::clone(&firing.accepted), Lent::new(permit));
    let making = pin!(make(shared, firing, events, Some(&permit), urgent));
    within_permit(shared, target(&accepted), &permit, making).await;
}

/// Makes an attempt, and leaves its outcome to be recorded. A permit for a request is held until the reply and all that
/// follows from it; another one goes back now: what is left to do waits for others, and has bounds of its own.
async fn make(
    shared: &Arc<Shared<impl Nats>>,
    mut firing: Box<Firing>,
    events: &Events,
    permit: Option<&Lent>,
    urgent: Option<Urgent>,
) {
    match deliver::make_attempt(shared, &mut firing, urgent).await {
        Made::Ended => {
            let ids = (firing.execution.schedule_id, firing.execution.id);
            let place = outcomes::holding(shared, events, ids, shared.urgency.place()).await;
            let held = permit.and_then(Lent::take).filter(|permit| permit.lane() == Lane::Request);
            outcomes::leave(shared, firing, place, held);
        }
        Made::Known(execution) => {
            let concluded = Concluded { execution, again: true };
            let (accepted, attempt) = (&firing.accepted, &firing.attempt);
            dead_letter::end(shared, accepted, attempt, concluded, events).await;
        }
        Made::Nothing => let_go(shared, &firing, events),
    }
}

/// Runs an action under a permit. In the fast lane the permit goes back early if the action is not prompt: a stream
/// that does not answer must not hold up the commands for others. (The action is borrowed; if it were moved in here,
/// the task would contain it twice.)
async fn within_permit(
    shared: &Arc<Shared<impl Nats>>,
    target: &Target,
    permit: &Lent,
    mut action: Pin<&mut impl Future<Output = ()>>,
) {
    if permit.lane() == Some(Lane::Fast) {
        tokio::select! {
            biased;
            () = &mut action => return,
            () = no_longer_prompt(shared, target) => {}
        }
        permit.take();
    }
    action.await;
}

/// The target of what an accepted plan sends first.
fn target(accepted: &Accepted) -> &Target {
    let first = accepted.attempts().next();
    first.map_or(&accepted.schedule.spec.target_command, |(attempt, _)| {
        accepted.schedule.sends(attempt).target
    })
}

/// Waits until an action has had its time, or until its target's stream is known to be silent, which it usually is from
/// the start.
async fn no_longer_prompt(shared: &Shared<impl Nats>, target: &Target) {
    let mut waited = Duration::ZERO;
    while waited < PROMPT && !shared.sender.is_silent(target.as_str()) {
        tokio::time::sleep(LOOK).await;
        waited += LOOK;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jetstream::adapter::JetStream;

    type Service = Arc<Shared<JetStream>>;

    /// Size in bytes of the future that a function returns.
    fn size<A, F: Future>(_: impl Fn(A) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_firing_is_small() {
        // Thousands are under way at once, in freshly allocated memory, and each is copied into its task.
        let releasing = size(|(shared, firing, events, permit, urgent): (Service, _, _, _, _)| {
            release(shared, firing, events, permit, urgent)
        });
        let working = size(|(shared, held, permit, urgent): (Service, _, _, _)| {
            work(shared, held, Claiming::All, true, permit, urgent)
        });
        for (what, bytes, most) in [("release", releasing, 4), ("work", working, 5)] {
            assert!(bytes <= most * 1024, "{what}: {bytes} bytes");
        }
    }
}
