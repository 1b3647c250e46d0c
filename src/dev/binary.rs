//! A nats-server executable: whether it exists, runs, and is new enough.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use thiserror::Error;

/// Oldest nats-server that this crate works with, as (major, minor, patch).
///
/// Pre-releases of a version count as that version.
pub const MINIMUM_VERSION: (u32, u32, u32) = (2, 14, 0);

/// Version of nats-server that is installed when none is found.
pub const PINNED_VERSION: &str = "2.15.1";

/// A nats-server executable that ran and reported a version no older than [`MINIMUM_VERSION`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerBinary {
    /// Path of the executable.
    pub path: PathBuf,
    /// Its version without the leading `v`, such as `2.15.1`.
    pub version: String,
}

/// Why an executable cannot be used.
#[derive(Debug, Error)]
pub enum BinaryError {
    /// It could not be started.
    #[error("{path} could not be run: {1}", path = .0.display())]
    Run(PathBuf, io::Error),
    /// It ran, but did not print a nats-server version.
    #[error("{path} is no nats-server: `--version` printed {1:?}", path = .0.display())]
    NotNats(PathBuf, String),
    /// Its version is older than [`MINIMUM_VERSION`].
    #[error("{path} is nats-server {1}, and 2.14 or newer is needed", path = .0.display())]
    TooOld(PathBuf, String),
}

impl ServerBinary {
    /// Runs `path --version` and checks the answer.
    pub(super) fn check(path: &Path) -> Result<Self, BinaryError> {
        let printed = run_version(path).map_err(|error| BinaryError::Run(path.into(), error))?;
        let Some((version, numbers)) = parse_version(&printed) else {
            let start = printed.chars().take(100).collect();
            return Err(BinaryError::NotNats(path.into(), start));
        };
        if numbers < MINIMUM_VERSION {
            return Err(BinaryError::TooOld(path.into(), version.to_owned()));
        }
        Ok(Self { path: path.to_owned(), version: version.to_owned() })
    }
}

/// Output of `path --version`.
///
/// An executable that was just written can be "busy": another thread of this process that is starting a child holds a
/// copy of the file open for writing until that child's `exec`. That passes within milliseconds, so this waits.
fn run_version(path: &Path) -> io::Result<String> {
    let mut tries = 0;
    loop {
        let run = Command::new(path).arg("--version").stdin(Stdio::null()).output();
        match run {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && tries < 100 => {
                tries += 1;
                thread::sleep(Duration::from_millis(10));
            }
            Err(error) => return Err(error),
            Ok(output) => return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        }
    }
}

/// Parses `nats-server: v2.15.1` into the version's text and its three numbers, for comparison.
fn parse_version(printed: &str) -> Option<(&str, (u32, u32, u32))> {
    let version = printed.strip_prefix("nats-server: v")?;
    let release = version.split(['-', '+']).next()?;
    let mut numbers = release.split('.').map(str::parse::<u32>);
    let mut next = || numbers.next()?.ok();
    let parsed = (next()?, next()?, next()?);
    numbers.next().is_none().then_some((version, parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_the_server_prints() {
        let table = [
            ("nats-server: v2.15.1", Some(("2.15.1", (2, 15, 1)))),
            ("nats-server: v2.9.25", Some(("2.9.25", (2, 9, 25)))),
            ("nats-server: v3.0.0", Some(("3.0.0", (3, 0, 0)))),
            ("nats-server: v2.14.0-RC.2", Some(("2.14.0-RC.2", (2, 14, 0)))),
            ("nats-server: v2.15.0+dirty", Some(("2.15.0+dirty", (2, 15, 0)))),
            ("nats-server: v2.15", None),
            ("nats-server: v2.15.1.7", None),
            ("nats-server: v2.x.1", None),
            ("nats-server: 2.15.1", None),
            ("v2.15.1", None),
            ("", None),
        ];
        for (printed, expected) in table {
            assert_eq!(parse_version(printed), expected, "{printed:?}");
        }
    }

    #[test]
    fn the_pinned_version_is_new_enough() {
        let printed = format!("nats-server: v{PINNED_VERSION}");
        let (_, numbers) = parse_version(&printed).expect("the pinned version parses");
        assert!(numbers >= MINIMUM_VERSION);
    }

    #[test]
    fn a_path_that_leads_nowhere_is_said_to_be_unrunnable() {
        let error = ServerBinary::check(Path::new("/no/such/nats-server")).unwrap_err();
        assert!(matches!(error, BinaryError::Run(..)), "{error}");
    }
}
