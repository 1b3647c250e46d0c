//! `run`: runs schedules now, beside their own times.

use std::time::{Duration, Instant};

use clap::Args;
use nats_scheduler::client::{
    Client, ClientError, Execution, ExecutionStatus, Payload, TriggerSchedule,
};
use uuid::Uuid;

use super::{each, payload, tell_warnings};
use crate::cli::completion::Name;
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::output::Output;
use crate::cli::reads::executions::error;
use crate::cli::session::{Session, about};

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
    /// Makes it safe to send again: within a day a key of the actor makes one run.
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
}

impl Running {
    pub fn payload(&self) -> Result<Option<Payload>, Failure> {
        self.payload.as_deref().map(payload).transpose()
    }
}

#[derive(Args, Debug)]
pub struct Run {
    /// The schedules: names or ids.
    #[arg(required = true, value_name = "SCHEDULE", add = Name::completer())]
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
                    idempotency_key: self.running.key.clone(),
                },
                session.which(&name)
            );
            async move {
                let reply = session.client.trigger_with(&request).await?;
                let ended = follow(&session.client, reply.data.execution_id, self.running.wait);
                let ended = ended.await?;
                Ok((name, reply, ended))
            }
        };
        let exit = each(&self.schedules, out, act, |(name, reply, ended), out| {
            tell_warnings(&reply.warnings);
            let id = reply.data.execution_id;
            let shown = Shown { what: &name, id, reply: &reply.data, ended: ended.as_ref() };
            worst = worse(worst, shown.show(self.running.wait.is_some(), out)?);
            Ok(())
        });
        let exit = exit.await?;
        Ok(if exit == Exit::Done { worst } else { exit })
    }
}

/// Waits for the end of an execution, if that is asked for.
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
        let attempts = client.execution(id).await?.data.attempts;
        let next = attempts.iter().find(|next| next.attempt_number > ended.attempt_number);
        match next {
            Some(next) => id = next.id,
            None if started.elapsed() >= patience => return Ok(None),
            None => tokio::time::sleep(LOOK).await,
        }
    }
}

/// A run that was asked for.
pub struct Shown<'a, T: serde::Serialize> {
    /// What was run.
    pub what: &'a str,
    pub id: Uuid,
    pub reply: &'a T,
    pub ended: Option<&'a Execution>,
}

impl<T: serde::Serialize> Shown<'_, T> {
    /// Shows it; how the command ends by that.
    pub fn show(&self, is_awaited: bool, out: &mut Output) -> Result<Exit, Failure> {
        let Self { what, id, reply, ended } = self;
        match ended {
            Some(ended) if !out.format.is_table() => out.thing(ended, &id.to_string(), &[])?,
            None if !out.format.is_table() => out.thing(reply, &id.to_string(), &[])?,
            None if is_awaited => {
                out.line(&format!("{what}: execution {id} has not ended yet"))?;
            }
            None => out.line(&format!("{what}: execution {id} is asked for"))?,
            Some(ended) => {
                let took = ended.duration_ms.map(|ms| format!(" in {}", moment::span_ms(ms)));
                let error = error(ended).map(|error| format!(": {error}"));
                let (took, error) = (took.unwrap_or_default(), error.unwrap_or_default());
                let status = ended.status.as_str();
                out.line(&format!("{what}: execution {id} {status}{took}{error}"))?;
            }
        }
        Ok(match ended {
            Some(ended) if ended.status == ExecutionStatus::Success => Exit::Done,
            Some(_) => Exit::Refused,
            None if is_awaited => Exit::Unavailable,
            None => Exit::Done,
        })
    }
}

/// The worse end of two.
pub fn worse(one: Exit, other: Exit) -> Exit {
    if one == Exit::Done { other } else { one }
}
