//! Tests of the deployment files: the image, the Kubernetes manifests, the systemd unit, the settings template.
//!
//! They need no Docker, cluster or systemd. Each file is parsed by a crate that knows its format, and compared with the
//! settings and commands of the program, and with the other files.

mod guide;
mod image;
mod kubernetes;
mod settings;
mod systemd;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nats_scheduler::config::setting::{Described, plain};
use nats_scheduler::config::{Config, settings};

/// Where the program is, in the image and under systemd.
const PROGRAM: &str = "/usr/local/bin/nats-scheduler";

/// How long an instance may take to leave once its grace is over.
const LEAVING: u64 = 10;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn setting(name: &str, place: &str) -> &'static dyn Described {
    let found = settings().find(|setting| setting.name() == name);
    found.unwrap_or_else(|| panic!("{place}: no setting {name}"))
}

fn default_of(name: &str) -> String {
    setting(name, "this test").default()
}

fn assert_is_setting(name: &str, place: &str) {
    let _ = setting(name, place);
}

/// Words that look like settings and are names of streams.
const STREAMS: [&str; 3] = ["SCHEDULER_AUDIT", "SCHEDULER_EXECUTIONS", "KV_"];

/// Words that look like settings are settings, in comments too.
fn assert_names_settings(path: &str) {
    let text = read(path);
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    for word in text.split(|c| !is_part(c)) {
        let is_name = word.contains('_') && !word.starts_with('_');
        if is_name && !STREAMS.contains(&word) {
            assert_is_setting(word, path);
        }
    }
}

/// The settings, as the program reads them. A file of tokens is not there when tests run, so a
/// token stands for it.
fn configured(variables: &BTreeMap<String, String>) -> Result<Config, Vec<String>> {
    let has_file = variables.contains_key("API_TOKENS_FILE");
    let lookup = |name: &str| match name {
        "API_TOKENS_FILE" => None,
        "API_TOKENS" if has_file => Some("0123456789abcdef0123456789abcdef".to_owned()),
        _ => variables.get(name).cloned(),
    };
    Config::from_lookup(lookup).map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

/// The arguments are a command of the program: its help says so.
fn assert_is_command(arguments: &[&str]) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nats-scheduler"));
    let output = command.args(arguments).arg("--help").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nats-scheduler {arguments:?}: {said}");
}
