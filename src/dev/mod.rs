//! `nats-scheduler dev`: a nats-server and the service, to try things on one machine.

mod binary;
#[cfg(test)]
mod fakes;
mod find;
mod guard;
mod info;
mod install;
mod options;
mod ports;
mod said;
pub mod server;
mod wheels;

use std::path::PathBuf;
use std::time::Duration;

use server::{RunningServer, ServerInfo, ServerOptions};

/// The configuration that `dev` starts its server with.
const SERVER_CONFIG: &str = include_str!("../../nats-server.conf");
/// How long a server with a large store may take to start.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// Where NATS is and who started it.
pub struct DevServer {
    /// Its URL.
    pub url: String,
    /// Its version.
    pub version: String,
    /// The process, if we started it.
    pub process: Option<RunningServer>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// None is installed and none could be.
    #[error(transparent)]
    Find(#[from] server::FindError),
    /// It does not start.
    #[error(transparent)]
    Start(#[from] server::StartError),
    /// The data folder cannot be used.
    #[error("{path}: {source}", path = path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What listens on the port cannot be used.
    #[error(
        "the NATS server on port {0} runs without JetStream: stop it, enable JetStream, or choose another --port"
    )]
    NoJetStream(u16),
}

/// Uses the NATS that listens on `port` of this machine, or starts one with its data in `data_dir`.
///
/// # Errors
/// See [`DevError`].
pub async fn ensure_server(
    port: u16,
    data_dir: PathBuf,
    mut progress: impl FnMut(&str) + Send + 'static,
) -> Result<DevServer, DevError> {
    let host = "127.0.0.1";
    let asked = tokio::time::timeout(Duration::from_secs(2), ServerInfo::ask(host, port)).await;
    if let Ok(Ok(info)) = asked {
        if !info.jetstream {
            return Err(DevError::NoJetStream(port));
        }
        let url = format!("nats://{host}:{port}");
        return Ok(DevServer { url, version: info.version, process: None });
    }
    let found = tokio::task::spawn_blocking(move || server::find(&mut progress)).await;
    let binary = match found {
        Ok(found) => found?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let data = |source| DevError::Data { path: data_dir.clone(), source };
    std::fs::create_dir_all(&data_dir).map_err(data)?;
    let config = data_dir.join("nats-server.conf");
    std::fs::write(&config, SERVER_CONFIG).map_err(data)?;
    let mut options = ServerOptions::new(&data_dir);
    options.config = Some(config);
    options.port = Some(port);
    options.start_deadline = START_DEADLINE;
    let server = RunningServer::start(&binary, options).await?;
    Ok(DevServer { url: server.url(), version: binary.version, process: Some(server) })
}
