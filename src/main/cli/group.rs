//! `group`: bounds on how many executions of several schedules are under way at once.

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use nats_scheduler::client::{DeleteGroup, GroupView, ListGroups, PutGroup, SlotView};

use super::changes::tell_warnings;
use super::completion::Name;
use super::failure::{Exit, Failure};
use super::keyed::subcommands;
use super::moment::exact;
use super::options::{Options, With};
use super::output::table::{Cell, Column, column, text, wide};
use super::output::{Listed, Output};
use super::reads::{Page, at, show_page};
use super::session::Session;
use super::{examples, keyed};

#[derive(Subcommand, Debug)]
pub enum Group {
    /// List groups.
    #[command(after_help = examples::GROUP_LS)]
    Ls(With<List>),
    /// Show a group with the executions that have its slots.
    #[command(after_help = examples::GROUP_GET)]
    Get(With<Get>),
    /// Create a group, or change its bound.
    #[command(after_help = examples::GROUP_PUT)]
    Put(With<Put>),
    /// Delete groups that no schedule names.
    #[command(after_help = examples::GROUP_RM)]
    Rm(With<Remove>),
}

#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    page: Page,
}

#[derive(Args, Debug)]
pub struct Get {
    /// The group.
    #[arg(add = Name::Group.completer())]
    name: String,
}

#[derive(Args, Debug)]
pub struct Put {
    /// The group.
    #[arg(add = Name::Group.completer())]
    name: String,
    /// Most executions of its schedules under way at once, at most 1000; 0 holds all of them.
    #[arg(long, value_name = "COUNT")]
    limit: u64,
    /// A description for people.
    #[arg(long, short)]
    description: Option<String>,
    /// Only if this is its revision; 0 if there must be none.
    #[arg(long, value_name = "REVISION")]
    expect: Option<u64>,
}

#[derive(Args, Debug)]
pub struct Remove {
    /// The groups.
    #[arg(required = true, value_name = "NAME", add = Name::Group.completer())]
    names: Vec<String>,
}

subcommands!(Group: while_read Ls | Get, to_the_end Put | Rm);

impl List {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let Page { page, limit } = self.page;
        let request = ListGroups { page: Some(page), limit: Some(limit) };
        show_page(&session.client.list_groups(&request).await?, "no groups", out)
    }
}

impl Get {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let group = session.client.get_group(self.name.as_str()).await?.data;
        let slot = |slot: &SlotView| {
            let schedule = slot.schedule_name.clone();
            let schedule = schedule.unwrap_or_else(|| slot.schedule_id.to_string());
            format!("{schedule} ({}) since {}", slot.execution_id, exact(slot.since))
        };
        let slots: Vec<_> = group.slots.iter().flatten().map(slot).collect();
        let pairs = [
            ("name", Cell::new(&group.name)),
            ("description", Cell::of(group.description.clone())),
            ("limit", Cell::new(group.limit.to_string())),
            ("running", Cell::new(group.running.to_string())),
            ("waiting", Cell::new(group.waiting.to_string())),
            ("slots", Cell::of(Some(slots.join(", ")))),
            ("used by", Cell::new(group.used_by.to_string())),
            ("revision", Cell::new(group.revision.to_string())),
            ("updated", at(Some(group.updated_at))),
            ("updated by", Cell::new(&group.updated_by)),
        ];
        out.thing(&group, &group.name, &pairs)?;
        Ok(Exit::Done)
    }
}

impl Put {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let request = PutGroup {
            name: Some(self.name.clone()),
            limit: Some(self.limit),
            description: self.description.clone(),
            expected_revision: self.expect,
        };
        let reply = session.client.put_group(&request).await?;
        tell_warnings(&reply.warnings);
        let put = reply.data;
        if !out.format.is_table() {
            out.thing(&put, &put.group.name, &[])?;
            return Ok(Exit::Done);
        }
        let outcome = keyed::word(put.outcome);
        let GroupView { name, limit, running, used_by, .. } = &put.group;
        out.line(&format!(
            "group {name} {outcome}: limit {limit}, {running} running, used by {used_by}"
        ))?;
        Ok(Exit::Done)
    }
}

impl Remove {
    async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let act = |name: String| {
            let request = DeleteGroup { name: Some(name), ..DeleteGroup::default() };
            async move { session.client.delete_group(&request).await }
        };
        keyed::remove("group", &self.names, out, act, |deleted| &deleted.name).await
    }
}

impl Listed for GroupView {
    const COLUMNS: &'static [Column] = &[
        text("NAME"),
        column("LIMIT"),
        column("RUNNING"),
        column("WAITING"),
        column("USED BY"),
        column("UPDATED"),
        text("BY"),
        wide("REVISION"),
        wide("DESCRIPTION"),
    ];

    fn cells(&self, _now: DateTime<Utc>) -> Vec<Cell> {
        vec![
            Cell::new(&self.name),
            Cell::new(self.limit.to_string()),
            Cell::new(self.running.to_string()),
            Cell::new(self.waiting.to_string()),
            Cell::new(self.used_by.to_string()),
            at(Some(self.updated_at)),
            Cell::new(&self.updated_by),
            Cell::new(self.revision.to_string()),
            Cell::of(self.description.clone()),
        ]
    }

    fn name(&self, _: &str) -> String {
        self.name.clone()
    }
}
