//! The fields of a schedule, each declared once.
//!
//! Requests to create, change and preview a schedule share these fields. Each list passes its fields on to
//! the macro named after it, so a request is written as its lists plus the fields that only it has:
//!
//! ```text
//! label_fields! { timing_fields after_field command_fields policy_fields request { pub struct CreateSchedule { …its own fields… } } }
//! ```
//!
//! Declare a new field here, with its documentation and the bounds for its schema. The compiler then names
//! the other places that must know it: `Spec` or `Timing`, which store it, `CreateSchedule::of_spec`, which
//! reads it back from a stored schedule, and the rule in `validate.rs` or `timing.rs`.

/// The schedule that a request is about.
macro_rules! which_fields {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// The schedule; or `schedule_name` says which.
            pub schedule_id: Option<::uuid::Uuid>,
            /// The name of the schedule, in place of `schedule_id`.
            #[schemars(length(min = 1, max = 255))]
            pub schedule_name: Option<String>,
            /// With `schedule_name`: the creator of that schedule; default: who asks, by the header.
            #[schemars(length(min = 1, max = 255))]
            pub creator: Option<String>,
        } } }
    };
}

/// The page of a list.
macro_rules! page_fields {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// From 1, which is the default.
            #[schemars(range(min = 1, max = 1_000_000_000), example = 2)]
            pub page: Option<u64>,
            /// Items per page: 1 to 100, default 20.
            #[schemars(range(min = 1, max = 100), example = 20)]
            pub limit: Option<u64>,
        } } }
    };
}

/// What executions have in common.
macro_rules! kind_fields {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// With this error type; empty for those without one.
            #[schemars(length(max = 255))]
            pub error_type: Option<String>,
            /// Whose command was sent to this subject, whatever the target of its schedule is now.
            #[schemars(length(min = 1, max = 255))]
            pub command_sent: Option<String>,
            /// Of this nominal time or a later one.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub scheduled_from: Option<::chrono::DateTime<::chrono::Utc>>,
            /// Of this nominal time or an earlier one.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub scheduled_to: Option<::chrono::DateTime<::chrono::Utc>>,
            /// Of schedules that have this tag now.
            #[schemars(length(min = 1, max = 255))]
            pub tag: Option<String>,
            /// Of schedules that have this target now.
            #[schemars(length(min = 1, max = 255))]
            pub target_command: Option<String>,
        } } }
    };
}

/// What a run by hand sends, and how it is waited for.
macro_rules! run_fields {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// The body of this command, instead of the one that it would have.
            pub override_payload: Option<$crate::schedule::Payload>,
            /// How long to wait for the outcome, in milliseconds; default 0, at most 60000.
            #[schemars(range(max = 60_000))]
            pub wait_ms: Option<u64>,
            /// Makes the request safe to repeat: within a day the same key of the same user makes one run. The
            /// header `Nats-Msg-Id` does the same.
            #[schemars(length(min = 1, max = 255))]
            pub idempotency_key: Option<String>,
        } } }
    };
}

/// Labels of a schedule.
macro_rules! label_fields {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// Required to create a schedule: unique per creator among schedules that are not deleted.
            #[schemars(length(min = 1, max = 255))]
            pub name: Option<String>,
            /// Description for people; empty for none.
            #[schemars(length(max = 1000))]
            pub description: Option<String>,
            /// Who keeps it as it is, such as a repository; empty, the default, for nobody. `bulk.apply` and
            /// `schedule.apply` change only schedules of the owner that they name.
            #[schemars(length(max = 255))]
            pub owner: Option<String>,
        } } }
    };
}

/// When a schedule fires.
macro_rules! timing_fields {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// Required to create a schedule: how it yields its times.
            pub schedule_type: Option<$crate::schedule::ScheduleType>,
            /// Required for `cron`: 5 fields, 6 (seconds first), 7 (year last) or `@daily` and the like.
            #[schemars(length(max = 255))]
            pub cron_expression: Option<String>,
            /// Required for `interval`: seconds from one occurrence to the next.
            #[schemars(range(min = 1, max = 31_536_000))]
            pub interval_seconds: Option<u64>,
            /// Required for `one_time`: RFC 3339, in the future.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub scheduled_at: Option<::chrono::DateTime<::chrono::Utc>>,
            /// IANA time zone of the cron expression; default: the service's, which is `UTC` unless set.
            #[schemars(length(max = 50))]
            pub timezone: Option<String>,
            /// For `interval`: the anchor and first run; default: at once. For `cron`: no occurrence is
            /// earlier.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub start_at: Option<::chrono::DateTime<::chrono::Utc>>,
            /// For `interval` and `cron`: no occurrence is later.
            #[serde(deserialize_with = "crate::schedule::instant_field")]
            pub end_at: Option<::chrono::DateTime<::chrono::Utc>>,
            /// Maximum number of occurrences; 0 for no limit.
            pub max_runs: Option<u64>,
            /// For `interval` and `cron`: each occurrence is due up to this many seconds after its nominal
            /// time, by a fixed delay of its own; default 0.
            #[schemars(range(max = 3600))]
            pub jitter_seconds: Option<u64>,
            /// For `cron`: a local time that a clock change skips runs at the next valid instant
            /// (`next_valid`, default) or not at all (`skip`).
            pub dst_gap: Option<$crate::trigger::DstGap>,
            /// For `cron`: a local time that a clock change repeats runs the `first` time (default) or
            /// `both` times.
            pub dst_overlap: Option<$crate::trigger::DstOverlap>,
            /// For `interval` and `cron`: calendars whose days and spans have no occurrence; none by default.
            #[schemars(length(max = 10))]
            pub exclude: Option<Vec<String>>,
            /// For `interval` and `cron`: calendars outside of whose days and spans there is no occurrence; empty,
            /// the default, for no such limit.
            #[schemars(length(max = 10))]
            pub only: Option<Vec<String>>,
        } } }
    };
}

