//! `backfill`: runs the occurrences of a span of the past.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::BackfillSchedule;

use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::output::Output;
use crate::cli::session::{Session, about};
use crate::cli::text::counted;

#[derive(Args, Debug)]
pub struct Backfill {
    /// The schedule: its name or id.
    #[arg(value_parser = some_name, add = Name::Schedule.completer())]
    schedule: String,
    /// The first instant of the span.
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    from: DateTime<Utc>,
    /// Its last instant [default: now].
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    to: Option<DateTime<Utc>>,
    /// Run nothing, and show what would run.
    #[arg(long)]
    dry_run: bool,
}

impl Backfill {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let request = about!(
            BackfillSchedule { from: Some(self.from), to: self.to, dry_run: Some(self.dry_run) },
            session.which(&self.schedule)
        );
        let done = session.client.backfill(&request).await?.data;
        if !out.format.is_table() {
            out.thing(&done, &done.schedule_id.to_string(), &[])?;
            return Ok(Exit::Done);
        }
        let verb = if done.dry_run { "would be run" } else { "will be run" };
        let occurrences = counted(done.count, "occurrence", "occurrences");
        out.line(&format!("{occurrences} {verb}"))?;
        for time in &done.occurrences {
            out.line(&format!("  {}", moment::absolute(*time)))?;
        }
        Ok(Exit::Done)
    }
}
