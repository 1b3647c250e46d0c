//! The loop: timers and changes in, bounded pieces of work out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use chrono::{DateTime, Duration, Utc};
use futures::StreamExt as _;
use futures::future::{self, join_all};
use futures::stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use super::membership::Members;
use super::queue::{Lane, Queue};
use super::work::{Accepted, Claiming, Worked, work};
use super::{EngineConfig, Shared, execute};
use crate::clock;
use crate::execution::Execution;
use crate::failpoint::failpoint;
use crate::index::Index;
use crate::jetstream::history::History;
use crate::jetstream::schedules::Store;
use crate::plan::wake_at;
use crate::schedule::DeliveryMode;

/// An outcome waits for the next claim of its schedule if that is no further away than this.
const RIDE: Duration = Duration::seconds(2);
/// Else it is settled after this: work that is due goes first.
const LINGER: Duration = Duration::milliseconds(50);
/// When work that NATS did not let us do is tried again.
const LATER: Duration = Duration::seconds(1);

/// How long an action counts against the bound on those under way: one that takes longer waits for
/// something that is not there.
const PROMPT: std::time::Duration = std::time::Duration::from_secs(6);

/// What a piece of work tells the loop.
enum Event {
    /// The schedule's record is free for the next write.
    Free(Uuid),
    /// The same, but nothing came of it: look again later.
    Later(Uuid),
    /// An execution's outcome is in the history.
    Ended(Box<Execution>),
    /// A permit was returned.
    Permit,
    /// Something about the schedule changed that its record does not show.
    Look(Uuid),
}

/// The engine of one instance.
pub struct Engine {
    shared: Arc<Shared>,
    queue: Queue,
    /// Schedules whose record is being written: never two writes of ours at once.
    busy: HashSet<Uuid>,
    /// Outcomes in the history that are not yet folded into their record.
    unsettled: HashMap<Uuid, Vec<Execution>>,
    /// When unsettled outcomes are to be settled at the latest.
    settle_at: HashMap<Uuid, DateTime<Utc>>,
    /// Schedules not to be looked at before.
    not_before: HashMap<Uuid, DateTime<Utc>>,
    fast: Arc<Semaphore>,
    request: Arc<Semaphore>,
    events: UnboundedSender<Event>,
    received: UnboundedReceiver<Event>,
    tasks: TaskTracker,
}

impl Engine {
    /// An engine over what the other parts provide.
    pub fn new(
        js: jetstream::Context,
        store: Store,
        history: History,
        index: Arc<Index>,
        members: Members,
        config: EngineConfig,
    ) -> Self {
        let (events, received) = unbounded_channel();
        let running = Mutex::default();
        Self {
            queue: Queue::default(),
            busy: HashSet::new(),
            unsettled: HashMap::new(),
            settle_at: HashMap::new(),
            not_before: HashMap::new(),
            fast: Arc::new(Semaphore::new(config.max_in_flight)),
            request: Arc::new(Semaphore::new(config.request_pool)),
            events,
            received,
            tasks: TaskTracker::new(),
            shared: Arc::new(Shared {
                js,
                store,
                history,
                index,
                members,
                config,
                running,
            }),
        }
    }

