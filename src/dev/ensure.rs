//! The NATS of `dev`: the server that already listens on the port, or one that is started with its data in a folder.
//!
//! Two `dev` in one folder would run two nats-servers on one store, which destroys it. So the first one locks the
//! folder, and the second is refused. The nats-server also locks its store ([`server`](super::server)): one that
//! outlives a killed `dev` keeps the store until it has ended.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::lock::{FileLock, Holder, LockError};
use super::options::store_lock_path;
use super::ports;
use super::server::{self, FindError, RunningServer, ServerInfo, ServerOptions, StartError};

/// Configuration of the server that `dev` starts.
const SERVER_CONFIG: &str = include_str!("../../nats-server.conf");
/// Maximum time for a server with a large store to start.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// Maximum time for a program that listens on the port to greet as a NATS server.
const GREETING_DEADLINE: Duration = Duration::from_secs(2);
/// Maximum time for the server of a killed `dev` to end; its guard tells it to at once.
const LEFTOVER_DEADLINE: Duration = Duration::from_secs(10);

/// A NATS server for `dev`.
#[derive(Debug)]
pub(super) struct DevServer {
    /// Its URL.
    pub(super) url: String,
    /// Its version.
    pub(super) version: String,
    /// The process, if this session started it.
    pub(super) started: Option<Started>,
}

/// A server started by this session, in a folder that nobody else uses meanwhile.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) process: RunningServer,
    /// Folder of its data.
    pub(super) data_dir: PathBuf,
    /// Lock of the folder; dropped after the process has ended.
    _folder: FileLock,
}

/// Why there is no server. Each message says how to proceed.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// None is installed, and none could be installed.
    #[error(transparent)]
    Find(#[from] FindError),
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Another `dev` uses the folder.
    #[error(
        "another `nats-scheduler dev` keeps its data in {path}: {holder}. Stop that one, or give this \
         one a folder of its own with --data-dir",
        path = path.display()
    )]
    FolderInUse {
        /// The folder.
        path: PathBuf,
        /// The process that uses it.
        holder: Holder,
    },
    /// The data folder cannot be used.
    #[error("{path}: {source}; --data-dir chooses another folder", path = path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A NATS server that listens on the port cannot be used.
    #[error(
        "the NATS server on {0} runs without JetStream: enable JetStream there, or choose another \
         port with --port"
    )]
    NoJetStream(SocketAddr),
    /// Something else listens on the port.
    #[error(
        "port {port} is taken by a program that is no NATS server: stop it, or choose another port \
         with --port",
        port = .0.port()
    )]
    ForeignProgram(SocketAddr),
    /// The port cannot be listened on.
    #[error("nats-server cannot listen on {0}: {1}; --port chooses another port")]
    Port(SocketAddr, io::Error),
}

/// Uses the NATS server that listens on `port` of this machine, or starts one with its data in `data_dir`. Port 0 means
/// any free one.
pub(super) async fn ensure_server(
    port: u16,
    data_dir: PathBuf,
    mut progress: impl FnMut(&str) + Send + 'static,
) -> Result<DevServer, EnsureError> {
    outwait_leftover(&data_dir, &mut progress).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    if port != 0
        && let Some(info) = greeting(address).await
    {
        if !info.jetstream {
            return Err(EnsureError::NoJetStream(address));
        }
        let url = format!("nats://{address}");
        return Ok(DevServer { url, version: info.version, started: None });
    }
    ports::check_free(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => EnsureError::ForeignProgram(address),
        _ => EnsureError::Port(address, error),
    })?;
    let folder = lock_folder(&data_dir).await?;
    let found = tokio::task::spawn_blocking(move || server::find(&mut progress)).await;
    let binary = match found {
        Ok(found) => found?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let config = data_dir.join("nats-server.conf");
    std::fs::write(&config, SERVER_CONFIG).map_err(at(&data_dir))?;
    let mut options = ServerOptions::new(&data_dir);
    options.config = Some(config);
    options.port = Some(port).filter(|port| *port != 0);
    options.start_deadline = START_DEADLINE;
    let process = RunningServer::start(&binary, options).await?;
    Ok(DevServer {
        url: process.url(),
        version: binary.version,
        started: Some(Started { process, data_dir, _folder: folder }),
    })
}

/// The greeting of the NATS server at `address`, if there is one.
async fn greeting(address: SocketAddr) -> Option<ServerInfo> {
    let host = address.ip().to_string();
    timeout(GREETING_DEADLINE, ServerInfo::ask(&host, address.port())).await.ok()?.ok()
}

fn folder_lock_path(data_dir: &Path) -> PathBuf {
    data_dir.join("dev.lock")
}

/// Locks the folder for this process.
async fn lock_folder(data_dir: &Path) -> Result<FileLock, EnsureError> {
    std::fs::create_dir_all(data_dir).map_err(at(data_dir))?;
    let path = data_dir.to_owned();
    let lock = FileLock::take(&folder_lock_path(data_dir)).await.map_err(|error| match error {
        LockError::Held(holder) => EnsureError::FolderInUse { path, holder },
        LockError::File(source) => EnsureError::Data { path, source },
    })?;
    lock.name_holder(std::process::id()).map_err(at(data_dir))?;
    Ok(lock)
}

/// Waits for the nats-server of a killed `dev`, which occupies its store and its port until it has ended. A server that
/// does not end is reported later as using the store, unless it is the one on our port.
async fn outwait_leftover(data_dir: &Path, progress: &mut impl FnMut(&str)) {
    let until = Instant::now() + LEFTOVER_DEADLINE;
    let mut is_said = false;
    while FileLock::holder(&folder_lock_path(data_dir)).is_none()
        && let Some(holder) = FileLock::holder(&store_lock_path(data_dir))
        && Instant::now() < until
    {
        if !is_said {
            let folder = data_dir.display();
            progress(&format!(
                "the nats-server of an earlier run still has {folder} ({holder}); waiting for its end ..."
            ));
            is_said = true;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn at(data_dir: &Path) -> impl FnOnce(io::Error) -> EnsureError {
    let path = data_dir.to_owned();
    |source| EnsureError::Data { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[tokio::test]
    async fn a_program_that_is_no_nats_server_is_named_as_that() {
        let folder = tempfile::tempdir().unwrap();
        // It accepts connections and says nothing.
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = foreign.local_addr().unwrap().port();
        let data_dir = folder.path().join("data");
        let error = ensure_server(port, data_dir.clone(), |_| {}).await.unwrap_err();
        assert!(matches!(error, EnsureError::ForeignProgram(_)), "{error}");
        assert!(error.to_string().contains("no NATS server"), "{error}");
        assert!(!data_dir.exists(), "nothing was begun");
    }
}
