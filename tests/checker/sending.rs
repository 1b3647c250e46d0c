//! Checks of what was sent: once, not before its time, and as the schedule said then.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::execution::{Execution, ExecutionStatus};
use nats_scheduler::names;
use nats_scheduler::schedule::DeliveryMode;
use uuid::Uuid;

use super::evidence::{Evidence, Fault, FaultKind, Wish};
use super::ledger::{Ledger, Sent};
use super::story::{Change, Story, hash, header};

/// How long a message is under way at most where nothing is wrong.
const UNDER_WAY: TimeDelta = TimeDelta::milliseconds(100);
/// How long an instance acts on what it has claimed without hearing itself. Others take it over later.
const TRUST: TimeDelta = TimeDelta::seconds(4);
/// Within which an instance that is back may not have been heard again.
const BACK: TimeDelta = TimeDelta::seconds(2);

/// Within which all clients have found a server that is back.
const LOOKING: TimeDelta = TimeDelta::seconds(10);

/// No message id is twice in a target's stream: of a command the execution's, of a dead letter its own.
pub fn nothing_is_twice_in_a_stream(evidence: &Evidence, found: &mut Vec<String>) {
    let mut stored: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for entry in &evidence.commands {
        let Some(id) = header(entry, names::MESSAGE_ID) else { continue };
        if let Some(first) = stored.insert(id, entry.stored_at) {
            let at = entry.stored_at;
            found.push(format!("{id} is twice in its stream: stored at {first} and at {at}"));
        }
    }
}

/// A `request` or `core` command is heard again only where an instance died between, or was cut off or suspended for
/// longer than it may act on its claims.
///
/// What nothing of that may happen to is a command that is published where no stream takes it, and somebody listens.
pub fn nothing_is_heard_again_without_reason(
    evidence: &Evidence,
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    let mut heard: BTreeMap<Uuid, Vec<DateTime<Utc>>> = BTreeMap::new();
    let mut reasons = None;
    for one in &evidence.heard {
        let before = heard.entry(one.execution).or_default();
        before.push(one.at);
        let [.., first, _] = before[..] else { continue };
        let sender = ledger.started.get(&one.execution).and_then(|started| {
            // Else somebody said so who has taken it over.
            let is_first = started.timings.sent_at? < first + TimeDelta::seconds(1);
            (before.len() == 2 && is_first).then_some(started.lock_id.instance)
        });
        let reasons = reasons.get_or_insert_with(|| reasons_to_repeat(evidence));
        // What was said before the fault may have been heard just before it.
        let from = first - TimeDelta::seconds(1) - evidence.tolerance;
        let is_excused = |(whose, (begin, end)): &(Option<u64>, Span)| {
            let known = whose.and_then(|number| evidence.instances.get(&number));
            let is_of_sender = known.zip(sender).is_none_or(|(of, sender)| *of == sender);
            is_of_sender && *begin <= one.at + evidence.tolerance && *end >= from
        };
        if !reasons.iter().any(is_excused) {
            let (id, at) = (one.execution, one.at);
            found.push(format!("{id} was heard at {first} and again at {at}, and nothing broke"));
        }
    }
}

/// Whoever claims an execution sends it no more once another has claimed it, nor anybody once it has ended.
///
/// Where clocks are real, so are connections: what was sent in time may be on its way for long.
pub fn nothing_is_sent_that_is_over(evidence: &Evidence, found: &mut Vec<String>) {
    if !evidence.tolerance.is_zero() {
        return;
    }
    let mut ended: BTreeMap<&str, DateTime<Utc>> = BTreeMap::new();
    for entry in &evidence.executions {
        let is_end = header(entry, names::MESSAGE_ID).is_some_and(|id| id.ends_with(".outcome"));
        if let Some(id) = header(entry, names::EXECUTION_ID).filter(|_| is_end) {
            ended.entry(id).or_insert(entry.stored_at);
        }
    }
    // A connection that lets go just then of what it held back had it in time.
    let was_on_its_way = |at: DateTime<Utc>| {
        let mut cuts = evidence.faults.iter().filter(|fault| fault.kind == FaultKind::Cut);
        cuts.any(|cut| (at - cut.until).abs() <= UNDER_WAY)
    };
    let mut claims: BTreeMap<Uuid, u64> = BTreeMap::new();
    for one in evidence.heard.iter().filter(|one| !was_on_its_way(one.at)) {
        let (id, at) = (one.execution, one.at);
        let over = ended.get(id.to_string().as_str());
        if let Some(over) = over.filter(|over| **over + UNDER_WAY < at) {
            found.push(format!("{id} was heard at {at}, and had its outcome at {over}"));
        }
        let Some(claim) = one.claim else { continue };
        let latest = claims.entry(id).or_insert(claim);
        if claim < *latest {
            found.push(format!("{id} was heard at {at} under claim {claim}, after {latest}"));
        }
        *latest = claim.max(*latest);
    }
}

