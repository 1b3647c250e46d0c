//! Changes that users make meanwhile, and what was said to them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::api::schedules::{PauseSchedule, ResumeSchedule, TriggerSchedule};
use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use tokio::time::timeout;
use uuid::Uuid;

use super::Storm;

/// How long a user waits. Who asks an instance that dies hears nothing.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long after it was asked for a change may still be made.
const FOR_LONG: TimeDelta = TimeDelta::seconds(60);

/// What users were told.
#[derive(Default)]
pub struct Told {
    /// Runs by hand that will take place.
    pub runs: BTreeSet<Uuid>,
    /// From when a schedule was paused, by the reply.
    pub paused: Vec<(Uuid, DateTime<Utc>)>,
    /// When somebody asked to resume a schedule, which may be done any time after.
    pub resumes: Vec<(Uuid, DateTime<Utc>)>,
}

impl Storm {
    /// One change by chance, by one of the instances.
    pub fn change(&mut self) {
        let which = self.chance.random_range(0..self.instances.len());
        let (instance, _) = &self.instances[which];
        let (api, caller) = (Arc::clone(&instance.api), instance.caller());
        let id = self.made.choose(&mut self.chance).unwrap().id;
        let (told, server) = (Arc::clone(&self.told), self.server.clone());
        match self.chance.random_range(0..4) {
            0 => {
                self.say(&format!("instance {which} is asked to pause {id}"));
                let asked = self.server.now();
                tokio::spawn(async move {
                    let pause = PauseSchedule { schedule_id: Some(id), ..PauseSchedule::default() };
                    let done = timeout(PATIENCE, api.pause_schedule(pause, &caller)).await;
                    let mut told = told.lock().unwrap();
                    let resumed =
                        told.resumes.iter().any(|(one, at)| *one == id && *at + FOR_LONG >= asked);
                    // A resumption that was asked for before may come after.
                    if matches!(done, Ok(Ok(_))) && !resumed {
                        told.paused.push((id, server.now()));
                    }
                });
            }
            1 => {
                self.say(&format!("instance {which} is asked to resume {id}"));
                told.lock().unwrap().resumes.push((id, server.now()));
                tokio::spawn(async move {
                    let resume = ResumeSchedule { schedule_id: Some(id), expected_revision: None };
                    let _ = timeout(PATIENCE, api.resume_schedule(resume, &caller)).await;
                });
            }
            _ => {
                self.say(&format!("instance {which} is asked to run {id}"));
                tokio::spawn(async move {
                    let run = TriggerSchedule {
                        schedule_id: Some(id),
                        override_payload: None,
                        wait_ms: None,
                    };
                    let done = timeout(PATIENCE, api.trigger_schedule(run, &caller)).await;
                    if let Ok(Ok(reply)) = done {
                        told.lock().unwrap().runs.insert(reply.data.execution_id);
                    }
                });
            }
        }
    }
}
