//! Settings about targets of commands.

use super::reader::Reader;
use crate::schedule::TargetPattern;

impl<F: Fn(&str) -> Option<String>> Reader<F> {
    /// How many commands a second go to which targets.
    pub(super) fn rates(&mut self) -> Vec<(TargetPattern, f64)> {
        const NAME: &str = "TARGET_RATE_LIMITS";
        let text = self.text(NAME);
        let mut rates = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let parsed = entry.split_once('=').and_then(|(pattern, rate)| {
                let rate = rate.trim().parse::<f64>().ok();
                let rate = rate.filter(|rate| (0.001..=1_000_000.0).contains(rate))?;
                Some((TargetPattern::parse(pattern.trim()).ok()?, rate))
            });
            match parsed {
                Some(rate) => rates.push(rate),
                None => {
                    let reason = "must be pattern=rate, with 0.001 to 1000000 commands a second";
                    self.fault(NAME, format!("{entry:?} {reason}"));
                }
            }
        }
        rates
    }

    /// Which targets schedules may have.
    pub(super) fn targets(&mut self) -> Vec<TargetPattern> {
        const NAME: &str = "ALLOWED_TARGET_COMMANDS";
        let text = self.text(NAME);
        let mut targets = Vec::new();
        let patterns: Vec<_> =
            text.split(',').map(str::trim).filter(|pattern| !pattern.is_empty()).collect();
        if patterns.is_empty() {
            self.fault(NAME, format!("must be patterns separated by commas, not {text:?}"));
        }
        for pattern in patterns {
            match TargetPattern::parse(pattern) {
                Ok(pattern) => targets.push(pattern),
                Err(reason) => self.fault(NAME, format!("{pattern:?} {reason}")),
            }
        }
        targets
    }
}
