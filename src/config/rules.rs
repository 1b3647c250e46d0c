//! Settings that limit what schedules may contain, and set their defaults.

use std::sync::Arc;

use chrono::Duration;
use chrono_tz::Tz;

use super::faults::Faults;
use super::forms::{Number, OneOf, Parsed, Written, number, one_of, parsed, written};
use super::reader::Reader;
use super::setting::{Described, Setting, settings};
use crate::schedule::{
    CatchUp, FieldFault, Limits, MAX_INTERVAL_SECONDS, Rules, Target, TargetPattern,
};

const ZONE: &str = "an IANA time zone, such as `Europe/Berlin`";
/// Fault of each pattern, if none of them allows a target.
const NO_TARGET: &str = "allows no target that a schedule may have";
const PATTERNS: &str = "patterns separated by commas";

settings! {
    /// Targets that schedules may have, with NATS wildcards. `cmd.scheduler.>` is never allowed. Checked
    /// again before each delivery
    ALLOWED_TARGET_COMMANDS: Written<Vec<TargetPattern>> = written("cmd.>", PATTERNS, targets);
    /// Schedules that a creator may have, deleted ones not counted; exact, however many are created at once
    MAX_SCHEDULES_PER_CREATOR: Number<usize> = number(1000, 1..=10_000_000);
    /// Items of a bulk request; a filter may match more
    MAX_BULK_OPERATIONS: Number<usize> = number(100, 1..=1000);
    /// How long a softly deleted schedule can be restored, before its record is removed
    DELETED_RETENTION_SECONDS: Number<u32> = number(2_592_000, 1..=315_360_000);
    /// How far ahead `scheduled_at` and `start_at` may lie
    MAX_SCHEDULE_LOOKAHEAD_DAYS: Number<u32> = number(365, 1..=36_500);
    /// `max_retries` of schedules that say none
    DEFAULT_MAX_RETRIES: Number<u8> = number(3, 0..=10);
    /// `retry_delay_seconds` of schedules that say none
    DEFAULT_RETRY_DELAY: Number<u32> = number(300, 0..=3600);
    /// `timezone` of schedules that name none
    SCHEDULER_TIMEZONE: Parsed<Tz> = parsed(Tz::UTC, ZONE, |text| text.parse().ok());
    /// `misfire_grace_seconds` of schedules that say none
    SCHEDULER_MISFIRE_GRACE_TIME: Number<u32> = number(300, 1..=MAX_INTERVAL_SECONDS);
    /// `catch_up` of schedules that say none: `latest` where `true`, `all` where `false`
    SCHEDULER_COALESCE: OneOf<CatchUp> =
        one_of(CatchUp::Latest, &[("true", CatchUp::Latest), ("false", CatchUp::All)]);
    /// `max_instances` of schedules that say none; not more than `SCHEDULER_MAX_INSTANCES`
    SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES: Number<u32> = number(1, 1..=16);
    /// The largest `max_instances` of a schedule
    SCHEDULER_MAX_INSTANCES: Number<u32> = number(3, 1..=16);
}

pub(super) fn rules(read: &mut Reader<'_>) -> Rules {
    let limits = Limits {
        lookahead: Duration::days(read.get(&MAX_SCHEDULE_LOOKAHEAD_DAYS).into()),
        schedules_per_creator: read.get(&MAX_SCHEDULES_PER_CREATOR),
        bulk_operations: read.get(&MAX_BULK_OPERATIONS),
        deleted_retention: Duration::seconds(read.get(&DELETED_RETENTION_SECONDS).into()),
    };
    let rules = Rules {
        limits,
        allowed_targets: read.get(&ALLOWED_TARGET_COMMANDS),
        timezone: read.get(&SCHEDULER_TIMEZONE),
        max_retries: read.get(&DEFAULT_MAX_RETRIES),
        retry_delay_seconds: read.get(&DEFAULT_RETRY_DELAY),
        misfire_grace_seconds: read.get(&SCHEDULER_MISFIRE_GRACE_TIME),
        catch_up: read.get(&SCHEDULER_COALESCE),
        max_instances: read.get(&SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES),
        most_instances: read.get(&SCHEDULER_MAX_INSTANCES),
        calendars: Arc::default(),
        groups: Arc::default(),
    };
    let (default, most) = (&SCHEDULER_JOB_DEFAULTS_MAX_INSTANCES, &SCHEDULER_MAX_INSTANCES);
    if rules.max_instances > rules.most_instances && read.are_sound(&[default, most]) {
        let reason =
            format!("must not be more than {}, which is {}", most.name, rules.most_instances);
        read.fault(FieldFault::new(default.name, reason));
    }
    rules
}

fn targets(text: &str, faults: &mut Faults<'_>) -> Vec<TargetPattern> {
    let entries: Vec<_> =
        text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
    if entries.is_empty() {
        faults.must_be(PATTERNS, text);
    }
    let mut parse = |entry: &str| match TargetPattern::parse(entry) {
        Ok(pattern) => Some(pattern),
        Err(reason) => {
            faults.entry(entry, reason);
            None
        }
    };
    let patterns: Vec<_> = entries.iter().filter_map(|entry| parse(entry)).collect();
    if patterns.len() == entries.len() && !patterns.iter().any(allows_any) {
        patterns.iter().for_each(|pattern| faults.entry(pattern.as_str(), NO_TARGET));
    }
    patterns
}

/// Whether there is a target that a pattern allows.
fn allows_any(pattern: &TargetPattern) -> bool {
    Target::parse(&pattern.as_str().replace(['*', '>'], "a")).is_ok()
}
