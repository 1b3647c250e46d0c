//! `import`: makes files of schedules out of what other schedulers read.
//!
//! Nothing is created: what is printed can be looked at, kept, and applied. What became of each entry, or why nothing
//! did, is said on standard error.

mod crontab;
mod kubernetes;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::failure::{Exit, Failure};
use super::node::Node;
use super::options::Format;
use super::output::Output;
use super::text::note;

#[derive(Args, Debug)]
pub struct Import {
    /// What the file is.
    kind: Kind,
    /// The file, or - for standard input.
    file: PathBuf,
    /// The target of the commands; {name} in it stands for the name of each.
    #[arg(long, short, value_name = "SUBJECT")]
    target: String,
    /// With crontab: the lines have the user in the sixth column, as /etc/crontab has.
    #[arg(long)]
    system: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Lines of cron.
    Crontab,
    /// Manifests of CronJobs.
    Kubernetes,
}

/// What became of an entry.
#[derive(Debug)]
struct Entry {
    /// Where it is: `line 3`.
    place: String,
    /// The schedule, with remarks; or why there is none.
    made: Result<(Node, Vec<String>), String>,
}

impl Import {
    /// Prints the schedules. The exit code is 1 if an entry could not be taken.
    pub fn run(&self, out: &mut Output) -> Result<Exit, Failure> {
        let text = read(&self.file)?;
        let entries = match self.kind {
            Kind::Crontab => crontab::entries(&text, self.system, &self.target),
            Kind::Kubernetes => kubernetes::entries(&text, &self.target),
        };
        let entries =
            entries.map_err(|fault| Failure::usage(format!("{}: {fault}", self.file.display())))?;
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
