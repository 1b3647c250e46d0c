//! Says when a schedule fails, is overdue, or has recovered.
//!
//! The event and the state that it announces are one write, see [`Standing`](crate::schedule::Standing), so no crash
//! leaves one without the other. If the audit stream takes nothing, events pile up in the record; beyond [`MAX_PENDING`]
//! a change of state is left for the next outcome, and that a schedule is overdue for when some have been announced.

use std::num::NonZeroU32;

use chrono::{DateTime, Duration, Utc};
use serde_json::{Value, json};

use super::{SCHEDULER, View};
use crate::execution::{ErrorType, Execution};
use crate::moment::Moment as _;
use crate::schedule::{Author, Change, ChangeKind, Ending, Schedule, execution_id};
use crate::text::cut;

/// Most events in a record with which one more is added.
const MAX_PENDING: usize = 8;
/// Most bytes of a failure's message in an event, which waits in the record.
const MESSAGE: usize = 1024;
/// How long after a success all records and histories have it, unless work piles up.
const SETTLED: Duration = Duration::seconds(2);
/// Numbers that no attempt has, for the ids of events: derived, not drawn, so that deciding again gives the same.
const FAILING: u32 = u32::MAX;
const OVERDUE: u32 = u32::MAX - 1;
const RECOVERED: u32 = u32::MAX - 2;

/// Notes that a schedule is failing, if enough of its occurrences have failed in a row by the end of this one.
pub(super) fn failing(schedule: &mut Schedule, ended: &Execution, at: DateTime<Utc>) {
    let enough = schedule.consecutive_failures >= u32::from(schedule.spec.failing_after.get());
    let is_known = schedule.failing_since().is_some();
    if !enough || is_known || is_silent(schedule) {
        return;
    }
    schedule.alerts_mut().failing_since = Some(at);
    let mut message = ended.error_message.clone();
    message.iter_mut().for_each(|message| cut(message, MESSAGE));
    let details = json!({
        "consecutive_failures": schedule.consecutive_failures,
        "execution_id": ended.id,
        "error_type": ended.error_type.as_ref().map(ErrorType::as_str),
        "error_message": message,
        "last_success_at": schedule.last_success_at(),
        "failing_since": at,
    });
    add(schedule, ChangeKind::Failing, ended, at, details);
}

/// Notes a success at `at`, and that the schedule has recovered by it.
pub(super) fn succeeded(schedule: &mut Schedule, ended: &Execution, at: DateTime<Utc>) {
    let alerts = schedule.alerts().map(|alerts| (alerts.failing_since, alerts.overdue_since));
    let (failing, overdue) = alerts.unwrap_or_default();
    let standing = schedule.standing.get_or_insert_default();
    standing.last_success_at = standing.last_success_at.max(Some(at));
    // One that ended before does not end it.
    if failing.is_none_or(|since| since <= at) {
        standing.last_outcome = Some(Ending::Success);
        schedule.consecutive_failures = 0;
    }
    let within = schedule.spec.expect_success_within_seconds.map_or(0, NonZeroU32::get);
    let failing = failing.filter(|since| *since <= at);
    let overdue = overdue.filter(|since| *since < at.later(Duration::seconds(i64::from(within))));
    if (failing.is_none() && overdue.is_none()) || is_silent(schedule) {
        return;
    }
    let alerts = schedule.alerts_mut();
    let mut from = Vec::new();
    if failing.is_some() {
        alerts.failing_since = None;
        from.push(ChangeKind::Failing.event());
    }
    if overdue.is_some() {
        alerts.overdue_since = None;
        from.push(ChangeKind::Overdue.event());
    }
    let details = json!({
        "recovered_from": from,
        "failing_since": failing,
        "overdue_since": overdue,
        "execution_id": ended.id,
        "last_success_at": schedule.last_success_at(),
    });
    add(schedule, ChangeKind::Recovered, ended, at, details);
}

/// When a schedule counts as overdue, to be announced; never while the history may have a success that its record
/// lacks.
pub(super) fn overdue_at(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    let at = expected_by(schedule, view)?;
    let is_known = schedule.alerts().is_some_and(|alerts| alerts.overdue_since.is_some());
    let has_ended = || {
        let mut ids = schedule.attempts.iter().map(|attempt| attempt.execution_id);
        ids.any(|id| view.has_ended(id))
    };
    (!is_known && !is_silent(schedule) && !has_ended()).then(|| at.later(SETTLED))
}

/// By when a success is expected. A pause of all schedules begins the time anew when it ends.
fn expected_by(schedule: &Schedule, view: &impl View) -> Option<DateTime<Utc>> {
    let (by, halt) = (schedule.success_expected_by()?, view.halt());
    let within = schedule.spec.expect_success_within_seconds.map_or(0, NonZeroU32::get);
    let after_halt = halt.until.later(Duration::seconds(i64::from(within)));
    (!halt.is_open()).then(|| by.max(after_halt))
}

/// Notes that a schedule is overdue, if it is at `now`.
pub(super) fn overdue(schedule: &mut Schedule, now: DateTime<Utc>, view: &impl View) {
    let at = overdue_at(schedule, view).filter(|at| *at <= now);
    let Some(by) = at.and_then(|_| expected_by(schedule, view)) else { return };
    schedule.alerts_mut().overdue_since = Some(by);
    let details = json!({
        "expect_success_within_seconds": schedule.spec.expect_success_within_seconds,
        "last_success_at": schedule.last_success_at(),
        "last_outcome": schedule.last_outcome(),
        "overdue_since": by,
    });
    let event_id = execution_id(schedule.id, by, OVERDUE);
    let correlation_id = &schedule.correlation_id;
    let author = Author { actor: SCHEDULER, correlation_id };
    let change = Change::new(event_id, ChangeKind::Overdue, schedule, author, now, details);
    schedule.events.push(change);
}

/// Whether a schedule gets no alerts: it stands for one command only, or too many of its events wait already.
fn is_silent(schedule: &Schedule) -> bool {
    schedule.purge || schedule.events.len() >= MAX_PENDING
}

fn add(
    schedule: &mut Schedule,
    kind: ChangeKind,
    ended: &Execution,
    at: DateTime<Utc>,
    details: Value,
) {
    let number = if kind == ChangeKind::Failing { FAILING } else { RECOVERED };
    let event_id = execution_id(ended.id, at, number);
    let author = Author { actor: SCHEDULER, correlation_id: &ended.correlation_id };
    let change = Change::new(event_id, kind, schedule, author, at, details);
    schedule.events.push(change);
}
