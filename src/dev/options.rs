//! Options for starting a nats-server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings of one nats-server process. Begin with [`ServerOptions::new`] and change fields.
///
/// Each is passed on the command line, which takes precedence over the configuration file; but see
/// [`config`](Self::config) for the store.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Configuration file for everything that is not set here. It must take JetStream's `store_dir` from the variable
    /// `$NATS_STORE_DIR`, as this project's `nats-server.conf` does: the server refuses to start when both its file and
    /// its command line name a store.
    pub config: Option<PathBuf>,
    /// Folder for JetStream's data; created if missing. A second server on it is refused.
    pub store_dir: PathBuf,
    /// The address to bind.
    pub host: String,
    /// The port for clients. `None` lets the system choose a free one.
    pub port: Option<u16>,
    /// The server's name; by default it generates one.
    pub name: Option<String>,
    /// File that its output is appended to; by default `nats-server.log` in `store_dir`.
    pub log_file: Option<PathBuf>,
    /// Further arguments, put last.
    pub extra_args: Vec<OsString>,
    /// Maximum time until it accepts connections. It recovers its streams before that, so a large store that was not
    /// closed properly needs more than the default of 10 seconds.
    pub start_deadline: Duration,
}

impl ServerOptions {
    /// Options of a server on a random port of the loopback interface.
    pub fn new(store_dir: impl Into<PathBuf>) -> Self {
        Self {
            config: None,
            store_dir: store_dir.into(),
            host: "127.0.0.1".to_owned(),
            port: None,
            name: None,
            log_file: None,
            extra_args: Vec::new(),
            start_deadline: Duration::from_secs(10),
        }
    }

    /// File that the server's output goes to.
    pub(super) fn log_path(&self) -> PathBuf {
        let default = || self.store_dir.join("nats-server.log");
        self.log_file.clone().unwrap_or_else(default)
    }

    /// File whose lock shows that a server uses the store.
    pub(super) fn lock_path(&self) -> PathBuf {
        store_lock_path(&self.store_dir)
    }

    /// Folder in which the server records the ports it got.
    pub(super) fn ports_dir(&self) -> PathBuf {
        self.store_dir.join("ports")
    }

    /// An address at which a server that binds `host` can be reached from this machine.
    pub(super) fn reachable_host(&self) -> &str {
        match self.host.as_str() {
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        }
    }

    /// Value of `NATS_STORE_DIR`. A configuration file substitutes the variable's text, so a path with blanks or
    /// backslashes has to be a quoted string.
    pub(super) fn store_variable(&self) -> String {
        let path = self.store_dir.to_string_lossy();
        format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\""))
    }

    /// The whole command line.
    pub(super) fn args(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        if let Some(config) = &self.config {
            args.extend(["-c".into(), config.into()]);
        }
        if let Some(name) = &self.name {
            args.extend(["-n".into(), name.into()]);
        }
        let port = self.port.map_or("-1".to_owned(), |port| port.to_string());
        args.extend(["-a".into(), self.host.clone().into()]);
        args.extend(["-p".into(), port.into()]);
        args.push("-js".into());
        if self.config.is_none() {
            args.extend(["--store_dir".into(), self.store_dir.clone().into()]);
        }
        args.extend(["--ports_file_dir".into(), self.ports_dir().into()]);
        args.extend(self.extra_args.iter().cloned());
        args
    }
}

/// File whose lock shows that a server uses the store in this folder.
pub(super) fn store_lock_path(store_dir: &Path) -> PathBuf {
    store_dir.join("nats-server.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_reaches_the_command_line() {
        let options = ServerOptions {
            port: Some(4333),
            name: Some("one".to_owned()),
            extra_args: vec!["-D".into()],
            ..ServerOptions::new("/store")
        };
        let expected = "-n one -a 127.0.0.1 -p 4333 -js --store_dir /store \
                        --ports_file_dir /store/ports -D";
        assert_eq!(options.args().join(" ".as_ref()), expected);
    }

    #[test]
    fn with_a_configuration_file_the_store_is_left_to_the_variable() {
        let options = ServerOptions {
            config: Some("nats-server.conf".into()),
            ..ServerOptions::new("/my \"store\"")
        };
        let args = options.args();
        assert_eq!(args[..2], ["-c", "nats-server.conf"]);
        assert!(!args.contains(&"--store_dir".into()), "{args:?}");
        assert_eq!(options.store_variable(), r#""/my \"store\"""#);
    }

    #[test]
    fn without_a_port_the_system_is_asked_for_one() {
        let args = ServerOptions::new("/store").args();
        assert!(args.windows(2).any(|pair| pair == ["-p", "-1"]), "{args:?}");
    }
}
