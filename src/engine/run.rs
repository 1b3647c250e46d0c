//! The engine's loop: waits, hands what came to the core, and starts what the core decides.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt as _};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::core::{Action, Claiming, Core, Event, Lane};
use super::deliver::Firing;
use super::holds::{Events, Telling};
use super::membership::Members;
use super::tasks::{release, work};
use super::{Shared, announce, claim, correct, follow, outcomes, slots};
use crate::port::Nats;

/// Most items taken from one source before the others have their turn.
const BATCH: usize = 256;

/// Longest time between two turns of the loop while the engine stops.
const TURN: Duration = Duration::from_millis(250);

/// The engine of one instance.
pub(crate) struct Engine<N: Nats> {
    shared: Arc<Shared<N>>,
    core: Core<Box<Firing>>,
    events: Events,
    received: UnboundedReceiver<Event<Box<Firing>>>,
    /// How many connections have been made, and when the present one was.
    connects: u64,
    connected_at: Instant,
    /// Since when everything has been seen, as the core was last told.
    sees_since: Option<Instant>,
}

impl<N: Nats> Engine<N> {
    pub(super) fn over(shared: Arc<Shared<N>>) -> Self {
        let (events, received) = unbounded_channel();
        let config = &shared.config;
        let (firings, requests) = (config.max_in_flight, config.request_pool);
        let core = Core::new(firings, requests, &config.rates, shared.clock.now());
        let events = Events::new(events);
        let (connects, connected_at) = (shared.connection().1, Instant::now());
        Self { core, events, received, shared, connects, connected_at, sees_since: None }
    }

