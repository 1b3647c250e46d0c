//! Outcomes that wait to be recorded.
//!
//! A command that is out has an outcome, and recording that can [wait](super::urgency). It waits here, apart from the
//! task that sent the command: such a task is large, and when thousands stay alive the kernel has to clear memory for
//! new ones, at the very time when their commands are due.
//!
//! The history may take nothing for hours. Then the claims of what waits are renewed: when a lease expires, another instance
//! makes the attempt again unless it finds an outcome.
//!
//! | when the instance dies | then |
//! |---|---|
//! | while an outcome waits, or is being written | the attempt is taken over, as it would be if it had died right after sending |

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

use super::Shared;
use super::core::Event;
use super::dead_letter::{self, Concluded};
use super::deliver::Firing;
use super::holds::{Events, Ours, Permit};
use super::record::conclude;
use super::urgency::Place;
use crate::failpoint::panic_at;
use crate::metrics::Lock;
use crate::plan::View as _;
use crate::port::Nats;

/// Longest time that an outcome waits for claims and commands.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time after which an outcome that is not recorded counts as held up.
const HELD_UP: Duration = Duration::from_secs(5);
/// Most outcomes that are written at once.
const MOST_WRITTEN: usize = 1_024;

/// The outcomes of one engine that wait to be recorded, oldest first.
#[derive(Default)]
pub(crate) struct Outcomes {
    waiting: Mutex<VecDeque<Box<Unrecorded>>>,
    added: Notify,
}

/// A firing that has ended, and what it holds until its outcome is in the history.
struct Unrecorded {
    firing: Box<Firing>,
    place: Place,
    permit: Option<Permit>,
    known_at: Instant,
    task: TaskTrackerToken,
}

impl Outcomes {
    async fn next(&self) -> Box<Unrecorded> {
        loop {
            let next = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match next {
                Some(next) => return next,
                // Only one waits, so no addition is missed.
                None => self.added.notified().await,
            }
        }
    }
}

/// Awaits `waiting` for an execution that has ended; if that takes long, has its claim renewed meanwhile.
pub(crate) async fn holding<T>(
    shared: &Shared<impl Nats>,
    events: &Events,
    (schedule, execution): (Uuid, Uuid),
    waiting: impl Future<Output = T>,
) -> T {
    let mut waiting = pin!(waiting);
    match timeout(HELD_UP, waiting.as_mut()).await {
        Ok(done) => done,
        Err(_) => {
            hold_up(shared, events, schedule, execution);
            waiting.await
        }
    }
}

fn hold_up(shared: &Shared<impl Nats>, events: &Events, schedule: Uuid, execution: Uuid) {
    shared.hold_up(execution);
    events.send(Event::Changed(schedule));
}

/// Leaves a firing that has ended, with its `place`, to be recorded. It keeps a `permit` until then.
pub(crate) fn leave(
    shared: &Shared<impl Nats>,
    firing: Box<Firing>,
    place: Place,
    permit: Option<Permit>,
) {
    let (known_at, task) = (Instant::now(), shared.tasks.token());
    let unrecorded = Box::new(Unrecorded { firing, place, permit, known_at, task });
    let outcomes = &shared.outcomes;
    outcomes.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(unrecorded);
    outcomes.added.notify_one();
}

/// Records outcomes as they come, as soon as they may.
pub(crate) async fn record_all(shared: Arc<Shared<impl Nats>>, events: Events) {
    let written = Arc::new(Semaphore::new(MOST_WRITTEN));
    let mut looked_at = Instant::now();
    loop {
        let unrecorded = shared.outcomes.next().await;
        shared.urgency.quiet(unrecorded.known_at + PATIENCE).await;
        let turn = loop {
            // Some may be taken all the time, and yet so few that the others wait longer than their claims last.
            if unrecorded.known_at.elapsed() >= HELD_UP && looked_at.elapsed() >= HELD_UP {
                hold_up_all(&shared, &events, &unrecorded);
                looked_at = Instant::now();
            }
            // The semaphore is never closed.
            if let Ok(turn) = timeout(HELD_UP, Arc::clone(&written).acquire_owned()).await {
                break turn.ok();
            }
        };
        shared.tasks.spawn(record(Arc::clone(&shared), unrecorded, events.clone(), turn));
    }
}

/// Notes that the next outcome to be recorded, and those that have waited behind it for long, are held up.
fn hold_up_all(shared: &Shared<impl Nats>, events: &Events, next: &Unrecorded) {
    let waiting = shared.outcomes.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let all = std::iter::once(next).chain(waiting.iter().map(|one| &**one));
    for one in all.take_while(|one| one.known_at.elapsed() >= HELD_UP) {
        let execution = &one.firing.execution;
        if !shared.is_held_up(execution.id) {
            hold_up(shared, events, execution.schedule_id, execution.id);
        }
    }
}

/// Records an outcome, and tells the core.
async fn record(
    shared: Arc<Shared<impl Nats>>,
    unrecorded: Box<Unrecorded>,
    events: Events,
    turn: Option<OwnedSemaphorePermit>,
) {
    let Unrecorded { firing, place, permit, known_at: _, task } = *unrecorded;
    let Firing { accepted, attempt, execution, recovered, .. } = *firing;
    // The plan's other attempts have tasks of their own, and go on if this one panics.
    let _ours = Ours::one(&shared, &events, &accepted, attempt.execution_id);
    panic_at("while_recording");
    let ids = (execution.schedule_id, execution.id);
    let concluding = conclude(&shared, &accepted.schedule, &attempt, execution);
    let execution = holding(&shared, &events, ids, concluding).await;
    drop(turn);
    let lock = if recovered { Lock::Takeover } else { Lock::Claim };
    shared.metrics.claim_held(lock, accepted.written.sent.elapsed());
    let concluded = Concluded { execution, again: false };
    dead_letter::end(&shared, &accepted, &attempt, concluded, &events).await;
    drop((place, permit, task));
}
