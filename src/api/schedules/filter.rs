//! Filters that select schedules without naming each one.

use tokio::task::block_in_place;
use uuid::Uuid;

use super::super::Api;
use super::super::error::ApiError;
pub use crate::index::{ScheduleFilter, TagsMatch};
use crate::port::Nats;
use crate::schedule::keyed::not_a_name;
use crate::schedule::{FieldFault, MAX_TAGS};

/// How many schedules are scanned in the time in which one is looked up by its id.
const LOOK_UP: usize = 8;

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

impl<N: Nats> Api<N> {
    /// Ids of the schedules with executions that have a tag and a target, as of every change that was answered before.
    /// There may be some without executions among them.
    pub(in crate::api) async fn schedules_with(
        &self,
        tag: Option<&String>,
        target: Option<&String>,
    ) -> Result<Vec<Uuid>, ApiError> {
        self.must_catch_up().await?;
        let tags = tag.map(|tag| vec![tag.clone()]);
        let filter = ScheduleFilter { tags, ..ScheduleFilter::default() };
        let target = target.map(String::as_str);
        let few = self.history.schedules(self.index.len() / LOOK_UP).await?;
        // A filter scans every schedule, and blocks this thread meanwhile.
        Ok(block_in_place(|| match few {
            Some(mut ids) => {
                self.index.retain_matching(&mut ids, &filter, target);
                ids
            }
            None => self.index.select_ids(&filter, target),
        }))
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
