//! Stages of an execution's life.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::every::every;

/// Stage of an execution's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// It is claimed and its outcome is not known yet.
    Running,
    /// It succeeded.
    Success,
    /// It failed.
    Failed,
    /// It was never made.
    Skipped,
    /// It was stopped, or never made, because a user asked for that.
    Cancelled,
    /// It was recorded as skipped ahead of its time; `skipped` is what was really due.
    Corrected,
}

impl ExecutionStatus {
    /// All of them.
    pub const ALL: [Self; 6] =
        every!(ExecutionStatus: Running, Success, Failed, Skipped, Cancelled, Corrected);

    /// The name used in JSON and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Corrected => "corrected",
        }
    }

    /// The event's name: the last but one token of its subject.
    pub fn event(self) -> &'static str {
        match self {
            Self::Running => "started",
            Self::Success => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Cancelled => "cancelled",
            Self::Corrected => "corrected",
        }
    }

    /// The status that an event reports.
    pub fn from_event(event: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.event() == event)
    }

    /// Whether it is of a range of occurrences, and not of a run.
    pub fn is_range(self) -> bool {
        matches!(self, Self::Skipped | Self::Corrected)
    }

    /// Whether no other status can follow.
    pub fn is_final(self) -> bool {
        self != Self::Running
    }
}
