//! Attempts: executions that the record remembers because they are not settled yet.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Guarded, Payload, Pinned, SkippedRange, write_instant};
use crate::stored::{Unknown, Word, keeps_unknown};
use crate::trace_context::TraceContext;

/// How far an attempt has come.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// Waits to be made at `due_at`: a retry, a run by hand, or an occurrence that has to wait.
    Waiting {
        /// When it is due.
        due_at: DateTime<Utc>,
    },
    /// An instance holds the claim and makes the attempt.
    Claimed {
        /// The instance.
        by: Uuid,
        /// When it was claimed.
        #[serde(serialize_with = "write_instant")]
        at: DateTime<Utc>,
        /// When other instances may take it over.
        #[serde(serialize_with = "write_instant")]
        until: DateTime<Utc>,
    },
    /// A worker has the command and will report.
    Running {
        /// When the attempt began.
        since: DateTime<Utc>,
        /// When the worker must have reported.
        deadline: DateTime<Utc>,
        /// How long the worker may be silent, as told to the worker.
        #[serde(skip_serializing_if = "Option::is_none")]
        heartbeat_seconds: Option<u32>,
        /// When the worker was last heard. Its silence counts from the first time it is heard, because the
        /// command may wait in the stream until then.
        #[serde(skip_serializing_if = "Option::is_none")]
        heard_at: Option<DateTime<Utc>>,
        /// The worker's progress, in percent.
        #[serde(skip_serializing_if = "Option::is_none")]
        progress: Option<u8>,
    },
    /// Has ended; an instance is writing the outcome to the history.
    Reported {
        /// The instance.
        by: Uuid,
        /// When the attempt began.
        since: DateTime<Utc>,
        /// How it ended.
        report: Box<Report>,
    },
    /// The history says that it was skipped, written by an instance whose clock was fast; an instance is
    /// writing the correction.
    Corrected {
        /// The instance.
        by: Uuid,
        /// What was really due and skipped; a count of 0 for nothing.
        #[serde(flatten)]
        range: SkippedRange,
    },
    /// Will not be made; an instance is writing that to the history.
    Skipped {
        /// The instance.
        by: Uuid,
        /// What was skipped and why.
        #[serde(flatten)]
        range: SkippedRange,
    },
}

impl Phase {
    /// What is skipped, or was.
    pub fn range(&self) -> Option<SkippedRange> {
        match self {
            Self::Skipped { range, .. } | Self::Corrected { range, .. } => Some(*range),
            _ => None,
        }
    }

