//! Those who get the commands: good ones, slow ones, silent ones, and such as make mistakes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind};
use async_nats::{HeaderMap, Message, Subscriber};
use chrono::Utc;
use futures::StreamExt as _;
use nats_scheduler::client::{
    Client, ClientError, CompleteExecution, FailExecution, HeartbeatExecution, Reply, Reported,
};
use nats_scheduler::names;
use nats_scheduler::schedule::DeliveryMode;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::users::answer;
use super::workload::{ASKED, JOBS, TOLD};
use crate::checker::{Asked, Heard, Wish};

/// Without a word from its worker for so long, a job is given to another.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// How long a worker waits for commands, for an answer, and before it asks again.
const TAKE: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(300);
/// A worker who gets no answer for so long gives up; nothing takes longer than its timeout.
const TRIES: usize = 20;

/// What workers have heard and said.
#[derive(Default)]
pub struct Seen {
    /// Commands of mode `request`.
    pub asked: Vec<Heard>,
    /// Those of mode `core`, by each of the listeners.
    pub told: Vec<Vec<Heard>>,
    /// Reports, and what was said to them.
    pub reports: Vec<Asked>,
}

/// All workers. They end with it.
pub struct Workers {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    seed: u64,
    nats: async_nats::Client,
    scheduler: Client,
    seen: Mutex<Seen>,
    /// Whether they make no mistakes.
    behave: AtomicBool,
}

/// How a command is dealt with.
#[derive(Clone, Copy, Debug)]
enum Manner {
    Well,
    Slow,
    Silent,
    Fails,
    Twice,
    /// Shows a token that is not its own first, and then the right one.
    Wrong,
    Dies,
}

impl Workers {
    /// Starts them; they listen when this returns. Of the listeners each is with another server, so that what one
    /// misses with its server, another hears.
    pub async fn start(
        nats: async_nats::Client,
        listeners: Vec<async_nats::Client>,
        seed: u64,
    ) -> Self {
        let scheduler = Client::new(nats.clone()).timeout(ANSWER).actor("worker");
        let (seen, behave) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { seed, nats, scheduler, seen, behave });
        let mut tasks = JoinSet::new();
        let asked = shared.nats.subscribe(format!("{ASKED}.>")).await.unwrap();
        shared.nats.flush().await.unwrap();
        tasks.spawn(Arc::clone(&shared).answer(asked));
        for (n, listener) in listeners.into_iter().enumerate() {
            let told = listener.subscribe(format!("{TOLD}.>")).await.unwrap();
            listener.flush().await.unwrap();
            shared.seen.lock().unwrap().told.push(Vec::new());
            tasks.spawn(Arc::clone(&shared).listen(n, told));
        }
        let consumer = shared.consumer().await;
        tasks.spawn(Arc::clone(&shared).work(consumer));
        Self { shared, _tasks: tasks }
    }

    /// From now on they make no mistakes.
    pub fn behave(&self) {
        self.shared.behave.store(true, Ordering::Relaxed);
    }

    /// What they have seen.
    pub fn seen(&self) -> Seen {
        std::mem::take(&mut self.shared.seen.lock().unwrap())
    }
}

impl Shared {
    /// By the seed, so that whoever gets a command again deals with it in the same way.
    fn manner(&self, execution: Uuid) -> Manner {
        if self.behave.load(Ordering::Relaxed) {
            return Manner::Well;
        }
        let mut hasher = DefaultHasher::new();
        (self.seed, execution).hash(&mut hasher);
        match hasher.finish() % 100 {
            0..8 => Manner::Slow,
            8..12 => Manner::Silent,
            12..18 => Manner::Fails,
            18..22 => Manner::Twice,
            22..24 => Manner::Wrong,
            24..26 => Manner::Dies,
            _ => Manner::Well,
        }
    }

    async fn listen(self: Arc<Self>, listener: usize, mut commands: Subscriber) {
        while let Some(command) = commands.next().await {
            let heard = heard(&command, DeliveryMode::Core);
            self.seen.lock().unwrap().told[listener].extend(heard);
        }
    }

    async fn answer(self: Arc<Self>, mut commands: Subscriber) {
        let mut answers = JoinSet::new();
        while let Some(command) = commands.next().await {
            while answers.try_join_next().is_some() {}
            let Some(heard) = heard(&command, DeliveryMode::Request) else { continue };
            let manner = self.manner(heard.execution);
            self.seen.lock().unwrap().asked.push(heard);
            answers.spawn(Arc::clone(&self).reply(command, manner));
        }
    }

    async fn reply(self: Arc<Self>, command: Message, manner: Manner) {
        let Some(inbox) = command.reply else { return };
        let send = || self.nats.publish(inbox.clone(), "{}".into());
        let sent = match manner {
            Manner::Silent | Manner::Dies => Ok(()),
            Manner::Slow => {
                sleep(Duration::from_secs(3)).await;
                send().await
            }
            Manner::Fails | Manner::Wrong => {
                let mut headers = HeaderMap::new();
                headers.insert(names::SERVICE_ERROR, "out of paper");
                headers.insert(names::SERVICE_ERROR_CODE, "500");
                self.nats.publish_with_headers(inbox, headers, "{}".into()).await
            }
            Manner::Twice => send().await.and(send().await),
            Manner::Well => send().await,
        };
        // The connection is made again by itself.
        drop(sent);
    }

