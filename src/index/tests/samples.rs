//! Schedules, filters and changes for tests.

use std::num::NonZeroU32;
use std::sync::Arc;

use chrono::{DateTime, Duration, Utc};
use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::{Index as Any, select};
use serde_json::json;
use uuid::Uuid;

use crate::index::{ScheduleFilter, Sort, TagsMatch, read_record};
use crate::schedule::{Ending, Schedule, ScheduleType, Spec, Status, Target};
use crate::trigger::Trigger;

const TEXTS: [&str; 8] =
    ["Nightly", "nightly report", "Größe ÄNDERN", "ΑΣ", "ΑΣΑ", "", "re", "İstanbul"];
pub(in crate::index) const TARGETS: [&str; 4] = ["cmd.a.x", "cmd.a.y", "cmd.b", "cmd.ab"];
const OUTCOMES: [Ending; 3] = [Ending::Success, Ending::Failed, Ending::Cancelled];
const STATUSES: [Status; 5] =
    [Status::Active, Status::Paused, Status::Completed, Status::Failed, Status::Deleted];
const TYPES: [ScheduleType; 5] = [
    ScheduleType::Cron,
    ScheduleType::Interval,
    ScheduleType::OneTime,
    ScheduleType::Immediate,
    ScheduleType::Dependent,
];
pub(in crate::index) const SORTS: [Sort; 6] = [
    Sort::Created,
    Sort::CreatedDown,
    Sort::Name,
    Sort::NameDown,
    Sort::NextRun,
    Sort::NextRunDown,
];

pub(in crate::index) fn base() -> (Schedule, Trigger) {
    let record = serde_json::json!({
        "id": Uuid::nil(), "revision": 1, "status": "active", "is_active": true,
        "spec": { "name": "a", "description": null, "target_command": "cmd.a", "tags": [],
            "timing": { "schedule_type": "interval", "interval_seconds": 60, "timezone": "UTC",
                "start_at": "2026-01-01T00:00:00Z" },
            "command_payload": {}, "priority": 5, "max_retries": 0, "retry_delay_seconds": 1,
            "delivery": { "mode": "publish" }, "misfire_grace_seconds": 300 },
        "pause_reason": null, "next_run_at": null, "last_run_at": null, "run_count": 0,
        "success_count": 0, "failure_count": 0, "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z", "created_by": "alice", "updated_by": null,
        "deleted_at": null, "deleted_by": null, "correlation_id": "c",
        "writer": { "instance": Uuid::nil(), "token": 0 },
    });
    read_record(None, record.to_string().as_bytes()).unwrap()
}

pub(in crate::index) fn time(nanos: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::nanoseconds(nanos)
}

fn name() -> impl Strategy<Value = String> {
    let long =
        (select(&TEXTS[..]), 0..60_usize).prop_map(|(text, n)| text.to_owned() + &"x".repeat(n));
    prop_oneof![3 => vec(select(&TEXTS[..]), 1..4).prop_map(|texts| texts.concat()), 1 => long]
}

fn tags(most: usize) -> impl Strategy<Value = Vec<String>> {
    vec(select(vec!["a", "b", "c", "d", "e"]).prop_map(str::to_owned), 0..=most)
}

fn creator() -> impl Strategy<Value = String> {
    select(vec!["alice", "bob", "carol"]).prop_map(str::to_owned)
}

/// A schedule with one of a few ids.
pub(in crate::index) fn schedule() -> impl Strategy<Value = Schedule> {
    let texts = (name(), creator(), select(&TARGETS[..]), tags(4));
    let kind = (select(&STATUSES[..]), select(&TYPES[..]), any::<bool>(), weighted(0.1, Just(())));
    let owner = weighted(0.4, select(vec!["git", "ci"]));
    let times = (weighted(0.8, 0..9_i64), 0..5_i64);
    let standing = (weighted(0.7, select(&OUTCOMES[..])), any::<[bool; 3]>());
    let calendars = || vec(select(vec!["a", "g", "h"]), 0..3);
    let tied = (weighted(0.3, select(vec!["g", "h"])), calendars(), calendars());
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let all = (0..40_u128, texts, kind, times, (owner, tied), standing);
    all.prop_map(move |(id, texts, kind, (next, created), (owner, tied), (outcome, flags))| {
        let (mut schedule, _) = base();
        let spec = Arc::make_mut(&mut schedule.spec);
        schedule.id = Uuid::from_u128(id);
        (spec.name, schedule.created_by, spec.tags) =
            (texts.0.into(), texts.1.into(), texts.3.into());
        spec.owner = owner.map(Into::into);
        spec.target_command = Target::parse(texts.2).unwrap();
        spec.group = tied.0.map(|name| name.to_owned().into());
        (spec.timing.only, spec.timing.exclude) = (owned(tied.1).into(), owned(tied.2).into());
        (schedule.status, spec.timing.schedule_type, schedule.is_active) =
            (kind.0.into(), kind.1, kind.2);
        schedule.purge = kind.3.is_some();
        if flags[0] != flags[1] {
            schedule.attempts = serde_json::from_value(json!([{
                "execution_id": schedule.id, "scheduled_for": time(0), "number": 1, "phase": "waiting",
                "due_at": time(0),
            }]))
            .unwrap();
        }
        let [failing, overdue, expected] = flags;
        if outcome.is_some() || failing || overdue {
            schedule.standing.get_or_insert_default().last_outcome = outcome;
            let alerts = schedule.alerts_mut();
            alerts.failing_since = failing.then(|| time(0));
            alerts.overdue_since = overdue.then(|| time(0));
        }
        Arc::make_mut(&mut schedule.spec).expect_success_within_seconds =
            NonZeroU32::new(u32::from(expected));
        (schedule.next_run_at, schedule.created_at) = (next.map(time), time(created));
        schedule
    })
}

