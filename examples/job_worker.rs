//! A worker for delivery mode `job`: takes commands one at a time and reports their outcomes.
//!
//! Start `nats-scheduler dev` in one terminal, `cargo run --example job_worker` in another, and request a job in a
//! third:
//!
//! ```sh
//! nats req cmd.scheduler.execute.immediate '{"target_command":"cmd.example.job.try","wait_ms":4000,
//!   "command_payload":{"work_ms":3000},"delivery":{"mode":"job","heartbeat_seconds":5}}'
//! ```
//!
//! `NATS_URL` names another server, `NATS_USER` and `NATS_PASSWORD` a user. `docs/workers.md` explains
//! the steps. SIGTERM or Ctrl-C lets it finish the job in hand.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_nats::jetstream::consumer::{PullConsumer, pull};
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{ConnectOptions, Error};
use futures::StreamExt as _;
use nats_scheduler::client::{
    Client, ClientError, CompleteExecution, FailExecution, HeartbeatExecution, Reply, Reported,
};
use nats_scheduler::names;
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Consumer from which all workers of these jobs take them.
const CONSUMER: &str = "job-worker";
const COMMANDS: &str = "cmd.example.job.>";
/// How long a worker may be silent before another one gets the command.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Time between heartbeats: several within `heartbeat_seconds`, since one may be late.
const BEAT: Duration = Duration::from_secs(1);
/// How long to wait for a command before checking whether to stop.
const LOOK: Duration = Duration::from_secs(2);
/// How long to wait for the answer to a report, and before sending it again.
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Result<(), Error> {
    let stop = stop_on_signal();
    let env = |name| std::env::var(name).ok();
    let options = match (env("NATS_USER"), env("NATS_PASSWORD")) {
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(user, password),
        _ => ConnectOptions::new(),
    };
    let url = env("NATS_URL").unwrap_or_else(|| "nats://localhost:4222".to_owned());
    let nats = options.connect(url).await?;
    let stream = jetstream::new(nats.clone()).get_stream_no_info(names::COMMANDS_STREAM).await?;
    let config = pull::Config {
        durable_name: Some(CONSUMER.to_owned()),
        filter_subject: COMMANDS.to_owned(),
        ack_wait: ACK_WAIT,
        ..pull::Config::default()
    };
    let commands = stream.get_or_create_consumer(CONSUMER, config).await?;
    let worker = Worker { scheduler: Client::new(nats.clone()).timeout(ANSWER), nats, commands };
    println!("taking commands");
    while !stop.is_cancelled() {
        if let Err(error) = worker.take().await {
            println!("no commands now: {error}");
            sleep(PAUSE).await;
        }
    }
    worker.nats.flush().await?;
    Ok(())
}

struct Worker {
    nats: async_nats::Client,
    scheduler: Client,
    commands: PullConsumer,
}

impl Worker {
    /// Does the next command, if one comes soon.
    async fn take(&self) -> Result<(), Error> {
        // One command only: no other worker could take those that wait here behind it.
        let mut taken = self.commands.batch().max_messages(1).expires(LOOK).messages().await?;
        let Some(command) = taken.next().await.transpose()? else { return Ok(()) };
        match Job::of(&command) {
            Some(job) => match self.run(&command, &job).await {
                Ok(operation) => println!("{}: reported {operation}", job.id),
                Err(reason) => println!("{}: stopped, {reason}", job.id),
            },
            None => println!("no job: dropped what came on {}", command.subject),
        }
        // Only now: had we died before, another worker would get the command.
        command.ack().await
    }

