//! Claiming earlier where more is due soon than can be claimed in the time that is left.
//!
//! A claim is a write, and each takes its time. What is claimed half a second before it is due leaves with that only
//! its command to send when the time has come; but half a second is not enough for thousands that are due at once. So
//! the timers ahead are counted, and where the first so many of them could not be claimed by then, they are
//! begun now. It costs nobody anything where few are due.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::{Core, Outlook};
use crate::moment::Moment as _;
use crate::plan::{LEAD, MAX_LEAD, may_be_claimed_early};

/// How many claims are made in a second at least, by all instances together: all write to one stream, and each has to
/// read what the others wrote.
const CLAIMS_A_SECOND: usize = 6_000;
/// Pause between two counts.
const PAUSE: Duration = Duration::milliseconds(50);
/// Timers that are counted at most.
const MOST: usize = 50_000;

/// What was seen of the time ahead.
#[derive(Default)]
pub(super) struct Ahead {
    /// When timers were counted last.
    counted_at: Option<DateTime<Utc>>,
    /// Until when they were taken for due then.
    until: Option<DateTime<Utc>>,
}

impl<A> Core<A> {
    /// How much further ahead than usual claims are made.
    pub(crate) fn extra_lead(&self, now: DateTime<Utc>) -> Duration {
        self.ahead.until.map_or(Duration::zero(), |until| (until - now).max(Duration::zero()))
    }

    /// Queues what is due soon, if it is too much to be claimed later.
    pub(super) fn look_ahead(&mut self, now: DateTime<Utc>, outlook: &impl Outlook) {
        let next = self.ahead.counted_at.map(|at| at + PAUSE);
        if next.is_some_and(|next| next > now && next <= now + PAUSE) {
            return;
        }
        // What is queued already goes by what was found before.
        let before = self.ahead.until.filter(|until| *until > now);
        let until = self.crowded_until(now).into_iter().chain(before).max();
        self.ahead = Ahead { counted_at: Some(now), until };
        let Some(until) = self.ahead.until.filter(|_| self.may_claim) else { return };
        let soon: Vec<_> = self.slots.timers_within(now, until).collect();
        for (due, id) in soon {
            let Some(entry) = outlook.entry(id) else { continue };
            let is_busy = self.slots.is_busy(id);
            // What others are to claim they claim.
            let is_ours = outlook.delay(id, entry.schedule.needs).is_zero();
            if is_busy || !is_ours || !may_be_claimed_early(&entry.schedule, now) {
                continue;
            }
            self.slots.set_timer(id, None);
            self.ready_one(&entry, due, until, now, outlook);
            self.slots.tidy(id);
        }
    }

    /// Until when what is due cannot be claimed in the time that is left, if there is so much.
    fn crowded_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let end = now.later(MAX_LEAD - LEAD);
        let rate = CLAIMS_A_SECOND;
        let most = MOST.min(rate * usize::try_from((MAX_LEAD - LEAD).num_seconds()).unwrap_or(1));
        let soon = self.slots.timers_within(now, end).take(most);
        let is_too_much = |(count, (due, _)): &(usize, (DateTime<Utc>, Uuid))| {
            let takes_us = (count + 1) * 1_000_000 / rate;
            Duration::microseconds(i64::try_from(takes_us).unwrap_or(i64::MAX)) > *due - now
        };
        soon.enumerate().filter(is_too_much).last().map(|(_, (due, _))| due)
    }
}
