//! The engine's decisions: events and the time in, actions out.
//!
//! [`Core`] holds one value per schedule, and orders over them: timers, work whose time has come, claims that wait for
//! their time, what is overdue. It knows no clock, task, channel or connection, so a test or a simulator can set the
//! time and repeat a run event by event. The loop around it (`run.rs`) only waits, hands over what came, and starts the
//! actions that [`Core::step`] returns.
//!
//! The cycle of a schedule:
//!
//! ```text
//! Changed -> timer -> due -> lane -> Action::Work ----> Free | Later       (its record was written)
//!                                       |  \---------> Armed -> Action::Release
//!                                       \-----------> Ended, ... Returned  (its attempts were made)
//! Ended -> settle_at -> lane -> Action::Work, which folds the outcome into the record
//! ```
//!
//! # Who goes first
//!
//! All instances see the same work, and one of them is to do it. Each lets those before it in the schedule's order of
//! preference go first, by [`Outlook::delay`], counted from when the work *became visible*: when it was due, or, if
//! that was earlier, when this instance first saw that it was. So what piled up while nobody could act is taken in
//! turn, like work that comes due piece by piece. After a break that others may have had too, they get [`COMING_BACK`]
//! to return: the first instance back does its own share at once and leaves the others theirs.

mod armory;
mod burst;
mod events;
mod groups;
mod lanes;
mod load;
mod look;
mod overall;
mod rate_places;
mod rates;
mod start;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

pub(crate) use armory::Armed;
use armory::Armory;
pub(crate) use armory::MAX_ARMED;
use burst::Burst;
pub(crate) use events::{Action, Claiming, Event};
use groups::Groups;
pub(crate) use lanes::Lane;
use lanes::Lanes;

use overall::Overall;
use rates::Rates;
pub(crate) use state::Done;
use state::State;
use table::Table;
use walk::Walk;

use crate::execution::Execution;
use crate::index::Entry;
use crate::plan::View;
use crate::schedule::{Schedule, Spec, TargetPattern};

/// Longest time for which an outcome waits to be folded in by the next claim of its schedule.
const RIDE: Duration = Duration::seconds(2);
/// Time after which an outcome is settled if no claim is that near: work that is due goes first.
const LINGER: Duration = Duration::milliseconds(250);
/// Interval between checks whether claims may be made.
const UNSURE: Duration = Duration::milliseconds(250);
/// Time after a break that the instances before us may need to return: a server informs its clients one by one, and
/// each of them tries to connect at times of its own.
const COMING_BACK: Duration = Duration::milliseconds(1500);
/// Largest step back of the clock that is only a correction.
const STEP_BACK: Duration = Duration::seconds(1);
/// Pause before work that NATS did not let us do is tried again.
const LATER: Duration = Duration::seconds(1);

/// The core's view of the schedules and of the other instances.
pub(crate) trait Outlook: View {
    /// A schedule as this instance knows it.
    fn entry(&self, id: Uuid) -> Option<Arc<Entry>>;
    /// Whether the time is known well enough to plan a schedule again by it.
    fn is_time_sure(&self) -> bool;
    /// How long this instance lets others go first with a schedule whose record `needs` that format.
    fn delay(&self, schedule: Uuid, needs: u16) -> Duration;
    /// Length of the lease of a claim on a schedule.
    fn lease(&self, spec: &Spec) -> Duration;
    /// How many more executions of a group may be under way.
    fn group_room(&self, _group: &str) -> usize {
        usize::MAX
    }
    /// Whether a slot of a group was taken for an execution of a schedule.
    fn has_slot(&self, _group: &str, _schedule: Uuid) -> bool {
        false
    }
    /// Whether an execution has a slot of a group for a claim at a revision of its record.
    fn holds_slot(&self, _group: &str, _execution: Uuid, _revision: u64) -> bool {
        false
    }
    /// How many instances run.
    fn instances(&self) -> usize;
    /// Whether instances take what piled up in order of preference, too.
    fn shares_what_piled_up(&self) -> bool {
        true
    }
}

/// The state of one instance's engine. `A` is what an armed attempt needs to be made.
pub(crate) struct Core<A> {
    table: Table,
    lanes: Lanes,
    /// How many schedules are ready.
    ready: usize,
    armory: Armory<A>,
    /// By when they were due, and id as a number.
    overdue: BTreeSet<(DateTime<Utc>, u128)>,
    /// Schedules of groups whose timers were due, and since when, until all that are due have been looked at.
    lining_up: Vec<(Uuid, DateTime<Utc>)>,
    /// Schedules whose records have attempts of other instances, by id as a number.
    foreign: BTreeSet<u128>,
    walk: Option<Walk>,
    burst: Burst,
    rates: Rates,
    /// The places of schedules with rate-limited targets: when each may send, and id as a number.
    rate_places: BTreeSet<(DateTime<Utc>, u128)>,
    groups: Groups,
    /// How many records are being written.
    busy: usize,
    /// When everything that others had written was last found to be seen.
    sees_since: DateTime<Utc>,
    /// The time of the latest step.
    now: DateTime<Utc>,
    may_claim: bool,
    overall: Overall,
    is_draining: bool,
    is_closed: bool,
    actions: Vec<Action<A>>,
}

