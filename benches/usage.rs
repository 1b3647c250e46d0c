//! What processes use, and the middle of several figures.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

/// What a process has used.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Memory that it holds, in bytes.
    pub resident: f64,
    /// Time of processors since it was started, in seconds.
    pub processor: f64,
}

impl Usage {
    /// From /proc; nothing where the system does not say it this way.
    pub fn of(pid: u32) -> Self {
        let read =
            |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let (status, stat) = (read("status"), read("stat"));
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
        // Fields behind the name, which may have spaces; ticks are hundredths of a second.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split(' ').collect();
        let ticks = |n: usize| fields.get(n).and_then(|text| text.parse::<f64>().ok());
        let processor = ticks(12).unwrap_or(0.0) + ticks(13).unwrap_or(0.0);
        Self { resident: kib.unwrap_or(0.0) * 1024.0, processor: processor / 100.0 }
    }
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
