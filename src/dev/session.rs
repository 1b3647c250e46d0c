//! One session at a terminal: NATS, the service on it, and the messages for the user.

use std::path::PathBuf;
use std::process::ExitStatus;

use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::ensure::{DevServer, EnsureError, ensure_server};
use crate::config::Config;
use crate::config::nats::NatsConfig;
use crate::service::{self, Running, ServeError};

/// Options of `dev` beside the settings.
#[derive(Clone, Debug)]
pub struct DevOptions {
    /// Port of NATS on this machine; 0 for any free one.
    pub port: u16,
    /// Data folder of a server that is started.
    pub data_dir: PathBuf,
}

/// Why a session ended although nobody ended it.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// There is no NATS.
    #[error(transparent)]
    Ensure(#[from] EnsureError),
    /// The address of NATS cannot be parsed.
    #[error("the address of NATS cannot be used: {0}")]
    Address(std::io::Error),
    /// The service did not start, or failed.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The service panicked.
    #[error("the service panicked: {0}")]
    Panicked(#[from] JoinError),
    /// The server that was started has ended.
    #[error("nats-server ended by itself ({status}); its log is {log}", log = log.display())]
    ServerEnded {
        /// Its exit status.
        status: ExitStatus,
        /// The log, which may say why.
        log: PathBuf,
    },
}

/// Runs NATS and the service until `stop`, then ends both, and informs the terminal (standard error). Dropping the
/// future immediately ends a server that it started.
///
/// # Errors
/// See [`DevError`].
pub fn run(
    config: Config,
    options: DevOptions,
    stop: CancellationToken,
) -> BoxFuture<'static, Result<(), DevError>> {
    // Boxed, so that it is compiled in this crate.
    Box::pin(run_both(config, options, stop))
}

async fn run_both(
    mut config: Config,
    options: DevOptions,
    stop: CancellationToken,
) -> Result<(), DevError> {
    let ensuring = ensure_server(options.port, options.data_dir, |line| eprintln!("{line}"));
    let mut server = tokio::select! {
        server = ensuring => server?,
        () = stop.cancelled() => {
            eprintln!("stopped before it was ready");
            return Ok(());
        }
    };
    let address = server.url.parse().map_err(DevError::Address)?;
    if server.started.is_some() {
        // This server knows no users and uses no TLS, whatever the settings say of another.
        config.nats = NatsConfig::default();
    }
    config.nats.servers = vec![address];
    config.note_nats(server.started.is_some());
    let done = serve_on(&mut server, config, stop).await;
    if let Some(started) = &mut server.started {
        started.process.stop().await;
    }
    if done.is_ok() {
        eprintln!("stopped");
    }
    done
}

async fn serve_on(
    server: &mut DevServer,
    config: Config,
    stop: CancellationToken,
) -> Result<(), DevError> {
    let grace = config.engine.drain;
    let (running, mut is_running) = watch::channel(None);
    let mut serving = tokio::spawn(service::serve(config, true, running, stop.clone()));
    let mut is_ready = false;
    loop {
        tokio::select! {
            // A service that ends before it runs drops its end of the channel: that does not count as ready.
            Ok(_) = is_running.wait_for(Option::is_some), if !is_ready => is_ready = true,
            () = stop.cancelled() => break,
            done = &mut serving => return done?.map_err(Into::into),
            // Without its store the service cannot finish anything.
            error = ended_by_itself(server) => return Err(error),
        }
        if let Some(running) = &*is_running.borrow() {
            eprint!("{}", banner(server, running.http.as_deref()));
        }
    }
    let executions = is_running.borrow().as_ref().map_or(0, Running::executions);
    let then = if server.started.is_some() { ", then for nats-server" } else { "" };
    eprintln!(
        "stopping: waiting up to {} s for executions under way ({executions}) and for requests{then}. \
         Ctrl-C again ends everything at once.",
        grace.as_secs()
    );
    serving.await?.map_err(Into::into)
}

/// Waits until a server that was started ends, which it should not.
async fn ended_by_itself(server: &mut DevServer) -> DevError {
    let Some(started) = &mut server.started else {
        return std::future::pending().await;
    };
    match started.process.exited().await {
        Ok(status) => DevError::ServerEnded { status, log: started.process.log_file().to_owned() },
        Err(_) => std::future::pending().await,
    }
}

fn banner(server: &DevServer, http: Option<&str>) -> String {
    let (url, nats_version) = (&server.url, &server.version);
    let version = env!("CARGO_PKG_VERSION");
    let nats = match &server.started {
        Some(started) => {
            let folder = started.data_dir.display();
            format!("{url} (nats-server {nats_version}, data in {folder})")
        }
        None => format!("{url} (nats-server {nats_version}, which was already running)"),
    };
    let http =
        http.map_or_else(String::new, |http| format!("  HTTP  {http}, described at {http}/docs\n"));
    let nats_cli =
        if url.ends_with(":4222") { "nats".to_owned() } else { format!("nats -s {url}") };
    format!(
        r#"
nats-scheduler {version} is ready
  NATS  {nats}
{http}
Try, with the `nats` CLI:
  {nats_cli} sub 'cmd.example.>'
  {nats_cli} req --raw cmd.scheduler.schedule.create '{{"name":"hello","schedule_type":"interval","interval_seconds":5,"target_command":"cmd.example.hello","command_payload":{{"text":"hi"}}}}'
  {nats_cli} req --raw cmd.scheduler.execution.list '{{"limit":5}}'

Ctrl-C stops.
"#
    )
}
