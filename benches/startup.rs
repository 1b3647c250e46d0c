//! How long an instance takes to be ready with many schedules, and how much memory it then holds.
//!
//! `cargo bench --bench startup` writes 100,000 daily schedules into the bucket, then starts the
//! service and waits until it answers requests.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "../tests/it/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

use async_nats::jetstream::message::PublishMessage;
use chrono::Utc;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use harness::Nats;
use nats_scheduler::jetstream::names::{key_subject, name_key, schedule_key};
use nats_scheduler::schedule::{
    CreateSchedule, Limits, Rules, ScheduleType, TargetPattern, Writer, new_schedule,
};
use serde_json::json;
use uuid::Uuid;

const SCHEDULES: usize = 100_000;
const IN_FLIGHT: usize = 2_048;
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"];

#[tokio::main]
async fn main() {
    let nats = Nats::start().await;
    // Creates the streams.
    nats.service_with(&[]).await.stop().await;
    let started = Instant::now();
    fill(&nats).await;
    let rate = SCHEDULES as f64 / started.elapsed().as_secs_f64();
    println!("{SCHEDULES} schedules and their names written at {rate:.0}/s");
    for run in 1..=3 {
        let started = Instant::now();
        let service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
        let ready = started.elapsed();
        let status = nats.ask("status", json!({})).await;
        assert_eq!(status["schedules"]["active"], SCHEDULES);
        println!(
            "run {run}: ready after {:.2} s, {} MiB resident",
            ready.as_secs_f64(),
            resident(service.pid())
        );
    }
}

async fn fill(nats: &Nats) {
    let rules = Rules {
        limits: Limits { schedules_per_creator: SCHEDULES, ..Limits::default() },
        allowed_targets: vec![TargetPattern::parse("cmd.>").unwrap()],
        timezone: chrono_tz::UTC,
        max_retries: 3,
        retry_delay_seconds: 300,
        misfire_grace_seconds: 300,
    };
    let payload = serde_json::from_str(&json!({ "text": "x".repeat(200) }).to_string()).unwrap();
    let mut request = CreateSchedule {
        schedule_type: Some(ScheduleType::Cron),
        target_command: Some("cmd.example.daily".to_owned()),
        command_payload: Some(payload),
        tags: Some(vec!["bench".to_owned()]),
        ..CreateSchedule::default()
    };
    // Not within the minutes of this run.
    let hour = (Utc::now() + chrono::Duration::hours(12)).format("%H").to_string();
    let mut acks = FuturesUnordered::new();
    for n in 0..SCHEDULES {
        request.name = Some(format!("daily {n}"));
        request.timezone = Some(ZONES[n % ZONES.len()].to_owned());
        let hour = if n % ZONES.len() == 0 { hour.clone() } else { "3".to_owned() };
        request.cron_expression = Some(format!("{} {hour} 1 * *", n % 60));
        let (id, writer) = (Uuid::now_v7(), Writer { instance: Uuid::nil(), token: 0 });
        let now = Utc::now();
        let (schedule, _) = new_schedule(&request, &rules, id, now, "bench", "c", writer).unwrap();
        let record = serde_json::to_vec(&schedule).unwrap();
        let name = json!({ "schedule_id": id, "token": 0 }).to_string().into_bytes();
        let keys = [(schedule_key(id), record), (name_key("bench", &schedule.spec.name), name)];
        for (key, value) in keys {
            let message = PublishMessage::build().payload(value.into());
            let ack = nats.js.send_publish(key_subject(&key), message).await.unwrap();
            acks.push(ack.into_future());
        }
        while acks.len() >= IN_FLIGHT {
            acks.next().await.unwrap().unwrap();
        }
    }
    while let Some(ack) = acks.next().await {
        ack.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Resident memory of a process in MiB; 0 where the system does not say it this way.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
