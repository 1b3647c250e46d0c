//! Checks of how executions end: attempts, counters, dependent schedules, and what is left.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::execution::{Execution, ExecutionStatus};
use nats_scheduler::schedule::{
    Attempt, CatchUp, Change, Origin, Phase, Schedule, ScheduleType, Status, execution_id,
};
use uuid::Uuid;

use super::evidence::Evidence;
use super::ledger::Ledger;
use super::story::{self, Event, Story};

/// Within which what is due is acted on when nothing is wrong.
const PROMPT: TimeDelta = TimeDelta::seconds(2);
/// How long before an end a schedule must have been created to be known to follow it.
const KNOWN: TimeDelta = TimeDelta::seconds(10);

/// Attempts at an occurrence are numbered from 1 without a gap; each but the last has failed and promised the next.
pub fn attempts_follow_each_other(story: &Story<'_>, ledger: &Ledger, found: &mut Vec<String>) {
    let mut occurrences: BTreeMap<(DateTime<Utc>, bool, &str), Vec<&Execution>> = BTreeMap::new();
    for end in story.ends.iter().filter(|end| end.skipped.is_none()) {
        let by_hand = end.triggered_by.is_some();
        let of = (end.scheduled_for, by_hand, end.correlation_id.as_str());
        occurrences.entry(of).or_default().push(end);
    }
    for ((at, ..), mut attempts) in occurrences {
        attempts.sort_unstable_by_key(|end| end.attempt_number);
        let numbers: Vec<_> = attempts.iter().map(|end| end.attempt_number).collect();
        if !numbers.iter().copied().eq(1..=u32::try_from(numbers.len()).unwrap_or(u32::MAX)) {
            found.push(format!("{}: {at} has attempts {numbers:?}", story.name()));
        }
        for (n, end) in attempts.iter().enumerate() {
            let next = attempts.get(n + 1);
            let waits = end.will_retry && ledger.under_way.contains(&retry_of(story, end));
            if end.will_retry != next.is_some() && !waits {
                let word = if next.is_some() { "a retry not promised" } else { "no retry" };
                found.push(format!("{}: {} of {at} has {word}", story.name(), end.id));
            }
            let promised = end.retry_at.zip(next.and_then(|next| next.timings.due_at));
            let was_made = next.is_some_and(|next| next.timings.sent_at.is_some());
            if promised.is_some_and(|(promised, due)| was_made && due < promised) {
                found.push(format!("{}: the retry of {} came early", story.name(), end.id));
            }
        }
    }
}

/// The id of the attempt after one that failed.
fn retry_of(story: &Story<'_>, end: &Execution) -> Uuid {
    let origin = if end.triggered_by.is_some() { end.id } else { story.id };
    execution_id(origin, end.scheduled_for, end.attempt_number + 1)
}

/// Ids of occurrences and of their retries follow from schedule, time and number.
pub fn ids_are_worked_out(story: &Story<'_>, found: &mut Vec<String>) {
    for end in story.ends.iter().filter(|end| end.triggered_by.is_none()) {
        if end.id != execution_id(story.id, end.scheduled_for, end.attempt_number) {
            found.push(format!("{}: {} is not the id of its time", story.name(), end.id));
        }
    }
}

/// The counters of a record are what the history has.
pub fn counters_equal_the_history(story: &Story<'_>, ledger: &Ledger, found: &mut Vec<String>) {
    let Some(record) = story.record else { return };
    let count = |holds: &dyn Fn(&Execution) -> bool| {
        story.ends.iter().filter(|end| holds(end)).count() as u64
    };
    let succeeded = count(&|end| end.status == ExecutionStatus::Success);
    let failed = count(&|end| end.status == ExecutionStatus::Failed);
    let occurrences = count(&|end| {
        end.attempt_number == 1
            && end.status != ExecutionStatus::Skipped
            && !story.is_by_hand(end)
            && (end.triggered_by.is_none() || story.is_dependent())
    });
    // They were acted on, and wait or run.
    let left = record.attempts.iter().filter(|left| {
        let by_hand = left.manual.as_ref().is_some_and(|manual| manual.origin == Origin::User);
        let is_skipped = matches!(*left.phase, Phase::Skipped { .. });
        let is_rightly = ledger.under_way.contains(&left.execution_id);
        left.number == 1 && !by_hand && !is_skipped && is_rightly
    });
    let occurrences = occurrences + left.count() as u64;
    for (word, is, counted) in [
        ("run_count", record.run_count, succeeded + failed),
        ("success_count", record.success_count, succeeded),
        ("failure_count", record.failure_count, failed),
        ("occurrence_count", record.occurrence_count, occurrences),
    ] {
        let is = is.get();
        if is != counted {
            found.push(format!("{}: {word} is {is}, the history has {counted}", story.name()));
        }
    }
    let most = record.spec.timing.max_runs;
    let is = record.occurrence_count.get();
    if most.is_some_and(|most| is > most) {
        found.push(format!("{}: it has had {is} occurrences, more than it may", story.name()));
    }
    let made = story
        .ends
        .iter()
        .filter(|end| matches!(end.status, ExecutionStatus::Success | ExecutionStatus::Failed));
    let last = made.filter_map(|end| end.started_at).max();
    if record.last_run_at != last {
        let is = record.last_run_at;
        found.push(format!("{}: last_run_at is {is:?}, the history has {last:?}", story.name()));
    }
}

