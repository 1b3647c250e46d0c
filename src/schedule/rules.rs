//! Rules that an operator sets.

use std::sync::Arc;

use chrono::Duration;

use super::Group;
use super::keyed::Known;
use super::{Calendars, CatchUp, TargetPattern};

/// Maximum number of tags of a schedule, and of a filter.
pub const MAX_TAGS: usize = 20;

/// Limits that an operator sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// How far ahead `scheduled_at`, `start_at` and the end of a pause may lie.
    pub lookahead: Duration,
    /// Maximum number of schedules per creator that are not deleted.
    pub schedules_per_creator: usize,
    /// Maximum number of items in a bulk request.
    pub bulk_operations: usize,
    /// How long a softly deleted schedule can be restored.
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

/// Rules that requests are checked against.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The operator's limits.
    pub limits: Limits,
    /// Patterns of allowed targets; one match suffices.
    pub allowed_targets: Vec<TargetPattern>,
    /// Time zone of schedules that name none.
    pub timezone: chrono_tz::Tz,
    /// Default for `max_retries`.
    pub max_retries: u8,
    /// Default for `retry_delay_seconds`.
    pub retry_delay_seconds: u32,
    /// Default for `misfire_grace_seconds`.
    pub misfire_grace_seconds: u32,
    /// Default for `catch_up`.
    pub catch_up: CatchUp,
    /// Default for `max_instances`.
    pub max_instances: u32,
    /// The largest `max_instances`.
    pub most_instances: u32,
    /// The calendars that schedules may name.
    pub calendars: Arc<Calendars>,
    /// The groups that schedules may name.
    pub groups: Arc<Known<Group>>,
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
            calendars: Arc::default(),
            groups: Arc::default(),
        }
    }
}
