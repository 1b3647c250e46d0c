//! `rerun`: stored requests to run many executions again.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use nats_scheduler::client::{ListReruns, RerunStatus, RerunView};
use uuid::Uuid;

use super::completion::Name;
use super::examples;
use super::failure::{Exit, Failure};
use super::keyed::subcommands;
use super::options::{Options, With};
use super::output::table::{Cell, Column, column, text, wide};
use super::output::{Listed, Output};
use super::reads::{Page, at, show_page};
use super::session::{Session, rerun_id};
use super::words::word;

#[derive(Subcommand, Debug)]
pub enum Rerun {
    /// List reruns, newest first.
    #[command(after_help = examples::RERUN_LS)]
    Ls(With<List>),
    /// Show a rerun and how far it has come.
    #[command(after_help = examples::RERUN_GET)]
    Get(With<Get>),
    /// End a rerun; what it has taken up goes on.
    #[command(after_help = examples::RERUN_CANCEL)]
    Cancel(With<Cancel>),
}

#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    page: Page,
}

#[derive(Args, Debug)]
pub struct Get {
    /// The rerun.
    #[arg(value_name = "RERUN", value_parser = rerun_id, add = Name::Rerun.completer())]
    id: Uuid,
}

#[derive(Args, Debug)]
pub struct Cancel {
    /// The rerun.
    #[arg(value_name = "RERUN", value_parser = rerun_id, add = Name::Rerun.completer())]
    id: Uuid,
}

subcommands!(Rerun: while_read Ls | Get, to_the_end Cancel);

impl List {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let Page { page, limit } = self.page;
        let request = ListReruns { page: Some(page), limit: Some(limit) };
        show_page(&session.client.list_reruns(&request).await?, "no reruns", out)
    }
}

impl Get {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let rerun = session.client.get_rerun(self.id).await?.data;
        let refusals =
            rerun.refusals.iter().map(|it| format!("{}: {}", it.execution_id, it.reason));
        let pairs = [
            ("rerun", Cell::new(rerun.rerun_id.to_string())),
            ("status", Cell::new(word(&rerun.status))),
            ("matched", Cell::new(rerun.matched.to_string())),
            ("run again", Cell::new(rerun.retried.to_string())),
            ("refused", Cell::new(rerun.refused.to_string())),
            ("passed over", Cell::new(rerun.passed_over.to_string())),
            ("waits for", Cell::of(rerun.waits_for.clone())),
            ("refusals", Cell::of(Some(refusals.collect::<Vec<_>>().join("; ")))),
            ("requested", at(Some(rerun.created_at))),
            ("requested by", Cell::new(&rerun.created_by)),
            ("ended", at(rerun.ended_at)),
            ("cancelled by", Cell::of(rerun.cancelled_by.clone())),
        ];
        out.thing(&rerun, &rerun.rerun_id.to_string(), &pairs)?;
        Ok(Exit::Done)
    }
}

impl Cancel {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let rerun = session.client.cancel_rerun(self.id).await?.data;
        if !out.format.is_table() {
            out.thing(&rerun, &rerun.rerun_id.to_string(), &[])?;
            return Ok(Exit::Done);
        }
        out.line(&format!(
            "rerun {} cancelled: {} of {} executions were run again",
            rerun.rerun_id, rerun.retried, rerun.matched
        ))?;
        Ok(Exit::Done)
    }
}

impl Listed for RerunView {
    const COLUMNS: &'static [Column] = &[
        column("RERUN"),
        column("STATUS"),
        column("MATCHED"),
        column("RUN AGAIN"),
        column("REFUSED"),
        column("REQUESTED"),
        text("BY"),
        wide("ENDED"),
        wide("WAITS FOR"),
    ];

    fn cells(&self, _now: DateTime<Utc>) -> Vec<Cell> {
        vec![
            Cell::new(self.rerun_id.to_string()),
            Cell::new(match self.status {
                RerunStatus::Running if self.waits_for.is_some() => "waits".to_owned(),
                status => word(&status),
            }),
            Cell::new(self.matched.to_string()),
            Cell::new(self.retried.to_string()),
            Cell::new(self.refused.to_string()),
            at(Some(self.created_at)),
            Cell::new(&self.created_by),
            at(self.ended_at),
            Cell::of(self.waits_for.clone()),
        ]
    }

    fn name(&self, _: &str) -> String {
        self.rerun_id.to_string()
    }
}
