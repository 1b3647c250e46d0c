//! Tells the nominal times of a schedule one after another: those that the ledger or the record knows, and those between.

use std::cell::OnceCell;

use chrono::{DateTime, TimeDelta, Utc};

use super::periods::{Period, Standing, last_time, periods};
use super::reason::{Reason, Waits};
use super::{Acted, Became, CausingChange, ExplainedTime, Known, LATE_MS, Occurred, causing};
use crate::execution::{ErrorType, ExecutionStatus};
use crate::moment::Moment as _;
use crate::schedule::{Attempt, Phase, SkipCause};
use crate::trigger::Trigger;

/// Most coming times that are counted one by one because the schedule ends after some more.
const COUNTED: u64 = 10_000;

/// A calendar that leaves times out, or all of `only` together, and those times.
pub(super) struct LeftOutBy {
    pub(super) names: Vec<String>,
    pub(super) closed: Trigger,
}

/// Tells the times one after another.
pub(super) struct Teller<'a> {
    pub(super) known: &'a Known<'a>,
    pub(super) periods: Vec<Period<'a>>,
    /// What leaves times of each period out, worked out when it is asked for.
    pub(super) left_out_by: Vec<OnceCell<Vec<LeftOutBy>>>,
    /// The last time of each period that may have been acted on.
    acted_until: Vec<DateTime<Utc>>,
    pub(super) told: Vec<ExplainedTime>,
}

impl<'a> Teller<'a> {
    pub(super) fn new(known: &'a Known<'a>) -> Self {
        let periods = periods(known);
        let acted_until = (0..periods.len()).map(|n| acted_until(known, &periods, n)).collect();
        let left_out_by = periods.iter().map(|_| OnceCell::new()).collect();
        Self { known, periods, left_out_by, acted_until, told: Vec::new() }
    }

    /// Tells what the ledger says of an occurrence.
    pub(super) fn tell(&mut self, occurred: &Occurred<'_>) {
        let (acted, event) = (occurred.latest, occurred.latest.event.as_ref());
        let (at, last, count) = (acted.scheduled_for, occurred.last(), occurred.count());
        let waiting = self.known.schedule.attempts.iter().find_map(|attempt| {
            let is_retry = attempt.scheduled_for == at && attempt.number > 1;
            attempt.waits_until().filter(|_| is_retry)
        });
        // The record may have been read just before it was promised.
        let retry = waiting.or_else(|| event.and_then(|event| event.retry_at));
        let outcome = match acted.status {
            ExecutionStatus::Running => Became::Running,
            ExecutionStatus::Success => Became::Success,
            ExecutionStatus::Failed if retry.is_some() => Became::Waiting,
            ExecutionStatus::Failed => Became::Failed,
            ExecutionStatus::Skipped => Became::Skipped,
            ExecutionStatus::Cancelled => Became::Cancelled,
            ExecutionStatus::Corrected => Became::Corrected,
        };
        let cause = event.and_then(|event| event.skipped).map(|range| range.cause);
        let mut told = ExplainedTime { count, cause, ..ExplainedTime::new(at, outcome) };
        told.last = (count > 1).then_some(last);
        if !acted.is_range() {
            told.execution_id = Some(acted.execution);
            told.attempts = Some(occurred.attempts);
            let lateness = occurred.lateness(|at| self.due(at));
            told.late_ms = lateness.map(|(_, late_ms)| late_ms);
            if let Some((due, late_ms)) = lateness.filter(|(_, late_ms)| *late_ms >= LATE_MS) {
                told.down = self.down_between(due, due.later(TimeDelta::milliseconds(late_ms)));
            }
        }
        if let Some(event) = event {
            told.error_type =
                event.error_type.as_ref().map(|kind: &ErrorType| kind.as_str().into());
            told.triggered_by = event.triggered_by.clone();
        }
        if let Some(period) = self.period(at) {
            told.moved = period.moved(at);
        }
        let decided_at = event.map(|event| event.time);
        if acted.status == ExecutionStatus::Skipped {
            self.find_cause(&mut told, at, last, decided_at);
        }
        let then = self.then(last, decided_at);
        let waits = retry.map(Waits::Retry);
        told.reason = Reason { told: &told, event, waits, then, due: None }.sentence();
        self.told.push(told);
    }

