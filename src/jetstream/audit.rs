//! The audit: what was done to schedules, and by whom.
//!
//! A change stays in its schedule's record until it is here, so several instances may send it, and one may send it
//! again after a crash: its id is its `Nats-Msg-Id`, and the stream stores it once. The stream is not searched for it;
//! once it has forgotten the id, after its duplicate window of an hour, the change may be stored twice, under the same
//! `event_id`.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tracing::{error, warn};
use uuid::Uuid;

use super::event::{Event, policy};
use super::publish::{Earlier, Fate, Publishing, Sent, until_known};
use super::writes::{OurStream, Writes};
use crate::clock::Clock;
use crate::names;
use crate::port::{Append, Nats};
use crate::schedule::Change;

/// The audit stream.
#[derive(Clone)]
pub struct Audit<N> {
    nats: N,
    writes: Arc<Writes>,
    clock: Clock,
}

/// A change that is being announced.
struct Announcing<'a, N> {
    schedule: Uuid,
    change: &'a Change,
    subject: String,
    event: Event<'a, N>,
    body: Bytes,
    is_bare: bool,
    clock: &'a Clock,
}

impl<N: Nats> Audit<N> {
    /// Creates the audit in `nats`. Notes the state of its writes in `writes`.
    pub(crate) fn new(nats: N, writes: Arc<Writes>, clock: Clock) -> Self {
        Self { nats, writes, clock }
    }

    /// Announces a change; returns once the stream has it, however long that takes, or refuses even its least form.
    pub async fn announce(&self, schedule: Uuid, change: &Change) {
        let subject = names::schedule_subject(change.kind.event(), schedule);
        let mut announcing = Announcing {
            schedule,
            change,
            subject,
            event: Event::new(&self.nats, &self.writes, OurStream::Audit),
            body: body(change),
            is_bare: false,
            clock: &self.clock,
        };
        let known = until_known(&mut announcing, policy(None)).await;
        if let Ok(known) = known
            && !matches!(known.fate, Fate::Stored { .. })
        {
            let (event, reason) = (change.kind.event(), format!("{:?}", known.fate));
            error!(schedule_id = %schedule, event, reason, "audit refuses a change in its least form: it is lost");
            announcing.event.lost(&reason);
        }
    }
}

fn body(change: &Change) -> Bytes {
    Bytes::copy_from_slice(change.body.get().as_bytes())
}

impl<N: Nats> Publishing for Announcing<'_, N> {
    type Place = ();

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn is_connected(&self) -> bool {
        self.event.is_connected()
    }

    async fn enter(&self, _: &(impl Fn() -> bool + Sync)) -> Option<()> {
        Some(())
    }

    async fn search(&self, _: DateTime<Utc>) -> Earlier {
        Earlier::Remembered
    }

    async fn send(&self, may: &(impl Fn() -> bool + Sync)) -> Sent {
        if !may() {
            return Sent::Withheld;
        }
        let message = Append::new(self.subject.clone(), self.body.clone());
        let id = self.change.event_id.to_string();
        self.event.send(message.header(names::MESSAGE_ID, &id)).await
    }

    /// Drops everything but the common fields: that the change was made matters more than what it was.
    fn reduce(&mut self, _: &str) -> bool {
        if !std::mem::replace(&mut self.is_bare, true) {
            self.body = body(&self.change.bare());
            return true;
        }
        false
    }

    fn failed(&mut self, sent: &Sent) {
        if let Some(error) = self.event.failed(sent) {
            let (schedule_id, event) = (self.schedule, self.change.kind.event());
            warn!(%schedule_id, event, error, "change cannot be announced; trying on");
        }
    }
}
