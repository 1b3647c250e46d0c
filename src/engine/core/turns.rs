//! Schedules that must wait for their turn: their target is limited.

use chrono::{DateTime, Utc};

use super::{Core, Sight};
use crate::index::Entry;
use crate::schedule::{DeliveryMode, Spec};

impl<A> Core<A> {
    /// Whether what is due of a schedule must be known before it is started: it waits for replies, or
    /// its target is limited.
    pub(super) fn is_special(&self, spec: &Spec) -> bool {
        spec.delivery.mode == DeliveryMode::Request || self.rates.limits(&spec.target_command)
    }

    /// Until when a schedule must wait that would send so many commands; it has its place in the
    /// order from when it asks first.
    pub(super) fn must_wait(
        &mut self,
        entry: &Entry,
        sends: usize,
        now: DateTime<Utc>,
        sight: &impl Sight,
    ) -> Option<DateTime<Utc>> {
        let (id, target) = (entry.schedule.id, &entry.schedule.spec.target_command);
        if sends == 0 || !self.rates.limits(target) {
            return None;
        }
        let turn = match self.state(id).turn.take() {
            Some(turn) => turn,
            None => self.rates.reserve(target, sends, now, sight.instances()),
        };
        if turn <= now {
            return None;
        }
        self.state(id).turn = Some(turn);
        Some(turn)
    }
}