    pub(super) fn period(&self, at: DateTime<Utc>) -> Option<&Period<'_>> {
        self.periods.iter().rev().find(|period| period.from <= at)
    }

    /// Tells the times of the schedule from `from` to `to`, of which the ledger says nothing.
    pub(super) fn tell_between(&mut self, from: DateTime<Utc>, to: DateTime<Utc>) {
        let last = last_time(self.known.schedule);
        self.tell_up_to(from, last.map_or(to, |last| to.min(last)));
        if let Some(last) = last {
            self.tell_after_last(from.max(last.later(TimeDelta::milliseconds(1))), to);
        }
    }

    fn tell_up_to(&mut self, from: DateTime<Utc>, to: DateTime<Utc>) {
        for n in 0..self.periods.len() {
            let (period, next) = (&self.periods[n], self.periods.get(n + 1));
            if period.from > to {
                break;
            }
            if next.is_some_and(|next| next.from <= from) {
                continue;
            }
            let from = period.from.max(from);
            let Some(next) = next else {
                self.tell_untold(n, from, to);
                continue;
            };
            let over = self.periods[n + 1..].iter().position(|later| !period.goes_on_in(later));
            let over = over.map(|further| n + 1 + further);
            let ends = next.from.just_before();
            let due_until =
                period.due_until(ends, over.map(|over| &self.periods[over]), self.known.schedule);
            self.tell_untold(n, from, due_until.min(to));
            let from = from.max(due_until.later(TimeDelta::milliseconds(1)));
            if let Some(over) = over {
                self.tell_dropped(n, over, from, ends.min(to));
            }
        }
    }

    /// Tells the times of a period that were not due when `over` began, because of their jitter, and were dropped then.
    fn tell_dropped(&mut self, n: usize, over: usize, from: DateTime<Utc>, to: DateTime<Utc>) {
        let Some(change) = self.periods[over].begun else { return };
        if self.periods[n].standing != Standing::Active {
            return;
        }
        let is_deleted = change.event == "deleted";
        let cause = if is_deleted { SkipCause::Deleted } else { SkipCause::Changed };
        let Some(mut told) = self.times(n, from, to, Became::Skipped) else { return };
        (told.cause, told.change) = (Some(cause), Some(causing(change)));
        self.push(told);
    }

    fn push(&mut self, mut told: ExplainedTime) {
        let due = Some(self.due(told.scheduled_for));
        told.reason = Reason { told: &told, event: None, waits: None, then: None, due }.sentence();
        self.told.push(told);
    }

    /// Tells the times of one period from `from` to `to`, of which the ledger says nothing, in their order.
    fn tell_untold(&mut self, period: usize, from: DateTime<Utc>, to: DateTime<Utc>) {
        if from > to {
            return;
        }
        let told = self.told.len();
        self.tell_within(period, from, to);
        self.told[told..].sort_by_key(|told| told.scheduled_for);
    }

    fn tell_within(&mut self, period: usize, from: DateTime<Utc>, to: DateTime<Utc>) {
        let schedule = self.known.schedule;
        let now = self.known.now;
        let due_until = schedule.in_jitter(now).map_or(now, |next| next.just_before());
        let ahead = due_until.later(TimeDelta::milliseconds(1));
        if self.periods[period].standing != Standing::None {
            self.tell_times(period, from, to, Became::Excluded);
            self.tell_outside(period, from, to);
        }
        match self.periods[period].standing {
            Standing::None => self.tell_absent(period, from, to),
            Standing::Paused => self.tell_times(period, from, to, Became::Paused),
            Standing::Off => self.tell_times(period, from, to, Became::SwitchedOff),
            Standing::Active => {
                let next = schedule.next_run_at.unwrap_or(ahead).min(ahead);
                let acted_on = self.acted_until[period].min(next.just_before());
                self.tell_times(period, from, to.min(acted_on), Became::Forgotten);
                let halt = self.known.pauses.halt();
                if halt.is_on(now) {
                    self.tell_times(
                        period,
                        from.max(next),
                        to.min(halt.until.just_before()),
                        Became::Paused,
                    );
                    return self.tell_coming(period, from.max(ahead).max(halt.until), to);
                }
                self.tell_times(period, from.max(next), to.min(due_until), Became::Due);
                self.tell_coming(period, from.max(ahead), to);
            }
        }
    }

    /// Tells the times of a period that lie ahead.
    fn tell_coming(&mut self, period: usize, from: DateTime<Utc>, to: DateTime<Utc>) {
        if let Some(next) = self.known.schedule.next_run_at {
            let from = from.max(next);
            self.tell_times(period, from, to, Became::Coming);
            self.tell_too_many(period, from, to);
        }
    }

    /// Tells of an attempt in the record that the ledger does not have yet.
    pub(super) fn tell_open(&mut self, attempt: &Attempt) {
        let outcome = match &*attempt.phase {
            Phase::Waiting { .. } => Became::Waiting,
            Phase::Skipped { .. } => Became::Skipped,
            Phase::Corrected { .. } => Became::Corrected,
            _ => Became::Running,
        };
        let mut told = ExplainedTime::new(attempt.scheduled_for, outcome);
        if let Some(range) = attempt.phase.range() {
            (told.count, told.cause) = (range.count.max(1), Some(range.cause));
            told.last = (range.count > 1).then_some(range.last);
            self.find_cause(&mut told, attempt.scheduled_for, range.last, None);
        } else {
            told.execution_id = Some(attempt.execution_id);
            told.triggered_by = attempt.manual.as_ref().map(|manual| manual.by.clone());
        }
        let waits = attempt.waits().then(|| self.waits_for(attempt));
        if let Some(Waits::Behind(execution)) = waits {
            told.blocked_by = Some(execution);
        }
        let then = self.then(told.last.unwrap_or(told.scheduled_for), None);
        told.reason = Reason { told: &told, event: None, waits, then, due: None }.sentence();
        self.told.push(told);
    }

    /// Tells the times of a period from `from` to `to`, as one line.
    fn tell_times(&mut self, n: usize, from: DateTime<Utc>, to: DateTime<Utc>, outcome: Became) {
        let Some(mut told) = self.times(n, from, to, outcome) else { return };
        told.change = self.periods[n].change.filter(|_| outcome != Became::Excluded).map(causing);
        if outcome == Became::Paused && self.periods[n].standing == Standing::Active {
            told.change = self.known.pauses.current(self.known.now).map(CausingChange::from);
        }
        if outcome == Became::Excluded {
            let (first, last) = (told.scheduled_for, told.last.unwrap_or(told.scheduled_for));
            told.calendars = self.leave_out(n, first, last);
        }
        if outcome == Became::Due {
            let last = self.known.downtimes.last().copied();
            told.down = last.filter(|down| down.to > told.scheduled_for);
        }
        self.push(told);
    }

    /// The times of a period from `from` to `to`, if there are any.
    fn times(
        &self,
        n: usize,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        outcome: Became,
    ) -> Option<ExplainedTime> {
        let period = &self.periods[n];
        let trigger = match outcome {
            Became::Excluded => &period.closed,
            _ => &period.trigger,
        };
        let trigger = trigger.as_deref()?;
        let to = match outcome {
            Became::Coming => self.last_allowed(trigger, from, to)?,
            _ => to,
        };
        let mut told = times_of(trigger, from, to, outcome)?;
        told.moved = period.moved(told.scheduled_for).filter(|_| told.count == 1);
        Some(told)
    }

    /// The last time up to `to` that `max_runs` allows.
    pub(super) fn last_allowed(
        &self,
        trigger: &Trigger,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let schedule = self.known.schedule;
        let Some(most) = schedule.spec.timing.max_runs else { return Some(to) };
        let (left, before) =
            (most.saturating_sub(schedule.occurrence_count.get()), from.just_before());
        if left >= trigger.count_in(before, to).min(COUNTED) {
            return Some(to);
        }
        let times = trigger.occurrences_after(before).take(usize::try_from(left).ok()?);
        times.last().map(|last| last.at)
    }
}

