//! `logs`: what happened, executions and changes of schedules together, in the order of time.
//!
//! The past is what the operations list. Who follows hears events before the past is asked for, and asks again a moment
//! later and after each lost connection: each event has an id, so none is shown twice.

mod chosen;
mod event;
mod follow;
mod past;

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::ListSchedules;

use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::filter::{FILTERS, Filter, filtered, listed_creator};
use crate::cli::moment;
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::session::Session;
use crate::cli::text::note;
use chosen::Chosen;
use event::Event;
use follow::Following;
use past::newest;

/// Events of the past that a follower knows at least, shown or not.
const KNOWN: usize = 200;

#[derive(Args, Debug)]
pub struct Logs {
    /// The schedule: its name or id [default: all that the filters select].
    #[arg(conflicts_with_all = FILTERS, value_parser = some_name, add = Name::Schedule.completer())]
    schedule: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Only what happened at this time or later.
    #[arg(long, value_name = "TIME", value_parser = moment::past, allow_hyphen_values = true)]
    since: Option<DateTime<Utc>>,
    /// How many of the latest events, at most 10000.
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(..=10_000))]
    last: u32,
    /// Keep showing events as they happen.
    #[arg(long, short)]
    follow: bool,
}

impl Logs {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let creator = listed_creator(session, common.creator.is_some() && self.schedule.is_none());
        let request = filtered!(ListSchedules {}, &self.filter, creator);
        let chosen = Chosen::new(self.schedule.as_deref(), request, session).await?;
        let last = self.last as usize;
        if !self.follow {
            let found = newest(session, &chosen, self.since, last).await?;
            show(&found.events, out)?;
            if found.events.is_empty() && out.format.is_table() {
                note("no events");
            }
            if out.format.is_table() {
                found.tell_rest();
            }
            return Ok(Exit::Done);
        }
        let mut following = Following::begin(session, chosen).await?;
        let found = newest(session, following.chosen(), self.since, last.max(KNOWN)).await?;
        following.knows(&found);
        show(&found.events[found.events.len().saturating_sub(last)..], out)?;
        following.go_on(out).await
    }
}

fn show(events: &[Event], out: &mut Output) -> Result<(), Failure> {
    for event in events {
        event.show(out)?;
    }
    out.flush()
}