    /// Fires schedules until `stop`, then finishes what is in flight, within the drain time, and says goodbye to the
    /// other instances.
    pub async fn run(mut self, mut changes: UnboundedReceiver<Uuid>, stop: CancellationToken) {
        let mut came = Vec::new();
        let mut freshness = self.shared.index.freshness();
        let mut overall = self.shared.index.overall_changed();
        overall.mark_changed();
        let mut groups = self.shared.index.groups_changed();
        let mut reruns = self.shared.index.reruns_changed();
        let shared = Arc::clone(&self.shared);
        let tending = tokio::spawn(async move { slots::tend(&shared).await });
        let _tending = AbortOnDropHandle::new(tending);
        let recording = outcomes::record_all(Arc::clone(&self.shared), self.events.clone());
        let _recording = AbortOnDropHandle::new(tokio::spawn(recording));
        loop {
            take(&mut self.received, &mut changes, &self.shared.members, &mut came);
            // Looked at here, not only below: a busy loop never gets there.
            if is_news(&mut overall) | is_news(&mut reruns) {
                came.push(Event::Overall { has_news: self.shared.index.has_news() });
            }
            if is_news(&mut groups) {
                came.push(Event::Groups);
            }
            let is_idle = came.is_empty();
            self.step(came.drain(..));
            if stop.is_cancelled() {
                break;
            }
            // Even for what is due already a timer would take a millisecond.
            if !is_idle || self.core.has_more(self.shared.clock.now()) {
                tokio::task::yield_now().await;
                continue;
            }
            let sleep = self.shared.clock.sleep_until(self.core.next());
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(event) = self.received.recv() => came.push(event),
                Some(id) = changes.recv() => came.push(Event::Changed(id)),
                () = self.shared.members.changed() => came.push(Event::Members),
                Ok(()) = overall.changed() => overall.mark_changed(),
                Ok(()) = groups.changed() => groups.mark_changed(),
                Ok(()) = reruns.changed() => reruns.mark_changed(),
                Ok(()) = freshness.changed() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
        self.drain(changes).await;
    }

    fn step(&mut self, events: impl IntoIterator<Item = Event<Box<Firing>>>) {
        let standing = self.standing();
        let actions = self.core.step(
            standing.into_iter().chain(events),
            self.shared.clock.now(),
            &*self.shared,
        );
        // What is started goes by this lead.
        let extra_ms = self.core.extra_lead(self.shared.clock.now()).num_milliseconds();
        self.shared.load.extra_lead_ms.store(extra_ms, Ordering::Relaxed);
        let several = actions.len() > 1;
        actions.into_iter().for_each(|action| self.start(action));
        if several {
            // The runtime begins with the task that was spawned last. Let that be one that does nothing: then the others
            // begin in order.
            tokio::spawn(std::future::ready(()));
        }
        self.say_load();
    }

    /// Events that say whether claims may be made: the time is known, there is a connection, this instance hears
    /// itself, and it has seen all that others did while it did not hear.
    fn standing(&mut self) -> Vec<Event<Box<Firing>>> {
        let (is_connected, connects) = self.shared.connection();
        if std::mem::replace(&mut self.connects, connects) != connects {
            self.connected_at = Instant::now();
        }
        let hears = is_connected && self.shared.members.hears() && self.shared.clock.is_sure();
        // Read last, so that it belongs to this hearing or a later one.
        let since = self.shared.members.hears_since().map(|since| since.max(self.connected_at));
        let since = since.filter(|since| self.shared.index.is_fresh_since(*since));
        let may_claim = Event::MayClaim(hears && since.is_some());
        if since.is_none() || self.sees_since == since {
            return vec![may_claim];
        }
        self.sees_since = since;
        debug!("all is seen that others have written");
        vec![Event::Sees, may_claim]
    }

    /// Starts an action of the core.
    fn start(&mut self, action: Action<Box<Firing>>) {
        let (shared, events) = (Arc::clone(&self.shared), self.events.clone());
        match action {
            Action::Work { id, done, claim, admitted, lane, is_due } => {
                let permit = events.permit(lane);
                let held = events.hold(id, done);
                let urgent = is_due.then(|| self.shared.urgency.begin());
                self.shared.tasks.spawn(work(shared, held, claim, admitted, permit, urgent));
            }
            Action::Release(firing) => {
                let permit = events.permit(Lane::Fast);
                let urgent = self.shared.urgency.begin();
                self.shared.tasks.spawn(release(shared, firing, events, permit, urgent));
            }
            Action::Announce(id) => {
                let telling = Telling::new(events, Event::Announced(id, Vec::new()));
                self.shared.tasks.spawn(async move {
                    let announced = announce::announce(&shared, id).await;
                    telling.end(Event::Announced(id, announced));
                });
            }
            Action::AnnounceOverall => {
                let telling = Telling::new(events, Event::OverallAnnounced);
                self.shared.tasks.spawn(async move {
                    announce::announce_overall(&shared).await;
                    drop(telling);
                });
            }
            Action::Tell(id) => {
                let telling = Telling::new(events, Event::Told(id, Vec::new()));
                self.shared.tasks.spawn(async move {
                    let told = follow::follow(&shared, id).await;
                    telling.end(Event::Told(id, told));
                });
            }
            Action::Correct(id) => {
                let telling = Telling::new(events, Event::Corrected(id));
                self.shared.tasks.spawn(async move {
                    correct::correct(&shared, id).await;
                    drop(telling);
                });
            }
            Action::Stop(execution) => shared.stop(execution),
            Action::Forget(executions) => shared.end(executions),
        }
    }

    /// Publishes how busy and how late the engine is. Called at each turn of the loop, since earlier values are out of
    /// date.
    fn say_load(&mut self) {
        let (load, core) = (&self.shared.load, self.core.load(self.shared.clock.now()));
        load.set_waiting_for_slot(self.core.resized_lines());
        load.timers.store(core.timers, Ordering::Relaxed);
        load.waiting.store(core.waiting, Ordering::Relaxed);
        load.armed.store(core.armed, Ordering::Relaxed);
        load.instances.store(self.shared.members.count(), Ordering::Relaxed);
        load.honours.store(self.shared.index.honoured(), Ordering::Relaxed);
        load.set_next_due(core.next_due);
        self.shared.urgency.set_behind(core.is_behind);
    }

    /// Stops claiming; finishes, records and settles what is in flight; then leaves.
    async fn drain(mut self, changes: UnboundedReceiver<Uuid>) {
        let in_flight = self.shared.tasks.len();
        info!(in_flight, "stopping: finishing what is in flight");
        let deadline = Instant::now() + self.shared.config.drain;
        self.step([Event::Drain]);
        self.shared.tasks.close();
        if tokio::time::timeout_at(deadline, self.finish(changes)).await.is_err() {
            let left = self.shared.tasks.len();
            warn!(
                left,
                "drain time is over; other instances, or the next start, take over the rest"
            );
        }
        self.step([Event::Close]);
        while let Ok(event) = self.received.try_recv() {
            self.step([event]);
        }
        self.settle(deadline).await;
        self.shared.members.leave(&self.shared.nats).await;
        info!("stopped");
    }

    /// Waits for claims that are being written, acts on those that were made ahead of their time, and waits until all
    /// is recorded and settled. Meanwhile executions can still be cancelled, and others hear what this instance honours.
    async fn finish(&mut self, mut changes: UnboundedReceiver<Uuid>) {
        loop {
            let is_quiet = self.core.is_quiet();
            let sleep = self.shared.clock.sleep_until(self.core.next()).min(TURN);
            tokio::select! {
                biased;
                Some(event) = self.received.recv() => self.step([event]),
                // What a task said last may have come since the line above was looked at.
                () = self.shared.tasks.wait(), if is_quiet => if self.received.is_empty() { return },
                Some(id) = changes.recv() => self.step([Event::Changed(id)]),
                () = tokio::time::sleep(sleep) => self.step([]),
            }
        }
    }

    /// Folds what is not settled yet into the records.
    async fn settle(&mut self, deadline: Instant) {
        let shared = &self.shared;
        let settling = stream::iter(self.core.take_done()).for_each_concurrent(
            shared.config.max_in_flight,
            |(id, done)| async move {
                claim::claim(shared, id, &done, Claiming::None, false).await;
            },
        );
        if tokio::time::timeout_at(deadline, settling).await.is_err() {
            warn!("not all outcomes could be settled; the history has them");
        }
    }
}

/// Whether something has changed since it was last asked.
fn is_news(changed: &mut watch::Receiver<()>) -> bool {
    let is_news = changed.has_changed().unwrap_or(false);
    if is_news {
        changed.mark_unchanged();
    }
    is_news
}

/// Takes what has arrived, from each source in turn, and never so much of one that the others wait long.
fn take(
    received: &mut UnboundedReceiver<Event<Box<Firing>>>,
    changes: &mut UnboundedReceiver<Uuid>,
    members: &Members,
    came: &mut Vec<Event<Box<Firing>>>,
) {
    came.extend(members.changed().now_or_never().map(|()| Event::Members));
    came.extend(std::iter::from_fn(|| received.try_recv().ok()).take(BATCH));
    let changed = std::iter::from_fn(|| changes.try_recv().ok()).take(BATCH);
    came.extend(changed.map(Event::Changed));
}

#[cfg(test)]
mod tests {
    use async_nats::Message;
    use bytes::Bytes;

    use super::*;
    use crate::clock::Clock;
    use crate::names;

    #[tokio::test]
    async fn no_source_keeps_another_waiting() {
        let (events, mut received) = unbounded_channel();
        let (changed, mut changes) = unbounded_channel();
        let members = Members::new(Uuid::from_u128(1), Arc::default(), Clock::default());
        let other = Uuid::from_u128(2);
        for _ in 0..10 * BATCH {
            events.send(Event::Returned(Lane::Fast)).unwrap();
            changed.send(other).unwrap();
        }
        let beat = Message {
            subject: names::instance_subject(other).into(),
            reply: None,
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        members.hear(&beat, false);
        let mut came = Vec::new();
        take(&mut received, &mut changes, &members, &mut came);
        let count =
            |is: fn(&Event<Box<Firing>>) -> bool| came.iter().filter(|event| is(event)).count();
        assert_eq!(count(|event| matches!(event, Event::Members)), 1);
        assert_eq!(count(|event| matches!(event, Event::Returned(_))), BATCH);
        assert_eq!(count(|event| matches!(event, Event::Changed(_))), BATCH);
    }
}
