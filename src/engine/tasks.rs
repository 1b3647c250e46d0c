//! Tasks that carry out what the core decides, and report back to it.
//!
//! A task reports to the core however it ends, even by a panic: each thing that it holds (a record, a permit, an
//! execution) is given back when it is dropped.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::{self, join_all};
use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::claim::{Accepted, Claimed, claim};
use super::core::{self, Claiming, Done, Event, Lane};
use super::deliver::Prepared;
use super::sending::{Lent, Sending};
use super::urgency::Urgent;
use super::{Shared, deliver, finish, record};
use crate::failpoint::failpoint;
use crate::port::Nats;
use crate::schedule::{Attempt, DeliveryMode};

/// Time for which an action counts against the bound on those under way. One that takes longer is waiting for something
/// that does not answer.
const PROMPT: Duration = Duration::from_secs(6);
/// Interval between checks whether the target's stream is silent, in which case waiting on is in vain.
const LOOK: Duration = Duration::from_millis(250);

/// An attempt under an accepted claim that waits for its time.
pub(crate) struct Armed {
    accepted: Arc<Accepted>,
    attempt: Attempt,
    prepared: Prepared,
    /// Whether another instance may have acted on it.
    recovered: bool,
}

/// Sends events to the core.
#[derive(Clone)]
pub(crate) struct Events(UnboundedSender<Event<Armed>>);

impl Events {
    pub(crate) fn new(sender: UnboundedSender<Event<Armed>>) -> Self {
        Self(sender)
    }

    fn send(&self, event: Event<Armed>) {
        // If the core is gone, it has nothing left to decide.
        let _ = self.0.send(event);
    }

    /// Wraps a permit that the core has already counted.
    pub(crate) fn permit(&self, lane: Lane) -> Permit {
        Permit { lane, events: self.clone() }
    }

    /// Wraps a record that the core has already reserved.
    pub(crate) fn hold(&self, id: Uuid) -> Held {
        Held { id, events: self.clone(), is_free: false }
    }
}

/// The right to have a piece of work under way; given back when dropped.
pub(crate) struct Permit {
    lane: Lane,
    events: Events,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.events.send(Event::Returned(self.lane));
    }
}

/// A schedule whose record is being written.
pub(crate) struct Held {
    id: Uuid,
    events: Events,
    is_free: bool,
}

impl Held {
    /// Gives the record back.
    fn free(&mut self) {
        self.is_free = true;
        self.events.send(Event::Free(self.id));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_free {
            self.events.send(Event::Later(self.id));
        }
    }
}

/// Something that the core believes to be under way; sends the core an event when it has ended.
pub(crate) struct Telling {
    events: Events,
    end: Option<Event<Armed>>,
}

impl Telling {
    /// Sends `otherwise`, unless it is ended with something better.
    pub(crate) fn new(events: Events, otherwise: Event<Armed>) -> Self {
        Self { events, end: Some(otherwise) }
    }

    /// Ends it with its result.
    pub(crate) fn end(mut self, event: Event<Armed>) {
        self.end = Some(event);
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(event) = self.end.take() {
            self.events.send(event);
        }
    }
}

/// Executions of ours that nothing else would let go of if their task panicked. Once let go, they are claimed again.
struct Ours<'a, N: Nats> {
    shared: &'a Shared<N>,
    events: &'a Events,
    accepted: &'a Accepted,
}

impl<N: Nats> Drop for Ours<'_, N> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.end(self.accepted.executions());
            self.events.send(Event::Failed(self.accepted.schedule.id));
        }
    }
}

/// Folds what has ended into a record, claims what is due, and makes the attempts that are not armed.
pub(crate) async fn work(
    shared: Arc<Shared<impl Nats>>,
    mut held: Held,
    done: Done,
    claiming: (Claiming, bool),
    permit: Permit,
    urgent: Option<Urgent>,
) {
    if !done.ended.is_empty() {
        failpoint("before_settle");
    }
    match claim(&shared, held.id, &done, claiming).await {
        Claimed::Nothing => held.free(),
        Claimed::Later => held.events.send(Event::Back(held.id, done)),
        Claimed::Accepted(accepted) => {
            let (now, events) = (shared.clock.now(), held.events.clone());
            let _ours = Ours { shared: &shared, events: &events, accepted: &accepted };
            arm(&shared, &accepted, now, &events);
            held.free();
            make_due(&shared, &accepted, now, &events, permit, urgent).await;
        }
    }
}

/// Arms the attempts of an accepted plan whose time has not come. It does so before the record is free again, so that a
/// draining core has heard of all of them.
fn arm(shared: &Shared<impl Nats>, accepted: &Arc<Accepted>, now: DateTime<Utc>, events: &Events) {
    for (attempt, recovered) in accepted.attempts().filter(|(a, _)| accepted.due_at(a) > now) {
        let prepared = deliver::prepare(shared, accepted, attempt);
        let (due, priority) = (accepted.due_at(attempt), accepted.schedule.spec.priority);
        let execution = attempt.execution_id;
        let (accepted, attempt) = (Arc::clone(accepted), attempt.clone());
        let attempt = Armed { accepted, attempt, prepared, recovered };
        events.send(Event::Armed(core::Armed { due, priority, execution, attempt }));
        failpoint("after_arming");
    }
}

