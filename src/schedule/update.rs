//! The fields of a request to update a schedule, unchecked.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    After, CatchUp, CreateSchedule, Delivery, Overlap, Payload, RetryFields, ScheduleType, Spec,
    TimingFields, instant_field, object_field,
};
use crate::trigger::{DstGap, DstOverlap};

/// A request to update a schedule: fields that are given change, all others stay.
///
/// Another `schedule_type` takes the fields that belong to it from the request alone; else timing
/// fields that are not given stay as they are.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateSchedule {
    /// Required.
    pub schedule_id: Option<Uuid>,
    /// The revision that the schedule must have.
    pub expected_revision: Option<u64>,
    /// False switches the schedule off, true on again.
    pub is_active: Option<bool>,
    /// Unique per creator among schedules that are not deleted.
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// For people; empty for none.
    #[schemars(length(max = 1000))]
    pub description: Option<String>,
    /// How the schedule yields its times.
    pub schedule_type: Option<ScheduleType>,
    /// For `cron`: 5 fields, 6 (seconds first), 7 (year last) or `@daily` and the like.
    #[schemars(length(max = 255))]
    pub cron_expression: Option<String>,
    /// For `interval`.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub interval_seconds: Option<u64>,
    /// For `one_time`: RFC 3339, in the future.
    #[serde(deserialize_with = "instant_field")]
    pub scheduled_at: Option<DateTime<Utc>>,
    /// IANA time zone of the cron expression.
    #[schemars(length(max = 50))]
    pub timezone: Option<String>,
    /// For `interval`: the anchor and first run; default at once. For `cron`: none is earlier.
    #[serde(deserialize_with = "instant_field")]
    pub start_at: Option<DateTime<Utc>>,
    /// For `interval` and `cron`: none is later.
    #[serde(deserialize_with = "instant_field")]
    pub end_at: Option<DateTime<Utc>>,
    /// How many occurrences it has at most; 0 for any number.
    pub max_runs: Option<u64>,
    /// For `interval` and `cron`: each occurrence is due up to so much later than its nominal time, the
    /// same for whoever asks; default 0.
    #[schemars(range(max = 3600))]
    pub jitter_seconds: Option<u64>,
    /// Required for `dependent`: whose occurrences it follows.
    #[serde(deserialize_with = "object_field")]
    pub after: Option<After>,
    /// For `cron`: a local time that a clock change skips runs at the next valid instant
    /// (`next_valid`, default) or not at all (`skip`).
    pub dst_gap: Option<DstGap>,
    /// For `cron`: a local time that a clock change repeats runs the `first` time (default) or
    /// `both` times.
    pub dst_overlap: Option<DstOverlap>,
    /// The subject commands go to, `cmd.domain.action`.
    #[schemars(length(min = 1, max = 255))]
    pub target_command: Option<String>,
    /// The body of every command.
    pub command_payload: Option<Payload>,
    /// Labels to find the schedule by.
    #[schemars(length(max = 20))]
    pub tags: Option<Vec<String>>,
    /// The higher goes first when many are due at once.
    #[schemars(range(min = 1, max = 10))]
    pub priority: Option<u64>,
    /// Attempts after the first.
    #[schemars(range(min = 0, max = 10))]
    pub max_retries: Option<u64>,
    /// Before the first retry; each further one waits twice as long.
    #[schemars(range(min = 0, max = 3600))]
    pub retry_delay_seconds: Option<u64>,
    /// How commands are sent.
    #[serde(deserialize_with = "object_field")]
    pub delivery: Option<Delivery>,
    /// How late an occurrence may be and still be acted on.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub misfire_grace_seconds: Option<u64>,
    /// What becomes of occurrences that are late; default the service's, which is `latest` unless set.
    pub catch_up: Option<CatchUp>,
    /// What becomes of an occurrence while an earlier execution is under way; default `skip`.
    pub overlap: Option<Overlap>,
    /// With `overlap` `allow`: executions under way at once; default 1, at most
    /// `SCHEDULER_MAX_INSTANCES`.
    #[schemars(range(min = 1, max = 16))]
    pub max_instances: Option<u64>,
    /// How failed attempts are tried again; default from `retry_delay_seconds`.
    #[serde(deserialize_with = "object_field")]
    pub retry: Option<RetryFields>,
    /// Where the command goes when its last attempt has failed; empty for nowhere, which is the default.
    #[schemars(length(max = 255))]
    pub dead_letter: Option<String>,
    /// How many occurrences must fail in a row for the schedule to be paused; 0 for never, which is the
    /// default.
    #[schemars(range(max = 1000))]
    pub pause_on_failure: Option<u64>,
    /// Whether the payload has placeholders, such as `${scheduled_for}`; default false.
    pub payload_template: Option<bool>,
}

