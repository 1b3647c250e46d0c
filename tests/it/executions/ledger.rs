//! One ledger: every nominal time ends in one recorded outcome, whatever happens.
//!
//! What happens here: updates, pauses, resumes, runs by hand, cancellations, killed instances, changed clocks, and
//! targets that are slow, fail, or do not answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::faults::crashes::check_ledgers;
use crate::harness::{Nats, Service};

/// How long the storm lasts.
const STORM: Duration = Duration::from_secs(20);

/// Schedules of every kind of delivery and policy, each every second.
async fn schedules(nats: &Nats) -> Vec<String> {
    let mut ids = Vec::new();
    let request = json!({ "mode": "request", "timeout_seconds": 5 });
    let job = json!({ "mode": "job", "timeout_seconds": 4, "heartbeat_seconds": 2 });
    for (n, (target, more)) in [
        ("cmd.example.latest", json!({})),
        ("cmd.example.all", json!({ "catch_up": "all" })),
        ("cmd.example.none", json!({ "catch_up": "none" })),
        ("cmd.example.spread", json!({ "jitter_seconds": 1 })),
        ("cmd.slow.skip", json!({ "delivery": request })),
        ("cmd.slow.buffer", json!({ "delivery": request, "overlap": "buffer_one" })),
        ("cmd.slow.allow", json!({ "delivery": request, "overlap": "allow", "max_instances": 3 })),
        ("cmd.slow.cancel", json!({ "delivery": request, "overlap": "cancel_other" })),
        ("cmd.slow.all", json!({ "delivery": request, "catch_up": "all" })),
        ("cmd.example.job", json!({ "delivery": job })),
        ("cmd.example.jobs", json!({ "delivery": job, "overlap": "cancel_other" })),
        ("cmd.nobody.there", json!({ "delivery": request, "max_retries": 2 })),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = json!({ "name": format!("{n}"), "schedule_type": "interval", "interval_seconds": 1,
                               "target_command": target, "retry": { "initial_seconds": 1 } });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ids.push(nats.create(body).await);
    }
    ids
}

/// Answers requests after up to two seconds, or not at all.
fn answer(nats: &Nats, mut requests: async_nats::Subscriber, seed: u64) {
    let client = nats.client.clone();
    tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed);
        while let Some(request) = requests.next().await {
            let (client, wait) = (client.clone(), random.random_range(0..2000));
            let answers = random.random_bool(0.9);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                if answers {
                    let _ = client.publish(request.reply.unwrap(), "{}".into()).await;
                }
            });
        }
    });
}

/// Reports jobs as done, as failed, or not at all.
fn report(nats: &Nats, mut commands: async_nats::Subscriber, seed: u64) {
    let client = nats.client.clone();
    tokio::spawn(async move {
        let mut random = StdRng::seed_from_u64(seed);
        while let Some(command) = commands.next().await {
            let headers = command.headers.unwrap();
            let Some(token) = headers.get("Scheduler-Token") else { continue };
            let execution = headers.get("Scheduler-Execution-Id").unwrap().as_str();
            let body = json!({ "execution_id": execution, "token": token.as_str() }).to_string();
            let (client, wait) = (client.clone(), random.random_range(0..1500));
            let subject = ["complete", "complete", "fail", ""][random.random_range(0..4)];
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(wait)).await;
                if !subject.is_empty() {
                    let subject = format!("cmd.scheduler.execution.{subject}");
                    let _ = client.request(subject, body.into()).await;
                }
            });
        }
    });
}

/// Sets the clock of an instance to another time than it is, by so many milliseconds.
fn set_clock(nats: &Nats, instance: usize, step_ms: i64) {
    // Replaced as a whole: it is read all the time.
    let written = nats.dir().join("clock");
    std::fs::write(&written, step_ms.to_string()).unwrap();
    std::fs::rename(&written, clock(nats, instance)).unwrap();
}

fn clock(nats: &Nats, instance: usize) -> PathBuf {
    nats.dir().join(format!("clock-{instance}"))
}

/// Starts an instance whose clock can be set.
fn spawn(nats: &Nats, instance: usize) -> Service {
    let clock = clock(nats, instance);
    nats.spawn(&[("NATS_SCHEDULER_CLOCK", clock.to_str().unwrap())])
}

async fn disturb(nats: &Nats, random: &mut StdRng, ids: &[String], services: &mut [Service; 2]) {
    let id = &ids[random.random_range(0..ids.len())];
    let ask = async |operation: &str, body: Value| {
        let subject = format!("cmd.scheduler.{operation}");
        let _ = nats.client.request(subject, body.to_string().into()).await;
    };
    match random.random_range(0..12) {
        0 | 1 => ask("schedule.pause", json!({ "schedule_id": id })).await,
        2..=4 => ask("schedule.resume", json!({ "schedule_id": id })).await,
        5 => ask("schedule.trigger", json!({ "schedule_id": id })).await,
        6 => ask("schedule.update", json!({ "schedule_id": id, "interval_seconds": 1 })).await,
        7 | 8 => {
            let request = json!({ "schedule_id": id, "include_pending": true });
            let Ok(reply) = nats
                .client
                .request("cmd.scheduler.execution.running", request.to_string().into())
                .await
            else {
                return;
            };
            let reply: Value = serde_json::from_slice(&reply.payload).unwrap();
            let execution = reply["data"][0]["execution_id"].clone();
            ask("execution.cancel", json!({ "execution_id": execution, "schedule_id": id })).await;
        }
        9 | 10 => {
            let step_ms =
                if random.random_bool(0.3) { 0 } else { random.random_range(-6000..6000) };
            set_clock(nats, random.random_range(0..2), step_ms);
        }
        _ => {
            let victim = random.random_range(0..2);
            services[victim].kill();
            services[victim] = spawn(nats, victim);
        }
    }
}

#[tokio::test]
async fn a_storm_leaves_one_outcome_for_every_time_of_every_schedule() {
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let nats = Nats::start().await;
    let mut services = [spawn(&nats, 0), spawn(&nats, 1)];
    for service in &services {
        service.ready().await;
    }
    answer(&nats, nats.client.subscribe("cmd.slow.>").await.unwrap(), seed);
    report(&nats, nats.client.subscribe("cmd.example.>").await.unwrap(), seed);
    nats.client.flush().await.unwrap();
    let ids = schedules(&nats).await;
    let started = Instant::now();
    while started.elapsed() < STORM {
        disturb(&nats, &mut random, &ids, &mut services).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(20..300))).await;
    }
    for (instance, service) in services.iter().enumerate() {
        set_clock(&nats, instance, 0);
        service.ready().await;
    }
    check_ledgers(&nats, &ids).await;
}
