//! A nats-server as a child process, for the `dev` command and for tests.
//!
//! A [`RunningServer`] accepts connections from the moment its value exists, and its process is gone when the value is:
//! stopped, killed or dropped. Three things ensure that:
//! - **Ready** means that the server wrote its ports file, which names the port it *got*, and that a NATS server with
//!   JetStream greets on that port. So a port that is taken cannot be mistaken for ours: the server exits, and that is
//!   noticed.
//! - The server has a process group of its own. Ctrl-C in a terminal goes to the whole foreground group, and would
//!   otherwise end the server while the service is still settling its last executions.
//! - A guard, a small process beside it, stops the server when this process is killed.
//!
//! Two servers on one store would destroy it, so the server holds a lock on its store for as long as its process lives,
//! even if it outlives this one: the file is its standard input.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

pub use super::binary::{BinaryError, MINIMUM_VERSION, PINNED_VERSION, ServerBinary};
pub use super::find::{FindError, find};
use super::guard::Guard;
pub use super::info::ServerInfo;
pub use super::install::InstallError;
pub use super::lock::Holder;
use super::lock::{FileLock, LockError};
pub use super::options::ServerOptions;
use super::ports;
pub use super::said::Said;

/// Maximum time for a server to stop on request before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// Interval between checks whether the server is ready; a start takes some tens of milliseconds.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Why a nats-server did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store, the ports file or the log cannot be used.
    #[error("{path}: {1}", path = .0.display())]
    File(PathBuf, io::Error),
    /// Another server uses the store.
    #[error(
        "the data in {path} is in use by a nats-server, {1}: stop it, or take another folder",
        path = .0.display()
    )]
    StoreInUse(PathBuf, Holder),
    /// The executable could not be run.
    #[error("{path} could not be started: {1}", path = .0.display())]
    Spawn(PathBuf, io::Error),
    /// It ended before it was ready: the port is taken, or the configuration is wrong.
    #[error("nats-server ended at once ({0}): {1}")]
    Ended(ExitStatus, Said),
    /// It was not ready within the deadline and was killed.
    #[error("nats-server was not ready after {0:?}: {1}")]
    TooSlow(Duration, Said),
    /// It started without JetStream, which the scheduler is built on.
    #[error("nats-server runs without JetStream; its configuration must not switch it off")]
    NoJetStream,
}

/// A nats-server that this process started; killed when dropped.
#[derive(Debug)]
pub struct RunningServer {
    child: Child,
    guard: Option<Guard>,
    /// Also held here, for systems where a child cannot hold it.
    lock: Option<FileLock>,
    binary: ServerBinary,
    options: ServerOptions,
    log: PathBuf,
    /// Where this run begins in the log; what earlier runs wrote comes before.
    log_start: u64,
    pid: u32,
    port: u16,
}

impl RunningServer {
    /// Starts `binary` and waits until it accepts connections.
    pub async fn start(binary: &ServerBinary, options: ServerOptions) -> Result<Self, StartError> {
        let deadline = options.start_deadline;
        let lock = lock_store(&options).await?;
        let mut server = Self::spawn(binary, options, lock)?;
        match timeout(deadline, server.ready()).await {
            Ok(Ok(port)) => server.port = port,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(StartError::TooSlow(deadline, server.said())),
        }
        Ok(server)
    }

    fn spawn(
        binary: &ServerBinary,
        options: ServerOptions,
        lock: FileLock,
    ) -> Result<Self, StartError> {
        let ports = options.ports_dir();
        ports::clear(&ports).map_err(at(&ports))?;
        let log = options.log_path();
        let output = File::options().append(true).create(true).open(&log);
        let output = output.map_err(at(&log))?;
        let log_start = output.metadata().map_err(at(&log))?.len();

        let mut command = Command::new(&binary.path);
        command
            .args(options.args())
            .env("NATS_STORE_DIR", options.store_variable())
            .stdin(lock.share().map_err(at(&options.store_dir))?)
            .stdout(output.try_clone().map_err(at(&log))?)
            .stderr(output);
        #[cfg(unix)]
        command.process_group(0);
        #[cfg(windows)]
        command.creation_flags(0x0000_0200); // CREATE_NEW_PROCESS_GROUP
        let spawned = command.spawn();
        let child = spawned.map_err(|error| StartError::Spawn(binary.path.clone(), error))?;
        let pid = child.id().unwrap_or_default();
        // Without it, only the message for others that find the store in use is poorer.
        let _ = lock.name_holder(pid);
        Ok(Self {
            child,
            // Without a shell there is no guard, but everything else works.
            guard: Guard::over(pid).ok(),
            lock: Some(lock),
            binary: binary.clone(),
            port: options.port.unwrap_or_default(),
            options,
            log,
            log_start,
            pid,
        })
    }

