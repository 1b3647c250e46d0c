//! `completion`: lets a shell complete commands, options and the names of schedules.

use std::ffi::OsStr;
use std::time::Duration;

use clap::{Args, CommandFactory as _};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use nats_scheduler::client::{
    ListCalendars, ListGroups, ListReruns, ListRunning, ListSchedules, Sort, Status,
};

use super::failure::{Exit, Failure};
use super::options::{Color, Format, Options, anywhere};
use super::output::Output;
use super::session::Session;
pub use super::words::some_name;

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
    CompleteEnv::with_factory(|| anywhere(crate::Arguments::command())).var(ASKED_BY).complete();
}

/// What an argument names.
#[derive(Clone, Copy)]
pub enum Name {
    Schedule,
    /// A schedule that has been deleted softly.
    Deleted,
    Calendar,
    Group,
    /// An execution that is under way.
    Execution,
    Rerun,
}

impl Name {
    pub fn completer(self) -> ArgValueCompleter {
        ArgValueCompleter::new(move |begun: &OsStr| candidates(self, begun))
    }
}

/// The names that begin so, from the service that the line and the environment say; none if it does not answer.
fn candidates(of: Name, begun: &OsStr) -> Vec<CompletionCandidate> {
    let names = begun.to_str().and_then(|prefix| names(of, prefix).ok());
    names.unwrap_or_default().into_iter().map(CompletionCandidate::new).collect()
}

/// The value that the line has for an option so far.
fn said(words: &[String], names: &[&str]) -> Option<String> {
    let mut found = None;
    for (n, word) in words.iter().enumerate() {
        let joined = names.iter().find_map(|name| word.strip_prefix(name)?.strip_prefix('='));
        let next = || {
            // Bash takes `--creator=ops` apart.
            words[n + 1..].iter().find(|word| *word != "=").cloned()
        };
        let value = joined
            .map(str::to_owned)
            .or_else(|| if names.contains(&word.as_str()) { next() } else { None });
        found = value.or(found);
    }
    found.filter(|value| !value.is_empty())
}

/// The options of the line that is being written. It comes after the arguments by which the shell asks.
fn options() -> Options {
    let words: Vec<_> = std::env::args().skip_while(|word| word != "--").skip(1).collect();
    Options {
        context: said(&words, &["--context"]).or_else(|| std::env::var("NATS_CONTEXT").ok()),
        server: said(&words, &["--server", "-s"]),
        creator: said(&words, &["--creator"]),
        actor: said(&words, &["--actor"]),
        timeout: PATIENCE,
        output: Format::Name,
        color: Color::Never,
    }
}

fn names(of: Name, prefix: &str) -> Result<Vec<String>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let names =
        runtime.block_on(async { ask(of, prefix, &Session::open(&options()).await?).await })?;
    // A shell shows and inserts it as it is: anything that it would take apart or obey is left out.
    let is_word = |c: char| c.is_alphanumeric() || "-_./:@+=,%".contains(c);
    let fits = |name: &String| name.starts_with(prefix) && name.chars().all(is_word);
    Ok(names.into_iter().filter(fits).collect())
}

async fn ask(of: Name, prefix: &str, session: &Session) -> Result<Vec<String>, Failure> {
    let (client, limit) = (&session.client, Some(OFFERED));
    Ok(match of {
        Name::Schedule | Name::Deleted => {
            let request = ListSchedules {
                creator: session.creator.clone(),
                name_prefix: (!prefix.is_empty()).then(|| prefix.to_owned()),
                status: matches!(of, Name::Deleted).then_some(Status::Deleted),
                sort: Some(Sort::Name),
                limit,
                ..ListSchedules::default()
            };
            client.list(&request).await?.data.into_iter().map(|it| it.name).collect()
        }
        Name::Calendar => {
            let listed = client.list_calendars(&ListCalendars { limit, page: None }).await?;
            listed.data.into_iter().map(|it| it.name).collect()
        }
        Name::Group => {
            let listed = client.list_groups(&ListGroups { limit, page: None }).await?;
            listed.data.into_iter().map(|it| it.name).collect()
        }
        Name::Rerun => {
            let listed = client.list_reruns(&ListReruns { limit, page: None }).await?;
            listed.data.into_iter().map(|it| it.rerun_id.to_string()).collect()
        }
        Name::Execution => {
            let request =
                ListRunning { include_pending: Some(true), limit, ..ListRunning::default() };
            let listed = client.running(&request).await?;
            listed.data.into_iter().map(|it| it.execution_id.to_string()).collect()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::said;

    #[test]
    fn the_line_says_whose_names_are_meant() {
        for (line, meant) in [
            ("get --creator ops h", Some("ops")),
            ("get --creator=ops h", Some("ops")),
            ("get --creator = ops h", Some("ops")),
            ("get --creator bob --creator ops h", Some("ops")),
            ("get --creators ops h", None),
            ("get h --creator", None),
            ("get h", None),
        ] {
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(said(&words, &["--creator"]).as_deref(), meant, "{line}");
        }
        let words = ["ls".to_owned(), "-s".to_owned(), "nats://a".to_owned()];
        assert_eq!(said(&words, &["--server", "-s"]).as_deref(), Some("nats://a"));
    }
}
