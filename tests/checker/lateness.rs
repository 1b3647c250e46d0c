//! Check of lateness: commands may be late only as far as the faults explain it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::execution::Execution;
use nats_scheduler::names;
use uuid::Uuid;

use super::evidence::{Evidence, Fault, FaultKind};
use super::ledger::{Ledger, Sent};
use super::sending::due;

/// How late it may be where nothing is wrong, nor was a little before.
const PROMPT: TimeDelta = TimeDelta::milliseconds(1500);
/// What takes longer is with a worker, or on its way.
const QUICK: TimeDelta = TimeDelta::milliseconds(500);
/// Within which the others act for an instance, whatever it is that keeps that one from it; and everybody, once what
/// was wrong with several is over.
const TAKEN_OVER: TimeDelta = TimeDelta::seconds(9);
/// How long a creation may pursue its name, and then write its record.
const CREATED_WITHIN: TimeDelta = TimeDelta::seconds(13);
/// Time by which a reader has noticed that its stream shows it nothing.
const NOTICED: TimeDelta = TimeDelta::seconds(35);

/// A command is sent when it is due, or as soon as what was wrong allows.
///
/// Where clocks are real, so is the load of the machine: there it is told how late they were, and not judged.
pub fn nothing_is_late_without_reason(
    evidence: &Evidence,
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    if !evidence.tolerance.is_zero() {
        return;
    }
    let mut first: BTreeMap<Uuid, &Sent> = BTreeMap::new();
    for sent in &ledger.sent {
        let known = first.entry(sent.execution).or_insert(sent);
        if sent.at < known.at {
            *known = sent;
        }
    }
    let (there, grouped) = (there_since(evidence), evidence.grouped());
    for (id, sent) in first {
        let Some(end) = ledger.ends.get(&id) else { continue };
        if grouped.contains(&end.schedule_id) {
            continue;
        }
        // A creation may wait for the name that one that died has left reserved, and is not acknowledged before.
        let there_since = there.get(&end.schedule_id).copied();
        let (due, at) = (due(end).max(there_since.unwrap_or_default()), sent.at);
        if at <= due + PROMPT || waited(ledger, end, sent) {
            continue;
        }
        let latest = latest(evidence, due, at, Some(&sent.subject));
        if at > latest {
            let (schedule, subject) = (end.schedule_id, &sent.subject);
            found.push(format!(
                "{schedule}: {id}, due at {due}, was sent to {subject} at {at}, and nothing explains it after {latest}"
            ));
        }
    }
}

/// When schedules came to be: the audit says so right behind the record. An audit that is late itself excuses nothing
/// beyond the time that a creation takes at most; their ids say when that began.
fn there_since(evidence: &Evidence) -> BTreeMap<Uuid, DateTime<Utc>> {
    let events = evidence.audit.iter().filter_map(|event| {
        let (what, id) = event.subject.rsplit_once('.')?;
        let id = Uuid::try_parse(id).ok().filter(|_| what.ends_with(".created"))?;
        let (seconds, nanos) = id.get_timestamp()?.to_unix();
        let begun = DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanos)?;
        Some((id, event.stored_at.min(begun + CREATED_WITHIN)))
    });
    events.collect()
}

/// Whether it may have had to wait for another execution of its schedule, which was under way meanwhile.
fn waited(ledger: &Ledger, end: &Execution, sent: &Sent) -> bool {
    let mut others = ledger.ends.values().filter(|other| other.schedule_id == end.schedule_id);
    others.any(|other| {
        let began = other.started_at.is_some_and(|began| began <= sent.at);
        let went_on = other.completed_at.is_some_and(|over| over >= due(end));
        let is_slow = other.started_at < other.completed_at.map(|over| over - QUICK);
        other.id != end.id && began && went_on && is_slow
    })
}

/// When what is due, and was done at a time, must have been done, by what went wrong; with the target that it was sent
/// to, if it was sent.
pub fn latest(
    evidence: &Evidence,
    due: DateTime<Utc>,
    at: DateTime<Utc>,
    target: Option<&str>,
) -> DateTime<Utc> {
    let is_about = |fault: &&Fault| {
        let covers = |targets| target.is_some_and(|target| names::covers(targets, target));
        let is_there = fault.targets.is_none_or(covers);
        is_there && fault.from <= at && until(fault) + TAKEN_OVER >= due
    };
    let about: Vec<&Fault> = evidence.faults.iter().filter(is_about).collect();
    let Some(last) = about.iter().map(|fault| until(fault)).max() else { return due + PROMPT };
    let is_ones =
        about.iter().all(|fault| fault.instance.is_some() && fault.instance == about[0].instance);
    if is_ones { due + TAKEN_OVER } else { due.max(last) + TAKEN_OVER }
}

fn until(fault: &Fault) -> DateTime<Utc> {
    if fault.kind == FaultKind::Silence { fault.until + NOTICED } else { fault.until }
}
