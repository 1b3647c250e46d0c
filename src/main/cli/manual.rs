//! `man` and `reference`: pages of the manual and the document of all commands, by the definitions that `--help` uses.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::{Arg, Args, Command, CommandFactory as _};

use super::failure::{Exit, Failure};
use super::output::Output;

/// Headings of options that several commands take: the document says them once.
const SHARED: [&str; 2] = ["Common options", "Filters"];
/// Commands that the document does not list.
const ELSEWHERE: [&str; 4] = ["serve", "dev", "healthcheck", "help"];

#[derive(Args, Debug)]
pub struct Man {
    /// The folder to write the pages into.
    folder: PathBuf,
}

#[derive(Args, Debug)]
pub struct Reference {}

impl Man {
    pub fn run(&self) -> Result<Exit, Failure> {
        let fault =
            |error: std::io::Error| Failure::usage(format!("{}: {error}", self.folder.display()));
        clap_mangen::generate_to(built(), &self.folder).map_err(fault)?;
        Ok(Exit::Done)
    }
}

impl Reference {
    /// Prints the commands as Markdown.
    pub fn run(&self, out: &mut Output) -> Result<Exit, Failure> {
        let program = built();
        let mut text = String::new();
        let commands: Vec<_> = program
            .get_subcommands()
            .filter(|it| !it.is_hide_set() && !ELSEWHERE.contains(&it.get_name()))
            .collect();
        for heading in SHARED {
            if let Some(first) = commands.iter().find(|it| has_heading(it, heading)) {
                let _ = write!(text, "\n## {heading}\n");
                options(first, |of| of == Some(heading), &mut text);
            }
        }
        for command in commands {
            let parts: Vec<_> =
                command.get_subcommands().filter(|it| it.get_name() != "help").collect();
            match &parts[..] {
                [] => describe(command.get_name(), command, &mut text),
                parts => {
                    for part in parts {
                        let name = format!("{} {}", command.get_name(), part.get_name());
                        describe(&name, part, &mut text);
                    }
                }
            }
        }
        out.raw(&text)?;
        Ok(Exit::Done)
    }
}

fn built() -> Command {
    let mut program = crate::Arguments::command();
    program.build();
    program
}

fn has_heading(command: &Command, heading: &str) -> bool {
    command.get_arguments().any(|it| it.get_help_heading() == Some(heading))
}

fn describe(name: &str, command: &Command, text: &mut String) {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let _ = write!(text, "\n## {name}\n\n{about}.\n\n```text\n{usage}\n```\n");
    options(command, |of| of.is_none_or(|heading| !SHARED.contains(&heading)), text);
    if has_heading(command, "Filters") {
        let names =
            command.get_positionals().any(|it| it.get_id().as_str().starts_with("schedule"));
        let how = if names { "in place of names" } else { "too" };
        let _ = write!(text, "\nIt takes the [filters](#filters) {how}.\n");
    }
    if let Some(more) = command.get_after_help() {
        let more = more.to_string();
        let (before, examples) = more.split_once("Examples:\n").unwrap_or((&more, ""));
        if !before.trim().is_empty() {
            let _ = write!(text, "\n{}\n", before.trim());
        }
        if !examples.is_empty() {
            let lines: Vec<_> = examples.lines().map(str::trim_start).collect();
            let _ = write!(text, "\n```sh\n{}\n```\n", lines.join("\n"));
        }
    }
}

/// A table of the arguments and options whose heading is wanted.
fn options(command: &Command, is_wanted: impl Fn(Option<&str>) -> bool, text: &mut String) {
    let is_listed = |argument: &&Arg| {
        let is_help = argument.get_id() == "help";
        !argument.is_hide_set() && !is_help && is_wanted(argument.get_help_heading())
    };
    let listed: Vec<_> = command.get_arguments().filter(is_listed).collect();
    if listed.is_empty() {
        return;
    }
    text.push_str("\n| option | meaning | default |\n|---|---|---|\n");
    for argument in listed {
        let help = argument.get_long_help().or(argument.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let (meaning, default) = match help.split_once(" [default: ") {
            Some((meaning, default)) => (meaning, default.trim_end_matches([']', '.'])),
            None => (help.as_str(), ""),
        };
        let set = argument.get_default_values().iter().map(|value| value.to_string_lossy());
        let set: Vec<_> = set.filter(|_| argument.get_action().takes_values()).collect();
        let default = if default.is_empty() { set.join(",") } else { default.to_owned() };
        let default = if default.is_empty() { default } else { format!(" {default}") };
        let words = argument.get_possible_values();
        let words: Vec<_> = words.iter().map(|word| format!("`{}`", word.get_name())).collect();
        let is_said =
            argument.is_hide_possible_values_set() || !argument.get_action().takes_values();
        let words = if words.is_empty() || is_said {
            String::new()
        } else {
            format!(": {}", words.join(", "))
        };
        let meaning = meaning.trim_end_matches('.').replace('|', "\\|");
        let _ = writeln!(text, "| `{}` | {meaning}{words} |{default} |", shown(argument));
    }
}

/// An argument as it is typed: `-n, --limit <LIMIT>`, `[SCHEDULE]...`.
fn shown(argument: &Arg) -> String {
    if argument.is_positional() {
        return argument.to_string();
    }
    let short = argument.get_short().map(|short| format!("-{short}, ")).unwrap_or_default();
    format!("{short}{argument}").replace('|', "\\|")
}
