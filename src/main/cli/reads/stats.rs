//! `stats`: how executions ended, of a schedule or of all.

use clap::Args;
use nats_scheduler::client::GetStatistics;

use super::at;
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment::span_ms;
use crate::cli::output::Output;
use crate::cli::output::table::{Cell, Tone};
use crate::cli::session::{Session, about};

#[derive(Args, Debug)]
pub struct Stats {
    /// The schedule: its name or id [default: all].
    #[arg(value_parser = some_name, add = Name::Schedule.completer())]
    pub schedule: Option<String>,
    /// Only what was completed within this many hours, 1 to 720 [default: all that the history holds].
    #[arg(long, value_name = "NUMBER")]
    hours: Option<u32>,
}

impl Stats {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let request = about!(
            GetStatistics { time_window_hours: self.hours },
            session.which_if(self.schedule.as_deref())
        );
        let stats = session.client.statistics(&request).await?.data;
        let count = |count: u64| Cell::new(count.to_string());
        let bad = |number: u64| match number {
            0 => count(0),
            number => count(number).tone(Tone::Bad),
        };
        let rate = stats.success_rate.map(|rate| format!("{:.1} %", rate * 100.0));
        let common = stats.most_common_error.as_ref();
        let common = common.map(|error| format!("{}, {} times", error.error_type, error.count));
        let last = stats.last_error.as_ref().map(|error| {
            let kind = error.error_type.as_deref().unwrap_or("unknown");
            let message = error.error_message.as_deref().unwrap_or_default();
            format!("{kind}: {message}").trim_end_matches(": ").to_owned()
        });
        let pairs = [
            ("executions", count(stats.total_executions)),
            ("successful", count(stats.successful)),
            ("failed", bad(stats.failed)),
            ("cancelled", count(stats.cancelled)),
            ("skipped", count(stats.skipped)),
            ("success rate", Cell::of(rate)),
            ("average duration", Cell::of(stats.average_duration_ms.map(|ms| span_ms(ms as i64)))),
            ("longest duration", Cell::of(stats.max_duration_ms.map(span_ms))),
            ("in the last hour", count(stats.executions_last_hour)),
            ("in the last 24 hours", count(stats.executions_last_24_hours)),
            ("failures in a row", bad(stats.consecutive_failures)),
            ("most common error", Cell::of(common)),
            ("last error", Cell::of(last)),
            ("next execution", at(stats.next_execution.as_ref().map(|next| next.at))),
        ];
        out.thing(&stats, &stats.total_executions.to_string(), &pairs)?;
        Ok(Exit::Done)
    }
}
