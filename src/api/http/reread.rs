//! Files that are read again while the service runs: tokens and certificates.
//!
//! Their content is checked once a second, and immediately on SIGHUP. The content is compared, rather than a timestamp
//! or an event: Kubernetes swaps a link to a folder of secrets, and a restored file may be older than its predecessor.
//! A change takes effect once it has been seen twice, since a check may hit a file that is still being written. A file
//! that cannot be read or used changes nothing: the previous content stays in force, and the log and `status` say so
//! until the file is mended.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::config::content::{Digest, digest};
use crate::health::Health;

/// Interval between checks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Digest of the files' content, or why they cannot be read.
type Seen = Result<Digest, String>;
/// Applies new content; returns a description of it, or what is wrong with it.
type Take = Box<dyn Fn(&[Vec<u8>]) -> Result<String, String> + Send + Sync>;

/// Files that make up one setting.
pub(super) struct Source {
    setting: &'static str,
    paths: Vec<PathBuf>,
    take: Take,
    changes: Changes,
}

impl Source {
    /// Watches files whose content was `read` before; any other content goes to `take`.
    pub(super) fn new(
        setting: &'static str,
        paths: Vec<PathBuf>,
        read: Digest,
        take: impl Fn(&[Vec<u8>]) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        Self { setting, paths, take: Box::new(take), changes: Changes::new(read) }
    }

    /// Checks once; `at_once` takes any content without seeing it twice.
    async fn look(&mut self, at_once: bool, health: &Health) {
        let contents = self.read().await;
        let seen = contents.as_ref().map(|contents| digest(contents)).map_err(Clone::clone);
        if !self.changes.take(seen, at_once) {
            return;
        }
        let setting = self.setting;
        match contents.and_then(|contents| (self.take)(&contents)) {
            Ok(what) => {
                info!(setting, "read again: {what}");
                health.note_mended(setting);
            }
            Err(reason) => {
                warn!(setting, "cannot be used, and the previous content stays in force: {reason}");
                health.note_broken(
                    setting,
                    format!("{setting}: {reason}; the previous content stays in force"),
                );
            }
        }
    }

    async fn read(&self) -> Result<Vec<Vec<u8>>, String> {
        let mut contents = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            let content = tokio::fs::read(path).await;
            contents.push(content.map_err(|error| format!("{}: {error}", path.display()))?);
        }
        Ok(contents)
    }
}

/// Consecutive observations of files.
#[derive(Debug)]
struct Changes {
    /// The content taken last.
    taken: Seen,
    before: Option<Seen>,
}

impl Changes {
    fn new(taken: Digest) -> Self {
        Self { taken: Ok(taken), before: None }
    }

    /// Whether the content seen now is to be taken.
    fn take(&mut self, seen: Seen, at_once: bool) -> bool {
        let is_seen_twice = self.before.as_ref() == Some(&seen);
        let is_new = at_once || (seen != self.taken && is_seen_twice);
        if is_new {
            self.taken.clone_from(&seen);
        }
        self.before = Some(seen);
        is_new
    }
}

/// Looks at files until `stop`.
pub(super) async fn follow(
    mut sources: Vec<Source>,
    health: Arc<Health>,
    mut hangups: Hangups,
    stop: CancellationToken,
) {
    loop {
        let at_once = tokio::select! {
            () = stop.cancelled() => return,
            () = hangups.next() => true,
            () = tokio::time::sleep(INTERVAL), if !sources.is_empty() => false,
        };
        if at_once && sources.is_empty() {
            info!("SIGHUP: there are no files of tokens or certificates to read again");
        }
        for source in &mut sources {
            source.look(at_once, &health).await;
        }
    }
}

/// Stream of SIGHUPs, if they can be received. From then on they do not end the process.
pub(super) struct Hangups(#[cfg(unix)] Option<tokio::signal::unix::Signal>);

impl Hangups {
    #[cfg(unix)]
    pub(super) fn new(listens: bool) -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        Self(listens.then(|| signal(SignalKind::hangup()).ok()).flatten())
    }

    #[cfg(unix)]
    async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(signal) => signal.recv().await,
            None => None,
        };
        // Without a signal handler there is nothing to wait for.
        if heard.is_none() {
            std::future::pending().await
        }
    }

    #[cfg(not(unix))]
    pub(super) fn new(_listens: bool) -> Self {
        Self()
    }

    #[cfg(not(unix))]
    async fn next(&mut self) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_taken_once_it_has_been_seen_twice() {
        let (one, two) = (|| Ok([1; 32]), || Ok([2; 32]));
        let gone = || Err("gone".to_owned());
        let mut changes = Changes::new([1; 32]);
        let mut take = |seen: Seen, expected: bool| {
            assert_eq!(changes.take(seen.clone(), false), expected, "{seen:?}");
        };
        take(one(), false);
        take(one(), false);
        take(two(), false);
        take(one(), false);
        take(one(), false);
        take(two(), false);
        take(gone(), false);
        take(two(), false);
        take(two(), true);
        take(gone(), false);
        take(gone(), true);
        take(gone(), false);
        take(two(), false);
        take(two(), true);
        assert!(changes.take(two(), true), "SIGHUP");
        assert!(changes.take(one(), true), "SIGHUP");
        assert!(!changes.take(one(), false));
    }
}
