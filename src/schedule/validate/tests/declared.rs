//! Declarations of a whole schedule.

use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::schedule::CatchUp;

const TARGETS: [&str; 2] = ["cmd.report.a", "cmd.report.b"];
const START: &str = "2026-01-01T00:00:00Z";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn rules() -> Rules {
    let allowed_targets = vec![TargetPattern::parse("cmd.report.>").unwrap()];
    Rules { allowed_targets, ..Rules::default() }
}

fn of(request: &CreateSchedule) -> Schedule {
    let writer = Writer { instance: Uuid::nil(), token: 1 };
    new_schedule(request, &rules(), Uuid::nil(), at(START), "me", "c", writer).unwrap().0
}

fn timing() -> impl Strategy<Value = CreateSchedule> {
    let (end, jitter) = ("2027-01-01T00:00:00.5Z", option::of(select(vec![0, 30])));
    let zone = option::of(select(vec!["UTC", "Europe/Berlin"]));
    let ends = option::of(Just(at(end)));
    let starts = option::of(select(vec![at(START), at("2026-02-01T00:00:00.0001Z")]));
    let kind = select(vec![
        ScheduleType::Cron,
        ScheduleType::Interval,
        ScheduleType::OneTime,
        ScheduleType::Immediate,
    ]);
    let runs = option::of(select(vec![0, 5]));
    (kind, zone, starts, ends, jitter, runs, any::<bool>()).prop_map(
        |(kind, zone, start_at, end_at, jitter, runs, other)| {
            let recurs = kind.recurs();
            let mut request = CreateSchedule {
                name: Some("n".to_owned()),
                schedule_type: Some(kind),
                timezone: zone.map(str::to_owned),
                start_at: start_at.filter(|_| recurs),
                end_at: end_at.filter(|_| recurs),
                jitter_seconds: jitter.filter(|_| recurs),
                max_runs: runs.filter(|_| recurs),
                ..CreateSchedule::default()
            };
            match kind {
                ScheduleType::Cron => {
                    let expression = if other { "0 3 * * *" } else { "H H * * *" };
                    request.cron_expression = Some(expression.to_owned());
                    request.dst_gap = other.then_some(crate::trigger::DstGap::Skip);
                }
                ScheduleType::Interval => request.interval_seconds = Some(60 + u64::from(other)),
                ScheduleType::OneTime => {
                    request.scheduled_at = Some(at("2026-03-01T00:00:00.0001Z"))
                }
                _ => {}
            }
            request
        },
    )
}

