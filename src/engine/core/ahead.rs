//! Claims earlier when more is due soon than can be claimed in the time left.
//!
//! A claim is a write, and each write takes its time. With a claim made half a second ahead, only the command is left
//! to send when the time comes; but half a second is too short for thousands of schedules due at once. So the coming
//! timers are counted, and if the first of them, however many, could not be claimed in time, they are started now.
//! While few are due this costs nothing. Claims for a later burst wait until the commands of the one before are out:
//! they have time, and their permits, too, are the ones that those commands need. What goes to a target with a limited
//! rate is not claimed earlier either: its commands could not go out at once.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::lanes::Lane;
use super::start::{STEP, stands};
use super::{Core, Outlook};
use crate::moment::Moment as _;
use crate::plan::{LEAD, MAX_LEAD, may_be_claimed_early};

/// Claims made per second at least, by all instances together: all write to one stream, and each has to read what the
/// others wrote.
const CLAIMS_A_SECOND: usize = 6_000;
/// Time before a burst of commands in which nothing is claimed for a later one.
const PEACE: Duration = Duration::milliseconds(300);
/// Interval between two counts.
const PAUSE: Duration = Duration::milliseconds(50);
/// Most claims that wait for their time at once; beyond it nothing is claimed ahead, and no more timers are counted.
pub(crate) const MAX_ARMED: usize = 50_000;

/// What the latest count found.
#[derive(Default)]
pub(super) struct Ahead {
    /// When timers were last counted.
    counted_at: Option<DateTime<Utc>>,
    /// Time up to which timers were taken for due.
    until: Option<DateTime<Utc>>,
}

impl<A> Core<A> {
    /// How much earlier than usual claims are made now.
    pub(crate) fn extra_lead(&self, now: DateTime<Utc>) -> Duration {
        self.ahead.until.map_or(Duration::zero(), |until| (until - now).max(Duration::zero()))
    }

    /// Queues what is due soon, if it is too much to be claimed later.
    pub(super) fn look_ahead(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        let next = self.ahead.counted_at.map(|at| at + PAUSE);
        if next.is_some_and(|next| next > now && next <= now + PAUSE) {
            return;
        }
        if self.armory.is_crowded(now.later(PEACE), STEP) {
            return self.put_off(now);
        }
        if outlook.lead().is_zero() {
            // So much is claimed ahead already that nothing more may be.
            return;
        }
        // What is queued already goes by what an earlier count found.
        let before = self.ahead.until.filter(|until| *until > now);
        let until = self.crowded_until(now).into_iter().chain(before).max();
        self.ahead = Ahead { counted_at: Some(now), until };
        let Some(until) = self.ahead.until.filter(|_| self.may_claim) else { return };
        let halt = outlook.halt();
        let soon: Vec<_> = self.slots.timers_within(now, until).collect();
        for (due, id) in soon {
            let Some(entry) = outlook.entry(id) else { continue };
            let is_busy = self.slots.is_busy(id);
            // Other instances claim what is theirs.
            let is_ours = outlook.delay(id, entry.schedule.needs).is_zero();
            let may_be = may_be_claimed_early(&entry.schedule, now, halt);
            if is_busy || !is_ours || !may_be || self.is_special(&entry.schedule) {
                continue;
            }
            self.slots.set_timer(id, None);
            self.ready_one(&entry, due, until, now, outlook);
            self.slots.tidy(id);
        }
    }

    /// Puts off what is queued for a claim before its time.
    fn put_off(&mut self, now: DateTime<Utc>) {
        for ready in self.lanes.take_later(Lane::Fast, now) {
            if !stands(&self.slots, &ready) {
                continue;
            }
            self.unqueue(ready.id);
            self.clear_overdue(ready.id);
            let timer = self.settle_at(ready.id).into_iter().chain([ready.due.0]).min();
            self.slots.set_timer(ready.id, timer);
            self.slots.tidy(ready.id);
        }
    }

    /// Time up to which what is due cannot be claimed in the time left, if there is that much.
    fn crowded_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let end = now.later(MAX_LEAD - LEAD);
        let rate = CLAIMS_A_SECOND;
        let most =
            MAX_ARMED.min(rate * usize::try_from((MAX_LEAD - LEAD).num_seconds()).unwrap_or(1));
        let soon = self.slots.timers_within(now, end).take(most);
        let is_too_much = |(count, (due, _)): &(usize, (DateTime<Utc>, Uuid))| {
            let takes_us = (count + 1) * 1_000_000 / rate;
            Duration::microseconds(i64::try_from(takes_us).unwrap_or(i64::MAX)) > *due - now
        };
        soon.enumerate().filter(is_too_much).last().map(|(_, (due, _))| due)
    }
}
