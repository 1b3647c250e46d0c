//! The command line: one more client of the same operations.
//!
//! Answers go to standard output, and everything beside them to standard error. What others have written is never sent
//! to a terminal as it is. The exit code says what happened, see [`Exit`].

mod calendar;
mod changes;
mod coming;
mod completion;
mod context;
mod examples;
mod failure;
mod files;
mod filter;
mod group;
mod import;
mod input;
mod keyed;
mod manual;
mod moment;
mod node;
mod options;
mod output;
mod progress;
mod reads;
mod rerun;
mod session;
mod text;
mod top;
mod words;

use clap::Subcommand;
use futures::future::LocalBoxFuture;

use changes::{backfill, cancel, create, edit, lifecycle, retry, run};
pub use completion::answer_shell;
use failure::{Exit, Failure};
use files::{apply, export, schema};
use options::{Format, With};
pub use options::{anywhere, given};
use output::Output;
use reads::{audit, executions, explain, get, list, logs, next, running, stats, status, watch};
use session::Session;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// List schedules.
    #[command(alias = "list", after_help = examples::LS)]
    Ls(With<list::List>),
    /// Show schedules with all their fields.
    #[command(aliases = ["show", "describe"], after_help = examples::GET)]
    Get(With<get::Get>),
    /// Show the coming times of a schedule, or of all.
    #[command(after_help = examples::NEXT)]
    Next(With<next::Next>),
    /// Show what ran, and how it ended.
    #[command(after_help = examples::HISTORY)]
    History(With<executions::History>),
    /// Explain what became of each nominal time of a schedule, and why.
    #[command(after_help = examples::WHY)]
    Why(With<explain::Why>),
    /// Show what is under way.
    #[command(after_help = examples::RUNNING)]
    Running(With<running::Running>),
    /// Show executions as they begin and end.
    #[command(after_help = examples::WATCH)]
    Watch(With<watch::Watch>),
    /// Show what happened, executions and changes together, and follow what happens.
    #[command(visible_alias = "events", after_help = examples::LOGS)]
    Logs(With<logs::Logs>),
    /// Count how executions ended.
    #[command(after_help = examples::STATS)]
    Stats(With<stats::Stats>),
    /// Show who changed which schedule, when and how.
    #[command(after_help = examples::AUDIT)]
    Audit(With<audit::Audit>),
    /// Show what is due, running, late and failing, on a full screen that keeps up to date.
    #[command(after_help = examples::TOP)]
    Top(With<top::Top>),
    /// Show the state of the service.
    #[command(after_help = examples::STATUS)]
    Status(With<status::Status>),
    /// Create a schedule.
    #[command(after_help = examples::CREATE)]
    Create(Box<With<create::Create>>),
    /// Change a schedule in an editor.
    #[command(after_help = examples::EDIT)]
    Edit(With<edit::Edit>),
    /// Run schedules now, beside their own times.
    #[command(after_help = examples::RUN)]
    Run(With<run::Run>),
    /// Pause schedules, until they are resumed or until a time.
    #[command(after_help = examples::PAUSE)]
    Pause(With<lifecycle::Pause>),
    /// Resume paused schedules.
    #[command(after_help = examples::RESUME)]
    Resume(With<lifecycle::Resume>),
    /// Delete schedules; they can be restored for a time.
    #[command(alias = "delete", after_help = examples::RM)]
    Rm(With<lifecycle::Remove>),
    /// Restore deleted schedules.
    #[command(after_help = examples::RESTORE)]
    Restore(With<lifecycle::Restore>),
    /// Run ended executions again.
    #[command(after_help = examples::RETRY)]
    Retry(With<retry::Retry>),
    /// Stop executions that are under way or wait.
    #[command(after_help = examples::CANCEL)]
    Cancel(With<cancel::Cancel>),
    /// Run the occurrences of a span of the past.
    #[command(after_help = examples::BACKFILL)]
    Backfill(With<backfill::Backfill>),
    /// Show and end reruns: stored requests to run many executions again.
    #[command(subcommand, after_help = examples::RERUN)]
    Rerun(rerun::Rerun),
    /// Keep concurrency groups: how many executions of several schedules are under way at once.
    #[command(subcommand, after_help = examples::GROUP)]
    Group(group::Group),
    /// Keep calendars: days and spans that schedules leave out or keep to.
    #[command(subcommand, after_help = examples::CALENDAR)]
    Calendar(calendar::Calendar),
    /// Show what applying files would change; nothing is changed.
    #[command(alias = "diff", after_help = examples::PLAN)]
    Plan(With<apply::PlanFiles>),
    /// Create and change schedules so that they are what files say.
    #[command(after_help = examples::APPLY)]
    Apply(With<apply::ApplyFiles>),
    /// Print schedules as files that can be applied: YAML, or JSON with -o json.
    #[command(after_help = examples::EXPORT)]
    Export(With<export::Export>),
    /// Make files of schedules out of a crontab, of CronJobs or of message schedules of nats-server.
    #[command(after_help = examples::IMPORT)]
    Import(With<import::Import>),
    /// Print a JSON Schema of the files, for editors.
    #[command(after_help = examples::SCHEMA)]
    Schema(With<schema::Schema>),
    /// Print a script that lets a shell complete commands, options and names of schedules.
    #[command(after_help = examples::COMPLETION)]
    Completion(With<completion::Completion>),
    /// Write the pages of the manual into a folder.
    #[command(hide = true)]
    Man(With<manual::Man>),
    /// Print the document of all commands.
    #[command(hide = true)]
    Reference(With<manual::Reference>),
}

