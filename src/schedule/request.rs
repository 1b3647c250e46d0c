//! The fields of a request to create a schedule, unchecked.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    After, CatchUp, Delivery, Overlap, Payload, RetryFields, ScheduleType, TimingFields,
    instant_field, object_field,
};
use crate::trigger::{DstGap, DstOverlap};

/// A request to create a schedule. `name`, `schedule_type`, `target_command` and the field that
/// belongs to the type are required; the rest has defaults.
#[serde_with::skip_serializing_none]
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateSchedule {
    /// Required: unique per creator among schedules that are not deleted.
    #[schemars(length(min = 1, max = 255))]
    pub name: Option<String>,
    /// For people.
    #[schemars(length(max = 1000))]
    pub description: Option<String>,
    /// Required: how the schedule yields its times.
    pub schedule_type: Option<ScheduleType>,
    /// Required for `cron`: 5 fields, 6 (seconds first), 7 (year last) or `@daily` and the like.
    #[schemars(length(max = 255))]
    pub cron_expression: Option<String>,
    /// Required for `interval`.
    #[schemars(range(min = 1, max = 31_536_000))]
    pub interval_seconds: Option<u64>,
    /// Required for `one_time`: RFC 3339, in the future.
    #[serde(deserialize_with = "instant_field")]
    pub scheduled_at: Option<DateTime<Utc>>,
    /// IANA time zone of the cron expression; default the service's, which is `UTC` unless set.
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
    /// Required: the subject commands go to, `cmd.domain.action`.
    #[schemars(length(min = 1, max = 255))]
    pub target_command: Option<String>,
    /// The body of every command; default `{}`.
    pub command_payload: Option<Payload>,
    /// Labels to find the schedule by.
    #[schemars(length(max = 20))]
    pub tags: Option<Vec<String>>,
    /// The higher goes first when many are due at once; default 5.
    #[schemars(range(min = 1, max = 10))]
    pub priority: Option<u64>,
    /// Attempts after the first; default 3.
    #[schemars(range(min = 0, max = 10))]
    pub max_retries: Option<u64>,
    /// Before the first retry; each further one waits twice as long; default 300.
    #[schemars(range(min = 0, max = 3600))]
    pub retry_delay_seconds: Option<u64>,
    /// How commands are sent; default a JetStream publish.
    #[serde(deserialize_with = "object_field")]
    pub delivery: Option<Delivery>,
    /// How late an occurrence may be and still be acted on; default 300.
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
    /// Who creates it, where no `X-Created-By` header says so.
    #[schemars(length(min = 1, max = 255))]
    pub created_by: Option<String>,
    /// Makes the request safe to repeat: within a day the same key of the same creator creates one
    /// schedule. The header `Nats-Msg-Id` does the same.
    #[schemars(length(min = 1, max = 255))]
    pub idempotency_key: Option<String>,
}

impl CreateSchedule {
    /// The timing part of the request.
    pub fn timing(&self) -> TimingFields {
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

/// Building a request in one expression. Nothing is checked here: the service does, and names every
/// fault.
impl CreateSchedule {
    /// At the times of a cron expression.
    pub fn cron(
        name: impl Into<String>,
        expression: impl Into<String>,
        target_command: impl Into<String>,
    ) -> Self {
        let cron_expression = Some(expression.into());
        Self { cron_expression, ..Self::of(ScheduleType::Cron, name, target_command) }
    }

    /// Every so many seconds, beginning at once or at `start_at`.
    pub fn interval(
        name: impl Into<String>,
        seconds: u64,
        target_command: impl Into<String>,
    ) -> Self {
        let interval_seconds = Some(seconds);
        Self { interval_seconds, ..Self::of(ScheduleType::Interval, name, target_command) }
    }

    /// Once, at a time in the future.
    pub fn one_time(
        name: impl Into<String>,
        at: DateTime<Utc>,
        target_command: impl Into<String>,
    ) -> Self {
        Self { scheduled_at: Some(at), ..Self::of(ScheduleType::OneTime, name, target_command) }
    }

    /// Once, at once.
    pub fn immediate(name: impl Into<String>, target_command: impl Into<String>) -> Self {
        Self::of(ScheduleType::Immediate, name, target_command)
    }

    fn of(
        schedule_type: ScheduleType,
        name: impl Into<String>,
        target_command: impl Into<String>,
    ) -> Self {
        Self {
            name: Some(name.into()),
            schedule_type: Some(schedule_type),
            target_command: Some(target_command.into()),
            ..Self::default()
        }
    }

    /// With words for people.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// On the wall clock of an IANA time zone.
    #[must_use]
    pub fn timezone(mut self, zone: impl Into<String>) -> Self {
        self.timezone = Some(zone.into());
        self
    }

    /// An interval with its first run then.
    #[must_use]
    pub fn start_at(mut self, at: DateTime<Utc>) -> Self {
        self.start_at = Some(at);
        self
    }

    /// With an object as the body of every command.
    ///
    /// # Errors
    /// Those of [`Payload::from_object`].
    pub fn payload(
        mut self,
        object: &(impl Serialize + ?Sized),
    ) -> Result<Self, serde_json::Error> {
        self.command_payload = Some(Payload::from_object(object)?);
        Ok(self)
    }

    /// With labels to find it by.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item: Into<String>>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// With a priority of 1 to 10.
    #[must_use]
    pub fn priority(mut self, priority: u64) -> Self {
        self.priority = Some(priority);
        self
    }

    /// With so many attempts after the first, and so many seconds before the first of them.
    #[must_use]
    pub fn retries(mut self, max_retries: u64, delay_seconds: u64) -> Self {
        self.max_retries = Some(max_retries);
        self.retry_delay_seconds = Some(delay_seconds);
        self
    }

    /// With commands sent another way.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// Acted on while it is at most so many seconds late.
    #[must_use]
    pub fn misfire_grace_seconds(mut self, seconds: u64) -> Self {
        self.misfire_grace_seconds = Some(seconds);
        self
    }

    /// Safe to send again: within a day the same key creates one schedule.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}
