//! How many occurrences each coming minute has: counted in the background, and only while somebody asks.
//!
//! A count is good for a minute. Whoever asks later is given the last one, and another is begun; only the first waits for
//! it. So however many ask, there is one count a minute, of half a second of one processor for a million schedules.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::super::super::error::ApiError;
use super::super::super::{Api, Caller};
use crate::index::{ByMinute, Index, by_minute};
use crate::port::Nats;

/// Minutes that are counted: a day, and the one that has begun.
const MINUTES: usize = 24 * 60 + 1;
/// For how long a count is good.
const FRESH: TimeDelta = TimeDelta::seconds(60);
/// How old a count may be to be given to whoever asks while the next one is made.
const OLD: TimeDelta = TimeDelta::minutes(10);
/// How long the first to ask waits.
const PATIENCE: Duration = Duration::from_secs(10);
/// Number of busiest minutes that are named.
const BUSIEST: usize = 5;
/// A minute with so many occurrences,
const MANY: u64 = 100;
/// and so many times the mean, might be spread.
const PEAK: u64 = 5;

/// How many occurrences the minutes of a span have, over all schedules that fire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Minutes {
    /// As of when: what is due by then is not counted.
    pub as_of: DateTime<Utc>,
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

/// The last count, and the one under way.
#[derive(Debug, Default)]
pub(crate) struct Counts(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    last: Option<Arc<ByMinute>>,
    next: Option<watch::Receiver<Option<Arc<ByMinute>>>>,
}

impl Counts {
    /// The last count if it is good at `now`, or the one to wait for, which is begun if need be.
    fn get(
        self: &Arc<Self>,
        index: &Arc<Index>,
        now: DateTime<Utc>,
    ) -> Result<Arc<ByMinute>, watch::Receiver<Option<Arc<ByMinute>>>> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let age = |last: &Arc<ByMinute>| now - last.as_of;
        if let Some(last) = counted.last.as_ref().filter(|last| age(last) < FRESH) {
            return Ok(Arc::clone(last));
        }
        // One that has failed is begun again.
        counted.next.take_if(|next| next.has_changed().is_err());
        let next = counted.next.get_or_insert_with(|| self.begin(Arc::clone(index), now)).clone();
        let last = counted.last.as_ref().filter(|last| age(last) < OLD);
        last.map_or(Err(next), |last| Ok(Arc::clone(last)))
    }

    fn begin(
        self: &Arc<Self>,
        index: Arc<Index>,
        now: DateTime<Utc>,
    ) -> watch::Receiver<Option<Arc<ByMinute>>> {
        let (done, next) = watch::channel(None);
        let counts = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let found = Arc::new(by_minute(&index.all(), now, MINUTES));
            let mut counted = counts.0.lock().unwrap_or_else(PoisonError::into_inner);
            *counted = Counted { last: Some(Arc::clone(&found)), next: None };
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
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        caller: &Caller,
    ) -> Result<Minutes, ApiError> {
        let counted = match self.counts.get(&self.index, self.clock.now()) {
            Ok(counted) => counted,
            Err(mut next) => {
                caller.permit.waits();
                let done = next.wait_for(Option::is_some);
                let done = tokio::time::timeout(PATIENCE, done).await;
                let done = done.ok().and_then(Result::ok).and_then(|found| (*found).clone());
                done.ok_or_else(ApiError::behind)?
            }
        };
        Ok(Minutes::of(&counted, from, to))
    }
}

impl Minutes {
    /// The part of a count that lies in a span, and the busiest minutes of it.
    fn of(counted: &ByMinute, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let minute = TimeDelta::minutes(1);
        let begin = |n: usize| counted.from + minute * i32::try_from(n).unwrap_or(i32::MAX);
        let counts = counted.counts.iter().enumerate().map(|(n, count)| (begin(n), *count));
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
        let minutes = Minutes::of(&counted, at("12:01:20"), at("12:06:00"));
        assert_eq!((minutes.from, &minutes.counts[..]), (at("12:01:00"), &[0, 7, 3, 3, 9, 2][..]));
        let busiest: Vec<_> = minutes.busiest.iter().map(|one| (one.at, one.count)).collect();
        let expected =
            [("12:05:00", 9), ("12:02:00", 7), ("12:03:00", 3), ("12:04:00", 3), ("12:06:00", 2)];
        assert_eq!(busiest, expected.map(|(text, count)| (at(text), count)));
        assert!(minutes.busiest.iter().all(|one| one.proposal.is_none()), "these are few");
        let beyond = Minutes::of(&counted, at("13:00:00"), at("14:00:00"));
        assert_eq!((beyond.counts.len(), beyond.busiest.len()), (0, 0));
    }

    #[test]
    fn only_what_stands_out_is_to_be_spread() {
        let mut counts = vec![10; 60];
        (counts[7], counts[9]) = (5000, 99);
        let minutes = Minutes::of(&counted(counts), at("12:00:00"), at("12:59:59"));
        let proposals: Vec<_> = minutes.busiest.iter().map(|one| one.proposal.is_some()).collect();
        assert_eq!(proposals, [true, false, false, false, false]);
        assert!(minutes.busiest[0].proposal.as_ref().unwrap().starts_with("5000 occurrences"));
        let even = Minutes::of(&counted(vec![500; 60]), at("12:00:00"), at("12:59:59"));
        assert!(even.busiest.iter().all(|one| one.proposal.is_none()), "they are spread");
    }
}
