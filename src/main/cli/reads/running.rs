//! `running`: executions that are under way.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{ListRunning, RunningExecution};
use uuid::Uuid;

use super::{Page, at, show_page, when};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::table::{Cell, Column, column, text, wide};
use crate::cli::output::{Listed, Output};
use crate::cli::session::{Session, about, execution_id};
use crate::cli::words::word;

#[derive(Args, Debug)]
pub struct Running {
    /// The schedule: its name or id [default: all].
    #[arg(value_parser = some_name, add = Name::Schedule.completer())]
    pub schedule: Option<String>,
    /// Also those that wait for their time, such as retries.
    #[arg(long, short)]
    pending: bool,
    /// Only this execution, also if it waits.
    #[arg(long, value_name = "ID", value_parser = execution_id)]
    execution: Option<Uuid>,
    #[command(flatten)]
    page: Page,
}

impl Running {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let request = about!(
            ListRunning {
                include_pending: Some(self.pending),
                execution_id: self.execution,
                page: Some(self.page.page),
                limit: Some(self.page.limit),
            },
            session.which_if(self.schedule.as_deref())
        );
        let reply = session.client.running(&request).await?;
        show_page(&reply, "nothing is under way", out)
    }
}

impl Listed for RunningExecution {
    const COLUMNS: &'static [Column] = &[
        text("NAME"),
        column("STATUS"),
        column("SINCE"),
        column("UNTIL"),
        column("ATTEMPT"),
        column("PROGRESS"),
        column("ID"),
        wide("SCHEDULED FOR"),
        wide("TARGET"),
        wide("HEARD"),
    ];

    fn cells(&self, now: DateTime<Utc>) -> Vec<Cell> {
        vec![
            Cell::new(&self.schedule_name),
            Cell::new(word(&self.status)),
            when(self.since, now),
            when(self.until.or(self.due_at), now),
            Cell::new(self.attempt_number.to_string()),
            Cell::of(self.progress.map(|percent| format!("{percent} %"))),
            Cell::new(self.execution_id.to_string()),
            at(Some(self.scheduled_for)),
            Cell::new(&self.target_command),
            when(self.heard_at, now),
        ]
    }

    fn name(&self, _: &str) -> String {
        self.execution_id.to_string()
    }
}
