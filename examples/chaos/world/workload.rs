//! The schedules: of all kinds and modes, drawn from the seed.

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::schedule::CreateSchedule;
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};
use uuid::Uuid;

/// Target of commands in streams, `publish` and `job`; those of jobs are below [`JOBS`].
pub const PUBLISHED: &str = "cmd.example";
/// Target of commands for workers that report.
pub const JOBS: &str = "cmd.example.job";
/// Target of commands that are answered.
pub const ASKED: &str = "cmd.ask";
/// Target of commands that are only heard.
pub const TOLD: &str = "cmd.tell";

const ZONES: [&str; 5] =
    ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"];
const CRONS: [&str; 5] =
    ["*/5 * * * * *", "1-59/7 * * * * *", "*/2 * * * * *", "3,23,43 * * * * *", "*/10 * * * * *"];

/// Draws the request that creates schedule `n`. A dependent schedule follows one of `made`; a schedule that runs once
/// does so within `span` from `now`.
pub fn draw(
    chance: &mut StdRng,
    n: usize,
    made: &[Uuid],
    now: DateTime<Utc>,
    span: TimeDelta,
) -> CreateSchedule {
    let mode = draw_mode(chance);
    let mut request =
        json!({ "name": format!("{mode} {n}"), "command_payload": { "n": n, "version": 0 } });
    add(&mut request, timing(chance, made, now, span));
    add(&mut request, delivery(chance, mode, n));
    add(&mut request, policies(chance));
    serde_json::from_value(request).unwrap()
}

fn add(request: &mut Value, fields: Value) {
    let Value::Object(fields) = fields else { return };
    request.as_object_mut().unwrap().extend(fields);
}

fn draw_mode(chance: &mut StdRng) -> &'static str {
    match chance.random_range(0..100) {
        0..40 => "publish",
        40..60 => "request",
        60..75 => "core",
        _ => "job",
    }
}

fn timing(chance: &mut StdRng, made: &[Uuid], now: DateTime<Utc>, span: TimeDelta) -> Value {
    let after = made.choose(chance).copied();
    match (chance.random_range(0..100), after) {
        (0..55, _) => {
            let seconds = chance.random_range(1..=9);
            let jitter = if chance.random_bool(0.15) { chance.random_range(0..seconds) } else { 0 };
            let runs = if chance.random_bool(0.1) { chance.random_range(1..20) } else { 0 };
            json!({ "schedule_type": "interval", "interval_seconds": seconds,
                    "jitter_seconds": jitter, "max_runs": runs })
        }
        (55..77, _) => json!({ "schedule_type": "cron", "timezone": ZONES.choose(chance),
                               "cron_expression": CRONS.choose(chance) }),
        (77..87, Some(after)) => {
            let on = ["success", "failure", "completion"].choose(chance);
            json!({ "schedule_type": "dependent", "after": { "schedule_id": after, "on": on } })
        }
        (_, _) => {
            let within_ms = span.num_milliseconds().max(2001);
            let at = now + TimeDelta::milliseconds(chance.random_range(2000..within_ms));
            json!({ "schedule_type": "one_time", "scheduled_at": at })
        }
    }
}

fn delivery(chance: &mut StdRng, mode: &str, n: usize) -> Value {
    let (target, delivery) = match mode {
        "request" => {
            let seconds = chance.random_range(2..5);
            (ASKED, json!({ "mode": mode, "timeout_seconds": seconds }))
        }
        "job" => {
            let heartbeat = chance.random_bool(0.5).then_some(3);
            let seconds = chance.random_range(6..11);
            let delivery =
                json!({ "mode": mode, "timeout_seconds": seconds, "heartbeat_seconds": heartbeat });
            (JOBS, delivery)
        }
        "core" => (TOLD, json!({ "mode": mode })),
        _ => (PUBLISHED, json!({ "mode": mode })),
    };
    json!({ "target_command": format!("{target}.{n}"), "delivery": delivery })
}

fn policies(chance: &mut StdRng) -> Value {
    let catch_up = ["latest", "all", "all", "none"].choose(chance);
    let overlap = ["skip", "allow", "buffer_one", "cancel_other"].choose(chance);
    let expected = chance.random_bool(0.4).then(|| chance.random_range(2..15));
    let grace = if chance.random_bool(0.2) { chance.random_range(1..6) } else { 300 };
    json!({
        "catch_up": catch_up,
        "overlap": overlap,
        "max_instances": chance.random_range(1..4),
        "misfire_grace_seconds": grace,
        "max_retries": chance.random_range(0..3),
        "retry": { "initial_seconds": 1, "multiplier": 1, "max_seconds": 2, "jitter": 0.1 },
        "priority": chance.random_range(1..11),
        "failing_after": chance.random_range(1..4),
        "expect_success_within_seconds": expected,
    })
}
