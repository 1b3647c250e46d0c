//! Which schedules are meant, where they are not named one by one.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::Api;
use crate::index::Entry;
use crate::schedule::{FieldFault, MAX_TAGS, Schedule, ScheduleType, Status};

/// How several tags are matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TagsMatch {
    /// At least one of them.
    #[default]
    Any,
    /// Each of them.
    All,
}

/// Schedules by what they have in common: all that are given must hold. What is absent matches all,
/// and without `status` all that are not deleted match.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleFilter {
    /// Created by.
    pub creator: Option<String>,
    /// With these tags.
    pub tags: Option<Vec<String>>,
    /// Whether with any of `tags` (default) or all of them.
    pub tags_match: Option<TagsMatch>,
    /// With this status.
    pub status: Option<Status>,
    /// Of this type.
    pub schedule_type: Option<ScheduleType>,
    /// Switched on, or off.
    pub is_active: Option<bool>,
    /// Whose target command begins so.
    pub target_prefix: Option<String>,
    /// Whose name begins so.
    pub name_prefix: Option<String>,
    /// Whose name contains this, in any case.
    pub name_contains: Option<String>,
    /// Next due at this time or later.
    pub due_after: Option<DateTime<Utc>>,
    /// Next due before this time.
    pub due_before: Option<DateTime<Utc>>,
}

impl Api {
    /// The schedules that match, in no order.
    pub(super) fn matching(&self, filter: &ScheduleFilter) -> Vec<Arc<Entry>> {
        self.index.select(filter.matcher())
    }
}

impl ScheduleFilter {
    /// What is wrong with it.
    pub(super) fn faults(&self) -> impl Iterator<Item = FieldFault> {
        let many = self.tags.as_ref().is_some_and(|tags| tags.len() > MAX_TAGS);
        many.then(|| FieldFault::new("tags", format!("must be at most {MAX_TAGS}"))).into_iter()
    }

    /// Whether a schedule is meant.
    pub(super) fn matcher(&self) -> impl Fn(&Schedule) -> bool {
        let name_contains = self.name_contains.as_ref().map(|text| text.to_lowercase());
        move |schedule| self.matches(schedule, name_contains.as_deref())
    }

    fn matches(&self, schedule: &Schedule, name_contains: Option<&str>) -> bool {
        let spec = &schedule.spec;
        let status = match self.status {
            Some(status) => status == schedule.status,
            None => schedule.status != Status::Deleted,
        };
        let tags = self.tags.as_ref().is_none_or(|tags| {
            let has = |tag: &String| spec.tags.contains(tag);
            match self.tags_match.unwrap_or_default() {
                TagsMatch::Any => tags.iter().any(has),
                TagsMatch::All => tags.iter().all(has),
            }
        });
        let begins = |text: &str, prefix: &Option<String>| {
            prefix.as_ref().is_none_or(|prefix| text.starts_with(prefix))
        };
        let due = |holds: &dyn Fn(DateTime<Utc>) -> bool| schedule.next_run_at.is_some_and(holds);
        !schedule.purge
            && status
            && tags
            && self.creator.as_ref().is_none_or(|creator| *creator == schedule.created_by)
            && self.schedule_type.is_none_or(|kind| kind == spec.timing.schedule_type)
            && self.is_active.is_none_or(|active| active == schedule.is_active)
            && begins(spec.target_command.as_str(), &self.target_prefix)
            && begins(&spec.name, &self.name_prefix)
            && name_contains.is_none_or(|text| contains(&spec.name, text))
            && self.due_after.is_none_or(|after| due(&|at| at >= after))
            && self.due_before.is_none_or(|before| due(&|at| at < before))
    }
}

/// Whether a name contains a text, which is in lower case, in any case.
fn contains(name: &str, text: &str) -> bool {
    if !name.is_ascii() || text.is_empty() {
        return name.to_lowercase().contains(text);
    }
    // Most names; a list looks at all of them.
    name.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn names_contain_texts_in_any_case() {
        for (name, text, expected) in [
            ("Nightly Report", "ly rep", true),
            ("Nightly", "nightly!", false),
            ("Nightly", "", true),
            ("", "", true),
            ("", "x", false),
            ("Größe ÄNDERN", "ändern", true),
            ("abc", "ä", false),
        ] {
            assert_eq!(contains(name, text), expected, "{name} {text}");
        }
    }
}
