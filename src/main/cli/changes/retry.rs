//! `retry`: runs ended executions again, by id or all that match a filter.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{
    BulkRetry, ExecutionFilter, ExecutionStatus, PayloadSource, Reply, Retried, RetryExecution,
    RetryPayload,
};

use super::run::{Accepted, Running, follow};
use super::{confirm, each, tell_warnings};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::output::Output;
use crate::cli::progress;
use crate::cli::session::{Session, about, execution_id};
use crate::cli::text::{counted, note};
use crate::cli::words::one_of_but;

/// A thousand retries take seconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(120);
/// Heading of the filters in the help.
const HEADING: &str = "Filters, in place of ids";
/// Options that need `--failed`. Each has to say that it is not for ids, too: what an argument requires is not looked for
/// where that conflicts with another one that is given.
const OF_MANY: [&str; 13] = [
    "schedule",
    "status",
    "error_type",
    "sent_to",
    "scheduled_from",
    "scheduled_to",
    "tag",
    "target",
    "since",
    "until",
    "limit",
    "in_background",
    "yes",
];

#[derive(Args, Debug)]
pub struct Retry {
    /// The executions.
    #[arg(value_name = "EXECUTION", value_parser = id, conflicts_with_all = OF_MANY)]
    executions: Vec<String>,
    #[command(flatten)]
    running: Running,
    /// Send what the schedule sends now, and not what the execution sent.
    #[arg(long, conflicts_with = "payload")]
    current: bool,
    /// All that failed and match the other filters.
    #[arg(long, conflicts_with_all = ["executions", "payload", "wait"], required_unless_present = "executions", help_heading = HEADING)]
    failed: bool,
    /// Of this schedule: its name or id.
    #[arg(long, requires = "failed", value_parser = some_name, add = Name::Schedule.completer(), help_heading = HEADING)]
    pub schedule: Option<String>,
    /// With one of these statuses [default: failed].
    #[arg(long, requires = "failed", value_parser = one_of_but::<ExecutionStatus>(&["running"]), value_delimiter = ',',
        help_heading = HEADING)]
    status: Vec<ExecutionStatus>,
    /// With this error type.
    #[arg(long, requires = "failed", value_name = "TYPE", help_heading = HEADING)]
    error_type: Option<String>,
    /// Whose command was sent to this subject.
    #[arg(long, requires = "failed", value_name = "SUBJECT", help_heading = HEADING)]
    sent_to: Option<String>,
    /// Of schedules with this tag.
    #[arg(long, requires = "failed", help_heading = HEADING)]
    tag: Option<String>,
    /// Of schedules with this target now.
    #[arg(long, requires = "failed", help_heading = HEADING)]
    target: Option<String>,
    /// Started at this time or later.
    #[arg(long, requires = "failed", value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true, help_heading = HEADING)]
    since: Option<DateTime<Utc>>,
    /// Started at this time or earlier.
    #[arg(long, requires = "failed", value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true, help_heading = HEADING)]
    until: Option<DateTime<Utc>>,
    /// Of this nominal time or a later one.
    #[arg(long, requires = "failed", value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true, help_heading = HEADING)]
    scheduled_from: Option<DateTime<Utc>>,
    /// Of this nominal time or an earlier one.
    #[arg(long, requires = "failed", value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true, help_heading = HEADING)]
    scheduled_to: Option<DateTime<Utc>>,
    /// How many at most [default: 100; with --in-background all].
    #[arg(long, short = 'n', requires = "failed", value_name = "NUMBER", help_heading = HEADING)]
    limit: Option<u64>,
    /// Run nothing, and show what would run.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Have the service do it, as the schedules have room; `rerun get` shows how far it has come.
    #[arg(long, requires = "failed", conflicts_with = "dry_run")]
    in_background: bool,
    /// Do not ask before running all that match again.
    #[arg(long, short, requires = "failed")]
    yes: bool,
}

/// What became of one execution.
enum Taken {
    /// It is run again.
    Up(Box<Accepted<Retried>>),
    /// It would be.
    Would(String, Box<Reply<Retried>>),
}

/// Shows what a dry run says of one execution.
fn show_would(id: &str, reply: &Reply<Retried>, out: &mut Output) -> Result<(), Failure> {
    tell_warnings(&reply.warnings);
    let would = &reply.data;
    if !out.format.is_table() {
        return out.thing(would, id, &[]);
    }
    if let Some(earlier) = would.execution_id {
        return out.line(&format!("{id}: was run again by execution {earlier}"));
    }
    let name = would.schedule_name.as_deref().unwrap_or_default();
    let target = would.target_command.as_deref().unwrap_or_default();
    let payload = match would.payload {
        Some(PayloadSource::Current) => "the payload that its schedule has now",
        Some(PayloadSource::Override) => "the payload given here",
        Some(PayloadSource::Own) | None => "the payload that it sent",
    };
    out.line(&format!("{id}: would run {name} again, to {target}, with {payload}"))
}