    /// Fires schedules until `stop`, then finishes what is in flight, within the drain time, and
    /// says goodbye to the other instances.
    pub async fn run(mut self, mut changes: UnboundedReceiver<Uuid>, stop: CancellationToken) {
        loop {
            self.start_due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(event) = self.received.recv() => {
                    self.handle(event);
                    while let Ok(event) = self.received.try_recv() {
                        self.handle(event);
                    }
                }
                Some(id) = changes.recv() => {
                    self.look_at(id);
                    while let Ok(id) = changes.try_recv() {
                        self.look_at(id);
                    }
                }
                () = self.shared.members.changed() => {
                    for entry in self.shared.index.all() {
                        self.look_at(entry.schedule.id);
                    }
                }
                () = tokio::time::sleep(clock::sleep_until(self.queue.next())) => {}
            }
        }
        self.drain().await;
    }

    /// Sets the timer of a schedule by its record and what is unsettled.
    fn look_at(&mut self, id: Uuid) {
        if self.busy.contains(&id) {
            return;
        }
        let Some(entry) = self.shared.index.get(id) else {
            self.queue.set(id, None);
            if let Some(ended) = self.unsettled.remove(&id) {
                self.shared.end(ended.iter().map(|execution| execution.id));
            }
            self.settle_at.remove(&id);
            self.not_before.remove(&id);
            return;
        };
        let wake = wake_at(&entry.schedule, &*self.shared);
        let due = wake
            .into_iter()
            .chain(self.settle_at.get(&id).copied())
            .min();
        let due = due.map(|due| {
            self.not_before
                .get(&id)
                .map_or(due, |later| due.max(*later))
        });
        self.queue.set(id, due);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Permit => {}
            Event::Look(id) => self.look_at(id),
            Event::Free(id) => {
                self.busy.remove(&id);
                self.not_before.remove(&id);
                self.look_at(id);
            }
            Event::Later(id) => {
                self.busy.remove(&id);
                self.not_before.insert(id, clock::now() + LATER);
                self.look_at(id);
            }
            Event::Ended(execution) => {
                let id = execution.schedule_id;
                self.unsettled.entry(id).or_default().push(*execution);
                let now = clock::now();
                let settle_at = self.shared.index.get(id).map_or(now, |entry| {
                    let schedule = &entry.schedule;
                    // The other instances must not take a reply that came for one still awaited.
                    if schedule.spec.delivery.mode == DeliveryMode::Request {
                        return now;
                    }
                    let ride = schedule
                        .next_run_at
                        .filter(|next| schedule.fires() && *next <= now + RIDE && *next > now);
                    ride.unwrap_or(now + LINGER)
                });
                let at = self.settle_at.entry(id).or_insert(settle_at);
                *at = settle_at.min(*at);
                self.look_at(id);
            }
        }
    }

    /// Starts as much of what is due as the bounds allow, in the order of priority.
    fn start_due(&mut self) {
        let now = clock::now();
        while let Some((id, due)) = self.queue.pop_due(now) {
            if self.busy.contains(&id) {
                continue;
            }
            let Some(entry) = self.shared.index.get(id) else {
                continue;
            };
            let wakes = wake_at(&entry.schedule, &*self.shared).is_some_and(|wake| wake <= now);
            let request = entry.schedule.spec.delivery.mode == DeliveryMode::Request;
            let lane = if wakes && request {
                Lane::Request
            } else {
                Lane::Fast
            };
            // Settling alone never goes before work that is due.
            let priority = if wakes {
                entry.schedule.spec.priority
            } else {
                0
            };
            self.queue.push(lane, id, priority, due);
        }
        for (lane, bound) in [
            (Lane::Fast, self.fast.clone()),
            (Lane::Request, self.request.clone()),
        ] {
            while self.queue.has(lane)
                && let Ok(permit) = Arc::clone(&bound).try_acquire_owned()
                && let Some(id) = self.queue.pop(lane)
            {
                self.start(id, lane, permit);
            }
        }
    }

    fn start(&mut self, id: Uuid, lane: Lane, permit: OwnedSemaphorePermit) {
        self.busy.insert(id);
        self.settle_at.remove(&id);
        let ended = self.unsettled.remove(&id).unwrap_or_default();
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        self.tasks.spawn(async move {
            let mut held = Held {
                id,
                events,
                done: false,
            };
            if !ended.is_empty() {
                failpoint("before_settle");
            }
            let claim = match lane {
                Lane::Request => Claiming::All,
                Lane::Fast => Claiming::Fast,
            };
            match work(&shared, id, &ended, claim).await {
                Worked::Nothing => held.free(),
                Worked::Later => {
                    for execution in ended {
                        held.send(Event::Ended(Box::new(execution)));
                    }
                }
                Worked::Accepted(accepted) => {
                    held.free();
                    act(&shared, &accepted, lane, &held.events, permit).await;
                }
            }
            held.send(Event::Permit);
        });
    }

    /// Stops claiming; finishes, records and settles what is in flight; leaves.
    async fn drain(mut self) {
        self.queue.clear();
        let in_flight = self.tasks.len();
        info!(in_flight, "stopping: finishing what is in flight");
        self.tasks.close();
        let deadline = tokio::time::Instant::now() + self.shared.config.drain;
        let tasks = self.tasks.clone();
        if tokio::time::timeout_at(deadline, tasks.wait())
            .await
            .is_err()
        {
            let left = self.tasks.len();
            warn!(
                left,
                "drain time is over; other instances, or the next start, take over the rest"
            );
        }
        while let Ok(event) = self.received.try_recv() {
            if let Event::Ended(execution) = event {
                self.unsettled
                    .entry(execution.schedule_id)
                    .or_default()
                    .push(*execution);
            }
        }
        let shared = &self.shared;
        let bound = shared.config.max_in_flight;
        let unsettled = std::mem::take(&mut self.unsettled);
        let settling =
            stream::iter(unsettled).for_each_concurrent(bound, |(id, ended)| async move {
                work(shared, id, &ended, Claiming::None).await;
            });
        if tokio::time::timeout_at(deadline, settling).await.is_err() {
            warn!("not all outcomes could be settled; the history has them");
        }
        self.shared.members.leave(&self.shared.js.client()).await;
        info!("stopped");
    }
}

/// A schedule whose record is being worked on. However the work ends, even by a panic, the loop
/// hears of it.
struct Held {
    id: Uuid,
    events: UnboundedSender<Event>,
    done: bool,
}

impl Held {
    fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn free(&mut self) {
        self.done = true;
        self.send(Event::Free(self.id));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.done {
            self.send(Event::Later(self.id));
        }
    }
}

/// Makes the attempts of an accepted plan and reports their outcomes.
async fn act(
    shared: &Shared,
    accepted: &Accepted,
    lane: Lane,
    events: &UnboundedSender<Event>,
    permit: OwnedSemaphorePermit,
) {
    let plan = &accepted.plan;
    let skips = plan.skip.iter().map(|(attempt, range)| async {
        let skipped = execute::skip(shared, accepted, attempt, *range).await;
        let _ = events.send(Event::Ended(Box::new(skipped)));
    });
    let attempts = plan.fire.iter().map(|attempt| (attempt, false));
    let attempts = attempts.chain(plan.recover.iter().map(|attempt| (attempt, true)));
    let attempts = attempts.map(|(attempt, recovered)| async move {
        match execute::attempt(shared, accepted, attempt, recovered).await {
            Some(ended) => {
                let _ = events.send(Event::Ended(Box::new(ended)));
            }
            None => {
                shared.end([attempt.execution_id]);
                let _ = events.send(Event::Look(plan.schedule.id));
            }
        }
    });
    match lane {
        Lane::Fast => {
            let acting = future::join(join_all(skips), join_all(attempts));
            let mut acting = std::pin::pin!(acting);
            if tokio::time::timeout(PROMPT, &mut acting).await.is_err() {
                // A stream that does not answer must not keep the others' commands waiting.
                drop(permit);
                let _ = events.send(Event::Permit);
                acting.await;
            }
        }
        // One permit is one request under way.
        Lane::Request => {
            let one_by_one = async {
                for attempt in attempts {
                    attempt.await;
                }
            };
            future::join(join_all(skips), one_by_one).await;
            drop(permit);
        }
    }
}
