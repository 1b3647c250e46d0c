//! How many occurrences each coming minute has: counted in the background, and only while somebody asks.
//!
//! A count is good for a minute. Whoever asks later is given the last one, and another is begun; only the first waits for
//! it. So however many ask, there is one count a minute at most. Ages are measured, not read off a clock that may be set.
//!
//! A filter that finds few schedules has a count of its own, made there and then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::Instant;

use super::super::super::error::{ApiError, Code};
use super::super::super::{Api, Caller};
use crate::index::{ByMinute, Listing, ScheduleFilter, Sort, by_minute};
use crate::port::Nats;

/// Minutes that are counted: a day, and the one that has begun.
const MINUTES: usize = 24 * 60 + 1;
/// Most schedules that a filter may find for a count of its own.
const FEW: usize = 1000;
/// For how long a count is good.
const FRESH: Duration = Duration::from_secs(60);
/// How old a count may be to be given to whoever asks while the next one is made.
const OLD: Duration = Duration::from_secs(600);
/// How long the first to ask waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Error after the wait times out.
const TOO_LONG: &str = "the occurrences of each minute are not counted yet; try again";
/// Number of busiest minutes that are named.
const BUSIEST: usize = 5;
/// Least number of occurrences with which a minute may stand out.
const MANY: u64 = 100;
/// How many times the mean a minute must have to stand out.
const PEAK: u64 = 5;

/// How many occurrences the minutes of a span have, over the schedules that fire. While all are paused, a minute that ends
/// before the pause has none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Minutes {
    /// As of when: what is due by then is not counted.
    pub as_of: DateTime<Utc>,
    /// Whether only schedules that match the filters are counted: a thousand or fewer do. Otherwise all are.
    #[serde(default)]
    pub filtered: bool,
    /// Whether all were counted. Otherwise schedules with an end, a number of runs or a later start were too many.
    pub exact: bool,
    /// Begin of the first minute of `counts`.
    pub from: DateTime<Utc>,
    /// How many occurrences each minute of the span has, by their nominal times; the next 24 hours at most.
    pub counts: Vec<u64>,
    /// The busiest minutes, the busiest first: five at most.
    pub busiest: Vec<BusyMinute>,
}

/// A minute with many occurrences.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BusyMinute {
    /// Its begin.
    pub at: DateTime<Utc>,
    /// How many occurrences it has.
    pub count: u64,
    /// What would spread them, if they stand out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<String>,
}

/// A count that is on its way; it fails if its sender is gone before it has come.
type Awaited = watch::Receiver<Option<Arc<ByMinute>>>;

/// The last count, and the one under way.
#[derive(Debug, Default)]
pub(crate) struct MinuteCounts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// When it was begun, and the count.
    last: Option<(Instant, Arc<ByMinute>)>,
    next: Option<Awaited>,
}

impl MinuteCounts {
    /// The last count if it is young enough, or the one to wait for. Begins it if need be: `count` makes it, and may block.
    fn get(
        self: &Arc<Self>,
        count: impl FnOnce() -> ByMinute + Send + 'static,
    ) -> Result<Arc<ByMinute>, Awaited> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counted { last, next } = &mut *counted;
        let younger = |than: Duration| {
            let last = last.as_ref().filter(|(begun, _)| begun.elapsed() < than);
            last.map(|(_, found)| Arc::clone(found))
        };
        if let Some(found) = younger(FRESH) {
            return Ok(found);
        }
        // One that has failed is begun again.
        next.take_if(|next| next.has_changed().is_err());
        let next = next.get_or_insert_with(|| self.begin(count)).clone();
        younger(OLD).ok_or(next)
    }

    fn begin(self: &Arc<Self>, count: impl FnOnce() -> ByMinute + Send + 'static) -> Awaited {
        let (done, next) = watch::channel(None);
        let (counts, begun) = (Arc::clone(self), Instant::now());
        tokio::task::spawn_blocking(move || {
            let found = Arc::new(count());
            let mut counted = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counted = Counted { last: Some((begun, Arc::clone(&found))), next: None };
            done.send_replace(Some(found));
        });
        next
    }
}