/// From when to when something was wrong.
type Span = (DateTime<Utc>, DateTime<Utc>);

/// When something was wrong with an instance, or with all, that is a reason to send again.
fn reasons_to_repeat(evidence: &Evidence) -> Vec<(Option<u64>, Span)> {
    let mut reasons = Vec::new();
    let mut silent: BTreeMap<Option<u64>, Vec<Span>> = BTreeMap::new();
    for fault in &evidence.faults {
        match fault.kind {
            FaultKind::Death | FaultKind::Power => {
                reasons.push((fault.instance, (fault.from, fault.until)))
            }
            FaultKind::Cut | FaultKind::Suspension | FaultKind::Outage => {
                silent.entry(fault.instance).or_default().push((fault.from, fault.until));
            }
            FaultKind::Stop
            | FaultKind::Clock
            | FaultKind::Acks
            | FaultKind::Silence
            | FaultKind::Refusals => {}
        }
    }
    // What is everybody's is each one's.
    let of_all = silent.remove(&None).unwrap_or_default();
    for spans in silent.values_mut() {
        spans.extend(&of_all);
    }
    silent.insert(None, of_all);
    for (whose, mut spans) in silent {
        spans.sort_unstable();
        let mut merged: Vec<Span> = Vec::new();
        for (from, until) in spans {
            match merged.last_mut().filter(|last| from <= last.1 + BACK) {
                Some(last) => last.1 = last.1.max(until),
                None => merged.push((from, until)),
            }
        }
        let long = |(from, until): &Span| *until - *from + evidence.tolerance >= TRUST;
        reasons.extend(merged.into_iter().filter(long).map(|span| (whose, span)));
    }
    reasons
}

/// Nothing is stored or heard before it is due.
pub fn nothing_is_early(evidence: &Evidence, ledger: &Ledger, found: &mut Vec<String>) {
    let whole_from = evidence.whole_from();
    for sent in ledger.sent.iter().filter(|sent| whole_from.is_none_or(|from| sent.at >= from)) {
        let Some(end) = ledger.ends.get(&sent.execution) else { continue };
        let due = due(end);
        if sent.at + evidence.tolerance < due {
            let (id, at) = (sent.execution, sent.at);
            found.push(format!("{id} of {} was sent at {at}, due at {due}", end.schedule_id));
        }
    }
}

/// When an execution was due, as its outcome says.
pub fn due(end: &Execution) -> DateTime<Utc> {
    end.timings.due_at.unwrap_or(end.scheduled_for)
}

/// The first attempt at an occurrence is due at its nominal time and jitter, or later where it had to wait; what
/// its outcome says of that is true.
pub fn due_times_are_true(story: &Story<'_>, found: &mut Vec<String>) {
    let epochs = story.epochs();
    let occurrences = story.ends.iter().filter(|end| end.triggered_by.is_none());
    let made = occurrences.filter(|end| end.attempt_number == 1 && end.skipped.is_none());
    for end in made {
        let at = end.scheduled_for;
        let promised = epochs.iter().filter(|epoch| epoch.has(at));
        let earliest = promised.map(|epoch| epoch.due(story.id, at)).min();
        if earliest.is_some_and(|earliest| due(end) < earliest) {
            let (id, due) = (end.id, due(end));
            found.push(format!("{}: {id} says that it was due at {due}, early", story.name()));
        }
    }
}

