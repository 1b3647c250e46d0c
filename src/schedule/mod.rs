//! The schedule: what a user wrote ([`Spec`]) and the state it is in ([`Schedule`]).
//!
//! One JSON value per schedule holds both, so one revision fences everything: a pause, an update
//! and a firing of the same schedule cannot both win.

mod after;
mod attempt;
mod attempt_form;
mod calendar;
mod change;
pub(crate) mod declared;
mod delivery;
mod due;
mod fields;
mod format;
mod group;
mod instant;
pub(crate) mod keyed;
mod length;
mod life;
mod mend;
mod object;
mod over;
mod pause;
mod pause_all;
mod payload;
mod pin;
mod pinned;
mod policy;
mod recent;
mod request;
mod rules;
mod size;
mod skipped;
mod standing;
mod status;
mod target;
mod template;
mod timing;
mod update;
mod validate;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::stored::{Count, Few, Kept, Pooled, Unknown, keeps_unknown};
use crate::trace_context::TraceContext;

pub use after::{After, AfterFields, On};
pub use attempt::{Attempt, Cancel, Ending, Manual, Origin, Phase, Report, execution_id};
pub use attempt_form::PhaseName;
pub use calendar::{
    CALENDARS_NEED, Calendar, Calendars, Content, Days, MAX_BYTES as MAX_CALENDAR_BYTES,
    PutCalendar, Span,
};
pub use change::{Author, Change, ChangeEvent, ChangeKind, FieldChange, differences};
pub use delivery::{Delivery, DeliveryMode};
pub(crate) use fields::slips;
pub use fields::unknown_name;
pub use fields::{
    FieldFault, MAX_FAULTS, Unread, object as object_field, parse as parse_fields,
    parse_with as parse_fields_with,
};
pub use group::{GROUPS_NEED, Group, MAX_GROUP_LIMIT, PutGroup, Slot, SlotState, Taken};
pub use instant::{
    field as instant_field, last as last_instant, mend as mend_instant, parse as parse_instant,
    write as write_instant,
};
pub use life::{AttemptEvent, Finish, Guarded, NotNow, Refused, ScheduleEvent};
pub use pause::Resumption;
pub use pause_all::{Halt, PAUSE_ALL_NEEDS, PauseOfAll, PausesOfAll};
pub use payload::{MAX_PAYLOAD_BYTES, Payload};
pub use pin::{Pins, Sends};
pub use pinned::Pinned;
pub use policy::{CatchUp, Overlap, RetryFields, RetryPolicy, jitter};
pub use recent::{Fate, RecentChanges};
pub use request::CreateSchedule;
pub use rules::{Limits, MAX_TAGS, Rules};
pub use size::{Room, TooLarge};
pub use skipped::{SkipCause, SkippedRange};
pub use standing::{Alerts, Standing};
pub use status::{ScheduleType, Status};
pub use target::{Target, TargetPattern};
pub use template::{Values, check as check_template, render};
pub use timing::{MAX_INTERVAL_SECONDS, MAX_JITTER_SECONDS, Timing, TimingFields};
pub use update::UpdateSchedule;
pub use validate::{apply_declaration, apply_update, new_schedule, restore};
pub(crate) use validate::{check_edges, check_id};