impl Command {
    /// Runs the command; its exit code.
    pub fn run(&self) -> u8 {
        let done = self.check_creator().and_then(|()| self.dispatch());
        let exit = done.unwrap_or_else(|failure| {
            failure.report();
            failure.exit()
        });
        exit as u8
    }

    /// Refuses `--creator` where no name of a schedule is meant by it. It would be taken for a filter, and there is none by
    /// the creator of what ran or was changed.
    fn check_creator(&self) -> Result<(), Failure> {
        let (common, schedule) = match self {
            Self::History(it) => (&it.common, &it.own.schedule),
            Self::Running(it) => (&it.common, &it.own.schedule),
            Self::Watch(it) => (&it.common, &it.own.schedule),
            Self::Stats(it) => (&it.common, &it.own.schedule),
            Self::Audit(it) => (&it.common, &it.own.schedule),
            Self::Retry(it) => (&it.common, &it.own.schedule),
            Self::Top(it) => (&it.common, &None),
            Self::Status(it) => (&it.common, &None),
            Self::Cancel(it) => (&it.common, &None),
            Self::Import(it) => (&it.common, &None),
            Self::Rerun(it) => (it.common(), &None),
            Self::Group(it) => (it.common(), &None),
            Self::Calendar(it) => (it.common(), &None),
            _ => return Ok(()),
        };
        if schedule.is_some() || common.creator.is_none() {
            return Ok(());
        }
        let fault = "--creator has no effect without the name of a schedule";
        Err(Failure::usage(fault).hint("`ls --creator` lists the schedules of a creator"))
    }

    fn dispatch(&self) -> Result<Exit, Failure> {
        match self {
            Self::Ls(it) => {
                while_read(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Get(it) => to_the_end(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Next(it) => {
                while_read(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::History(it) => while_read(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Why(it) => while_read(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Running(it) => while_read(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Watch(it) => while_read(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Logs(it) => {
                while_read(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Stats(it) => while_read(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Audit(it) => while_read(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Top(it) => {
                it.own.check()?;
                while_read(&it.common, async |at, _| it.own.run(at, &it.common).await)
            }
            Self::Status(it) => to_the_end(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Create(it) => {
                to_the_end(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Edit(it) => to_the_end(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Run(it) => to_the_end(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Pause(it) => {
                to_the_end(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Resume(it) => {
                to_the_end(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Rm(it) => {
                to_the_end(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Restore(it) => to_the_end(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Retry(it) => to_the_end(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Cancel(it) => to_the_end(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Backfill(it) => to_the_end(&it.common, async |at, out| it.own.run(at, out).await),
            Self::Calendar(it) => it.run(),
            Self::Group(it) => it.run(),
            Self::Rerun(it) => it.run(),
            Self::Plan(it) => {
                to_the_end(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Apply(it) => {
                to_the_end(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Export(it) => {
                while_read(&it.common, async |at, out| it.own.run(at, &it.common, out).await)
            }
            Self::Import(it) => {
                it.own.check()?;
                match it.own.is_stream() {
                    true => {
                        while_read(&it.common, async |at, out| it.own.run_stream(at, out).await)
                    }
                    false => answer(&it.common, |out| it.own.run(out)),
                }
            }
            Self::Schema(it) => {
                it.common.prints(&[Format::Table, Format::Json])?;
                answer(&it.common, |out| it.own.run(out))
            }
            Self::Completion(it) => {
                it.common.prints(&[Format::Table])?;
                answer(&it.common, |out| it.own.run(out))
            }
            Self::Man(it) => it.own.run(),
            Self::Reference(it) => answer(&it.common, |out| it.own.run(out)),
        }
    }
}

/// Connects, and runs a command that stops once nobody reads its output.
fn while_read(
    common: &options::Options,
    command: impl AsyncFnOnce(&Session, &mut Output) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    connected(common, Output::new(common), command)
}

/// Connects, and runs a command to its end whether or not anybody reads its output: it changes something, or its exit
/// code is an answer.
fn to_the_end(
    common: &options::Options,
    command: impl AsyncFnOnce(&Session, &mut Output) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    connected(common, Output::best_effort(common), command)
}

fn connected(
    common: &options::Options,
    mut out: Output,
    command: impl AsyncFnOnce(&Session, &mut Output) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let done = wait_for(Box::pin(async {
        let session = Session::open(common).await?;
        command(&session, &mut out).await
    }));
    // What was answered before a failure is shown before it.
    out.end().and(done)
}

/// Runs a command. It is boxed, so that the runtime is compiled for one kind of future, and not for each command.
fn wait_for(command: LocalBoxFuture<'_, Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(command)
}

/// Runs a command that needs no connection.
fn answer(
    common: &options::Options,
    command: impl FnOnce(&mut Output) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    common.asks_nothing()?;
    let mut out = Output::new(common);
    let done = command(&mut out);
    out.end().and(done)
}
