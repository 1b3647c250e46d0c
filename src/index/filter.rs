//! Filters for lists and for operations on many schedules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How several tags are matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TagsMatch {
    /// At least one of the tags.
    #[default]
    Any,
    /// All of the tags.
    All,
}

/// Properties that schedules may have in common.
macro_rules! filter_fields {
    ($next:ident { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { { $($given)* list {
            /// Schedules with this creator.
            pub creator: Option<String>,
            /// Schedules of this owner; empty for those of nobody.
            pub owner: Option<String>,
            /// Schedules that name this concurrency group.
            #[schemars(length(min = 1, max = 100))]
            pub group: Option<String>,
            /// Schedules that name this calendar in `only` or `exclude`.
            #[schemars(length(min = 1, max = 100))]
            pub calendar: Option<String>,
            /// Schedules with these tags.
            pub tags: Option<Vec<String>>,
            /// Whether any of `tags` suffices (default) or all of them are required.
            pub tags_match: Option<$crate::index::TagsMatch>,
            /// Schedules with this status; `deleted` are those that were deleted softly.
            pub status: Option<$crate::schedule::Status>,
            /// Schedules of this type.
            pub schedule_type: Option<$crate::schedule::ScheduleType>,
            /// Schedules that are switched on, or off.
            pub is_active: Option<bool>,
            /// Schedules that are failing, or not.
            pub is_failing: Option<bool>,
            /// Schedules that are overdue, or not.
            pub is_overdue: Option<bool>,
            /// Schedules whose latest run ended so.
            pub last_outcome: Option<$crate::schedule::Ending>,
            /// Schedules whose target command begins with this text.
            pub target_prefix: Option<String>,
            /// Schedules whose name begins with this text.
            pub name_prefix: Option<String>,
            /// Schedules whose name contains this text, in any case.
            pub name_contains: Option<String>,
            /// Schedules that are next due at this time or later.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub due_after: Option<::chrono::DateTime<::chrono::Utc>>,
            /// Schedules that are next due before this time.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub due_before: Option<::chrono::DateTime<::chrono::Utc>>,
        } } }
    };
}
pub(crate) use filter_fields;

filter_fields! { request {
    /// Schedules by what they have in common: all given conditions must hold. An absent one matches all,
    /// except that without `status` only schedules that are not deleted match.
    #[derive(PartialEq)]
    pub struct ScheduleFilter {}
} }

impl ScheduleFilter {
    /// Whether the filter names something that schedules have in common; no tags and empty texts do not
    /// count.
    pub fn names_something(&self) -> bool {
        let Self { target_prefix, name_prefix, name_contains, .. } = self;
        let texts = [target_prefix, name_prefix, name_contains];
        self.creator.is_some()
            || self.owner.is_some()
            || self.group.is_some()
            || self.calendar.is_some()
            || self.tags.as_ref().is_some_and(|tags| !tags.is_empty())
            || self.status.is_some()
            || self.schedule_type.is_some()
            || self.is_active.is_some()
            || self.is_failing.is_some()
            || self.is_overdue.is_some()
            || self.last_outcome.is_some()
            || texts.into_iter().flatten().any(|text| !text.is_empty())
            || self.due_after.is_some()
            || self.due_before.is_some()
    }

    /// Whether only the status is given, or nothing at all.
    pub(super) fn is_by_status(&self) -> bool {
        *self == Self { status: self.status, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ScheduleFilter;

    #[test]
    fn a_filter_may_name_nothing() {
        let names_something = |filter: &Value| {
            serde_json::from_value::<ScheduleFilter>(filter.clone()).unwrap().names_something()
        };
        for nothing in [
            json!({}),
            json!({ "tags": [] }),
            json!({ "tags_match": "all" }),
            json!({ "name_prefix": "" }),
            json!({ "tags": [], "tags_match": "all", "name_prefix": "", "name_contains": "",
                "target_prefix": "" }),
        ] {
            assert!(!names_something(&nothing), "{nothing}");
        }
        for something in [
            json!({ "creator": "" }),
            json!({ "owner": "a" }),
            json!({ "group": "a" }),
            json!({ "calendar": "a" }),
            json!({ "tags": ["a"] }),
            json!({ "status": "active" }),
            json!({ "schedule_type": "cron" }),
            json!({ "is_active": true }),
            json!({ "is_failing": false }),
            json!({ "is_overdue": true }),
            json!({ "last_outcome": "failed" }),
            json!({ "target_prefix": "cmd.a" }),
            json!({ "name_prefix": "", "name_contains": "a" }),
            json!({ "name_prefix": "a", "tags": [] }),
            json!({ "due_after": "2026-01-01T00:00:00Z" }),
            json!({ "due_before": "2026-01-01T00:00:00Z" }),
        ] {
            assert!(names_something(&something), "{something}");
        }
    }
}
