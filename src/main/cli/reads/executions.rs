//! `history`: what ran. With the id of an execution, all attempts at its occurrence.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{Execution, ExecutionStatus, ListExecutions};
use uuid::Uuid;

use super::{Page, at, show_page, state, when};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::options::Format;
use crate::cli::output::Listed;
use crate::cli::output::Output;
use crate::cli::output::table::{Cell, Column, column, text, wide};
use crate::cli::session::{Session, about, execution_id};
use crate::cli::words::one_of;

#[derive(Args, Debug)]
pub struct History {
    /// The schedule: its name or id [default: all].
    #[arg(value_parser = some_name, add = Name::Schedule.completer())]
    pub schedule: Option<String>,
    /// One execution, with all attempts at its occurrence.
    #[arg(long, value_name = "ID", value_parser = execution_id,
        conflicts_with_all = ["schedule", "status", "error_type", "sent_to", "tag", "target", "since", "until",
            "scheduled_from", "scheduled_to", "limit", "page"])]
    execution: Option<Uuid>,
    /// With one of these statuses.
    #[arg(long, value_parser = one_of::<ExecutionStatus>(), value_delimiter = ',')]
    status: Vec<ExecutionStatus>,
    /// With this error type.
    #[arg(long, value_name = "TYPE")]
    error_type: Option<String>,
    /// Whose command was sent to this subject.
    #[arg(long, value_name = "SUBJECT")]
    sent_to: Option<String>,
    /// Of schedules with this tag.
    #[arg(long)]
    tag: Option<String>,
    /// Of schedules with this target now.
    #[arg(long)]
    target: Option<String>,
    /// Started later than this.
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    since: Option<DateTime<Utc>>,
    /// Started before this.
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    until: Option<DateTime<Utc>>,
    /// Of this nominal time or a later one.
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    scheduled_from: Option<DateTime<Utc>>,
    /// Of this nominal time or an earlier one.
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    scheduled_to: Option<DateTime<Utc>>,
    #[command(flatten)]
    page: Page,
}

impl History {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        if let Some(id) = self.execution {
            let story = session.client.execution(id).await?.data;
            match out.format {
                Format::Json | Format::Yaml => out.thing(&story, &id.to_string(), &[])?,
                _ => out.list(&story.attempts, "no executions")?,
            }
            return Ok(Exit::Done);
        }
        let request = about!(
            ListExecutions {
                statuses: (!self.status.is_empty()).then(|| self.status.clone()),
                error_type: self.error_type.clone(),
                command_sent: self.sent_to.clone(),
                scheduled_from: self.scheduled_from,
                scheduled_to: self.scheduled_to,
                tag: self.tag.clone(),
                target_command: self.target.clone(),
                started_after: self.since,
                started_before: self.until,
                page: Some(self.page.page),
                limit: Some(self.page.limit),
            },
            session.which_if(self.schedule.as_deref())
        );
        let reply = session.client.executions(&request).await?;
        show_page(&reply, "no executions", out)
    }
}

impl Listed for Execution {
    const COLUMNS: &'static [Column] = &[
        column("SCHEDULED FOR"),
        text("NAME"),
        column("STATUS"),
        column("TOOK"),
        column("ATTEMPT"),
        column("ENDED"),
        text("ERROR"),
        wide("CREATOR"),
        wide("TARGET"),
        wide("BY"),
        wide("ID"),
    ];

    fn cells(&self, now: DateTime<Utc>) -> Vec<Cell> {
        vec![
            at(Some(self.scheduled_for)),
            Cell::new(&self.schedule_name),
            state(self.status.as_str()),
            Cell::of(self.duration_ms.map(moment::span_ms)),
            Cell::new(self.attempt_number.to_string()),
            when(self.completed_at.or(Some(self.time)), now),
            Cell::of(error(self)),
            Cell::new(&self.created_by),
            Cell::new(&self.command_sent),
            Cell::of(self.triggered_by.clone()),
            Cell::new(self.id.to_string()),
        ]
    }

    fn name(&self, _: &str) -> String {
        self.id.to_string()
    }
}

/// What went wrong, with its type first.
pub fn error(execution: &Execution) -> Option<String> {
    if let Some(skipped) = &execution.skipped {
        return Some(format!(
            "{} occurrences: {}",
            skipped.count,
            crate::cli::words::word(&skipped.cause)
        ));
    }
    let error_type = execution.error_type.as_ref().map(|error| error.as_str().to_owned());
    match (error_type, &execution.error_message) {
        (Some(kind), Some(message)) => Some(format!("{kind}: {message}")),
        (kind, message) => kind.or_else(|| message.clone()),
    }
}
