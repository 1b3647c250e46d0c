//! `plan` and `apply`: makes schedules what files say.

use std::collections::HashSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use nats_scheduler::client::ScheduleSummary;

use super::creators;
use super::plan::{Counts, Plan};
use super::read::read_all;
use super::send::{How, prune, send, surplus};
use super::set::{Declared, Key, declared, linked};
use crate::cli::changes::confirm;
use crate::cli::failure::{Exit, Failure};
use crate::cli::options::{Format, Options};
use crate::cli::output::Output;
use crate::cli::session::Session;
use crate::cli::text::note;

/// Refusals that are reported one by one.
const REPORTED: usize = 20;

#[derive(Args, Debug)]
pub struct Source {
    /// Files of schedules, folders of such files, or - for standard input: YAML, JSON or JSON lines.
    #[arg(long = "file", short = 'f', required = true, value_name = "PATH", num_args = 1..)]
    files: Vec<PathBuf>,
    /// The owner of these schedules, such as git:ops/schedules; other owners' schedules are not touched [default: what each
    /// file says, or nobody].
    #[arg(long, value_name = "OWNER")]
    owner: Option<String>,
    /// Also delete the owner's schedules that are not in the files.
    #[arg(long, requires = "owner")]
    prune: bool,
    /// Take over schedules of these names that have no owner.
    #[arg(long)]
    adopt: bool,
    /// Schedules per request; the service takes MAX_BULK_OPERATIONS at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..), hide_short_help = true)]
    part: u32,
    /// Show changed payloads by their hashes, for plans read by people who must not see payloads.
    #[arg(long)]
    hide_payloads: bool,
    /// How many coming times the plan shows of a timing that changes.
    #[arg(long, value_name = "NUMBER", default_value_t = 3)]
    times: u64,
}

#[derive(Args, Debug)]
pub struct PlanFiles {
    #[command(flatten)]
    source: Source,
    /// Exit with 6 if there is something to change.
    #[arg(long)]
    detailed_exitcode: bool,
}

#[derive(Args, Debug)]
pub struct ApplyFiles {
    #[command(flatten)]
    source: Source,
    /// Apply without showing the plan and asking.
    #[arg(long, short)]
    yes: bool,
}

impl PlanFiles {
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        let set = self.source.read(session, common).await?;
        let Planned { counts, .. } = self.source.plan(session, &set, out).await?;
        Ok(match counts.exit() {
            Exit::Done if self.detailed_exitcode && counts.changes() > 0 => Exit::Changes,
            exit => exit,
        })
    }
}

impl ApplyFiles {
    /// Applies the files. Ctrl-C leaves a set of which some is applied; the same command does the rest.
    pub async fn run(
        &self,
        session: &Session,
        common: &Options,
        out: &mut Output,
    ) -> Result<Exit, Failure> {
        if !self.yes && !std::io::stdin().is_terminal() {
            let fault = "cannot ask whether to apply: standard input is not a terminal";
            return Err(Failure::usage(fault).hint("look at `plan`, and apply with --yes"));
        }
        let mut set = self.source.read(session, common).await?;
        let mut planned = None;
        if !self.yes {
            let Planned { counts, surplus, revisions } =
                self.source.plan(session, &set, out).await?;
            if counts.exit() != Exit::Done || counts.changes() == 0 {
                return Ok(counts.exit());
            }
            if !confirm("Apply it?")? {
                return Ok(Exit::Refused);
            }
            planned = Some(surplus);
            // What has changed since the plan was shown is not overwritten.
            set.iter_mut().zip(revisions).for_each(|(one, revision)| one.expected = revision);
        }
        let mut counts = Counts::default();
        let done = tokio::select! {
            done = self.source.apply(session, &set, planned, &mut counts) => Some(done),
            _ = tokio::signal::ctrl_c() => None,
        };
        let Counts { created, updated, unchanged, deleted, refused, .. } = counts;
        let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        match out.format {
            Format::Table | Format::Wide => out.line(&format!(
                "{created} created, {updated} updated, {deleted} deleted, {unchanged} unchanged{refused}"
            ))?,
            Format::Json | Format::Yaml => out.thing(&counts, "", &[])?,
            Format::Name => {}
        }
        out.flush()?;
        match done {
            None => {
                note("interrupted: apply again to do the rest");
                Ok(Exit::Interrupted)
            }
            Some(Err(failure)) => Err(failure.hint("apply again to do the rest")),
            Some(Ok(())) => Ok(counts.exit()),
        }
    }
}

