//! Dead letters: commands of executions that failed for good.

use std::borrow::Cow;

use tracing::warn;

use super::Shared;
use crate::execution::{ErrorType, Execution, ExecutionStatus, Outcome, payload};
use crate::jetstream::deliver::{Command, Publication};
use crate::names;
use crate::port::Nats;
use crate::schedule::{Attempt, Schedule};

/// Sends the command of an execution that failed for good to the schedule's dead letter target. It goes out after the
/// outcome is recorded, and with `again` if a crash came in between. It has an id of its own, so a stream keeps it
/// once.
pub(super) async fn deliver(
    shared: &Shared<impl Nats>,
    schedule: &Schedule,
    attempt: &Attempt,
    ended: &Execution,
    again: bool,
) {
    let Some(target) = &schedule.spec.dead_letter else { return };
    if ended.status != ExecutionStatus::Failed || ended.will_retry {
        return;
    }
    if !shared.config.allowed_targets.iter().any(|pattern| pattern.allows(target)) {
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
    let Ok(delivered) = shared.delivery.publish(publication, || true).await else { return };
    let Outcome::Failed { error_type, message, uncertain, .. } = delivered.outcome else { return };
    if error_type == ErrorType::NoStream {
        warn!(subject, "no stream keeps dead letters; whoever listens has it");
    } else {
        let error_type = error_type.as_str();
        warn!(subject, error_type, error = message, uncertain, "dead letter not sent");
    }
}
