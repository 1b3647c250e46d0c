//! `import`: makes files of schedules out of what other schedulers read.
//!
//! Nothing is created: what is printed can be looked at, kept, and applied. What became of each entry, or why nothing
//! did, is said on standard error.

mod crontab;
mod kubernetes;
mod nats;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::failure::{Exit, Failure};
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
    /// With nats: only the schedules on subjects that this matches.
    #[arg(long, value_name = "SUBJECT", default_value = ">", hide_default_value = true)]
    subjects: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
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
    /// Whether it has to be asked for, and is no file.
    pub fn is_stream(&self) -> bool {
        matches!(self.kind, Kind::Nats)
    }

    /// Prints the schedules of a file. The exit code is 1 if an entry could not be taken.
    pub fn run(&self, out: &mut Output) -> Result<Exit, Failure> {
        let text = read(&self.source)?;
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
        let entries = nats::entries(&name, &self.subjects, rule, session).await?;
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

fn read(path: &Path) -> Result<String, Failure> {
    if path.as_os_str() != "-" {
        return std::fs::read_to_string(path)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())));
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// The target of an entry: what no token of a subject may have becomes a dash.
fn target(rule: &str, name: &str) -> String {
    let is_allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-');
    let name = name.to_lowercase();
    let token: String = name.chars().map(|c| if is_allowed(c) { c } else { '-' }).collect();
    rule.replace("{name}", &token)
}

/// A field with a text.
fn text(name: &str, value: impl Into<String>) -> (String, Node) {
    (name.to_owned(), Node::Text(value.into()))
}
