//! `status`: the state of the service.

use clap::Args;

use super::{state, when};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::Output;
use crate::cli::output::table::{Cell, Tone};
use crate::cli::session::Session;

#[derive(Args, Debug)]
pub struct Status {}

impl Status {
    /// Shows the status; the exit code is 1 if something needs an operator.
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let status = session.client.status().await?.data;
        let schedules = status.schedules.iter().map(|(word, count)| format!("{count} {word}"));
        let schedules: Vec<_> = schedules.collect();
        let mut pairs = vec![
            ("status", state(&status.status)),
            ("version", Cell::new(&status.version)),
            ("nats-server", Cell::new(&status.nats_server)),
            ("instances", Cell::new(status.instances.to_string())),
            ("schedules", Cell::of((!schedules.is_empty()).then(|| schedules.join(", ")))),
            ("failing", Cell::new(status.failing.to_string())),
            ("overdue", Cell::new(status.overdue.to_string())),
            ("answered by", Cell::new(status.instance.to_string())),
            ("started", when(Some(status.started_at), out.now)),
        ];
        pairs.extend(status.all_paused.as_ref().map(|all| {
            let by = all.paused_by.as_deref().unwrap_or_default();
            let reason = all.reason.as_ref().map(|it| format!(": {it}")).unwrap_or_default();
            ("all paused", Cell::new(format!("by {by}{reason}")).tone(Tone::Bad))
        }));
        let problems = status.problems.iter();
        pairs.extend(problems.map(|it| ("problem", Cell::new(it).tone(Tone::Bad))));
        out.thing(&status, &status.status, &pairs)?;
        Ok(if status.status == "ok" { Exit::Done } else { Exit::Refused })
    }
}
