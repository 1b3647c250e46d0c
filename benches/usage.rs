//! Resources that processes use, and the median of several figures.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

/// Resources that a process has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory in bytes.
    pub resident: f64,
    /// CPU time since it was started, in seconds.
    pub processor: f64,
}

impl Usage {
    /// Read from /proc; nothing where the system does not report it this way.
    pub fn of(pid: u32) -> Self {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let (status, stat) = (read("status"), read("stat"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
        // Fields after the name, which may contain spaces; ticks are hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        let ticks = |n: usize| fields.get(n).and_then(|text| text.parse::<f64>().ok());
        let processor = ticks(12).unwrap_or(0.0) + ticks(13).unwrap_or(0.0);
        Self { resident: kib.unwrap_or(0.0) * 1024.0, processor: processor / 100.0 }
    }
}

/// The median.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
