//! Estimates NATS's time: from answers that state it, and a monotonic clock in between.
//!
//! An answer states a time that had been reached when the answer came. So each gives a time that is certainly not too
//! late, and the latest of them is the best one known. What waits for it is never early, and late by at most the time
//! that the quickest answer of the last minute took on its way.
//!
//! If an answer contradicts what is known, by more than it can have taken, NATS's clock was set, or another server
//! leads now. It counts once a second answer agrees with it.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::Instant;

/// Answers that count: those of the last minute, at one every five seconds. Clocks drift apart by less than a
/// millisecond in that time.
const WINDOW: usize = 12;
/// Largest change of NATS's time that is not reported.
pub(super) const JUMP: TimeDelta = TimeDelta::milliseconds(500);
/// How far two answers that agree may lie apart, beyond the time that they took.
const AGREE: TimeDelta = TimeDelta::milliseconds(100);

/// An answer that states NATS's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the question was sent.
    pub asked: Instant,
    /// When the answer came.
    pub answered: Instant,
    /// The time that it states.
    pub theirs: DateTime<Utc>,
}

impl Sample {
    fn at(&self, instant: Instant) -> DateTime<Utc> {
        match instant.checked_duration_since(self.answered) {
            Some(since) => self.theirs + delta(since),
            None => self.theirs - delta(self.answered.saturating_duration_since(instant)),
        }
    }

    fn took(&self) -> TimeDelta {
        delta(self.answered.saturating_duration_since(self.asked))
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

/// The effect of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It changes nothing that matters.
    Fits,
    /// It contradicts what is known: ask again.
    Doubtful,
    /// NATS's time has changed by this much.
    Jumped(TimeDelta),
}

/// What is known of NATS's time.
#[derive(Debug, Default)]
pub(super) struct Estimate {
    samples: VecDeque<Sample>,
    /// The sample that gives the latest time.
    best: Option<Sample>,
    doubtful: Option<Sample>,
}

impl Estimate {
    /// NATS's time at an instant; `None` before the first answer.
    pub(super) fn at(&self, instant: Instant) -> Option<DateTime<Utc>> {
        self.best.map(|best| best.at(instant))
    }

    /// By how much the estimate may be too early.
    pub(super) fn error(&self) -> Option<TimeDelta> {
        self.best.map(|best| best.took())
    }

    /// When the last answer that fits came.
    pub(super) fn heard_at(&self) -> Option<Instant> {
        self.samples.back().map(|sample| sample.answered)
    }

    /// Whether an answer contradicts what is known, and none has confirmed either yet.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubtful.is_some()
    }

    /// Forgets everything: what was measured is worthless now.
    pub(super) fn restart(&mut self) {
        self.samples.clear();
        self.doubtful = None;
    }

    /// Takes in an answer.
    pub(super) fn hear(&mut self, sample: Sample) -> Heard {
        let known = self.at(sample.answered).filter(|_| !self.samples.is_empty());
        let Some(known) = known else {
            let before = self.at(sample.answered);
            self.begin(sample);
            let jump = before.map(|before| sample.theirs - before);
            return match jump.filter(|jump| jump.abs() > JUMP + sample.took()) {
                Some(jump) => Heard::Jumped(jump),
                None => Heard::Fits,
            };
        };
        let (ahead, behind) = (sample.theirs - known, known - (sample.theirs + sample.took()));
        if ahead <= JUMP && behind <= JUMP {
            self.doubtful = None;
            if behind > TimeDelta::zero() {
                // Our estimate ran ahead: what it was based on is worthless.
                self.begin(sample);
            } else {
                self.add(sample);
            }
            return Heard::Fits;
        }
        let agrees = |other: Sample| {
            (other.at(sample.answered) - sample.theirs).abs()
                <= AGREE + sample.took() + other.took()
        };
        if self.doubtful.take().is_some_and(agrees) {
            self.begin(sample);
            Heard::Jumped(sample.theirs - known)
        } else {
            self.doubtful = Some(sample);
            Heard::Doubtful
        }
    }

