//! What a change of a schedule changes, or would.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schedule::FieldChange;
use crate::trigger;

/// The times of a schedule.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Preview {
    /// The nominal times, in order.
    pub occurrences: Vec<DateTime<Utc>>,
    /// With `jitter_seconds`: when each is due.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub due: Vec<DateTime<Utc>>,
    /// The occurrences that a clock change moved or added.
    pub moved: Vec<Moved>,
    /// What the calendars leave out, if they leave something out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
    /// The timing in plain English, as part of a sentence: "at 09:00, Monday to Friday (UTC)".
    pub description: String,
}

/// Times that calendars leave out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// How many, up to `until`.
    pub count: u64,
    /// The first of them, at most as many as occurrences were asked for.
    pub occurrences: Vec<DateTime<Utc>>,
    /// The last occurrence that is shown; 366 days ahead, if the calendars leave fewer open than were asked for.
    pub until: DateTime<Utc>,
}

/// A time that a clock change moved or added.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Moved {
    /// The time.
    pub at: DateTime<Utc>,
    /// `dst_gap`: its local time was skipped, so it runs at the next valid instant.
    /// `dst_overlap`: its local time was repeated, and this is the second.
    pub cause: trigger::Moved,
}

/// What became of a schedule that a request declares or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApplyOutcome {
    /// There was none of that name.
    Created,
    /// It was another one.
    Updated,
    /// It is what the request says already; nothing was written.
    Unchanged,
}

/// What a request makes of a schedule, or would make of it if it were no dry run.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// What becomes of the schedule.
    pub outcome: ApplyOutcome,
    /// Whether this was a dry run: nothing was written, and `data` shows what would be, at the present revision.
    pub dry_run: bool,
    /// The fields that change; none of a schedule that is created.
    pub changes: Vec<FieldChange>,
    /// The coming times, if they may change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrences: Option<ChangedTimes>,
    /// Of a dry run that would create it: how many more schedules its creator may have, this one included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<usize>,
}

/// The coming times of a schedule under two timings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ChangedTimes {
    /// Those under the old timing; absent for a schedule that is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Preview>,
    /// Those under the new one.
    pub after: Preview,
}
