//! What an operator allows.

use chrono::Duration;

use super::{CatchUp, TargetPattern};

/// Tags of a schedule, and of a filter.
pub const MAX_TAGS: usize = 20;

/// Limits that an operator sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How far ahead a `one_time` may lie.
    pub lookahead: Duration,
    /// Schedules a creator may have that are not deleted.
    pub schedules_per_creator: usize,
    /// Items of a bulk request.
    pub bulk_operations: usize,
    /// How long a schedule that was deleted softly can be restored.
    pub deleted_retention: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            lookahead: Duration::days(365),
            schedules_per_creator: 1000,
            bulk_operations: 100,
            deleted_retention: Duration::days(30),
        }
    }
}

/// What requests are checked against.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Operator's limits.
    pub limits: Limits,
    /// Which targets are allowed: any of these patterns.
    pub allowed_targets: Vec<TargetPattern>,
    /// Time zone of schedules that name none.
    pub timezone: chrono_tz::Tz,
    /// `max_retries` of schedules that say none.
    pub max_retries: u8,
    /// `retry_delay_seconds` of schedules that say none.
    pub retry_delay_seconds: u32,
    /// `misfire_grace_seconds` of schedules that say none.
    pub misfire_grace_seconds: u32,
    /// `catch_up` of schedules that say none.
    pub catch_up: CatchUp,
    /// `max_instances` of schedules that say none.
    pub max_instances: u32,
    /// The largest `max_instances`.
    pub most_instances: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            allowed_targets: TargetPattern::parse("cmd.>").into_iter().collect(),
            timezone: chrono_tz::UTC,
            max_retries: 3,
            retry_delay_seconds: 300,
            misfire_grace_seconds: 300,
            catch_up: CatchUp::Latest,
            max_instances: 1,
            most_instances: 3,
        }
    }
}
