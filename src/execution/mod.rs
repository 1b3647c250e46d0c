//! Executions: the outcome of an attempt, and the event that the history keeps of it.

mod of_attempt;
mod outcome;
mod rerun;
mod status;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use of_attempt::trace_context;
pub use of_attempt::{correlation_id, event_id, payload};
pub use outcome::{ErrorType, MAX_KEPT_BYTES, Outcome, Response};
pub use rerun::{
    Done, ExecutionFilter, Progress, RERUN_KEPT, RERUNS_NEED, Refusal, Rerun, RetryPayload,
};
pub use status::ExecutionStatus;

use crate::schedule::{
    Attempt, Delivery, Payload, Schedule, SkippedRange, Status, mend_instant, write_instant,
};
use crate::stored::{Kept, Unknown, format, keeps_unknown};
use crate::text::{LONG, SHORT, cut};
use crate::trace_context::TraceContext;

/// Maximum size of an event in bytes: two bodies, a long text, and short ones.
pub const MAX_EVENT_BYTES: usize = 2 * MAX_KEPT_BYTES + LONG + 8 * SHORT + 4 * 1024;

/// Instants along an attempt's way, for the whole story of an execution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timings {
    /// When it was due: an occurrence at its nominal time plus the schedule's jitter, a retry at the time
    /// planned for it, and an attempt that had to wait for something else as soon as it could be made.
    #[serde(default, serialize_with = "write_instant")]
    pub due_at: Option<DateTime<Utc>>,
    /// When it was first claimed: up to half a second before its time.
    #[serde(serialize_with = "write_instant")]
    pub claimed_at: Option<DateTime<Utc>>,
    /// When the command was handed to the connection.
    #[serde(serialize_with = "write_instant")]
    pub sent_at: Option<DateTime<Utc>>,
    /// When a stream acknowledged it. `completed_at` is when the outcome was known.
    #[serde(default, serialize_with = "write_instant")]
    pub acknowledged_at: Option<DateTime<Utc>>,
}

/// The claim under which an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Claim {
    /// The instance that made the claim.
    pub instance: Uuid,
    /// The revision of the schedule's record that holds the claim: a fencing number.
    pub revision: u64,
}

/// How a command is sent and tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandSettings {
    /// How it is sent.
    pub delivery: Delivery,
    /// 1 to 10; the higher priority goes first.
    pub priority: u8,
    /// Maximum number of attempts after the first.
    pub max_retries: u8,
    /// Seconds before the first retry.
    pub retry_delay_seconds: u32,
}

impl CommandSettings {
    /// Those of a record that stands for one command only.
    fn of(schedule: &Schedule) -> Option<Box<Self>> {
        let is_single = schedule.purge && schedule.status != Status::Deleted;
        let spec = &schedule.spec;
        is_single.then(|| {
            Box::new(Self {
                delivery: spec.delivery.known.clone(),
                priority: spec.priority,
                max_retries: spec.max_retries,
                retry_delay_seconds: spec.retry_delay_seconds,
            })
        })
    }
}

