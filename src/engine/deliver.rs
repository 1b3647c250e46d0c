//! Delivers under a claim, while the claim is trusted.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::timeout;
use tracing::{info, warn};

use super::claim::Accepted;
use super::give_up::give_up;
use super::urgency::Urgent;
use super::{Shared, record};
use crate::execution::{ErrorType, Execution, ExecutionStatus, Outcome, payload};
use crate::failpoint::{failpoint, panic_at};
use crate::guards::Guard;
use crate::jetstream::deliver::{Command, Delivered};
use crate::jetstream::publish::TrustLost;
use crate::load::Stage;
use crate::metrics::{Lock, LockFailure};
use crate::port::Nats;
use crate::port::headers::Headers;
use crate::schedule::{self, Attempt, Cancel, DeliveryMode, Phase, TargetPattern};

/// How long a reply waits for the history to have that its request was sent.
const BEGAN: Duration = Duration::from_secs(5);

/// A firing: an attempt under an accepted claim, with its command. All that can be done before its time has been done.
pub(crate) struct Firing {
    pub(crate) accepted: Arc<Accepted>,
    pub(crate) attempt: Attempt,
    /// Whether another instance may have acted on it.
    pub(crate) recovered: bool,
    /// Whether its target is in the allow-list.
    is_allowed: bool,
    /// What is to be recorded of it.
    pub(crate) execution: Box<Execution>,
    command: Command,
}

/// Prepares an attempt under an accepted claim.
pub(crate) fn prepare(
    shared: &Shared<impl Nats>,
    accepted: &Arc<Accepted>,
    attempt: &Attempt,
    recovered: bool,
) -> Box<Firing> {
    let schedule = &accepted.schedule;
    let claim = shared.claim_of(accepted.written.revision);
    let mut execution = Box::new(Execution::started(schedule, attempt, claim, shared.clock.now()));
    execution.timings.due_at = Some(accepted.due_at(attempt));
    if let Phase::Claimed { at, .. } = *attempt.phase {
        execution.timings.claimed_at = Some(at);
    }
    let token = attempt.token.as_deref();
    let command = Command::new(schedule, &execution, &payload(schedule, attempt), token);
    let target = schedule.sends(attempt).target;
    let is_allowed = TargetPattern::any_allows(&shared.config.allowed_targets, target);
    let (accepted, attempt) = (Arc::clone(accepted), attempt.clone());
    Box::new(Firing { accepted, attempt, recovered, is_allowed, execution, command })
}

/// What came of making an attempt.
pub(crate) enum Made {
    /// It has ended, and is to be recorded.
    Ended,
    /// Another instance had recorded how it ended.
    Known(Box<Execution>),
    /// There is nothing to record: either the claim can no longer be trusted, and the attempt is claimed again; or its
    /// worker has already reported.
    Nothing,
}

/// An earlier claim of the same attempt, whose instance may have sent the command.
#[derive(Clone, Copy)]
struct FormerClaim {
    /// Whether it was known to have ended before the history was asked, which had no outcome: it was dropped since.
    had_ended: bool,
}

