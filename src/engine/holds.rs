//! What tasks hold, and how they report to the core.
//!
//! A task reports however it ends, even by a panic: each thing that it holds (a record, a permit, an execution) is given
//! back when it is dropped.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc::UnboundedSender;
use uuid::Uuid;

use super::Shared;
use super::claim::Accepted;
use super::core::{Done, Event, Lane};
use super::deliver::Firing;
use crate::port::Nats;

/// Sends events to the core.
#[derive(Clone)]
pub(crate) struct Events(UnboundedSender<Event<Box<Firing>>>);

impl Events {
    pub(crate) fn new(sender: UnboundedSender<Event<Box<Firing>>>) -> Self {
        Self(sender)
    }

    pub(crate) fn send(&self, event: Event<Box<Firing>>) {
        // If the core is gone, it has nothing left to decide.
        let _ = self.0.send(event);
    }

    /// Wraps a permit that the core has already counted.
    pub(crate) fn permit(&self, lane: Lane) -> Permit {
        Permit { lane, events: self.clone() }
    }

    /// Wraps a record that the core has already reserved, and what is to be folded into it.
    pub(crate) fn hold(&self, id: Uuid, done: Done) -> Held {
        Held { id, done, events: self.clone(), is_free: false }
    }
}

/// The right to have a piece of work under way; given back when dropped.
pub(crate) struct Permit {
    lane: Lane,
    events: Events,
}

impl Permit {
    pub(crate) fn lane(&self) -> Lane {
        self.lane
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.events.send(Event::Returned(self.lane));
    }
}

/// A permit that can be given back before the work that holds it is over.
pub(crate) struct Lent(Mutex<Option<Permit>>);

impl Lent {
    pub(crate) fn new(permit: Permit) -> Self {
        Self(Mutex::new(Some(permit)))
    }

    /// The lane of the permit, unless it was taken.
    pub(crate) fn lane(&self) -> Option<Lane> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Permit::lane)
    }

    /// Takes the permit away from the work; dropping it gives it back.
    pub(crate) fn take(&self) -> Option<Permit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A schedule whose record is being written, and what has been done and is to be folded into it.
pub(crate) struct Held {
    id: Uuid,
    done: Done,
    events: Events,
    is_free: bool,
}

impl Held {
    pub(crate) fn id(&self) -> Uuid {
        self.id
    }

    pub(crate) fn done(&self) -> &Done {
        &self.done
    }

    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Gives the record back: it is written, or there is nothing to write.
    pub(crate) fn free(&mut self) {
        self.is_free = true;
        self.events.send(Event::Free(self.id));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_free {
            self.events.send(Event::Back(self.id, std::mem::take(&mut self.done)));
            self.events.send(Event::Later(self.id));
        }
    }
}

/// Something that the core believes to be under way; sends the core an event when it has ended.
pub(crate) struct Telling {
    events: Events,
    end: Option<Event<Box<Firing>>>,
}

impl Telling {
    /// Sends `otherwise`, unless it is ended with something better.
    pub(crate) fn new(events: Events, otherwise: Event<Box<Firing>>) -> Self {
        Self { events, end: Some(otherwise) }
    }

    /// Ends it: this event is sent in place of `otherwise`.
    pub(crate) fn end(mut self, event: Event<Box<Firing>>) {
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
pub(crate) struct Ours<'a, N: Nats> {
    shared: &'a Shared<N>,
    events: &'a Events,
    accepted: &'a Accepted,
    /// The one of them that the task is about, if it is not about all.
    only: Option<Uuid>,
}

impl<'a, N: Nats> Ours<'a, N> {
    /// All executions of a plan.
    pub(crate) fn all(shared: &'a Shared<N>, events: &'a Events, accepted: &'a Accepted) -> Self {
        Self { shared, events, accepted, only: None }
    }

    /// One of them.
    pub(crate) fn one(
        shared: &'a Shared<N>,
        events: &'a Events,
        accepted: &'a Accepted,
        execution: Uuid,
    ) -> Self {
        Self { shared, events, accepted, only: Some(execution) }
    }
}

impl<N: Nats> Drop for Ours<'_, N> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let is_meant = |id: &Uuid| self.only.is_none_or(|only| only == *id);
            self.shared.end(self.accepted.executions().filter(is_meant));
            self.events.send(Event::Failed(self.accepted.schedule.id));
        }
    }
}
