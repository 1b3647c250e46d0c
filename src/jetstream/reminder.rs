//! Limits how often a lasting fault is logged: at once, and again every 30 seconds, not at each try.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Interval after which the same fault is logged again.
const INTERVAL: Duration = Duration::from_secs(30);
/// Most texts that are remembered: those of a few servers that fail in turn.
const MOST: usize = 16;

/// Remembers what was logged, and when.
#[derive(Debug, Default)]
pub struct Reminder {
    said: HashMap<String, Instant>,
}

impl Reminder {
    /// Whether `text` is to be logged `now`; if so, it counts as logged.
    pub fn is_due(&mut self, text: &str, now: Instant) -> bool {
        if self.said.get(text).is_some_and(|said| now.duration_since(*said) < INTERVAL) {
            return false;
        }
        if self.said.len() >= MOST {
            self.said.clear();
        }
        self.said.insert(text.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_said_at_once_and_then_every_half_minute() {
        let start = Instant::now();
        let mut reminder = Reminder::default();
        let said: Vec<u64> = (0..70)
            .filter(|second| reminder.is_due("refused", start + Duration::from_secs(*second)))
            .collect();
        assert_eq!(said, [0, 30, 60]);
    }

    #[test]
    fn faults_that_take_turns_are_each_said_once() {
        let start = Instant::now();
        let mut reminder = Reminder::default();
        let texts = ["refused", "timed out", "refused", "timed out"];
        let said = texts.map(|text| reminder.is_due(text, start));
        assert_eq!(said, [true, true, false, false]);
    }
}
