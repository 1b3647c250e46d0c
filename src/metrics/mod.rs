//! What the service counts and measures, in the text that Prometheus reads.
//!
//! Recording is a look-up by small constant labels and an addition: cheap enough for every firing.
//! What can be read at any time, such as the length of a queue, is not recorded: it comes with the
//! scrape, as [`Gauges`].
//!
//! Label values that are known beforehand exist at zero from the start, so that a rate counts the
//! first event too. No label has values without end: users choose only `creator`, which is bounded.
//!
//! A metric has one home, with its name, its help, its labels and what records it: `schedules.rs`,
//! `executions.rs`, `claims.rs`, `requests.rs`, `gauges.rs` or `process.rs`.

mod claims;
mod declare;
mod executions;
mod format;
mod gauges;
mod labels;
#[cfg(target_os = "linux")]
mod process;
mod requests;
mod schedules;
#[cfg(test)]
mod tests;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use self::claims::Claims;
pub use self::claims::{Lock, LockFailure};
use self::executions::Executions;
pub use self::format::Format;
pub use self::gauges::{Gauges, Stages, StreamGauges};
pub use self::requests::Counted;
use self::requests::Requests;
use self::schedules::Schedules;

/// All metrics of one instance.
pub struct Metrics {
    schedules: Schedules,
    executions: Executions,
    claims: Claims,
    requests: Requests,
    registry: Registry,
}

impl Metrics {
    /// All of them at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let to = &mut registry;
        Self {
            schedules: Schedules::new(to),
            executions: Executions::new(to),
            claims: Claims::new(to),
            requests: Requests::new(to),
            registry,
        }
    }

    /// The text of `/metrics`: counters and histograms, and what is read at the moment.
    pub fn encode(&self, now: &Gauges, format: Format) -> String {
        let mut text = String::with_capacity(64 * 1024);
        // Writing to a string does not fail.
        let _ = encode_registry(&mut text, &self.registry);
        let _ = encode_registry(&mut text, &now.registry());
        let _ = encode_eof(&mut text);
        match format {
            Format::OpenMetrics => text,
            Format::Classic => format::classic(&text),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}
