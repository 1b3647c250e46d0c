//! The loop: timers and changes in, bounded pieces of work out.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, Duration, Utc};
use futures::StreamExt as _;
use futures::stream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use super::act::{Event, Held, act, arm, release};
use super::announce::announce;
use super::armed::Armory;
use super::correct::correct;
use super::follow::follow;
use super::membership::Members;
use super::overdue::Overdue;
use super::queue::{Lane, Queue};
use super::rates::Rates;
use super::work::{Claiming, Done, Worked, work};
use super::{EngineConfig, Shared, Watched};
use crate::clock;
use crate::failpoint::failpoint;
use crate::index::{Entry, Index};
use crate::jetstream::deliver::Delivery;
use crate::jetstream::history::History;
use crate::jetstream::schedules::Store;
use crate::plan::ahead::is_ahead;
use crate::plan::wake_at;
use crate::schedule::DeliveryMode;

/// An outcome waits for the next claim of its schedule if that is no further away than this.
const RIDE: Duration = Duration::seconds(2);
/// Else it is settled after this: work that is due goes first.
const LINGER: Duration = Duration::milliseconds(250);
/// Priority of work that only settles: below everything that is due.
const SETTLING: u8 = 0;
/// When it is looked again whether the time is known.
const UNSURE: Duration = Duration::milliseconds(250);
/// When work that NATS did not let us do is tried again.
const LATER: Duration = Duration::seconds(1);

/// The engine of one instance.
pub struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Queue,
    pub(super) armory: Armory,
    /// What is due and not acted on.
    pub(super) overdue: Overdue,
    /// Schedules whose record is being written: never two writes of ours at once.
    busy: HashSet<Uuid>,
    /// What is done and not yet folded into its record.
    unsettled: HashMap<Uuid, Done>,
    /// Schedules whose changes are being announced.
    announcing: HashSet<Uuid>,
    /// Schedules whose followers are being told of ends.
    telling: HashSet<Uuid>,
    /// Schedules that are being planned again, since their times lay ahead.
    correcting: HashSet<Uuid>,
    /// When unsettled outcomes are to be settled at the latest.
    settle_at: HashMap<Uuid, DateTime<Utc>>,
    /// Schedules of which nothing that is due is to be done before.
    pub(super) not_before: HashMap<Uuid, DateTime<Utc>>,
    /// When schedules with limited targets may send, by the order in which they asked.
    pub(super) slots: HashMap<Uuid, DateTime<Utc>>,
    fast: Arc<Semaphore>,
    request: Arc<Semaphore>,
    events: UnboundedSender<Event>,
    received: UnboundedReceiver<Event>,
    tasks: TaskTracker,
}

impl Engine {
    /// An engine over what the other parts provide.
    pub fn new(
        delivery: Delivery,
        store: Store,
        history: History,
        index: Arc<Index>,
        members: Members,
        config: EngineConfig,
        watched: Watched,
    ) -> Self {
        let (events, received) = unbounded_channel();
        Self {
            queue: Queue::default(),
            armory: Armory::default(),
            overdue: Overdue::default(),
            busy: HashSet::new(),
            unsettled: HashMap::new(),
            announcing: HashSet::new(),
            telling: HashSet::new(),
            correcting: HashSet::new(),
            settle_at: HashMap::new(),
            not_before: HashMap::new(),
            slots: HashMap::new(),
            fast: Arc::new(Semaphore::new(config.max_in_flight)),
            request: Arc::new(Semaphore::new(config.request_pool)),
            events,
            received,
            tasks: TaskTracker::new(),
            shared: Arc::new(Shared {
                js: delivery.js().clone(),
                delivery,
                store,
                history,
                index,
                members,
                rates: Rates::new(&config.rates, clock::now()),
                config,
                load: watched.load,
                metrics: watched.metrics,
                #[cfg(feature = "otlp")]
                spans: watched.spans,
                urgency: Arc::default(),
                armed: AtomicUsize::new(0),
                running: Mutex::default(),
            }),
        }
    }

