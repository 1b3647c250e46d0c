//! The fields of a request to update a schedule, unchecked.

use super::declared::{label_fields, timing_fields, which_fields};
use super::{CreateSchedule, Spec, TimingFields};

which_fields! { label_fields timing_fields after_field command_fields policy_fields request {
    /// A request to update a schedule: given fields change, all others stay.
    ///
    /// A different `schedule_type` takes the fields that belong to it from the request alone; otherwise
    /// timing fields that are not given stay as they are.
    pub struct UpdateSchedule {
        /// The revision that the schedule must have.
        pub expected_revision: Option<u64>,
        /// False switches the schedule off, true on again.
        pub is_active: Option<bool>,
        /// Only report what would change; default false.
        pub dry_run: Option<bool>,
    }
} }

impl UpdateSchedule {
    /// Whether the request changes when the schedule fires.
    pub fn changes_timing(&self) -> bool {
        self.timing() != TimingFields::default()
    }

    /// The updated schedule, as a request to create it.
    pub(super) fn over(&self, spec: &Spec) -> CreateSchedule {
        let mut now = CreateSchedule::of_spec(spec);
        if self.schedule_type.is_some_and(|kind| kind != spec.timing.schedule_type) {
            let zone = TimingFields { timezone: now.timezone, ..TimingFields::default() };
            now = timing_fields! { after_field taken { zone => CreateSchedule { ..now } } };
        }
        label_fields! { timing_fields after_field command_fields policy_fields filled {
            self, now => CreateSchedule { created_by: None, idempotency_key: None, is_active: None }
        } }
    }

    fn timing(&self) -> TimingFields {
        timing_fields! { after_field taken { self => TimingFields {} } }
    }
}
