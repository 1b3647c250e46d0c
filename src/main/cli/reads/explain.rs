//! `why`: what became of each nominal time of a schedule, and why.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{ExplainSchedule, ExplainedTime};

use super::{at, state};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::output::table::{Cell, Column, column, text, wide};
use crate::cli::output::{Listed, Output};
use crate::cli::session::{Session, about};
use crate::cli::text::note;
use crate::cli::words::word;

#[derive(Args, Debug)]
pub struct Why {
    /// The schedule: its name or id.
    #[arg(value_parser = some_name, add = Name::Schedule.completer())]
    schedule: String,
    /// The first nominal time [default: a day ago].
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    from: Option<DateTime<Utc>>,
    /// The last nominal time [default: the next occurrence].
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    to: Option<DateTime<Utc>>,
    /// How many lines at most, 1 to 1000.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100)]
    limit: u64,
}

impl Why {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let request = about!(
            ExplainSchedule { from: self.from, to: self.to, limit: Some(self.limit) },
            session.which(&self.schedule)
        );
        let reply = session.client.explain(&request).await?;
        let explained = reply.data;
        if !out.format.is_table() {
            out.thing(&explained, &explained.name, &[])?;
            return Ok(Exit::Done);
        }
        for warning in &reply.warnings {
            note(&format!("warning: {}", warning.message));
        }
        out.line(&format!("{}: {}", explained.name, explained.description))?;
        out.list(&explained.times, explained.no_times.as_deref().unwrap_or_default())?;
        if let Some(reason) = &explained.no_next {
            out.line(reason)?;
        }
        out.flush()?;
        if let Some(next) = explained.next_from {
            note(&format!("there is more: --from {}", moment::exact(next)));
        }
        Ok(Exit::Done)
    }
}

impl Listed for ExplainedTime {
    const COLUMNS: &'static [Column] = &[
        column("SCHEDULED FOR"),
        column("COUNT"),
        column("OUTCOME"),
        text("REASON"),
        wide("LAST"),
        wide("EXECUTION"),
    ];

    fn cells(&self, _now: DateTime<Utc>) -> Vec<Cell> {
        vec![
            at(Some(self.scheduled_for)),
            Cell::new(self.count.to_string()),
            state(&word(&self.outcome)),
            Cell::new(&self.reason),
            at(self.last),
            Cell::of(self.execution_id.map(|id| id.to_string())),
        ]
    }

    fn name(&self, _: &str) -> String {
        moment::absolute(self.scheduled_for)
    }
}
