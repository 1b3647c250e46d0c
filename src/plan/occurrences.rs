//! Which occurrences fire, wait or are skipped.

use chrono::{DateTime, Duration, Utc};
use uuid::Uuid;

use super::group::room_behind;
use super::{
    MAX_CATCH_UP, MAX_CLAIMED, ON_TIME, Plan, SCHEDULER, backfill_at, capacity_in_order,
    claimed_count, is_full, is_under_way, may_fire, room, token,
};
use crate::moment::Moment as _;
use crate::schedule::{
    Attempt, AttemptEvent, Backfill, Cancel, CatchUp, Halt, Manual, Origin, Overlap, Phase,
    Refused, SkipCause, SkippedRange,
};
use crate::stored::Unknown;
use crate::trigger::Trigger;

impl Plan {
    /// Acts on the occurrences from `next` to `now`: the latest fires, if it can; the earlier ones become one entry.
    /// Without a phase to claim it in, it waits for a slot.
    pub(super) fn occurrences(
        &mut self,
        trigger: &Trigger,
        next: DateTime<Utc>,
        now: DateTime<Utc>,
        me: Uuid,
        claimed: Option<&Phase>,
    ) {
        let latest = self.schedule.latest_due(trigger, next, now);
        let late = now - self.schedule.due(latest);
        let spec = &self.schedule.spec;
        let none = spec.catch_up == CatchUp::None;
        let grace = Duration::seconds(i64::from(spec.misfire_grace_seconds));
        let grace = if none { grace.min(ON_TIME) } else { grace };
        let (earlier, earlier_last) = if latest > next {
            let last = trigger.latest_at_or_before(latest.just_before()).unwrap_or(next).max(next);
            (trigger.count_in(next.just_before(), latest.just_before()).max(1), last)
        } else {
            (0, next)
        };
        if late > grace {
            let range = SkippedRange { cause: SkipCause::Missed, last: latest, count: earlier + 1 };
            self.skip_range(next, range, me);
        } else {
            if earlier > 0 {
                let cause = if none { SkipCause::Missed } else { SkipCause::Coalesced };
                let range = SkippedRange { cause, last: earlier_last, count: earlier };
                self.skip_range(next, range, me);
            }
            self.one_occurrence(latest, now, me, claimed);
        }
        self.go_on(trigger, latest);
    }

    /// Acts on one occurrence that is due, by the overlap policy.
    fn one_occurrence(
        &mut self,
        at: DateTime<Utc>,
        now: DateTime<Utc>,
        me: Uuid,
        claimed: Option<&Phase>,
    ) {
        let skip = |cause| SkippedRange::one(cause, at);
        let cancels = self.schedule.spec.overlap == Overlap::CancelOther;
        if room_behind(&self.schedule, now) == 0 && cancels {
            self.cancel_others(now, me);
        }
        if room_behind(&self.schedule, now) > 0 {
            match claimed {
                _ if claimed_count(&self.schedule) >= MAX_CLAIMED => {
                    self.skip_range(at, skip(SkipCause::Limit), me);
                }
                Some(claimed) => self.fire_at(at, claimed),
                None => self.buffer(at),
            }
            return;
        }
        let buffered = |attempt: &Attempt| attempt.waits() && attempt.is_occurrence();
        let waiting = self.schedule.attempts.iter().filter(|one| buffered(one)).count();
        // One that waits for a slot of the group is in the way like one under way: another may wait behind it.
        let most = if room(&self.schedule) > 0 { 2 } else { 1 };
        let buffered = self.schedule.attempts.iter().position(buffered);
        match (self.schedule.spec.overlap, buffered) {
            (Overlap::BufferOne, _) if waiting < most => self.buffer(at),
            (Overlap::CancelOther, None) => self.buffer(at),
            // The newest one waits.
            (Overlap::CancelOther, Some(older)) => {
                let older = self.schedule.attempts.remove(older);
                self.schedule.occurrence_count.take_back();
                let former = older.scheduled_for;
                self.skip_range(former, SkippedRange::one(SkipCause::Overlap, former), me);
                // It has its place in the line for a slot.
                match *older.phase {
                    Phase::Waiting { due_at } if self.schedule.spec.group.is_some() => {
                        self.buffer_since(at, due_at);
                    }
                    _ => self.buffer(at),
                }
            }
            _ => self.skip_range(at, skip(SkipCause::Overlap), me),
        }
    }

