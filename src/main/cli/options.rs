//! Options that every command of a client takes.

use std::time::Duration;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, ValueEnum};

use super::failure::Failure;
use super::words::some_name;
use super::{context, moment};

/// Heading of these options in the help.
const HEADING: &str = "Common options";
/// How long to wait for an answer, unless told otherwise.
const PATIENCE: &str = "10s";
/// The setting that names a context.
const NATS_CONTEXT: &str = "NATS_CONTEXT";
/// Environment variables that name the user who is logged in.
const LOGIN: [&str; 3] = ["USER", "LOGNAME", "USERNAME"];

/// How to reach the service, who asks, and how answers are shown.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Connect as a context of the `nats` CLI says; `-` is the one that `nats context select` chose.
    #[arg(long, env = NATS_CONTEXT, hide_env_values = true, value_name = "NAME", add = context::completer(), help_heading = HEADING)]
    pub context: Option<String>,
    /// NATS servers, separated by commas, in place of NATS_URL and of the context's.
    #[arg(long, short = 's', value_name = "URL", value_parser = some_name, help_heading = HEADING)]
    pub server: Option<String>,
    /// Whose schedules are meant by names [default: the actor].
    #[arg(long, value_name = "USER", value_parser = some_name, help_heading = HEADING)]
    pub creator: Option<String>,
    /// The name that the audit shows [default: the user who is logged in].
    #[arg(long, value_name = "USER", value_parser = some_name, help_heading = HEADING)]
    pub actor: Option<String>,
    /// How long to wait for an answer.
    #[arg(long, value_name = "TIME", default_value = PATIENCE, value_parser = moment::duration, help_heading = HEADING)]
    pub timeout: Duration,
    /// How to show the answer.
    #[arg(long, short, value_name = "FORMAT", default_value = "table", hide_possible_values = true, help_heading = HEADING,
        long_help = "How to show the answer: table, wide (a table with more columns, not cut), json, yaml, or name (one per line).")]
    pub output: Format,
    /// Whether to use colours: auto (at a terminal, and without NO_COLOR), always or never.
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_possible_values = true, help_heading = HEADING)]
    pub color: Color,
}

/// How an answer is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Wide,
    Json,
    Yaml,
    Name,
}

impl Format {
    /// Whether people read it.
    pub fn is_table(self) -> bool {
        matches!(self, Self::Table | Self::Wide)
    }
}

/// When colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// The creator of schedules made without a name.
const NOBODY: &str = "unknown";

impl Options {
    /// Whose schedules are meant by names. Who says no name makes schedules as the service calls them, and finds them under
    /// that.
    pub fn whose(&self) -> String {
        self.creator.clone().or_else(|| self.actor()).unwrap_or_else(|| NOBODY.to_owned())
    }

    /// Who acts, if that is known.
    pub fn actor(&self) -> Option<String> {
        let set = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
        self.actor.clone().or_else(|| LOGIN.into_iter().find_map(set))
    }

    /// The context that is asked for. An empty setting names none; an empty option is a variable of a script that is not
    /// set, and must not mean another NATS.
    ///
    /// # Errors
    /// `Usage` for such an option.
    pub fn context(&self) -> Result<Option<&str>, Failure> {
        match self.context.as_deref() {
            Some("") if self.says_context() => Err(Failure::usage("--context: must not be empty")),
            context => Ok(context.filter(|name| !name.is_empty())),
        }
    }

    /// Whether the context is not that of the setting.
    fn says_context(&self) -> bool {
        self.context.is_some() && self.context != std::env::var(NATS_CONTEXT).ok()
    }

    /// Refuses what says how to ask the service, for a command that asks nothing.
    ///
    /// # Errors
    /// `Usage`: such an option is given.
    pub fn asks_nothing(&self) -> Result<(), Failure> {
        let waits = Some(self.timeout) != moment::duration(PATIENCE).ok();
        let given = [
            ("--context", self.says_context()),
            ("--server", self.server.is_some()),
            ("--creator", self.creator.is_some()),
            ("--actor", self.actor.is_some()),
            ("--timeout", waits),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(Failure::usage(format!(
                "{option} has no effect here: this command sends no request"
            ))),
            None => Ok(()),
        }
    }

    /// Refuses an output that a command does not have, which prints a text of its own.
    ///
    /// # Errors
    /// `Usage`: it is none of `these`.
    pub fn prints(&self, these: &[Format]) -> Result<(), Failure> {
        if these.contains(&self.output) {
            return Ok(());
        }
        Err(Failure::usage("this command prints one text, and has no such --output"))
    }
}

/// The arguments of a command, and the common ones.
#[derive(Args, Debug)]
pub struct With<A: Args> {
    #[command(flatten)]
    pub own: A,
    #[command(flatten)]
    pub common: Options,
}

/// The common options, by themselves.
fn common() -> Vec<Arg> {
    Options::augment_args(Command::new("")).get_arguments().cloned().collect()
}

/// The program, with the common options before a command too. The help has them where they belong.
pub fn anywhere(program: Command) -> Command {
    program.args(common().into_iter().map(|option| option.global(true).hide(true)))
}

/// A common option that is given, for a command that has none of them.
pub fn given(arguments: &ArgMatches) -> Option<String> {
    let is_given = |option: &Arg| {
        arguments.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    common().iter().find(|option| is_given(option))?.get_long().map(str::to_owned)
}
