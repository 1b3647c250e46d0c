//! Restricts a trigger to spans of time, such as those that calendars leave open.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{Occurrence, Trigger};
use crate::moment::Moment as _;

/// Spans of time, sorted and apart from each other. Each includes its start and excludes its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spans(Vec<(DateTime<Utc>, DateTime<Utc>)>);

/// The occurrences of a trigger in spans of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Open {
    /// The trigger.
    pub inner: Trigger,
    /// When its occurrences count.
    pub spans: Arc<Spans>,
    /// The calendars that say so.
    pub calendars: CalendarsUsed,
}

/// The calendars that restrict a trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CalendarsUsed {
    /// Their versions; nil for one that is not there.
    pub versions: Vec<Uuid>,
    /// When the latest of them was changed, if all are there.
    pub since: Option<DateTime<Utc>>,
}

impl Spans {
    /// All of time.
    pub fn always() -> Self {
        Self(vec![(DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC)])
    }

    /// Sorts spans, and merges those that overlap or adjoin. A span that does not end after its start is left out.
    pub fn merged(spans: impl IntoIterator<Item = (DateTime<Utc>, DateTime<Utc>)>) -> Self {
        let mut all: Vec<_> = spans.into_iter().filter(|(start, end)| start < end).collect();
        all.sort_unstable();
        let mut merged: Vec<(DateTime<Utc>, DateTime<Utc>)> = Vec::with_capacity(all.len());
        for (start, end) in all {
            match merged.last_mut() {
                Some(last) if last.1 >= start => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        Self(merged)
    }

    /// The union of several.
    pub fn of_all(all: impl IntoIterator<Item = Self>) -> Self {
        Self::merged(all.into_iter().flat_map(|spans| spans.0))
    }

    /// These spans less the others.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len() + others.0.len());
        let mut others = others.0.iter().peekable();
        for &(start, end) in &self.0 {
            let mut from = start;
            // One that ends later may also reach into the next span.
            while others.next_if(|other| other.1 <= from).is_some() {}
            while let Some(&&(closed, opens)) = others.peek().filter(|other| other.0 < end) {
                if from < closed {
                    left.push((from, closed));
                }
                from = from.max(opens);
                if opens > end {
                    break;
                }
                others.next();
            }
            if from < end {
                left.push((from, end));
            }
        }
        Self(left)
    }

    /// Whether an instant lies in one of them.
    #[cfg(test)]
    fn contain(&self, at: DateTime<Utc>) -> bool {
        self.ending_after(at).is_some_and(|(start, _)| *start <= at)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first span that ends after an instant: the one in which it lies, or the next.
    fn ending_after(&self, at: DateTime<Utc>) -> Option<&(DateTime<Utc>, DateTime<Utc>)> {
        self.0.get(self.0.partition_point(|(_, end)| *end <= at))
    }

    /// The last span that starts at an instant or before.
    fn starting_by(&self, at: DateTime<Utc>) -> Option<&(DateTime<Utc>, DateTime<Utc>)> {
        self.0[..self.0.partition_point(|(start, _)| *start <= at)].last()
    }
}

impl Open {
    /// The occurrences that are left out.
    pub fn closed(&self) -> Trigger {
        let closed = Spans::always().without(&self.spans);
        self.inner.clone().open(Arc::new(closed), self.calendars.clone())
    }

    /// The first occurrence after `after` that lies in a span. Each step of the loop leaves a span behind.
    pub(super) fn next_occurrence(&self, mut after: DateTime<Utc>) -> Option<Occurrence> {
        loop {
            let next = self.inner.next_occurrence(after)?;
            let (start, _) = self.spans.ending_after(next.at)?;
            if *start <= next.at {
                return Some(next);
            }
            after = start.just_before();
        }
    }

    pub(super) fn latest_at_or_before(&self, mut at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        loop {
            let last = self.inner.latest_at_or_before(at)?;
            let (_, end) = self.spans.starting_by(last)?;
            if last < *end {
                return Some(last);
            }
            at = end.just_before();
        }
    }

    pub(super) fn count_in(&self, after: DateTime<Utc>, until: DateTime<Utc>) -> u64 {
        let from = self.spans.0.partition_point(|(_, end)| *end <= after);
        let overlapping = self.spans.0[from..].iter().take_while(|(start, _)| *start <= until);
        let counts = overlapping.map(|(start, end)| {
            self.inner.count_in(after.max(start.just_before()), until.min(end.just_before()))
        });
        counts.sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trigger::IntervalTrigger;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + second, 0).unwrap()
    }

    fn spans(of: &[(i64, i64)]) -> Spans {
        Spans::merged(of.iter().map(|(start, end)| (at(*start), at(*end))))
    }

    #[test]
    fn spans_that_adjoin_are_one_and_empty_ones_are_none() {
        assert_eq!(spans(&[(5, 9), (0, 2), (2, 4), (8, 12), (7, 7)]), spans(&[(0, 4), (5, 12)]));
        assert!(spans(&[(3, 3), (9, 2)]).is_empty());
    }

    fn some_spans() -> impl Strategy<Value = Vec<(i64, i64)>> {
        proptest::collection::vec((0_i64..200, 0_i64..40), 0..8).prop_map(|spans| {
            spans.into_iter().map(|(start, length)| (start, start + length)).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_open_is_in_one_and_not_in_the_other(a in some_spans(), b in some_spans()) {
            let (open, closed) = (spans(&a), spans(&b));
            let left = open.without(&closed);
            prop_assert_eq!(&left, &Spans::merged(left.0.iter().copied()));
            for second in -1..250 {
                let holds = open.contain(at(second)) && !closed.contain(at(second));
                prop_assert_eq!(left.contain(at(second)), holds, "{}", second);
            }
        }

        #[test]
        fn all_questions_are_answered_as_by_walking(
            of in some_spans(), every in 1_u32..30, begin in 0_i64..50, from in 0_i64..250, length in 0_i64..250,
        ) {
            let inner = Trigger::Interval(IntervalTrigger { start: at(begin), every_seconds: every });
            let open = spans(&of);
            let walked: Vec<_> = inner
                .occurrences_after(at(-1))
                .map(|next| next.at)
                .take_while(|next| *next <= at(500))
                .filter(|next| open.contain(*next))
                .collect();
            let trigger = inner.open(Arc::new(open), CalendarsUsed::default());
            let (from, until) = (at(from), at(from + length));
            let next = walked.iter().find(|next| **next > from).copied();
            prop_assert_eq!(trigger.next_after(from), next);
            let last = walked.iter().rfind(|last| **last <= from).copied();
            prop_assert_eq!(trigger.latest_at_or_before(from), last);
            let count = walked.iter().filter(|one| **one > from && **one <= until).count();
            prop_assert_eq!(trigger.count_in(from, until), count as u64);
        }
    }
}