/// What applying would do.
struct Planned {
    counts: Counts,
    /// What would be deleted.
    surplus: Vec<ScheduleSummary>,
    /// The revision at which each schedule of the set was found.
    revisions: Vec<Option<u64>>,
}

impl Source {
    async fn read(&self, session: &Session, common: &Options) -> Result<Vec<Declared>, Failure> {
        let written = read_all(&self.files)?;
        // With --prune it would delete all, and is far more often a mistake.
        if written.is_empty() {
            let failure = Failure::usage("there are no schedules in these files");
            let owner = self.owner.as_deref().filter(|_| self.prune);
            let Some(owner) = owner else { return Err(failure) };
            return Err(failure.hint(format!("`rm --owned-by {owner}` deletes all that it has")));
        }
        let mut set = declared(written, session.creator.as_deref(), self.owner.as_deref())?;
        // --creator says it of all that do not say it themselves.
        set.iter_mut().for_each(|one| one.is_said |= common.creator.is_some());
        creators::find(session, &mut set).await?;
        linked(set)
    }

    fn how(&self, dry_run: bool, format: Format) -> How {
        let part = self.part as usize;
        // Other formats show hashes, as the service does.
        let shows_payloads = format.is_table() && !self.hide_payloads;
        How { adopt: self.adopt, dry_run, count: self.times, part, shows_payloads }
    }

    /// Shows what would change.
    async fn plan(
        &self,
        session: &Session,
        set: &[Declared],
        out: &mut Output,
    ) -> Result<Planned, Failure> {
        let how = self.how(true, out.format);
        let mut plan = Plan::new(out);
        let mut revisions = vec![None; set.len()];
        let planned = send(session, set, how, |n, became| {
            revisions[n] = became.expected();
            plan.add(&set[n], &became)
        });
        planned.await?;
        let mut pruned = Vec::new();
        if self.prune
            && let Some(owner) = &self.owner
        {
            pruned = surplus(session, owner, &keys(set)).await?;
            pruned.iter().try_for_each(|schedule| plan.delete(schedule))?;
        }
        Ok(Planned { counts: plan.end()?, surplus: pruned, revisions })
    }

    /// Applies all parts, and then deletes what the set does not have: what was `planned`, if somebody has seen that, and
    /// not what others have added since.
    async fn apply(
        &self,
        session: &Session,
        set: &[Declared],
        planned: Option<Vec<ScheduleSummary>>,
        counts: &mut Counts,
    ) -> Result<(), Failure> {
        let (is_seen, mut warned) = (planned.is_some(), 0);
        let applied = send(session, set, self.how(false, Format::Name), |n, became| {
            let one = &set[n];
            counts.add(&became);
            // A plan has shown them.
            for warning in became.warnings.iter().filter(|_| !is_seen) {
                warned += 1;
                if warned <= REPORTED {
                    note(&format!("warning: {}: {}", one.name, warning.message));
                }
            }
            if let Some(error) = became.error.filter(|_| counts.refused <= REPORTED) {
                Failure::from(error).about(&one.name).about(&one.place).report();
            }
            Ok(())
        });
        applied.await?;
        if warned > REPORTED {
            note(&format!("and {} more warnings", warned - REPORTED));
        }
        if counts.refused > REPORTED {
            note(&format!("and {} more were refused", counts.refused - REPORTED));
        }
        let Some(owner) = self.owner.as_deref().filter(|_| self.prune) else { return Ok(()) };
        if counts.refused > 0 {
            note("nothing was deleted, since not everything could be applied");
            return Ok(());
        }
        let surplus = match planned {
            Some(planned) => planned,
            None => surplus(session, owner, &keys(set)).await?,
        };
        let (pruned, refused) = prune(session, owner, &surplus, self.part as usize).await?;
        counts.deleted += pruned;
        for item in refused {
            counts.refuse(&item.error);
            Failure::from(item.error).about(item.schedule_id).report();
        }
        Ok(())
    }
}

fn keys(set: &[Declared]) -> HashSet<Key> {
    set.iter().map(Declared::key).collect()
}
