//! Schedules whose commands need a place of their own: they wait for replies, or their target is rate-limited.
//!
//! An attempt that is taken over sends what it was claimed with, to the target it was claimed for; the schedule may say
//! something else by now. So what counts is what would really be sent.

use std::ops::Bound;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::{Core, Outlook};
use crate::index::Entry;
use crate::plan::{Terms, is_ours_to_end, plan};
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
pub(super) struct RatePlace {
    /// When it may send.
    at: DateTime<Utc>,
    /// The targets that it has places for, and for how many commands to each.
    targets: Vec<(Target, usize)>,
}

/// Shortest pause before an instance that does not go first looks again for a command to spare.
const LEAST_PAUSE: Duration = Duration::milliseconds(250);
/// Longest such pause.
const MOST_PAUSE: Duration = Duration::seconds(5);
/// Most places that are searched, from the last on, for one that may move up to a free place.
const LIKE: usize = 64;

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
    ///
    /// Only the instance that goes first has places: if each of several held one for the same command, each would send
    /// at a fraction of its share. The others send what they have to spare at once.
    pub(super) fn must_wait(
        &mut self,
        entry: &Entry,
        sendings: &Sendings,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Option<DateTime<Utc>> {
        let (id, instances) = (entry.schedule.id, outlook.instances());
        let limited = sendings.to.iter().filter(|(target, _)| self.rates.limits(target));
        let limited: Vec<_> = limited.cloned().collect();
        let goes_first = self.goes_first(&entry.schedule, outlook);
        if limited.is_empty() || !goes_first {
            self.give_rate_place_up(id);
        }
        if !goes_first {
            let next = limited.iter().map(|(target, _)| self.rates.next(target, now, instances));
            if let Some(later) = next.max().filter(|at| *at > now) {
                return Some(later.clamp(now + LEAST_PAUSE, now + MOST_PAUSE));
            }
        }
        if limited.is_empty() {
            return None;
        }
        let mut place =
            self.take_rate_place(id).unwrap_or(RatePlace { at: now, targets: Vec::new() });
        let is_left =
            |(known, _): &mut (Target, usize)| !limited.iter().any(|(wanted, _)| wanted == known);
        for (target, commands) in place.targets.extract_if(.., is_left) {
            self.rates.give_back(&target, commands);
        }
        if place.targets.is_empty() {
            // It now waits for other targets than before, if it waited.
            place.at = now;
        }
        for (target, commands) in limited {
            if !place.targets.iter().any(|(known, _)| *known == target) {
                let at = self.rates.reserve(&target, commands, now, instances);
                place.at = place.at.max(at);
                place.targets.push((target, commands));
            }
        }
        let at = place.at;
        self.rate_places.insert((at, id.as_u128()));
        self.state(id).rate_place = Some(place);
        (at > now).then_some(at)
    }

    /// Takes the place of a schedule.
    pub(super) fn take_rate_place(&mut self, id: Uuid) -> Option<RatePlace> {
        let place = self.table.get_mut(id)?.rate_place.take()?;
        self.rate_places.remove(&(place.at, id.as_u128()));
        Some(place)
    }

    /// Gives up the place of a schedule, if it has one: it sends nothing. Whoever has the last place like it takes it, so
    /// that no time passes in which nothing is sent.
    pub(super) fn give_rate_place_up(&mut self, id: Uuid) {
        let Some(place) = self.take_rate_place(id) else { return };
        for (target, commands) in &place.targets {
            self.rates.give_back(target, *commands);
        }
        let at = place.at.max(self.now);
        let behind =
            self.rate_places.range((Bound::Excluded((at, u128::MAX)), Bound::Unbounded)).rev();
        let is_like = |last: &(DateTime<Utc>, u128)| {
            let turn =
                self.table.get(Uuid::from_u128(last.1)).and_then(|state| state.rate_place.as_ref());
            turn.is_some_and(|turn| turn.targets == place.targets)
        };
        let Some(last) = behind.take(LIKE).copied().find(is_like) else { return };
        let id = Uuid::from_u128(last.1);
        let Some(mut place) = self.take_rate_place(id) else { return };
        place.at = at;
        self.rate_places.insert((at, last.1));
        let state = self.state(id);
        (state.rate_place, state.not_before) = (Some(place), Some(at));
        self.table.hasten(id, at);
    }

    /// Whether this instance goes first with a schedule.
    fn goes_first(&self, schedule: &Schedule, outlook: &impl Outlook) -> bool {
        is_ours_to_end(schedule, outlook) || outlook.delay(schedule.id, schedule.needs).is_zero()
    }
}
