//! What Linux says of the process, read anew for each scrape; left out where `/proc` is not mounted.

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Registry;

use super::gauges::gauge;

pub(super) fn register(registry: &mut Registry) {
    if let Ok(stat) = std::fs::read_to_string("/proc/self/stat")
        // The name of the program comes before, and may hold anything.
        && let Some((_, stat)) = stat.rsplit_once(')')
    {
        // The first one here is the third of proc_pid_stat(5).
        let fields: Vec<u64> =
            stat.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
        let field = |number: usize| fields.get(number - 4).copied().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "exact for ages")]
        let (ticks, rate) =
            ((field(14) + field(15)) as f64, rustix::param::clock_ticks_per_second() as f64);
        let cpu = ConstCounter::new(ticks / rate);
        registry.register("process_cpu_seconds", "Processor time used", cpu);
        let resident = field(24) * rustix::param::page_size() as u64;
        gauge(registry, "process_resident_memory_bytes", "Memory that is resident", resident);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is that of the folder.
        let open = open.count().saturating_sub(1);
        gauge(registry, "process_open_fds", "Open file descriptors", open);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::super::tests::now;

    #[test]
    fn the_process_is_measured() {
        let metrics = Metrics::new();
        let of = |sample| now(&metrics, sample).unwrap();
        assert!(of("process_resident_memory_bytes") > 500_000.0);
        assert!(of("process_open_fds") >= 3.0);
        assert!((0.0..3600.0).contains(&of("process_cpu_seconds_total")));
    }
}
