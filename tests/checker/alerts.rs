//! Check of what is said of schedules that fail, are overdue, and recover.

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::execution::{Execution, ExecutionStatus};
use uuid::Uuid;

use super::evidence::Evidence;
use super::halts::last_end;
use super::lateness::latest;
use super::ledger::Ledger;
use super::story::{Event, Story};

/// Within which it is said that a schedule is overdue where nothing is wrong.
const PROMPT: TimeDelta = TimeDelta::seconds(4);

/// Each state is announced once when it begins and once when it ends, for a reason that the history confirms, and the
/// record says the same.
pub fn alerts_are_true_and_said_once(
    story: &Story<'_>,
    evidence: &Evidence,
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    let (mut failing, mut overdue) = (None, None);
    let mut wrong = |what: String| found.push(format!("{}: {what}", story.name()));
    for event in &story.alerts {
        let at = event.time;
        match event.event.as_str() {
            "failing" => {
                if failing.replace(event.failing_since).is_some() {
                    wrong(format!("it is said at {at} that it is failing, which was said before"));
                }
                if !named(event, ledger).is_some_and(|end| is_final_failure(story, end)) {
                    wrong(format!("it is said at {at} that it is failing, for no failure"));
                }
            }
            "overdue" => {
                if overdue.replace(event.overdue_since).is_some() {
                    wrong(format!("it is said at {at} that it is overdue, which was said before"));
                }
                if let Some(end) = success_before(event, story, evidence, ledger) {
                    wrong(format!("it is said at {at} that it is overdue, in spite of {end}"));
                }
            }
            _ => {
                let from = &event.recovered_from;
                let was = |of: &str, since: &mut Option<_>| {
                    !from.iter().any(|one| one == of) || since.take().is_some()
                };
                if from.is_empty() || !was("failing", &mut failing) || !was("overdue", &mut overdue)
                {
                    wrong(format!("it is said at {at} that it has recovered from {from:?}"));
                }
                let end = named(event, ledger);
                if end.is_none_or(|end| end.status != ExecutionStatus::Success) {
                    wrong(format!("it is said at {at} that it has recovered, without a success"));
                }
            }
        }
    }
    let Some(record) = story.record else { return };
    let alerts = record.standing.as_ref().and_then(|standing| standing.alerts.as_ref());
    let is = alerts.map(|alerts| (alerts.failing_since, alerts.overdue_since)).unwrap_or_default();
    let said = (failing.flatten(), overdue.flatten());
    if is != said {
        wrong(format!("it is failing and overdue since {is:?}, and it was said {said:?}"));
    }
    let fails = record.consecutive_failures >= u32::from(record.spec.failing_after.get());
    if fails && is.0.is_none() {
        wrong(format!("{} failures in a row, and it is not failing", record.consecutive_failures));
    }
    if is.0.zip(record.last_success_at()).is_some_and(|(since, success)| since < success) {
        wrong(format!("it is failing since {:?}, and has succeeded since", is.0));
    }
    // Where clocks are real, so is the load of the machine.
    let patience = if evidence.tolerance.is_zero() { PROMPT } else { PROMPT * 4 };
    let within =
        TimeDelta::seconds(record.spec.expect_success_within_seconds.map_or(0, |s| s.get().into()));
    let by = record.success_expected_by().map(|by| by.max(last_end(evidence) + within));
    let by = by.filter(|by| *by + patience < evidence.now);
    if let Some(by) = by.filter(|_| is.1.is_none()) {
        wrong(format!("a success was expected by {by}, and it is not overdue"));
    }
    let successes = story.ends.iter().filter(|end| end.status == ExecutionStatus::Success);
    let last = successes.filter_map(|end| end.completed_at).max();
    if record.last_success_at() != last {
        let is = record.last_success_at();
        wrong(format!("last_success_at is {is:?}, the history has {last:?}"));
    }
}

/// The execution that an event names.
fn named<'a>(event: &Event, ledger: &'a Ledger) -> Option<&'a Execution> {
    ledger.ends.get(&event.execution_id?)
}

fn is_final_failure(story: &Story<'_>, end: &Execution) -> bool {
    end.status == ExecutionStatus::Failed && !end.will_retry && !story.is_by_hand(end)
}

/// A success that denies that a schedule was overdue, and of which all must have known by then.
fn success_before(
    event: &Event,
    story: &Story<'_>,
    evidence: &Evidence,
    ledger: &Ledger,
) -> Option<Uuid> {
    let expected = TimeDelta::seconds(event.expect_success_within_seconds?);
    let since: DateTime<Utc> = event.overdue_since? - expected;
    let seen = |end: &&&Execution| {
        let stored = ledger.stored.get(&end.id);
        end.status == ExecutionStatus::Success
            && end.completed_at.is_some_and(|at| at > since)
            && stored.is_some_and(|at| latest(evidence, *at, event.time, None) < event.time)
    };
    story.ends.iter().find(seen).map(|end| end.id)
}
