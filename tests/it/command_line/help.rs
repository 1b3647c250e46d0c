//! What `--help` says, held to files.
//!
//! `HELP_WRITE=1 cargo test --test it command_line::help` writes them again: look at what has changed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::{finish, program};

/// Columns of a usual terminal, and of a narrow one.
const WIDTHS: [&str; 2] = ["100", "50"];
/// Set to write the files.
const WRITE: &str = "HELP_WRITE";

fn folder() -> PathBuf {
    crate::house::structure::root().join("tests/it/command_line/help")
}

async fn help(path: &[String], columns: &str) -> String {
    let mut command = program("nats://127.0.0.1:1");
    command.args(path).arg("--help").env("COLUMNS", columns);
    finish(command).await.done()
}

/// The commands that a help lists, also those that it does not show to people.
fn listed(help: &str) -> Vec<String> {
    let Some(commands) = help.split("\nCommands:\n").nth(1) else { return Vec::new() };
    let commands = commands.split("\n\n").next().unwrap_or_default();
    let is_name = |line: &&str| line.starts_with("  ") && !line.starts_with("   ");
    let names = commands.lines().filter(is_name);
    names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
}

/// The program and all its commands, by their words.
async fn commands() -> Vec<Vec<String>> {
    let mut found = vec![Vec::new()];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        next += 1;
        let more = listed(&help(&path, WIDTHS[0]).await);
        let more = more.into_iter().filter(|name| name != "help");
        found.extend(more.map(|name| [&path[..], &[name]].concat()));
    }
    found.extend(["man", "reference"].map(|hidden| vec![hidden.to_owned()]));
    found
}

#[tokio::test]
async fn the_help_of_each_command_is_what_was_looked_at() {
    let is_written = std::env::var_os(WRITE).is_some();
    let mut files = BTreeSet::new();
    let mut changed = Vec::new();
    for path in commands().await {
        let name = [&["nats-scheduler".to_owned()], &path[..]].concat().join("-") + ".txt";
        let mut text = String::new();
        for columns in WIDTHS {
            let help = help(&path, columns).await;
            let widest = help.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            // Examples are not broken, so that they can be copied.
            let is_broken = widest <= columns.parse().unwrap() || help.contains("Examples:");
            assert!(is_broken || path.is_empty() || path == ["serve"] || path == ["dev"], "{help}");
            text += &format!("== {columns} columns\n{help}");
        }
        let file = folder().join(&name);
        if is_written {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&file, &text).unwrap();
        } else if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            changed.push(name.clone());
        }
        files.insert(name);
    }
    assert!(files.len() > 35, "{files:?}");
    let kept = std::fs::read_dir(folder()).unwrap();
    let kept = kept.map(|file| file.unwrap().file_name().into_string().unwrap());
    let gone: Vec<_> = kept.filter(|name| !files.contains(name)).collect();
    assert!(
        changed.is_empty() && gone.is_empty(),
        "the help is another than in {}: {changed:?}, no command: {gone:?}. Look at it, and write it with {WRITE}=1",
        folder().display()
    );
}
