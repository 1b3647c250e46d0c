//! Where an execution is in its life.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an execution is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Claimed, its outcome not known yet.
    Running,
    /// It did what it should.
    Success,
    /// It did not.
    Failed,
    /// It was never made.
    Skipped,
    /// It was stopped, or not made, because somebody asked for that.
    Cancelled,
    /// It was said to be skipped, ahead of its time; `skipped` is what was really due.
    Corrected,
}

impl ExecutionStatus {
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

    /// The last but one token of the event's subject.
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
        let ended = [Self::Success, Self::Failed, Self::Skipped, Self::Cancelled, Self::Corrected];
        ended.into_iter().chain([Self::Running]).find(|status| status.event() == event)
    }

    /// Whether nothing can follow it.
    pub fn is_final(self) -> bool {
        self != Self::Running
    }
}