/// Makes one attempt under an accepted claim. It is `urgent` until the command has been sent, or never will be; a request,
/// until it is about to be.
pub(crate) async fn make_attempt(
    shared: &Shared<impl Nats>,
    firing: &mut Firing,
    urgent: Option<Urgent>,
) -> Made {
    let Firing { accepted, attempt, recovered, is_allowed, execution, command } = firing;
    let (schedule, recovered) = (&accepted.schedule, *recovered);
    // Looked at before the history is asked: what ends from then on either is in the answer or is seen before sending.
    let had_ended = recovered && shared.history.has_ended(attempt.execution_id);
    if recovered
        && shared.holds(Guard::KnownOutcome)
        && let Some(outcome) = Box::pin(record::known_outcome(shared, attempt)).await
    {
        info!(execution_id = %attempt.execution_id, "outcome found in the history");
        return Made::Known(Box::new(outcome));
    }
    let lock = if recovered { Lock::Takeover } else { Lock::Claim };
    if !shared.trusts(accepted, attempt) {
        return expired(shared, attempt, lock, recovered);
    }
    // Another instance may have sent the command at any time since its own claim.
    let began = match *attempt.phase {
        Phase::Claimed { at, .. } if recovered => at,
        _ => shared.clock.now(),
    };
    (execution.started_at, execution.time) = (Some(began), began);
    failpoint("after_claim");
    panic_at("while_making");
    let earlier = recovered.then_some(FormerClaim { had_ended });
    let mode = schedule.sends(attempt).delivery.mode;
    // A reply may take long, and the outcomes of others do not wait for it.
    let urgent = urgent.filter(|_| mode != DeliveryMode::Request);
    let outcome = if *is_allowed {
        let command = std::mem::take(command);
        run(shared, accepted, attempt, execution, command, earlier).await
    } else {
        let target = schedule.sends(attempt).target;
        let text = format!("{} is not in the allow-list", target.as_str());
        Ok(Outcome::failed(ErrorType::NotAllowed, text))
    };
    drop(urgent);
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(TrustLost { maybe_sent }) => return expired(shared, attempt, lock, maybe_sent),
    };
    failpoint("after_deliver");
    let now = shared.clock.now();
    let acknowledged = match mode {
        DeliveryMode::Publish => matches!(outcome, Outcome::Success { .. }),
        DeliveryMode::Job => matches!(outcome, Outcome::HandedOver),
        DeliveryMode::Request | DeliveryMode::Core => false,
    };
    execution.timings.acknowledged_at = acknowledged.then_some(now);
    execution.end(outcome, now);
    if execution.status == ExecutionStatus::Failed
        && matches!(mode, DeliveryMode::Publish | DeliveryMode::Job)
        && shared.holds(Guard::GiveUp)
        && !Box::pin(give_up(shared, attempt, execution)).await
    {
        return Made::Nothing;
    }
    Made::Ended
}

/// Lets go of an attempt whose claim can no longer be trusted.
fn expired(shared: &Shared<impl Nats>, attempt: &Attempt, lock: Lock, maybe_sent: bool) -> Made {
    shared.metrics.claim_failed(lock, LockFailure::Expired);
    warn!(execution_id = %attempt.execution_id, maybe_sent, "claim not trusted any more; claiming again");
    Made::Nothing
}

/// Sends the command, and notes the time.
async fn run(
    shared: &Shared<impl Nats>,
    accepted: &Accepted,
    attempt: &Attempt,
    execution: &mut Execution,
    command: Command,
    earlier: Option<FormerClaim>,
) -> Result<Outcome, TrustLost> {
    let schedule = &accepted.schedule;
    let mode = schedule.sends(attempt).delivery.mode;
    // If another instance has sent it, that is when it was sent.
    let first = if earlier.is_some() { Box::pin(first_sent(shared, attempt)).await } else { None };
    if mode == DeliveryMode::Request && cancel(shared, execution).is_some() {
        execution.timings.sent_at = first;
        return Ok(cancelled(shared, execution));
    }
    execution.timings.sent_at = first.or_else(|| Some(shared.clock.now()));
    let stage = match mode {
        DeliveryMode::Request => Stage::WaitingReply,
        DeliveryMode::Publish | DeliveryMode::Job | DeliveryMode::Core => Stage::Delivering,
    };
    let in_stage = shared.load.enter(stage);
    let delivered = deliver(shared, accepted, attempt, execution, command, earlier).await?;
    drop(in_stage);
    if earlier.is_some() && delivered.was_there {
        execution.timings.sent_at = first;
    } else if first.is_none() {
        let due_and_sent = execution.timings.due_at.zip(execution.timings.sent_at);
        let lateness = due_and_sent.and_then(|(due, sent)| (sent - due).to_std().ok());
        shared.metrics.sent(schedule.spec.timing.schedule_type, lateness.unwrap_or_default());
    }
    Ok(delivered.outcome)
}

