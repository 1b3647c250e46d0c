//! Figures of the process from Linux, read anew for each scrape; left out if `/proc` is not mounted.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::collect::Scrape;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut Scrape(encoder);
        if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
            && let Some(used) = Used::parse(&stat)
        {
            to.counter("process_cpu_seconds", "Processor time used", used.seconds())?;
            to.gauge("process_resident_memory_bytes", "Memory that is resident", used.bytes())?;
        }
        if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
            // One of them belongs to the folder itself.
            let open = open.count().saturating_sub(1);
            to.gauge("process_open_fds", "Open file descriptors", open)?;
        }
        Ok(())
    }
}

/// Usage from `/proc/self/stat`, in the units of that file.
#[derive(Debug, PartialEq, Eq)]
struct Used {
    ticks: u64,
    pages: u64,
}

impl Used {
    fn parse(stat: &str) -> Option<Self> {
        // Skip the name of the program, which may contain anything.
        let (_, stat) = stat.rsplit_once(')')?;
        let fields: Vec<_> = stat.split_whitespace().collect();
        // The first field here is the third of proc_pid_stat(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self { ticks: field(14)? + field(15)?, pages: field(24)? })
    }

    #[allow(clippy::cast_precision_loss, reason = "exact for ages")]
    fn seconds(&self) -> f64 {
        self.ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }

    fn bytes(&self) -> u64 {
        self.pages * rustix::param::page_size() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::super::tests::now;
    use super::*;

    #[test]
    fn the_process_is_measured() {
        let metrics = Metrics::new();
        let of = |sample| now(&metrics, sample).unwrap();
        assert!(of("process_resident_memory_bytes") > 500_000.0);
        assert!(of("process_open_fds") >= 3.0);
        assert!((0.0..3600.0).contains(&of("process_cpu_seconds_total")));
    }

    #[test]
    fn the_name_of_the_program_may_hold_anything() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 140 15 0 0 20 0 9 0 99 1000 24 18446";
        assert_eq!(Used::parse(stat), Some(Used { ticks: 155, pages: 24 }));
        assert_eq!(Used::parse("7 (a"), None);
    }
}