/// One event in an execution's life, with the whole state of the execution at that moment.
///
/// Stored on `evt.scheduler.execution.<event>.<schedule_id>`; `execution.get` replies with the latest event
/// of an execution.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(remote = "Self")]
pub struct Execution {
    /// The execution's id, the `Nats-Msg-Id` of its command.
    pub id: Uuid,
    /// The format of the event; 0 before formats had numbers.
    #[serde(default)]
    pub format: u16,
    /// Unique to this event.
    pub event_id: String,
    /// When the event was made.
    #[serde(serialize_with = "write_instant")]
    pub time: DateTime<Utc>,
    /// Id of the schedule.
    pub schedule_id: Uuid,
    /// The schedule's name at that time.
    pub schedule_name: String,
    /// The schedule's creator.
    pub created_by: String,
    /// The nominal time of the occurrence.
    #[serde(serialize_with = "write_instant")]
    pub scheduled_for: DateTime<Utc>,
    /// Stage of the execution's life.
    pub status: ExecutionStatus,
    /// Number of the attempt, from 1.
    pub attempt_number: u32,
    /// The same for all attempts of one occurrence.
    pub correlation_id: String,
    /// The trace that it belongs to, as its command says.
    #[serde(rename = "traceparent", default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// The subject of the command.
    pub command_sent: String,
    /// The body of the command; absent if nothing was sent or it was too large to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_payload: Option<Payload>,
    /// True if the payload or the response was too large to keep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// When the attempt began; if it was taken over, when it was first claimed.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "write_instant")]
    pub started_at: Option<DateTime<Utc>>,
    /// When the outcome was known.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "write_instant")]
    pub completed_at: Option<DateTime<Utc>>,
    /// Milliseconds from `started_at` to `completed_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// The subject on which a reply arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_event: Option<String>,
    /// The reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub response_payload: Option<Box<RawValue>>,
    /// What went wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// What went wrong, for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<ErrorType>,
    /// Whether the command may have got through although the attempt failed; then there is no retry.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncertain: bool,
    /// Whether another attempt follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub will_retry: bool,
    /// When the next attempt follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<DateTime<Utc>>,
    /// What was skipped and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<SkippedRange>,
    /// The schedule's next occurrence.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "write_instant")]
    pub next_run_at: Option<DateTime<Utc>>,
    /// The user who asked for it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggered_by: Option<String>,
    /// The ended execution that it runs again, if it is an `execution.retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<Uuid>,
    /// For a command of `execute.immediate`: how it is sent and tried again, which no schedule says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Box<CommandSettings>>,
    /// The user who cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_by: Option<String>,
    /// The claim under which it was made.
    pub lock_id: Claim,
    /// The instants along its way.
    #[serde(default)]
    pub timings: Kept<Timings>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Execution);

impl Execution {
    /// The start of an attempt under `claim` at `started_at`.
    pub fn started(
        schedule: &Schedule,
        attempt: &Attempt,
        claim: Claim,
        started_at: DateTime<Utc>,
    ) -> Self {
        let payload = payload(schedule, attempt);
        let is_known = schedule.sends(attempt).is_payload_known;
        let fits = is_known && payload.as_str().len() <= MAX_KEPT_BYTES;
        Self {
            started_at: Some(started_at),
            command_payload: fits.then(|| payload.into_owned()),
            truncated: !fits,
            ..Self::bare(schedule, attempt, ExecutionStatus::Running, claim, started_at)
        }
    }

    /// Occurrences that were not acted on.
    pub fn skipped(
        schedule: &Schedule,
        attempt: &Attempt,
        range: SkippedRange,
        claim: Claim,
        now: DateTime<Utc>,
    ) -> Self {
        Self::unmade(schedule, attempt, ExecutionStatus::Skipped, range, claim, now)
    }

    /// The correction of occurrences that the history says were skipped.
    pub fn corrected(
        schedule: &Schedule,
        attempt: &Attempt,
        range: SkippedRange,
        claim: Claim,
        now: DateTime<Utc>,
    ) -> Self {
        Self::unmade(schedule, attempt, ExecutionStatus::Corrected, range, claim, now)
    }

