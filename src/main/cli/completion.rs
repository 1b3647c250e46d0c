//! `completion`: lets a shell complete commands, options and the names of schedules.

use std::ffi::OsStr;
use std::time::Duration;

use clap::{Args, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use nats_scheduler::client::{ListSchedules, Sort};

use super::failure::{Exit, Failure};
use super::options::{Color, Format, Options};
use super::output::Output;
use super::session::Session;

/// Environment variable by which shells ask for completions. The service looks at it too, so it is one that nobody else
/// sets.
const ASKED_BY: &str = "NATS_SCHEDULER_COMPLETE";
/// Somebody has pressed a key and looks at the screen.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most names that are offered.
const OFFERED: u64 = 100;

#[derive(Args, Debug)]
pub struct Completion {
    /// The shell.
    #[arg(value_parser = ["bash", "elvish", "fish", "powershell", "zsh"])]
    shell: String,
}

impl Completion {
    pub fn run(&self, out: &mut Output) -> Result<Exit, Failure> {
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell);
        let shell = shell.ok_or_else(|| Failure::usage("there is no such shell"))?;
        let name = crate::Arguments::command().get_name().to_owned();
        let mut script = Vec::new();
        shell.write_registration(ASKED_BY, &name, &name, &name, &mut script)?;
        out.raw(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}

/// Answers a shell and ends the program, if it was started for that.
pub fn answer_shell() {
    CompleteEnv::with_factory(crate::Arguments::command).var(ASKED_BY).complete();
}

/// Completion of arguments that name schedules.
pub struct Name;

impl Name {
    pub fn completer() -> ArgValueCompleter {
        ArgValueCompleter::new(candidates)
    }
}

/// The names that begin so, from the service that the environment says; none if it does not answer.
fn candidates(begun: &OsStr) -> Vec<CompletionCandidate> {
    let names = begun.to_str().and_then(|prefix| names(prefix).ok());
    names.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

fn names(prefix: &str) -> Result<Vec<String>, Failure> {
    let options = Options {
        context: std::env::var("NATS_CONTEXT").ok(),
        server: None,
        creator: None,
        actor: None,
        timeout: PATIENCE,
        output: Format::Name,
        color: Color::Never,
    };
    let request = ListSchedules {
        name_prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
        sort: Some(Sort::Name),
        limit: Some(OFFERED),
        ..ListSchedules::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        let session = Session::open(&options).await?;
        let request = ListSchedules { creator: session.creator.clone(), ..request };
        Ok::<_, Failure>(session.client.list(&request).await?.data)
    });
    let names = found?.into_iter().map(|schedule| schedule.name);
    // A shell shows and inserts it as it is: anything that it would take apart or obey is left out.
    let is_word = |c: char| c.is_alphanumeric() || "-_./:@+=,%".contains(c);
    Ok(names.filter(|name| name.chars().all(is_word)).collect())
}

/// The name or id of a schedule. An empty one is a variable of a script that is not set: it must not mean all of them.
pub fn some_name(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("must not be empty".to_owned()),
        false => Ok(text.to_owned()),
    }
}
