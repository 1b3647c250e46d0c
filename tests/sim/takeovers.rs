//! How long claims of an instance that is gone wait for another one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt as _;
use nats_scheduler::names;
use nats_scheduler::port::Wire as _;
use nats_scheduler::schedule::CreateSchedule;
use serde_json::json;

use crate::instance::{Instance, start};
use crate::nats::{HostClock, Server, Simulated, Way};

/// Fires schedules of every second, due all over it, until one of three instances is lost; returns how late what was
/// due around then was stored, the latest last.
async fn lateness(seed: u64, lose: impl FnOnce(Instance, Simulated)) -> Vec<TimeDelta> {
    let server = Server::with_streams(seed);
    let mut instances = Vec::new();
    for n in 0..3 {
        let nats = server.connect();
        let clock = HostClock::off_by(&server, TimeDelta::zero());
        let instance = Instance::start_over(nats.clone(), clock, seed * 10 + n).await.unwrap();
        instances.push((instance, nats));
    }
    for n in 0..60 {
        let request: CreateSchedule = serde_json::from_value(json!({
            "name": format!("s{n}"), "schedule_type": "interval", "interval_seconds": 1,
            "target_command": format!("cmd.example.{n}"),
        }))
        .unwrap();
        let one = &instances[n % 3].0;
        one.api.create_schedule(request, &one.caller()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(17)).await;
    }
    tokio::time::sleep(Duration::from_millis(3000 + seed * 37)).await;
    let lost_at = server.now();
    let (instance, nats) = instances.swap_remove(0);
    lose(instance, nats);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let commands = server.messages("COMMANDS");
    let ids: Vec<_> = commands.iter().map(|one| one.headers.get(names::EXECUTION_ID)).collect();
    let distinct: std::collections::BTreeSet<_> =
        ids.iter().map(|id| id.unwrap().as_str()).collect();
    assert_eq!(distinct.len(), ids.len(), "some are stored twice");
    let mut late: Vec<_> = commands
        .iter()
        .map(|one| {
            let due = one.headers.get(names::SCHEDULED_FOR).unwrap().as_str();
            (due.parse::<DateTime<Utc>>().unwrap(), one.stored_at)
        })
        .filter(|(due, _)| (*due - lost_at).abs() < TimeDelta::milliseconds(1500))
        .map(|(due, stored_at)| stored_at - due)
        .collect();
    assert!(late.len() >= 170, "{} were due around then", late.len());
    late.sort();
    late
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_instance_had_claimed_is_sent_within_half_a_second() {
    for seed in 1..3 {
        let late = lateness(seed, |instance, nats| {
            nats.kill();
            instance.die();
        })
        .await;
        assert!(*late.last().unwrap() < TimeDelta::milliseconds(500), "{late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_an_instance_had_claimed_that_stands_still_is_sent_within_a_second() {
    for seed in 1..3 {
        let late = lateness(seed, |instance, nats| {
            nats.hold(Way::Here, Duration::from_secs(60));
            nats.hold(Way::There, Duration::from_secs(60));
            // It goes on as long as the others do.
            std::mem::forget(instance);
        })
        .await;
        assert!(*late.last().unwrap() < TimeDelta::seconds(1), "{late:?}");
    }
}

/// Its replies are awaited one after the other, which takes longer than one lease lasts.
#[tokio::test(start_paused = true)]
async fn requests_that_are_taken_over_together_are_each_sent_only_by_one_other_instance() {
    let server = Server::with_streams(9);
    let nats = server.connect();
    let mut requests = nats.subscribe("cmd.slow".to_owned()).await.unwrap();
    let asked = Arc::new(Mutex::new(BTreeMap::<String, usize>::new()));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let headers = request.headers.unwrap();
            let execution = headers.get(names::EXECUTION_ID).unwrap().as_str().to_owned();
            *counted.lock().unwrap().entry(execution).or_default() += 1;
        }
    });
    let mut instances = start(&server, 3).await;
    let request: CreateSchedule = serde_json::from_value(json!({
        "name": "slow", "schedule_type": "interval", "interval_seconds": 2, "max_runs": 3,
        "target_command": "cmd.slow", "overlap": "allow", "max_instances": 3, "max_retries": 0,
        "delivery": { "mode": "request", "timeout_seconds": 200 },
    }))
    .unwrap();
    let (one, _) = &instances[0];
    let id = one.api.create_schedule(request, &one.caller()).await.unwrap().data.id;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(asked.lock().unwrap().values().collect::<Vec<_>>(), [&1, &1, &1]);
    let entry = instances[0].0.api.index.get(id).unwrap();
    let by: Vec<_> = entry.schedule.attempts.iter().map(|attempt| attempt.phase.by()).collect();
    assert_eq!((by.len(), by[0] == by[1], by[1] == by[2]), (3, true, true));
    let holder = instances.iter().position(|(one, _)| Some(one.api.instance) == by[0]).unwrap();
    let (instance, nats) = instances.swap_remove(holder);
    nats.kill();
    instance.die();
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(asked.lock().unwrap().values().collect::<Vec<_>>(), [&2, &2, &2]);
}
