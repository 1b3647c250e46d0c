//! How long claims of an instance that is gone wait for another one.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use crate::harness::{Nats, Service};

/// Fires schedules of every second, due all over it, until the first of three instances is lost; returns by how much what
/// was due around then was late by the history, the latest last.
async fn lateness(lose: impl FnOnce(&mut Service)) -> Vec<TimeDelta> {
    let nats = Nats::start().await;
    let (mut one, _two, _three) =
        (nats.service().await, nats.service().await, nats.service().await);
    for n in 0..60 {
        let beat = json!({ "name": format!("beat {n}"), "schedule_type": "interval",
                           "interval_seconds": 1, "target_command": "cmd.example.beat" });
        nats.create(beat).await;
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
    nats.wait_count("COMMANDS", 180).await;
    let lost_at = Utc::now();
    lose(&mut one);
    let before = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", before + 8 * 60).await;
    let mut sent = std::collections::BTreeSet::new();
    let mut late = Vec::new();
    for message in nats.messages("COMMANDS").await {
        let header = |name: &str| message.headers.get(name).unwrap().as_str();
        assert!(sent.insert(header("Scheduler-Execution-Id").to_owned()), "stored twice");
        let due: DateTime<Utc> = header("Scheduler-Scheduled-For").parse().unwrap();
        if (due - lost_at).abs() < TimeDelta::milliseconds(1500) {
            late.push(message.time.with_timezone(&Utc) - due);
        }
    }
    assert!(late.len() >= 100, "{} were due around then", late.len());
    late.sort();
    let mut ended = std::collections::BTreeSet::new();
    for event in nats.messages("SCHEDULER_EXECUTIONS").await {
        let id = event.headers.get("Scheduler-Execution-Id").unwrap().as_str().to_owned();
        assert!(ended.insert(id), "an execution has two outcomes");
    }
    late
}

#[tokio::test]
async fn what_a_killed_instance_had_claimed_waits_only_until_nats_says_that_it_has_no_connection() {
    let late = lateness(Service::kill).await;
    // Five seconds, until it counts as gone, if that were waited for.
    assert!(*late.last().unwrap() < TimeDelta::milliseconds(3000), "{late:?}");
}

#[tokio::test]
async fn what_an_instance_had_claimed_that_stands_still_waits_only_until_it_is_missed() {
    let late = lateness(|one| one.signal("-STOP")).await;
    assert!(*late.last().unwrap() < TimeDelta::milliseconds(4000), "{late:?}");
}