impl<A> Core<A> {
    /// Creates a core at `now`, with the most firings and requests under way, and the rate limits of targets.
    pub(crate) fn new(
        firings: usize,
        requests: usize,
        rates: &[(TargetPattern, f64)],
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            table: Table::default(),
            lanes: Lanes::new(firings, requests),
            ready: 0,
            armory: Armory::new(),
            overdue: BTreeSet::new(),
            lining_up: Vec::new(),
            foreign: BTreeSet::new(),
            walk: None,
            burst: Burst::default(),
            rates: Rates::new(rates, now),
            rate_places: BTreeSet::new(),
            groups: Groups::default(),
            busy: 0,
            sees_since: now,
            now,
            may_claim: false,
            overall: Overall::default(),
            is_draining: false,
            is_closed: false,
            actions: Vec::new(),
        }
    }

    /// Handles events and returns what to do at `now`.
    pub(crate) fn step(
        &mut self,
        events: impl IntoIterator<Item = Event<A>>,
        now: DateTime<Utc>,
        outlook: &impl Outlook,
    ) -> Vec<Action<A>> {
        if now < std::mem::replace(&mut self.now, now) - STEP_BACK {
            self.clock_was_set_back(now);
        }
        for event in events {
            self.take_in(event, now, outlook);
        }
        if !self.is_draining {
            self.admit(now, outlook);
            self.walk(now, outlook);
            self.ready_due(now, outlook);
            self.look_ahead(now, outlook);
        }
        if !self.is_closed {
            self.release_due(now);
            self.start_ready(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// When to call [`Core::step`] even if nothing has happened.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        // A permit that is returned is an event of its own.
        let release = self.armory.next().filter(|_| self.lanes.has_room(Lane::Fast));
        let goes_on = self.walk.is_some() || self.burst.goes_on() || self.others_may_go();
        if !self.is_draining && goes_on {
            return Some(DateTime::UNIX_EPOCH);
        }
        self.table.next_due().into_iter().chain(self.next_count()).chain(release).min()
    }

    /// Whether [`Core::step`] has left armed attempts or timers that are due for the next time.
    pub(crate) fn has_more(&self, now: DateTime<Utc>) -> bool {
        self.lanes.has_room(Lane::Fast) && self.armory.is_due(now) || self.are_timers_due(now)
    }

    /// Whether no record is being written and no claim waits for its time.
    pub(crate) fn is_quiet(&self) -> bool {
        self.busy == 0 && self.armory.len() == 0
    }

    /// Takes what has been done and is not folded into records yet.
    pub(crate) fn take_done(&mut self) -> Vec<(Uuid, Done)> {
        let done = self.table.states_mut().map(|(id, state)| (id, std::mem::take(&mut state.done)));
        let mut done: Vec<_> = done.collect();
        done.sort_unstable_by_key(|(id, _)| *id);
        done
    }

    fn take_in(&mut self, event: Event<A>, now: DateTime<Utc>, outlook: &impl Outlook) {
        match event {
            Event::Changed(id) => self.look(id, now, outlook),
            Event::Members => self.begin_walk(),
            Event::Overall { has_news } => self.note_overall(has_news, outlook),
            Event::Groups => self.note_groups(),
            Event::OverallAnnounced => self.overall_announced(),
            Event::Sees => {
                self.sees_since = now;
                self.begin_walk();
            }
            Event::MayClaim(may_claim) => self.may_claim = may_claim,
            Event::Free(id) => {
                self.free(id);
                self.clear_overdue(id);
                // Whoever had its turn goes behind those that wait.
                if self.state(id).has_turn && self.admitted_since(id).is_some() {
                    self.leave_line(id);
                }
                self.state(id).not_before = None;
                self.look(id, now, outlook);
            }
            Event::Later(id) => {
                self.free(id);
                self.state(id).not_before = Some(now + LATER);
                self.pass_over(id);
                self.look(id, now, outlook);
            }
            Event::Failed(id) => {
                self.state(id).not_before = Some(now + LATER);
                self.look(id, now, outlook);
            }
            Event::Back(id, done) => self.keep(id, done, now + LATER),
            Event::Armed(armed) => self.armory.add(armed),
            Event::Ended(execution) => {
                let id = execution.schedule_id;
                let settle_at = outlook
                    .entry(id)
                    .map_or(now, |entry| settle_at(&entry.schedule, &execution, now));
                let state = self.state(id);
                state.done.ended.push(*execution);
                let at = state.settle_at.get_or_insert(settle_at);
                *at = settle_at.min(*at);
                self.look(id, now, outlook);
            }
            Event::Announced(id, announced) => {
                self.state(id).is_announcing = false;
                self.keep(id, Done { announced, ..Done::default() }, now + LINGER);
                self.look(id, now, outlook);
            }
            Event::Told(id, told) => {
                self.state(id).is_telling = false;
                self.keep(id, Done { told, ..Done::default() }, now + LINGER);
                self.look(id, now, outlook);
            }
            Event::Corrected(id) => {
                self.state(id).is_correcting = false;
                self.look(id, now, outlook);
            }
            Event::Returned(lane) => self.lanes.end(lane),
            Event::Drain => self.drain(now, outlook),
            Event::Close => self.is_closed = true,
        }
    }

    /// Keeps what has been done, to be folded into the record with what is there already, or else at a time.
    fn keep(&mut self, id: Uuid, done: Done, at: DateTime<Utc>) {
        if done.is_empty() {
            return;
        }
        let state = self.state(id);
        state.done.merge(done);
        state.settle_at.get_or_insert(at);
    }

    /// Forgets what was put off until later by the clock as it was: that may be far ahead now.
    fn clock_was_set_back(&mut self, now: DateTime<Utc>) {
        self.sees_since = self.sees_since.min(now);
        self.burst = Burst::default();
        self.rates.begin_again(now);
        self.rate_places.clear();
        for (_, state) in self.table.states_mut() {
            (state.not_before, state.rate_place, state.visible) = (None, None, None);
            state.settle_at = state.settle_at.map(|at| at.min(now));
        }
        self.note_groups();
        self.begin_walk();
    }

    fn free(&mut self, id: Uuid) {
        let was_busy = std::mem::take(&mut self.state(id).is_busy);
        self.busy -= usize::from(was_busy);
    }

    /// Forgets a schedule whose record is gone.
    fn forget(&mut self, id: Uuid) {
        self.table.set_timer(id, None);
        self.unqueue(id);
        self.clear_overdue(id);
        self.leave_line(id);
        self.give_rate_place_up(id);
        self.foreign.remove(&id.as_u128());
        let Some(state) = self.table.get_mut(id) else {
            return self.table.tidy(id);
        };
        let State { is_announcing, is_telling, is_correcting, .. } = *state;
        let under_way = State { is_announcing, is_telling, is_correcting, ..State::default() };
        let before = std::mem::replace(state, under_way);
        let executions: Vec<_> = before.done.executions().collect();
        if !executions.is_empty() {
            self.actions.push(Action::Forget(executions));
        }
        self.table.tidy(id);
    }

    fn drain(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        self.is_draining = true;
        self.walk = None;
        self.table.clear_timers();
        self.lanes.clear();
        self.overdue.clear();
        self.lining_up.clear();
        self.ready = 0;
        self.table.states_mut().for_each(|(_, state)| state.ready = None);
        let with_done = |(id, state): (Uuid, &mut State)| (!state.done.is_empty()).then_some(id);
        let mut done: Vec<_> = self.table.states_mut().filter_map(with_done).collect();
        done.sort_unstable();
        done.into_iter().for_each(|id| self.look(id, now, outlook));
    }

    fn state(&mut self, id: Uuid) -> &mut State {
        self.table.state(id)
    }

    fn settle_at(&self, id: Uuid) -> Option<DateTime<Utc>> {
        self.table.get(id)?.settle_at
    }

    /// Until when nothing that is due for a schedule may be done, if that is still ahead.
    fn held_until(&mut self, id: Uuid, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let held = &mut self.table.get_mut(id)?.not_before;
        *held = held.filter(|later| *later > now);
        *held
    }
}

/// When an outcome that came at `now` is folded into its schedule's record at the latest.
fn settle_at(schedule: &Schedule, ended: &Execution, now: DateTime<Utc>) -> DateTime<Utc> {
    // The other instances must not take a reply that has come for one that is still awaited.
    let attempt = schedule.attempts.iter().find(|attempt| attempt.execution_id == ended.id);
    let delivery =
        attempt.map_or(&schedule.spec.delivery.known, |one| schedule.sends(one).delivery);
    if delivery.mode.takes_time() {
        return now;
    }
    let next = schedule.next_run_at.filter(|_| schedule.fires()).map(|next| schedule.due(next));
    next.filter(|due| *due > now && *due <= now + RIDE).unwrap_or(now + LINGER)
}
