//! Shares equal parts of schedules, so that each is in memory once.
//!
//! A freshly read record has its own timing, tags, target and so on, although thousands may have equal ones.
//! Before it is kept, each of these is exchanged for the equal one that is already there.

use std::sync::Arc;

use super::Entry;
use crate::schedule::{Delivery, RetryPolicy, Schedule, ScheduleType, Spec, Target, Timing};
use crate::stored::{Kept, Pool};
use crate::trigger::CronTrigger;

/// Parts of the schedules in the index.
#[derive(Default)]
pub(super) struct Shares {
    timings: Pool<Timing>,
    crons: Pool<CronTrigger>,
    tags: Pool<Vec<String>>,
    deliveries: Pool<Kept<Delivery>>,
    retries: Pool<Kept<RetryPolicy>>,
    targets: Pool<str>,
    /// Names of those who create, change and own schedules.
    names: Pool<String>,
}

impl Shares {
    /// Makes a new entry share what it can, first of all with what was known of the same schedule.
    pub fn share(&mut self, entry: &mut Entry, known: Option<&Schedule>) {
        // A record that others hold is one that the engine writes: it was made from a record that already
        // shares.
        let Some(schedule) = Arc::get_mut(&mut entry.schedule) else { return };
        if let Some(cron) = entry.trigger.cron() {
            self.crons.share(cron);
        }
        self.names.share_value(&mut schedule.created_by);
        for by in [&mut schedule.updated_by, &mut schedule.deleted_by].into_iter().flatten() {
            self.names.share_value(by);
        }
        if let Some(known) = known.filter(|known| known.spec == schedule.spec) {
            schedule.spec = Arc::clone(&known.spec);
        } else if let Some(spec) = Arc::get_mut(&mut schedule.spec) {
            self.share_spec(spec);
        }
    }

    fn share_spec(&mut self, spec: &mut Spec) {
        // Other types have an instant of their own.
        if spec.timing.schedule_type == ScheduleType::Cron {
            self.timings.share_value(&mut spec.timing);
        }
        if let Some(owner) = &mut spec.owner {
            self.names.share_value(owner);
        }
        self.tags.share_value(&mut spec.tags);
        self.deliveries.share_value(&mut spec.delivery);
        self.retries.share_value(&mut spec.retry);
        for target in [Some(&mut spec.target_command), spec.dead_letter.as_deref_mut()] {
            target.into_iter().map(Target::text).for_each(|text| self.targets.share(text));
        }
    }
}
