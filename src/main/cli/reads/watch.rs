//! `watch`: executions, as they begin and end.
//!
//! Events come as plain messages, which a user of another account may receive too, and not from the stream. So what
//! happens while the connection is down is not shown; that is said, and `history` has it.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use async_nats::Subscriber;
use clap::Args;
use futures::StreamExt as _;
use nats_scheduler::client::{Execution, ExecutionStatus, GetSchedule};
use nats_scheduler::names::EXECUTION_EVENT_PREFIX;

use super::executions::error;
use super::tone_of;
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::moment;
use crate::cli::node::Node;
use crate::cli::options::Format;
use crate::cli::output::Output;
use crate::cli::session::{Session, about};
use crate::cli::text::note;
use crate::cli::words::one_of;

/// Events that are remembered, since one may come twice.
const REMEMBERED: usize = 1000;

#[derive(Args, Debug)]
pub struct Watch {
    /// The schedule: its name or id [default: all].
    #[arg(value_parser = some_name, add = Name::Schedule.completer())]
    pub schedule: Option<String>,
    /// Only with one of these statuses.
    #[arg(long, value_parser = one_of::<ExecutionStatus>(), value_delimiter = ',')]
    status: Vec<ExecutionStatus>,
    /// End after this many events.
    #[arg(long, short = 'n', value_name = "NUMBER")]
    count: Option<usize>,
}

impl Watch {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let mut events = Events::listen(self.subject(session).await?, session).await?;
        if out.format.is_table() {
            note("watching; Ctrl-C ends");
        }
        let (mut shown, mut seen) = (0, VecDeque::new());
        while self.count.is_none_or(|count| shown < count) {
            let execution = events.next().await?;
            let is_asked = self.status.is_empty() || self.status.contains(&execution.status);
            if !is_asked || seen.contains(&execution.event_id) {
                continue;
            }
            if seen.len() == REMEMBERED {
                seen.pop_front();
            }
            seen.push_back(execution.event_id.clone());
            show(&execution, out)?;
            out.flush()?;
            shown += 1;
        }
        Ok(Exit::Done)
    }

    /// The subject of the events: of one schedule, or of all.
    async fn subject(&self, session: &Session) -> Result<String, Failure> {
        let id = match &self.schedule {
            Some(schedule) => {
                let request = about!(GetSchedule {}, session.which(schedule));
                session.client.get_with(&request).await?.data.id.to_string()
            }
            None => "*".to_owned(),
        };
        Ok(format!("{EXECUTION_EVENT_PREFIX}.*.{id}"))
    }
}

/// Events as they come.
struct Events<'a> {
    session: &'a Session,
    messages: Subscriber,
    /// How often the connection was made, as far as that has been said.
    connects: u64,
}

impl<'a> Events<'a> {
    /// Listens from now on.
    async fn listen(subject: String, session: &'a Session) -> Result<Self, Failure> {
        let lost =
            |error: &dyn std::fmt::Display| Failure::new(Exit::Unavailable, error.to_string());
        let messages = session.nats.subscribe(subject).await.map_err(|error| lost(&error))?;
        session.nats.flush().await.map_err(|error| lost(&error))?;
        Ok(Self { session, messages, connects: connects(session) })
    }

    /// The next one.
    async fn next(&mut self) -> Result<Execution, Failure> {
        loop {
            let message = tokio::select! {
                failure = self.session.unheard() => return Err(failure),
                message = self.messages.next() => message,
            };
            let Some(message) = message else {
                return Err(Failure::new(Exit::Unavailable, "the connection to NATS is closed"));
            };
            let connects = connects(self.session);
            if connects != self.connects {
                self.connects = connects;
                note("the connection was lost for a while: `history` shows what is missing here");
            }
            // Others are of a newer version, perhaps.
            if let Ok(execution) = serde_json::from_slice(&message.payload) {
                return Ok(execution);
            }
        }
    }
}

fn connects(session: &Session) -> u64 {
    session.nats.statistics().connects.load(Ordering::Relaxed)
}

/// Shows an event on a line of its own, in JSON too.
fn show(execution: &Execution, out: &mut Output) -> Result<(), Failure> {
    match out.format {
        Format::Json => return out.raw(&format!("{}\n", Node::of(execution)?)),
        Format::Yaml => return out.raw(&format!("---\n{}", Node::of(execution)?.yaml())),
        Format::Name => return out.line(&execution.id.to_string()),
        Format::Table | Format::Wide => {}
    }
    let status = execution.status.as_str();
    let status = out.toned(&format!("{status:<9}"), tone_of(status));
    let time = moment::absolute(execution.time);
    let attempt = match execution.attempt_number {
        0 | 1 => String::new(),
        attempt => format!(", attempt {attempt}"),
    };
    let took = execution.duration_ms.map(|ms| format!(" in {}", moment::span_ms(ms)));
    let error = error(execution).map(|error| format!(": {error}"));
    let rest = [took, Some(attempt), error].into_iter().flatten().collect::<String>();
    let id = if out.format == Format::Wide { format!("  {}", execution.id) } else { String::new() };
    out.raw(&format!("{time}  {status}  "))?;
    out.line(&format!("{}{rest}{id}", execution.schedule_name))
}
