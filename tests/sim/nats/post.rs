//! Messages under way between the server and its clients: each takes its time, and none overtakes another that goes the
//! same way over one connection.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::{Instant, sleep_until};

use super::connection::{Down, Link, Way};
use super::{Frame, Server, State};

/// What is under way, in the order in which it arrives.
#[derive(Default)]
pub struct Post {
    parcels: BTreeMap<(Instant, u64), Parcel>,
    next: u64,
    /// When it is looked at next.
    wakes: Option<Instant>,
    /// When messages of streams are to be forgotten next.
    ends: Option<Instant>,
}

enum Parcel {
    There(Arc<Link>, Over, Frame),
    Here(Arc<Link>, Over, Down),
    /// Something that is to happen.
    Deed(Box<dyn FnOnce(&mut State) + Send>),
}

/// The connection that something went over, by how often it had been made.
#[derive(Clone, Copy)]
struct Over(u64);

impl Server {
    /// Brings what is under way where it goes.
    pub(super) async fn carry(self) {
        loop {
            let next = self.state().next_arrival();
            tokio::select! {
                biased;
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                    self.state().arrivals();
                }
                () = self.0.sooner.notified() => {}
            }
        }
    }
}

impl State {
    /// Takes what a client sends; it waits there while there is no connection.
    pub(super) fn send(&mut self, link: &Arc<Link>, frame: Frame) {
        let mut there = link.state();
        if !there.is_up {
            return there.waiting.push_back(frame);
        }
        let (over, at) =
            (Over(there.made), there.arrival(Way::There, self.moment + self.latency()));
        drop(there);
        if frame.has_id() {
            link.sends.notify_waiters();
        }
        self.post(at, Parcel::There(Arc::clone(link), over, frame));
    }

    /// A connection was made again: sends what waited for it, and shows what was missed.
    pub(super) fn came_up(&mut self, link: &Arc<Link>) {
        self.resume(link);
        let mut state = link.state();
        let missing = std::mem::take(&mut state.missing);
        let kept = std::mem::take(&mut state.kept);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        let frames = missing.into_iter().chain(kept).chain(waiting);
        frames.for_each(|frame| self.send(link, frame));
    }

    /// A client notices that its connection is gone before it has sent something: it sends it over the next one.
    fn keep(&mut self, link: &Arc<Link>, frame: Frame) {
        let mut state = link.state();
        if state.is_up {
            drop(state);
            self.send(link, frame);
        } else if !state.is_dead {
            state.kept.push(frame);
        }
    }

    /// What a client listens to is lost with no connection: it knows that, and says so again.
    fn ask_again(&mut self, link: &Arc<Link>, subscription: Frame) {
        if link.is_up() {
            self.send(link, subscription);
        } else {
            link.state().missing.push(subscription);
        }
    }

    /// Sends something down a connection. What is sent without one is lost.
    pub(super) fn answer(&mut self, link: &Arc<Link>, down: Down) {
        let mut here = link.state();
        if !here.is_up || here.is_dead {
            return;
        }
        let (over, at) = (Over(here.made), here.arrival(Way::Here, self.moment + self.latency()));
        drop(here);
        self.post(at, Parcel::Here(Arc::clone(link), over, down));
    }

    /// The same, but later than what is sent after it.
    pub(super) fn answer_late(&mut self, link: &Arc<Link>, down: Down, late: Duration) {
        let over = Over(link.state().made);
        let at = self.moment + self.latency() + late;
        self.post(at, Parcel::Here(Arc::clone(link), over, down));
    }

    /// Does something at a time.
    pub(super) fn do_at(&mut self, at: Instant, deed: impl FnOnce(&mut Self) + Send + 'static) {
        self.post(at, Parcel::Deed(Box::new(deed)));
    }

    fn post(&mut self, at: Instant, parcel: Parcel) {
        self.post.next += 1;
        self.post.parcels.insert((at, self.post.next), parcel);
        if self.post.wakes.is_none_or(|wakes| at < wakes) {
            self.sooner.notify_one();
        }
    }

    /// How long something takes on its way.
    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.chance.random_range(50..1500))
    }

    fn next_arrival(&mut self) -> Option<Instant> {
        let arrival = self.post.parcels.keys().next().map(|(at, _)| *at);
        self.post.ends = self.next_end();
        self.post.wakes = [arrival, self.post.ends].into_iter().flatten().min();
        self.post.wakes
    }

    fn arrivals(&mut self) {
        let now = self.moment;
        while let Some(first) = self.post.parcels.first_entry()
            && first.key().0 <= now
        {
            let ((_, number), parcel) = first.remove_entry();
            match self.held(&parcel).filter(|held| *held > now) {
                Some(held) => drop(self.post.parcels.insert((held, number), parcel)),
                None => self.arrive(parcel, number),
            }
        }
        if self.post.ends.is_some_and(|ends| ends <= now) {
            self.expire_all();
        }
    }

    /// Until when something cannot arrive.
    fn held(&self, parcel: &Parcel) -> Option<Instant> {
        let (link, way) = match parcel {
            Parcel::There(link, ..) => (link, Way::There),
            Parcel::Here(link, ..) => (link, Way::Here),
            Parcel::Deed(_) => return None,
        };
        let mut state = link.state();
        let stalled = self.faults.stalled.filter(|_| way == Way::There);
        let held = [state.held[way as usize], stalled].into_iter().flatten().max()?;
        state.last[way as usize] = state.last[way as usize].max(Some(held));
        Some(held)
    }

    fn arrive(&mut self, parcel: Parcel, number: u64) {
        match parcel {
            // What a dead process has sent still arrives.
            Parcel::There(link, over, frame) if link.state().reaches(over.0) => {
                self.serve(&link, frame);
            }
            Parcel::Here(link, over, down)
                if link.state().carries(over.0) && !link.state().is_dead =>
            {
                down.arrive();
            }
            Parcel::There(link, _, frame @ Frame::Subscribe { .. }) => self.ask_again(&link, frame),
            Parcel::There(link, _, frame) if number.is_multiple_of(2) => self.keep(&link, frame),
            Parcel::There(..) | Parcel::Here(..) => {}
            Parcel::Deed(deed) => deed(self),
        }
    }
}
