//! Check of pauses of all schedules.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::evidence::{Answer, Evidence, Wish};
use super::ledger::Ledger;
use super::sending::due;
use super::story::{Event, Story};

/// A pause of all schedules: from when on it was said to hold, and when it ended.
struct Halt {
    said: Option<DateTime<Utc>>,
    ended: DateTime<Utc>,
}

/// What is due between the reply to a pause of all schedules and its end is not sent, unless a user runs it by hand.
pub fn nothing_due_in_a_pause_of_all_is_sent(
    stories: &[Story<'_>],
    evidence: &Evidence,
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    let halts = halts(evidence);
    let by_id: BTreeMap<Uuid, &Story<'_>> = stories.iter().map(|story| (story.id, story)).collect();
    for sent in &ledger.sent {
        let Some(end) = ledger.ends.get(&sent.execution) else { continue };
        let Some(story) = by_id.get(&end.schedule_id).filter(|story| !story.is_by_hand(end)) else {
            continue;
        };
        let due = due(end);
        let holds = |halt: &&Halt| {
            let said = halt.said.is_some_and(|said| said + evidence.tolerance < due);
            said && due < halt.ended - evidence.tolerance
        };
        if halts.iter().any(|halt| holds(&halt)) {
            let (id, at) = (sent.execution, sent.at);
            found.push(format!(
                "{}: {id}, due at {due}, was sent at {at}, and all were paused",
                story.name()
            ));
        }
    }
}

/// When the last pause of all schedules ended.
pub fn last_end(evidence: &Evidence) -> DateTime<Utc> {
    halts(evidence).into_iter().map(|halt| halt.ended).max().unwrap_or_default()
}

/// All pauses, in order. One that replaces another ends it.
fn halts(evidence: &Evidence) -> Vec<Halt> {
    let events = evidence.audit.iter();
    let events = events.filter_map(|entry| serde_json::from_slice::<Event>(&entry.body).ok());
    let mut events: Vec<Event> = events.filter(|event| event.schedule_id.is_nil()).collect();
    events.sort_by_key(|event| event.revision);
    events.dedup_by_key(|event| event.revision);
    let mut halts: Vec<Halt> = Vec::new();
    for event in events {
        if let Some(last) = halts.last_mut() {
            last.ended = last.ended.min(event.time);
        }
        if event.event == "paused_all" {
            let ended = event.resume_at.unwrap_or(DateTime::<Utc>::MAX_UTC);
            halts.push(Halt { said: said(evidence, &event), ended });
        }
    }
    halts
}

/// When it was said to hold for all instances.
fn said(evidence: &Evidence, event: &Event) -> Option<DateTime<Utc>> {
    let asked = evidence.asked.iter().find(|asked| {
        asked.correlation_id == event.correlation_id
            && asked.what == Wish::PauseAll { is_confirmed: true }
    });
    match asked?.answer {
        Answer::Done(at) => Some(at),
        _ => None,
    }
}
