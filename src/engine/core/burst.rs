//! Claims earlier when more is due soon than can be claimed in the time left.
//!
//! A claim is a write, and each write takes its time. With a claim made half a second ahead, only the command is left
//! to send when the time comes; but half a second is too short for thousands of schedules due at once. So the coming
//! timers are counted, and if the first of them, however many, could not be claimed in time, they are started now.
//! While few are due this costs nothing. Claims for a later burst wait until the commands of the one before are out:
//! they have time, and their permits, too, are the ones that those commands need. What goes to a target with a limited
//! rate is not claimed earlier either: its commands could not go out at once.

use chrono::{DateTime, Duration, Utc};

use super::lanes::Lane;
use super::start::{RELEASES, stands};
use super::table::Position;
use super::{Core, Outlook};
use crate::moment::Moment as _;
use crate::plan::{LEAD, MAX_LEAD, may_be_claimed_early};

/// Claims made per second at least, by all instances together: all write to one stream, and each has to read what the
/// others wrote.
const CLAIMS_A_SECOND: usize = 6_000;
/// Time before a burst of commands in which nothing is claimed for a later one.
const PEACE: Duration = Duration::milliseconds(300);
/// Least interval between two counts.
const PAUSE: Duration = Duration::milliseconds(50);
/// Added to that interval for each timer looked at, ten times as long as a look takes.
const REST: Duration = Duration::microseconds(10);
/// Timers that are looked at before other work has its turn.
const LOOKS: usize = 1_024;
/// Fewest timers among which too many may be due at once: for fewer, the core does not wake to count them.
const FEW: usize = 1_024;

/// What the latest count found, and how far what it found has been looked at.
#[derive(Default)]
pub(super) struct Burst {
    /// When timers were last counted, or could not be.
    counted_at: Option<DateTime<Utc>>,
    /// Time up to which timers were taken for due.
    until: Option<DateTime<Utc>>,
    /// Position of the timer that was looked at last, while others are left.
    last: Option<Position>,
    /// How many have been looked at since the count.
    looked: i32,
    /// Whether what was queued since the count has been put off again.
    is_put_off: bool,
}

impl Burst {
    /// Whether timers are left to be looked at.
    pub(super) fn goes_on(&self) -> bool {
        self.last.is_some()
    }

    /// When timers may be counted again.
    fn next(&self) -> DateTime<Utc> {
        let next = self.counted_at.map(|at| at.later(PAUSE + REST * self.looked));
        next.unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Leaves it at what has been looked at, until the next count.
    fn leave(&mut self, now: DateTime<Utc>) {
        (self.counted_at, self.last) = (Some(now), None);
    }
}

impl<A> Core<A> {
    /// How much earlier than usual claims are made now.
    pub(crate) fn extra_lead(&self, now: DateTime<Utc>) -> Duration {
        self.burst.until.map_or(Duration::zero(), |until| (until - now).max(Duration::zero()))
    }

    /// When timers are to be counted, even if nothing happens before.
    pub(super) fn next_count(&self) -> Option<DateTime<Utc>> {
        let first = self.table.next_due().filter(|_| self.table.timers() >= FEW)?;
        Some(first.earlier(MAX_LEAD - LEAD).max(self.burst.next()))
    }

    /// Queues what is due soon, if it is too much to be claimed later. It looks at some timers at a time.
    pub(super) fn look_ahead(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        if self.armory.is_crowded(now.later(PEACE), RELEASES) {
            return self.put_off(now);
        }
        if !self.burst.goes_on() {
            if self.burst.counted_at.is_some_and(|at| at <= now) && now < self.burst.next() {
                return;
            }
            self.count(now);
        }
        // So much may be claimed ahead already that nothing more may be.
        if !self.may_claim || outlook.lead().is_zero() {
            return self.burst.leave(now);
        }
        self.look_on(now, outlook);
    }

    /// Counts the timers of the coming seconds.
    fn count(&mut self, now: DateTime<Utc>) {
        // What is queued already goes by what an earlier count found.
        let before = self.burst.until.filter(|until| *until > now);
        let until = self.crowded_until(now).into_iter().chain(before).max();
        let last = until.map(|_| Position::behind(now));
        self.burst = Burst { counted_at: Some(now), until, last, ..Burst::default() };
    }

    /// Looks at the next timers of those that the count found.
    fn look_on(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        let (Some(last), Some(until)) = (self.burst.last, self.burst.until) else { return };
        let halt = outlook.halt();
        let soon = self.table.timers_behind(last).take_while(|(place, _)| place.due() <= until);
        let soon: Vec<_> = soon.take(LOOKS).collect();
        self.burst.last = soon.get(LOOKS - 1).map(|(place, _)| *place);
        self.burst.looked += i32::try_from(soon.len()).unwrap_or(i32::MAX);
        for (place, id) in soon {
            let Some(entry) = outlook.entry(id) else { continue };
            let is_busy = self.table.is_busy(id);
            // Other instances claim what is theirs.
            let is_ours = outlook.delay(id, entry.schedule.needs).is_zero();
            let may_be = may_be_claimed_early(&entry.schedule, now, halt);
            if is_busy || !is_ours || !may_be || self.is_special(&entry.schedule) {
                continue;
            }
            self.table.set_timer(id, None);
            self.ready_one(&entry, place.due(), until, now, outlook);
            self.table.tidy(id);
        }
    }

    /// Puts off what is queued for a claim before its time, once for each burst that is in its way.
    fn put_off(&mut self, now: DateTime<Utc>) {
        self.burst.leave(now);
        if std::mem::replace(&mut self.burst.is_put_off, true) {
            return;
        }
        for ready in self.lanes.take_later(Lane::Fast, now) {
            if !stands(&self.table, &ready) {
                continue;
            }
            self.unqueue(ready.id);
            self.clear_overdue(ready.id);
            let timer = self.settle_at(ready.id).into_iter().chain([ready.due.0]).min();
            self.table.set_timer(ready.id, timer);
            self.table.tidy(ready.id);
        }
    }

    /// Time up to which what is due cannot be claimed in the time left, if there is that much.
    fn crowded_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let reach = MAX_LEAD - LEAD;
        let takes = |claims: usize| {
            let us = claims.saturating_mul(1_000_000) / CLAIMS_A_SECOND;
            Duration::microseconds(i64::try_from(us).unwrap_or(i64::MAX))
        };
        let soon = self.table.timers_behind(Position::behind(now)).map(|(place, _)| place.due());
        let soon = soon.take_while(|due| *due <= now.later(reach)).enumerate();
        // More than can be claimed in all that time need not be counted.
        let soon = soon.take_while(|(before, _)| takes(*before) <= reach);
        let is_too_much = |(before, due): &(usize, DateTime<Utc>)| takes(before + 1) > *due - now;
        soon.filter(is_too_much).last().map(|(_, due)| due)
    }
}
