//! Filters that select schedules without naming each one.

pub use crate::index::{ScheduleFilter, TagsMatch};
use crate::schedule::{FieldFault, MAX_TAGS};

impl ScheduleFilter {
    /// Faults of the filter.
    pub(super) fn faults(&self) -> impl Iterator<Item = FieldFault> {
        let many = self.tags.as_ref().is_some_and(|tags| tags.len() > MAX_TAGS);
        many.then(|| FieldFault::new("tags", format!("must be at most {MAX_TAGS}"))).into_iter()
    }
}
