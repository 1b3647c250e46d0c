//! Starts what is due, as far as the bounds allow, in the order of priority.

use std::cmp::Reverse;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::lanes::{Lane, Ready};
use super::rate_places::Sendings;
use super::table::Table;
use super::{Action, Claiming, Core, LATER, LINGER, Outlook, UNSURE};
use crate::index::Entry;
use crate::moment::Moment as _;
use crate::plan::{OnlySkips, only_skips, renewal_at};

/// Most armed attempts that are released before the loop has its turn again. Those that are sent meanwhile leave memory
/// that the next ones use, and it is still in the processor's cache.
pub(super) const RELEASES: usize = 256;
/// Timers that are looked at before the loop has its turn again.
const TIMERS: usize = 1_024;
/// Priority of work that only writes what a pause of all has skipped. Anything else that is to be done takes its place.
const SKIPPING: u8 = 0;
/// Priority of work that only settles: below everything that is due.
pub(super) const SETTLING: u8 = 1;

impl<A> Core<A> {
    /// Queues schedules whose timers are due, some at a time.
    pub(super) fn ready_due(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        for _ in 0..TIMERS {
            let Some((id, due)) = self.table.pop_timer(now) else { break };
            let Some(entry) = self.idle(id, outlook) else { continue };
            if entry.schedule.spec.group.is_some() {
                self.wake(&entry, now, outlook);
                self.lining_up.push((id, due));
                continue;
            }
            self.ready_one(&entry, due, now, now, outlook);
            self.table.tidy(id);
        }
        if self.are_timers_due(now) {
            return;
        }
        // All that are due stand in line before the first of them is chosen.
        for (id, due) in std::mem::take(&mut self.lining_up) {
            let Some(entry) = self.idle(id, outlook) else { continue };
            self.ready_one(&entry, due, now, now, outlook);
            self.table.tidy(id);
        }
    }

    /// A schedule, unless its record is being written.
    fn idle(&self, id: Uuid, outlook: &impl Outlook) -> Option<Arc<Entry>> {
        outlook.entry(id).filter(|_| !self.table.is_busy(id))
    }

    /// Whether timers are due that have not been looked at.
    pub(super) fn are_timers_due(&self, now: DateTime<Utc>) -> bool {
        self.table.next_due().is_some_and(|due| due <= now)
    }

    /// Queues a schedule if it is to be acted on by `until`.
    pub(super) fn ready_one(
        &mut self,
        entry: &Entry,
        timer: DateTime<Utc>,
        until: DateTime<Utc>,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) {
        let (id, spec) = (entry.schedule.id, &entry.schedule.spec);
        // The timer was set for work that was not due yet.
        let seen = timer.earlier(outlook.delay(id, entry.schedule.needs));
        let renewal = renewal_at(&entry.schedule, outlook);
        let renews = renewal.is_some_and(|at| at <= now);
        let is_held = self.is_held(id, renews, now);
        let next = self.turn(entry, now, seen, outlook);
        // Nobody else renews our claims, so no other goes first.
        let turn = next.filter(|turn| (turn.at <= until || renews) && !is_held);
        let settles = self.settle_at(id).is_some_and(|at| at <= now);
        if let Some(turn) = turn.filter(|_| self.may_claim && !settles)
            && let Some(skips) = self.only_skips(entry, now, outlook)
        {
            let more = self.settle_at(id).into_iter().chain(skips.until).min();
            self.table.set_timer(id, more);
            let due = Reverse(turn.at);
            return self.queue(Ready { priority: SKIPPING, due, id, lane: Lane::Skips });
        }
        let lane = match turn {
            Some(turn) => self.enter_lane(entry, turn.due, renews, now, outlook),
            None => settles.then_some(Lane::Fast),
        };
        // It has to wait, or another instance was quicker.
        let Some(lane) = lane else { return self.look(id, now, outlook) };
        // What has ended does not wait for a place among the requests: others wait for it to be settled.
        let has_place = lane == Lane::Fast || !settles || self.lanes.is_free(lane);
        let again = match (turn, next) {
            // Something more urgent may still take the place that there is.
            (Some(_), _) if has_place => (lane == Lane::Request && settles).then(|| now + LINGER),
            (Some(_), _) => Some(now + LATER),
            // What comes due is more urgent than what settles.
            (None, next) => next.map(|next| self.held_until(id, now).unwrap_or(now).max(next.at)),
        };
        // A claim is renewed even while what is due waits for a place among the requests.
        let renewal = renewal.filter(|_| lane == Lane::Request);
        let again = again.into_iter().chain(renewal).min();
        self.table.set_timer(id, again);
        self.state(id).renews = renews;
        let turn = turn.filter(|_| has_place);
        let lane = if turn.is_some() { lane } else { Lane::Fast };
        // Settling alone never goes before work that is due.
        let priority = SETTLING.saturating_add(turn.map_or(0, |_| spec.priority));
        let due = Reverse(turn.map_or(timer, |turn| turn.at));
        self.queue(Ready { priority, due, id, lane });
    }

