//! Policies for lateness, overlap, retries and jitter.

use std::hash::{Hash, Hasher};

use chrono::{DateTime, Duration, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::FieldFault;

/// Longest wait before a retry, in seconds.
pub const MAX_RETRY_SECONDS: u32 = 86_400;
/// Longest wait with the most jitter, in milliseconds.
const LONGEST_DELAY_MS: f64 = 2.0 * 1000.0 * MAX_RETRY_SECONDS as f64;
/// Maximum number of error types that are not retried.
const MAX_NON_RETRYABLE: usize = 20;

/// What happens to an occurrence that is due while an earlier execution is under way. Only `request` and
/// `job` executions take time; a published command is done when its stream has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It is skipped.
    #[default]
    Skip,
    /// It runs beside the earlier one, up to `max_instances`; beyond that it is skipped.
    Allow,
    /// The next one waits until the earlier has ended; further ones are skipped.
    BufferOne,
    /// The earlier one is cancelled.
    CancelOther,
}

/// What happens to occurrences that are late because no instance ran or NATS was out of reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// The latest runs, if it is within its grace; those before it are skipped.
    #[default]
    Latest,
    /// All that are within their grace run, in order, the last 1000 at most; they wait for executions under
    /// way instead of being skipped.
    All,
    /// Occurrences that are more than five seconds late do not run.
    None,
}

/// How failed attempts are retried.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetryFields {
    /// Seconds before the first retry; default `retry_delay_seconds`.
    #[schemars(range(min = 0, max = 86_400))]
    pub initial_seconds: Option<u64>,
    /// Factor by which each further wait grows; default 2.
    #[schemars(range(min = 1, max = 10))]
    pub multiplier: Option<f64>,
    /// Longest wait in seconds; default 3600.
    #[schemars(range(min = 1, max = 86_400))]
    pub max_seconds: Option<u64>,
    /// Each wait is longer by up to this fraction, so that executions that failed together do not come back
    /// together; default 0.1.
    #[schemars(range(min = 0, max = 1))]
    pub jitter: Option<f64>,
    /// Error types that are not retried: ours, or those that workers report.
    #[schemars(length(max = 20))]
    pub non_retryable: Option<Vec<String>>,
}

/// [`RetryFields`], checked and with defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RetryPolicy {
    /// Seconds before the first retry.
    pub initial_seconds: u32,
    /// Factor by which each further wait grows.
    pub multiplier: f64,
    /// Longest wait, in seconds.
    pub max_seconds: u32,
    /// Maximum fraction by which each wait is longer.
    pub jitter: f64,
    /// Error types that are not retried.
    pub non_retryable: Vec<String>,
}

// JSON cannot express NaN.
impl Eq for RetryPolicy {}

impl Hash for RetryPolicy {
    fn hash<H: Hasher>(&self, to: &mut H) {
        let Self { initial_seconds, multiplier, max_seconds, jitter, non_retryable } = self;
        (initial_seconds, max_seconds, non_retryable).hash(to);
        (multiplier.to_bits(), jitter.to_bits()).hash(to);
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_seconds: 300,
            multiplier: 2.0,
            max_seconds: 3600,
            jitter: 0.1,
            non_retryable: Vec::new(),
        }
    }
}

impl RetryFields {
    /// Checks the fields and adds what is wrong to `faults`; `initial` is the default for `initial_seconds`.
    pub fn check(&self, initial: u32, faults: &mut Vec<FieldFault>) -> RetryPolicy {
        let mut fault = |field: &str, reason: String| {
            faults.push(FieldFault::new(format!("retry.{field}"), reason));
        };
        let mut seconds = |field: &str, value: Option<u64>, least: u32, default: u32| {
            let value = value.map_or(Some(default), |value| u32::try_from(value).ok());
            value.filter(|value| (least..=MAX_RETRY_SECONDS).contains(value)).unwrap_or_else(|| {
                fault(field, format!("must be {least} to {MAX_RETRY_SECONDS}"));
                default
            })
        };
        let initial_seconds = seconds("initial_seconds", self.initial_seconds, 0, initial);
        let max_seconds = seconds("max_seconds", self.max_seconds, 1, initial.max(3600));
        let default = RetryPolicy::default();
        let multiplier = self.multiplier.unwrap_or(default.multiplier);
        if !(1.0..=10.0).contains(&multiplier) {
            fault("multiplier", "must be 1 to 10".to_owned());
        }
        let jitter = self.jitter.unwrap_or(default.jitter);
        if !(0.0..=1.0).contains(&jitter) {
            fault("jitter", "must be 0 to 1".to_owned());
        }
        let non_retryable = self.non_retryable.clone().unwrap_or_default();
        let sound = |name: &String| (1..=100).contains(&name.chars().count());
        if non_retryable.len() > MAX_NON_RETRYABLE || !non_retryable.iter().all(sound) {
            let reason =
                format!("must be at most {MAX_NON_RETRYABLE} names of 1 to 100 characters");
            fault("non_retryable", reason);
        }
        RetryPolicy { initial_seconds, multiplier, max_seconds, jitter, non_retryable }
    }
}

