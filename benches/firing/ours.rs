//! The service under test.

use std::time::{Duration, Instant};

use chrono::Utc;
use serde_json::json;

use crate::bulk;
use crate::fill;
use crate::ground::{self, Steady, come, late, payload, whole_second};
use crate::harness::{Nats, Service};
use crate::lateness::Lateness;
use crate::usage::Usage;

const SETTINGS: [(&str, &str); 2] =
    [("MAX_SCHEDULES_PER_CREATOR", "1000000"), ("LOG_LEVEL", "info")];
/// Minimum number of schedules created per second.
const CREATED: usize = 1_000;
/// Time to read what others are stored.
const LOADED_WITHIN: Duration = Duration::from_secs(600);

/// Lateness of `count` commands that are due at one instant, fired by that many instances.
pub async fn burst(count: usize, instances: usize) -> Lateness {
    let nats = ground::start().await;
    let services = start(&nats, instances).await;
    let due = whole_second(10 + (count / CREATED) as i64);
    let started = Instant::now();
    bulk::create(&nats, count, |n| {
        json!({ "name": format!("burst {n}"), "schedule_type": "one_time", "scheduled_at": due,
            "target_command": "cmd.example.burst", "command_payload": payload() })
    })
    .await;
    if instances == 1 {
        println!("created in bulk at {:>7.0}/s", count as f64 / started.elapsed().as_secs_f64());
    }
    assert!(Utc::now() < due, "creating took too long");
    let late = late(&nats, "COMMANDS", "cmd.example.>", count, |_| due).await;
    drop(services);
    late
}

/// Lateness when `rate` commands are due at every second, at once or spread over it, and the cost of each; among
/// `others` that do not fire meanwhile.
pub async fn steady(rate: usize, seconds: usize, is_spread: bool, others: usize) -> Steady {
    let nats = ground::start().await;
    let mut services = start(&nats, 1).await;
    if others > 0 {
        services[0].stop().await;
        fill::fill(&nats, others).await;
        let service = nats.spawn(&SETTINGS);
        service.ready_within(LOADED_WITHIN).await;
        services = vec![service];
    }
    let first = whole_second(5 + (rate / CREATED) as i64);
    bulk::create(&nats, rate, |n| {
        let after_ms = if is_spread { n * 1000 / rate } else { 0 };
        let start_at = first + chrono::Duration::milliseconds(after_ms as i64);
        json!({ "name": format!("steady {n}"), "schedule_type": "interval", "interval_seconds": 1,
            "start_at": start_at, "target_command": "cmd.example.steady", "command_payload": payload() })
    })
    .await;
    assert!(Utc::now() < first, "creating took too long");
    let until_first = (first - Utc::now()).to_std().unwrap_or(Duration::ZERO);
    tokio::time::sleep(until_first + Duration::from_secs(2)).await;
    let servers: Vec<_> = nats.servers().map(|server| server.pid()).collect();
    let used = || [vec![services[0].pid()], servers.clone()].map(processor);
    let (before, began) = (used(), Instant::now());
    tokio::time::sleep(Duration::from_secs(seconds as u64 - 4)).await;
    let (after, fired) = (used(), began.elapsed().as_secs_f64() * rate as f64);
    let cost = [0, 1].map(|of| (after[of] - before[of]) / fired * 1e6);
    come(&nats, "COMMANDS", "cmd.example.>", rate * seconds).await;
    let lateness = late(&nats, "COMMANDS", "cmd.example.>", rate * seconds, |_| first).await;
    drop(services);
    Steady { lateness, cost }
}

async fn start(nats: &Nats, instances: usize) -> Vec<Service> {
    let mut services = Vec::new();
    for _ in 0..instances {
        services.push(nats.service_with(&SETTINGS).await);
    }
    services
}

/// Processor time that processes have used together, in seconds.
fn processor(pids: Vec<u32>) -> f64 {
    pids.into_iter().map(|pid| Usage::of(pid).processor).sum()
}
