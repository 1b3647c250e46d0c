//! Dead letters: commands of executions that failed for good.
//!
//! A stream may be silent for minutes, and its dead letters wait as long. Only their own schedules wait with them: each
//! has a task that holds nothing that other work needs. If the instance dies meanwhile, whoever takes the attempt over finds
//! its outcome in the history, and sends the dead letter again under the same id.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tracing::warn;

use super::Shared;
use super::claim::Accepted;
use super::core::Event;
use super::holds::{Events, Ours};
use crate::execution::{ErrorType, Execution, ExecutionStatus, Outcome, payload};
use crate::jetstream::deliver::{Command, Publication};
use crate::names;
use crate::port::Nats;
use crate::schedule::{Attempt, Schedule, Target, TargetPattern};

/// Most dead letters under way; beyond it, whoever has one waits for a place.
const MOST: usize = 20_000;

/// Places for dead letters under way.
pub(crate) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

/// An execution whose outcome is in the history.
pub(crate) struct Concluded {
    pub(crate) execution: Box<Execution>,
    /// Whether it was there before, so that its dead letter may be out already.
    pub(crate) again: bool,
}

/// Tells the core that an execution has ended, once its dead letter is out, if there is one.
pub(super) async fn end(
    shared: &Arc<Shared<impl Nats>>,
    accepted: &Arc<Accepted>,
    attempt: &Attempt,
    Concluded { execution, again }: Concluded,
    events: &Events,
) {
    if target(&accepted.schedule, &execution).is_none() {
        return events.send(Event::Ended(execution));
    }
    // The semaphore is never closed.
    let place = Arc::clone(&shared.dead_letters.0).acquire_owned().await.ok();
    let (tasks, shared, accepted) = (&shared.tasks, Arc::clone(shared), Arc::clone(accepted));
    let (attempt, events) = (attempt.clone(), events.clone());
    tasks.spawn(async move {
        let _ours = Ours::one(&shared, &events, &accepted, attempt.execution_id);
        deliver(&shared, &accepted.schedule, &attempt, &execution, again).await;
        drop(place);
        events.send(Event::Ended(execution));
    });
}

/// The target of an execution's dead letter, if it has one.
fn target<'a>(schedule: &'a Schedule, ended: &Execution) -> Option<&'a Target> {
    let is_final = ended.status == ExecutionStatus::Failed && !ended.will_retry;
    schedule.spec.dead_letter.as_deref().filter(|_| is_final)
}

/// Sends the command of an execution that failed for good to the schedule's dead letter target. It goes out after the
/// outcome is recorded, and with `again` if a crash came in between. It has an id of its own, so a stream keeps it
/// once.
async fn deliver(
    shared: &Shared<impl Nats>,
    schedule: &Schedule,
    attempt: &Attempt,
    ended: &Execution,
    again: bool,
) {
    let Some(target) = target(schedule, ended) else { return };
    if !TargetPattern::any_allows(&shared.config.allowed_targets, target) {
        warn!(
            target = target.as_str(),
            "dead letter not sent: its subject is not in the allow-list"
        );
        return;
    }
    let sent = ended.command_payload.as_ref().map(Cow::Borrowed);
    let payload = sent.unwrap_or_else(|| payload(schedule, attempt));
    let Command { mut headers, body } = Command::new(schedule, ended, &payload, None);
    let error_type = ended.error_type.as_ref().map_or("", ErrorType::as_str);
    headers.text(names::ERROR_TYPE, error_type);
    let message = ended.error_message.as_deref().unwrap_or_default();
    headers.text(names::ERROR_MESSAGE, message);
    let id = format!("{}.dead", ended.id);
    headers.line(names::MESSAGE_ID, &id);
    let subject = target.as_str();
    // Every instance that sends it does so after the outcome is recorded.
    let since = again.then_some(ended.time);
    let headers = || headers.clone();
    let publication = Publication { subject, id, headers: &headers, body, since };
    // This needs no claim: all instances send the same message.
    let Ok(delivered) = shared.sender.publish(publication, || true).await else { return };
    let Outcome::Failed { error_type, message, uncertain, .. } = delivered.outcome else { return };
    if error_type == ErrorType::NoStream {
        warn!(subject, "no stream keeps dead letters; whoever listens has it");
    } else {
        let error_type = error_type.as_str();
        warn!(subject, error_type, error = message, uncertain, "dead letter not sent");
    }
}
