//! When occurrences are due: at their nominal time plus their jitter.
//!
//! An occurrence whose nominal time has passed but whose jitter has not is not due yet; it lies ahead like
//! any later one. All code that asks whether an occurrence is due or late asks here.

use chrono::{DateTime, Duration, Utc};

use super::{Attempt, AttemptEvent, Phase, Schedule, SkipCause, SkippedRange, policy};
use crate::moment::Moment as _;
use crate::trigger::Trigger;

impl Schedule {
    /// Delay from the nominal time of an occurrence until it is due.
    pub fn jitter(&self, scheduled_for: DateTime<Utc>) -> Duration {
        policy::jitter(self.spec.timing.jitter_seconds, self.id, scheduled_for)
    }

    /// When an occurrence is due: its nominal time plus the schedule's jitter.
    pub fn due(&self, scheduled_for: DateTime<Utc>) -> DateTime<Utc> {
        self.due_within(scheduled_for, self.spec.timing.jitter_seconds)
    }

    fn due_within(&self, scheduled_for: DateTime<Utc>, jitter_seconds: u32) -> DateTime<Utc> {
        scheduled_for.later(policy::jitter(jitter_seconds, self.id, scheduled_for))
    }

    /// When an attempt is due, as far as the record says. A waiting attempt says so itself; an occurrence is
    /// due at its nominal time plus the schedule's jitter. A retry, or a run beside the schedule's own times,
    /// is claimed when it is due, and after that only the time of the claim is left.
    pub fn due_at(&self, attempt: &Attempt) -> DateTime<Utc> {
        match *attempt.phase {
            Phase::Waiting { due_at } => due_at,
            _ if attempt.is_occurrence() => {
                // The jitter as it was when the attempt was claimed.
                let most = self.sends(attempt).jitter_seconds;
                self.due_within(attempt.scheduled_for, most)
            }
            Phase::Claimed { at, .. } => at,
            Phase::Running { since, .. } | Phase::Reported { since, .. } => since,
            Phase::Skipped { .. } | Phase::Corrected { .. } => attempt.scheduled_for,
        }
    }

    /// Lets waiting attempts be made from `at` on. They had to wait until then, so they are not late.
    pub fn let_go(&mut self, at: DateTime<Utc>) {
        for attempt in &mut self.attempts {
            // Attempts in other phases refuse the event.
            let _ = attempt.on(AttemptEvent::LetGo { at });
        }
    }

    /// The latest due time of an occurrence that was claimed ahead of its time and will be acted on.
    pub fn claimed_until(&self) -> Option<DateTime<Utc>> {
        let claimed = |attempt: &&Attempt| matches!(*attempt.phase, Phase::Claimed { .. });
        self.attempts.iter().filter(claimed).map(|attempt| self.due_at(attempt)).max()
    }

    /// The next occurrence, if its nominal time has passed but it is not due yet.
    pub fn in_jitter(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.next_run_at.filter(|next| *next <= now && self.due(*next) > now)
    }

    /// The latest occurrence that is due by `now`, starting at `first`, which is due.
    pub fn latest_due(
        &self,
        trigger: &Trigger,
        first: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let mut latest = trigger.latest_at_or_before(now);
        // A single step if occurrences lie further apart than the jitter is long.
        while let Some(at) = latest
            .filter(|at| *at > first && (self.due(*at) > now || self.acted_ahead.contains(at)))
        {
            latest = trigger.latest_at_or_before(at.just_before());
        }
        // After an update of the time zone data, a record may name a time that the trigger no longer yields.
        // That time was promised, so it counts.
        latest.filter(|at| *at > first).unwrap_or(first)
    }

    /// The next occurrence after `after` that was not acted on ahead of its time.
    pub fn next_free(&self, trigger: &Trigger, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut next = trigger.next_after(after);
        while let Some(at) = next.filter(|at| self.acted_ahead.contains(at)) {
            next = trigger.next_after(at);
        }
        next
    }

    /// The first occurrence from `since` on that is not due by `now`.
    pub fn first_not_due(
        &self,
        trigger: &Trigger,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<DateTime<Utc>> {
        let longest = Duration::seconds(i64::from(self.spec.timing.jitter_seconds));
        let since = since.max(now.earlier(longest));
        let mut times = trigger.occurrences_after(since.just_before()).map(|next| next.at);
        times.find(|at| self.due(*at) > now || *at == now)
    }

    /// Makes one entry, to be written to the history by instance `by`, of the occurrences that are due at
    /// `now` and will not be acted on, and moves the next time past them.
    pub fn skip_due(
        &mut self,
        trigger: &Trigger,
        now: DateTime<Utc>,
        cause: SkipCause,
        by: uuid::Uuid,
    ) {
        let Some(first) = self.next_run_at.filter(|first| self.due(*first) <= now) else { return };
        let last = self.latest_due(trigger, first, now);
        let count = trigger.count_in(first.just_before(), last).max(1);
        let phase = Phase::Skipped { by, range: SkippedRange { cause, last, count } };
        self.attempts.push(Attempt::new(self.id, first, 1, phase));
        self.last_scheduled_for = self.last_scheduled_for.max(Some(last));
        self.next_run_at = self.next_free(trigger, last);
        self.planned_with = trigger.versions().to_vec().into();
    }
}
