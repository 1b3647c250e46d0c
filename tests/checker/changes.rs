//! Check that what users were told is true.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use nats_scheduler::execution::ExecutionStatus;
use nats_scheduler::schedule::Status;
use serde_json::Value;
use uuid::Uuid;

use super::evidence::{Answer, Asked, Evidence, Wish};
use super::ledger::Ledger;
use super::story::Story;

impl Wish {
    /// The event by which the audit knows that it was done, if it is a change.
    fn event(&self) -> Option<&'static str> {
        Some(match self {
            Self::Create { .. } => "created",
            Self::Update => "updated",
            Self::Pause => "paused",
            Self::Resume => "resumed",
            Self::Delete => "deleted",
            Self::Restore => "restored",
            Self::Trigger { .. } => "triggered",
            _ => return None,
        })
    }
}

/// A change that was acknowledged is in the audit once; one that was refused is not there, and nothing is there twice.
pub fn acknowledged_changes_are_made_and_refused_ones_not(
    stories: &[Story<'_>],
    evidence: &Evidence,
    found: &mut Vec<String>,
) {
    let mut made: BTreeMap<(&str, Uuid, &str), usize> = BTreeMap::new();
    for story in stories {
        for change in &story.changes {
            let event = &change.event;
            let of = (event.correlation_id.as_str(), story.id, event.event.as_str());
            *made.entry(of).or_default() += 1;
        }
    }
    let is_removed = |id: Uuid| stories.iter().any(|s| s.id == id && s.record.is_none());
    for asked in &evidence.asked {
        let Some(event) = asked.what.event() else { continue };
        for id in &asked.schedules {
            let count = made.get(&(asked.correlation_id.as_str(), *id, event)).copied();
            let is_gone = || stories.iter().any(|s| s.id == *id && was_deleted(s));
            match (asked.answer, count.unwrap_or(0)) {
                // Who comes second finds it done.
                (Answer::Done(_), 0) if event == "deleted" && is_gone() => {}
                (Answer::Done(at), 0) => found.push(format!(
                    "{id}: it was said at {at} that it is {event}, and it is not ({})",
                    asked.correlation_id
                )),
                // It was not heard that it is done, and by then the schedule had gone for good.
                (Answer::Refused, 1) if is_removed(*id) => {}
                (Answer::Refused, 1..) => found.push(format!(
                    "{id}: it was said that it is not {event}, and it is ({})",
                    asked.correlation_id
                )),
                (_, 2..) => found.push(format!(
                    "{id} is {event} twice by one request ({})",
                    asked.correlation_id
                )),
                _ => {}
            }
        }
    }
}

fn was_deleted(story: &Story<'_>) -> bool {
    story.changes.iter().any(|change| change.is_deleted)
}

/// The audit has one event of each revision, in order, and the record is what the last of them says.
pub fn changes_are_announced_once_and_in_order(story: &Story<'_>, found: &mut Vec<String>) {
    let revisions: Vec<_> = story.changes.iter().map(|change| change.event.revision).collect();
    if !revisions.iter().copied().eq(1..=revisions.len() as u64) {
        found.push(format!("{}: the audit has revisions {revisions:?}", story.name()));
    }
    let Some((record, last)) = story.record.zip(story.changes.last()) else { return };
    if record.revision != last.event.revision {
        let (is, said) = (record.revision, last.event.revision);
        found.push(format!("{}: its revision is {is}, the audit says {said}", story.name()));
    }
    let is_there = match *record.status {
        Status::Deleted => last.is_deleted,
        Status::Paused => last.is_paused && !last.is_deleted,
        Status::Active => !last.is_paused && !last.is_deleted,
        Status::Completed | Status::Failed => !last.is_deleted,
    };
    if !is_there {
        let (is, said) = (record.status.as_str(), last.event.event.as_str());
        found.push(format!("{}: it is {is}, and the audit says {said} last", story.name()));
    }
}

/// What an update changed stays so until another changes it.
pub fn updates_are_not_undone(story: &Story<'_>, found: &mut Vec<String>) {
    for change in story.changes.iter().filter(|change| !change.fields.is_empty()) {
        for one in &change.event.changes {
            let is = change.fields.get(&one.field).unwrap_or(&Value::Null);
            if *is != one.new {
                let (field, new, revision) = (&one.field, &one.new, change.event.revision);
                found.push(format!(
                    "{}: {field} was made {new} by revision {revision}, and is {is} without another change",
                    story.name()
                ));
            }
        }
    }
}

/// A run by hand that was acknowledged is made.
pub fn promised_runs_are_made(evidence: &Evidence, ledger: &Ledger, found: &mut Vec<String>) {
    for asked in &evidence.asked {
        let Wish::Trigger { execution: Some(id), .. } = asked.what else { continue };
        if matches!(asked.answer, Answer::Done(_))
            && !ledger.ends.contains_key(&id)
            && !ledger.under_way.contains(&id)
        {
            found.push(format!("{id} of {:?} was promised and never made", asked.schedules));
        }
    }
}

/// What a worker was told that is noted is how its execution ended.
pub fn reports_count(evidence: &Evidence, ledger: &Ledger, found: &mut Vec<String>) {
    for asked in &evidence.asked {
        let (id, status) = match asked.what {
            Wish::Complete { execution } => (execution, ExecutionStatus::Success),
            Wish::Fail { execution } => (execution, ExecutionStatus::Failed),
            Wish::Forged { execution } => {
                if let Answer::Done(at) = asked.answer {
                    found.push(format!("{execution}: a report by a stranger was taken at {at}"));
                }
                continue;
            }
            _ => continue,
        };
        let Answer::Done(at) = asked.answer else { continue };
        let is = ledger.ends.get(&id).map(|end| end.status);
        if is != Some(status) && !ledger.under_way.contains(&id) {
            let (said, is) = (status.as_str(), is.map_or("nothing", ExecutionStatus::as_str));
            found.push(format!("{id}: it was noted at {at} that it is {said}, and it is {is}"));
        }
    }
}

/// To which schedule a name was given, and when that was said.
type Given = (Uuid, DateTime<Utc>);

/// A name belongs to one schedule of its creator at a time.
pub fn a_name_is_given_once(stories: &[Story<'_>], evidence: &Evidence, found: &mut Vec<String>) {
    let mut names: BTreeMap<(&str, &str), Vec<Given>> = BTreeMap::new();
    for asked in &evidence.asked {
        let Asked { what: Wish::Create { name, created_by }, answer: Answer::Done(at), .. } = asked
        else {
            continue;
        };
        let given = names.entry((name, created_by)).or_default();
        given.extend(asked.schedules.iter().map(|id| (*id, *at)));
    }
    for ((name, _), mut given) in names {
        given.sort_unstable_by_key(|(_, at)| *at);
        for pair in given.windows(2) {
            let [(one, _), (other, at)] = [pair[0], pair[1]];
            let story = stories.iter().find(|story| story.id == one);
            let gave_up = story.is_some_and(|story| {
                story.changes.iter().any(|change| {
                    (change.is_deleted || change.event.name != name) && change.event.time <= at
                })
            });
            if one != other && !gave_up {
                found.push(format!("the name {name} was given to {one} and to {other}"));
            }
        }
    }
}

/// No two schedules of a creator have the same name.
pub fn no_two_have_one_name(evidence: &Evidence, found: &mut Vec<String>) {
    let mut held: BTreeMap<(&str, &str), Uuid> = BTreeMap::new();
    let there = evidence.records.iter().filter(|record| *record.status != Status::Deleted);
    for record in there.filter(|record| !record.purge) {
        let name = (record.created_by.as_str(), &*record.spec.name);
        if let Some(other) = held.insert(name, record.id) {
            found.push(format!("{other} and {} have the same name {name:?}", record.id));
        }
    }
}