impl<N: Nats> Api<N> {
    /// The minutes of a span.
    ///
    /// # Errors
    /// `unavailable`: it takes too long.
    pub(super) async fn counted(
        &self,
        filter: &ScheduleFilter,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        caller: &Caller,
    ) -> Result<Minutes, ApiError> {
        let (index, now) = (Arc::clone(&self.index), self.clock.now());
        let halt = self.index.pauses().halt();
        let halted = halt.is_on(now).then_some(halt.until);
        if let Some(counted) = self.counted_by_itself(filter, now) {
            return Ok(Minutes { filtered: true, ..Minutes::of(&counted, from, to, halted) });
        }
        let counted = match self.minutes.get(move || by_minute(&index.all(), now, MINUTES)) {
            Ok(counted) => counted,
            Err(mut next) => {
                caller.permit.waits();
                let done = next.wait_for(Option::is_some);
                let done = tokio::time::timeout(PATIENCE, done).await;
                let done = done.ok().and_then(Result::ok).and_then(|found| (*found).clone());
                done.ok_or_else(|| ApiError::new(Code::Unavailable, TOO_LONG))?
            }
        };
        Ok(Minutes::of(&counted, from, to, halted))
    }

    /// The count of a filter, if it names something and finds few schedules.
    fn counted_by_itself(&self, filter: &ScheduleFilter, now: DateTime<Utc>) -> Option<ByMinute> {
        if !filter.names_something() {
            return None;
        }
        let sort = Sort::NextRun;
        let listing = Listing { filter, sort, after: None, offset: 0, limit: FEW };
        // A filter scans every schedule, and then times are walked.
        block_in_place(|| {
            let found = self.index.list(&listing);
            (!found.more).then(|| by_minute(&found.entries, now, MINUTES))
        })
    }
}

impl Minutes {
    /// The part of a count that lies in a span, and the busiest minutes of it. What is due while all schedules are paused,
    /// until `halted`, does not come.
    fn of(
        counted: &ByMinute,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        halted: Option<DateTime<Utc>>,
    ) -> Self {
        let minute = TimeDelta::minutes(1);
        let begin = |n: usize| counted.from + minute * i32::try_from(n).unwrap_or(i32::MAX);
        let comes = |at: DateTime<Utc>| halted.is_none_or(|until| at + minute > until);
        let counts = counted.counts.iter().enumerate().map(|(n, count)| (begin(n), *count));
        let counts = counts.map(|(at, count)| (at, if comes(at) { count } else { 0 }));
        let within: Vec<_> = counts.filter(|(at, _)| *at + minute > from && *at <= to).collect();
        let total: u64 = within.iter().map(|(_, count)| count).sum();
        let mean = total / (within.len() as u64).max(1);
        let mut busiest = within.clone();
        busiest.retain(|(_, count)| *count > 0);
        busiest.sort_by_key(|(at, count)| (std::cmp::Reverse(*count), *at));
        busiest.truncate(BUSIEST);
        let busy = |(at, count): (DateTime<Utc>, u64)| {
            let stands_out = count >= MANY && count >= mean.saturating_mul(PEAK);
            BusyMinute { at, count, proposal: stands_out.then(|| proposal(count, mean)) }
        };
        Self {
            as_of: counted.as_of,
            filtered: false,
            exact: counted.is_exact,
            from: within.first().map_or(from, |(at, _)| *at),
            counts: within.iter().map(|(_, count)| *count).collect(),
            busiest: busiest.into_iter().map(busy).collect(),
        }
    }
}