impl RetryPolicy {
    /// The policy in the form of a request.
    pub fn fields(&self) -> RetryFields {
        RetryFields {
            initial_seconds: Some(u64::from(self.initial_seconds)),
            multiplier: Some(self.multiplier),
            max_seconds: Some(u64::from(self.max_seconds)),
            jitter: Some(self.jitter),
            non_retryable: Some(self.non_retryable.clone()),
        }
    }

    /// How long to wait after attempt `number` (from 1) failed, whose execution was `id`. Every instance gets
    /// the same answer: the jitter is derived from the id.
    pub fn delay(&self, number: u32, id: Uuid) -> Duration {
        let initial = f64::from(self.initial_seconds) * 1000.0;
        let exponent = i32::try_from(number.saturating_sub(1)).unwrap_or(i32::MAX);
        let base =
            (initial * self.multiplier.powi(exponent)).min(f64::from(self.max_seconds) * 1000.0);
        let delay = base * (1.0 + self.jitter * fraction(id.as_bytes()));
        // A policy that was written by hand may contain anything.
        let delay = delay.clamp(0.0, LONGEST_DELAY_MS);
        #[allow(clippy::cast_possible_truncation, reason = "at most two days in milliseconds")]
        Duration::milliseconds(delay as i64)
    }
}

/// Delay from the nominal time of an occurrence until it is due, at most `seconds`. Every instance gets the
/// same answer; it is never negative.
pub fn jitter(seconds: u32, schedule: Uuid, scheduled_for: DateTime<Utc>) -> Duration {
    if seconds == 0 {
        return Duration::zero();
    }
    let mut key = [0; 24];
    key[..16].copy_from_slice(schedule.as_bytes());
    key[16..].copy_from_slice(&scheduled_for.timestamp_millis().to_be_bytes());
    #[allow(clippy::cast_possible_truncation, reason = "at most an hour in milliseconds")]
    Duration::milliseconds((f64::from(seconds) * 1000.0 * fraction(&key)) as i64)
}

/// A number in [0, 1) derived from a key.
fn fraction(key: &[u8]) -> f64 {
    let hash = Sha256::digest(key);
    let mut bytes = [0; 4];
    bytes.copy_from_slice(&hash[..4]);
    f64::from(u32::from_be_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_wait_longer_and_longer_up_to_a_cap() {
        let policy = RetryPolicy { initial_seconds: 10, jitter: 0.0, ..RetryPolicy::default() };
        let seconds: Vec<_> =
            (1..=11).map(|n| policy.delay(n, Uuid::nil()).num_seconds()).collect();
        assert_eq!(seconds, [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
        assert_eq!(policy.delay(u32::MAX, Uuid::nil()).num_seconds(), 3600);
    }

    #[test]
    fn jitter_only_adds_and_is_stable() {
        let policy = RetryPolicy { initial_seconds: 100, jitter: 0.5, ..RetryPolicy::default() };
        let mut distinct = std::collections::HashSet::new();
        for n in 0..100 {
            let id = Uuid::from_u128(n);
            let delay = policy.delay(1, id);
            assert_eq!(delay, policy.delay(1, id));
            assert!((100..=150).contains(&delay.num_seconds()), "{delay}");
            distinct.insert(delay);
            let at = DateTime::from_timestamp(i64::try_from(n).unwrap(), 0).unwrap();
            let later = jitter(30, id, at);
            assert_eq!(later, jitter(30, id, at));
            assert!(later >= Duration::zero() && later < Duration::seconds(30), "{later}");
        }
        assert!(distinct.len() > 90);
        assert_eq!(jitter(0, Uuid::nil(), DateTime::UNIX_EPOCH), Duration::zero());
    }

    #[test]
    fn faults_name_the_field_of_the_object() {
        let fields: RetryFields = serde_json::from_str(
            r#"{"initial_seconds":90000,"multiplier":0.5,"max_seconds":0,"jitter":2,"non_retryable":[""]}"#,
        )
        .unwrap();
        let mut faults = Vec::new();
        fields.check(300, &mut faults);
        let names: Vec<_> = faults.iter().map(|fault| fault.field.as_str()).collect();
        assert_eq!(
            names,
            [
                "retry.initial_seconds",
                "retry.max_seconds",
                "retry.multiplier",
                "retry.jitter",
                "retry.non_retryable"
            ]
        );
    }
}