/// Delivers the command, and waits for its outcome unless the execution is to be stopped.
async fn deliver(
    shared: &Shared<impl Nats>,
    accepted: &Accepted,
    attempt: &Attempt,
    execution: &Execution,
    command: Command,
    earlier: Option<FormerClaim>,
) -> Result<Delivered, TrustLost> {
    let schedule = &accepted.schedule;
    let how = schedule.sends(attempt).delivery;
    let again = || Command::headers(schedule, execution, attempt.token.as_deref());
    // The attempt's former instance may have been slow, and record only now how it ended.
    let may_end = earlier.is_some_and(|earlier| !earlier.had_ended);
    let may_end = may_end && shared.holds(Guard::KnownOutcome);
    let earlier = earlier.is_some();
    let has_ended = || may_end && shared.history.has_ended(execution.id);
    let trusts = || !shared.holds(Guard::TrustAgain) || shared.trusts(accepted, attempt);
    let trusted = || trusts() && !has_ended();
    let delivered = match how.mode {
        DeliveryMode::Request => {
            Box::pin(ask(shared, how, execution, command, &again, earlier, trusted)).await?
        }
        DeliveryMode::Publish | DeliveryMode::Job | DeliveryMode::Core => {
            shared.sender.deliver(how, execution, command, &again, earlier, trusted).await?
        }
    };
    Ok(match (how.mode, delivered) {
        (DeliveryMode::Job, Delivered { outcome: Outcome::Success { .. }, was_there }) => {
            Delivered { outcome: Outcome::HandedOver, was_there }
        }
        (_, delivered) => delivered,
    })
}

/// Sends a request and waits for its reply. Only requests take long enough for anybody to see them running.
async fn ask(
    shared: &Shared<impl Nats>,
    how: &schedule::Delivery,
    execution: &Execution,
    command: Command,
    again: &(dyn Fn() -> Headers + Sync),
    earlier: bool,
    trusted: impl Fn() -> bool + Sync,
) -> Result<Delivered, TrustLost> {
    let stopped = shared.stopped(execution.id);
    let delivering = async {
        tokio::select! {
            biased;
            delivered = shared.sender.deliver(how, execution, command, again, earlier, trusted) => delivered,
            () = stopped.cancelled() => Ok(cancelled(shared, execution).into()),
        }
    };
    // If it is not sent, nobody needs to know that it had begun.
    let (mut delivering, mut began) = (pin!(delivering), pin!(shared.history.record(execution)));
    let mut is_recorded = false;
    let delivered = loop {
        tokio::select! {
            biased;
            delivered = delivering.as_mut() => break delivered?,
            _ = began.as_mut(), if !is_recorded => is_recorded = true,
        }
    };
    if !is_recorded {
        // The outcome, which waits for this, tells as much.
        let _ = timeout(BEGAN, began).await;
    }
    Ok(delivered)
}

/// When another instance sent the command of an attempt that was taken over, if it recorded that.
async fn first_sent(shared: &Shared<impl Nats>, attempt: &Attempt) -> Option<DateTime<Utc>> {
    shared.history.get(attempt.execution_id).await.ok().flatten()?.timings.sent_at
}

/// The cancellation of an execution, if its record has one.
fn cancel(shared: &Shared<impl Nats>, execution: &Execution) -> Option<Cancel> {
    let entry = shared.index.get(execution.schedule_id)?;
    let mut attempts = entry.schedule.attempts.iter();
    attempts.find(|attempt| attempt.execution_id == execution.id)?.cancel.as_deref().cloned()
}

/// The outcome of an execution that is to be stopped.
fn cancelled(shared: &Shared<impl Nats>, execution: &Execution) -> Outcome {
    let cancel = cancel(shared, execution);
    let (by, reason) = cancel.map_or((None, None), |cancel| (Some(cancel.by), cancel.reason));
    Outcome::Cancelled { by, reason }
}