    /// Does a job; returns what was reported, or why the job is not ours, or no longer.
    async fn run(&self, command: &Message, job: &Job) -> Result<&'static str, Error> {
        let progress = AtomicU64::new(0);
        // Listen first: if the job was cancelled before that, the question after it fails.
        let mut told = self.nats.subscribe(job.cancel_subject.clone()).await?;
        // A command can come twice, or late: is it still to be done?
        insist(command, async || self.scheduler.heartbeat(&job.alive(&progress)).await).await?;
        println!("{}: started, attempt {}", job.id, job.attempt);
        let outcome = tokio::select! {
            outcome = work(&command.payload, &progress) => outcome,
            refused = self.beat(command, job, &progress) => return Err(refused),
            Some(message) = told.next() => return Err(cancelled(&message.payload)),
        };
        let (execution_id, token) = (Some(job.id), Some(job.token.clone()));
        match outcome {
            Ok(response) => {
                let response = Some(to_raw_value(&response)?);
                let report = CompleteExecution { execution_id, token, response };
                insist(command, async || self.scheduler.complete(&report).await).await?;
                Ok("complete")
            }
            Err(failure) => {
                let report = FailExecution {
                    execution_id,
                    token,
                    error_type: Some("JobFailed".to_owned()),
                    error_message: Some(failure.reason),
                    retryable: Some(failure.retryable),
                };
                insist(command, async || self.scheduler.fail(&report).await).await?;
                Ok("fail")
            }
        }
    }

    /// Sends heartbeats until the scheduler refuses one.
    async fn beat(&self, command: &Message, job: &Job, progress: &AtomicU64) -> Error {
        loop {
            sleep(BEAT).await;
            let report = job.alive(progress);
            if let Err(refused) = ask(command, self.scheduler.heartbeat(&report)).await {
                return refused;
            }
        }
    }
}

/// Sends a report; returns whether it was answered. For the stream it is a sign of life as well.
async fn ask(
    command: &Message,
    report: impl Future<Output = Result<Reply<Reported>, ClientError>>,
) -> Result<bool, Error> {
    command.ack_with(AckKind::Progress).await?;
    match report.await {
        Ok(_) => Ok(true),
        Err(ClientError::NoService { .. }) => Ok(false),
        Err(error) if error.may_have_been_done() => Ok(false),
        Err(refused) => Err(refused.into()),
    }
}

/// Sends a report until it is answered: sent twice, it counts once.
async fn insist(
    command: &Message,
    report: impl AsyncFn() -> Result<Reply<Reported>, ClientError>,
) -> Result<(), Error> {
    while !ask(command, report()).await? {
        println!("no answer to a report; will retry");
        sleep(PAUSE).await;
    }
    Ok(())
}

/// The headers of a command.
struct Job {
    id: Uuid,
    token: String,
    attempt: String,
    cancel_subject: String,
}

impl Job {
    /// Returns nothing for a message that is not a job's command.
    fn of(command: &Message) -> Option<Self> {
        let headers = command.headers.as_ref()?;
        let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        Some(Self {
            id: text(names::EXECUTION_ID)?.parse().ok()?,
            token: text(names::TOKEN)?,
            attempt: text(names::ATTEMPT)?,
            cancel_subject: text(names::CANCEL_SUBJECT)?,
        })
    }

    fn alive(&self, progress: &AtomicU64) -> HeartbeatExecution {
        HeartbeatExecution {
            execution_id: Some(self.id),
            token: Some(self.token.clone()),
            progress: Some(progress.load(Relaxed)),
        }
    }
}

struct Failure {
    reason: String,
    retryable: bool,
}

/// The work itself, which here only takes time. To stop it, its future is dropped.
async fn work(payload: &[u8], progress: &AtomicU64) -> Result<Value, Failure> {
    let payload: Value = serde_json::from_slice(payload)
        .map_err(|error| Failure { reason: error.to_string(), retryable: false })?;
    let ms = payload["work_ms"].as_u64().unwrap_or(1000);
    for percent in 0..100 {
        progress.store(percent, Relaxed);
        sleep(Duration::from_millis(ms) / 100).await;
    }
    let retryable = payload["retryable"].as_bool().unwrap_or(true);
    match payload["fail"].as_str() {
        Some(reason) => Err(Failure { reason: reason.to_owned(), retryable }),
        None => Ok(json!({ "worker": "rust" })),
    }
}

fn cancelled(message: &[u8]) -> Error {
    let message: Value = serde_json::from_slice(message).unwrap_or_default();
    format!("cancelled by {}", message["cancelled_by"].as_str().unwrap_or("somebody")).into()
}

/// Token that is cancelled by SIGTERM or Ctrl-C.
fn stop_on_signal() -> CancellationToken {
    let stop = CancellationToken::new();
    let cancel = stop.clone();
    tokio::spawn(async move {
        signalled().await;
        cancel.cancel();
    });
    stop
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

#[cfg(not(unix))]
async fn signalled() {
    drop(tokio::signal::ctrl_c().await);
}