fn declaration() -> impl Strategy<Value = CreateSchedule> {
    let payloads = [r#"{"a":1,"b":[1.0]}"#, r#"{"b": [1.0], "a": 1}"#, r#"{"a":1.0}"#, "{}"];
    let payload = option::of(select(payloads.to_vec()));
    let tags = option::of(select(vec![vec![], vec!["x".to_owned()]]));
    let small = || option::of(select(vec![0, 3]));
    let text = || option::of(select(vec![String::new(), "t".to_owned()]));
    let policies = (option::of(select(vec![CatchUp::All, CatchUp::Latest])), any::<bool>());
    let more = (select(TARGETS.to_vec()), payload, tags, small(), small(), text(), policies);
    (timing(), more).prop_map(
        |(timing, (target, payload, tags, retries, pause, text, policies))| CreateSchedule {
            target_command: Some(target.to_owned()),
            command_payload: payload.map(|text| serde_json::from_str(text).unwrap()),
            tags,
            max_retries: retries,
            pause_on_failure: pause,
            description: text,
            catch_up: policies.0,
            payload_template: policies.1.then_some(false),
            ..timing
        },
    )
}

/// The spec that a declaration makes at a time of a schedule: as a creation would have made it, but what began before
/// began then, and a payload that says the same stays as it was written.
fn expected(declared: &CreateSchedule, found: &Schedule, now: DateTime<Utc>) -> Spec {
    let mut spec = Spec::clone(&of(declared).spec);
    let (mut timing, was) = (Timing::clone(&spec.timing), &found.spec.timing);
    let same = timing.schedule_type == was.schedule_type;
    match timing.schedule_type {
        ScheduleType::Interval if declared.start_at.is_none() => {
            timing.start_at = if same { was.start_at } else { Some(now) };
        }
        ScheduleType::Immediate => {
            timing.scheduled_at = if same { was.scheduled_at } else { Some(now) };
        }
        _ => {}
    }
    spec.timing = timing.into();
    if spec.command_payload.says_the_same(&found.spec.command_payload) {
        spec.command_payload = found.spec.command_payload.clone();
    }
    spec
}

proptest! {
    #[test]
    fn a_declaration_converges_from_any_state_and_changes_nothing_again(
        first in declaration(), second in declaration(), seconds in 1_i64..100_000,
    ) {
        let found = of(&first);
        let later = at(START) + chrono::Duration::seconds(seconds);
        let mut schedule = found.clone();
        let differs = apply_declaration(&second, &mut schedule, &rules(), later).unwrap();
        prop_assert_eq!(differs, schedule.spec != found.spec);
        prop_assert_eq!(&*schedule.spec, &expected(&second, &found, later));
        // Whatever has become of its times: the end of time is after all of them.
        let end = at("2199-01-01T00:00:00Z");
        let once = schedule.clone();
        prop_assert!(!apply_declaration(&second, &mut schedule, &rules(), end).unwrap());
        prop_assert_eq!(&schedule, &once);
        if !differs {
            prop_assert_eq!(&schedule, &found);
        }
    }
}

#[test]
fn what_a_declaration_does_not_say_stays() {
    let request = CreateSchedule::interval("n", 60, TARGETS[0]).tags(["x"]).priority(9);
    let mut schedule = of(&request);
    (schedule.status, schedule.run_count) = (Guarded::from(Status::Paused), 7.into());
    let declared = CreateSchedule::interval("n", 90, TARGETS[0]);
    let now = at("2026-01-01T00:01:31Z");
    assert!(apply_declaration(&declared, &mut schedule, &rules(), now).unwrap());
    let spec = &schedule.spec;
    assert_eq!((spec.priority, spec.tags.len(), schedule.run_count.get()), (5, 0, 7));
    assert_eq!(schedule.status, Status::Paused);
    // From the anchor that it had.
    assert_eq!(spec.timing.start_at, Some(at(START)));
    assert_eq!(schedule.next_run_at, Some(at("2026-01-01T00:03:00Z")));
}

#[test]
fn what_has_run_does_not_run_in_another_zone() {
    for request in [
        CreateSchedule::immediate("n", TARGETS[0]),
        CreateSchedule::one_time("n", at("2026-01-01T00:00:01Z"), TARGETS[0]),
    ] {
        let mut schedule = of(&request);
        (schedule.status, schedule.next_run_at) = (Guarded::from(Status::Completed), None);
        let declared = request.timezone("Europe/Berlin");
        let now = at("2026-01-02T00:00:00Z");
        assert!(apply_declaration(&declared, &mut schedule, &rules(), now).unwrap());
        assert_eq!(schedule.spec.timing.timezone, chrono_tz::Europe::Berlin);
        assert_eq!((*schedule.status, schedule.next_run_at), (Status::Completed, None));
    }
}

#[test]
fn a_declaration_is_checked_like_a_creation() {
    let request = CreateSchedule::cron("n", "0 3 * * *", TARGETS[0]);
    for (faulty, field) in [
        (CreateSchedule { jitter_seconds: Some(1 << 40), ..request.clone() }, "jitter_seconds"),
        (CreateSchedule { interval_seconds: Some(9), ..request.clone() }, "interval_seconds"),
        (CreateSchedule { timezone: Some("Mars/Base".to_owned()), ..request.clone() }, "timezone"),
        (CreateSchedule { schedule_type: None, ..request.clone() }, "schedule_type"),
        (CreateSchedule { priority: Some(11), ..request.clone() }, "priority"),
        (CreateSchedule { owner: Some("x".repeat(256)), ..request.clone() }, "owner"),
        (CreateSchedule { owner: Some(" x".to_owned()), ..request.clone() }, "owner"),
        (CreateSchedule { tags: Some(vec![" x".to_owned()]), ..request.clone() }, "tags[0]"),
        (CreateSchedule::one_time("n", at(START), TARGETS[0]), "scheduled_at"),
    ] {
        let mut schedule = of(&request);
        let before = schedule.clone();
        let faults = apply_declaration(&faulty, &mut schedule, &rules(), at(START)).unwrap_err();
        assert_eq!(faults[0].field, field, "{faults:?}");
        assert_eq!(schedule.spec, before.spec, "{field}");
    }
}
