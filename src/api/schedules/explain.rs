//! Why a schedule did or did not run.
//!
//! The record is read first, then the ledger: what has left the record by then is in the ledger.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::super::error::ApiError;
use super::super::reply::{Links, Reply, Warning};
use super::super::{Api, Caller};
use super::preview::describe;
use super::{check_limit, required_id};
use crate::execution::ExecutionStatus;
use crate::explain::{Acted, Downtime, ExplainedTime, Known, LATE_MS, explain};
use crate::index::Overall;
use crate::jetstream::audit::Asked;
use crate::moment::Moment as _;
use crate::port::Nats;
use crate::presence::downtimes;
use crate::schedule::declared::which_fields;
use crate::schedule::{
    ChangeEvent, FieldFault, Group, Schedule, SkipCause, Status, Timing, instant_field, keyed,
};
use crate::trigger::Trigger;

/// Length of a span by default.
const DEFAULT_SPAN: TimeDelta = TimeDelta::hours(24);
/// Longest span.
const MAX_SPAN: TimeDelta = TimeDelta::days(366);
/// Lines per reply by default.
const DEFAULT_LIMIT: u64 = 100;
/// Maximum number of lines per reply.
const MAX_LIMIT: u64 = 1000;
/// Most changes that are looked at.
const CHANGES: usize = 200;

/// Events that say what a schedule was.
const EVENTS: [&str; 6] = ["created", "updated", "paused", "resumed", "deleted", "restored"];

which_fields! { request {
    /// A request for what became of each nominal time of a schedule, and why.
    pub struct ExplainSchedule {
        /// The first nominal time; default 24 hours ago.
        #[serde(deserialize_with = "instant_field")]
        pub from: Option<DateTime<Utc>>,
        /// The last nominal time; default the next occurrence, or now. At most 366 days after `from`.
        #[serde(deserialize_with = "instant_field")]
        pub to: Option<DateTime<Utc>>,
        /// Number of lines, about: 1 to 1000, default 100. Those of one time stay together.
        #[schemars(range(min = 1, max = 1000), example = 100)]
        pub limit: Option<u64>,
    }
} }

/// What became of the nominal times of a schedule.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Explained {
    /// The schedule.
    pub schedule_id: Uuid,
    /// Its name.
    pub name: String,
    /// When it fires, in words.
    pub description: String,
    /// Begin of the span.
    pub from: DateTime<Utc>,
    /// End of the span.
    pub to: DateTime<Utc>,
    /// Its next occurrence.
    #[serde(default)]
    pub next_run_at: Option<DateTime<Utc>>,
    /// Why there is no next occurrence, or why it will not run.
    #[serde(default)]
    pub no_next: Option<String>,
    /// Why `times` is empty, if it is.
    #[serde(default)]
    pub no_times: Option<String>,
    /// The nominal times, in order. Several in a row to which the same happened are one line.
    pub times: Vec<ExplainedTime>,
    /// `from` of the next part, if this one does not reach the end of the span.
    #[serde(default)]
    pub next_from: Option<DateTime<Utc>>,
}

impl<N: Nats> Api<N> {
    /// Explains what became of the nominal times of a span.
    ///
    /// # Errors
    /// `invalid`, `not_found`, `unavailable`.
    pub async fn explain_schedule(
        &self,
        request: ExplainSchedule,
        caller: &Caller,
    ) -> Result<Reply<Explained>, ApiError> {
        let id = required_id(request.schedule_id)?;
        let limit = check(&request)?;
        let (schedule, _) = self.read_schedule(id).await?;
        let now = self.clock.now();
        let (from, to) = span(&request, &schedule, now)?;
        let mut warnings = Vec::new();
        let (ledger, cut) = self.history.ledger(id, from, to).await?;
        let changes = self.changes_of(id, caller, &mut warnings).await;
        let downtimes = self.downtimes_of(&ledger, caller, &mut warnings).await;
        let (overall, groups) = (self.index.overall(), self.index.groups());
        let named = schedule.spec.group.as_ref();
        let known = Known {
            schedule: &schedule,
            changes: &changes,
            ledger,
            downtimes: &downtimes,
            pauses: &overall.pauses,
            calendars: &overall.calendars,
            group: named.and_then(|name| groups.get(name)).map(|group| &**group),
            now,
        };
        let mut times = explain(&known, from, cut.unwrap_or(to));
        let next = cut_off(&mut times, from, limit);
        let cut = cut.map(|cut| cut.later(TimeDelta::milliseconds(1)));
        let trigger = schedule.spec.timing.trigger(id, &overall.calendars);
        let next_from = next.or(cut);
        let is_empty = times.is_empty() && next_from.is_none();
        let data = Explained {
            no_times: is_empty.then(|| no_times(&schedule, trigger.as_ref().ok(), from, to)),
            schedule_id: id,
            name: schedule.spec.name.to_string(),
            description: trigger
                .as_ref()
                .map(|trigger| describe(&schedule.spec.timing, trigger))
                .unwrap_or_default(),
            from,
            to,
            next_run_at: schedule.next_run_at,
            no_next: no_next(&schedule, &overall, &groups),
            times,
            next_from,
        };
        let mut reply = Reply::new(data, caller).links(Links::schedule(id));
        reply.warnings = warnings;
        Ok(reply)
    }