    /// The instance that acts on the attempt, if any.
    pub fn by(&self) -> Option<Uuid> {
        match self {
            Self::Claimed { by, .. }
            | Self::Reported { by, .. }
            | Self::Corrected { by, .. }
            | Self::Skipped { by, .. } => Some(*by),
            Self::Waiting { .. } | Self::Running { .. } => None,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It succeeded.
    Success,
    /// It failed.
    Failed,
    /// It was stopped, or never made.
    Cancelled,
}

/// The report on an attempt that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Report {
    /// How it ended.
    pub ending: Ending,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// For a failure: its kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// For a failure or a cancellation: what happened, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// For a failure: whether a retry is pointless.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_final: bool,
    /// For a failure: whether the command may have been sent all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub uncertain: bool,
    /// What the worker returned, as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Whether the response was too large to keep.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// For a cancellation: the user who asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

impl Report {
    /// A report of how and when an attempt ended, and nothing else.
    pub fn new(ending: Ending, at: DateTime<Utc>) -> Self {
        Self {
            ending,
            at,
            error_type: None,
            message: None,
            is_final: false,
            uncertain: false,
            response: None,
            truncated: false,
            by: None,
            unknown: Unknown::default(),
        }
    }
}

/// A request to stop an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Cancel {
    /// The user who asked.
    pub by: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

impl Cancel {
    /// A request by `by`.
    pub fn new(by: String, reason: Option<String>) -> Self {
        Self { by, reason, unknown: Unknown::default() }
    }

    /// The report on an attempt that was stopped at `at`.
    pub fn report(&self, at: DateTime<Utc>) -> Report {
        let (message, by) = (self.reason.clone(), Some(self.by.clone()));
        Report { message, is_final: true, by, ..Report::new(Ending::Cancelled, at) }
    }
}

/// One attempt to act on one occurrence.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(remote = "Self")]
pub struct Attempt {
    /// Computed from schedule, nominal time and number, see [`execution_id`].
    pub execution_id: Uuid,
    /// The nominal time of the occurrence.
    #[serde(serialize_with = "write_instant")]
    pub scheduled_for: DateTime<Utc>,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// How far the attempt has come.
    #[serde(flatten)]
    pub phase: Guarded<Phase>,
    /// Set if the run is beside the schedule's own times: by hand, a backfill, or after another schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manual: Option<Box<Manual>>,
    /// For `job`: the token that the worker must show to report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Set if the instance that makes the attempt is to stop it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel: Option<Box<Cancel>>,
    /// What the attempt sends that the schedule no longer says, see [`Schedule::sends`](super::Schedule::sends).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Box<Pinned>>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Report, Cancel, Manual);

/// Origin of a run beside a schedule's own times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A user, to run now.
    #[default]
    User,
    /// A user, for times of the past.
    Backfill,
    /// A schedule that this one depends on.
    Upstream,
    /// An origin that only a newer version knows.
    #[serde(untagged)]
    Other(Word),
}

/// A run beside a schedule's own times: where it came from, who asked for it, and with what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Manual {
    /// Replaces the schedule's payload as the body of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// The user who asked.
    pub by: String,
    /// The trace that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// Origin of the run.
    #[serde(default)]
    pub origin: Origin,
    /// The ended execution that is run again, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<Uuid>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

impl Attempt {
    /// Attempt `number` at the occurrence of `schedule` at `scheduled_for`.
    pub fn new(schedule: Uuid, scheduled_for: DateTime<Utc>, number: u32, phase: Phase) -> Self {
        let execution_id = execution_id(schedule, scheduled_for, number);
        Self::bare(execution_id, scheduled_for, number, phase, None)
    }

    /// When it is due, if it is waiting.
    pub fn waits_until(&self) -> Option<DateTime<Utc>> {
        match *self.phase {
            Phase::Waiting { due_at } => Some(due_at),
            _ => None,
        }
    }

    /// Whether it waits to be made.
    pub fn waits(&self) -> bool {
        self.waits_until().is_some()
    }

    /// Whether a user asked for this run alone: it is made whatever the schedule itself does.
    pub fn is_by_hand(&self) -> bool {
        self.manual.as_ref().is_some_and(|manual| manual.origin == Origin::User)
    }

    /// Whether it is the first at one of the schedule's own times: neither a retry nor a run beside them.
    pub fn is_occurrence(&self) -> bool {
        self.number == 1 && self.manual.is_none()
    }

    /// An attempt beside the schedule's own times.
    pub fn beside(
        execution_id: Uuid,
        scheduled_for: DateTime<Utc>,
        phase: Phase,
        manual: Manual,
    ) -> Self {
        Self::bare(execution_id, scheduled_for, 1, phase, Some(Box::new(manual)))
    }

    fn bare(
        execution_id: Uuid,
        scheduled_for: DateTime<Utc>,
        number: u32,
        phase: Phase,
        manual: Option<Box<Manual>>,
    ) -> Self {
        Self {
            execution_id,
            scheduled_for,
            number,
            phase: Guarded::first(phase),
            manual,
            token: None,
            cancel: None,
            pinned: None,
            unknown: Unknown::default(),
        }
    }

    /// An attempt that a user asked for at `now`, due at once, under an id that the user knows.
    pub fn manual(execution_id: Uuid, now: DateTime<Utc>, manual: Manual) -> Self {
        Self::beside(execution_id, now, Phase::Waiting { due_at: now }, manual)
    }

    /// The attempt after this one, which failed. It sends what the schedule says when the retry is claimed, but a
    /// payload of its own as this one did.
    pub fn retry(&self, schedule: Uuid, due_at: DateTime<Utc>) -> Self {
        // The id of a run beside the schedule's own times does not follow from the schedule, so its retry's id is derived from it.
        let origin = if self.manual.is_some() { self.execution_id } else { schedule };
        let number = self.number + 1;
        let execution_id = execution_id(origin, self.scheduled_for, number);
        let phase = Phase::Waiting { due_at };
        let retry =
            Self::bare(execution_id, self.scheduled_for, number, phase, self.manual.clone());
        if self.is_verbatim() { retry.verbatim() } else { retry }
    }

    /// The same attempt with a payload of its own that was sent before: its placeholders have been replaced, so what
    /// looks like one now is none. The pin says so to every version.
    #[must_use]
    pub fn verbatim(mut self) -> Self {
        self.pinned.get_or_insert_default().payload_template = Some(false);
        self
    }

    fn is_verbatim(&self) -> bool {
        let own = self.manual.as_ref().is_some_and(|manual| manual.payload.is_some());
        let template = self.pinned.as_ref().and_then(|pinned| pinned.payload_template);
        own && template == Some(false)
    }
}

/// The id of an execution: a UUIDv8 (RFC 9562) of the nominal time in Unix milliseconds (48 bits, so ids sort
/// by time) and a hash of schedule, nominal time and attempt number.
///
/// It is computed, not random: every instance that acts on an occurrence uses the same id, whatever has failed,
/// so the target stream and the history drop duplicates.
pub fn execution_id(schedule: Uuid, scheduled_for: DateTime<Utc>, number: u32) -> Uuid {
    let millis = scheduled_for.timestamp_millis();
    let mut hash = Sha256::new();
    hash.update(schedule.as_bytes());
    hash.update(millis.to_be_bytes());
    hash.update(number.to_be_bytes());
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&hash.finalize()[..10]);
    Uuid::new_v8(bytes)
}

#[cfg(test)]
mod tests;