/// A schedule as the user wrote it, checked and with defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Spec {
    /// 1 to 255 characters, unique per creator among schedules that are not deleted.
    pub name: Box<str>,
    /// At most 1000 characters.
    pub description: Option<Pooled<String>>,
    /// When it fires.
    pub timing: Pooled<Timing>,
    /// The subject that commands are sent to.
    pub target_command: Target,
    /// The body of every command, byte for byte.
    pub command_payload: Payload,
    /// At most 20 tags.
    pub tags: Pooled<Vec<String>>,
    /// 1 to 10; the higher priority goes first when many are due at once.
    pub priority: u8,
    /// Maximum number of attempts after the first, 0 to 10.
    pub max_retries: u8,
    /// Seconds before the first retry; each further one waits twice as long.
    pub retry_delay_seconds: u32,
    /// How commands are sent.
    pub delivery: Pooled<Kept<Delivery>>,
    /// How many seconds late an occurrence may be and still be acted on.
    pub misfire_grace_seconds: u32,
    /// What happens to late occurrences.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// What happens to an occurrence while an earlier execution is under way.
    #[serde(default)]
    pub overlap: Overlap,
    /// With `overlap` `allow`: maximum number of executions under way at once.
    #[serde(default = "one")]
    pub max_instances: u8,
    /// The concurrency group that its executions take slots of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Pooled<String>>,
    /// How failed attempts are retried.
    #[serde(default)]
    pub retry: Pooled<Kept<RetryPolicy>>,
    /// Subject that the command is sent to when its last attempt has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Box<Target>>,
    /// Seconds without a success after which it is overdue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_success_within_seconds: Option<NonZeroU32>,
    /// Number of occurrences that must fail in a row for it to be failing.
    #[serde(default = "once", skip_serializing_if = "is_once")]
    pub failing_after: NonZeroU16,
    /// Number of occurrences that must fail in a row to pause the schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_on_failure: Option<NonZeroU16>,
    /// Who keeps it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Pooled<String>>,
    /// Whether the payload has placeholders.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub payload_template: bool,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

fn one() -> u8 {
    1
}

fn once() -> NonZeroU16 {
    NonZeroU16::MIN
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_once(count: &NonZeroU16) -> bool {
    *count == once()
}

/// A request to run occurrences of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Backfill {
    /// Id from which the ids of its executions are derived.
    pub id: Uuid,
    /// The next time to run.
    pub next: DateTime<Utc>,
    /// The last time to run.
    pub until: DateTime<Utc>,
    /// The user who asked for it.
    pub by: String,
    /// The correlation id of the request.
    pub correlation_id: String,
    /// The trace that the request belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// An occurrence that has ended and that other schedules wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct EndedOccurrence {
    /// Its last execution.
    pub execution_id: Uuid,
    /// Whether it succeeded.
    pub success: bool,
    /// Its correlation id, which the executions that follow share.
    pub correlation_id: String,
    /// Its span, which the executions that follow are consequences of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

/// Writer of a record. It distinguishes one's own write whose acknowledgement was lost from another's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Writer {
    /// The running process.
    pub instance: Uuid,
    /// Random, new for each write.
    pub token: u64,
}

