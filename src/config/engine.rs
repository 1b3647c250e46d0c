//! What the engine is told.

use std::time::Duration;

use crate::schedule::TargetPattern;

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Firings under way at once, from claim to record.
    pub max_in_flight: usize,
    /// `request` executions under way at once.
    pub request_pool: usize,
    /// Least time that a claim holds against instances that are alive.
    pub lease: Duration,
    /// How long a stopping instance waits for what is in flight.
    pub drain: Duration,
    /// How long schedules that were deleted softly are kept.
    pub deleted_retention: chrono::Duration,
    /// How often commands may go to targets.
    pub rates: Vec<(TargetPattern, f64)>,
    /// Targets that commands may go to: a record written by hand may name any.
    pub allowed_targets: Vec<TargetPattern>,
}
