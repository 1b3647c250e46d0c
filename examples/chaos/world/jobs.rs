//! Workers of jobs: they follow `docs/workers.md`, apart from deliberate mistakes.

use std::sync::Arc;
use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind};
use chrono::Utc;
use futures::StreamExt as _;
use nats_scheduler::client::{
    ClientError, CompleteExecution, FailExecution, HeartbeatExecution, Reply, Reported,
};
use nats_scheduler::names;
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use super::users::answer;
use super::workers::{Manner, Shared, header};
use super::workload::JOBS;
use crate::checker::{Asked, Wish};

/// How long a worker may be silent before its job goes to another.
const ACK_WAIT: Duration = Duration::from_secs(10);
/// How long a worker waits for commands, and before it asks again.
const TAKE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(300);
/// Unanswered tries after which a worker gives up: no job takes that long.
const TRIES: usize = 20;

impl Shared {
    /// Creates the consumer from which all of them take their jobs.
    pub async fn consumer(&self) -> PullConsumer {
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

    /// Takes jobs and does them.
    pub async fn work(self: Arc<Self>, commands: PullConsumer) {
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

    /// Does one job.
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
            // The next worker does no better; by then the job is over.
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

    /// Sends a report until it is answered; returns whether it was accepted.
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

/// Kinds of reports.
enum Report {
    Alive,
    /// Completion with a token that is not the job's.
    Forged,
    Done,
    Failed,
}

/// The headers of a job's command.
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
