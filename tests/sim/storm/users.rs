//! Requests of users during a storm.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use nats_scheduler::api::error::ApiError;
use nats_scheduler::api::reply::Reply;
use nats_scheduler::api::reports::CancelExecution;
use nats_scheduler::api::schedules::{
    BulkAction, BulkOperation, DeleteSchedule, PauseAll, PauseSchedule, RestoreSchedule, ResumeAll,
    ResumeSchedule, TriggerSchedule,
};
use nats_scheduler::api::{Api, Caller};
use nats_scheduler::client::ExplainSchedule;
use nats_scheduler::names;
use nats_scheduler::schedule::{CreateSchedule, Schedule, UpdateSchedule};
use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use tokio::time::sleep;
use uuid::Uuid;

use super::evidence::{Book, answer_of, within_patience};
use super::steps::Struck;
use super::{Storm, any, schedules, source};
use crate::checker::{Asked, FaultKind, Wish};
use crate::nats::{Server, Simulated};

/// How many others want a name that somebody is slow with.
const RIVALS: usize = 5;
/// After which a name whose schedule does not come is taken for left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(10);

type OneApi = Arc<Api<Simulated>>;

impl Storm {
    /// Something that a user asks for.
    pub fn change(&mut self, step: usize, chance: &mut StdRng) {
        let Some(api) = any(&self.living, chance) else { return };
        let Some(id) = self.made.lock().unwrap().choose(chance).copied() else { return };
        // Drawn aside, so that all else is drawn as before.
        let mut aside = source(self.seed, usize::MAX / 3 + step);
        match aside.random_range(0..60) {
            0 | 1 => return self.pause_all(step, &mut aside, api),
            2 => return self.resume_all(step, &mut aside, api),
            _ => {}
        }
        match chance.random_range(0..20) {
            0 | 1 => self.pause(step, chance, api, id),
            2..=4 => self.resume(step, chance, api, id),
            5 | 6 => self.trigger(step, chance, api, id),
            7..=10 => self.update(step, chance, api, id),
            11 | 12 => self.delete(step, chance, api, id),
            13 => self.restore(step, chance, api, id),
            14 | 15 if chance.random_bool(0.7) && self.may_be_slow() => {
                self.contest_slowly(step, chance);
            }
            14 | 15 => self.contest(step, chance),
            16 | 17 => self.operate(step, chance, api),
            _ => self.cancel(step, chance, api, id),
        }
    }

