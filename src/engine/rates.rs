//! How often commands may go to a target, where the operator has set that.
//!
//! A bucket of tokens per pattern: it fills at the rate, holds at most one second's worth, and each
//! command takes one. The rate is that of all instances together, so each has its share of it.

use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Duration, Utc};

use crate::schedule::{Target, TargetPattern};

struct Bucket {
    pattern: TargetPattern,
    per_second: f64,
    tokens: f64,
    filled_at: DateTime<Utc>,
}

/// The limits of one instance.
pub(crate) struct Rates(Mutex<Vec<Bucket>>);

impl Rates {
    pub(crate) fn new(rates: &[(TargetPattern, f64)], now: DateTime<Utc>) -> Self {
        let bucket = |(pattern, per_second): &(TargetPattern, f64)| Bucket {
            pattern: pattern.clone(),
            per_second: *per_second,
            // Others may have just sent at the full rate.
            tokens: 1.0,
            filled_at: now,
        };
        Self(Mutex::new(rates.iter().map(bucket).collect()))
    }

    /// Whether any limit applies to a target.
    pub(crate) fn limits(&self, target: &Target) -> bool {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.iter().any(|bucket| bucket.pattern.allows(target))
    }

    /// Takes tokens for commands that went beside the one that took its own.
    pub(crate) fn owe(&self, target: &Target, commands: usize) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for bucket in buckets.iter_mut().filter(|bucket| bucket.pattern.allows(target)) {
            #[allow(clippy::cast_precision_loss, reason = "a handful of commands")]
            let taken = commands as f64;
            bucket.tokens -= taken;
        }
    }

    /// Takes a token for a command to `target` from each pattern that covers it; or says when to come
    /// again. `instances` share the rate.
    pub(crate) fn take(
        &self,
        target: &Target,
        now: DateTime<Utc>,
        instances: usize,
    ) -> Result<(), DateTime<Utc>> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut later = None;
        #[allow(clippy::cast_precision_loss, reason = "a handful of instances")]
        let share = 1.0 / instances.max(1) as f64;
        let covers = |bucket: &&mut Bucket| bucket.pattern.allows(target);
        for bucket in buckets.iter_mut().filter(covers) {
            let rate = bucket.per_second * share;
            #[allow(clippy::cast_precision_loss, reason = "milliseconds of a pause")]
            let elapsed = (now - bucket.filled_at).num_milliseconds().max(0) as f64 / 1000.0;
            bucket.tokens = (bucket.tokens + elapsed * rate).min(rate.max(1.0));
            bucket.filled_at = bucket.filled_at.max(now);
            if bucket.tokens < 1.0 {
                #[allow(clippy::cast_possible_truncation, reason = "rates are at least 0.001")]
                let wait = ((1.0 - bucket.tokens) / rate * 1000.0).ceil() as i64;
                later = later.max(Some(now + Duration::milliseconds(wait.max(1))));
            }
        }
        if let Some(later) = later {
            return Err(later);
        }
        for bucket in buckets.iter_mut().filter(covers) {
            bucket.tokens -= 1.0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_pass_at_the_rate_and_never_in_bursts_above_a_second() {
        let pattern = TargetPattern::parse("cmd.mail.>").unwrap();
        let start = DateTime::from_timestamp(0, 0).unwrap();
        let rates = Rates::new(&[(pattern, 10.0)], start);
        let (mail, other) = (Target::parse("cmd.mail.a").unwrap(), Target::parse("cmd.b").unwrap());
        let mut passed = 0;
        for ms in 0..10_000 {
            let now = start + Duration::milliseconds(ms);
            match rates.take(&mail, now, 1) {
                Ok(()) => passed += 1,
                Err(later) => assert!(later > now && later <= now + Duration::seconds(1)),
            }
            assert!(rates.take(&other, now, 1).is_ok(), "no limit");
        }
        assert!((100..=101).contains(&passed), "{passed}");
        let now = start + Duration::seconds(100);
        let shared = (0..100).filter(|_| rates.take(&mail, now, 2).is_ok()).count();
        assert_eq!(shared, 5, "two instances share the rate");
    }

    #[test]
    fn a_slow_rate_lets_one_pass_at_a_time() {
        let pattern = TargetPattern::parse("cmd.sms.send").unwrap();
        let start = DateTime::from_timestamp(0, 0).unwrap();
        let rates = Rates::new(&[(pattern, 0.5)], start);
        let sms = Target::parse("cmd.sms.send").unwrap();
        assert!(rates.take(&sms, start, 1).is_ok());
        let later = rates.take(&sms, start, 1).unwrap_err();
        assert_eq!(later, start + Duration::seconds(2));
        assert!(rates.take(&sms, later, 1).is_ok());
    }
}
