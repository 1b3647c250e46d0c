//! Attempts: what the record remembers of executions that are not settled yet.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Payload;

/// Why an occurrence was not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipCause {
    /// Nobody could act on it within its misfire grace.
    Missed,
    /// A later occurrence was due as well and ran for it.
    Coalesced,
    /// An earlier execution was still running.
    Overlap,
    /// Too many executions of the schedule were unsettled.
    Limit,
    /// The schedule was paused.
    Paused,
    /// The schedule's timing was changed before they were acted on.
    Changed,
}

impl SkipCause {
    /// The name used in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Coalesced => "coalesced",
            Self::Overlap => "overlap",
            Self::Limit => "limit",
            Self::Paused => "paused",
            Self::Changed => "changed",
        }
    }
}

/// Consecutive occurrences skipped for one cause, kept as one entry however many they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SkippedRange {
    /// Why.
    pub cause: SkipCause,
    /// Nominal time of the last of them; the attempt's `scheduled_for` is the first.
    pub last: DateTime<Utc>,
    /// How many.
    pub count: u64,
}

/// How far an attempt has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// It is to be made at `due_at`: a retry.
    Waiting {
        /// When.
        due_at: DateTime<Utc>,
    },
    /// An instance has the right to make it and does so.
    Claimed {
        /// The instance.
        by: Uuid,
        /// When it was claimed.
        at: DateTime<Utc>,
        /// When others may take it over.
        until: DateTime<Utc>,
    },
    /// It will not be made; an instance is writing that to the history.
    Skipped {
        /// The instance.
        by: Uuid,
        /// What was skipped and why.
        #[serde(flatten)]
        range: SkippedRange,
    },
}

/// One attempt to act on one occurrence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Worked out from schedule, nominal time and number, see [`execution_id`].
    pub execution_id: Uuid,
    /// The nominal time of the occurrence.
    pub scheduled_for: DateTime<Utc>,
    /// From 1.
    pub number: u32,
    /// How far it has come.
    #[serde(flatten)]
    pub phase: Phase,
    /// Set where a user asked for it, and no occurrence of the schedule did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Box<Manual>>,
}

/// What a user who runs a schedule by hand asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manual {
    /// The body of the command, instead of the schedule's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Payload>,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// Who asked.
    pub by: String,
}

impl Attempt {
    /// Attempt `number` at the occurrence of `schedule` at `scheduled_for`.
    pub fn new(schedule: Uuid, scheduled_for: DateTime<Utc>, number: u32, phase: Phase) -> Self {
        let execution_id = execution_id(schedule, scheduled_for, number);
        Self { execution_id, scheduled_for, number, phase, manual: None }
    }

    /// An attempt that a user asked for at `now`, to be made at once, under an id that the user knows.
    pub fn manual(execution_id: Uuid, now: DateTime<Utc>, manual: Manual) -> Self {
        let phase = Phase::Waiting { due_at: now };
        let manual = Some(Box::new(manual));
        Self { execution_id, scheduled_for: now, number: 1, phase, manual }
    }

    /// The attempt after this one, which failed.
    pub fn retry(&self, schedule: Uuid, due_at: DateTime<Utc>) -> Self {
        // The id of a run by hand was drawn, so that of its retry follows from it.
        let origin = if self.manual.is_some() { self.execution_id } else { schedule };
        let number = self.number + 1;
        let execution_id = execution_id(origin, self.scheduled_for, number);
        let (phase, manual) = (Phase::Waiting { due_at }, self.manual.clone());
        Self { execution_id, scheduled_for: self.scheduled_for, number, phase, manual }
    }
}

/// The id of an execution: a UUIDv8 (RFC 9562) of the nominal time in Unix milliseconds (48 bits,
/// so ids sort by time) and a hash of schedule, nominal time and attempt number.
///
/// Worked out and not drawn: whoever acts on an occurrence, in whatever fault, uses the same id,
/// so the target stream and the history drop what arrives twice.
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
mod tests {
    use super::*;

    #[test]
    fn execution_ids_are_stable_distinct_and_sort_by_time() {
        let schedule = Uuid::from_u128(1);
        let at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let id = execution_id(schedule, at, 1);
        assert_eq!(id, execution_id(schedule, at, 1));
        assert_eq!(id.get_version_num(), 8);
        assert_ne!(id, execution_id(schedule, at, 2));
        assert_ne!(id, execution_id(Uuid::from_u128(2), at, 1));
        assert!(id < execution_id(schedule, at + chrono::Duration::milliseconds(1), 1));
    }

    #[test]
    fn attempts_read_back_as_written() {
        let at: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
        let by = Uuid::from_u128(7);
        let range = SkippedRange { cause: SkipCause::Missed, last: at, count: 3 };
        for phase in [
            Phase::Waiting { due_at: at },
            Phase::Claimed { by, at, until: at },
            Phase::Skipped { by, range },
        ] {
            let attempt = Attempt::new(by, at, 1, phase);
            let json = serde_json::to_string(&attempt).unwrap();
            assert_eq!(serde_json::from_str::<Attempt>(&json).unwrap(), attempt, "{json}");
        }
    }
}