/// Makes the attempts of an accepted plan that were already due when the others were armed.
async fn make_due(
    shared: &Shared<impl Nats>,
    accepted: &Arc<Accepted>,
    armed_at: DateTime<Utc>,
    events: &Events,
    permit: Permit,
    urgent: Option<Urgent>,
) {
    let attempts: Vec<_> =
        accepted.attempts().filter(|(a, _)| accepted.due_at(a) <= armed_at).collect();
    let quiet = accepted.skip.is_empty() && accepted.finish.is_empty();
    let lane = permit.lane;
    match &attempts[..] {
        [] if quiet => {}
        // By far the most frequent case: one attempt.
        [(attempt, recovered)] if quiet => {
            let prepared = deliver::prepare(shared, accepted, attempt);
            let permit = Lent::new(permit);
            let sending = Sending::alone(&permit, lane == Lane::Fast, urgent);
            let making =
                pin!(make(shared, accepted, attempt, prepared, *recovered, events, sending));
            within_permit(shared, accepted, lane, &permit, making).await;
        }
        attempts => {
            let finishes = join_all(accepted.finish.iter().map(|attempt| async {
                events.send(Event::Ended(finish::finish(shared, accepted, attempt).await));
            }));
            let skips = join_all(accepted.skip.iter().map(|(attempt, range)| async {
                let skipped = record::skip(shared, accepted, attempt, *range).await;
                events.send(Event::Ended(skipped));
            }));
            let asks = |attempt: &Attempt| {
                accepted.schedule.sends(attempt).delivery.mode == DeliveryMode::Request
            };
            let making = async {
                drop(urgent);
                let (asking, others): (Vec<_>, Vec<_>) =
                    attempts.iter().copied().partition(|(attempt, _)| asks(attempt));
                let made = |(attempt, recovered)| {
                    let prepared = deliver::prepare(shared, accepted, attempt);
                    let sending = Sending::with_others();
                    make(shared, accepted, attempt, prepared, recovered, events, sending)
                };
                // One permit covers one request under way; the others await no reply and need not wait for it.
                let asking = async {
                    for attempt in asking {
                        made(attempt).await;
                    }
                };
                future::join(join_all(others.into_iter().map(made)), asking).await;
            };
            let mut all = Box::pin(async { drop(future::join3(skips, finishes, making).await) });
            let permit = Lent::new(permit);
            within_permit(shared, accepted, lane, &permit, all.as_mut()).await;
        }
    }
}

/// Makes an armed attempt that is now due, if it is still ours.
pub(crate) async fn release(
    shared: Arc<Shared<impl Nats>>,
    armed: Armed,
    events: Events,
    permit: Permit,
    urgent: Urgent,
) {
    let Armed { accepted, attempt, prepared, recovered } = armed;
    let _ours = Ours { shared: &shared, events: &events, accepted: &accepted };
    if !stands(&shared, &accepted, &attempt) {
        return let_go(&shared, &accepted, &attempt, &events);
    }
    let (lane, permit) = (permit.lane, Lent::new(permit));
    let sending = Sending::alone(&permit, lane == Lane::Fast, Some(urgent));
    let making = pin!(make(&shared, &accepted, &attempt, prepared, recovered, &events, sending));
    within_permit(&shared, &accepted, lane, &permit, making).await;
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
fn let_go(shared: &Shared<impl Nats>, accepted: &Accepted, attempt: &Attempt, events: &Events) {
    shared.end([attempt.execution_id]);
    events.send(Event::Changed(accepted.schedule.id));
}

async fn make(
    shared: &Shared<impl Nats>,
    accepted: &Accepted,
    attempt: &Attempt,
    prepared: Prepared,
    recovered: bool,
    events: &Events,
    sending: Sending<'_, Permit>,
) {
    match deliver::attempt(shared, accepted, attempt, prepared, recovered, sending).await {
        Some(ended) => events.send(Event::Ended(ended)),
        None => let_go(shared, accepted, attempt, events),
    }
}

/// Runs an action under a permit. In the fast lane the permit goes back early if the action is not prompt: a stream
/// that does not answer must not hold up the commands for others. (The action is borrowed; if it were moved in here,
/// the task would contain it twice.)
async fn within_permit(
    shared: &Shared<impl Nats>,
    accepted: &Accepted,
    lane: Lane,
    permit: &Lent<Permit>,
    mut action: Pin<&mut impl Future<Output = ()>>,
) {
    if lane == Lane::Fast {
        tokio::select! {
            biased;
            () = &mut action => return,
            () = no_longer_prompt(shared, accepted) => {}
        }
        permit.give_back();
    }
    action.await;
}

/// Waits until an action has had its time, or until its target's stream is known to be silent, which it usually is from
/// the start.
async fn no_longer_prompt(shared: &Shared<impl Nats>, accepted: &Accepted) {
    let target =
        accepted.attempts().next().map_or(&accepted.schedule.spec.target_command, |(one, _)| {
            accepted.schedule.sends(one).target
        });
    let mut waited = Duration::ZERO;
    while waited < PROMPT && !shared.delivery.is_silent(target.as_str()) {
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
        let releasing = size(|(shared, armed, events, permit, urgent): (Service, _, _, _, _)| {
            release(shared, armed, events, permit, urgent)
        });
        let working =
            size(|(shared, held, done, claiming, permit, urgent): (Service, _, _, _, _, _)| {
                work(shared, held, done, claiming, permit, urgent)
            });
        for (what, bytes) in [("release", releasing), ("work", working)] {
            assert!(bytes <= 6 * 1024, "{what}: {bytes} bytes");
        }
    }
}
