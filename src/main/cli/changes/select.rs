//! Schedules that a command changes: by name or id, or all that match a filter.

use clap::Args;
use nats_scheduler::client::{
    ApiError, BulkAction, BulkOperated, BulkOperation, ItemRefused, NameUnknown, ScheduleFilter,
};
use uuid::Uuid;

use super::{confirm, tell_warnings};
use crate::cli::completion::{Name, some_name};
use crate::cli::failure::{Exit, Failure};
use crate::cli::filter::{FILTERS, Filter, filtered, listed_creator};
use crate::cli::options::Options;
use crate::cli::output::Output;
use crate::cli::progress;
use crate::cli::session::Session;
use crate::cli::text::{counted, note};
use crate::cli::words::word;

/// Thousands of schedules take seconds.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(600);

#[derive(Args, Debug)]
pub struct Select {
    /// The schedules: names or ids. Without any, the filters say which.
    #[arg(value_name = "SCHEDULE", conflicts_with_all = FILTERS, value_parser = some_name, add = Name::Schedule.completer())]
    pub schedules: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    /// Change nothing, and show how many would be changed.
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask before changing all that match the filters.
    #[arg(long, short)]
    yes: bool,
}

impl Select {
    /// Whether each is named, and is to be changed.
    pub fn is_by_name(&self) -> bool {
        !self.schedules.is_empty() && !self.dry_run
    }

    /// Whether everything is meant, which the filters must not narrow, and the user says yes to `question`.
    ///
    /// # Errors
    /// `Usage` if there are filters.
    pub fn is_all(
        &self,
        session: &Session,
        common: &Options,
        question: &str,
    ) -> Result<bool, Failure> {
        let creator = listed_creator(session, common.creator.is_some());
        if filtered!(ScheduleFilter {}, &self.filter, creator) != ScheduleFilter::default() {
            return Err(Failure::usage("--all means everything, and takes no filters"));
        }
        Ok(self.yes || confirm(question)?)
    }

    /// Does something to all of them in one request, or in two if some have names and others ids.
    ///
    /// # Errors
    /// `Usage` if nothing selects any; those of the request.
    pub async fn operate(
        &self,
        operation: &BulkOperation,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let mut exit = Exit::Done;
        for request in self.requests(operation, session, common)? {
            let is_by_filter = request.filter.is_some();
            if is_by_filter
                && !self.dry_run
                && !self.yes
                && let Some(exit) = self.asks(&request, session).await?
            {
                return Ok(exit);
            }
            let client = session.patient(PATIENCE);
            let done = progress::waiting("waiting", client.bulk_operation(&request)).await?;
            tell_warnings(&done.warnings);
            exit = exit.and(show(&done.data, out)?);
        }
        Ok(exit)
    }

    fn requests(
        &self,
        operation: &BulkOperation,
        session: &Session,
        common: &Options,
    ) -> Result<Vec<BulkOperation>, Failure> {
        let operation = BulkOperation { dry_run: Some(self.dry_run), ..operation.clone() };
        if self.schedules.is_empty() {
            let creator = listed_creator(session, common.creator.is_some());
            let filter = filtered!(ScheduleFilter {}, &self.filter, creator);
            if filter == ScheduleFilter::default() {
                let fault = "nothing says which schedules are meant";
                return Err(Failure::usage(fault).hint("give names, ids or filters"));
            }
            return Ok(vec![BulkOperation { filter: Some(filter), ..operation }]);
        }
        let (mut ids, mut names) = (Vec::new(), Vec::new());
        for which in self.schedules.iter().map(|text| session.which(text)) {
            ids.extend(which.id);
            names.extend(which.name);
        }
        let mut requests = Vec::new();
        if !ids.is_empty() {
            requests.push(BulkOperation { schedule_ids: Some(ids), ..operation.clone() });
        }
        if !names.is_empty() {
            let creator = session.creator.clone();
            requests.push(BulkOperation { schedule_names: Some(names), creator, ..operation });
        }
        Ok(requests)
    }

    /// Says how many match a filter, and asks; how the command ends if nothing is to be done.
    async fn asks(
        &self,
        request: &BulkOperation,
        session: &Session,
    ) -> Result<Option<Exit>, Failure> {
        let dry = BulkOperation { dry_run: Some(true), ..request.clone() };
        let matched = session.client.bulk_operation(&dry).await?.data.matched;
        if matched == 0 {
            note("no schedule matches");
            return Ok(Some(Exit::Done));
        }
        let action = request.operation.as_ref().map(word).unwrap_or_default();
        let is_meant =
            confirm(&format!("{action} {}?", counted(matched as u64, "schedule", "schedules")))?;
        Ok((!is_meant).then_some(Exit::Refused))
    }
}

fn show(done: &BulkOperated, out: &mut Output) -> Result<Exit, Failure> {
    if out.format.is_table() {
        let verb = match done.operation {
            BulkAction::Pause => "paused",
            BulkAction::Resume => "resumed",
            BulkAction::Delete => "deleted",
        };
        let verb = if done.dry_run { format!("would be {verb}") } else { verb.to_owned() };
        out.line(&format!("{} of {} schedules {verb}", done.succeeded, done.matched))?;
        out.flush()?;
    } else {
        out.thing(
            done,
            &done.success.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" "),
            &[],
        )?;
    }
    let refused = done
        .failed
        .iter()
        .map(|ItemRefused { schedule_id, error }| (schedule_id.to_string(), error));
    let unknown = done
        .unknown
        .iter()
        .map(|NameUnknown { schedule_name, error }| (schedule_name.clone(), error));
    let mut exit = Exit::Done;
    for (what, error) in refused.chain(unknown) {
        exit = exit.and(report(what, error));
    }
    Ok(exit)
}

fn report(what: String, error: &ApiError) -> Exit {
    let failure = Failure::from(error.clone()).about(what);
    failure.report();
    failure.exit()
}
