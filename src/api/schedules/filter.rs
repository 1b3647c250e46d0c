//! Filters that select schedules without naming each one.

pub use crate::index::{ScheduleFilter, TagsMatch};
use crate::schedule::keyed::not_a_name;
use crate::schedule::{FieldFault, MAX_TAGS};

impl ScheduleFilter {
    /// Faults of the filter.
    pub(super) fn faults(&self) -> impl Iterator<Item = FieldFault> {
        let many = self.tags.as_ref().is_some_and(|tags| tags.len() > MAX_TAGS);
        let many =
            many.then(|| FieldFault::new("tags", format!("must have at most {MAX_TAGS} items")));
        let names = [("group", &self.group), ("calendar", &self.calendar)];
        let names = names.into_iter().filter_map(|(field, name)| {
            Some(FieldFault::new(field, not_a_name(name.as_deref()?)?))
        });
        many.into_iter().chain(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_named() {
        let tags = Some(vec!["a".to_owned(); MAX_TAGS + 1]);
        let [group, calendar] = ["", " a"].map(|name| Some(name.to_owned()));
        let filter = ScheduleFilter { tags, group, calendar, ..ScheduleFilter::default() };
        let fields: Vec<_> = filter.faults().map(|fault| fault.field).collect();
        assert_eq!(fields, ["tags", "group", "calendar"]);
        let [group, calendar] = ["a", "x".repeat(100).as_str()].map(|name| Some(name.to_owned()));
        let filter = ScheduleFilter { group, calendar, ..ScheduleFilter::default() };
        assert!(filter.faults().next().is_none());
    }
}
