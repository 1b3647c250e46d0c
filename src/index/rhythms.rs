//! The rhythms of schedules: what their times follow from, apart from what bounds them. Where schedules go on after some
//! moment is worked out once for each rhythm, and not for each of the many schedules that share it.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::Entry;
use super::numbered::Numbered;
use super::place::{NEVER, nanos};
use crate::trigger::{CronTrigger, Trigger};

const SECOND: i64 = 1_000_000_000;

/// Numbers for rhythms, each held by the schedules that have it.
#[derive(Default)]
pub(super) struct Rhythms {
    numbers: HashMap<Rhythm, u32>,
    rhythms: Numbered<Rhythm>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Rhythm {
    /// Only the schedule knows its times.
    Own,
    Cron(Arc<CronTrigger>),
    /// So many seconds after one another.
    Every(u32),
}

impl Rhythm {
    fn of(entry: &Entry) -> Self {
        let next = entry.schedule.next_run_at;
        match entry.trigger.unbounded() {
            Trigger::Cron(cron) => Self::Cron(Arc::clone(cron)),
            // Records are also written by hand: then the next time may be none of the interval's.
            plain @ Trigger::Interval(interval)
                if next.and_then(|next| plain.latest_at_or_before(next)) == next =>
            {
                Self::Every(interval.every_seconds.max(1))
            }
            _ => Self::Own,
        }
    }
}

impl Rhythms {
    /// The number of the rhythm of one more schedule.
    pub fn hold(&mut self, entry: &Entry) -> u32 {
        self.hold_once_more(Rhythm::of(entry))
    }

    /// One schedule less has this rhythm.
    pub fn release(&mut self, number: u32) {
        if let Some(rhythm) = self.rhythms.release(number) {
            self.numbers.remove(&rhythm);
        }
    }

    /// The number for a schedule that had this one and has changed.
    pub fn changed(&mut self, number: u32, entry: &Entry) -> u32 {
        let rhythm = Rhythm::of(entry);
        if self.rhythms.get(number) == Some(&rhythm) {
            return number;
        }
        self.release(number);
        self.hold_once_more(rhythm)
    }

    fn hold_once_more(&mut self, rhythm: Rhythm) -> u32 {
        if let Some(number) = self.numbers.get(&rhythm) {
            self.rhythms.hold(*number);
            return *number;
        }
        let number = self.rhythms.add(rhythm.clone());
        self.numbers.insert(rhythm, number);
        number
    }
}

/// Where schedules go on after a moment.
pub(super) struct Onward<'a> {
    rhythms: &'a Rhythms,
    after: DateTime<Utc>,
    /// The first nanosecond after it.
    from: i64,
    /// The first times of cron expressions, by the numbers of rhythms, as far as they were asked for.
    firsts: Vec<Option<i64>>,
}

impl<'a> Onward<'a> {
    pub fn new(rhythms: &'a Rhythms, after: DateTime<Utc>) -> Self {
        let from = nanos(after).saturating_add(1);
        Self { rhythms, after, from, firsts: vec![None; rhythms.rhythms.end()] }
    }

    /// The first time after the moment of a schedule with this rhythm and next time. What bounds the schedule, and what it
    /// leaves out, may put its first occurrence later, and never earlier.
    pub fn first(&mut self, number: u32, next: i64) -> i64 {
        if next >= self.from {
            return next;
        }
        match self.rhythms.rhythms.get(number) {
            Some(Rhythm::Cron(cron)) => *self.firsts[number as usize].get_or_insert_with(|| {
                let first = Trigger::Cron(Arc::clone(cron)).next_after(self.after);
                first.map_or(NEVER, nanos)
            }),
            Some(Rhythm::Every(seconds)) => {
                let step = i64::from(*seconds) * SECOND;
                let steps = self.from.saturating_sub(next).saturating_add(step - 1) / step;
                next.saturating_add(steps.saturating_mul(step))
            }
            Some(Rhythm::Own) | None => self.from,
        }
    }
}

#[cfg(test)]
impl Rhythms {
    /// How many rhythms there are.
    pub fn len(&self) -> usize {
        assert_eq!(self.rhythms.len(), self.numbers.len());
        self.numbers.len()
    }
}
