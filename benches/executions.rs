//! A full history for the benchmarks.

#![allow(dead_code, reason = "each benchmark uses a part of it")]

use async_nats::HeaderMap;
use async_nats::jetstream::message::PublishMessage;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use nats_scheduler::execution::{ErrorType, Execution, ExecutionStatus};
use nats_scheduler::names;
use nats_scheduler::schedule::{SkipCause, SkippedRange, execution_id};
use serde_json::json;
use uuid::Uuid;

use crate::harness::Nats;

/// Messages that wait for their acknowledgement.
pub const IN_FLIGHT: usize = 4_096;
/// Every hundredth execution belongs to a chain that shares a correlation id.
pub const CHAIN: usize = 100;

/// Time of the n-th execution of so many: they are spread over 30 days.
pub fn scheduled_for(n: usize, count: usize, now: DateTime<Utc>) -> DateTime<Utc> {
    let step_ms = TimeDelta::days(30).num_milliseconds() / i64::try_from(count).unwrap();
    now - TimeDelta::milliseconds(step_ms * i64::try_from(count - n).unwrap())
}

/// Writes executions into the stream, without the service.
pub async fn fill(nats: &Nats, schedules: &[Uuid], count: usize, now: DateTime<Utc>) {
    let mut acks = FuturesUnordered::new();
    for n in 0..count {
        let execution = execution(n, count, schedules, now);
        let subject = names::execution_subject(execution.status.event(), execution.schedule_id);
        let body = serde_json::to_vec(&execution).unwrap();
        let message = PublishMessage::build().payload(body.into()).headers(headers(&execution));
        acks.push(nats.js.send_publish(subject, message).await.unwrap().into_future());
        while acks.len() >= IN_FLIGHT {
            acks.next().await.unwrap().unwrap();
        }
    }
    while let Some(ack) = acks.next().await {
        ack.unwrap();
    }
}

/// The n-th execution. In each hundred one fails and is tried again, three fail for good, one is skipped, one is
/// cancelled, one has a correlation id that ten thousand share, and all others succeed; a few at the end are still
/// running.
fn execution(n: usize, count: usize, schedules: &[Uuid], now: DateTime<Utc>) -> Execution {
    use ExecutionStatus::{Cancelled, Failed, Running, Skipped, Success};
    let kind = n % CHAIN;
    // The second attempt at an execution that failed a little earlier.
    let (first, attempt) = if kind == 12 { (n - 1, 2) } else { (n, 1) };
    let schedule = schedules[first % schedules.len()];
    let occurrence = scheduled_for(first, count, now);
    let started = scheduled_for(n, count, now) + TimeDelta::milliseconds(12);
    let duration_ms = i64::try_from(n * 7_919 % 2_000).unwrap();
    let status = match kind {
        _ if n + 20 > count => Running,
        11 | 31 | 51 | 71 => Failed,
        13 => Skipped,
        14 => Cancelled,
        _ => Success,
    };
    let id = execution_id(schedule, occurrence, attempt);
    let correlation = execution_id(schedule, occurrence, 1).to_string();
    let mut execution: Execution = serde_json::from_value(json!({
        "id": id, "event_id": format!("{id}.outcome"), "time": started, "schedule_id": schedule,
        "schedule_name": format!("daily {}", first % schedules.len()), "created_by": "bench",
        "scheduled_for": occurrence, "status": status, "attempt_number": attempt,
        "correlation_id": if kind == 21 { "chain".to_owned() } else { correlation },
        "command_sent": "cmd.example.daily", "lock_id": { "instance": Uuid::nil(), "revision": n },
    }))
    .unwrap();
    execution.started_at = (status != Skipped).then_some(started);
    if status == Skipped {
        execution.skipped =
            Some(SkippedRange { cause: SkipCause::Missed, last: occurrence, count: 3 });
    } else if status != Running {
        execution.completed_at = Some(started + TimeDelta::milliseconds(duration_ms));
        execution.duration_ms = Some(duration_ms);
    }
    if status == Failed {
        let error_type = if kind == 31 { ErrorType::Timeout } else { ErrorType::NoStream };
        execution.error_message = Some(format!("cmd.example.daily: {}", error_type.as_str()));
        execution.error_type = Some(error_type);
        execution.will_retry = kind == 11;
    }
    execution.command_payload =
        (status != Skipped).then(|| serde_json::from_str(&payload()).unwrap());
    execution
}

fn payload() -> String {
    json!({ "text": "x".repeat(200) }).to_string()
}

/// The headers that the service writes.
fn headers(execution: &Execution) -> HeaderMap {
    let text = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Millis, true);
    let mut headers = HeaderMap::new();
    // There is no message id: the server would remember a million of them.
    headers.insert(names::EXECUTION_ID, execution.id.to_string());
    headers.insert(names::SCHEDULED_FOR, text(execution.scheduled_for));
    headers.insert(names::CORRELATION_ID, execution.correlation_id.as_str());
    headers.insert(names::STARTED_AT, text(execution.started_at.unwrap_or(execution.time)));
    if let Some(duration_ms) = execution.duration_ms {
        headers.insert(names::DURATION_MS, duration_ms.to_string());
    }
    headers.insert(names::COMMAND_SENT, execution.command_sent.as_str());
    if let Some(error_type) = &execution.error_type {
        headers.insert(names::ERROR_TYPE, error_type.as_str());
    }
    if let Some(range) = &execution.skipped {
        headers.insert(names::SKIPPED_COUNT, range.count.to_string());
    }
    headers
}