fn proposal(count: u64, mean: u64) -> String {
    format!(
        "{count} occurrences, where a minute has {mean} on average: H in place of a minute or hour of the cron expression \
         gives each schedule one of its own, and jitter_seconds delays each occurrence by its own part of it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        format!("2026-01-01T{text}Z").parse().unwrap()
    }

    fn counted(counts: Vec<u64>) -> ByMinute {
        ByMinute { as_of: at("12:00:30"), from: at("12:00:00"), counts, is_exact: true }
    }

    #[test]
    fn a_span_has_the_minutes_that_it_touches_and_the_busiest_of_them() {
        let counted = counted(vec![1, 0, 7, 3, 3, 9, 2, 4]);
        let minutes = Minutes::of(&counted, at("12:01:20"), at("12:06:00"), None);
        assert_eq!((minutes.from, &minutes.counts[..]), (at("12:01:00"), &[0, 7, 3, 3, 9, 2][..]));
        let busiest: Vec<_> = minutes.busiest.iter().map(|one| (one.at, one.count)).collect();
        let expected =
            [("12:05:00", 9), ("12:02:00", 7), ("12:03:00", 3), ("12:04:00", 3), ("12:06:00", 2)];
        assert_eq!(busiest, expected.map(|(text, count)| (at(text), count)));
        assert!(minutes.busiest.iter().all(|one| one.proposal.is_none()), "these are few");
        let beyond = Minutes::of(&counted, at("13:00:00"), at("14:00:00"), None);
        assert_eq!((beyond.counts.len(), beyond.busiest.len()), (0, 0));
        // The minute in which a pause ends counts as a whole.
        let paused = Minutes::of(&counted, at("12:01:20"), at("12:06:00"), Some(at("12:03:30")));
        assert_eq!(paused.counts, [0, 0, 3, 3, 9, 2]);
        let paused = Minutes::of(&counted, at("12:01:20"), at("12:06:00"), Some(at("12:04:00")));
        assert_eq!(paused.counts, [0, 0, 0, 3, 9, 2]);
    }

    /// Waits for a count.
    async fn come(counts: &Arc<MinuteCounts>, seconds: u64) -> Vec<u64> {
        let found = match counts.get(move || counted(vec![seconds])) {
            Ok(found) => found,
            Err(mut next) => next.wait_for(Option::is_some).await.unwrap().clone().unwrap(),
        };
        found.counts.clone()
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_is_made_once_a_minute_and_an_old_one_is_given_meanwhile() {
        let counts = Arc::new(MinuteCounts::default());
        assert_eq!(come(&counts, 0).await, [0], "who asks first waits");
        tokio::time::advance(Duration::from_secs(59)).await;
        assert_eq!(come(&counts, 59).await, [0]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(come(&counts, 60).await, [0], "the next is made");
        let made = || counts.0.lock().unwrap().last.as_ref().unwrap().1.counts.clone();
        while made() == [0] {
            tokio::task::yield_now().await;
        }
        assert_eq!(come(&counts, 61).await, [60]);
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(come(&counts, 660).await, [660], "nobody is given what is too old");
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_fails_is_begun_again() {
        let counts = Arc::new(MinuteCounts::default());
        let Err(mut next) = counts.get(|| panic!("it fails")) else { panic!("there is none") };
        assert!(next.wait_for(Option::is_some).await.is_err());
        assert_eq!(come(&counts, 1).await, [1]);
    }

    #[test]
    fn only_what_stands_out_is_to_be_spread() {
        let mut counts = vec![10; 60];
        (counts[7], counts[9]) = (5000, 99);
        let minutes = Minutes::of(&counted(counts), at("12:00:00"), at("12:59:59"), None);
        let proposals: Vec<_> = minutes.busiest.iter().map(|one| one.proposal.is_some()).collect();
        assert_eq!(proposals, [true, false, false, false, false]);
        assert!(minutes.busiest[0].proposal.as_ref().unwrap().starts_with("5000 occurrences"));
        let even = Minutes::of(&counted(vec![500; 60]), at("12:00:00"), at("12:59:59"), None);
        assert!(even.busiest.iter().all(|one| one.proposal.is_none()), "they are spread");
    }
}
