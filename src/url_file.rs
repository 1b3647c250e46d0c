//! The file that says where HTTP listens, for whoever starts the service on a free port.
//!
//! It is there from when HTTP listens until the service ends, and never in part: it is written beside its place and then
//! moved there. A service that is killed leaves it behind, and the next one replaces it. Where several are given the
//! same file, it is that of the last one to start, and each removes it only if it is still its own. It goes before the
//! port does, so by then no other can listen at the same URL.

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::config::http::API_URL_FILE;

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {}: {error}", API_URL_FILE.name(), path.display())]
pub struct Unwritten {
    path: PathBuf,
    error: io::Error,
}

/// The file of a service that listens; removed when dropped.
pub(crate) struct UrlFile {
    path: PathBuf,
    line: String,
}

impl UrlFile {
    /// Writes a URL into the file at `path`.
    pub(crate) fn write(path: &Path, url: &str) -> Result<Self, Unwritten> {
        let (path, line) = (path.to_owned(), format!("{url}\n"));
        let mut beside = path.clone().into_os_string();
        beside.push(format!(".{}", std::process::id()));
        match fs::write(&beside, &line).and_then(|()| fs::rename(&beside, &path)) {
            Ok(()) => Ok(Self { path, line }),
            Err(error) => {
                // It may not even be there.
                let _ = fs::remove_file(&beside);
                Err(Unwritten { path, error })
            }
        }
    }
}

impl Drop for UrlFile {
    fn drop(&mut self) {
        if fs::read_to_string(&self.path).is_ok_and(|line| line == self.line) {
            // What is left is replaced by the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_removes_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        let read = || fs::read_to_string(&path).ok();
        let first = UrlFile::write(&path, "http://127.0.0.1:1").unwrap();
        assert_eq!(read().as_deref(), Some("http://127.0.0.1:1\n"));
        let second = UrlFile::write(&path, "http://127.0.0.1:2").unwrap();
        drop(first);
        assert_eq!(read().as_deref(), Some("http://127.0.0.1:2\n"), "it is another's by now");
        drop(second);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_left_of_what_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        fs::create_dir(&path).unwrap();
        assert!(UrlFile::write(&path, "http://127.0.0.1:1").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(UrlFile::write(&folder.path().join("not/there"), "http://127.0.0.1:1").is_err());
    }
}
