//! Output of another program before it failed, shortened to fit an error message.

use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The end of a program's output, and the log that has the rest.
#[derive(Debug)]
pub struct Said {
    words: String,
    log: PathBuf,
}

impl Said {
    /// The end of `log`, looking only at what was written from position `start` on.
    pub(super) fn in_log(log: &Path, start: u64) -> Self {
        let mut text = Vec::new();
        let read = File::open(log).and_then(|mut file| {
            file.seek(SeekFrom::Start(start))?;
            file.read_to_end(&mut text)
        });
        let words = match read {
            Ok(1..) => last_lines(&String::from_utf8_lossy(&text), 3),
            _ => "it said nothing".to_owned(),
        };
        let log = log.to_owned();
        Self { words, log }
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (see {})", self.words, self.log.display())
    }
}

/// The last `count` non-empty lines of `text`, on one line: where programs put the reason.
pub(super) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_taken_from_the_last_lines() {
        assert_eq!(last_lines("a\n\n b \nc\n\n", 2), "b | c");
        assert_eq!(last_lines("a", 3), "a");
        assert_eq!(last_lines("", 3), "");
    }

    #[test]
    fn what_an_earlier_run_logged_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        std::fs::write(&log, "old\nnew\n").unwrap();
        let said = Said::in_log(&log, 4).to_string();
        assert_eq!(said, format!("new (see {})", log.display()));
        let said = Said::in_log(&log, 8).to_string();
        assert!(said.starts_with("it said nothing"), "{said}");
    }
}
