//! Contexts of the `nats` CLI: files that say how to reach a NATS.
//!
//! They are used only if somebody asks for one, so that a context which was selected for something else changes nothing.

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use nats_scheduler::config::nats::{
    NATS_CREDS, NATS_INBOX_PREFIX, NATS_NKEY_SEED, NATS_PASSWORD, NATS_TLS_CA, NATS_TLS_CERT,
    NATS_TLS_FIRST, NATS_TLS_KEY, NATS_TOKEN, NATS_URL, NATS_USER,
};
use serde_json::{Map, Value};

use super::failure::Failure;

/// Stands for the context that `nats context select` chose.
const SELECTED: &str = "-";
/// Fields of a context that this program cannot follow, and would connect differently without.
const UNKNOWN: [&str; 3] = ["nsc", "user_jwt", "socks_proxy"];

/// The settings that a context stands for, by their names.
///
/// # Errors
/// `Usage`: there is no such context, it cannot be read, or it asks for what this program cannot do.
pub fn settings(name: &str) -> Result<HashMap<&'static str, String>, Failure> {
    let folder = folder()?;
    let name = if name == SELECTED { selected(&folder)? } else { name.to_owned() };
    if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
        return Err(Failure::usage(format!("{name:?} is not the name of a context")));
    }
    let path = folder.join("context").join(format!("{name}.json"));
    let fields: Map<String, Value> = serde_json::from_str(&read(&path)?)
        .map_err(|error| Failure::usage(format!("context {}: {error}", path.display())))?;
    let text = |field: &str| fields.get(field).and_then(Value::as_str).filter(|it| !it.is_empty());
    if let Some(field) = UNKNOWN.into_iter().find(|field| text(field).is_some()) {
        let fault = format!("context {name} has {field:?}, which this program cannot use");
        return Err(Failure::usage(fault).hint("use --server and the settings of `serve --help`"));
    }
    let mut found = HashMap::new();
    for (field, setting) in [
        ("url", NATS_URL.name()),
        ("user", NATS_USER.name()),
        ("password", NATS_PASSWORD.name()),
        ("token", NATS_TOKEN.name()),
        ("inbox_prefix", NATS_INBOX_PREFIX.name()),
    ] {
        found.extend(text(field).map(|value| (setting, value.to_owned())));
    }
    for (field, setting) in [
        ("creds", NATS_CREDS.name()),
        ("ca", NATS_TLS_CA.name()),
        ("cert", NATS_TLS_CERT.name()),
        ("key", NATS_TLS_KEY.name()),
    ] {
        found.extend(text(field).map(|path| (setting, expanded(path).display().to_string())));
    }
    if let Some(path) = text("nkey") {
        found.insert(NATS_NKEY_SEED.name(), read(&expanded(path))?.trim().to_owned());
    }
    if fields.get("tls_first").and_then(Value::as_bool) == Some(true) {
        found.insert(NATS_TLS_FIRST.name(), "true".to_owned());
    }
    Ok(found)
}

/// Completion of the names of contexts.
pub fn completer() -> ArgValueCompleter {
    ArgValueCompleter::new(|begun: &OsStr| {
        let files = folder().ok().and_then(|folder| std::fs::read_dir(folder.join("context")).ok());
        let names = files.into_iter().flatten().filter_map(|file| {
            Some(file.ok()?.file_name().to_str()?.strip_suffix(".json")?.to_owned())
        });
        let begun = begun.to_string_lossy();
        names.filter(|name| name.starts_with(&*begun)).map(CompletionCandidate::new).collect()
    })
}

/// Where the `nats` CLI keeps its files.
fn folder() -> Result<PathBuf, Failure> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(home()?.join(".config")));
    let config = config.ok_or_else(|| {
        Failure::usage("there is no folder of contexts: neither XDG_CONFIG_HOME nor HOME is set")
    })?;
    Ok(config.join("nats"))
}

fn home() -> Option<PathBuf> {
    env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

fn selected(folder: &Path) -> Result<String, Failure> {
    let name = read(&folder.join("context.txt"))
        .map_err(|failure| failure.hint("`nats context select` chooses one"))?;
    Ok(name.trim().to_owned())
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

/// A path as the `nats` CLI reads it.
fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), home()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}
