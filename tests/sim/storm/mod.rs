//! Faults by chance, and what must hold all the same.
//!
//! A seed says everything: how long messages take, which schedules there are, what goes wrong and when. Once faults
//! end, all must be settled soon; then the streams and the records alone say what happened (`check.rs`).

mod changes;
mod check;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use changes::Told;
use chrono::TimeDelta;
use futures::StreamExt as _;
use nats_scheduler::api::schedules::ResumeSchedule;
use nats_scheduler::names;
use nats_scheduler::port::{Outgoing, Wire as _};
use nats_scheduler::schedule::CreateSchedule;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use uuid::Uuid;

use crate::instance::Instance;
use crate::nats::{Server, Simulated, Way};

/// How long faults go on.
const STORM: Duration = Duration::from_secs(40);
/// Within which all is settled once they have ended: a silent instance counts as gone after five seconds, and an
/// acknowledgement is waited for as long.
const CALM: Duration = Duration::from_secs(30);
const INSTANCES: usize = 3;
const SCHEDULES: u64 = 8;

/// A schedule as it was created.
struct Made {
    id: Uuid,
    mode: &'static str,
    interval: TimeDelta,
}

/// One run, and what happened in it for people.
struct Storm {
    seed: u64,
    chance: StdRng,
    server: Server,
    /// The instances that live, and the connection of each.
    instances: Vec<(Instance, Simulated)>,
    started: u64,
    made: Vec<Made>,
    deaths: usize,
    breaks: usize,
    told: Arc<Mutex<Told>>,
    trace: String,
}

impl Storm {
    async fn begin(seed: u64) -> Self {
        let server = Server::with_streams(seed);
        let (chance, instances, made) = (StdRng::seed_from_u64(seed), Vec::new(), Vec::new());
        let (started, deaths, breaks, told) = (0, 0, 0, Arc::default());
        let trace = String::new();
        let mut storm =
            Self { seed, chance, server, instances, started, made, deaths, breaks, told, trace };
        for _ in 0..INSTANCES {
            storm.start().await;
        }
        storm.create().await;
        storm
    }

    async fn start(&mut self) {
        let seed = self.seed * 1000 + self.started;
        self.started += 1;
        let nats = self.server.connect();
        let instance = Instance::start_over(&self.server, nats.clone(), seed).await;
        self.instances.push((instance, nats));
    }

    async fn create(&mut self) {
        for n in 0..SCHEDULES {
            let mode = *["publish", "publish", "request", "core"].choose(&mut self.chance).unwrap();
            let seconds = self.chance.random_range(1..8);
            let target = match mode {
                "publish" => format!("cmd.example.{n}"),
                _ => format!("cmd.worker.{n}"),
            };
            let request: CreateSchedule = serde_json::from_value(json!({
                "name": format!("{mode} {n}"), "schedule_type": "interval",
                "interval_seconds": seconds, "target_command": target, "catch_up": "all",
                "max_retries": 0, "max_instances": 3,
                "delivery": { "mode": mode, "timeout_seconds": 5 },
            }))
            .unwrap();
            let one = &self.instances[0].0;
            let created = one.api.create_schedule(request, &one.caller()).await.unwrap();
            let interval = TimeDelta::seconds(seconds);
            self.made.push(Made { id: created.data.id, mode, interval });
        }
    }

    fn say(&mut self, what: &str) {
        let now = self.server.now();
        writeln!(self.trace, "{now} {what}").unwrap();
    }

    /// One fault or change by chance.
    async fn strike(&mut self) {
        let which = self.chance.random_range(0..self.instances.len());
        let time = Duration::from_millis(self.chance.random_range(100..9000));
        let nats = self.instances[which].1.clone();
        match self.chance.random_range(0..10) {
            0..=2 => {
                self.say(&format!("instance {which} is cut off for {time:?}"));
                self.breaks += 1;
                nats.cut();
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    nats.reconnect();
                });
            }
            3 | 4 => {
                let way = if self.chance.random_bool(0.5) { Way::There } else { Way::Here };
                let word = if way == Way::There { "says" } else { "hears" };
                self.say(&format!("instance {which} {word} nothing for {time:?}"));
                self.breaks += 1;
                nats.hold(way, time);
            }
            5 => {
                self.say(&format!("instance {which} dies"));
                self.deaths += 1;
                let (instance, nats) = self.instances.swap_remove(which);
                nats.kill();
                instance.die();
                self.start().await;
            }
            6 => {
                self.say(&format!("all are cut off for {time:?}"));
                self.breaks += 1;
                for (_, nats) in &self.instances {
                    nats.cut();
                    let nats = nats.clone();
                    let late = Duration::from_millis(self.chance.random_range(0..800));
                    tokio::spawn(async move {
                        tokio::time::sleep(time + late).await;
                        nats.reconnect();
                    });
                }
            }
            _ => {
                self.say(&format!("instance {which} stops, and another starts"));
                let (instance, _) = self.instances.swap_remove(which);
                tokio::spawn(instance.stop());
                self.start().await;
            }
        }
    }

    /// What is still paused goes on.
    async fn resume_all(&mut self) {
        let (instance, _) = &self.instances[0];
        for made in &self.made {
            let now = self.server.now();
            self.told.lock().unwrap().resumes.push((made.id, now));
            let resume = ResumeSchedule { schedule_id: Some(made.id), expected_revision: None };
            // It need not be paused.
            let _ = instance.api.resume_schedule(resume, &instance.caller()).await;
        }
    }

    async fn run(mut self) -> Result<(), String> {
        let heard = worker(&self.server);
        let end = tokio::time::Instant::now() + STORM;
        while tokio::time::Instant::now() < end {
            let pause = Duration::from_millis(self.chance.random_range(200..6000));
            tokio::time::sleep(pause).await;
            match self.chance.random_range(0..5) {
                0 | 1 => self.change(),
                _ => self.strike().await,
            }
        }
        tokio::time::sleep(CALM / 2).await;
        self.resume_all().await;
        tokio::time::sleep(CALM / 2).await;
        for (instance, _) in std::mem::take(&mut self.instances) {
            instance.stop().await;
        }
        let heard = heard.lock().unwrap().clone();
        let found = self.check(&heard);
        found.map_err(|found| format!("seed {}: {found}\n{}", self.seed, self.trace))
    }
}

/// Answers all requests, and counts what it hears of each execution.
fn worker(server: &Server) -> Arc<Mutex<BTreeMap<String, usize>>> {
    let heard = Arc::new(Mutex::new(BTreeMap::new()));
    let (nats, count) = (server.connect(), Arc::clone(&heard));
    tokio::spawn(async move {
        let mut commands = nats.subscribe("cmd.worker.>".to_owned()).await.unwrap();
        while let Some(command) = commands.next().await {
            let id = command.headers.as_ref().and_then(|h| h.get(names::EXECUTION_ID));
            if let Some(id) = id {
                *count.lock().unwrap().entry(id.as_str().to_owned()).or_default() += 1;
            }
            if let Some(reply) = command.reply {
                let answer = Outgoing { subject: reply.to_string(), ..Outgoing::default() };
                nats.publish(answer).await.unwrap();
            }
        }
    });
    heard
}

/// Runs a seed; what it found, if anything.
pub fn run(seed: u64) -> Result<(), String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(async { Storm::begin(seed).await.run().await })
}

#[test]
fn whatever_breaks_each_occurrence_has_one_outcome_and_all_is_settled() {
    let seeds: u64 = std::env::var("SIM_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(100);
    let from: u64 = std::env::var("SIM_FROM").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for seed in from..from + seeds {
        run(seed).unwrap();
    }
}