/// The schedule that a dependent schedule follows.
macro_rules! after_field {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// Required for `dependent`: the schedule whose occurrences it follows.
            #[serde(deserialize_with = "crate::schedule::object_field")]
            pub after: Option<$crate::schedule::AfterFields>,
        } } }
    };
}

/// The command, and how it is sent.
macro_rules! command_fields {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// Required except in an update: the subject that commands are sent to, `cmd.domain.action`.
            #[schemars(length(min = 1, max = 255))]
            pub target_command: Option<String>,
            /// The body of every command; default `{}`.
            pub command_payload: Option<$crate::schedule::Payload>,
            /// The higher priority goes first when many are due at once; default 5.
            #[schemars(range(min = 1, max = 10))]
            pub priority: Option<u64>,
            /// Maximum number of attempts after the first; default 3.
            #[schemars(range(min = 0, max = 10))]
            pub max_retries: Option<u64>,
            /// Seconds before the first retry; each further one waits twice as long; default 300.
            #[schemars(range(min = 0, max = 3600))]
            pub retry_delay_seconds: Option<u64>,
            /// How commands are sent; default: a JetStream publish.
            #[serde(deserialize_with = "crate::schedule::object_field")]
            pub delivery: Option<$crate::schedule::Delivery>,
        } } }
    };
}

/// How occurrences are treated, and found.
macro_rules! policy_fields {
    ($next:ident $($more:ident)* { $($given:tt)* }) => {
        $crate::schedule::declared::$next! { $($more)* { $($given)* list {
            /// Labels to find the schedule by.
            #[schemars(length(max = 20))]
            pub tags: Option<Vec<String>>,
            /// How many seconds late an occurrence may be and still be acted on; default 300.
            #[schemars(range(min = 1, max = 31_536_000))]
            pub misfire_grace_seconds: Option<u64>,
            /// What happens to late occurrences; default: the service's, which is `latest` unless set.
            pub catch_up: Option<$crate::schedule::CatchUp>,
            /// What happens to an occurrence while an earlier execution is under way; default `skip`.
            pub overlap: Option<$crate::schedule::Overlap>,
            /// With `overlap` `allow`: maximum number of executions under way at once; default 1, at most
            /// `SCHEDULER_MAX_INSTANCES`.
            #[schemars(range(min = 1, max = 16))]
            pub max_instances: Option<u64>,
            /// Concurrency group, for the modes `request` and `job`: of all schedules that name it, no more executions
            /// are under way at once than it allows. Empty, the default, for none.
            #[schemars(length(max = 100))]
            pub group: Option<String>,
            /// How failed attempts are retried; default: by `retry_delay_seconds`.
            #[serde(deserialize_with = "crate::schedule::object_field")]
            pub retry: Option<$crate::schedule::RetryFields>,
            /// Subject that the command is sent to when its last attempt has failed; empty, the default, for
            /// none.
            #[schemars(length(max = 255))]
            pub dead_letter: Option<String>,
            /// Seconds within which a success is expected; without one the schedule is overdue, and an event says
            /// so. 0, the default, for no expectation.
            #[schemars(range(max = 31_536_000))]
            pub expect_success_within_seconds: Option<u64>,
            /// Number of occurrences that must fail in a row for the schedule to be failing, which an event says;
            /// default 1.
            #[schemars(range(min = 1, max = 1000))]
            pub failing_after: Option<u64>,
            /// Number of occurrences that must fail in a row to pause the schedule; 0, the default, for
            /// never.
            #[schemars(range(max = 1000))]
            pub pause_on_failure: Option<u64>,
            /// Whether the payload has placeholders, such as `${scheduled_for}`; default false.
            pub payload_template: Option<bool>,
        } } }
    };
}

/// A request: a struct of optional fields, its own and those of the lists before.
macro_rules! request {
    ({
        $(#[$about:meta])*
        pub struct $name:ident { $($own:tt)* }
        $(list { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* })*
    }) => {
        #[::serde_with::skip_serializing_none]
        #[derive(Clone, Debug, Default, ::serde::Serialize, ::serde::Deserialize, ::schemars::JsonSchema)]
        $(#[$about])*
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($own)*
            $($($(#[$doc])* pub $field: $type,)*)*
        }
    };
}

/// Clones the fields of the lists before from `$from`; the fields of `$beside` have the values given there.
macro_rules! taken {
    ({
        $from:expr => $name:ident { $($beside:tt)* }
        $(list { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* })*
    }) => {
        $name { $($($field: $from.$field.clone(),)*)* $($beside)* }
    };
}

/// Like `taken`, but takes what `$from` leaves out from `$else`.
macro_rules! filled {
    ({
        $from:expr, $else:expr => $name:ident { $($beside:tt)* }
        $(list { $($(#[$doc:meta])* pub $field:ident: $type:ty,)* })*
    }) => {
        $name { $($($field: $from.$field.clone().or($else.$field),)*)* $($beside)* }
    };
}

pub(crate) use {
    after_field, command_fields, filled, kind_fields, label_fields, page_fields, policy_fields,
    request, run_fields, taken, timing_fields, which_fields,
};