/// The times of a trigger from `from` to `to`, if there are any.
pub(super) fn times_of(
    trigger: &Trigger,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    outcome: Became,
) -> Option<ExplainedTime> {
    if from > to {
        return None;
    }
    let before = from.just_before();
    let count = trigger.count_in(before, to);
    if count == 0 {
        return None;
    }
    let (first, last) = (trigger.next_after(before)?, trigger.latest_at_or_before(to)?);
    let mut told = ExplainedTime { count, ..ExplainedTime::new(first, outcome) };
    told.last = (count > 1).then_some(last);
    Some(told)
}

/// The last time of a period that may have been acted on. One that `max_runs` limits may have had
/// its last long before its end.
fn acted_until(known: &Known<'_>, periods: &[Period<'_>], n: usize) -> DateTime<Utc> {
    let last = known.schedule.last_scheduled_for.unwrap_or(DateTime::<Utc>::MIN_UTC);
    if !periods[n].is_bounded {
        return last;
    }
    let next = periods.get(n + 1).map_or(DateTime::<Utc>::MAX_UTC, |next| next.from);
    let own = |acted: &&Acted| {
        let is_beside = acted.event.as_ref().is_some_and(|event| event.triggered_by.is_some());
        !is_beside && acted.scheduled_for < next
    };
    let own = known.ledger.iter().filter(own).map(|acted| acted.scheduled_for).max();
    own.map_or(DateTime::<Utc>::MIN_UTC, |own| own.min(last))
}
