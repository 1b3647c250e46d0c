//! Many schedules for the benchmarks.

use std::time::Duration;

use async_nats::jetstream::message::PublishMessage;
use chrono::Utc;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use nats_scheduler::names::{key_subject, name_key, schedule_key};
use nats_scheduler::schedule::{CreateSchedule, Limits, Rules, ScheduleType, Writer, new_schedule};
use serde_json::json;
use uuid::Uuid;

use crate::harness::Nats;

const IN_FLIGHT: usize = 2_048;
const ZONES: [&str; 4] = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Tokyo"];

/// Writes daily schedules and their names into the bucket, without the service. Returns the size of each payload in
/// bytes.
pub async fn fill(nats: &Nats, count: usize) -> usize {
    let rules = Rules {
        limits: Limits { schedules_per_creator: count, ..Limits::default() },
        ..Rules::default()
    };
    let payload = json!({ "text": "x".repeat(200) }).to_string();
    let mut request = CreateSchedule {
        schedule_type: Some(ScheduleType::Cron),
        target_command: Some("cmd.example.daily".to_owned()),
        command_payload: Some(serde_json::from_str(&payload).unwrap()),
        tags: Some(vec!["bench".to_owned()]),
        ..CreateSchedule::default()
    };
    // The schedules must not be due during this run.
    let hour = (Utc::now() + chrono::Duration::hours(12)).format("%H").to_string();
    let mut acks = FuturesUnordered::new();
    for n in 0..count {
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
    payload.len()
}