    /// Asks in a task of its own, and notes what was said.
    fn asks<T, F>(
        &self,
        chance: &mut StdRng,
        what: Wish,
        schedules: Vec<Uuid>,
        ask: impl FnOnce(Caller) -> F,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<Reply<T>, ApiError>> + Send + 'static,
    {
        self.asks_and(chance, what, schedules, ask, |_, _| {});
    }

    /// The same, and `then` does something with the reply.
    fn asks_and<T, F>(
        &self,
        chance: &mut StdRng,
        what: Wish,
        schedules: Vec<Uuid>,
        ask: impl FnOnce(Caller) -> F,
        then: impl FnOnce(&mut Asked, &T) + Send + 'static,
    ) where
        T: Send + 'static,
        F: Future<Output = Result<Reply<T>, ApiError>> + Send + 'static,
    {
        let (book, server, caller) = (self.book(), self.server.clone(), Book::caller(chance));
        let asked = book.asks(&caller, what, schedules, server.now());
        let asking = ask(caller);
        // A reply that is lost on its way says nothing.
        let is_lost = chance.random_bool(0.1);
        tokio::spawn(async move {
            let done = within_patience(asking).await.filter(|_| !is_lost);
            book.hears(asked, answer_of(done.as_ref(), server.now()));
            if let Some(Ok(reply)) = done {
                then(&mut book.evidence().asked[asked], &reply.data);
            }
        });
    }

    fn pause(&mut self, step: usize, chance: &mut StdRng, api: OneApi, id: Uuid) {
        let resume_at = self.end_of_pause(step);
        self.say(&format!("[{step}] a user pauses {id} until {resume_at:?}"));
        self.asks(chance, Wish::Pause, vec![id], |caller| async move {
            let schedule_id = Some(id);
            let pause = PauseSchedule { schedule_id, resume_at, ..PauseSchedule::default() };
            api.pause_schedule(pause, &caller).await
        });
    }

    fn pause_all(&mut self, step: usize, chance: &mut StdRng, api: OneApi) {
        let resume_at = Some(self.server.now() + schedules::ms(chance.random_range(300..4000)));
        self.say(&format!("[{step}] a user pauses all until {resume_at:?}"));
        let ask = |caller| async move {
            let request = PauseAll { resume_at, ..PauseAll::default() };
            api.pause_all(request, &caller).await
        };
        let what = Wish::PauseAll { is_confirmed: false };
        self.asks_and(chance, what, Vec::new(), ask, |asked, paused| {
            asked.what = Wish::PauseAll { is_confirmed: paused.unconfirmed.is_empty() };
        });
    }

    fn resume_all(&mut self, step: usize, chance: &mut StdRng, api: OneApi) {
        self.say(&format!("[{step}] a user lifts the pause of all"));
        self.asks(chance, Wish::ResumeAll, Vec::new(), |caller| async move {
            api.resume_all(ResumeAll::default(), &caller).await
        });
    }

    /// When a pause is to end by itself, if it is. Drawn aside, so that a step draws all else as before.
    fn end_of_pause(&self, step: usize) -> Option<DateTime<Utc>> {
        let mut aside = source(self.seed, usize::MAX / 2 + step);
        let after = schedules::ms(aside.random_range(300..7000));
        aside.random_bool(0.6).then(|| self.server.now() + after)
    }

    fn resume(&mut self, step: usize, chance: &mut StdRng, api: OneApi, id: Uuid) {
        self.say(&format!("[{step}] a user resumes {id}"));
        self.asks(chance, Wish::Resume, vec![id], |caller| async move {
            let resume = ResumeSchedule { schedule_id: Some(id), ..ResumeSchedule::default() };
            api.resume_schedule(resume, &caller).await
        });
    }

    fn trigger(&mut self, step: usize, chance: &mut StdRng, api: OneApi, id: Uuid) {
        self.say(&format!("[{step}] a user runs {id}"));
        let override_payload =
            chance.random_bool(0.5).then(|| schedules::payload(1_000_000 + step as u64));
        let payload = override_payload.as_ref().map(|payload| payload.as_str().to_owned());
        let what = Wish::Trigger { execution: None, payload };
        let run = TriggerSchedule {
            schedule_id: Some(id),
            override_payload,
            ..TriggerSchedule::default()
        };
        let ask = |caller| async move { api.trigger_schedule(run, &caller).await };
        self.asks_and(chance, what, vec![id], ask, |asked, triggered| {
            if let Wish::Trigger { execution, .. } = &mut asked.what {
                *execution = Some(triggered.execution_id);
            }
        });
    }

    fn update(&mut self, step: usize, chance: &mut StdRng, api: OneApi, id: Uuid) {
        let Some(record) = self.record(id) else { return };
        let mut update = UpdateSchedule { schedule_id: Some(id), ..UpdateSchedule::default() };
        let what = match chance.random_range(0..8) {
            0..=2 => {
                update.command_payload = Some(schedules::payload(1 + step as u64));
                "payload"
            }
            3 | 4 => {
                let target = record.spec.target_command.as_str();
                let base = target.split_inclusive('.').take(3).collect::<String>();
                update.target_command = Some(format!("{}.m{step}", base.trim_end_matches('.')));
                "target"
            }
            5 | 6 if record.spec.timing.interval_seconds.is_some() => {
                update.interval_seconds = Some(chance.random_range(2..7));
                "interval"
            }
            _ => {
                update.is_active = Some(!record.is_active);
                "switch"
            }
        };
        self.say(&format!("[{step}] a user updates {what} of {id}"));
        self.asks(chance, Wish::Update, vec![id], |caller| async move {
            api.update_schedule(update, &caller).await
        });
    }

    fn delete(&mut self, step: usize, chance: &mut StdRng, api: OneApi, id: Uuid) {
        let hard_delete = Some(chance.random_bool(0.2));
        self.say(&format!("[{step}] a user deletes {id}"));
        self.asks(chance, Wish::Delete, vec![id], |caller| async move {
            let request =
                DeleteSchedule { schedule_id: Some(id), hard_delete, ..DeleteSchedule::default() };
            api.delete_schedule(request, &caller).await
        });
    }

    fn restore(&mut self, step: usize, chance: &mut StdRng, api: OneApi, id: Uuid) {
        self.say(&format!("[{step}] a user restores {id}"));
        self.asks(chance, Wish::Restore, vec![id], |caller| async move {
            let request = RestoreSchedule { schedule_id: Some(id), ..RestoreSchedule::default() };
            api.restore_schedule(request, &caller).await
        });
    }

    /// Two users ask for one name at once.
    fn contest(&mut self, step: usize, chance: &mut StdRng) {
        self.say(&format!("[{step}] two users ask for the same name"));
        let n = 100 + step as u64;
        let mut request = schedules::one(chance, n, self.server.now());
        // Some ask for a name that is there already.
        request.name = Some(format!("s{}", if chance.random_bool(0.3) { 1 } else { n }));
        for _ in 0..2 {
            let Some(api) = any(&self.living, chance) else { return };
            self.asks_to_create(chance, api, request.clone());
        }
    }

    /// Whether there is time for an instance to come to a halt for long.
    fn may_be_slow(&self) -> bool {
        self.lasts(LEFT_BEHIND + Duration::from_secs(1)) && !self.size.forgets
    }

    /// The same, and one of them has an instance that comes to a halt while it creates, for about as long as it takes
    /// until what it has begun seems to be left behind.
    fn contest_slowly(&mut self, step: usize, chance: &mut StdRng) {
        let asked = self.living.lock().unwrap().choose(chance).map(Struck::of);
        let Some((slow, other)) = asked.zip(any(&self.living, chance)) else { return };
        self.say(&format!("[{step}] two users ask for the same name, one of them slowly"));
        let request = schedules::one(chance, 100 + step as u64, self.server.now());
        let Some(api) = self.api_of(slow.number) else { return };
        self.asks_to_create(chance, api, request.clone());
        let (begins, longer) = (chance.random_range(0..12), chance.random_range(0..40));
        let time = LEFT_BEHIND + Duration::from_millis(longer);
        self.wrong(FaultKind::Suspension, Some(slow.number), time + Duration::from_millis(begins));
        tokio::spawn(async move {
            sleep(Duration::from_millis(begins)).await;
            slow.nats.suspend(time);
        });
        for _ in 0..RIVALS {
            self.asks_to_create(chance, Arc::clone(&other), request.clone());
        }
    }

    /// The operations of an instance.
    fn api_of(&self, number: u64) -> Option<OneApi> {
        let living = self.living.lock().unwrap();
        let one = living.iter().find(|one| one.number == number)?;
        Some(Arc::clone(&one.instance.api))
    }

    /// Asks for a schedule in a task of its own.
    fn asks_to_create(&self, chance: &mut StdRng, api: OneApi, request: CreateSchedule) {
        let (book, server, caller) = (self.book(), self.server.clone(), Book::caller(chance));
        tokio::spawn(create(api, request, caller, book, server, Arc::clone(&self.made)));
    }

    /// Asks for a schedule before the storm, when all is answered.
    pub async fn asks_to_create_at_first(
        &self,
        chance: &mut StdRng,
        api: &OneApi,
        request: CreateSchedule,
    ) {
        let (book, server, caller) = (self.book(), self.server.clone(), Book::caller(chance));
        let made = Arc::clone(&self.made);
        create(Arc::clone(api), request, caller, book, server, made).await;
    }

    /// Several schedules at once.
    fn operate(&mut self, step: usize, chance: &mut StdRng, api: OneApi) {
        let (operation, what) = match chance.random_range(0..2) {
            0 => (BulkAction::Pause, Wish::Pause),
            _ => (BulkAction::Resume, Wish::Resume),
        };
        let made = self.made.lock().unwrap().clone();
        let ids: Vec<_> = made.sample(chance, 4).copied().collect();
        let pauses = operation == BulkAction::Pause;
        let resume_at = self.end_of_pause(step).filter(|_| pauses);
        self.say(&format!("[{step}] a user asks for {operation:?} of {ids:?} until {resume_at:?}"));
        let request = BulkOperation {
            operation: Some(operation),
            schedule_ids: Some(ids),
            resume_at,
            ..BulkOperation::default()
        };
        let ask = |caller| async move { api.bulk_operation(request, &caller).await };
        self.asks_and(chance, what, Vec::new(), ask, |asked, operated| {
            asked.schedules.clone_from(&operated.success);
        });
    }

    fn cancel(&mut self, step: usize, chance: &mut StdRng, api: OneApi, id: Uuid) {
        let Some(record) = self.record(id) else { return };
        let Some(attempt) = record.attempts.choose(chance) else { return };
        let execution = attempt.execution_id;
        self.say(&format!("[{step}] a user cancels {execution} of {id}"));
        self.asks(chance, Wish::Cancel { execution }, vec![id], |caller| async move {
            let execution_id = Some(execution);
            let request = CancelExecution {
                execution_id,
                schedule_id: Some(id),
                ..CancelExecution::default()
            };
            api.cancel_execution(request, &caller).await
        });
    }

    /// The record of a schedule as it is now.
    fn record(&self, id: Uuid) -> Option<Schedule> {
        let key = names::key_subject(&names::schedule_key(id));
        let entry = self.server.last(names::SCHEDULES_STREAM, &key)?;
        entry.is_value().then(|| serde_json::from_slice(&entry.body).ok())?
    }
}

/// Asks for a schedule, and notes which it is.
async fn create(
    api: OneApi,
    request: CreateSchedule,
    caller: Caller,
    book: Book,
    server: Server,
    made: Arc<Mutex<Vec<Uuid>>>,
) {
    let name = request.name.clone().unwrap_or_default();
    let what = Wish::Create { name, created_by: caller.actor() };
    let asked = book.asks(&caller, what, Vec::new(), server.now());
    let asking = async move { api.create_schedule(request, &caller).await };
    let done = within_patience(asking).await;
    book.hears(asked, answer_of(done.as_ref(), server.now()));
    let Some(Ok(reply)) = done else { return };
    let mut evidence = book.evidence();
    evidence.asked[asked].schedules.push(reply.data.id);
    evidence.created.push(serde_json::to_string(&reply.data).unwrap());
    made.lock().unwrap().push(reply.data.id);
}

impl Storm {
    /// Asks what became of all times of each schedule.
    pub async fn asks_for_explanations(&self) {
        let Some(api) =
            self.living.lock().unwrap().first().map(|one| Arc::clone(&one.instance.api))
        else {
            return;
        };
        for record in self.records() {
            let request = ExplainSchedule {
                schedule_id: Some(record.id),
                from: Some(record.created_at),
                limit: Some(1000),
                ..ExplainSchedule::default()
            };
            if let Ok(reply) = api.explain_schedule(request, &Caller::anonymous()).await {
                self.evidence.lock().unwrap().explained.insert(record.id, reply.data);
            }
        }
    }
}
