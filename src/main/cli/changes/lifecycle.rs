//! `pause`, `resume`, `rm` and `restore`.

use chrono::{DateTime, Utc};
use clap::Args;
use nats_scheduler::client::{
    AllPaused, BulkAction, BulkOperation, DeleteSchedule, PauseAll, PauseSchedule, Reply,
    RestoreSchedule, ResumeSchedule,
};

use super::select::Select;
use super::{each, show_changed, tell_warnings};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::filter::FILTERS;
use crate::cli::moment;
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::session::{Session, about};

#[derive(Args, Debug)]
pub struct Pause {
    #[command(flatten)]
    select: Select,
    /// The reason, for people.
    #[arg(long, short)]
    reason: Option<String>,
    /// For how long; then it resumes automatically.
    #[arg(long = "for", value_name = "SPAN", value_parser = moment::from_now)]
    over_at: Option<DateTime<Utc>>,
    /// Until when; then it resumes automatically.
    #[arg(long, value_name = "TIME", value_parser = moment::ahead, conflicts_with = "over_at")]
    until: Option<DateTime<Utc>>,
    /// Only if the schedule still has this revision.
    #[arg(long, value_name = "NUMBER", requires = "schedules", conflicts_with_all = ["all", "dry_run"],
        conflicts_with_all = FILTERS)]
    revision: Option<u64>,
    /// All schedules at once, whoever created them, including those created later.
    #[arg(long, conflicts_with_all = ["schedules", "dry_run"])]
    all: bool,
}

impl Pause {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let (reason, resume_at) = (&self.reason, self.until.or(self.over_at));
        if self.all {
            if !self.select.is_all(session, common, "pause all schedules?")? {
                return Ok(Exit::Refused);
            }
            let request = PauseAll { reason: reason.clone(), resume_at };
            return show_all(&session.client.pause_all(&request).await?, out);
        }
        if !self.select.is_by_name() {
            let operation = BulkOperation {
                operation: Some(BulkAction::Pause),
                reason: reason.clone(),
                resume_at,
                ..BulkOperation::default()
            };
            return self.select.operate(&operation, session, common, out).await;
        }
        let act = |name: String| {
            let request = about!(
                PauseSchedule {
                    reason: reason.clone(),
                    resume_at: resume_at,
                    expected_revision: self.revision
                },
                session.which(&name)
            );
            async move { session.client.pause_with(&request).await }
        };
        each(&self.select.schedules, out, act, |reply, out| show_changed("paused", &reply, out))
            .await
    }
}

#[derive(Args, Debug)]
pub struct Resume {
    #[command(flatten)]
    select: Select,
    /// Only if the schedule still has this revision.
    #[arg(long, value_name = "NUMBER", requires = "schedules", conflicts_with_all = ["all", "dry_run"],
        conflicts_with_all = FILTERS)]
    revision: Option<u64>,
    /// Lift the pause of all schedules; those paused individually stay paused.
    #[arg(long, conflicts_with_all = ["schedules", "dry_run"])]
    all: bool,
}

/// Shows whether all schedules are paused.
fn show_all(reply: &Reply<AllPaused>, out: &mut Output) -> Result<Exit, Failure> {
    tell_warnings(&reply.warnings);
    let all = &reply.data;
    if !out.format.is_table() {
        return out.thing(all, &all.is_paused.to_string(), &[]).map(|()| Exit::Done);
    }
    let until = all.resume_at.map(|at| format!(" until {}", moment::absolute(at)));
    out.line(&match all.is_paused {
        true => format!("all schedules are paused{}", until.unwrap_or_default()),
        false => "all schedules run again, except those paused individually".to_owned(),
    })?;
    Ok(Exit::Done)
}

impl Resume {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        if self.all {
            if !self.select.is_all(session, common, "lift the pause of all schedules?")? {
                return Ok(Exit::Refused);
            }
            return show_all(&session.client.resume_all().await?, out);
        }
        if !self.select.is_by_name() {
            let operation =
                BulkOperation { operation: Some(BulkAction::Resume), ..BulkOperation::default() };
            return self.select.operate(&operation, session, common, out).await;
        }
        let act = |name: String| {
            let request =
                about!(ResumeSchedule { expected_revision: self.revision }, session.which(&name));
            async move { session.client.resume_with(&request).await }
        };
        each(&self.select.schedules, out, act, |reply, out| show_changed("resumed", &reply, out))
            .await
    }
}

#[derive(Args, Debug)]
pub struct Remove {
    #[command(flatten)]
    select: Select,
    /// For good: it cannot be restored.
    #[arg(long)]
    hard: bool,
    /// Only if the schedule still has this revision.
    #[arg(long, value_name = "NUMBER", requires = "schedules", conflicts_with = "dry_run", conflicts_with_all = FILTERS)]
    revision: Option<u64>,
}

impl Remove {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        if !self.select.is_by_name() {
            let operation = BulkOperation {
                operation: Some(BulkAction::Delete),
                hard_delete: Some(self.hard),
                ..BulkOperation::default()
            };
            return self.select.operate(&operation, session, common, out).await;
        }
        let act = |name: String| {
            let request = about!(
                DeleteSchedule { hard_delete: Some(self.hard), expected_revision: self.revision },
                session.which(&name)
            );
            async move { Ok((name, session.client.delete_with(&request).await?.data)) }
        };
        each(&self.select.schedules, out, act, |(name, deleted), out| {
            if !out.format.is_table() {
                return out.thing(&deleted, &deleted.schedule_id.to_string(), &[]);
            }
            let until = deleted
                .purge_at
                .map(|at| format!(", can be restored until {}", moment::absolute(at)));
            let until = until.unwrap_or_else(|| " for good".to_owned());
            out.line(&format!("deleted {name}{until}"))
        })
        .await
    }
}

#[derive(Args, Debug)]
pub struct Restore {
    /// The deleted schedules: names or ids.
    #[arg(required = true, value_name = "SCHEDULE", value_parser = some_name, add = Name::Deleted.completer())]
    schedules: Vec<String>,
}

impl Restore {
    pub async fn run(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let act = |name: String| {
            let request = about!(RestoreSchedule {}, session.which(&name));
            async move { session.client.restore_with(&request).await }
        };
        each(&self.schedules, out, act, |reply, out| show_changed("restored", &reply, out)).await
    }
}
