//! Options that every command of a client takes.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::context;

/// Heading of these options in the help.
const HEADING: &str = "Common options";
/// Environment variables that name the user who is logged in.
const LOGIN: [&str; 3] = ["USER", "LOGNAME", "USERNAME"];

/// How to reach the service, who asks, and how answers are shown.
#[derive(Args, Clone, Debug)]
pub struct Options {
    /// Connect as a context of the `nats` CLI says; `-` is the one that `nats context select` chose.
    #[arg(long, env = "NATS_CONTEXT", hide_env_values = true, value_name = "NAME", add = context::completer(), help_heading = HEADING)]
    pub context: Option<String>,
    /// NATS servers, separated by commas, in place of NATS_URL and of the context's.
    #[arg(long, short = 's', value_name = "URL", help_heading = HEADING)]
    pub server: Option<String>,
    /// Whose schedules are meant by names [default: the actor].
    #[arg(long, value_name = "USER", help_heading = HEADING)]
    pub creator: Option<String>,
    /// The name that the audit shows [default: the user who is logged in].
    #[arg(long, value_name = "USER", help_heading = HEADING)]
    pub actor: Option<String>,
    /// How long to wait for an answer.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = super::moment::duration, help_heading = HEADING)]
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

/// Whose schedules are those of a user who says no name.
const NOBODY: &str = "unknown";

impl Options {
    /// Whose schedules are meant by names. Who says no name makes schedules as the service calls them, and finds them under
    /// that.
    pub fn whose(&self) -> String {
        self.creator.clone().or_else(|| self.actor()).unwrap_or_else(|| NOBODY.to_owned())
    }

    /// Who acts, if that is known.
    pub fn actor(&self) -> Option<String> {
        let login = || LOGIN.iter().find_map(|name| std::env::var(name).ok());
        self.actor.clone().or_else(login).filter(|actor| !actor.is_empty())
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
