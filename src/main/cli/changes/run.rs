//! `run`: runs schedules now, beside their own times.

use std::time::{Duration, Instant};

use clap::Args;
use nats_scheduler::client::{
    Client, ClientError, Code, Execution, ExecutionStatus, Payload, Reply, TriggerSchedule,
};
use uuid::Uuid;

use super::{each, payload, tell_warnings};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::output::Output;
use crate::cli::progress;
use crate::cli::reads::executions::error;
use crate::cli::session::{Session, about};
use crate::cli::text::note;

/// Pause before a next attempt is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// How a run by hand is asked for, whatever it runs.
#[derive(Args, Clone, Debug)]
pub struct Running {
    /// The body of the command: a JSON object, @FILE, or - for standard input.
    #[arg(long, short, value_name = "JSON")]
    pub payload: Option<String>,
    /// Wait for the outcome, retries included; without a TIME for a minute. The exit code is 1 if it failed.
    #[arg(long, short, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "1m",
        value_parser = moment::duration)]
    pub wait: Option<Duration>,
    /// Makes it safe to send again: within a day a key of the actor makes one run. With several arguments, each run has the key KEY/ARGUMENT.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

impl Running {
    pub fn payload(&self) -> Result<Option<Payload>, Failure> {
        self.payload.as_deref().map(payload).transpose()
    }

    /// The key of one of so many. A key stands for one request: if they had the same, only one of them would run.
    pub fn key_of(&self, one: &str, count: usize) -> Option<String> {
        let key = self.key.as_deref()?;
        Some(if count > 1 { format!("{key}/{one}") } else { key.to_owned() })
    }
}

#[derive(Args, Debug)]
pub struct Run {
    /// The schedules: names or ids.
    #[arg(required = true, value_name = "SCHEDULE", value_parser = some_name, add = Name::Schedule.completer())]
    schedules: Vec<String>,
    #[command(flatten)]
    running: Running,
}

impl Run {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let payload = self.running.payload()?;
        let mut worst = Exit::Done;
        let act = |name: String| {
            let request = about!(
                TriggerSchedule {
                    override_payload: payload.clone(),
                    idempotency_key: self.running.key_of(&name, self.schedules.len()),
                },
                session.which(&name)
            );
            async move {
                let reply = session.client.trigger_with(&request).await?;
                let id = reply.data.execution_id;
                let following = follow(&session.client, id, self.running.wait);
                let ended = progress::waiting("waiting", following).await;
                Ok(Accepted { what: name, id, reply, ended })
            }
        };
        let exit = each(&self.schedules, out, act, |accepted, out| {
            worst = worst.and(accepted.show(self.running.wait.is_some(), out)?);
            Ok(())
        });
        Ok(exit.await?.and(worst))
    }
}

/// Waits for the end of an execution, if that is asked for. What is away for a moment is asked again.
///
/// # Errors
/// Those of the requests: how it ends is not known, although it was accepted.
pub async fn follow(
    client: &Client,
    id: Uuid,
    patience: Option<Duration>,
) -> Result<Option<Execution>, ClientError> {
    let (started, mut id) = (Instant::now(), id);
    let Some(patience) = patience else { return Ok(None) };
    loop {
        let left = patience.saturating_sub(started.elapsed());
        let Some(ended) = client.wait_for_outcome(id, left).await? else { return Ok(None) };
        if !ended.will_retry {
            return Ok(Some(ended));
        }
        let away = match client.execution(id).await {
            Ok(story) => {
                let is_next = |it: &&Execution| it.attempt_number > ended.attempt_number;
                if let Some(next) = story.data.attempts.iter().find(is_next) {
                    id = next.id;
                    continue;
                }
                None
            }
            Err(error) if error.code() == Some(Code::NotFound) => None,
            Err(error) if error.may_pass() => Some(error),
            Err(error) => return Err(error),
        };
        if started.elapsed() >= patience {
            return away.map_or(Ok(None), Err);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A run that the service has accepted. Its id is shown whatever becomes of following it: who does not know it would ask
/// again, for a second run.
pub struct Accepted<T> {
    /// What was run.
    pub what: String,
    pub id: Uuid,
    pub reply: Reply<T>,
    /// How it ended, if it was waited for and has; or why that is not known.
    pub ended: Result<Option<Execution>, ClientError>,
}

impl<T: serde::Serialize> Accepted<T> {
    /// Shows it; how the command ends by that.
    pub fn show(self, is_awaited: bool, out: &mut Output) -> Result<Exit, Failure> {
        let Self { what, id, reply, ended } = self;
        tell_warnings(&reply.warnings);
        let requested = format!("{what}: requested execution {id}");
        match ended {
            Ok(Some(ended)) => {
                if out.format.is_table() {
                    out.line(&line(&what, id, &ended))?;
                } else {
                    out.thing(&ended, &id.to_string(), &[])?;
                }
                let is_success = ended.status == ExecutionStatus::Success;
                Ok(if is_success { Exit::Done } else { Exit::Refused })
            }
            Ok(None) if is_awaited => {
                shown(&reply, id, &format!("{what}: execution {id} has not ended yet"), out)?;
                Ok(Exit::Unavailable)
            }
            Ok(None) => shown(&reply, id, &requested, out).map(|()| Exit::Done),
            Err(error) => {
                shown(&reply, id, &requested, out)?;
                out.flush()?;
                let failure = Failure::from(error).about(&what);
                failure.report();
                let how = format!("`history --execution {id}` shows how it ends");
                note(&format!("{what}: execution {id} was accepted: {how}"));
                Ok(failure.exit())
            }
        }
    }
}

/// Shows the reply to a request that is not known to have ended.
fn shown<T: serde::Serialize>(
    reply: &Reply<T>,
    id: Uuid,
    line: &str,
    out: &mut Output,
) -> Result<(), Failure> {
    if out.format.is_table() {
        out.line(line)
    } else {
        out.thing(&reply.data, &id.to_string(), &[])
    }
}

/// How an execution ended, in a line.
fn line(what: &str, id: Uuid, ended: &Execution) -> String {
    let took = ended.duration_ms.map(|ms| format!(" in {}", moment::span_ms(ms)));
    let error = error(ended).map(|error| format!(": {error}"));
    let (took, error) = (took.unwrap_or_default(), error.unwrap_or_default());
    format!("{what}: execution {id} {}{took}{error}", ended.status.as_str())
}