#[derive(Clone, Debug)]
pub(in crate::index) enum Step {
    Put(Box<Schedule>),
    /// Replaces one field by that of another schedule.
    Change(Any, u8, Box<Schedule>),
    Remove(Any),
}

pub(in crate::index) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => schedule().prop_map(|schedule| Step::Put(Box::new(schedule))),
        3 => (any::<Any>(), 0..11_u8, schedule()).prop_map(|(at, field, other)| {
            Step::Change(at, field, Box::new(other))
        }),
        1 => any::<Any>().prop_map(Step::Remove),
    ]
}

pub(in crate::index) fn filter() -> impl Strategy<Value = ScheduleFilter> {
    let texts = (
        weighted(0.2, prop_oneof![creator(), Just("nobody".to_owned())]),
        weighted(0.2, select(vec!["", "cmd.", "cmd.a", "cmd.a.", "cmd.b", "x"])),
        weighted(0.2, select(vec!["", "N", "n", "G", "ΑΣ", "nightly re", "xx"])),
        weighted(0.2, select(vec!["", "git", "nobody"])),
        weighted(0.2, select(vec!["", "NIGHT", "e", "ä", "ς", "rex", "xxx", "i", "ightly Report"])),
    );
    let unknown = Just(vec!["a".to_owned(), "unknown".to_owned()]);
    let wanted = prop_oneof![4 => tags(2), 1 => unknown];
    let kinds = (
        weighted(0.3, wanted),
        weighted(0.3, select(vec![TagsMatch::Any, TagsMatch::All])),
        weighted(0.3, select(&STATUSES[..])),
        weighted(0.2, select(&TYPES[..])),
        weighted(0.2, any::<bool>()),
    );
    let flags = || weighted(0.1, any::<bool>());
    let standing = (flags(), flags(), weighted(0.1, select(&OUTCOMES[..])));
    let named = || weighted(0.15, select(vec!["a", "g", "h", "ga", ""]).prop_map(str::to_owned));
    let ties = (named(), named());
    let far = prop_oneof![
        6 => (0..9_i64).prop_map(time),
        1 => Just(DateTime::<Utc>::MAX_UTC),
        1 => Just(DateTime::<Utc>::MIN_UTC),
    ];
    let due = (weighted(0.2, far.clone()), weighted(0.2, far));
    (texts, kinds, due, standing, ties).prop_map(|(texts, kinds, due, standing, ties)| {
        ScheduleFilter {
            creator: texts.0,
            group: ties.0,
            calendar: ties.1,
            tags: kinds.0,
            tags_match: kinds.1,
            status: kinds.2,
            schedule_type: kinds.3,
            is_active: kinds.4,
            is_failing: standing.0,
            is_overdue: standing.1,
            last_outcome: standing.2,
            target_prefix: texts.1.map(str::to_owned),
            name_prefix: texts.2.map(str::to_owned),
            owner: texts.3.map(str::to_owned),
            name_contains: texts.4.map(str::to_owned),
            due_after: due.0,
            due_before: due.1,
        }
    })
}

/// A schedule with one field replaced by that of another.
pub(in crate::index) fn change(mut schedule: Schedule, field: u8, other: Schedule) -> Schedule {
    match field {
        // Like the engine, keeping the part that the user wrote shared.
        0 => schedule.next_run_at = other.next_run_at,
        1 => schedule.created_by = other.created_by,
        2 => schedule.created_at = other.created_at,
        3 => (schedule.status, schedule.is_active) = (other.status, other.is_active),
        4 => schedule.standing = other.standing,
        _ => {
            let (spec, other) = (Arc::make_mut(&mut schedule.spec), Spec::clone(&other.spec));
            match field {
                5 => spec.tags = other.tags,
                6 => spec.name = other.name,
                7 => spec.timing = other.timing,
                8 => spec.owner = other.owner,
                9 => spec.group = other.group,
                _ => spec.target_command = other.target_command,
            }
        }
    }
    schedule
}
