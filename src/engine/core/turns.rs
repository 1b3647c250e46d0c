//! Schedules whose commands take a place of their own: they wait for replies, or their target is limited.
//!
//! An attempt that is taken over sends what it was claimed with, where it was claimed for, which need not be
//! what the schedule says now. So it goes by what would really be sent.

use chrono::{DateTime, Utc};

use super::{Core, Outlook};
use crate::index::Entry;
use crate::schedule::{DeliveryMode, Schedule, Target};

/// What a schedule would send now.
#[derive(Default)]
pub(super) struct Sendings {
    /// Whether any of it waits for a reply.
    pub(super) asks: bool,
    /// How many commands to which targets.
    to: Vec<(Target, usize)>,
}

impl Sendings {
    /// What a schedule would send at `now`.
    pub(super) fn of(entry: &Entry, now: DateTime<Utc>, outlook: &impl Outlook) -> Self {
        let lease = outlook.lease(&entry.schedule.spec);
        let plan = crate::plan::plan(&entry.schedule, &entry.trigger, now, outlook, lease);
        let Some(plan) = plan else { return Self::default() };
        let mut to: Vec<(Target, usize)> = Vec::new();
        for target in plan.sends().map(|sends| sends.target) {
            match to.iter_mut().find(|(known, _)| known == target) {
                Some((_, commands)) => *commands += 1,
                None => to.push((target.clone(), 1)),
            }
        }
        Self { asks: plan.asks(), to }
    }
}

/// A place in the order of those whose targets are limited.
pub(super) struct Reserved {
    /// When it may send.
    at: DateTime<Utc>,
    /// Where to.
    targets: Vec<Target>,
}

impl<A> Core<A> {
    /// Whether what is due of a schedule must be known before it is started: what it says, or what an
    /// attempt was claimed with, waits for a reply or goes to a limited target.
    pub(super) fn is_special(&self, schedule: &Schedule) -> bool {
        let is_special = |mode: DeliveryMode, target: &Target| {
            mode == DeliveryMode::Request || self.rates.limits(target)
        };
        let spec = &schedule.spec;
        let pinned = schedule.attempts.iter().filter(|attempt| attempt.pinned.is_some());
        is_special(spec.delivery.mode, &spec.target_command)
            || pinned
                .map(|attempt| schedule.sends(attempt))
                .any(|sends| is_special(sends.delivery.mode, sends.target))
    }

    /// Until when a schedule must wait with what it would send; it has its place in the order from when
    /// it asks first, for each target.
    pub(super) fn must_wait(
        &mut self,
        entry: &Entry,
        sendings: &Sendings,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Option<DateTime<Utc>> {
        let id = entry.schedule.id;
        let limited = sendings.to.iter().filter(|(target, _)| self.rates.limits(target));
        let limited: Vec<_> = limited.cloned().collect();
        let turn = self.slots.get_mut(id).and_then(|state| state.turn.take());
        if limited.is_empty() {
            return None;
        }
        let mut turn = turn.unwrap_or(Reserved { at: now, targets: Vec::new() });
        turn.targets.retain(|target| limited.iter().any(|(wanted, _)| wanted == target));
        if turn.targets.is_empty() {
            // What it waited for is not what it waits for now.
            turn.at = now;
        }
        for (target, commands) in limited {
            if !turn.targets.contains(&target) {
                let at = self.rates.reserve(&target, commands, now, outlook.instances());
                turn.at = turn.at.max(at);
                turn.targets.push(target);
            }
        }
        let at = turn.at;
        if at <= now {
            return None;
        }
        self.state(id).turn = Some(turn);
        Some(at)
    }
}