    /// Waits until the server accepts connections or has ended, and returns the port it got.
    async fn ready(&mut self) -> Result<u16, StartError> {
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(StartError::Ended(status, self.said()));
            }
            if let Some(port) = ports::client_port(&self.options.ports_dir())
                && let Ok(info) = ServerInfo::ask(self.options.reachable_host(), port).await
            {
                return match info.jetstream {
                    true => Ok(port),
                    false => Err(StartError::NoJetStream),
                };
            }
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// The address for clients, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        let host = self.options.reachable_host();
        match host.contains(':') {
            true => format!("nats://[{host}]:{}", self.port),
            false => format!("nats://{host}:{}", self.port),
        }
    }

    /// The port for clients; it stays the same over [`restart`](Self::restart).
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process number; another one after [`restart`](Self::restart).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The file that the server's output is appended to.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Waits until the server ends by itself. Cancelling the wait is safe.
    pub async fn exited(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the server to end and waits for it, up to 10 seconds, then kills it.
    ///
    /// Returns whether it ended without being killed. Where there are no signals it is always killed, which loses no
    /// write that the server confirmed, as long as the system itself keeps running.
    pub async fn stop(&mut self) -> bool {
        let asked = self.ask_to_stop();
        let ended = asked && timeout(STOP_DEADLINE, self.child.wait()).await.is_ok();
        self.kill();
        ended
    }

    /// Kills the server (SIGKILL) and waits for the few milliseconds until its process is gone.
    pub fn kill(&mut self) {
        // Fails only for a process that has ended and was waited for.
        let _ = self.child.start_kill();
        let until = Instant::now() + STOP_DEADLINE;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        self.guard = None;
        self.lock = None;
    }

    /// Starts the server again, on the same port and store. Kills it first if it is still running.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.kill();
        let options = ServerOptions { port: Some(self.port), ..self.options.clone() };
        let binary = self.binary.clone();
        *self = Self::start(&binary, options).await?;
        Ok(())
    }

    /// Freezes the server (SIGSTOP): connections stay open, but nothing answers.
    #[cfg(unix)]
    pub fn freeze(&self) -> io::Result<()> {
        self.signal(rustix::process::Signal::STOP)
    }

    /// Resumes a frozen server (SIGCONT).
    #[cfg(unix)]
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(rustix::process::Signal::CONT)
    }

    /// Sends SIGTERM, and wakes a frozen server so that it notices.
    #[cfg(unix)]
    fn ask_to_stop(&self) -> bool {
        use rustix::process::Signal;
        self.signal(Signal::TERM).is_ok() && self.signal(Signal::CONT).is_ok()
    }

    #[cfg(not(unix))]
    fn ask_to_stop(&self) -> bool {
        false
    }

    /// Signals the process, but only while it has not been waited for: later its number may belong to another process.
    #[cfg(unix)]
    fn signal(&self, signal: rustix::process::Signal) -> io::Result<()> {
        use rustix::process::{Pid, kill_process};
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "nats-server has ended"));
        };
        Ok(kill_process(pid, signal)?)
    }

    fn said(&self) -> Said {
        Said::in_log(&self.log, self.log_start)
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Locks the store for the server that is about to start.
async fn lock_store(options: &ServerOptions) -> Result<FileLock, StartError> {
    let store = &options.store_dir;
    std::fs::create_dir_all(store).map_err(at(store))?;
    FileLock::take(&options.lock_path()).await.map_err(|error| match error {
        LockError::Held(holder) => StartError::StoreInUse(store.clone(), holder),
        LockError::File(error) => StartError::File(options.lock_path(), error),
    })
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let path = path.to_owned();
    |error| StartError::File(path, error)
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
