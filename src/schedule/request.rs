//! The fields of a request to create a schedule, unchecked.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::declared::{label_fields, timing_fields};
use super::{Delivery, Payload, ScheduleType, Spec, TimingFields};

label_fields! { timing_fields after_field command_fields policy_fields request {
    /// A request to create a schedule. `name`, `schedule_type`, `target_command` and the field that
    /// belongs to the type are required; the rest has defaults.
    pub struct CreateSchedule {
        /// The creator, unless the `X-Created-By` header names one.
        #[schemars(length(min = 1, max = 255))]
        pub created_by: Option<String>,
        /// Makes the request safe to repeat: within a day the same key of the same creator creates one
        /// schedule. The header `Nats-Msg-Id` does the same.
        #[schemars(length(min = 1, max = 255))]
        pub idempotency_key: Option<String>,
        /// False switches the schedule off: it does not fire. Default: true for a new one; one that is declared again stays
        /// as it is.
        pub is_active: Option<bool>,
    }
} }

impl CreateSchedule {
    /// The timing part of the request.
    pub fn timing(&self) -> TimingFields {
        timing_fields! { after_field taken { self => TimingFields {} } }
    }

    /// The request that would create a schedule as it is.
    pub(super) fn of_spec(spec: &Spec) -> Self {
        let timing = &spec.timing;
        let is_cron = timing.schedule_type == ScheduleType::Cron;
        let is_one_time = timing.schedule_type == ScheduleType::OneTime;
        let mut retry = spec.retry.fields();
        // A value derived from the delay stays derived from it.
        if spec.retry.initial_seconds == spec.retry_delay_seconds {
            retry.initial_seconds = None;
        }
        Self {
            name: Some(spec.name.to_string()),
            description: spec.description.as_deref().cloned(),
            owner: spec.owner.as_deref().cloned(),
            schedule_type: Some(timing.schedule_type),
            cron_expression: timing.cron_expression.clone(),
            interval_seconds: timing.interval_seconds.map(u64::from),
            scheduled_at: timing.scheduled_at.filter(|_| is_one_time),
            timezone: Some(timing.timezone.to_string()),
            start_at: timing.start_at,
            end_at: timing.end_at,
            max_runs: timing.max_runs,
            jitter_seconds: Some(u64::from(timing.jitter_seconds)),
            after: timing.follows().map(Into::into),
            dst_gap: is_cron.then_some(timing.dst_gap),
            dst_overlap: is_cron.then_some(timing.dst_overlap),
            exclude: Some(timing.exclude.to_vec()),
            only: Some(timing.only.to_vec()),
            target_command: Some(spec.target_command.as_str().to_owned()),
            command_payload: Some(spec.command_payload.clone()),
            tags: Some(spec.tags.to_vec()),
            priority: Some(u64::from(spec.priority)),
            max_retries: Some(u64::from(spec.max_retries)),
            retry_delay_seconds: Some(u64::from(spec.retry_delay_seconds)),
            delivery: Some(spec.delivery.known.clone()),
            misfire_grace_seconds: Some(u64::from(spec.misfire_grace_seconds)),
            catch_up: Some(spec.catch_up),
            overlap: Some(spec.overlap),
            max_instances: Some(u64::from(spec.max_instances)),
            group: spec.group.as_deref().cloned(),
            retry: Some(retry),
            dead_letter: spec.dead_letter.as_ref().map(|target| target.as_str().to_owned()),
            expect_success_within_seconds: spec
                .expect_success_within_seconds
                .map(|seconds| u64::from(seconds.get())),
            failing_after: Some(u64::from(spec.failing_after.get())),
            pause_on_failure: spec.pause_on_failure.map(|count| u64::from(count.get())),
            payload_template: Some(spec.payload_template),
            created_by: None,
            idempotency_key: None,
            is_active: None,
        }
    }
}

/// Builders for a request in one expression. They check nothing: the service does, and names every fault.
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

    /// At a fixed interval in seconds, beginning at once or at `start_at`.
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

    /// Once, immediately.
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

    /// Sets the description for people.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Sets the IANA time zone whose wall clock counts.
    #[must_use]
    pub fn timezone(mut self, zone: impl Into<String>) -> Self {
        self.timezone = Some(zone.into());
        self
    }

    /// Sets the first run of an interval.
    #[must_use]
    pub fn start_at(mut self, at: DateTime<Utc>) -> Self {
        self.start_at = Some(at);
        self
    }

    /// Sets an object as the body of every command.
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

    /// Sets labels to find the schedule by.
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item: Into<String>>) -> Self {
        self.tags = Some(tags.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the priority, 1 to 10.
    #[must_use]
    pub fn priority(mut self, priority: u64) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets the number of attempts after the first, and the seconds before the first of them.
    #[must_use]
    pub fn retries(mut self, max_retries: u64, delay_seconds: u64) -> Self {
        self.max_retries = Some(max_retries);
        self.retry_delay_seconds = Some(delay_seconds);
        self
    }

    /// Sets how commands are sent.
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = Some(delivery);
        self
    }

    /// Sets how many seconds late an occurrence may be and still be acted on.
    #[must_use]
    pub fn misfire_grace_seconds(mut self, seconds: u64) -> Self {
        self.misfire_grace_seconds = Some(seconds);
        self
    }

    /// Makes the request safe to send again: within a day the same key creates one schedule.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }
}
