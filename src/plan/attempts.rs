//! What becomes of the attempts in a record: those that wait, that nobody acts on any more, or whose workers are late.

use chrono::{DateTime, Duration, Utc};
use sha2::{Digest as _, Sha256};

use super::wake::{abandoned, lost_at, spared_from};
use super::{Plan, REPLY_MARGIN, Terms, View, may_begin_at, may_fire, room, room_since};
use crate::moment::Moment as _;
use crate::schedule::{
    Attempt, AttemptEvent, Delivery, DeliveryMode, Ending, Phase, Report, Schedule,
};

impl Plan {
    /// Ends attempts of a schedule whose workers are late.
    pub(super) fn end_late_jobs(
        &mut self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        view: &impl View,
    ) {
        for attempt in &mut self.schedule.attempts {
            if let Some(report) = late_report(schedule, attempt, now, view) {
                let end = AttemptEvent::End { by: view.me(), report: Box::new(report) };
                // Ignored: only a running attempt can be overdue, and that can always end.
                let _ = attempt.on(end);
            }
        }
    }

    /// Takes over attempts of a schedule that nobody acts on any more.
    pub(super) fn take_over(
        &mut self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        view: &impl View,
        lease: Duration,
    ) {
        let me = view.me();
        for attempt in &mut self.schedule.attempts {
            match &*attempt.phase {
                Phase::Claimed { by, until, .. } => {
                    let mine = *by == me && view.is_running(attempt.execution_id);
                    let free = abandoned(*by, attempt.execution_id, view)
                        || *until <= now
                        || spared_from(schedule, attempt, view).is_some_and(|at| at <= now);
                    let until = now.later(lease_of(schedule, attempt, lease));
                    let take_over = AttemptEvent::TakeOver { by: me, until };
                    if !mine && free && attempt.on(take_over).is_ok() {
                        attempt.token = attempt.token.take().or_else(|| token(schedule, attempt));
                        self.recover.push(attempt.clone());
                    }
                }
                Phase::Skipped { by, .. }
                | Phase::Corrected { by, .. }
                | Phase::Reported { by, .. } => {
                    let free = abandoned(*by, attempt.execution_id, view);
                    let take_over = AttemptEvent::TakeOver { by: me, until: now.later(lease) };
                    if free && attempt.on(take_over).is_ok() {
                        self.finish.push(attempt.clone());
                    }
                }
                Phase::Waiting { .. } | Phase::Running { .. } => {}
            }
        }
    }

    /// Claims attempts of a schedule that have waited until now, as many as there is room for.
    pub(super) fn take_up_waiting(
        &mut self,
        schedule: &Schedule,
        now: DateTime<Utc>,
        view: &impl View,
        Terms { lease, admitted, .. }: Terms,
    ) {
        if schedule.spec.group.is_some() && !admitted {
            return;
        }
        let halt = view.halt();
        let mut room = room(&self.schedule);
        let room_since = room_since(&self.schedule).max(view.group_room_since(schedule));
        for attempt in &mut self.schedule.attempts {
            let Some(due_at) = may_begin_at(schedule, attempt, halt) else { continue };
            let fires = room > 0 && due_at <= now && may_fire(schedule, &self.fire);
            let claim = AttemptEvent::Claim { by: view.me(), at: now, until: now.later(lease) };
            if fires && attempt.on(claim).is_ok() {
                // Its place in the line may be that of an earlier one, which it has replaced.
                let own =
                    attempt.is_occurrence().then(|| schedule.due(attempt.scheduled_for).min(now));
                let due_at = own.into_iter().chain(room_since).fold(due_at, DateTime::max);
                self.due.push((attempt.execution_id, due_at));
                attempt.token = token(schedule, attempt);
                self.fire.push(attempt.clone());
                room -= 1;
            }
        }
    }
}

/// The report that ends an attempt whose worker is late.
fn late_report(
    schedule: &Schedule,
    attempt: &Attempt,
    now: DateTime<Utc>,
    view: &impl View,
) -> Option<Report> {
    let Phase::Running { heartbeat_seconds, .. } = *attempt.phase else { return None };
    let (_, timed_out) = lost_at(attempt, view).filter(|(at, _)| *at <= now)?;
    let (error_type, message) = if timed_out {
        let seconds = schedule.sends(attempt).delivery.timeout_seconds;
        ("timeout", format!("no report within {seconds} s"))
    } else {
        let seconds = heartbeat_seconds.unwrap_or(0);
        ("worker_lost", format!("nothing was heard of the worker for {seconds} s"))
    };
    let (error_type, message) = (Some(error_type.to_owned()), Some(message));
    Some(Report { error_type, message, ..Report::new(Ending::Failed, now) })
}

/// What a worker must show to report: the schedule, so that its record can be found, and a part that cannot be guessed,
/// since it is derived from the random token of a write. A takeover keeps it, because the worker may already have the
/// command.
pub(super) fn token(schedule: &Schedule, attempt: &Attempt) -> Option<String> {
    if schedule.sends(attempt).delivery.mode != DeliveryMode::Job {
        return None;
    }
    let mut hash = Sha256::new();
    hash.update(attempt.execution_id.as_bytes());
    hash.update(schedule.writer.token.to_be_bytes());
    hash.update(schedule.writer.instance.as_bytes());
    let secret: String = hash.finalize()[..12].iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{}.{secret}", schedule.id.simple()))
}

/// How long a takeover or a renewal holds: at least as long as a reply may take that was awaited before an update.
pub(super) fn lease_of(schedule: &Schedule, attempt: &Attempt, least: Duration) -> Duration {
    lease_for(schedule.sends(attempt).delivery, least)
}

/// How long a claim holds, `least` or longer: at least as long as a reply may take.
pub(crate) fn lease_for(delivery: &Delivery, least: Duration) -> Duration {
    match delivery {
        Delivery { mode: DeliveryMode::Request, timeout_seconds, .. } => {
            least.max(Duration::seconds(i64::from(*timeout_seconds)) + REPLY_MARGIN)
        }
        _ => least,
    }
}
