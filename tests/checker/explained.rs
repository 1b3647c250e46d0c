//! Check that explanations are complete and true.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::client::{Became, Explained, ExplainedTime};
use nats_scheduler::execution::{Execution, ExecutionStatus};
use nats_scheduler::schedule::SkipCause;
use uuid::Uuid;

use super::ledger::Ledger;
use super::story::{Change, Epoch, Story, just_before};
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
        if let Some(untrue) = untrue_reason(story, line) {
            found.push(format!("{}: {untrue}: {line:?}", story.name()));
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
            if let Some(untrue) = untrue_blocker(story, line, end) {
                found.push(format!("{}: {untrue}: {line:?}", story.name()));
            }
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

/// What is untrue in what a line says of who and what caused it.
fn untrue_reason(story: &Story<'_>, line: &ExplainedTime) -> Option<String> {
    let (first, last) = (line.scheduled_for, line.last.unwrap_or(line.scheduled_for));
    if let Some(said) = &line.change
        && said.event != "paused_all"
    {
        let is_it = |change: &&Change| {
            change.event.time == said.time
                && change.event.event == said.event
                && change.event.actor == said.actor
        };
        let Some(change) = story.changes.iter().find(is_it) else {
            return Some("there was no such change".to_owned());
        };
        let may_be = match (line.outcome, line.cause) {
            (Became::Paused, _) => change.is_paused,
            (Became::SwitchedOff, _) => change.is_off(),
            (_, Some(SkipCause::Paused)) => change.is_paused || change.is_off(),
            // One that gives the same times again plans them anew too.
            (_, Some(SkipCause::Changed)) => {
                change.is_new_timing() || change.event.changes.is_empty()
            }
            (_, Some(SkipCause::Deleted)) => change.event.event == "deleted",
            (Became::NotDue, _) => change.is_deleted,
            _ => true,
        };
        if !may_be {
            return Some("that change is not the cause".to_owned());
        }
    }
    if line.outcome == Became::Excluded {
        let is_true = |epoch: &Epoch| {
            let closed = epoch.trigger.closed();
            let is_left_out = closed.is_some_and(|closed| {
                closed.latest_at_or_before(first) == Some(first)
                    && closed.latest_at_or_before(last) == Some(last)
                    && closed.count_in(just_before(first), last) == line.count
            });
            let named = line.calendars.iter().flatten();
            let names: Vec<&str> = epoch.timing.calendars().collect();
            is_left_out
                && line.calendars.as_deref().is_some_and(|all| !all.is_empty())
                && named.into_iter().all(|name| names.contains(&name.as_str()))
        };
        return (!story.epochs().iter().any(is_true))
            .then(|| "its calendars do not leave that out".to_owned());
    }
    untrue_grace(story, line)
}

/// What is untrue of the grace that a line names: it must have been one of the schedule's by then.
fn untrue_grace(story: &Story<'_>, line: &ExplainedTime) -> Option<String> {
    let (_, behind) = line.reason.split_once("within its grace of ")?;
    let said: u64 = behind.split_once(" s")?.0.parse().ok()?;
    let last = line.last.unwrap_or(line.scheduled_for);
    let grace = |change: &Change| change.fields.get("misfire_grace_seconds")?.as_u64();
    let before = story.changes.iter().rev().find(|change| change.event.time <= last);
    let known = before.or(story.changes.first()).and_then(grace);
    (known.is_some() && known != Some(said)).then(|| format!("its grace was {known:?}"))
}

/// What is untrue of the execution that is said to have been in the way of `end`, which was skipped.
fn untrue_blocker(story: &Story<'_>, line: &ExplainedTime, end: &Execution) -> Option<String> {
    if line.cause != Some(SkipCause::Overlap) {
        return None;
    }
    let in_group = story.changes.iter().any(|change| change.fields.contains_key("group"));
    let Some(id) = line.blocked_by else {
        // By a clock that was wrong it may have ended before.
        let was_under_way = |other: &&&Execution| {
            let ended = other.completed_at.is_some_and(|at| at >= end.time + MOMENT);
            let claimed = other.timings.claimed_at.is_some_and(|at| at <= end.time);
            other.skipped.is_none() && claimed && ended
        };
        let other = story.ends.iter().find(was_under_way).filter(|_| !in_group)?;
        return Some(format!("{} was in its way, and is not said to have been", other.id));
    };
    let in_record = story
        .record
        .is_some_and(|record| record.attempts.iter().any(|attempt| attempt.execution_id == id));
    let Some(blocker) = story.ends.iter().find(|end| end.id == id) else {
        return (!in_record)
            .then(|| "what is said to have been in its way is not known".to_owned());
    };
    // Each is said by the clock of another instance. It was claimed at its time or later.
    let began = blocker.scheduled_for <= end.time + SKEW;
    let ended = blocker.completed_at.unwrap_or(blocker.time);
    let was_under_way = began && ended + SKEW >= line.scheduled_for;
    (!was_under_way).then(|| format!("{id} was not under way: it ended at {ended}"))
}

/// The index knows times by the millisecond.
const MOMENT: TimeDelta = TimeDelta::milliseconds(10);
/// How far clocks of instances may be apart.
const SKEW: TimeDelta = TimeDelta::seconds(5);

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
