//! Why a time was skipped, left out, or has to wait.
//!
//! A decision is made some time after the time was due, and goes by what the schedule was then. If that changed in between,
//! it is not known by which of the two it was made, and nothing is said of it.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::periods::{IN_TIMING, Period, Standing, Then};
use super::reason::{Slots, Waits};
use super::teller::{LeftOutBy, Teller};
use super::{Acted, CausingChange, Downtime, ExplainedTime, causing};
use crate::moment::Moment as _;
use crate::plan::room;
use crate::schedule::{
    Attempt, ChangeEvent, FieldChange, Phase, SkipCause, Status, Timing, jitter,
};

impl Teller<'_> {
    /// When a time was due, by the jitter of then.
    pub(super) fn due(&self, at: DateTime<Utc>) -> DateTime<Utc> {
        let schedule = self.known.schedule;
        let most = self.period(at).map_or(0, |period| period.jitter_seconds);
        at.later(jitter(most, schedule.id, at))
    }

    /// What the schedule was from a time until what became of that time was decided, if it was the same all the while.
    pub(super) fn then(
        &self,
        at: DateTime<Utc>,
        decided_at: Option<DateTime<Utc>>,
    ) -> Option<&Then> {
        let until = decided_at.unwrap_or(self.known.now).max(at);
        let begins = self.periods.iter().rposition(|period| period.from <= at)?;
        let mut all = self.periods[begins..].iter().take_while(|period| period.from <= until);
        let then = all.next()?.then.as_deref()?;
        all.all(|later| later.then.as_deref() == Some(then)).then_some(then)
    }

    /// Finds what caused that times were skipped; `decided_at` is when, unless it was just now.
    pub(super) fn find_cause(
        &self,
        told: &mut ExplainedTime,
        first: DateTime<Utc>,
        last: DateTime<Utc>,
        decided_at: Option<DateTime<Utc>>,
    ) {
        let next = |event: &str, is_it: fn(&ChangeEvent) -> bool| {
            let mut changes = self.known.changes.iter();
            let is_it = |change: &&ChangeEvent| {
                change.event == event && change.time >= last && is_it(change)
            };
            changes.find(is_it).map(causing)
        };
        match told.cause {
            Some(SkipCause::Paused) => told.change = self.pause_of(first, last),
            Some(SkipCause::Changed) => told.change = next("updated", may_change_times),
            Some(SkipCause::Deleted) => told.change = next("deleted", |_| true),
            Some(SkipCause::Overlap) => {
                let decided_at = decided_at.unwrap_or(self.known.now);
                told.blocked_by = self.in_the_way(self.due(first), decided_at);
            }
            Some(SkipCause::Missed | SkipCause::Coalesced) => {
                let decided_at = decided_at.unwrap_or(self.known.now);
                told.down = self.down_between(self.due(first), decided_at);
            }
            _ => {}
        }
    }

    fn pause_of(&self, first: DateTime<Utc>, last: DateTime<Utc>) -> Option<CausingChange> {
        // Or its time had come, and nothing had acted on it, when the schedule was paused or switched off.
        let mut later = self.periods.iter().filter(|period| period.from >= first);
        let stops =
            |period: &&Period<'_>| matches!(period.standing, Standing::Paused | Standing::Off);
        let own = self.period(first).and_then(|period| period.change).map(causing);
        let all = self.known.pauses.ending_after(first);
        let in_it = || all.filter(|pause| pause.from <= last).map(CausingChange::from);
        let own_later = || later.find(stops).and_then(|period| period.change).map(causing);
        let all_later = || all.map(CausingChange::from);
        own.or_else(in_it).or_else(own_later).or_else(all_later)
    }

    /// The execution that was under way when an occurrence was skipped: by then, or since it was due.
    fn in_the_way(&self, due: DateTime<Utc>, decided_at: DateTime<Utc>) -> Option<Uuid> {
        let at = |at: DateTime<Utc>, may_be: &dyn Fn(&Acted) -> bool| {
            let mut ledger = self.known.ledger.iter().rev();
            let it = ledger.find(|acted| acted.was_under_way(at) && may_be(acted));
            it.map(|acted| acted.execution)
        };
        // The entry may have been written long after the decision, by an instance that took it over.
        let was_before = |acted: &Acted| acted.scheduled_for <= due;
        let in_record = || {
            let mut attempts = self.known.schedule.attempts.iter();
            attempts.find(|one| has_begun(one, decided_at)).map(|one| one.execution_id)
        };
        // The clocks of instances differ, and not every event says when the execution was claimed.
        let between = || {
            let mut ledger = self.known.ledger.iter().rev();
            let may_be = |acted: &&Acted| acted.scheduled_for < due && acted.goes_on_at(due);
            ledger.find(may_be).map(|acted| acted.execution)
        };
        let then = at(decided_at, &was_before).or_else(|| at(due, &|_| true));
        then.or_else(in_record).or_else(between)
    }

    /// The latest downtime that has a part of a span.
    pub(super) fn down_between(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<Downtime> {
        let downtimes = self.known.downtimes.iter().rev();
        downtimes.copied().find(|down| down.from < to && down.to > from)
    }

    /// The calendars that leave out times of a period from `first` to `last`; `None` if it is not known which it named.
    pub(super) fn leave_out(
        &self,
        n: usize,
        first: DateTime<Utc>,
        last: DateTime<Utc>,
    ) -> Option<Vec<String>> {
        let then = self.periods[n].then.as_deref()?;
        let by = self.left_out_by[n].get_or_init(|| self.left_out_by(&then.timing));
        let has = |by: &&LeftOutBy| by.closed.count_in(first.just_before(), last) > 0;
        Some(by.iter().filter(has).flat_map(|by| by.names.clone()).collect())
    }

    fn left_out_by(&self, timing: &Timing) -> Vec<LeftOutBy> {
        let each = timing.exclude.iter().map(|name| (vec![name.clone()], Vec::new()));
        let only = (!timing.only.is_empty()).then(|| (Vec::new(), timing.only.to_vec()));
        let all = each.chain(only).filter_map(|(exclude, only)| {
            let names = [&exclude[..], &only[..]].concat();
            let (exclude, only) = (exclude.into(), only.into());
            let alone = Timing { exclude, only, ..timing.clone() };
            let trigger = alone.trigger(self.known.schedule.id, self.known.calendars).ok()?;
            Some(LeftOutBy { names, closed: trigger.closed()? })
        });
        all.collect()
    }

    /// What an attempt waits for that has not begun.
    pub(super) fn waits_for(&self, attempt: &Attempt) -> Waits {
        let (schedule, now) = (self.known.schedule, self.known.now);
        let by_hand = attempt.is_by_hand();
        let mut attempts = schedule.attempts.iter();
        let before = attempts.find(|other| has_begun(other, now)).map(|other| other.execution_id);
        match *schedule.status {
            Status::Paused if !by_hand => Waits::Resumption,
            _ if !schedule.is_active && !by_hand => Waits::SwitchingOn,
            _ if self.known.pauses.halt().is_on(now) && !by_hand => Waits::Resumption,
            _ => match (before, &schedule.spec.group) {
                (Some(before), _) if room(schedule) == 0 => Waits::Behind(before),
                (_, Some(name)) => Waits::Slot(Slots::new(name.to_string(), self.known.group)),
                (_, None) => Waits::Turn,
            },
        }
    }
}

/// Whether a change may have been one of the times, as far as its event says.
fn may_change_times(change: &ChangeEvent) -> bool {
    let in_timing = |field: &FieldChange| IN_TIMING.contains(&&*field.field);
    change.changes.is_empty() || change.changes.iter().any(in_timing)
}

/// Whether an attempt was under way at a time, as far as the record says.
fn has_begun(attempt: &Attempt, by: DateTime<Utc>) -> bool {
    match *attempt.phase {
        Phase::Claimed { at, .. } => at <= by,
        Phase::Running { since, .. } | Phase::Reported { since, .. } => since <= by,
        Phase::Waiting { .. } | Phase::Skipped { .. } | Phase::Corrected { .. } => false,
    }
}
