//! Settings of the engine: how much it does at once, how fast, and for how long.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::faults::Faults;
use super::forms::Form;
use super::forms::{Number, bounds, number, within};
use super::reader::Reader;
use super::setting::{Described, Setting, plain, settings};
use crate::schedule::{Rules, TargetPattern};

settings! {
    /// Commands a second to targets, by pattern, separated by commas, as in `cmd.mail.>=10,cmd.sms.send=0.5`.
    /// It is that of all instances together: each takes an even share, by how many it hears, and what one
    /// does not need of its share another uses. What must wait too long is missed like anything late
    TARGET_RATE_LIMITS: Rates = Rates(0.001..=1_000_000.0);
    /// `request` executions under way at once on this instance
    SCHEDULER_EXECUTOR_POOL_SIZE: Number<usize> = number(10, 1..=100_000);
    /// Other executions under way at once on this instance
    SCHEDULER_MAX_IN_FLIGHT: Number<usize> = number(2048, 1..=100_000);
    /// Least time that a claim holds against instances that are alive. A claim of a `request` holds at least
    /// 30 seconds longer than its timeout
    LOCK_TIMEOUT_SECONDS: Number<u64> = number(300, 300..=86_400);
    /// How long a stopping instance takes at most to finish what is in flight and to settle it
    SHUTDOWN_GRACE_SECONDS: Number<u64> = number(30, 0..=3600);
}

/// Settings of the engine.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Firings under way at once, from claim to record.
    pub max_in_flight: usize,
    /// `request` executions under way at once.
    pub request_pool: usize,
    /// Minimum time that a claim holds against live instances.
    pub lease: Duration,
    /// How long a stopping instance waits for what is in flight.
    pub drain: Duration,
    /// How long softly deleted schedules are kept.
    pub deleted_retention: chrono::Duration,
    /// Maximum rate of commands to targets, in commands per second.
    pub rates: Vec<(TargetPattern, f64)>,
    /// Targets that commands may go to, checked again at delivery: a record written by hand may name any.
    pub allowed_targets: Vec<TargetPattern>,
}

impl EngineConfig {
    /// Reads the settings; the `rules` for schedules also apply to what is done with them.
    pub(super) fn read(read: &mut Reader<'_>, rules: &Rules) -> Self {
        Self {
            max_in_flight: read.get(&SCHEDULER_MAX_IN_FLIGHT),
            request_pool: read.get(&SCHEDULER_EXECUTOR_POOL_SIZE),
            lease: Duration::from_secs(read.get(&LOCK_TIMEOUT_SECONDS)),
            drain: Duration::from_secs(read.get(&SHUTDOWN_GRACE_SECONDS)),
            deleted_retention: rules.limits.deleted_retention,
            rates: read.get(&TARGET_RATE_LIMITS),
            allowed_targets: rules.allowed_targets.clone(),
        }
    }
}

/// Form of a setting that bounds commands per second by target.
pub struct Rates(RangeInclusive<f64>);

impl Rates {
    fn rate(&self, entry: &str) -> Option<(TargetPattern, f64)> {
        let (pattern, rate) = entry.split_once('=')?;
        Some((TargetPattern::parse(pattern.trim()).ok()?, within(&self.0, rate)?))
    }
}

impl Form for Rates {
    type Value = Vec<(TargetPattern, f64)>;

    fn expected(&self) -> String {
        format!("`pattern=rate`, with {} commands a second", bounds(&self.0))
    }

    fn default(&self) -> String {
        String::new()
    }

    fn unset(&self, _: &mut Faults<'_>) -> Self::Value {
        Vec::new()
    }

    fn read(&self, text: &str, faults: &mut Faults<'_>) -> Self::Value {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let parse = |entry| {
            let rate = self.rate(entry);
            if rate.is_none() {
                faults.entry(entry, &format!("must be {}", plain(&self.expected())));
            }
            rate
        };
        entries.filter_map(parse).collect()
    }
}