impl UpdateSchedule {
    /// Whether it says anything of when the schedule fires.
    pub fn changes_timing(&self) -> bool {
        self.timing() != TimingFields::default()
    }

    /// The schedule as it should be, as a request to create it.
    pub(super) fn over(&self, spec: &Spec) -> CreateSchedule {
        let given = self.timing();
        let timing = &spec.timing;
        let kind = given.schedule_type.unwrap_or(timing.schedule_type);
        let mut now =
            TimingFields { timezone: Some(timing.timezone.to_string()), ..TimingFields::default() };
        if kind == timing.schedule_type {
            now.cron_expression.clone_from(&timing.cron_expression);
            now.interval_seconds = timing.interval_seconds.map(u64::from);
            now.scheduled_at = timing.scheduled_at.filter(|_| kind == ScheduleType::OneTime);
            now.start_at = timing.start_at;
            now.end_at = timing.end_at;
            now.max_runs = timing.max_runs;
            now.jitter_seconds = Some(u64::from(timing.jitter_seconds));
            now.after = timing.follows();
            let cron = kind == ScheduleType::Cron;
            now.dst_gap = cron.then_some(timing.dst_gap);
            now.dst_overlap = cron.then_some(timing.dst_overlap);
        }
        CreateSchedule {
            name: self.name.clone().or_else(|| Some(spec.name.to_string())),
            description: self
                .description
                .clone()
                .or_else(|| spec.description.as_deref().map(str::to_owned)),
            schedule_type: Some(kind),
            cron_expression: given.cron_expression.or(now.cron_expression),
            interval_seconds: given.interval_seconds.or(now.interval_seconds),
            scheduled_at: given.scheduled_at.or(now.scheduled_at),
            timezone: given.timezone.or(now.timezone),
            start_at: given.start_at.or(now.start_at),
            end_at: given.end_at.or(now.end_at),
            max_runs: given.max_runs.or(now.max_runs),
            jitter_seconds: given.jitter_seconds.or(now.jitter_seconds),
            after: given.after.or(now.after),
            dst_gap: given.dst_gap.or(now.dst_gap),
            dst_overlap: given.dst_overlap.or(now.dst_overlap),
            target_command: self
                .target_command
                .clone()
                .or_else(|| Some(spec.target_command.as_str().to_owned())),
            command_payload: self
                .command_payload
                .clone()
                .or_else(|| Some(spec.command_payload.clone())),
            tags: self.tags.clone().or_else(|| Some(spec.tags.to_vec())),
            priority: self.priority.or(Some(u64::from(spec.priority))),
            max_retries: self.max_retries.or(Some(u64::from(spec.max_retries))),
            retry_delay_seconds: self
                .retry_delay_seconds
                .or(Some(u64::from(spec.retry_delay_seconds))),
            delivery: self.delivery.clone().or_else(|| Some(spec.delivery.known.clone())),
            misfire_grace_seconds: self
                .misfire_grace_seconds
                .or(Some(u64::from(spec.misfire_grace_seconds))),
            catch_up: self.catch_up.or(Some(spec.catch_up)),
            overlap: self.overlap.or(Some(spec.overlap)),
            max_instances: self.max_instances.or(Some(u64::from(spec.max_instances))),
            retry: self.retry.clone().or_else(|| {
                let mut retry = spec.retry.fields();
                // What followed from the delay goes on doing so.
                if spec.retry.initial_seconds == spec.retry_delay_seconds {
                    retry.initial_seconds = None;
                }
                Some(retry)
            }),
            dead_letter: self
                .dead_letter
                .clone()
                .or_else(|| spec.dead_letter.as_ref().map(|target| target.as_str().to_owned())),
            pause_on_failure: self.pause_on_failure.or(spec.pause_on_failure.map(u64::from)),
            payload_template: self.payload_template.or(Some(spec.payload_template)),
            created_by: None,
            idempotency_key: None,
        }
    }

    fn timing(&self) -> TimingFields {
        TimingFields {
            schedule_type: self.schedule_type,
            cron_expression: self.cron_expression.clone(),
            interval_seconds: self.interval_seconds,
            scheduled_at: self.scheduled_at,
            timezone: self.timezone.clone(),
            start_at: self.start_at,
            end_at: self.end_at,
            max_runs: self.max_runs,
            jitter_seconds: self.jitter_seconds,
            after: self.after,
            dst_gap: self.dst_gap,
            dst_overlap: self.dst_overlap,
        }
    }
}