    fn unmade(
        schedule: &Schedule,
        attempt: &Attempt,
        status: ExecutionStatus,
        range: SkippedRange,
        claim: Claim,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            skipped: Some(range),
            completed_at: Some(now),
            ..Self::bare(schedule, attempt, status, claim, now)
        }
    }

    /// The same event without payload and response.
    #[must_use]
    pub fn without_bodies(&self) -> Self {
        Self { command_payload: None, response_payload: None, truncated: true, ..self.clone() }
    }

    /// The smallest event that still says which execution it was, when, and how it ended, with texts cut to
    /// their beginnings. It fits every message.
    #[must_use]
    pub fn least(&self) -> Self {
        Self {
            schedule_name: beginning(&self.schedule_name),
            created_by: beginning(&self.created_by),
            correlation_id: beginning(&self.correlation_id),
            command_sent: beginning(&self.command_sent),
            response_event: None,
            error_message: self.error_message.as_deref().map(beginning),
            error_type: self.error_type.as_ref().map(|kind| beginning(kind.as_str()).into()),
            triggered_by: self.triggered_by.as_deref().map(beginning),
            cancelled_by: self.cancelled_by.as_deref().map(beginning),
            timings: Kept::from(*self.timings),
            unknown: Unknown::default(),
            ..self.without_bodies()
        }
    }

    /// Mends the instants of an event that was written by hand or by an earlier version.
    pub fn mend_instants(&mut self) {
        let skipped = self.skipped.as_mut().map(|range| &mut range.last);
        let own = [&mut self.next_run_at, &mut self.started_at, &mut self.completed_at];
        own.into_iter().chain([&mut self.retry_at]).flatten().chain(skipped).for_each(mend_instant);
        let Timings { due_at, claimed_at, sent_at, acknowledged_at } = &mut *self.timings;
        let way = [due_at, claimed_at, sent_at, acknowledged_at];
        way.into_iter().flatten().for_each(mend_instant);
        [&mut self.time, &mut self.scheduled_for].into_iter().for_each(mend_instant);
    }

    /// Ends an execution that [`Execution::started`] began.
    pub fn end(&mut self, outcome: Outcome, now: DateTime<Utc>) {
        let response = match outcome {
            Outcome::Success { response_event, response } => {
                self.status = ExecutionStatus::Success;
                self.response_event = response_event;
                response
            }
            Outcome::Failed { error_type, message, response, uncertain } => {
                self.uncertain = uncertain;
                self.status = ExecutionStatus::Failed;
                self.error_type = Some(error_type);
                self.error_message = Some(message);
                response
            }
            Outcome::HandedOver => {
                self.time = now;
                return;
            }
            Outcome::Cancelled { by, reason } => {
                self.status = ExecutionStatus::Cancelled;
                self.error_message = reason;
                self.cancelled_by = by;
                None
            }
        };
        if let Some(response) = response {
            self.truncated |= response.truncated;
            self.response_payload = response.payload;
        }
        self.completed_at = Some(now);
        self.duration_ms = self.started_at.map(|started| (now - started).num_milliseconds());
        self.time = now;
        self.event_id = event_id(self.id, self.status);
        self.cut_texts();
    }

    /// Cuts texts that others may have made long, so that the event can always be stored: with its bodies it
    /// takes at most [`MAX_EVENT_BYTES`].
    fn cut_texts(&mut self) {
        if let Some(ErrorType::Other(name)) = &mut self.error_type {
            cut(name, SHORT);
        }
        if let Some(message) = &mut self.error_message {
            cut(message, LONG);
        }
        let names = [&mut self.schedule_name, &mut self.created_by, &mut self.correlation_id];
        let others = [&mut self.response_event, &mut self.triggered_by, &mut self.cancelled_by];
        let others = others.into_iter().filter_map(Option::as_mut);
        names.into_iter().chain(others).for_each(|text| cut(text, SHORT));
    }

    fn bare(
        schedule: &Schedule,
        attempt: &Attempt,
        status: ExecutionStatus,
        claim: Claim,
        now: DateTime<Utc>,
    ) -> Self {
        let sends = schedule.sends(attempt);
        let mut event = Self {
            id: attempt.execution_id,
            format: format::of_events(),
            event_id: event_id(attempt.execution_id, status),
            time: now,
            schedule_id: schedule.id,
            schedule_name: sends.name.to_owned(),
            created_by: schedule.created_by.to_string(),
            scheduled_for: attempt.scheduled_for,
            status,
            attempt_number: attempt.number,
            trace: Some(trace_context(schedule, attempt)),
            correlation_id: correlation_id(schedule, attempt),
            command_sent: sends.target.as_str().to_owned(),
            command_payload: None,
            truncated: false,
            started_at: None,
            completed_at: None,
            duration_ms: None,
            response_event: None,
            response_payload: None,
            error_message: None,
            error_type: None,
            uncertain: false,
            will_retry: false,
            retry_at: None,
            skipped: None,
            next_run_at: schedule.next_run_at,
            triggered_by: attempt.manual.as_ref().map(|manual| manual.by.clone()),
            retry_of: attempt.manual.as_ref().and_then(|manual| manual.retry_of),
            settings: CommandSettings::of(schedule),
            cancelled_by: None,
            lock_id: claim,
            timings: Timings { due_at: Some(schedule.due_at(attempt)), ..Timings::default() }
                .into(),
            unknown: Unknown::default(),
        };
        event.cut_texts();
        event
    }
}

/// Maximum bytes of a text in the smallest form of an event.
const LEAST_TEXT: usize = 255;

/// The beginning of a text, with a mark if more followed.
fn beginning(text: &str) -> String {
    const MARK: &str = "…";
    if text.len() <= LEAST_TEXT {
        return text.to_owned();
    }
    format!("{}{MARK}", &text[..text.floor_char_boundary(LEAST_TEXT - MARK.len())])
}

#[cfg(test)]
mod tests;
