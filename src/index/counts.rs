//! How many schedules there are, by what they are.

use std::collections::HashMap;

use super::Index;
use crate::schedule::{ScheduleType, Status};

/// Numbers of schedules.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// All, by type and status.
    pub schedules: HashMap<(ScheduleType, Status), usize>,
    /// Those that are failing; deleted ones do not count.
    pub failing: usize,
    /// Those that are overdue.
    pub overdue: usize,
}

impl Index {
    /// Counts the schedules that lists show.
    pub fn counts(&self) -> Counts {
        self.read(|state| {
            let mut counts = Counts::default();
            let schedules = state.entries.values().map(|entry| &entry.schedule);
            for schedule in schedules.filter(|schedule| !schedule.purge) {
                let (kind, status) = (schedule.spec.timing.schedule_type, *schedule.status);
                *counts.schedules.entry((kind, status)).or_default() += 1;
                if status != Status::Deleted {
                    counts.failing += usize::from(schedule.failing_since().is_some());
                    counts.overdue += usize::from(schedule.overdue_since().is_some());
                }
            }
            counts
        })
    }
}