    /// Acts on all occurrences from `next` to `now` that are within their grace, in order, as many as may be under way;
    /// the rest wait in `next_run_at`. Without a phase to claim them in, as many wait for a slot.
    pub(super) fn each_occurrence(
        &mut self,
        trigger: &Trigger,
        next: DateTime<Utc>,
        now: DateTime<Utc>,
        me: Uuid,
        claimed: Option<&Phase>,
    ) {
        let grace = Duration::seconds(i64::from(self.schedule.spec.misfire_grace_seconds));
        let mut next = Some(next);
        // An occurrence is due after its jitter, which is at most this.
        let jitter = Duration::seconds(i64::from(self.schedule.spec.timing.jitter_seconds));
        let grace = grace + jitter;
        if let Some(first) = next.filter(|first| *first < now.earlier(grace)) {
            let before = now.earlier(grace).just_before();
            let last = trigger.latest_at_or_before(before).unwrap_or(first).max(first);
            next = self.skip_to(trigger, first, last, SkipCause::Missed, me);
        }
        if let Some(first) = next {
            let waiting = trigger.count_in(first.just_before(), now);
            if waiting > MAX_CATCH_UP {
                let last = nth(trigger, first, now, waiting - MAX_CATCH_UP);
                next = self.skip_to(trigger, first, last, SkipCause::Limit, me);
            }
        }
        while let Some(at) = next.filter(|at| self.schedule.due(*at) <= now) {
            let full = is_full(&self.schedule);
            let room =
                capacity_in_order(&self.schedule) > 0 && may_fire(&self.schedule, &self.fire);
            if full || !room || self.schedule.has_had_all() {
                break;
            }
            match claimed {
                Some(claimed) => self.fire_at(at, claimed),
                None => self.buffer(at),
            }
            self.go_on(trigger, at);
            next = self.schedule.next_run_at;
        }
        self.schedule.next_run_at = next.filter(|_| !self.schedule.has_had_all());
    }

    /// Skips the occurrences from `first` to `last`; returns the next one.
    fn skip_to(
        &mut self,
        trigger: &Trigger,
        first: DateTime<Utc>,
        last: DateTime<Utc>,
        cause: SkipCause,
        me: Uuid,
    ) -> Option<DateTime<Utc>> {
        let count = trigger.count_in(first.just_before(), last).max(1);
        self.skip_range(first, SkippedRange { cause, last, count }, me);
        self.go_on(trigger, last);
        self.schedule.next_run_at
    }

    /// Claims past occurrences that a user asked for, as many as may be under way. Calendars count as they are now: they may
    /// have left a time out since it was asked for.
    pub(super) fn backfill(
        &mut self,
        trigger: &Trigger,
        now: DateTime<Utc>,
        halt: Halt,
        claimed: &Phase,
    ) {
        while let Some(backfill) = self.schedule.backfill.clone()
            && backfill_at(&self.schedule, halt).is_some_and(|at| at <= now)
            && may_fire(&self.schedule, &self.fire)
        {
            let next = trigger.next_after(backfill.next.just_before());
            let Some(at) = next.filter(|next| *next <= backfill.until) else {
                self.schedule.backfill = None;
                self.schedule.end_if_over(now);
                return;
            };
            let manual = Manual {
                payload: None,
                correlation_id: backfill.correlation_id.clone(),
                by: backfill.by.clone(),
                trace: backfill.trace,
                origin: Origin::Backfill,
                retry_of: None,
                unknown: Unknown::default(),
            };
            let mut attempt = Attempt::new(backfill.id, at, 1, claimed.clone());
            attempt.manual = Some(Box::new(manual));
            attempt.token = token(&self.schedule, &attempt);
            self.schedule.attempts.push(attempt.clone());
            self.fire.push(attempt);
            let next = trigger.next_after(at).filter(|next| *next <= backfill.until);
            self.schedule.backfill = next.map(|next| Box::new(Backfill { next, ..*backfill }));
        }
    }

