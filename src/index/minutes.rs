//! How many occurrences each coming minute has, over all schedules.
//!
//! Schedules whose times are the same by the minute are counted once and multiplied: those that share a cron trigger,
//! and intervals of the same length that begin at the same second of it; with calendars and ends, if they share these too.
//! So a million schedules cost one look each, and the walk through a day is one for each of the few kinds that there are.
//! What has times of its own, such as a number of runs, is walked by itself, within a bound; beyond it the counts are no
//! longer exact.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Duration, DurationRound as _, SubsecRound as _, Utc};

use super::Entry;
use crate::moment::Moment as _;
use crate::trigger::Trigger;

/// Most steps through the times of triggers, for one count: some seconds of a processor.
const MOST_STEPS: u64 = if cfg!(test) { 200_000 } else { 20_000_000 };
/// Seconds of a minute.
const MINUTE: i64 = 60;

/// Numbers of occurrences by minute.
#[derive(Clone, Debug, PartialEq)]
pub struct ByMinute {
    /// As of when: occurrences of a later second are counted.
    pub as_of: DateTime<Utc>,
    /// Begin of the first minute.
    pub from: DateTime<Utc>,
    /// How many occurrences each minute has, by their nominal times.
    pub counts: Vec<u64>,
    /// Whether all were counted.
    pub is_exact: bool,
}

/// Schedules that have all times of a trigger.
struct Alike {
    trigger: Trigger,
    /// The first time that counts.
    first: Option<DateTime<Utc>>,
    schedules: u64,
}

/// What schedules with the same times have in common. What is shared is the same at the same address.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    source: Source,
    /// The spans that calendars leave open; 0 for all of time.
    spans: usize,
    /// When it begins and ends, if that is in the minutes that are counted.
    bounds: (Option<DateTime<Utc>>, Option<DateTime<Utc>>),
}

#[derive(PartialEq, Eq, Hash)]
enum Source {
    Cron(usize),
    /// Seconds, the millisecond at which they begin, and the first time that counts.
    Interval(u32, i64, Option<DateTime<Utc>>),
}

impl Kind {
    fn of(trigger: &Trigger, since: DateTime<Utc>, tally: &Tally) -> Option<Self> {
        let (spans, inner) = match trigger {
            Trigger::Open(open) => (Arc::as_ptr(&open.spans).addr(), &open.inner),
            trigger => (0, trigger),
        };
        let (start, end, inner) = match inner {
            Trigger::Within(within) => (within.start, within.end, &within.inner),
            trigger => (None, None, trigger),
        };
        let source = match inner {
            Trigger::Cron(cron) => Source::Cron(Arc::as_ptr(cron).addr()),
            Trigger::Interval(interval) => {
                let every_ms = i64::from(interval.every_seconds.max(1)) * 1000;
                let phase = interval.start.timestamp_millis().rem_euclid(every_ms);
                let first = trigger.next_after(since.just_before());
                Source::Interval(interval.every_seconds, phase, first)
            }
            _ => return None,
        };
        let start = start.filter(|start| *start > since);
        let end = end.filter(|end| tally.is_before_end(*end));
        Some(Self { source, spans, bounds: (start, end) })
    }
}

/// A count under way.
struct Tally {
    from: i64,
    counts: Vec<u64>,
    steps_left: u64,
}