/// The id of an execution, as it is written.
pub fn id(text: &str) -> Result<String, String> {
    execution_id(text).map(|id| id.to_string())
}

impl Retry {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        if self.failed {
            return self.many(session, out).await;
        }
        let payload = self.running.payload()?;
        let mut worst = Exit::Done;
        let act = |id: String| {
            let request = RetryExecution {
                execution_id: id.parse().ok(),
                payload: self.payload(),
                override_payload: payload.clone(),
                idempotency_key: self.running.key_of(&id, self.executions.len()),
                dry_run: self.dry_run.then_some(true),
                ..RetryExecution::default()
            };
            async move {
                let reply = session.client.retry_with(&request).await?;
                let Some(new) = reply.data.execution_id.filter(|_| !reply.data.dry_run) else {
                    return Ok(Taken::Would(id, Box::new(reply)));
                };
                let ended = follow(&session.client, new, self.running.wait).await;
                Ok(Taken::Up(Box::new(Accepted { what: id, id: new, reply, ended })))
            }
        };
        let exit = each(&self.executions, out, act, |taken, out| {
            match taken {
                Taken::Would(id, reply) => show_would(&id, &reply, out)?,
                Taken::Up(accepted) => {
                    worst = worst.and(accepted.show(self.running.wait.is_some(), out)?);
                }
            }
            Ok(())
        });
        Ok(exit.await?.and(worst))
    }

    fn payload(&self) -> Option<RetryPayload> {
        self.current.then_some(RetryPayload::Current)
    }

    async fn many(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        // Several need newer instances of the service.
        let (status, statuses) = match &self.status[..] {
            [] => (Some(ExecutionStatus::Failed), None),
            [one] => (Some(*one), None),
            several => (None, Some(several.to_vec())),
        };
        let filter = about!(
            ExecutionFilter {
                statuses: statuses,
                status: status,
                error_type: self.error_type.clone(),
                command_sent: self.sent_to.clone(),
                tag: self.tag.clone(),
                target_command: self.target.clone(),
                from: self.since,
                to: self.until,
                scheduled_from: self.scheduled_from,
                scheduled_to: self.scheduled_to,
            },
            session.which_if(self.schedule.as_deref())
        );
        let request = BulkRetry {
            filter: Some(filter),
            payload: self.payload(),
            limit: self.limit,
            dry_run: Some(self.dry_run),
            in_background: self.in_background.then_some(true),
            idempotency_key: self.running.key.clone(),
            ..BulkRetry::default()
        };
        if !self.dry_run
            && !self.yes
            && let Some(exit) = self.asks(&request, session).await?
        {
            return Ok(exit);
        }
        let client = session.patient(PATIENCE);
        let reply = progress::waiting("waiting", client.bulk_retry(&request)).await?;
        tell_warnings(&reply.warnings);
        let done = reply.data;
        let rerun = done.rerun_id.map(|id| id.to_string());
        if !out.format.is_table() {
            let name = rerun.unwrap_or_else(|| done.retried.to_string());
            out.thing(&done, &name, &[])?;
            return Ok(Exit::Done);
        }
        if let Some(id) = rerun {
            let most = self.most(done.matched);
            let matched = done.matched;
            out.line(&format!(
                "up to {most} of {matched} executions will be run again: rerun {id}"
            ))?;
            return Ok(Exit::Done);
        }
        let verb = if self.dry_run { "would be run" } else { "run" };
        out.line(&format!("{} of {} executions {verb} again", done.retried, done.matched))?;
        out.flush()?;
        let mut exit = Exit::Done;
        for item in done.results {
            let Some(error) = item.error else { continue };
            let failure = Failure::from(error).about(item.retry_of);
            failure.report();
            exit = exit.and(failure.exit());
        }
        if done.next_cursor.is_some() {
            note("more match: repeat the command, or raise --limit");
        }
        Ok(exit)
    }

    /// Says how many match, and asks; how the command ends if nothing is to be done.
    async fn asks(&self, request: &BulkRetry, session: &Session) -> Result<Option<Exit>, Failure> {
        let dry = BulkRetry {
            dry_run: Some(true),
            in_background: None,
            idempotency_key: None,
            ..request.clone()
        };
        let client = session.patient(PATIENCE);
        let would = progress::waiting("counting", client.bulk_retry(&dry)).await?.data;
        if would.matched == 0 {
            note("no execution matches");
            return Ok(Some(Exit::Done));
        }
        let most = match self.in_background {
            true => self.most(would.matched),
            false => would.retried as u64,
        };
        let is_meant =
            confirm(&format!("run {} again?", counted(most, "execution", "executions")))?;
        Ok((!is_meant).then_some(Exit::Refused))
    }

    /// How many of those that match are run again in the background at most.
    fn most(&self, matched: u64) -> u64 {
        self.limit.map_or(matched, |limit| limit.min(matched))
    }
}
