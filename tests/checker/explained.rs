//! Check that explanations are complete and true.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nats_scheduler::client::{Became, Explained, ExplainedTime};
use nats_scheduler::execution::{Execution, ExecutionStatus};
use nats_scheduler::schedule::SkipCause;
use uuid::Uuid;

use super::ledger::Ledger;
use super::story::Story;
use super::times::Told;

/// Each time that the history tells of was explained, by one line, and as the history tells it. Of a schedule that was
/// asked about, nothing is said to be forgotten, and who paused it is known.
pub fn times_are_explained_truly(
    story: &Story<'_>,
    explained: Option<&Explained>,
    told: &Told,
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    let Some(explained) = explained else { return };
    for line in &explained.times {
        if line.outcome == Became::Forgotten {
            found.push(format!("{}: {line:?} is said to be forgotten", story.name()));
        }
        let is_paused = line.outcome == Became::Paused || line.cause == Some(SkipCause::Paused);
        if is_paused && line.change.is_none() {
            found.push(format!("{}: nobody is said to have paused it: {line:?}", story.name()));
        }
    }
    let last_of = last_attempts(story);
    let span = explained.from..=explained.to;
    for (at, ids) in told.iter().filter(|(at, _)| span.contains(at)) {
        let covers = |line: &&ExplainedTime| {
            line.triggered_by.is_none()
                && line.outcome != Became::Corrected
                && (line.scheduled_for..=line.last.unwrap_or(line.scheduled_for)).contains(at)
        };
        let lines: Vec<_> = explained.times.iter().filter(covers).collect();
        let [line] = lines[..] else {
            found.push(format!("{}: {at} is explained by {lines:?}", story.name()));
            continue;
        };
        let ends = ids.iter().filter_map(|id| ledger.ends.get(id));
        for end in ends {
            let end = last_of.get(&(*at, &*end.correlation_id)).copied().unwrap_or(end);
            if !is_true(line, end) {
                let (status, range) = (end.status, end.skipped);
                found.push(format!(
                    "{}: {at} is {status:?} {range:?}, and explained by {line:?}",
                    story.name()
                ));
            }
        }
    }
}

/// The last attempt at each occurrence.
fn last_attempts<'a>(story: &Story<'a>) -> BTreeMap<(DateTime<Utc>, &'a str), &'a Execution> {
    let mut last = BTreeMap::new();
    for end in &story.ends {
        let of: &mut &Execution =
            last.entry((end.scheduled_for, end.correlation_id.as_str())).or_insert(end);
        if end.attempt_number > of.attempt_number {
            *of = end;
        }
    }
    last
}

fn is_true(line: &ExplainedTime, end: &Execution) -> bool {
    let expected = match end.status {
        ExecutionStatus::Success => Became::Success,
        ExecutionStatus::Failed => Became::Failed,
        ExecutionStatus::Cancelled => Became::Cancelled,
        ExecutionStatus::Skipped => Became::Skipped,
        ExecutionStatus::Running | ExecutionStatus::Corrected => return true,
    };
    // It may have gone on since.
    let was_open =
        matches!(line.outcome, Became::Running | Became::Waiting | Became::Due | Became::Coming);
    let same_cause = line.cause == end.skipped.map(|range| range.cause);
    was_open || (line.outcome == expected && same_cause)
}

/// The explanations of a run, by schedule.
pub type Explanations = BTreeMap<Uuid, Explained>;
