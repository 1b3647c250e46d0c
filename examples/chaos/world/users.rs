//! Users who change schedules meanwhile, and remember the answers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use nats_scheduler::client::{
    BulkAction, BulkOperation, Client, ClientError, Code, CreateSchedule, DeleteSchedule,
    ExecuteImmediate, ListRunning, Payload, ScheduleFilter, TriggerSchedule, UpdateSchedule,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::workload;
use crate::checker::{Answer, Asked, Wish};

/// How long a user waits for an answer. The request may still be carried out after that.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Range of the pause between two requests of a user.
const BETWEEN_MS: std::ops::Range<u64> = 100..1200;
/// Time within which schedules that users create run once.
const SPAN: TimeDelta = TimeDelta::seconds(20);
const USERS: u64 = 4;
/// How often they insist on something, and when they ask again.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// The name that they act under.
const ACTOR: &str = "user";

/// What users know about schedules.
#[derive(Default)]
pub struct Known {
    pub made: Vec<Uuid>,
    /// Schedules as they were when they were created.
    pub created: Vec<String>,
    pub asked: Vec<Asked>,
    /// Commands without a schedule that will be sent.
    pub promised: Vec<Uuid>,
    count: usize,
}

/// A user of the scheduler.
#[derive(Clone)]
pub struct User {
    scheduler: Client,
    known: Arc<Mutex<Known>>,
}

/// The users at work.
pub struct Users {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Users {
    /// Starts them.
    pub fn start(user: &User, seed: u64) -> Self {
        let (mut tasks, stop) = (JoinSet::new(), CancellationToken::new());
        for n in 0..USERS {
            let chance = StdRng::seed_from_u64(seed.wrapping_mul(1000).wrapping_add(n));
            tasks.spawn(user.clone().use_it(chance, stop.clone()));
        }
        Self { tasks, stop }
    }

    /// Waits until all of them know the result of their last wish.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

impl User {
    /// Creates a user with a connection.
    pub fn new(nats: async_nats::Client) -> Self {
        let scheduler = Client::new(nats).timeout(PATIENCE).actor(ACTOR);
        Self { scheduler, known: Arc::default() }
    }

    /// What all of them know.
    pub fn known(&self) -> &Mutex<Known> {
        &self.known
    }

    async fn use_it(self, mut chance: StdRng, stop: CancellationToken) {
        loop {
            let pause = Duration::from_millis(chance.random_range(BETWEEN_MS));
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(pause) => self.wish(&mut chance).await,
            }
        }
    }

    /// Makes one random wish.
    async fn wish(&self, chance: &mut StdRng) {
        let made = self.known.lock().unwrap().made.clone();
        let Some(id) = made.choose(chance).copied() else { return };
        match chance.random_range(0..100) {
            0..16 => self.pause(id).await,
            16..38 => self.resume(id).await,
            38..54 => self.trigger(chance, id).await,
            54..72 => self.update(chance, id).await,
            72..77 => self.delete(id, false).await,
            77..83 => self.restore(id).await,
            83..84 => self.delete(id, true).await,
            84..90 => self.create(chance).await,
            90..93 => self.create_twice(chance).await,
            93..96 => self.execute(chance).await,
            _ => self.cancel(chance).await,
        }
    }

    /// Creates one randomly drawn schedule.
    pub async fn create(&self, chance: &mut StdRng) {
        let request = self.draw(chance);
        self.create_so(request).await;
    }

    fn draw(&self, chance: &mut StdRng) -> CreateSchedule {
        let mut known = self.known.lock().unwrap();
        known.count += 1;
        workload::draw(chance, known.count, &known.made, Utc::now(), SPAN)
    }

    async fn create_so(&self, request: CreateSchedule) {
        let name = request.name.clone().unwrap_or_default();
        let wish = Wish::Create { name, created_by: ACTOR.to_owned() };
        let (scheduler, mut asked) = self.ask(wish, Vec::new());
        let created = scheduler.create(&request).await;
        if let Ok(reply) = &created {
            asked.schedules.push(reply.data.id);
            let mut known = self.known.lock().unwrap();
            known.made.push(reply.data.id);
            known.created.push(serde_json::to_string(&reply.data).unwrap());
        }
        self.note(asked, &created);
    }

    /// Two users want the same name at once; one of them gets it.
    async fn create_twice(&self, chance: &mut StdRng) {
        let (one, mut other) = (self.draw(chance), self.draw(chance));
        other.name.clone_from(&one.name);
        tokio::join!(self.create_so(one), self.create_so(other));
    }

    async fn pause(&self, id: Uuid) {
        let (scheduler, asked) = self.ask(Wish::Pause, vec![id]);
        let paused = scheduler.pause(id, Some("chaos")).await;
        self.note(asked, &paused);
    }

    async fn resume(&self, id: Uuid) {
        let (scheduler, asked) = self.ask(Wish::Resume, vec![id]);
        let resumed = scheduler.resume(id).await;
        self.note(asked, &resumed);
    }