    fn begin(&mut self, sample: Sample) {
        self.restart();
        self.add(sample);
    }

    fn add(&mut self, sample: Sample) {
        if self.samples.len() == WINDOW {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
        let at = sample.answered;
        self.best = self.samples.iter().copied().max_by_key(|sample| sample.at(at));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        estimate: Estimate,
        start: Instant,
    }

    const MIDNIGHT: i64 = 1_800_000_000_000;

    impl World {
        fn new() -> Self {
            Self { estimate: Estimate::default(), start: Instant::now() }
        }

        fn instant(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        /// Takes in an answer to a question asked at `ms` that took `took` and stated `said`, in ms after midnight.
        fn hear(&mut self, ms: u64, took: u64, said: i64) -> Heard {
            let (asked, answered) = (self.instant(ms), self.instant(ms + took));
            let theirs = DateTime::from_timestamp_millis(MIDNIGHT + said).unwrap();
            self.estimate.hear(Sample { asked, answered, theirs })
        }

        fn at(&self, ms: u64) -> i64 {
            self.estimate.at(self.instant(ms)).unwrap().timestamp_millis() - MIDNIGHT
        }
    }

    #[test]
    fn the_time_is_never_ahead_of_any_that_fits_the_answers() {
        let mut world = World::new();
        // The server's time is 0 at 0; its answers take some ms there and some back.
        for (n, (there, back)) in [(40, 60), (1, 2), (300, 5), (5, 300)].into_iter().enumerate() {
            let ms = n as u64 * 5000;
            let heard = world.hear(ms, there + back, i64::try_from(ms + there).unwrap());
            assert_eq!(heard, Heard::Fits);
            let now = ms + there + back;
            assert!(world.at(now) <= i64::try_from(now).unwrap());
        }
        // The quickest way back decides.
        assert_eq!(world.at(20_000), 19_998);
    }

    #[test]
    fn a_jump_counts_once_it_is_confirmed() {
        let mut world = World::new();
        assert_eq!(world.hear(0, 2, 1), Heard::Fits);
        assert_eq!(world.hear(5000, 2, 3_605_001), Heard::Doubtful);
        assert!(world.estimate.is_doubtful());
        assert_eq!(world.at(5002), 5001, "one answer changes nothing");
        assert_eq!(world.hear(5010, 2, 3_605_011), Heard::Jumped(TimeDelta::hours(1)));
        assert_eq!(world.at(5012), 3_605_011);
        // Back again; then a single wrong answer.
        assert_eq!(world.hear(10_000, 2, 10_001), Heard::Doubtful);
        assert_eq!(world.hear(10_010, 2, 3_610_011), Heard::Fits);
        assert!(!world.estimate.is_doubtful());
        assert_eq!(world.hear(15_000, 2, 15_001), Heard::Doubtful);
        assert!(matches!(world.hear(15_010, 2, 15_011), Heard::Jumped(_)));
        assert_eq!(world.at(15_012), 15_011);
    }

    #[test]
    fn clocks_that_drift_apart_are_followed_both_ways() {
        let mut world = World::new();
        for n in 0..100_u64 {
            let ms = n * 5000;
            // NATS's clock is slower by 200 ppm, then faster.
            let said = if n < 50 { ms - ms / 5000 } else { ms - 50 + (ms - 250_000) / 5000 };
            assert_eq!(world.hear(ms, 2, i64::try_from(said).unwrap() + 1), Heard::Fits);
            let error = world.at(ms + 2) - (i64::try_from(said).unwrap() + 1);
            assert!((0..=3).contains(&error), "{n}: {error}");
        }
    }

    #[test]
    fn after_a_restart_the_first_answer_counts_and_a_jump_is_said() {
        let mut world = World::new();
        world.hear(0, 2, 1);
        world.estimate.restart();
        assert_eq!(world.at(1000), 999, "what was known stands until then");
        assert_eq!(world.hear(2000, 2, 62_001), Heard::Jumped(TimeDelta::minutes(1)));
        assert_eq!(world.at(2002), 62_001);
    }
}