/// Counts the occurrences of `entries` in the minutes from that of `now` on.
pub fn by_minute(entries: &[Arc<Entry>], now: DateTime<Utc>, minutes: usize) -> ByMinute {
    let as_of = now.trunc_subsecs(0);
    let since = as_of.later(Duration::seconds(1));
    let from = as_of.duration_trunc(Duration::seconds(MINUTE)).unwrap_or(as_of);
    let mut tally =
        Tally { from: from.timestamp(), counts: vec![0; minutes], steps_left: MOST_STEPS };
    let mut kinds: HashMap<Kind, Alike> = HashMap::new();
    let mut intervals: HashMap<(u32, i64), u64> = HashMap::new();
    let mut others = Vec::new();
    for entry in entries {
        let (schedule, trigger) = (&entry.schedule, &entry.trigger);
        let next = schedule.next_run_at.filter(|_| schedule.fires());
        let Some(next) = next.filter(|next| tally.is_before_end(*next)) else { continue };
        let is_plain = schedule.spec.timing.max_runs.is_none() && schedule.acted_ahead.is_empty();
        let first = || trigger.next_after(since.just_before());
        match trigger {
            Trigger::Interval(interval) if is_plain => {
                let every = interval.every_seconds.max(1);
                // Not if it begins later, or goes on later.
                let is_within = |first: &DateTime<Utc>| {
                    *first - since < Duration::seconds(i64::from(every)) && next <= *first
                };
                if first().filter(is_within).is_some() {
                    let phase = interval.start.timestamp().rem_euclid(i64::from(every));
                    *intervals.entry((every, phase)).or_default() += 1;
                    continue;
                }
            }
            trigger if is_plain => {
                if let Some(kind) = Kind::of(trigger, since, &tally) {
                    let alike = kinds.entry(kind).or_insert_with(|| Alike {
                        trigger: trigger.clone(),
                        first: first(),
                        schedules: 0,
                    });
                    if alike.first.is_some_and(|first| next <= first) {
                        alike.schedules += 1;
                        continue;
                    }
                }
            }
            _ => {}
        }
        others.push(entry);
    }
    for ((every, phase), schedules) in intervals {
        tally.add_interval(i64::from(every), phase, since.timestamp(), schedules);
    }
    for Alike { trigger, schedules, .. } in kinds.into_values() {
        let times = trigger.occurrences_after(since.just_before()).map(|next| next.at);
        tally.add(times, schedules);
    }
    for entry in others {
        tally.add_one(entry, since);
    }
    let Tally { counts, steps_left, .. } = tally;
    ByMinute { as_of, from, counts, is_exact: steps_left > 0 }
}

impl Tally {
    fn is_before_end(&self, at: DateTime<Utc>) -> bool {
        self.minute(at).is_none_or(|minute| minute < self.counts.len())
    }

    /// The number of a minute; `None` before the first.
    fn minute(&self, at: DateTime<Utc>) -> Option<usize> {
        usize::try_from((at.timestamp() - self.from).div_euclid(MINUTE)).ok()
    }

    /// Adds times, in order, of so many schedules each.
    fn add(&mut self, times: impl Iterator<Item = DateTime<Utc>>, schedules: u64) {
        for at in times {
            let Some(left) = self.steps_left.checked_sub(1) else { return };
            let minute = self.minute(at);
            let Some(count) = minute.and_then(|minute| self.counts.get_mut(minute)) else { return };
            *count += schedules;
            self.steps_left = left;
        }
    }

    /// Adds intervals of so many seconds, from a second on: by arithmetic, so it takes no steps.
    fn add_interval(&mut self, every: i64, phase: i64, since: i64, schedules: u64) {
        let end =
            self.from + MINUTE * i64::try_from(self.counts.len()).unwrap_or(i64::MAX / MINUTE);
        let mut at = since + (phase - since).rem_euclid(every);
        while at < end {
            let minute = usize::try_from((at - self.from) / MINUTE).ok();
            if let Some(count) = minute.and_then(|minute| self.counts.get_mut(minute)) {
                *count += schedules;
            }
            at += every;
        }
    }

    /// Adds the times of one schedule.
    fn add_one(&mut self, entry: &Entry, since: DateTime<Utc>) {
        let (schedule, trigger) = (&entry.schedule, &entry.trigger);
        let Some(next) = schedule.next_run_at else { return };
        let since = since.max(next);
        let left = schedule.spec.timing.max_runs.map_or(u64::MAX, |most| {
            let before = trigger.count_in(next.just_before(), since.just_before());
            most.saturating_sub(schedule.occurrence_count.get()).saturating_sub(before)
        });
        // The rules of a zone may have changed since the time was promised, and it counts all the same.
        let promised =
            (since == next && trigger.latest_at_or_before(next) != Some(next)).then_some(next);
        let times = trigger.occurrences_after(since.just_before()).map(|occurrence| occurrence.at);
        let times = promised.into_iter().chain(times);
        let times = times.filter(|at| !schedule.acted_ahead.contains(at));
        self.add(times.take(usize::try_from(left).unwrap_or(usize::MAX)), 1);
    }
}

#[cfg(test)]
mod tests;