    /// Chooses the lane of a schedule whose turn has come, and notes that it is due. If it has to wait for something else,
    /// notes until when, and returns `None`.
    fn enter_lane(
        &mut self,
        entry: &Entry,
        due: DateTime<Utc>,
        renews: bool,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Option<Lane> {
        let id = entry.schedule.id;
        if !self.may_claim {
            self.state(id).not_before = Some(now + UNSURE);
            return None;
        }
        let mut lane = Lane::Fast;
        if self.is_special(&entry.schedule) && !renews {
            let admitted = self.admitted_since(id).is_some();
            let sendings = Sendings::of(entry, admitted, now, outlook);
            if let Some(later) = self.must_wait(entry, &sendings, now, outlook) {
                self.state(id).not_before = Some(later);
                self.pass_over(id);
                self.clear_overdue(id);
                return None;
            }
            if sendings.asks {
                lane = Lane::Request;
            }
        }
        self.note_due(entry, due, now, outlook);
        Some(lane)
    }

    /// Whether a schedule has nothing to do by `now` but to write what a pause of all has skipped.
    fn only_skips(
        &self,
        entry: &Entry,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Option<OnlySkips> {
        if self.admitted_since(entry.schedule.id).is_some() {
            return None;
        }
        only_skips(&entry.schedule, &entry.trigger, now, outlook)
    }

    /// Queues work. A schedule waits only once: a more urgent entry replaces a less urgent one, and one of another lane
    /// any.
    pub(super) fn queue(&mut self, ready: Ready) {
        let place = &mut self.table.state(ready.id).ready;
        if place.is_some_and(|waiting| waiting.lane == ready.lane && waiting >= ready) {
            return;
        }
        self.ready += usize::from(place.replace(ready).is_none());
        let table = &self.table;
        self.lanes.push(ready, self.ready, |ready| stands(table, ready));
    }

    pub(super) fn unqueue(&mut self, id: Uuid) {
        let place = self.table.get_mut(id).and_then(|state| state.ready.take());
        self.ready -= usize::from(place.is_some());
    }

    /// Releases armed attempts whose time has come, in the order of priority, some at a time.
    pub(super) fn release_due(&mut self, now: DateTime<Utc>) {
        for _ in 0..RELEASES {
            if !self.lanes.has_room(Lane::Fast) {
                return;
            }
            let Some(attempt) = self.armory.pop_due(now) else { return };
            self.lanes.begin(Lane::Fast);
            self.actions.push(Action::Release(attempt));
        }
    }

    /// Starts as much of the ready work as the bounds allow, in the order of priority. Commands that are due go first.
    pub(super) fn start_ready(&mut self, now: DateTime<Utc>) {
        if self.are_timers_due(now) {
            // What is queued next may go before what is queued already.
            return;
        }
        let is_behind = self.armory.is_due(now);
        for lane in Lane::ALL {
            if is_behind && lane != Lane::Request {
                continue;
            }
            while let Some(ready) = self.lanes.pop(lane) {
                if !stands(&self.table, &ready) {
                    continue;
                }
                self.unqueue(ready.id);
                self.lanes.begin(lane);
                self.start(ready, now);
            }
        }
    }

    /// Whether the work of a schedule, or a renewal, is held up.
    fn is_held(&mut self, id: Uuid, renews: bool, now: DateTime<Utc>) -> bool {
        self.held_until(id, now).is_some_and(|until| !renews || !passes(until, now))
    }

    fn start(&mut self, ready: Ready, now: DateTime<Utc>) {
        let Ready { id, priority, lane, .. } = ready;
        // What is due besides a renewal waits on, and keeps its places.
        let renews = std::mem::take(&mut self.state(id).renews);
        let is_held = self.is_held(id, renews, now);
        let is_due = priority > SETTLING && !renews;
        // What comes due by the time of the write may be another instance's turn.
        let may_claim = priority != SETTLING && self.may_claim && !is_held;
        let claim = match lane {
            _ if !may_claim => Claiming::None,
            // It may no longer be needed by the time of the write; then what is due must not take its place.
            _ if renews => Claiming::Skips,
            Lane::Request => Claiming::All,
            Lane::Fast => Claiming::Fast,
            Lane::Skips => Claiming::Skips,
        };
        self.busy += 1;
        let admitted = self.admitted_since(id).is_some();
        let state = self.state(id);
        state.is_busy = true;
        state.has_turn = is_due;
        state.settle_at = None;
        let done = std::mem::take(&mut state.done);
        if is_due {
            self.take_rate_place(id);
        }
        self.actions.push(Action::Work { id, done, claim, admitted, lane, is_due });
    }
}

/// Whether a renewal passes what holds up a schedule until then: the rate of its target. After a try that NATS did not let us
/// make, it waits too.
pub(super) fn passes(until: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    until > now + LATER
}

/// Whether an entry of a lane is still what its schedule waits for.
pub(super) fn stands(table: &Table, ready: &Ready) -> bool {
    table.get(ready.id).and_then(|state| state.ready) == Some(*ready)
}
