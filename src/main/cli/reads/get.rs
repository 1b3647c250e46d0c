//! `get`: schedules with all their fields.

use clap::Args;
use nats_scheduler::client::{GetSchedule, ScheduleView};

use super::{at, state};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::node::Node;
use crate::cli::options::Format;
use crate::cli::output::Output;
use crate::cli::output::table::Cell;
use crate::cli::session::{Session, about};
use crate::cli::words::word;

/// Fields that a table shows in a form of its own, or not at all.
const OTHERWISE: [&str; 9] = [
    "name",
    "id",
    "status",
    "is_active",
    "is_paused",
    "next_run_at",
    "last_run_at",
    "correlation_id",
    "is_failing",
];

#[derive(Args, Debug)]
pub struct Get {
    /// The schedules: names or ids.
    #[arg(required = true, value_name = "SCHEDULE", value_parser = some_name, add = Name::Schedule.completer())]
    schedules: Vec<String>,
}

impl Get {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let (mut shown, mut exit) = (0, Exit::Done);
        for schedule in &self.schedules {
            let request = about!(GetSchedule {}, session.which(schedule));
            let view = match session.client.get_with(&request).await {
                Ok(reply) => reply.data,
                // One that is missing hides no other.
                Err(error) if self.schedules.len() > 1 => {
                    out.flush()?;
                    let failure = Failure::from(error).about(schedule);
                    failure.report();
                    exit = exit.and(failure.exit());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            if shown > 0 {
                match out.format {
                    Format::Yaml => out.raw("---\n")?,
                    Format::Table | Format::Wide => out.raw("\n")?,
                    _ => {}
                }
            }
            show(&view, out)?;
            shown += 1;
        }
        Ok(exit)
    }
}

/// Shows a schedule with all fields that have a value.
pub fn show(view: &ScheduleView, out: &mut Output) -> Result<(), Failure> {
    let node = Node::of(view)?;
    let mut pairs = vec![
        ("name", Cell::new(&view.name)),
        ("id", Cell::new(view.id.to_string())),
        ("status", state(&word(&view.status))),
        ("next_run_at", at(view.next_run_at)),
    ];
    if view.last_run_at.is_some() {
        pairs.push(("last_run_at", at(view.last_run_at)));
    }
    if !view.is_active {
        pairs.push(("is_active", Cell::new("false")));
    }
    let entries = match &node {
        Node::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    for (name, value) in entries {
        let is_empty = matches!(value, Node::Null | Node::Bool(false))
            || matches!(value, Node::List(items) if items.is_empty());
        if is_empty || OTHERWISE.contains(&name.as_str()) {
            continue;
        }
        let text = match value {
            Node::Text(text) => text.clone(),
            other => other.to_string(),
        };
        pairs.push((name, Cell::new(text)));
    }
    out.schedule(view, &pairs)
}
