//! The loop: timers and changes in, bounded pieces of work out.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use async_nats::jetstream;
use chrono::{DateTime, Duration, Utc};
use futures::future::join_all;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use super::membership::Members;
use super::queue::{Lane, Queue};
use super::work::{Accepted, Worked, work};
use super::{EngineConfig, Shared, execute, failpoint};
use crate::clock;
use crate::execution::Execution;
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
            self.start_due(true);
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
        if !self.queue.is_waiting(id) {
            self.queue.set(id, due);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Permit => {}
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
    fn start_due(&mut self, claim: bool) {
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
                self.start(id, lane, Some(permit), claim);
            }
        }
    }

    fn start(&mut self, id: Uuid, lane: Lane, permit: Option<OwnedSemaphorePermit>, claim: bool) {
        self.busy.insert(id);
        self.settle_at.remove(&id);
        let ended = self.unsettled.remove(&id).unwrap_or_default();
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        self.tasks.spawn(async move {
            if !ended.is_empty() {
                failpoint::failpoint("before_settle");
            }
            match work(&shared, id, &ended, claim).await {
                Worked::Nothing => {
                    let _ = events.send(Event::Free(id));
                }
                Worked::Later => {
                    for execution in ended {
                        let _ = events.send(Event::Ended(Box::new(execution)));
                    }
                    let _ = events.send(Event::Later(id));
                }
                Worked::Accepted(accepted) => {
                    let _ = events.send(Event::Free(id));
                    act(&shared, &accepted, lane, &events).await;
                }
            }
            drop(permit);
            let _ = events.send(Event::Permit);
        });
    }

    /// Stops claiming; finishes, records and settles what is in flight; leaves.
    async fn drain(mut self) {
        self.queue.clear();
        let in_flight = self.tasks.len();
        info!(in_flight, "stopping: finishing what is in flight");
        self.tasks.close();
        let drain = self.shared.config.drain;
        let tasks = self.tasks.clone();
        if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
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
        let settling = self
            .unsettled
            .iter()
            .map(|(id, ended)| work(&self.shared, *id, ended, false));
        if tokio::time::timeout(drain, join_all(settling))
            .await
            .is_err()
        {
            warn!("not all outcomes could be settled; the history has them");
        }
        self.shared.members.leave(&self.shared.js.client()).await;
        info!("stopped");
    }
}

/// Makes the attempts of an accepted plan and reports their outcomes.
async fn act(shared: &Shared, accepted: &Accepted, lane: Lane, events: &UnboundedSender<Event>) {
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
                let _ = events.send(Event::Free(plan.schedule.id));
            }
        }
    });
    join_all(skips).await;
    match lane {
        Lane::Fast => {
            join_all(attempts).await;
        }
        // One permit is one request under way.
        Lane::Request => {
            for attempt in attempts {
                attempt.await;
            }
        }
    }
}