    /// The changes of a schedule, oldest first. Without the audit much can be told all the same.
    async fn changes_of(
        &self,
        id: Uuid,
        caller: &Caller,
        warnings: &mut Vec<Warning>,
    ) -> Vec<ChangeEvent> {
        let asked = Asked {
            schedule: Some(id),
            events: Some(EVENTS.map(str::to_owned).to_vec()),
            actor: None,
            at_ms: i64::MIN..=i64::MAX,
        };
        match self.history.audit().newest(&asked, CHANGES).await {
            Ok(found) => {
                if found.total > found.changes.len() as u64 {
                    let message = format!(
                        "the schedule was changed {} times; what it was before the latest {CHANGES} is \
                         not looked at",
                        found.total
                    );
                    warnings.push(warning("many_changes", message));
                }
                let mut changes = found.changes;
                changes.reverse();
                changes
            }
            Err(error) => {
                let error = self.told_of(error, caller);
                let message = format!("causes may be missing: {error}");
                warnings.push(warning("no_changes", message));
                Vec::new()
            }
        }
    }

    /// An error that takes only a part of the answer, as the caller sees it.
    fn told_of(&self, error: impl Into<ApiError>, caller: &Caller) -> ApiError {
        error.into().told("schedule.explain", caller, &self.complaints)
    }

    /// The times in which no instance ran, if that may explain something.
    async fn downtimes_of(
        &self,
        ledger: &[Acted],
        caller: &Caller,
        warnings: &mut Vec<Warning>,
    ) -> Vec<Downtime> {
        let may_be_cause = |acted: &Acted| match (acted.status, &acted.event) {
            (ExecutionStatus::Skipped, Some(event)) => {
                event.skipped.is_some_and(|range| range.cause == SkipCause::Missed)
            }
            _ => (acted.started_at - acted.scheduled_for).num_milliseconds() >= LATE_MS,
        };
        if !ledger.iter().any(may_be_cause) {
            return Vec::new();
        }
        downtimes(&self.store).await.unwrap_or_else(|error| {
            let error = self.told_of(error, caller);
            let message = format!("it is not known when instances ran: {error}");
            warnings.push(warning("no_downtimes", message));
            Vec::new()
        })
    }
}

fn warning(code: &str, message: String) -> Warning {
    Warning { code: code.to_owned(), field: String::new(), message }
}

fn check(request: &ExplainSchedule) -> Result<usize, ApiError> {
    let mut faults = Vec::new();
    let limit = check_limit(request.limit, DEFAULT_LIMIT, MAX_LIMIT, &mut faults);
    if faults.is_empty() { Ok(limit) } else { Err(faults.into()) }
}

/// The first and the last time to explain.
fn span(
    request: &ExplainSchedule,
    schedule: &Schedule,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), ApiError> {
    let next = schedule.next_run_at.filter(|_| schedule.status != Status::Deleted);
    let from = match (request.from, request.to) {
        (Some(from), _) => from,
        (None, Some(to)) => to.min(now).earlier(DEFAULT_SPAN),
        (None, None) => now.earlier(DEFAULT_SPAN),
    };
    let latest = from.later(MAX_SPAN);
    let to = request.to.unwrap_or_else(|| next.unwrap_or(now).max(now).max(from).min(latest));
    if to < from || to > latest {
        let reason = "must be from `from` to 366 days after it";
        return Err(vec![FieldFault::new("to", reason)].into());
    }
    Ok((from, to))
}

/// Leaves about the first `limit` lines; returns where the others begin. Those of one time stay together, so that who
/// goes on from there misses none, and comes to an end.
fn cut_off(
    times: &mut Vec<ExplainedTime>,
    from: DateTime<Utc>,
    limit: usize,
) -> Option<DateTime<Utc>> {
    let mut end = limit;
    let begins_with = |time: &ExplainedTime, last: &ExplainedTime| {
        time.scheduled_for <= last.scheduled_for.max(from)
    };
    while times.get(end).is_some_and(|time| begins_with(time, &times[end - 1])) {
        end += 1;
    }
    let next = times.get(end).map(|time| time.scheduled_for);
    times.truncate(end);
    next
}