/// A schedule that follows another has an outcome for each end of that which it follows, and no other.
pub fn dependents_follow_each_end(
    stories: &[Story<'_>],
    evidence: &Evidence,
    ledger: &Ledger,
    found: &mut Vec<String>,
) {
    for story in stories {
        let first = story.changes.first();
        let timing = first.and_then(story::Change::timing);
        let Some((first, after)) = first.zip(timing.and_then(|timing| timing.after)) else {
            continue;
        };
        let is_kept = story.changes.iter().all(|change| !change.is_deleted);
        let Some(upstream) = stories.iter().find(|one| one.id == after.schedule_id) else {
            continue;
        };
        let made = upstream.ends.iter().filter(|end| {
            matches!(end.status, ExecutionStatus::Success | ExecutionStatus::Failed)
                && !end.will_retry
                && after.on.includes(end.status == ExecutionStatus::Success)
        });
        let ids = made.filter_map(|end| {
            let at = end.completed_at?;
            let origin = Uuid::from_u128(story.id.as_u128() ^ end.id.as_u128());
            Some((execution_id(origin, at, 1), end.id, at))
        });
        let ids: Vec<_> = ids.collect();
        let must = |at: DateTime<Utc>| {
            is_kept && at > first.event.time + KNOWN && at + PROMPT < evidence.now
        };
        for (id, of, at) in &ids {
            if must(*at) && !ledger.ends.contains_key(id) && !ledger.under_way.contains(id) {
                found
                    .push(format!("{}: it did not follow {of}, which ended at {at}", story.name()));
            }
        }
        let follows = story.ends.iter().filter(|end| {
            end.attempt_number == 1
                && end.triggered_by.as_deref() == Some(&format!("schedule {}", upstream.id))
        });
        for end in follows.filter(|end| ids.iter().all(|(id, ..)| *id != end.id)) {
            found.push(format!("{}: {} follows nothing", story.name(), end.id));
        }
    }
}

/// Whether an attempt may be in a record once all is settled: its time has not come, it must wait, or a worker has it.
pub fn is_under_way(record: &Schedule, attempt: &Attempt, now: DateTime<Utc>) -> bool {
    let is_running = |one: &Attempt| matches!(*one.phase, Phase::Running { .. });
    match *attempt.phase {
        Phase::Waiting { due_at } => {
            let by_hand =
                attempt.manual.as_ref().is_some_and(|manual| manual.origin == Origin::User);
            let rests = !record.fires() && !by_hand;
            // It may wait for a slot.
            let is_grouped = record.spec.group.is_some();
            due_at + PROMPT >= now || rests || is_grouped || record.attempts.iter().any(is_running)
        }
        Phase::Running { deadline, .. } => deadline + PROMPT >= now,
        // It came while all were stopping; one that follows another comes a little after that has ended.
        Phase::Skipped { range, .. } => range.last + PROMPT >= now,
        Phase::Reported { ref report, .. } => report.at + PROMPT >= now,
        Phase::Claimed { .. } | Phase::Corrected { .. } => false,
    }
}

/// After the calm nothing is under way that could be over, nothing waits to be told, and what is due is acted on.
pub fn all_is_settled(story: &Story<'_>, now: DateTime<Utc>, found: &mut Vec<String>) {
    let Some(record) = story.record else { return };
    found.extend(what_is_left(record, now).map(|left| format!("{}: {left}", story.name())));
}

/// What of a schedule is not settled, for people.
pub fn what_is_left(record: &Schedule, now: DateTime<Utc>) -> impl Iterator<Item = String> {
    let left = record.attempts.iter().filter(move |left| !is_under_way(record, left, now));
    let left = left.map(|left| format!("an attempt is left: {left:?}"));
    let is_left = |event: &&Change| {
        // Others came while all were stopping.
        let said = serde_json::from_str::<Event>(event.body.get());
        said.map_or(true, |said| !said.is_alert() || said.time + PROMPT < now)
    };
    let events = record.events.iter().filter(is_left).count();
    let events = (events > 0).then(|| format!("{events} changes are not announced"));
    let ended = record.ended.iter().find(|ended| ended.at + PROMPT < now);
    let ended = ended.map(|ended| format!("those that follow it are not told of {ended:?}"));
    let backfill = record.backfill.as_ref().map(|_| "a backfill is left".to_owned());
    let resume_at = record.resume_at().filter(|_| record.status == Status::Paused);
    let paused = resume_at.filter(|at| *at + PROMPT < now);
    let paused = paused.map(|at| format!("its pause was over at {at}, and nobody resumes it"));
    let purge = record.purge.then(|| "it is to be removed, and is there".to_owned());
    // With `all` what is due waits for what is before it, each of which takes its time.
    let takes_time = record.spec.delivery.mode.takes_time();
    let is_held = record.spec.catch_up == CatchUp::All && takes_time;
    let next = record.next_run_at.filter(|_| record.fires() && !is_held);
    let due = next.filter(|next| record.due(*next) + PROMPT < now);
    let due = due.map(|next| format!("{next} is due, and nobody acts on it"));
    let recurs = !matches!(
        record.spec.timing.schedule_type,
        ScheduleType::OneTime | ScheduleType::Immediate | ScheduleType::Dependent
    );
    let ends = record.fires() && next.is_none() && !is_held && recurs && record.attempts.is_empty();
    let ends = ends.then(|| "it is active and has no next time".to_owned());
    left.chain(events)
        .chain(ended)
        .chain(backfill)
        .chain(paused)
        .chain(purge)
        .chain(due)
        .chain(ends)
}
