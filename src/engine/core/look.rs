//! Looks at one schedule: what others must be told of it, and when it is our turn to do what comes next.

use std::cmp::Reverse;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::lanes::{Lane, Ready};
use super::start::{SETTLING, passes};
use super::state::Visible;
use super::{Action, COMING_BACK, Core, Outlook, UNSURE};
use crate::index::Entry;
use crate::moment::Moment as _;
use crate::plan::correct::lies_ahead;
use crate::plan::{is_ours_to_end, renewal_at};

/// What comes next for a schedule, and when.
#[derive(Clone, Copy)]
pub(super) struct Turn {
    /// Since when it is due.
    pub(super) due: DateTime<Utc>,
    /// When this instance does it, unless another one was quicker.
    pub(super) at: DateTime<Utc>,
}

impl<A> Core<A> {
    /// Works out when to look at a schedule again, from its record and what is not settled.
    pub(super) fn look(&mut self, id: Uuid, now: DateTime<Utc>, outlook: &impl Outlook) {
        if self.is_draining {
            return self.look_last(id, now, outlook);
        }
        if self.table.is_busy(id) {
            return;
        }
        let Some(entry) = outlook.entry(id) else { return self.forget(id) };
        self.tell(&entry);
        self.stop(&entry);
        let mut acting = entry.schedule.attempts.iter().filter_map(|attempt| attempt.phase.by());
        if acting.any(|by| by != outlook.me()) {
            self.foreign.insert(id.as_u128());
        } else {
            self.foreign.remove(&id.as_u128());
        }
        let wake = match self.plan_again(&entry, now, outlook) {
            Some(wake) => wake,
            None => self.turn(&entry, now, now, outlook).map(|turn| turn.at),
        };
        if entry.schedule.is_over() {
            self.state(id).settle_at.get_or_insert(now);
        }
        if wake.is_none_or(|wake| wake > now) {
            self.clear_overdue(id);
            // One that stands in line for a slot may be waiting for nothing but the rate of its target.
            if self.table.get(id).is_some_and(|state| state.waits.is_none()) {
                self.give_rate_place_up(id);
            }
        }
        let settle_at = self.settle_at(id);
        if wake.into_iter().chain(settle_at).all(|at| at > now) {
            // Another instance was quicker.
            self.unqueue(id);
        }
        // Work that must wait delays neither settling nor the renewal of claims.
        let held = self.held_until(id, now);
        let passed = held.filter(|until| passes(*until, now));
        let renewal = passed.and_then(|_| renewal_at(&entry.schedule, outlook));
        let wake = wake.map(|wake| held.map_or(wake, |later| wake.max(later)));
        self.table.set_timer(id, [wake, settle_at, renewal].into_iter().flatten().min());
        self.table.tidy(id);
    }

    /// Looks at a schedule while the engine stops: what is cancelled is stopped, and what has ended is settled, since others
    /// take it for under way until then.
    fn look_last(&mut self, id: Uuid, now: DateTime<Utc>, outlook: &impl Outlook) {
        let Some(entry) = outlook.entry(id) else { return };
        self.stop(&entry);
        let is_held = self.held_until(id, now).is_some();
        let state = self.table.get(id);
        if state.is_some_and(|state| !state.is_busy && !state.done.is_empty()) && !is_held {
            self.queue(Ready { priority: SETTLING, due: Reverse(now), id, lane: Lane::Fast });
        }
    }

    /// Starts what a record asks for besides its times: announcing changes, telling of ends.
    fn tell(&mut self, entry: &Entry) {
        let (id, schedule) = (entry.schedule.id, &entry.schedule);
        if !schedule.events.is_empty() {
            let state = self.state(id);
            let known = |id: &Uuid| state.done.announced.contains(id);
            let has_news = schedule.events.iter().any(|event| !known(&event.event_id));
            if has_news && !std::mem::replace(&mut state.is_announcing, true) {
                self.actions.push(Action::Announce(id));
            }
        }
        if !schedule.ended.is_empty() {
            let state = self.state(id);
            let known = |id: &Uuid| state.done.told.contains(id);
            let has_ends = schedule.ended.iter().any(|ended| !known(&ended.execution_id));
            if has_ends && !std::mem::replace(&mut state.is_telling, true) {
                self.actions.push(Action::Tell(id));
            }
        }
    }

    /// Stops executions that a record says are cancelled.
    fn stop(&mut self, entry: &Entry) {
        let stopped = entry.schedule.attempts.iter().filter(|attempt| attempt.cancel.is_some());
        self.actions.extend(stopped.map(|attempt| Action::Stop(attempt.execution_id)));
    }

    /// Has a schedule corrected whose times lie ahead, and returns when to look at it again: not while that is under
    /// way. `None` if its times do not lie ahead.
    fn plan_again(
        &mut self,
        entry: &Entry,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Option<Option<DateTime<Utc>>> {
        if !lies_ahead(&entry.schedule, now) {
            return None;
        }
        if !outlook.is_time_sure() {
            return Some(Some(now + UNSURE));
        }
        let id = entry.schedule.id;
        if !std::mem::replace(&mut self.state(id).is_correcting, true) {
            self.actions.push(Action::Correct(id));
        }
        Some(None)
    }

    /// When it is our turn to do what comes next for a schedule. `seen` is the latest time at which work that is due by
    /// now was first seen.
    pub(super) fn turn(
        &mut self,
        entry: &Entry,
        now: DateTime<Utc>,
        seen: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Option<Turn> {
        let (id, schedule) = (entry.schedule.id, &entry.schedule);
        let Some(due) = self.wake(entry, now, outlook) else {
            self.table.get_mut(id).and_then(|state| state.visible.take());
            return None;
        };
        let is_ours = is_ours_to_end(schedule, outlook);
        let delay = if is_ours { Duration::zero() } else { outlook.delay(id, schedule.needs) };
        if due > now {
            self.table.get_mut(id).and_then(|state| state.visible.take());
            return Some(Turn { due, at: due.later(delay) });
        }
        if delay.is_zero() || !outlook.shares_what_piled_up() {
            return Some(Turn { due, at: due.later(delay) });
        }
        let (work, sees_since) = ((due, entry.revision), self.sees_since);
        let visible = &mut self.state(id).visible;
        let known = visible.filter(|known| known.work == work);
        let at = known.map_or(due.max(seen), |known| known.at);
        *visible = Some(Visible { work, at });
        Some(Turn { due, at: at.max(sees_since.later(COMING_BACK)).later(delay) })
    }
}
