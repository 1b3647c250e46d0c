//! Instances of the service: processes of the real program, each behind proxies of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::proxy::Proxy;

/// Maximum time for an instance to stop: the grace for what is under way, plus the time to leave.
const STOP: Duration = Duration::from_secs(45);
const READY: Duration = Duration::from_secs(60);
/// Time by which a change of a clock is noticed.
const NOTICED: Duration = Duration::from_secs(3);

/// A place for an instance: its way to NATS, its clock, and its current process.
pub struct Place {
    number: usize,
    program: PathBuf,
    folder: PathBuf,
    /// One proxy for each server.
    pub proxies: Vec<Proxy>,
    process: Mutex<Process>,
}

struct Process {
    child: Child,
    /// Kills the process when this program is killed and cannot do so itself.
    _guard: Child,
    log: PathBuf,
    url_file: PathBuf,
    count: usize,
}

impl Place {
    /// Starts an instance in a new place.
    pub async fn start(program: &Path, folder: &Path, number: usize, ports: &[u16]) -> Self {
        let mut proxies = Vec::new();
        for port in ports {
            proxies.push(Proxy::start(*port).await);
        }
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let clock = folder.join(format!("clock-{number}"));
        std::fs::write(&clock, "0").unwrap();
        let process = Mutex::new(spawn(&program, &folder, number, &proxies, 0));
        Self { number, program, folder, proxies, process }
    }

    fn spawn(&self, count: usize) -> Process {
        spawn(&self.program, &self.folder, self.number, &self.proxies, count)
    }

    /// Kills the process, as `kill -9` does, and starts another after a while.
    ///
    /// # Errors
    /// If the process was no longer running, as for everything that is done to it.
    pub async fn kill(&self, away: Duration) -> Result<(), String> {
        let mut process = self.process.lock().await;
        let lived = process.lives();
        // A process that has ended cannot be killed.
        let _ = process.child.kill().await;
        sleep(away).await;
        *process = self.spawn(process.count + 1);
        lived
    }

    /// Asks the process to stop, and starts another: at once, or when it has ended.
    ///
    /// # Errors
    /// If it does not stop as it should.
    pub async fn replace(&self, at_once: bool) -> Result<(), String> {
        let mut process = self.process.lock().await;
        signal(&process.child, "-TERM");
        if at_once {
            let next = self.spawn(process.count + 1);
            let mut leaving = std::mem::replace(&mut *process, next);
            drop(process);
            return leaving.ends().await;
        }
        process.ends().await?;
        *process = self.spawn(process.count + 1);
        Ok(())
    }

    /// Suspends the process for a while.
    pub async fn freeze(&self, time: Duration) -> Result<(), String> {
        let mut process = self.process.lock().await;
        let lived = process.lives();
        signal(&process.child, "-STOP");
        sleep(time).await;
        signal(&process.child, "-CONT");
        lived
    }

    /// Sets the clock of its host, in milliseconds off the real one.
    pub fn set_clock(&self, off_ms: i64) {
        // The file is replaced as a whole, since it is read all the time.
        let (new, clock) = (self.folder.join(format!("clock-{}-new", self.number)), self.clock());
        std::fs::write(&new, off_ms.to_string()).unwrap();
        std::fs::rename(new, clock).unwrap();
    }

    fn clock(&self) -> PathBuf {
        self.folder.join(format!("clock-{}", self.number))
    }

    /// Waits until the process is ready: it fires and answers.
    pub async fn is_ready(&self) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let mut process = self.process.lock().await;
            if process.is_ready().await == Some(true) {
                return Ok(());
            }
            process.lives()?;
            if started.elapsed() > READY {
                return Err(format!("{} is not ready", process.log.display()));
            }
            drop(process);
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether the process is still running, although nobody has stopped it.
    pub async fn lives(&self) -> Result<(), String> {
        self.process.lock().await.lives()
    }

    /// Whether the clock of the process can be set: release builds ignore it.
    pub async fn has_clock(&self) -> bool {
        self.set_clock(1000);
        let started = Instant::now();
        while started.elapsed() < NOTICED {
            if self.process.lock().await.has_said("the clock of this host was set") {
                return true;
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    /// Stops the process.
    pub async fn stop(&self) -> Result<(), String> {
        let mut process = self.process.lock().await;
        signal(&process.child, "-TERM");
        process.ends().await
    }
}

impl Process {
    async fn ends(&mut self) -> Result<(), String> {
        match timeout(STOP, self.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(status) => Err(format!("{} stopped with {status:?}", self.log.display())),
            Err(_) => Err(format!("{} does not stop", self.log.display())),
        }
    }

    fn lives(&mut self) -> Result<(), String> {
        match self.child.try_wait().unwrap() {
            None => Ok(()),
            Some(status) => Err(format!("{} ended by itself: {status}", self.log.display())),
        }
    }

    async fn is_ready(&self) -> Option<bool> {
        let url = std::fs::read_to_string(&self.url_file).ok()?;
        let mut stream = TcpStream::connect(url.trim().strip_prefix("http://")?).await.ok()?;
        stream.write_all(b"GET /ready HTTP/1.0\r\n\r\n").await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        Some(answer.split(' ').nth(1)? == "200")
    }

    fn has_said(&self, text: &str) -> bool {
        std::fs::read_to_string(&self.log).is_ok_and(|log| log.contains(text))
    }
}

fn spawn(program: &Path, folder: &Path, number: usize, proxies: &[Proxy], count: usize) -> Process {
    let log = folder.join(format!("instance-{number}-{count}.log"));
    let url_file = log.with_extension("url");
    let output = File::create(&log).unwrap();
    let urls: Vec<_> = proxies.iter().map(Proxy::url).collect();
    let child = Command::new(program)
        .arg("serve")
        .env_clear()
        .env("NATS_URL", urls.join(","))
        .env("STREAM_REPLICAS", "3")
        .env("API_PORT", "0")
        .env("API_URL_FILE", &url_file)
        .env("SCHEDULER_EXECUTOR_POOL_SIZE", "100")
        .env("MAX_BULK_OPERATIONS", "1000")
        .env("LOG_LEVEL", "nats_scheduler=debug,info")
        .env("LOG_FORMAT", "text")
        .env("NO_COLOR", "1")
        .env("NATS_SCHEDULER_CLOCK", folder.join(format!("clock-{number}")))
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        // Ctrl-C is for this program, which then ends what it has started.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", program.display()));
    let guard = Command::new("sh")
        .args(["-c", "read -r _; kill -KILL \"$0\""])
        .arg(child.id().unwrap().to_string())
        .stdin(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    Process { child, _guard: guard, log, url_file, count }
}

fn signal(child: &Child, signal: &str) {
    // A child that was waited for has no process number: by now it may belong to another process.
    let Some(pid) = child.id() else { return };
    let done = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
    assert!(done.unwrap().success(), "{signal} {pid}");
}
