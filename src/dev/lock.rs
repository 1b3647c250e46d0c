//! A lock that gives a folder one owner across processes.
//!
//! The lock is the kernel's, on a file in the folder: it ends with the processes that hold it, however they end, so
//! nothing has to be cleaned up. For people, the file names the owner.
//!
//! A child whose standard input is the file holds the lock as well. So a nats-server that outlives the `dev` that
//! started it keeps others out of its store, and a pip that outlives its caller keeps others out of the cache folder.
//! On Windows only the caller holds the lock.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::time::sleep;

/// How long to retry a lock that is held. A child holds copies of all files from its fork to its exec, and
/// [`FileLock::holder`] holds the lock for a moment.
const PATIENCE: Duration = Duration::from_millis(500);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(20);

/// A lock held by this process until the value is dropped, and by children that it was shared with until they end.
#[derive(Debug)]
pub(super) struct FileLock(File);

/// Why the lock could not be taken.
#[derive(Debug, Error)]
pub(super) enum LockError {
    /// Another process holds it.
    #[error("in use by {0}")]
    Held(Holder),
    /// The file cannot be opened, locked or written.
    #[error(transparent)]
    File(#[from] io::Error),
}

/// The holder of a lock: a process, if the file names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(Option<u32>);

impl Holder {
    fn named_in(mut file: &File) -> Self {
        let mut text = String::new();
        // Where locks are mandatory, the file cannot be read.
        let read = file.read_to_string(&mut text);
        Self(read.ok().and_then(|_| text.trim().parse().ok()))
    }

    /// The process number, if it is known.
    pub fn pid(self) -> Option<u32> {
        self.0
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "process {pid}"),
            None => f.write_str("another process"),
        }
    }
}

impl FileLock {
    /// Takes the lock of the file at `path`, which is created if missing.
    pub(super) fn try_take(path: &Path) -> Result<Self, LockError> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held(Holder::named_in(&file)));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        // Until then the file names the previous holder.
        file.set_len(0)?;
        Ok(Self(file))
    }

    /// Takes the lock, with retries for the moments in which it can be held without an owner.
    pub(super) async fn take(path: &Path) -> Result<Self, LockError> {
        let until = Instant::now() + PATIENCE;
        loop {
            match Self::try_take(path) {
                Err(LockError::Held(_)) if Instant::now() < until => sleep(RETRY).await,
                taken => return taken,
            }
        }
    }

    /// Takes the lock once its holder releases it; blocks for as long as that takes.
    pub(super) fn wait_for(path: &Path) -> io::Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.lock()?;
        file.set_len(0)?;
        Ok(Self(file))
    }

    /// The holder of the lock of `path`, if it is held.
    pub(super) fn holder(path: &Path) -> Option<Holder> {
        let file = File::open(path).ok()?;
        matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
            .then(|| Holder::named_in(&file))
    }

    /// Writes down which process holds it.
    pub(super) fn name_holder(&self, pid: u32) -> io::Result<()> {
        (&self.0).write_all(format!("{pid}\n").as_bytes())
    }

    /// Standard input for a child that is to hold the lock too.
    pub(super) fn share(&self) -> io::Result<Stdio> {
        self.0.try_clone().map(Stdio::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_comes_second_is_told_who_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        assert_eq!(FileLock::holder(&path), None);
        let lock = FileLock::take(&path).await.unwrap();
        lock.name_holder(4711).unwrap();
        assert_eq!(FileLock::holder(&path), Some(Holder(Some(4711))));
        let error = FileLock::take(&path).await.unwrap_err();
        assert_eq!(error.to_string(), "in use by process 4711");
        drop(lock);
        let lock = FileLock::take(&path).await.unwrap();
        // A process that no longer holds it is not named.
        assert_eq!(FileLock::holder(&path), Some(Holder(None)));
        drop(lock);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_child_that_was_given_it_holds_it_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let lock = FileLock::take(&path).await.unwrap();
        let mut sleep = std::process::Command::new("sleep");
        let mut child = sleep.arg("60").stdin(lock.share().unwrap()).spawn().unwrap();
        lock.name_holder(child.id()).unwrap();
        drop((lock, sleep));
        let error = FileLock::take(&path).await.unwrap_err();
        assert!(matches!(error, LockError::Held(holder) if holder.pid() == Some(child.id())));
        child.kill().unwrap();
        child.wait().unwrap();
        FileLock::take(&path).await.unwrap();
    }
}
