//! `import`: makes files of schedules out of what other schedulers read.
//!
//! Nothing is created: what is printed can be looked at, kept, and applied. What became of each entry, or why nothing
//! did, is said on standard error.

mod cron;
mod crontab;
mod kubernetes;
mod nats;
mod span;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nats_scheduler::schedule::Target;

use super::failure::{Exit, Failure};
use super::input;
use super::node::Node;
use super::options::Format;
use super::output::Output;
use super::session::Session;
use super::text::note;

#[derive(Args, Debug)]
pub struct Import {
    /// What it is.
    kind: Kind,
    /// The file, or - for standard input; with nats the stream.
    #[arg(value_name = "SOURCE")]
    source: PathBuf,
    /// The target of the commands; {name} in it stands for the name of each [default: with nats the target of each
    /// message].
    #[arg(long, short, value_name = "SUBJECT", required_if_eq_any([("kind", "crontab"), ("kind", "kubernetes")]))]
    target: Option<String>,
    /// With crontab: the lines have the user in the sixth column, as /etc/crontab has.
    #[arg(long)]
    system: bool,
    /// With nats: only the schedules on subjects that this matches [default: all].
    #[arg(long, value_name = "SUBJECT")]
    subjects: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Lines of cron.
    Crontab,
    /// Manifests of CronJobs.
    Kubernetes,
    /// A stream with message schedules of nats-server.
    Nats,
}

/// What became of an entry.
#[derive(Debug)]
struct Entry {
    /// Where it is: `line 3`, or a subject.
    place: String,
    /// The schedule, with remarks; or why there is none.
    made: Result<(Node, Vec<String>), String>,
}

impl Import {
    /// Checks that the options are those of the kind.
    ///
    /// # Errors
    /// `Usage`: one would have no effect.
    pub fn check(&self) -> Result<(), Failure> {
        for (option, is_given, of, kind) in [
            ("--system", self.system, Kind::Crontab, "crontab"),
            ("--subjects", self.subjects.is_some(), Kind::Nats, "nats"),
        ] {
            if is_given && self.kind != of {
                return Err(Failure::usage(format!("{option} is only for `import {kind}`")));
            }
        }
        Ok(())
    }

    /// Whether it has to be asked for, and is no file.
    pub fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Nats)
    }

    /// Prints the schedules of a file. The exit code is 1 if an entry could not be taken.
    pub fn run(&self, out: &mut Output) -> Result<Exit, Failure> {
        let text = input::file_or_stdin(&self.source)?;
        let rule = self.target.as_deref().unwrap_or_default();
        let entries = match self.kind {
            Kind::Kubernetes => kubernetes::entries(&text, rule),
            Kind::Crontab | Kind::Nats => crontab::entries(&text, self.system, rule),
        };
        let entries = entries
            .map_err(|fault| Failure::usage(format!("{}: {fault}", self.source.display())))?;
        print(entries, out)
    }

    /// The same with those of a stream.
    pub async fn run_stream(&self, session: &Session, out: &mut Output) -> Result<Exit, Failure> {
        let name = self.source.to_string_lossy();
        let rule = self.target.as_deref();
        let subjects = self.subjects.as_deref().unwrap_or(">");
        let entries = nats::entries(&name, subjects, rule, session).await?;
        if entries.is_empty() {
            note(&format!("no message of {name} has a schedule"));
        }
        print(entries, out)
    }
}

fn print(entries: Vec<Entry>, out: &mut Output) -> Result<Exit, Failure> {
    let (mut exit, mut nodes) = (Exit::Done, Vec::new());
    for Entry { place, made } in entries {
        match made {
            Ok((node, remarks)) => {
                note(&format!("{place}: {}", node.text("name").unwrap_or_default()));
                for remark in remarks {
                    note(&format!("{place}: note: {remark}"));
                }
                nodes.push(node);
            }
            Err(reason) => {
                note(&format!("{place}: left out: {reason}"));
                exit = Exit::Refused;
            }
        }
    }
    match out.format {
        Format::Json => out.raw(&(Node::List(nodes).pretty() + "\n"))?,
        Format::Name => {
            for node in &nodes {
                out.line(node.text("name").unwrap_or_default())?;
            }
        }
        _ => {
            let documents: Vec<_> = nodes.iter().map(Node::yaml).collect();
            out.raw(&documents.join("---\n"))?;
        }
    }
    Ok(exit)
}

/// Names that have been given, each once.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    /// The last number that a name was given with.
    numbers: HashMap<String, usize>,
}

impl Names {
    /// The name; or, if it is taken, the next with a number that is not.
    fn unique(&mut self, name: &str) -> String {
        let number = self.numbers.entry(name.to_owned()).or_insert(1);
        let mut unique = name.to_owned();
        while !self.taken.insert(unique.clone()) {
            *number += 1;
            unique = format!("{name}-{number}");
        }
        unique
    }
}

/// The target of an entry: what no token of a subject may have becomes a dash.
///
/// # Errors
/// No command can be sent there.
fn target(rule: &str, name: &str) -> Result<String, String> {
    let is_allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let name = name.to_lowercase();
    let token: String = name.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    checked(rule.replace("{name}", &token))
}

/// A target, if commands can be sent there.
///
/// # Errors
/// Why they cannot.
fn checked(target: String) -> Result<String, String> {
    match Target::parse(&target) {
        Ok(_) => Ok(target),
        Err(reason) => Err(format!("its target {target:?} {reason}")),
    }
}

/// A field with a number.
fn number(name: &str, value: impl Into<u64>) -> (String, Node) {
    (name.to_owned(), Node::Number(value.into().to_string()))
}

/// A field with a text.
fn text(name: &str, value: impl Into<String>) -> (String, Node) {
    (name.to_owned(), Node::Text(value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_once() {
        let mut names = Names::default();
        let given = ["backup", "backup", "backup-2", "backup", "x"].map(|name| names.unique(name));
        assert_eq!(given, ["backup", "backup-2", "backup-2-2", "backup-3", "x"]);
    }
}