    async fn consumer(&self) -> PullConsumer {
        let config = pull::Config {
            durable_name: Some("workers".to_owned()),
            filter_subject: format!("{JOBS}.>"),
            ack_wait: ACK_WAIT,
            max_ack_pending: 20_000,
            ..pull::Config::default()
        };
        let streams = jetstream::new(self.nats.clone());
        let stream = streams.get_stream_no_info(names::COMMANDS_STREAM).await.unwrap();
        stream.get_or_create_consumer("workers", config).await.unwrap()
    }

    async fn work(self: Arc<Self>, commands: PullConsumer) {
        let mut jobs = JoinSet::new();
        loop {
            while jobs.try_join_next().is_some() {}
            let batch = commands.batch().max_messages(200).expires(TAKE).messages().await;
            let Ok(mut batch) = batch else {
                sleep(PAUSE).await;
                continue;
            };
            while let Some(Ok(command)) = batch.next().await {
                jobs.spawn(Arc::clone(&self).take(command));
            }
        }
    }

    /// Does a job as `docs/workers.md` says, but for the mistakes.
    async fn take(self: Arc<Self>, command: jetstream::Message) {
        let Some(job) = Job::of(&command) else { return };
        let manner = self.manner(job.id);
        if matches!(manner, Manner::Wrong) {
            let _ = self.report(&job.with_odd_token(), &Report::Forged).await;
        }
        let is_silent = matches!(manner, Manner::Silent);
        if !is_silent && self.insist(&command, &job, &Report::Alive).await {
            self.work_on(&command, &job, manner).await;
        }
        if !matches!(manner, Manner::Dies) {
            let _ = command.ack().await;
        }
    }

    async fn work_on(&self, command: &jetstream::Message, job: &Job, manner: Manner) {
        if matches!(manner, Manner::Slow) {
            for _ in 0..5 {
                sleep(Duration::from_secs(1)).await;
                let _ = self.report(job, &Report::Alive).await;
            }
        }
        match manner {
            // Who gets it next does no better; by then it is over.
            Manner::Dies => {}
            Manner::Fails => drop(self.insist(command, job, &Report::Failed).await),
            _ => {
                self.insist(command, job, &Report::Done).await;
                if matches!(manner, Manner::Twice) {
                    let _ = self.report(job, &Report::Done).await;
                }
            }
        }
    }

    /// Sends a report until it is answered; whether it was taken.
    async fn insist(&self, command: &jetstream::Message, job: &Job, report: &Report) -> bool {
        for _ in 0..TRIES {
            match self.report(job, report).await {
                Ok(_) => return true,
                Err(ClientError::NoService { .. }) => {}
                Err(error) if error.may_have_been_done() => {}
                Err(_) => return false,
            }
            let _ = command.ack_with(AckKind::Progress).await;
            sleep(PAUSE).await;
        }
        false
    }

    /// Sends a report once, and remembers it.
    async fn report(&self, job: &Job, kind: &Report) -> Result<Reply<Reported>, ClientError> {
        let (correlation_id, at) = (Uuid::new_v4().to_string(), Utc::now());
        let scheduler = self.scheduler.clone().correlation_id(correlation_id.clone());
        let (execution, token) = (job.id, Some(job.token.clone()));
        let execution_id = Some(execution);
        let (what, told) = match kind {
            Report::Alive => {
                let report = HeartbeatExecution { execution_id, token, progress: None };
                (Wish::Heartbeat { execution }, scheduler.heartbeat(&report).await)
            }
            Report::Forged | Report::Done => {
                let report = CompleteExecution { execution_id, token, response: None };
                let wish = match kind {
                    Report::Forged => Wish::Forged { execution },
                    _ => Wish::Complete { execution },
                };
                (wish, scheduler.complete(&report).await)
            }
            Report::Failed => {
                let report = FailExecution {
                    execution_id,
                    token,
                    error_type: Some("JobFailed".to_owned()),
                    ..FailExecution::default()
                };
                (Wish::Fail { execution }, scheduler.fail(&report).await)
            }
        };
        let (schedules, answer) = (vec![job.schedule], answer(&told));
        let asked = Asked { correlation_id, what, schedules, at, answer };
        self.seen.lock().unwrap().reports.push(asked);
        told
    }
}

/// What a worker says.
enum Report {
    Alive,
    /// That it is done, with a token that is not the job's.
    Forged,
    Done,
    Failed,
}

/// What the headers of a job's command say.
struct Job {
    id: Uuid,
    schedule: Uuid,
    token: String,
}

impl Job {
    fn of(command: &Message) -> Option<Self> {
        let id = header(command, names::EXECUTION_ID)?.parse().ok()?;
        let schedule = header(command, names::SCHEDULE_ID)?.parse().ok()?;
        Some(Self { id, schedule, token: header(command, names::TOKEN)?.to_owned() })
    }

    fn with_odd_token(&self) -> Self {
        Self { token: format!("{}0", self.token), ..*self }
    }
}

/// A command that came without a stream between.
fn heard(command: &Message, mode: DeliveryMode) -> Option<Heard> {
    Some(Heard {
        execution: header(command, names::EXECUTION_ID)?.parse().ok()?,
        mode,
        subject: command.subject.to_string(),
        body: command.payload.to_vec(),
        at: Utc::now(),
    })
}

fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    Some(message.headers.as_ref()?.get(name)?.as_str())
}
