//! Limits on commands per second to a target, where the operator has set them.
//!
//! There is a token bucket per pattern: it fills at the rate, holds at most one second's worth, and each command takes
//! one token. The rate is for all instances together, so each has its share of it.

use chrono::{DateTime, Duration, Utc};

use crate::schedule::{Target, TargetPattern};

struct Bucket {
    pattern: TargetPattern,
    per_second: f64,
    tokens: f64,
    filled_at: DateTime<Utc>,
}

/// The rate limits as this instance applies them.
pub(super) struct Rates(Vec<Bucket>);

impl Rates {
    pub(super) fn new(rates: &[(TargetPattern, f64)], now: DateTime<Utc>) -> Self {
        let bucket = |(pattern, per_second): &(TargetPattern, f64)| Bucket {
            pattern: pattern.clone(),
            per_second: *per_second,
            // Other instances may have just sent at the full rate.
            tokens: 1.0,
            filled_at: now,
        };
        Self(rates.iter().map(bucket).collect())
    }

    /// Goes on from `now`, which is earlier than the time of the last count.
    pub(super) fn begin_again(&mut self, now: DateTime<Utc>) {
        for bucket in &mut self.0 {
            (bucket.tokens, bucket.filled_at) = (bucket.tokens.max(0.0), now);
        }
    }

    /// Whether any limit applies to a target.
    pub(super) fn limits(&self, target: &Target) -> bool {
        self.0.iter().any(|bucket| bucket.pattern.allows(target))
    }

    /// When a command may go to a target if nothing is reserved before; `instances` share the rate.
    pub(super) fn next(
        &mut self,
        target: &Target,
        now: DateTime<Utc>,
        instances: usize,
    ) -> DateTime<Utc> {
        let mut at = now;
        #[allow(clippy::cast_precision_loss, reason = "a handful of instances")]
        let share = 1.0 / instances.max(1) as f64;
        for bucket in self.of(target) {
            let rate = bucket.per_second * share;
            #[allow(clippy::cast_precision_loss, reason = "milliseconds of a pause")]
            let elapsed = (now - bucket.filled_at).num_milliseconds().max(0) as f64 / 1000.0;
            bucket.tokens = (bucket.tokens + elapsed * rate).min(rate.max(1.0));
            bucket.filled_at = bucket.filled_at.max(now);
            let missing = 1.0 - bucket.tokens;
            if missing > 0.0 {
                // A day is as good as never: by then the occurrence has lapsed, or it asks again.
                let wait = (missing / rate * 1000.0).ceil().min(86_400_000.0);
                #[allow(clippy::cast_possible_truncation, reason = "at most a day")]
                let wait = Duration::milliseconds(wait as i64);
                at = at.max(now + wait);
            }
        }
        at
    }

    /// Reserves `commands` sendings to a target, first come first served, and returns when the first may go.
    pub(super) fn reserve(
        &mut self,
        target: &Target,
        commands: usize,
        now: DateTime<Utc>,
        instances: usize,
    ) -> DateTime<Utc> {
        let at = self.next(target, now, instances);
        self.of(target).for_each(|bucket| bucket.tokens -= tokens(commands));
        at
    }

    /// Takes back a reservation: nothing was sent under it, and nothing will be.
    pub(super) fn give_back(&mut self, target: &Target, commands: usize) {
        self.of(target).for_each(|bucket| bucket.tokens += tokens(commands));
    }

    fn of(&mut self, target: &Target) -> impl Iterator<Item = &mut Bucket> {
        self.0.iter_mut().filter(|bucket| bucket.pattern.allows(target))
    }
}

#[allow(clippy::cast_precision_loss, reason = "a handful of commands")]
fn tokens(commands: usize) -> f64 {
    commands as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_second: f64) -> (Rates, Target, DateTime<Utc>) {
        let pattern = TargetPattern::parse("cmd.mail.>").unwrap();
        let start = DateTime::from_timestamp(0, 0).unwrap();
        let target = Target::parse("cmd.mail.a").unwrap();
        (Rates::new(&[(pattern, per_second)], start), target, start)
    }

    #[test]
    fn commands_go_at_the_rate_in_the_order_in_which_they_were_asked_for() {
        let (mut rates, mail, start) = rates(10.0);
        let times: Vec<_> = (0..50).map(|_| rates.reserve(&mail, 1, start, 1)).collect();
        assert!(times.is_sorted());
        assert_eq!(times[0], start);
        assert_eq!(times[1], start + Duration::milliseconds(100));
        assert_eq!(times[49], start + Duration::milliseconds(4900));
        let other = Target::parse("cmd.b").unwrap();
        assert!(!rates.limits(&other) && rates.limits(&mail));
        assert_eq!(rates.reserve(&other, 1, start, 1), start, "no limit");
    }

    #[test]
    fn what_was_not_used_is_kept_for_a_second_at_most_and_shared() {
        let (mut rates, mail, start) = rates(10.0);
        let now = start + Duration::seconds(100);
        let at_once = (0..100).filter(|_| rates.reserve(&mail, 1, now, 2) == now).count();
        assert_eq!(at_once, 5, "two instances share the rate");
    }

    #[test]
    fn what_is_given_back_is_there_for_the_next() {
        let (mut rates, mail, start) = rates(10.0);
        for _ in 0..50 {
            rates.reserve(&mail, 1, start, 1);
        }
        rates.give_back(&mail, 49);
        assert_eq!(rates.next(&mail, start, 1), start + Duration::milliseconds(100));
        let later = start + Duration::milliseconds(100);
        assert_eq!(rates.reserve(&mail, 1, later, 1), later);
    }

    #[test]
    fn several_at_once_make_the_next_wait_for_all() {
        let (mut rates, mail, start) = rates(0.5);
        assert_eq!(rates.reserve(&mail, 3, start, 1), start);
        assert_eq!(rates.reserve(&mail, 1, start, 1), start + Duration::seconds(6));
    }
}
