//! The command line, as its users meet it: the program itself, its output, and its exit code.

mod arguments;
mod calendars;
mod changes;
mod connections;
mod exports;
mod files;
mod groups;
mod help;
mod imports;
mod logs;
mod many;
mod meanwhile;
mod pipelines;
mod runs;
mod schema;
mod screens;
mod shells;
mod tables;

use std::path::Path;
use std::process::Stdio;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::{DEADLINE, Nats, SERVICE};

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Answer {
    /// The answer of a command that did what it was to do; its output.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// The output as JSON.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// The exit code, and what was said of it.
    #[track_caller]
    pub fn failed(self) -> (i32, String) {
        assert_ne!(self.code, 0, "{self:?}");
        (self.code, self.err)
    }
}

/// The program as `anna` starts it, with nothing in its environment but this server.
pub fn program(url: &str) -> Command {
    let mut command = Command::new(SERVICE);
    command.env_clear().env("NATS_URL", url).env("USER", "anna").env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub fn finish(mut command: Command) -> BoxFuture<'static, Answer> {
    async move {
        let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
        Answer {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
    .boxed()
}

/// Runs the program with these arguments.
pub fn cli(nats: &Nats, arguments: &[&str]) -> BoxFuture<'static, Answer> {
    let mut command = program(&nats.url());
    command.args(arguments);
    finish(command)
}

/// What a program shows at a terminal, on both outputs, and how it ends.
pub async fn at_terminal(mut command: Command) -> (i32, String) {
    let output = tokio::time::timeout(DEADLINE, command.output()).await.unwrap().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// The program at such a terminal.
pub fn terminal(nats: &Nats, arguments: &[&str]) -> Command {
    const TERMINAL: &str =
        "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";
    let mut command = Command::new("python3");
    command.args(["-c", TERMINAL, SERVICE]).args(arguments).kill_on_drop(true);
    command.env("NATS_URL", nats.url()).env("USER", "anna").env("COLUMNS", "100");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// The same in a terminal of this width.
pub fn narrow(nats: &Nats, columns: u16, arguments: &[&str]) -> BoxFuture<'static, Answer> {
    let mut command = program(&nats.url());
    command.args(arguments).env("COLUMNS", columns.to_string());
    finish(command)
}

/// The same with something to read.
pub fn fed(
    nats: &Nats,
    input: impl Into<Vec<u8>>,
    arguments: &[&str],
) -> BoxFuture<'static, Answer> {
    let input = input.into();
    let mut command = program(&nats.url());
    command.args(arguments).stdin(Stdio::piped());
    async move {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feeding = tokio::spawn(async move { stdin.write_all(&input).await });
        let output = tokio::time::timeout(DEADLINE, child.wait_with_output()).await;
        let output = output.unwrap().unwrap();
        // One that has seen enough reads no more.
        let _ = feeding.await.unwrap();
        Answer {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
    .boxed()
}

/// The text with ids and times replaced by words, so that it is the same each time.
pub fn plain(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let id = rest.get(..36).filter(|it| uuid::Uuid::parse_str(it).is_ok());
        let is_time = |it: &&str| chrono::DateTime::parse_from_rfc3339(it).is_ok();
        let time = [24, 20].iter().find_map(|length| rest.get(..*length).filter(is_time));
        let (taken, word) = match (id, time) {
            (Some(id), _) => (id.len(), "<id>"),
            (_, Some(time)) => (time.len(), "<time>"),
            _ => {
                shown.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        shown.push_str(word);
        rest = &rest[taken..];
    }
    shown
}

/// The same without the padding of tables, and without what depends on how fast a machine is.
pub fn words(text: &str) -> String {
    let of_line = |line: &str| {
        let cells: Vec<_> = line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect();
        cells
            .iter()
            .map(|cell| if is_span(cell) { "<span>" } else { cell })
            .collect::<Vec<_>>()
            .join(" | ")
    };
    plain(text).lines().map(of_line).collect::<Vec<_>>().join("\n")
}

/// Whether it is a span of time, or one before or after now.
fn is_span(cell: &str) -> bool {
    let bare = cell.trim_start_matches("in ").trim_end_matches(" ago");
    bare.starts_with(|c: char| c.is_ascii_digit())
        && bare.ends_with(['s', 'm', 'h', 'd'])
        && bare.chars().all(|c| c.is_ascii_digit() || "msh.d".contains(c))
}

/// Writes a file into a test's folder; its path.
pub fn file(nats: &Nats, name: &str, text: &str) -> String {
    let path = nats.dir().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

/// Takes a folder out of messages.
pub fn without(text: &str, folder: &Path) -> String {
    text.replace(&format!("{}/", folder.display()), "")
}
