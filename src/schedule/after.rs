//! The schedule that a dependent schedule follows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Which ends of an occurrence a dependent schedule follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// Its success.
    #[default]
    Success,
    /// Its failure, after the last attempt.
    Failure,
    /// Either.
    Completion,
}

impl On {
    /// Whether an end is one of these.
    pub fn includes(self, success: bool) -> bool {
        match self {
            Self::Success => success,
            Self::Failure => !success,
            Self::Completion => true,
        }
    }
}

/// The schedule whose occurrences a dependent schedule follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The other schedule.
    pub schedule_id: Uuid,
    /// Which ends count; default `success`.
    #[serde(default)]
    pub on: On,
}

/// The schedule that a request wants to follow.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AfterFields {
    /// The other schedule; or `schedule_name` says which.
    pub schedule_id: Option<Uuid>,
    /// The name of the other schedule, in place of `schedule_id`.
    #[schemars(length(min = 1, max = 255))]
    pub schedule_name: Option<String>,
    /// With `schedule_name`: the creator of that schedule; default: that of this one, or who asks.
    #[schemars(length(min = 1, max = 255))]
    pub creator: Option<String>,
    /// Which ends count; default `success`.
    pub on: Option<On>,
}

impl AfterFields {
    /// The schedule that they say, if they say one by its id.
    pub(super) fn after(&self) -> Option<After> {
        Some(After { schedule_id: self.schedule_id?, on: self.on.unwrap_or_default() })
    }
}

impl From<After> for AfterFields {
    fn from(After { schedule_id, on }: After) -> Self {
        Self { schedule_id: Some(schedule_id), on: Some(on), ..Self::default() }
    }
}