/// The record of one schedule, as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Schedule {
    /// A UUIDv7, so ids sort by creation.
    pub id: Uuid,
    /// The highest format among those that wrote it; 0 before formats had numbers.
    #[serde(default)]
    pub format: u16,
    /// The lowest format that may act on it.
    #[serde(default)]
    pub needs: u16,
    /// What the user wrote.
    pub spec: Arc<Spec>,
    /// How often users have changed it: 1 when it is created. The engine's writes do not count, so a schedule
    /// that fires every second can still be changed by a user who has seen it.
    pub revision: u64,
    /// Stage of its life.
    pub status: Guarded<Status>,
    /// False while a user has switched it off.
    pub is_active: bool,
    /// Why it is paused.
    pub pause_reason: Option<Pooled<String>>,
    /// The end of its pause, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumption: Option<Box<Resumption>>,
    /// The nominal time of the next occurrence to act on.
    #[serde(serialize_with = "instant::write")]
    pub next_run_at: Option<DateTime<Utc>>,
    /// The versions of its calendars that this was planned with; nil for one that was not there.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub planned_with: Few<Uuid>,
    /// The latest nominal time that was acted on. Ids of executions are derived from nominal times, so no
    /// time is ever acted on twice, whatever an update does to the timing.
    #[serde(default, serialize_with = "instant::write")]
    pub last_scheduled_for: Option<DateTime<Utc>>,
    /// Future times that were already acted on, by an instance whose clock was fast; sorted, and removed once
    /// they have passed.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub acted_ahead: Few<DateTime<Utc>>,
    /// When the latest settled execution started.
    #[serde(serialize_with = "instant::write")]
    pub last_run_at: Option<DateTime<Utc>>,
    /// Number of settled executions: successes and failures of any attempt.
    pub run_count: Count,
    /// Number of executions that succeeded.
    pub success_count: Count,
    /// Number of executions that failed.
    pub failure_count: Count,
    /// Number of occurrences that were acted on, without retries and runs by hand.
    #[serde(default)]
    pub occurrence_count: Count,
    /// Number of occurrences that failed since the last success, without runs by hand.
    #[serde(default)]
    pub consecutive_failures: u32,
    /// How its latest runs ended, and what was announced of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<Box<Standing>>,
    /// When it was created.
    #[serde(serialize_with = "instant::write")]
    pub created_at: DateTime<Utc>,
    /// When a user last changed it.
    #[serde(serialize_with = "instant::write")]
    pub updated_at: DateTime<Utc>,
    /// The user who created it.
    pub created_by: Pooled<String>,
    /// The user who last changed it.
    pub updated_by: Option<Pooled<String>>,
    /// When it was deleted.
    pub deleted_at: Option<Box<DateTime<Utc>>>,
    /// The user who deleted it.
    pub deleted_by: Option<Pooled<String>>,
    /// Its status before it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_from: Option<Status>,
    /// Correlation id of the request that created it.
    pub correlation_id: Box<str>,
    /// The trace of the request that created it or last changed it; its runs belong to that trace too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Box<TraceContext>>,
    /// Attempts that wait, are claimed, or are skipped but not yet in the history.
    #[serde(default, skip_serializing_if = "Few::is_empty", with = "pin::attempts")]
    pub attempts: Few<Attempt>,
    /// Occurrences of the past that are to be run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Box<Backfill>>,
    /// Occurrences that have ended and that other schedules have not been told about.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub ended: Few<EndedOccurrence>,
    /// The event of the latest change, for versions that know no others; see [`RecentChanges`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<Box<Uuid>>,
    /// The latest changes, to recognise one whose acknowledgement was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<Box<RecentChanges>>,
    /// Changes to be announced, oldest first.
    #[serde(default, skip_serializing_if = "Few::is_empty")]
    pub events: Few<Change>,
    /// Whether the record is to be removed once nothing is left to do with it: it was deleted for good, or it
    /// stands for one command only. Only the engine still sees it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub purge: bool,
    /// The writer of this revision.
    pub writer: Writer,
    /// Fields that a newer version has added.
    #[serde(skip)]
    pub unknown: Unknown,
}

keeps_unknown!(Spec, Backfill, EndedOccurrence, Schedule);

impl Schedule {
    /// Whether the record is to be removed and nothing is left to do with it.
    pub fn is_over(&self) -> bool {
        let waits = self.next_run_at.is_some() && self.status != Status::Deleted;
        let told = self.events.is_empty() && self.ended.is_empty();
        self.purge && self.attempts.is_empty() && told && !waits
    }

    /// Whether its next time has to be planned again, because its calendars are not those that it was planned with.
    pub fn is_outdated(&self, calendars: &Calendars) -> bool {
        let timing = &self.spec.timing;
        let is_planned = matches!(*self.status, Status::Active | Status::Paused) && !self.purge;
        let has = timing.has_calendars() || !self.planned_with.is_empty();
        has && is_planned && calendars.versions(timing) != *self.planned_with
    }

    /// Whether the schedule is there for users, has its name, and counts against its creator's limit: it is not deleted.
    pub fn is_live(&self) -> bool {
        self.status != Status::Deleted && !self.purge
    }

    /// Whether a calendar that it names was missing or unreadable when it was last planned: then it has no times.
    pub fn lacks_calendar(&self) -> bool {
        self.planned_with.contains(&Uuid::nil())
    }

    /// Whether occurrences of the schedule are acted on.
    pub fn fires(&self) -> bool {
        self.status == Status::Active && self.is_active
    }
}
