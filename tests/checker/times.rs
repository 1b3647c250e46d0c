//! Check that each time of a schedule has one outcome, or lies in one range that was skipped.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nats_scheduler::execution::Execution;
use nats_scheduler::schedule::SkippedRange;
use uuid::Uuid;

use super::ledger::Ledger;
use super::story::{Epoch, Story};

/// The times of which the history tells, each with the ids of what it has of it.
pub type Told = BTreeMap<DateTime<Utc>, Vec<Uuid>>;

/// Each time between a schedule's first and the next that is to come has one outcome, or is in one skipped range.
/// Returns the times of which the history tells.
pub fn each_time_has_one_outcome(
    story: &Story<'_>,
    ledger: &Ledger,
    found: &mut Vec<String>,
) -> Told {
    let epochs = story.epochs();
    if story.is_dependent() || epochs.is_empty() {
        return Told::new();
    }
    let mut told = Told::new();
    let occurrences = story.ends.iter().filter(|end| end.triggered_by.is_none());
    for end in occurrences.filter(|end| end.attempt_number == 1) {
        match times(end, ledger, &epochs) {
            Some(times) => {
                times.into_iter().for_each(|at| told.entry(at).or_default().push(end.id))
            }
            None => found.push(format!("{}: {} is of no time that it had", story.name(), end.id)),
        }
    }
    let left = story.record.iter().flat_map(|record| &record.attempts);
    let first = left.filter(|left| left.number == 1 && left.manual.is_none());
    for left in first.filter(|left| ledger.under_way.contains(&left.execution_id)) {
        told.entry(left.scheduled_for).or_default().push(left.execution_id);
    }
    for (at, ids) in told.iter().filter(|(_, ids)| ids.len() > 1) {
        found.push(format!("{}: {at} has more than one outcome: {ids:?}", story.name()));
    }
    for epoch in &epochs {
        if let Some(at) = missing(epoch, story, &told) {
            found.push(format!("{}: nothing became of {at}", story.name()));
        }
    }
    told
}

/// The times that an entry of the history is of.
fn times(end: &Execution, ledger: &Ledger, epochs: &[Epoch]) -> Option<Vec<DateTime<Utc>>> {
    let first = end.scheduled_for;
    let range = ledger.corrected.get(&end.id).and_then(|corrected| corrected.skipped);
    match range.or(end.skipped) {
        None => epochs.iter().any(|epoch| epoch.has(first)).then(|| vec![first]),
        Some(SkippedRange { count: 0, .. }) => Some(Vec::new()),
        Some(SkippedRange { last, count, .. }) => {
            epochs.iter().rev().find_map(|epoch| epoch.range(first, last, count))
        }
    }
}

/// The first time of a span of which the history does not tell and should.
fn missing(epoch: &Epoch, story: &Story<'_>, told: &Told) -> Option<DateTime<Utc>> {
    let mut next = epoch.first;
    // What was due when it was changed or deleted; else all before the next that the record promises.
    let is_over = |at: DateTime<Utc>| match epoch.ended {
        Some(ended) => epoch.due(story.id, at) > ended,
        None => story.record.is_some_and(|record| record.next_run_at.is_some_and(|to| at >= to)),
    };
    let last = epoch.timing.max_runs.and(told.keys().next_back().copied());
    while let Some(at) = next.filter(|at| !is_over(*at)) {
        let has_had_all = epoch.timing.max_runs.is_some() && last.is_none_or(|last| at > last);
        if has_had_all {
            return None;
        }
        if !told.contains_key(&at) {
            return Some(at);
        }
        next = epoch.trigger.next_after(at);
    }
    None
}
