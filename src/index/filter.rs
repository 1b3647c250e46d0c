//! What a list or an operation on many schedules is limited to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// What schedules may have in common.
macro_rules! filter_fields {
    ($next:ident { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { { $($given)* list {
            /// Created by.
            pub creator: Option<String>,
            /// With these tags.
            pub tags: Option<Vec<String>>,
            /// Whether with any of `tags` (default) or all of them.
            pub tags_match: Option<$crate::index::TagsMatch>,
            /// With this status; `deleted` are those that were deleted softly.
            pub status: Option<$crate::schedule::Status>,
            /// Of this type.
            pub schedule_type: Option<$crate::schedule::ScheduleType>,
            /// Switched on, or off.
            pub is_active: Option<bool>,
            /// Whose target command begins so.
            pub target_prefix: Option<String>,
            /// Whose name begins so.
            pub name_prefix: Option<String>,
            /// Whose name contains this, in any case.
            pub name_contains: Option<String>,
            /// Next due at this time or later.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub due_after: Option<::chrono::DateTime<::chrono::Utc>>,
            /// Next due before this time.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub due_before: Option<::chrono::DateTime<::chrono::Utc>>,
        } } }
    };
}
pub(crate) use filter_fields;

filter_fields! { request {
    /// Schedules by what they have in common: all that are given must hold. What is absent matches all,
    /// and without `status` all that are not deleted match.
    #[derive(PartialEq)]
    pub struct ScheduleFilter {}
} }

impl ScheduleFilter {
    /// Whether it names something that schedules have in common: no tags and empty texts do not.
    pub fn names_something(&self) -> bool {
        let Self { target_prefix, name_prefix, name_contains, .. } = self;
        let texts = [target_prefix, name_prefix, name_contains];
        self.creator.is_some()
            || self.tags.as_ref().is_some_and(|tags| !tags.is_empty())
            || self.status.is_some()
            || self.schedule_type.is_some()
            || self.is_active.is_some()
            || texts.into_iter().flatten().any(|text| !text.is_empty())
            || self.due_after.is_some()
            || self.due_before.is_some()
    }

    /// Whether nothing but the status is given, or nothing at all.
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
            json!({ "tags": ["a"] }),
            json!({ "status": "active" }),
            json!({ "schedule_type": "cron" }),
            json!({ "is_active": true }),
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
