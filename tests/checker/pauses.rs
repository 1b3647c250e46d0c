//! Check of pauses that end by themselves: at their time, and as if somebody had resumed the schedule then.

use chrono::{DateTime, TimeDelta, Utc};

use super::evidence::Evidence;
use super::lateness::latest;
use super::story::{Change, Epoch, Story, just_before};

/// How late it may be where nothing is wrong.
const PROMPT: TimeDelta = TimeDelta::milliseconds(1500);

/// A schedule is resumed by the service at the time that the pause in force says, never before, and goes on with the
/// first occurrence that is due then or later.
pub fn pauses_end_when_they_are_to_end(
    story: &Story<'_>,
    evidence: &Evidence,
    found: &mut Vec<String>,
) {
    // When the pause in force is to end, and since when somebody may end it.
    let mut promised: Option<(DateTime<Utc>, DateTime<Utc>)> = None;
    for change in &story.changes {
        let event = &change.event;
        match event.event.as_str() {
            "paused" => promised = event.resume_at.map(|at| (at, event.time)),
            // What was planned anew in the meantime goes on from then.
            "restored" | "updated" => {
                if let Some((_, since)) = &mut promised {
                    *since = event.time;
                }
            }
            "resumed" => {
                let ended = promised.take();
                if event.actor == "scheduler" {
                    resumed(story, change, ended, evidence, found);
                }
            }
            _ => {}
        }
    }
}

fn resumed(
    story: &Story<'_>,
    change: &Change,
    promised: Option<(DateTime<Utc>, DateTime<Utc>)>,
    evidence: &Evidence,
    found: &mut Vec<String>,
) {
    let (name, resumed_at) = (story.name(), change.event.time);
    let Some((at, since)) = promised else {
        found.push(format!("{name}: it was resumed at {resumed_at}, and no pause says so"));
        return;
    };
    if resumed_at + evidence.tolerance < at {
        found.push(format!("{name}: it was resumed at {resumed_at}, before {at}"));
    }
    let due = at.max(since);
    // Where clocks are real, so is the load of the machine.
    let is_judged = evidence.tolerance.is_zero() && resumed_at > due + PROMPT;
    if is_judged && resumed_at > latest(evidence, due, resumed_at, None) {
        found.push(format!(
            "{name}: its pause was over at {at}, and it was resumed at {resumed_at}"
        ));
    }
    let epochs = story.epochs();
    let in_force = epochs.iter().find(|epoch| epoch.ended.is_none_or(|ended| ended > resumed_at));
    let Some((epoch, next)) = in_force.zip(change.event.next_run_at) else { return };
    if epoch.due(story.id, next) < at {
        found.push(format!("{name}: it goes on with {next}, which was due before {at}"));
    }
    if let Some(first) = first_from(epoch, story, due).filter(|first| *first < next) {
        found.push(format!("{name}: its pause was over at {at}, and it left out {first}"));
    }
}

/// The first time that is due from a moment on and was not acted on before.
fn first_from(epoch: &Epoch, story: &Story<'_>, due: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let was_made = |at: DateTime<Utc>| {
        let mut ends = story.ends.iter().filter(|end| end.skipped.is_none());
        ends.any(|end| end.scheduled_for == at && end.triggered_by.is_none())
    };
    let mut next = epoch.trigger.next_after(just_before(due));
    while let Some(at) = next.filter(|at| was_made(*at)) {
        next = epoch.trigger.next_after(at);
    }
    next
}
