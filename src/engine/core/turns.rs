//! Schedules whose commands need a place of their own: they wait for replies, or their target is rate-limited.
//!
//! An attempt that is taken over sends what it was claimed with, to the target it was claimed for; the schedule may say
//! something else by now. So what counts is what would really be sent.

use chrono::{DateTime, Utc};

use super::{Core, Outlook};
use crate::index::Entry;
use crate::plan::{Terms, plan};
use crate::schedule::{DeliveryMode, Schedule, Target};

/// What a schedule would send now.
#[derive(Default)]
pub(super) struct Sendings {
    /// Whether any of it waits for a reply.
    pub(super) asks: bool,
    /// How many commands go to which targets.
    to: Vec<(Target, usize)>,
}

impl Sendings {
    /// What a schedule would send at `now`, and whether it is admitted to its group.
    pub(super) fn of(
        entry: &Entry,
        admitted: bool,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Self {
        let terms = Terms { admitted, ..outlook.lease(&entry.schedule.spec).into() };
        let plan = plan(&entry.schedule, &entry.trigger, now, outlook, terms);
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

/// A place in the order of schedules whose targets are rate-limited.
pub(super) struct Reserved {
    /// When it may send.
    at: DateTime<Utc>,
    /// The targets that it has places for.
    targets: Vec<Target>,
}

impl<A> Core<A> {
    /// Whether starting what is due requires knowing what it is: what the schedule says, or what an attempt was claimed
    /// with, waits for a reply or goes to a rate-limited target.
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

    /// Until when a schedule must wait before it sends. It keeps its place in the order, for each target, from when it
    /// first asks until its work begins or nothing is due any more.
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
            // It now waits for other targets than before.
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
        self.state(id).turn = Some(turn);
        (at > now).then_some(at)
    }
}