/// Why there is no next occurrence, or why it will not run.
fn no_next(schedule: &Schedule, overall: &Overall, groups: &keyed::Known<Group>) -> Option<String> {
    let (timing, calendars) = (&schedule.spec.timing, &overall.calendars);
    let (halt, due) = (overall.pauses.halt(), schedule.next_run_at.map(|at| schedule.due(at)));
    let shown = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let reason = match *schedule.status {
        Status::Deleted => "the schedule is deleted".to_owned(),
        Status::Failed => "its only occurrence failed for good".to_owned(),
        Status::Paused => match &schedule.resumption {
            Some(resumption) => {
                format!("the schedule is paused until {}", shown(resumption.at))
            }
            None => "the schedule is paused".to_owned(),
        },
        _ if !schedule.is_active => "the schedule is switched off: is_active is false".to_owned(),
        Status::Completed if schedule.has_had_all() => {
            format!("it has had all of its {} occurrences", schedule.occurrence_count.get())
        }
        Status::Completed if let Some(end) = ended_by(schedule) => {
            format!("no time is left before its end_at, {}", shown(end))
        }
        Status::Completed => "it has had its last occurrence".to_owned(),
        Status::Active if due.is_some_and(|due| halt.is_on(due)) => match halt.is_open() {
            true => "all schedules are paused".to_owned(),
            false => format!("all schedules are paused until {}", shown(halt.until)),
        },
        Status::Active if let Some(reason) = no_slots(schedule, groups) => reason,
        Status::Active if schedule.next_run_at.is_some() => return None,
        Status::Active if timing.follows().is_some() => {
            "it runs when an occurrence of the schedule that it follows has ended".to_owned()
        }
        Status::Active if let Some(name) = calendars.missing(timing) => {
            match calendars.unreadable(name) {
                Some(reason) => format!("the calendar {name} cannot be read: {reason}"),
                None => format!("there is no calendar {name}"),
            }
        }
        Status::Active if timing.has_calendars() && schedule.attempts.is_empty() => {
            "its calendars leave no time open".to_owned()
        }
        Status::Active => "its last occurrence is under way".to_owned(),
    };
    Some(reason)
}

/// The `end_at` of a schedule, if it would go on without.
fn ended_by(schedule: &Schedule) -> Option<DateTime<Utc>> {
    let timing = &schedule.spec.timing;
    let end = timing.end_at?;
    let endless = Timing { end_at: None, ..Timing::clone(timing) };
    endless.plain_trigger(schedule.id).ok()?.next_after(end).map(|_| end)
}

/// Why a span has no times.
fn no_times(
    schedule: &Schedule,
    trigger: Option<&Trigger>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> String {
    let shown = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    if schedule.spec.timing.follows().is_some() {
        return "nothing ran in this span: it has no times of its own, and runs when an occurrence of the schedule that it \
                follows has ended"
            .to_owned();
    }
    let mut text = "none of its times lies in this span".to_owned();
    let Some(trigger) = trigger else { return text };
    if let Some(since) = trigger.calendars_since().filter(|since| *since > from) {
        let _ = write!(text, "; what its calendars said before {} is not kept", shown(since));
    }
    let before = trigger.latest_at_or_before(from.just_before());
    // One that lies before the schedule was created never was due.
    if let Some(before) = before.filter(|before| *before >= schedule.created_at) {
        let _ = write!(text, "; the latest before it is {}", shown(before));
    }
    if let Some(after) = trigger.next_after(to) {
        let _ = write!(text, "; the next after it is {}", shown(after));
    }
    text
}

/// Why a schedule gets no slot of its group, whatever becomes of the others.
fn no_slots(schedule: &Schedule, groups: &keyed::Known<Group>) -> Option<String> {
    let name = schedule.spec.group.as_ref()?;
    match (groups.get(name), groups.unreadable(name)) {
        (_, Some(reason)) => Some(format!("the group {} cannot be read: {reason}", **name)),
        (None, None) => Some(format!("there is no group {}", **name)),
        (Some(group), None) if group.limit == 0 => {
            Some(format!("the group {} holds everything: its limit is 0", **name))
        }
        (Some(_), None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn parts_go_on_behind_each_other() {
        let line = |second: i64| -> ExplainedTime {
            let line = serde_json::json!({ "scheduled_for": at(second), "count": 1, "outcome": "success", "reason": "ran" });
            serde_json::from_value(line).unwrap()
        };
        // A range that began before, and a time that was run twice.
        let all: Vec<_> = [3, 10, 20, 20, 30].map(line).to_vec();
        for (from, limit, left, next) in [
            (10, 1, 2, Some(20)),
            (10, 2, 2, Some(20)),
            (20, 1, 4, Some(30)),
            (10, 3, 4, Some(30)),
            (10, 4, 4, Some(30)),
            (10, 5, 5, None),
            (10, 9, 5, None),
        ] {
            let mut times = all.clone();
            assert_eq!(cut_off(&mut times, at(from), limit), next.map(at), "{from} {limit}");
            assert_eq!(times.len(), left, "{from} {limit}");
        }
    }
}