    /// Claims an occurrence.
    pub(super) fn fire_at(&mut self, at: DateTime<Utc>, claimed: &Phase) {
        let mut attempt = Attempt::new(self.schedule.id, at, 1, claimed.clone());
        attempt.token = token(&self.schedule, &attempt);
        self.schedule.attempts.push(attempt.clone());
        if self.fire.is_empty() {
            // Most fire one, where a vector would begin with room for four.
            self.fire.reserve_exact(1);
        }
        self.fire.push(attempt);
        self.schedule.occurrence_count.add();
    }

    /// Makes an occurrence wait until there is room.
    fn buffer(&mut self, at: DateTime<Utc>) {
        self.buffer_since(at, self.schedule.due(at));
    }

    fn buffer_since(&mut self, at: DateTime<Utc>, due_at: DateTime<Utc>) {
        let phase = Phase::Waiting { due_at };
        self.schedule.attempts.push(Attempt::new(self.schedule.id, at, 1, phase));
        self.schedule.occurrence_count.add();
    }

    /// Cancels what is under way: a worker's job ends with this, other attempts are told to stop.
    fn cancel_others(&mut self, now: DateTime<Utc>, me: Uuid) {
        let reason = Some("its next occurrence is due".to_owned());
        let cancel = Cancel::new(SCHEDULER.to_owned(), reason);
        for attempt in self.schedule.attempts.iter_mut().filter(|attempt| is_under_way(attempt)) {
            let report = Box::new(cancel.report(now));
            match attempt.on(AttemptEvent::Stop { by: me, report }) {
                Ok(()) => self.finish.push(attempt.clone()),
                Err(Refused::IsBeingSent) => {
                    attempt.cancel.get_or_insert_with(|| Box::new(cancel.clone()));
                }
                Err(_) => {}
            }
        }
    }

    /// Moves on to the occurrence after one that was acted on.
    pub(super) fn go_on(&mut self, trigger: &Trigger, at: DateTime<Utc>) {
        let schedule = &mut self.schedule;
        schedule.last_scheduled_for = schedule.last_scheduled_for.max(Some(at));
        if schedule.acted_ahead.first().is_some_and(|first| *first <= at) {
            schedule.acted_ahead.retain(|acted| *acted > at);
        }
        schedule.next_run_at = schedule.next_free(trigger, at).filter(|_| !schedule.has_had_all());
    }

    fn skip_range(&mut self, first: DateTime<Utc>, range: SkippedRange, me: Uuid) {
        let phase = Phase::Skipped { by: me, range };
        let before = self.schedule.attempts.len();
        self.schedule.attempts.push(Attempt::new(self.schedule.id, first, 1, phase));
        self.tell_skips(before);
    }
}

/// The `count`-th occurrence from `first` on, which is no later than `until`; found by bisection.
fn nth(trigger: &Trigger, first: DateTime<Utc>, until: DateTime<Utc>, count: u64) -> DateTime<Utc> {
    let (mut low, mut high) = (first, until);
    while high - low > Duration::milliseconds(1) {
        let middle = low.later((high - low) / 2);
        if trigger.count_in(first.just_before(), middle) >= count {
            high = middle;
        } else {
            low = middle;
        }
    }
    trigger.latest_at_or_before(high).unwrap_or(first).max(first)
}
