//! Schedules that requests to this instance created and deleted, and those that it replanned.
//!
//! Users choose the label `creator`, so it is bounded: whatever they send, it has a hundred values and
//! [`OTHER`].

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::Metrics;
use super::declare::{family, metric};
use super::labels::TYPES;
use crate::schedule::ScheduleType;

/// Number of creators that are counted by name; all later ones are counted as [`OTHER`].
const MAX_CREATORS: usize = 100;
/// Number of characters kept of a creator's name.
const MAX_CREATOR: usize = 64;
const OTHER: &str = "other";

pub(super) struct Schedules {
    creators: Mutex<HashSet<String>>,
    created: Family<Created, Counter>,
    deleted: Family<Deleted, Counter>,
    corrected: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Created {
    r#type: ScheduleType,
    creator: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Deleted {
    r#type: ScheduleType,
    hard_delete: bool,
}

impl Schedules {
    pub(super) fn new(to: &mut Registry) -> Self {
        let deletions = TYPES.into_iter().flat_map(|kind| {
            [false, true].map(|hard_delete| Deleted { r#type: kind, hard_delete })
        });
        Self {
            creators: Mutex::default(),
            created: family(to, "schedules_created", "Schedules created", Family::default(), []),
            deleted: family(
                to,
                "schedules_deleted",
                "Schedules deleted",
                Family::default(),
                deletions,
            ),
            corrected: metric(
                to,
                "scheduler_records_corrected",
                "Schedules that were planned again because their times lay in the future",
                Counter::default(),
            ),
        }
    }

    /// The label for a creator: the first to come keep their names.
    fn creator(&self, creator: &str) -> String {
        let name: String = creator.chars().take(MAX_CREATOR).collect();
        let mut known = self.creators.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(&name) {
            return name;
        }
        if known.len() >= MAX_CREATORS {
            return OTHER.to_owned();
        }
        known.insert(name.clone());
        name
    }
}

impl Metrics {
    /// Counts a created schedule.
    pub fn schedule_created(&self, kind: ScheduleType, creator: &str) {
        let labels = Created { r#type: kind, creator: self.schedules.creator(creator) };
        self.schedules.created.get_or_create(&labels).inc();
    }

    /// Counts a deleted schedule, deleted for good or so that it can be restored.
    pub fn schedule_deleted(&self, kind: ScheduleType, hard: bool) {
        let labels = Deleted { r#type: kind, hard_delete: hard };
        self.schedules.deleted.get_or_create(&labels).inc();
    }

    /// Counts a schedule that was planned again because its times lay ahead.
    pub fn corrected(&self) {
        self.schedules.corrected.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{text, value};
    use super::*;

    #[test]
    fn creators_are_bounded_in_number_and_length() {
        let metrics = Metrics::new();
        for number in 0..1000 {
            metrics.schedule_created(ScheduleType::Cron, &format!("creator-{number}"));
        }
        metrics.schedule_created(ScheduleType::Cron, "creator-0");
        metrics.schedule_deleted(ScheduleType::Cron, true);
        let shown = text(&metrics);
        assert_eq!(shown.matches("schedules_created_total{").count(), MAX_CREATORS + 1);
        for (creator, expected) in [("creator-0", 2.0), ("creator-99", 1.0), (OTHER, 900.0)] {
            let sample = format!(r#"schedules_created_total{{type="cron",creator="{creator}"}}"#);
            assert_eq!(value(&shown, &sample), Some(expected), "{creator}");
        }
        let metrics = Metrics::new();
        metrics.schedule_created(ScheduleType::Cron, &"ü".repeat(300));
        metrics.schedule_created(ScheduleType::Cron, "a \"b\"\\\n");
        let shown = text(&metrics);
        let cut = format!(r#"creator="{}""#, "ü".repeat(MAX_CREATOR));
        assert!(shown.contains(&cut) && shown.contains(r#"creator="a \"b\"\\\n""#), "{shown}");
    }
}
