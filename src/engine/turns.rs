//! Schedules that must wait for their turn: their target is limited.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::run::Engine;
use crate::index::Entry;
use crate::plan::plan;
use crate::schedule::DeliveryMode;

impl Engine {
    /// Whether nothing that is due of a schedule is to be done yet.
    pub(super) fn is_held(&self, id: Uuid, now: DateTime<Utc>) -> bool {
        self.not_before.get(&id).is_some_and(|later| *later > now)
    }

    /// Whether what is due of a schedule must be known before it is started: it waits for replies, or
    /// its target is limited.
    pub(super) fn is_special(&self, entry: &Entry) -> bool {
        let spec = &entry.schedule.spec;
        spec.delivery.mode == DeliveryMode::Request
            || self.shared.rates.limits(&spec.target_command)
    }

    /// How many commands a schedule would send now.
    pub(super) fn sends(&self, entry: &Entry, now: DateTime<Utc>) -> usize {
        let lease = self.shared.lease(&entry.schedule.spec);
        let plan = plan(&entry.schedule, &entry.trigger, now, &*self.shared, lease);
        plan.map_or(0, |plan| plan.fire.len() + plan.recover.len())
    }

    /// Until when a schedule must wait that would send so many commands; it has its place in the
    /// order from when it asks first.
    pub(super) fn must_wait(
        &mut self,
        entry: &Entry,
        sends: usize,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let (id, target) = (entry.schedule.id, &entry.schedule.spec.target_command);
        if sends == 0 || !self.shared.rates.limits(target) {
            return None;
        }
        let slot = match self.slots.remove(&id) {
            Some(slot) => slot,
            None => self.shared.rates.reserve(target, sends, now, self.shared.members.count()),
        };
        if slot <= now {
            return None;
        }
        self.slots.insert(id, slot);
        Some(slot)
    }
}
