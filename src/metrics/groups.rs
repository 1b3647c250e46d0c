//! Values of the concurrency groups that are read at the moment of a scrape. There are at most as many rows of each as there
//! may be groups.

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;

use super::collect::Scrape;

/// A concurrency group.
#[derive(Clone, Debug, Default)]
pub struct GroupGauges {
    /// Its name.
    pub name: String,
    /// Most executions under way at once.
    pub limit: usize,
    /// Number of slots that are taken.
    pub running: usize,
    /// Number of schedules that wait for a slot.
    pub waiting: usize,
}

#[derive(EncodeLabelSet)]
struct Group {
    group: String,
}

pub(super) fn write(groups: &[GroupGauges], to: &mut Scrape<'_>) -> fmt::Result {
    let of_each = |value: fn(&GroupGauges) -> usize| {
        groups.iter().map(move |group| (Group { group: group.name.clone() }, value(group)))
    };
    to.gauges(
        "scheduler_group_limit",
        "Most executions of the concurrency group under way at once",
        of_each(|group| group.limit),
    )?;
    to.gauges(
        "scheduler_group_running",
        "Executions of the concurrency group that are under way, or about to be",
        of_each(|group| group.running),
    )?;
    to.gauges(
        "scheduler_group_waiting_schedules",
        "Schedules that are due and wait for a slot of the concurrency group",
        of_each(|group| group.waiting),
    )
}