    async fn trigger(&self, chance: &mut StdRng, id: Uuid) {
        let by_hand = chance.random_bool(0.5).then_some(r#"{"by":"hand"}"#);
        let request = TriggerSchedule {
            schedule_id: Some(id),
            override_payload: by_hand.map(payload),
            ..TriggerSchedule::default()
        };
        let payload = by_hand.map(str::to_owned);
        let (scheduler, mut asked) =
            self.ask(Wish::Trigger { execution: None, payload: payload.clone() }, vec![id]);
        let run = scheduler.trigger_with(&request).await;
        if let Ok(reply) = &run {
            asked.what = Wish::Trigger { execution: Some(reply.data.execution_id), payload };
        }
        self.note(asked, &run);
    }

    async fn update(&self, chance: &mut StdRng, id: Uuid) {
        let version: u32 = chance.random();
        let mut request = UpdateSchedule { schedule_id: Some(id), ..UpdateSchedule::default() };
        match chance.random_range(0..4) {
            0 => request.interval_seconds = Some(chance.random_range(1..10)),
            1 => request.priority = Some(chance.random_range(1..11)),
            _ => request.command_payload = Some(payload(&format!(r#"{{"version":{version}}}"#))),
        }
        let (scheduler, asked) = self.ask(Wish::Update, vec![id]);
        let updated = scheduler.update(&request).await;
        self.note(asked, &updated);
    }

    async fn delete(&self, id: Uuid, for_good: bool) {
        let request = DeleteSchedule {
            schedule_id: Some(id),
            hard_delete: Some(for_good),
            ..DeleteSchedule::default()
        };
        let (scheduler, asked) = self.ask(Wish::Delete, vec![id]);
        let deleted = scheduler.delete_with(&request).await;
        self.note(asked, &deleted);
    }

    async fn restore(&self, id: Uuid) {
        let (scheduler, asked) = self.ask(Wish::Restore, vec![id]);
        let restored = scheduler.restore(id).await;
        self.note(asked, &restored);
    }

    async fn execute(&self, chance: &mut StdRng) {
        let target = format!("{}.once.{}", workload::PUBLISHED, chance.random_range(0..10));
        let request =
            ExecuteImmediate { target_command: Some(target), ..ExecuteImmediate::default() };
        // This is no change, and nothing announces it.
        if let Ok(run) = self.scheduler.execute(&request).await {
            self.known.lock().unwrap().promised.push(run.data.execution_id);
        }
    }

    /// Cancels something that is under way.
    async fn cancel(&self, chance: &mut StdRng) {
        let Ok(running) = self.scheduler.running(&ListRunning::default()).await else { return };
        let Some(one) = running.data.choose(chance) else { return };
        let wish = Wish::Cancel { execution: one.execution_id };
        let (scheduler, asked) = self.ask(wish, vec![one.schedule_id]);
        let cancelled = scheduler.cancel(one.execution_id, None).await;
        self.note(asked, &cancelled);
    }

    /// Resumes everything that is paused, or pauses everything that fires; returns why this fails, if it does.
    pub async fn insist_on(&self, operation: BulkAction) -> Vec<String> {
        let mut left = Vec::new();
        for _ in 0..TRIES {
            left = self.all(operation).await;
            if left.is_empty() {
                break;
            }
            sleep(PAUSE).await;
        }
        left
    }

    async fn all(&self, operation: BulkAction) -> Vec<String> {
        let filter = ScheduleFilter { creator: Some(ACTOR.to_owned()), ..Default::default() };
        let request = BulkOperation {
            operation: Some(operation),
            filter: Some(filter),
            ..BulkOperation::default()
        };
        let wish = match operation {
            BulkAction::Pause => Wish::Pause,
            BulkAction::Resume => Wish::Resume,
            BulkAction::Delete => Wish::Delete,
        };
        let (scheduler, mut asked) = self.ask(wish, Vec::new());
        let operated = scheduler.timeout(6 * PATIENCE).bulk_operation(&request).await;
        if let Ok(reply) = &operated {
            asked.schedules.clone_from(&reply.data.success);
        }
        self.note(asked, &operated);
        match operated {
            // Schedules that have ended meanwhile are refused.
            Ok(reply) => {
                let failed = reply.data.failed.into_iter().map(|item| item.error);
                let failed = failed.filter(|error| error.code != Code::NotAllowed);
                failed.map(|error| error.to_string()).collect()
            }
            Err(error) => vec![error.to_string()],
        }
    }

    /// A record of a request that is about to be made, and the client that makes it.
    fn ask(&self, what: Wish, schedules: Vec<Uuid>) -> (Client, Asked) {
        let correlation_id = Uuid::new_v4().to_string();
        let scheduler = self.scheduler.clone().correlation_id(correlation_id.clone());
        let (at, answer) = (Utc::now(), Answer::Unknown);
        (scheduler, Asked { correlation_id, what, schedules, at, answer })
    }

    fn note<T>(&self, mut asked: Asked, done: &Result<T, ClientError>) {
        asked.answer = answer(done);
        self.known.lock().unwrap().asked.push(asked);
    }
}

/// What an answer tells the user.
pub fn answer<T>(done: &Result<T, ClientError>) -> Answer {
    match done {
        Ok(_) => Answer::Done(Utc::now()),
        Err(error) if error.may_have_been_done() => Answer::Unknown,
        Err(_) => Answer::Refused,
    }
}

fn payload(json: &str) -> Payload {
    serde_json::from_str(json).unwrap()
}