    /// Fires schedules until `stop`, then finishes what is in flight, within the drain time, and
    /// says goodbye to the other instances.
    pub async fn run(mut self, mut changes: UnboundedReceiver<Uuid>, stop: CancellationToken) {
        loop {
            self.start_due();
            self.say_load();
            let sleep = clock::sleep_until(self.next_due());
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
                () = tokio::time::sleep(sleep) => {}
            }
        }
        self.drain().await;
    }

    fn next_due(&self) -> Option<DateTime<Utc>> {
        self.queue.next().into_iter().chain(self.next_release()).min()
    }

    /// When the next armed attempt can go; the return of a permit wakes the loop by itself.
    fn next_release(&self) -> Option<DateTime<Utc>> {
        self.armory.next().filter(|_| self.fast.available_permits() > 0)
    }

    /// Sets the timer of a schedule by its record and what is unsettled.
    fn look_at(&mut self, id: Uuid) {
        if self.busy.contains(&id) {
            return;
        }
        let Some(entry) = self.shared.index.get(id) else {
            self.queue.set(id, None);
            self.queue.unqueue(id);
            self.overdue.clear(id);
            if let Some(done) = self.unsettled.remove(&id) {
                self.shared.end(done.executions());
            }
            self.settle_at.remove(&id);
            self.not_before.remove(&id);
            self.slots.remove(&id);
            return;
        };
        let announced = self.unsettled.get(&id).map_or(&[][..], |done| &done.announced[..]);
        let news = entry.schedule.events.iter().any(|event| !announced.contains(&event.event_id));
        if news && !self.tasks.is_closed() && self.announcing.insert(id) {
            let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
            self.tasks.spawn(async move {
                let announced = announce(&shared, id).await;
                let _ = events.send(Event::Announced(id, announced));
            });
        }
        let told = self.unsettled.get(&id).map_or(&[][..], |done| &done.told[..]);
        let ends = entry.schedule.ended.iter().any(|ended| !told.contains(&ended.execution_id));
        if ends && !self.tasks.is_closed() && self.telling.insert(id) {
            let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
            self.tasks.spawn(async move {
                let told = follow(&shared, id).await;
                let _ = events.send(Event::Told(id, told));
            });
        }
        for attempt in entry.schedule.attempts.iter().filter(|attempt| attempt.cancel.is_some()) {
            self.shared.stop(attempt.execution_id);
        }
        if entry.schedule.is_over() {
            self.settle_at.entry(id).or_insert_with(clock::now);
        }
        let wake = self.plan_again(&entry);
        let wake = wake.unwrap_or_else(|| wake_at(&entry.schedule, &*self.shared));
        let settle_at = self.settle_at.get(&id).copied();
        if wake.is_none_or(|wake| wake > clock::now()) {
            self.overdue.clear(id);
        }
        if wake.into_iter().chain(settle_at).all(|at| at > clock::now()) {
            // Another instance was quicker.
            self.queue.unqueue(id);
        }
        // What cannot be done yet delays no settling.
        let wake = wake.map(|wake| self.not_before.get(&id).map_or(wake, |later| wake.max(*later)));
        self.queue.set(id, wake.into_iter().chain(settle_at).min());
    }

    /// Has a schedule planned again whose times lie ahead; says when to look at it then.
    fn plan_again(&mut self, entry: &Entry) -> Option<Option<DateTime<Utc>>> {
        let (id, now) = (entry.schedule.id, clock::now());
        if !is_ahead(&entry.schedule, now) {
            return None;
        }
        if !clock::is_sure() {
            return Some(Some(now + UNSURE));
        }
        if !self.tasks.is_closed() && self.correcting.insert(id) {
            let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
            self.tasks.spawn(async move {
                correct(&shared, id).await;
                let _ = events.send(Event::Corrected(id));
            });
        }
        Some(None)
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Permit => {}
            Event::Armed(armed) => self.armory.add(armed),
            Event::Look(id) => self.look_at(id),
            Event::Corrected(id) => {
                self.correcting.remove(&id);
                self.look_at(id);
            }
            Event::Free(id) => {
                self.busy.remove(&id);
                self.overdue.clear(id);
                self.not_before.remove(&id);
                self.look_at(id);
            }
            Event::Later(id) => {
                self.busy.remove(&id);
                self.not_before.insert(id, clock::now() + LATER);
                self.look_at(id);
            }
            Event::Back(id, done) => {
                self.unsettled.entry(id).or_default().merge(done);
                self.settle_at.entry(id).or_insert_with(|| clock::now() + LATER);
            }
            Event::Announced(id, announced) => {
                self.announcing.remove(&id);
                if !announced.is_empty() {
                    self.unsettled.entry(id).or_default().announced.extend(announced);
                    self.settle_at.entry(id).or_insert_with(|| clock::now() + LINGER);
                }
                self.look_at(id);
            }
            Event::Told(id, told) => {
                self.telling.remove(&id);
                if !told.is_empty() {
                    self.unsettled.entry(id).or_default().told.extend(told);
                    self.settle_at.entry(id).or_insert_with(|| clock::now() + LINGER);
                }
                self.look_at(id);
            }
            Event::Ended(execution) => {
                let id = execution.schedule_id;
                self.unsettled.entry(id).or_default().ended.push(*execution);
                let now = clock::now();
                let settle_at = self.shared.index.get(id).map_or(now, |entry| {
                    let schedule = &entry.schedule;
                    // The other instances must not take a reply that came for one still awaited.
                    if schedule.spec.delivery.mode.takes_time() {
                        return now;
                    }
                    let ride = schedule
                        .next_run_at
                        .map(|next| schedule.due(next))
                        .filter(|due| schedule.fires() && *due <= now + RIDE && *due > now);
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
        let (now, sure) = (clock::now(), clock::is_sure());
        while let Some((id, due)) = self.queue.pop_due(now) {
            if self.busy.contains(&id) {
                continue;
            }
            let Some(entry) = self.shared.index.get(id) else {
                continue;
            };
            let held = self.is_held(id, now);
            let wake = wake_at(&entry.schedule, &*self.shared).filter(|wake| *wake <= now && !held);
            let mut lane = Lane::Fast;
            if wake.is_some() && !sure {
                self.not_before.insert(id, now + UNSURE);
                self.look_at(id);
                continue;
            }
            if wake.is_some() && self.is_special(&entry) {
                let sends = self.sends(&entry, now);
                if let Some(later) = self.must_wait(&entry, sends, now) {
                    self.not_before.insert(id, later);
                    self.overdue.clear(id);
                    self.look_at(id);
                    continue;
                }
                if sends > 0 && entry.schedule.spec.delivery.mode == DeliveryMode::Request {
                    lane = Lane::Request;
                }
            }
            if let Some(wake) = wake {
                self.note_due(&entry, wake, now);
            }
            // Settling alone never goes before work that is due.
            let priority = if wake.is_some() { entry.schedule.spec.priority } else { SETTLING };
            self.queue.push(lane, id, priority, wake.unwrap_or(due));
        }
        self.release_due(now);
        for (lane, bound) in
            [(Lane::Fast, self.fast.clone()), (Lane::Request, self.request.clone())]
        {
            while self.queue.has(lane)
                && let Ok(permit) = Arc::clone(&bound).try_acquire_owned()
                && let Some((id, priority)) = self.queue.pop(lane)
            {
                let claim = match lane {
                    _ if self.is_held(id, now) => Claiming::None,
                    Lane::Request => Claiming::All,
                    Lane::Fast => Claiming::Fast,
                };
                self.start(id, lane, permit, claim, priority > SETTLING);
            }
        }
    }

    fn start(
        &mut self,
        id: Uuid,
        lane: Lane,
        permit: OwnedSemaphorePermit,
        claim: Claiming,
        is_due: bool,
    ) {
        self.busy.insert(id);
        self.settle_at.remove(&id);
        let done = self.unsettled.remove(&id).unwrap_or_default();
        let (shared, mut held) = (Arc::clone(&self.shared), Held::new(id, self.events.clone()));
        let urgent = is_due.then(|| self.shared.urgency.begin());
        self.tasks.spawn(async move {
            if !done.ended.is_empty() {
                failpoint("before_settle");
            }
            match work(&shared, id, &done, claim).await {
                Worked::Nothing => {
                    drop(permit);
                    held.free();
                }
                Worked::Later => {
                    drop(permit);
                    held.send(Event::Back(id, done));
                }
                Worked::Accepted(accepted) => {
                    let now = clock::now();
                    arm(&shared, &accepted, now, held.events());
                    held.free();
                    act(&shared, &accepted, now, lane, held.events(), permit, urgent).await;
                }
            }
            held.send(Event::Permit);
        });
    }

    /// Lets armed attempts go whose time has come, in the order of priority.
    fn release_due(&mut self, now: DateTime<Utc>) {
        while self.armory.next().is_some_and(|due| due <= now)
            && let Ok(permit) = Arc::clone(&self.fast).try_acquire_owned()
            && let Some(armed) = self.armory.pop_due(now)
        {
            let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
            let urgent = self.shared.urgency.begin();
            self.tasks.spawn(async move {
                release(&shared, armed, &events, permit, urgent).await;
                let _ = events.send(Event::Permit);
            });
        }
        self.shared.armed.store(self.armory.len(), Ordering::Relaxed);
    }

    /// Waits for claims that are being written, and acts on those that were made ahead of their time.
    async fn finish_claiming(&mut self, deadline: tokio::time::Instant) {
        while !self.busy.is_empty() || self.armory.len() > 0 {
            self.release_due(clock::now());
            let sleep = clock::sleep_until(self.next_release());
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return,
                () = tokio::time::sleep(sleep) => {}
                Some(event) = self.received.recv() => self.keep_outcome(event),
            }
        }
    }

    /// What still matters of an event once nothing new is claimed.
    fn keep_outcome(&mut self, event: Event) {
        match event {
            Event::Ended(execution) => {
                self.unsettled.entry(execution.schedule_id).or_default().ended.push(*execution);
            }
            Event::Back(id, done) => self.unsettled.entry(id).or_default().merge(done),
            Event::Announced(id, announced) => {
                self.unsettled.entry(id).or_default().announced.extend(announced);
            }
            Event::Told(id, told) => self.unsettled.entry(id).or_default().told.extend(told),
            Event::Armed(armed) => self.armory.add(armed),
            Event::Free(id) | Event::Later(id) => {
                self.busy.remove(&id);
            }
            Event::Permit | Event::Look(_) | Event::Corrected(_) => {}
        }
    }

    /// Stops claiming; finishes, records and settles what is in flight; leaves.
    async fn drain(mut self) {
        self.queue.clear();
        self.shared.load.set_next_due(None);
        let in_flight = self.tasks.len();
        info!(in_flight, "stopping: finishing what is in flight");
        let deadline = tokio::time::Instant::now() + self.shared.config.drain;
        self.finish_claiming(deadline).await;
        self.tasks.close();
        let tasks = self.tasks.clone();
        if tokio::time::timeout_at(deadline, tasks.wait()).await.is_err() {
            let left = self.tasks.len();
            warn!(
                left,
                "drain time is over; other instances, or the next start, take over the rest"
            );
        }
        while let Ok(event) = self.received.try_recv() {
            self.keep_outcome(event);
        }
        let shared = &self.shared;
        let bound = shared.config.max_in_flight;
        let unsettled = std::mem::take(&mut self.unsettled);
        let settling =
            stream::iter(unsettled).for_each_concurrent(bound, |(id, done)| async move {
                work(shared, id, &done, Claiming::None).await;
            });
        if tokio::time::timeout_at(deadline, settling).await.is_err() {
            warn!("not all outcomes could be settled; the history has them");
        }
        self.shared.members.leave(&self.shared.js.client()).await;
        info!("stopped");
    }
}
