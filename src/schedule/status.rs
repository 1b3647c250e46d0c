//! What kind a schedule is of, and at which stage of its life it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a schedule yields its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleType {
    /// At the times of a cron expression on the wall clock of a time zone.
    Cron,
    /// At a fixed interval in seconds from an anchor, without drift.
    Interval,
    /// Once, at a given instant.
    OneTime,
    /// Once, immediately.
    Immediate,
    /// When an occurrence of another schedule has ended.
    Dependent,
}

impl ScheduleType {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cron => "cron",
            Self::Interval => "interval",
            Self::OneTime => "one_time",
            Self::Immediate => "immediate",
            Self::Dependent => "dependent",
        }
    }

    /// Whether the schedule can have more than one occurrence.
    pub fn recurs(self) -> bool {
        matches!(self, Self::Cron | Self::Interval | Self::Dependent)
    }
}

/// Stage of a schedule's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It fires at its times.
    Active,
    /// It does not fire until it is resumed.
    Paused,
    /// It has had its last occurrence.
    Completed,
    /// Its only occurrence failed for good.
    Failed,
    /// It was deleted and is kept for the record; its name is free again.
    Deleted,
}

impl Status {
    /// The name used in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Deleted => "deleted",
        }
    }
}
