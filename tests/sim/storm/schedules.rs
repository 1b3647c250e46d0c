//! The schedules of a storm: of all kinds and modes.

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::schedule::{
    After, CatchUp, CreateSchedule, Delivery, DeliveryMode, On, Overlap, Payload, RetryFields,
};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::json;
use uuid::Uuid;

use super::targets;

/// How many follow others.
const DEPENDENT: u64 = 2;

const CRONS: [&str; 4] = ["*/5 * * * * *", "*/3 * * * * *", "1-59/4 * * * * *", "0,7,20 * * * * *"];
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu"];

/// So many milliseconds.
pub fn ms(count: i64) -> TimeDelta {
    TimeDelta::milliseconds(count)
}

/// A payload that tells which it is.
pub fn payload(version: u64) -> Payload {
    Payload::from_object(&json!({ "v": version })).unwrap()
}

/// Schedules that go by the time.
pub fn first(chance: &mut StdRng, count: u64, now: DateTime<Utc>) -> Vec<CreateSchedule> {
    (0..count).map(|n| one(chance, n, now)).collect()
}

/// A schedule that goes by the time.
pub fn one(chance: &mut StdRng, n: u64, now: DateTime<Utc>) -> CreateSchedule {
    let (name, target) = (format!("s{n}"), String::new());
    let mut request = match chance.random_range(0..10) {
        0..=5 => CreateSchedule::interval(name, chance.random_range(2..7), target),
        6 | 7 => CreateSchedule::cron(name, *CRONS.choose(chance).unwrap(), target)
            .timezone(*ZONES.choose(chance).unwrap()),
        8 => {
            let at = now + ms(chance.random_range(1500..15_000));
            CreateSchedule::one_time(name, at, target)
        }
        _ => CreateSchedule::immediate(name, target),
    };
    let recurs = request.interval_seconds.is_some() || request.cron_expression.is_some();
    if recurs {
        request.max_runs = chance.random_bool(0.1).then(|| chance.random_range(2..6));
    }
    if request.interval_seconds.is_some() {
        request.jitter_seconds = chance.random_bool(0.2).then_some(1);
    }
    fill(chance, &mut request, n);
    request
}

/// One of many that publish to the same stream every other second.
pub fn crowd(n: u64) -> CreateSchedule {
    let target = format!("cmd.short.crowd.n{n}");
    let mut request = CreateSchedule::interval(format!("crowd{n}"), 2, target);
    request.command_payload = Some(payload(0));
    request
}

/// Schedules that follow some of those that are made, which are so many.
pub fn dependent(chance: &mut StdRng, count: u64, made: &[Uuid]) -> Vec<CreateSchedule> {
    let follow = |n| {
        let schedule_id = *made.choose(chance)?;
        let on = *[On::Success, On::Failure, On::Completion].choose(chance).unwrap();
        let mut request: CreateSchedule = serde_json::from_value(json!({
            "name": format!("s{n}"), "schedule_type": "dependent",
        }))
        .unwrap();
        request.after = Some(After { schedule_id, on }.into());
        fill(chance, &mut request, n);
        Some(request)
    };
    (count..count + DEPENDENT).filter_map(follow).collect()
}

/// What has nothing to do with times.
fn fill(chance: &mut StdRng, request: &mut CreateSchedule, n: u64) {
    use DeliveryMode::{Core, Job, Publish, Request};

    let mode = *[Publish, Publish, Request, Core, Job].choose(chance).unwrap();
    request.target_command = Some(targets::any(chance, mode, n));
    request.command_payload = Some(payload(0));
    let heartbeat_seconds = (mode == Job && chance.random_bool(0.5)).then_some(1);
    let timeout_seconds = chance.random_range(1..4);
    request.delivery = Some(Delivery { mode, timeout_seconds, heartbeat_seconds });
    request.catch_up = Some(
        *[CatchUp::All, CatchUp::Latest, CatchUp::Latest, CatchUp::None].choose(chance).unwrap(),
    );
    let overlap = *[Overlap::Skip, Overlap::Allow, Overlap::BufferOne, Overlap::CancelOther]
        .choose(chance)
        .unwrap();
    request.overlap = Some(overlap);
    request.max_instances = (overlap == Overlap::Allow).then(|| chance.random_range(1..4));
    request.misfire_grace_seconds = Some(chance.random_range(2..30));
    request.max_retries = Some(chance.random_range(0..3));
    let initial_seconds = Some(chance.random_range(0..2));
    request.retry =
        Some(RetryFields { initial_seconds, multiplier: Some(1.0), ..RetryFields::default() });
    request.failing_after = chance.random_bool(0.3).then(|| chance.random_range(2..4));
    let expected = chance.random_bool(0.4).then(|| chance.random_range(1..9));
    request.expect_success_within_seconds = expected;
    request.priority = Some(chance.random_range(1..=10));
    request.dead_letter = chance.random_bool(0.2).then(|| format!("cmd.example.dead{n}"));
}
