//! Metrics of the service, in the text that Prometheus reads.
//!
//! Recording is a look-up by small constant labels and an addition: cheap enough for every firing. Values
//! that can be read at any time, such as the length of a queue, are not recorded: the scrape passes them as
//! [`Gauges`].
//!
//! Label values that are known beforehand exist at zero from the start, so that a rate counts the first event
//! too. No label has an unbounded number of values: users choose only `creator`, which is bounded.
//!
//! Each metric has one home, with its name, help, labels and recording code: `schedules.rs`, `executions.rs`,
//! `claims.rs`, `requests.rs`, `gauges.rs` or `process.rs`.

mod claims;
mod collect;
mod declare;
mod executions;
mod format;
mod gauges;
mod groups;
mod labels;
#[cfg(target_os = "linux")]
mod process;
mod requests;
mod schedules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use self::claims::Claims;
pub use self::claims::{Lock, LockFailure};
use self::collect::Scrape;
use self::executions::Executions;
pub use self::format::Format;
pub use self::gauges::{Gauges, Stage, Stages, StreamGauges};
pub use self::groups::GroupGauges;
pub use self::requests::Counted;
use self::requests::Requests;
use self::schedules::Schedules;

/// All metrics of one instance.
pub struct Metrics {
    schedules: Schedules,
    executions: Executions,
    claims: Claims,
    requests: Requests,
    now: Now,
    registry: Mutex<Registry>,
}

impl Metrics {
    /// All metrics at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let now = Now::default();
        registry.register_collector(Box::new(now.clone()));
        #[cfg(target_os = "linux")]
        registry.register_collector(Box::new(process::Process));
        let to = &mut registry;
        Self {
            schedules: Schedules::new(to),
            executions: Executions::new(to),
            claims: Claims::new(to),
            requests: Requests::new(to),
            now,
            registry: Mutex::new(registry),
        }
    }

    /// The text of `/metrics`: counters and histograms, and the values read at the moment.
    pub fn encode(&self, now: &Gauges, format: Format) -> String {
        let mut text = String::with_capacity(64 * 1024);
        // Held until the text is written; otherwise two scrapes at once could show the gauges of one.
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        self.now.set(now.clone());
        // Writing to a string does not fail.
        let _ = encode(&mut text, &registry);
        drop(registry);
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

/// The gauges of the scrape under way, from which the registry reads them.
#[derive(Clone, Debug, Default)]
struct Now(Arc<Mutex<Gauges>>);

impl Now {
    fn set(&self, gauges: Gauges) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = gauges;
    }
}

impl Collector for Now {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        now.write(&mut Scrape(encoder))
    }
}
