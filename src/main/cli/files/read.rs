//! Reads schedules from files and folders: YAML, JSON, and JSON lines.

use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use crate::cli::failure::Failure;
use crate::cli::input;
use crate::cli::node::{Node, read_yaml};

const YAML: [&str; 2] = ["yaml", "yml"];
const JSON: [&str; 3] = ["json", "jsonl", "ndjson"];

/// A schedule as it was written, and where.
pub struct Written {
    pub node: Node,
    /// File and line, or the number of the value.
    pub place: String,
}

/// The schedules of files, of all files of folders, and of standard input.
///
/// # Errors
/// `Usage`: something cannot be read. It says where.
pub fn read_all(paths: &[PathBuf]) -> Result<Vec<Written>, Failure> {
    let mut found = Vec::new();
    for path in paths {
        if input::is_stdin(path) {
            let text = input::stdin()?;
            let is_json = text.trim_start().starts_with(['{', '[']);
            read_text(&text, is_json, "standard input", &mut found)?;
        } else if path.is_dir() {
            for file in files(path)? {
                read_file(&file, &mut found)?;
            }
        } else {
            read_file(path, &mut found)?;
        }
    }
    Ok(found)
}

/// The files of a folder and of those in it, by name; not what is hidden or has another ending.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let fault = |error: std::io::Error| Failure::usage(format!("{}: {error}", folder.display()));
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(fault)? {
        paths.push(entry.map_err(fault)?.path());
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        let is_hidden =
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if is_hidden {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if has_ending(&path, &YAML) || has_ending(&path, &JSON) {
            found.push(path);
        }
    }
    Ok(found)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|ending| endings.iter().any(|it| ending.eq_ignore_ascii_case(it)))
}

fn read_file(path: &Path, found: &mut Vec<Written>) -> Result<(), Failure> {
    let name = path.display().to_string();
    let text = input::file(path)?;
    read_text(&text, has_ending(path, &JSON), &name, found)
}

fn read_text(
    text: &str,
    is_json: bool,
    name: &str,
    found: &mut Vec<Written>,
) -> Result<(), Failure> {
    let fault = |fault: String| Failure::usage(format!("{name}: {fault}"));
    if is_json {
        let values = read_json(text).map_err(|error| fault(error.to_string()))?;
        let placed = values.into_iter().enumerate();
        found.extend(placed.map(|(n, node)| Written { node, place: format!("{name}#{}", n + 1) }));
        return Ok(());
    }
    let placed = read_yaml(text).map_err(fault)?.into_iter();
    let filled = placed.filter(|(_, node)| *node != Node::Null);
    found.extend(filled.map(|(line, node)| Written { node, place: format!("{name}:{line}") }));
    Ok(())
}

/// The values of a JSON text, one after the other; of a list its items.
fn read_json(text: &str) -> Result<Vec<Node>, serde_json::Error> {
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Box<RawValue>>() {
        match Node::of_json(value?.get())? {
            Node::List(items) => found.extend(items),
            other => found.push(other),
        }
    }
    Ok(found)
}