/// What succeeded was sent; what was sent has an outcome; what failed for sure was not sent, where that says it.
pub fn outcomes_are_true(
    stories: &[Story<'_>],
    evidence: &Evidence,
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    let sent: BTreeSet<Uuid> = ledger.sent.iter().map(|sent| sent.execution).collect();
    let is_open = |id: &&Uuid| !ledger.ends.contains_key(id) && !ledger.under_way.contains(id);
    for id in sent.iter().filter(is_open) {
        found.push(format!("{id} was sent and has no outcome"));
    }
    for id in ledger.started.keys().filter(is_open) {
        found.push(format!("{id} was started and has no outcome"));
    }
    let completed: BTreeSet<Uuid> = evidence
        .asked
        .iter()
        .filter_map(|asked| match asked.what {
            Wish::Complete { execution } => Some(execution),
            _ => None,
        })
        .collect();
    for story in stories {
        let Some(mode) = story.mode() else { continue };
        for end in &story.ends {
            let (id, name) = (end.id, story.name());
            let is_sent = sent.contains(&id);
            match end.status {
                // Whoever listens may not have been back yet when the sender was.
                ExecutionStatus::Success
                    if !is_sent
                        && mode == DeliveryMode::Core
                        && is_after_outage(evidence, end.completed_at) => {}
                ExecutionStatus::Success if !is_sent => {
                    found.push(format!("{name}: {id} ({mode:?}) succeeded, and nobody has it"));
                }
                ExecutionStatus::Success
                    if mode == DeliveryMode::Job && !completed.contains(&id) =>
                {
                    found.push(format!("{name}: {id} succeeded, and no worker said so"));
                }
                ExecutionStatus::Failed
                    if is_sent
                        && !end.uncertain
                        && matches!(mode, DeliveryMode::Publish | DeliveryMode::Core) =>
                {
                    found.push(format!("{name}: {id} failed, and was sent all the same"));
                }
                ExecutionStatus::Skipped if is_sent => {
                    found.push(format!("{name}: {id} was skipped, and was sent all the same"));
                }
                _ => {}
            }
        }
    }
}

/// What a calendar leaves out is not sent, unless a user runs it by hand: it was never due.
pub fn nothing_is_sent_that_a_calendar_leaves_out(
    stories: &[Story<'_>],
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    let restricted = stories.iter().filter(|story| story.names_calendars());
    let by_id: BTreeMap<Uuid, &Story<'_>> = restricted.map(|story| (story.id, story)).collect();
    for sent in &ledger.sent {
        let Some(end) = ledger.ends.get(&sent.execution) else { continue };
        let Some(story) = by_id.get(&end.schedule_id).filter(|story| !story.is_by_hand(end)) else {
            continue;
        };
        let at = end.scheduled_for;
        if !story.epochs().iter().any(|epoch| epoch.has(at)) {
            let (id, name) = (sent.execution, story.name());
            found.push(format!("{name}: {id} was sent for {at}, which its calendars leave out"));
        }
    }
}

/// Whether something happened while NATS was away, or while those who listen may still have been looking for it.
fn is_after_outage(evidence: &Evidence, at: Option<DateTime<Utc>>) -> bool {
    let spans = |fault: &Fault, at| {
        fault.kind == FaultKind::Outage && fault.from <= at && at <= fault.until + LOOKING
    };
    at.is_some_and(|at| evidence.faults.iter().any(|fault| spans(fault, at)))
}

/// What is due after a change was acknowledged is sent as it says: to its target, with its payload, or not at all.
pub fn nothing_is_sent_under_an_old_state(
    stories: &[Story<'_>],
    evidence: &Evidence,
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    let overrides: BTreeMap<&str, Option<&str>> = evidence
        .asked
        .iter()
        .filter_map(|asked| match &asked.what {
            Wish::Trigger { payload, .. } => {
                Some((asked.correlation_id.as_str(), payload.as_deref()))
            }
            _ => None,
        })
        .collect();
    let by_id: BTreeMap<Uuid, &Story<'_>> = stories.iter().map(|story| (story.id, story)).collect();
    for sent in &ledger.sent {
        let Some(end) = ledger.ends.get(&sent.execution) else { continue };
        let Some(story) = by_id.get(&end.schedule_id) else { continue };
        if story.changes.iter().all(|change| change.fields.is_empty()) {
            continue;
        }
        let is_by_hand = story.is_by_hand(end);
        let payload = is_by_hand.then(|| overrides.get(end.correlation_id.as_str())).flatten();
        let is_as = |change: &Change| says(change, sent, is_by_hand, payload.copied().flatten());
        if !in_force(story, sent.at, due(end), evidence.tolerance).any(is_as) {
            let (id, at, due) = (sent.execution, sent.at, due(end));
            let body = String::from_utf8_lossy(&sent.body);
            found.push(format!(
                "{}: {id}, due at {due}, was sent at {at} to {} with {body}, which nothing says that was in force",
                story.name(),
                sent.subject,
            ));
        }
    }
}

/// Whether a command is what a schedule says after a change.
fn says(change: &Change, sent: &Sent, is_by_hand: bool, payload: Option<&str>) -> bool {
    let may = if is_by_hand { !change.is_deleted } else { change.fires() };
    let body = match payload {
        Some(payload) => payload.as_bytes() == sent.body,
        None => change.text("command_payload") == hash(&sent.body),
    };
    may && body && change.text("target_command") == sent.subject
}

/// The states under which something may be sent at a time that was due at another: those that had come, and of which
/// nobody had been told by the time that it was due that they are over.
fn in_force<'s>(
    story: &'s Story<'_>,
    sent_at: DateTime<Utc>,
    due: DateTime<Utc>,
    tolerance: TimeDelta,
) -> impl Iterator<Item = &'s Change> {
    let mut over_at: Option<DateTime<Utc>> = None;
    story.changes.iter().rev().filter(move |change| {
        let is_over = over_at.is_some_and(|at| due > at + tolerance);
        // The others promise nothing of what is claimed.
        let promises = ["paused", "updated", "deleted"].contains(&change.event.event.as_str());
        let acknowledged = change.acknowledged.filter(|_| promises);
        over_at = [over_at, acknowledged].into_iter().flatten().min();
        !is_over && change.event.time <= sent_at + tolerance
    })
}
