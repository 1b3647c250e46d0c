//! Occurrences that were not acted on, and why.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stored::Word;

/// Why an occurrence was not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SkipCause {
    /// No instance could act on it within its misfire grace.
    Missed,
    /// A later occurrence was due as well and stood for it.
    Coalesced,
    /// An earlier execution was still running.
    Overlap,
    /// Too many executions of the schedule were unsettled.
    Limit,
    /// The schedule was paused.
    Paused,
    /// The schedule's timing was changed before it was acted on.
    Changed,
    /// The schedule was deleted before it was acted on.
    Deleted,
    /// A cause that only a newer version knows.
    #[serde(untagged)]
    Other(Word),
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
            Self::Deleted => "deleted",
            Self::Other(word) => word.as_str(),
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
    /// Number of occurrences.
    pub count: u64,
}

impl SkippedRange {
    /// One occurrence, at a nominal time.
    pub fn one(cause: SkipCause, at: DateTime<Utc>) -> Self {
        Self { cause, last: at, count: 1 }
    }
}
