//! Texts that a command reads: from files, and from standard input.

use std::io::{self, Read as _};
use std::path::Path;

use super::failure::Failure;

/// Stands for standard input in the place of a file.
const STDIN: &str = "-";

/// Whether standard input is meant, and no file.
pub fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

/// What a file has, or standard input.
///
/// # Errors
/// `Usage`: it cannot be read, or is no text. It says which.
pub fn file_or_stdin(path: &Path) -> Result<String, Failure> {
    if is_stdin(path) { stdin() } else { file(path) }
}

/// What standard input has.
///
/// # Errors
/// As of [`file_or_stdin`].
pub fn stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().read_to_end(&mut bytes);
    text("standard input", read.map(|_| bytes))
}

/// What a file has.
///
/// # Errors
/// As of [`file_or_stdin`].
pub fn file(path: &Path) -> Result<String, Failure> {
    text(&path.display().to_string(), std::fs::read(path))
}

fn text(name: &str, read: io::Result<Vec<u8>>) -> Result<String, Failure> {
    let bytes = read.map_err(|error| Failure::usage(format!("{name}: {error}")))?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{name}: is not UTF-8")))
}
