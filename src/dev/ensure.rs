//! The NATS of `dev`: the one that listens on the port already, or one that is started with its data in a folder.
//!
//! Two `dev` in one folder would be two nats-servers on one store, which destroys it. So the first one locks the folder, and
//! the second is refused. The nats-server locks its store beside that ([`server`](super::server)): one that outlives a `dev`
//! that was killed keeps the store until it has ended.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::lock::{FileLock, Holder, LockError};
use super::options::store_lock;
use super::ports;
use super::server::{self, FindError, RunningServer, ServerInfo, ServerOptions, StartError};

/// The configuration that `dev` starts its server with.
const SERVER_CONFIG: &str = include_str!("../../nats-server.conf");
/// How long a server with a large store may take to start.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long whoever listens on the port may take to greet as a NATS server.
const GREETING_DEADLINE: Duration = Duration::from_secs(2);
/// How long the server of a `dev` that was killed is given to end: it is told to at once.
const LEFTOVER_DEADLINE: Duration = Duration::from_secs(10);

/// A NATS server for `dev`.
#[derive(Debug)]
pub(super) struct DevServer {
    /// Its URL.
    pub(super) url: String,
    /// Its version.
    pub(super) version: String,
    /// The process, if we started it.
    pub(super) started: Option<Started>,
}

/// A server that was started, in a folder that nobody else uses meanwhile.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) process: RunningServer,
    /// Where its data is.
    pub(super) data_dir: PathBuf,
    /// Dropped after the process has ended.
    _folder: FileLock,
}

/// Why there is no server. Each message says how to go on.
#[derive(Debug, thiserror::Error)]
pub enum EnsureError {
    /// None is installed and none could be.
    #[error(transparent)]
    Find(#[from] FindError),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Another `dev` has the folder.
    #[error(
        "another `nats-scheduler dev` keeps its data in {path}: {holder}. Stop that one, or give this \
         one a folder of its own with --data-dir",
        path = path.display()
    )]
    FolderInUse {
        /// The folder.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The data folder cannot be used.
    #[error("{path}: {source}; --data-dir chooses another folder", path = path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A NATS server listens on the port and cannot be used.
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
    /// Nobody could listen on the port.
    #[error("nats-server cannot listen on {0}: {1}; --port chooses another port")]
    Port(SocketAddr, io::Error),
}

/// Uses the NATS that listens on `port` of this machine, or starts one with its data in `data_dir`. Port 0 is any that
/// is free.
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

fn folder_lock(data_dir: &Path) -> PathBuf {
    data_dir.join("dev.lock")
}

/// Makes the folder this process's own.
async fn lock_folder(data_dir: &Path) -> Result<FileLock, EnsureError> {
    std::fs::create_dir_all(data_dir).map_err(at(data_dir))?;
    let path = data_dir.to_owned();
    let lock = FileLock::take(&folder_lock(data_dir)).await.map_err(|error| match error {
        LockError::Held(holder) => EnsureError::FolderInUse { path, holder },
        LockError::File(source) => EnsureError::Data { path, source },
    })?;
    lock.name_holder(std::process::id()).map_err(at(data_dir))?;
    Ok(lock)
}

/// Waits for the nats-server of a `dev` that was killed, which has its store and its port until it has ended. One that does
/// not end is found in use later, unless it is the one on our port.
async fn outwait_leftover(data_dir: &Path, progress: &mut impl FnMut(&str)) {
    let until = Instant::now() + LEFTOVER_DEADLINE;
    let mut is_said = false;
    while FileLock::holder(&folder_lock(data_dir)).is_none()
        && let Some(holder) = FileLock::holder(&store_lock(data_dir))
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
        // It accepts connections, and says nothing.
        let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = foreign.local_addr().unwrap().port();
        let data_dir = folder.path().join("data");
        let error = ensure_server(port, data_dir.clone(), |_| {}).await.unwrap_err();
        assert!(matches!(error, EnsureError::ForeignProgram(_)), "{error}");
        assert!(error.to_string().contains("no NATS server"), "{error}");
        assert!(!data_dir.exists(), "nothing was begun");
    }
}
