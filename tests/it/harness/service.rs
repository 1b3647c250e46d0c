//! Instances of the service, each a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::{DEADLINE, SERVICE, wait_for, wait_within};

/// One running instance of the service.
pub struct Service {
    child: Child,
    log: PathBuf,
    /// Says where HTTP listens, while it does.
    pub url_file: PathBuf,
}

impl Service {
    /// Starts an instance against a server; its log is shown if the test fails.
    pub fn spawn(url: &str, dir: &Path, settings: &[(&str, &str)]) -> Self {
        remember_failures();
        let log = dir.join(format!("service-{}.log", uuid::Uuid::new_v4()));
        let url_file = log.with_extension("url");
        let output = std::fs::File::create(&log).unwrap();
        let child = Command::new(SERVICE)
            .arg("serve")
            .env_clear()
            .env("NATS_URL", url)
            .env("LOG_LEVEL", "nats_scheduler=debug,info")
            .env("LOG_FORMAT", "text")
            .env("NO_COLOR", "1")
            .env("API_PORT", "0")
            .env("API_URL_FILE", &url_file)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, log, url_file }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The URL where HTTP listens, if it does.
    fn url(&self) -> Option<String> {
        Some(std::fs::read_to_string(&self.url_file).ok()?.trim().to_owned())
    }

    /// Where HTTP listens, once it does.
    pub fn http(&self) -> BoxFuture<'_, SocketAddr> {
        async move {
            let url = wait_for("HTTP", || async { self.url() }).await;
            url.split_once("://").unwrap().1.parse().unwrap()
        }
        .boxed()
    }

    /// Status and body of a probe's answer, as of `/ready`; nothing if there is none.
    pub fn probe<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<(u16, String)>> {
        async move {
            let url = format!("{}{path}", self.url()?);
            let answer = probes().get(url).timeout(DEADLINE).send().await.ok()?;
            Some((answer.status().as_u16(), answer.text().await.ok()?))
        }
        .boxed()
    }

    /// Waits until it is ready: it fires and answers.
    pub fn ready(&self) -> BoxFuture<'_, ()> {
        self.ready_within(DEADLINE)
    }

    /// The same with a deadline of its own.
    pub fn ready_within(&self, deadline: Duration) -> BoxFuture<'_, ()> {
        async move {
            wait_within(deadline, "an instance that is ready", || async {
                let (status, _) = self.probe("/ready").await?;
                (status == 200).then_some(())
            })
            .await;
        }
        .boxed()
    }

    pub fn log(&self) -> String {
        // Where a test fails, its folder may be gone before the service is.
        std::fs::read_to_string(&self.log).unwrap_or_else(|error| format!("no log: {error}"))
    }

    /// Waits until the log contains a text.
    pub fn wait_log<'a>(&'a self, text: &'a str) -> BoxFuture<'a, ()> {
        async move {
            wait_for(&format!("{text:?} in the log"), || async {
                self.log().contains(text).then_some(())
            })
            .await;
        }
        .boxed()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Asks it to stop as a supervisor does and waits for its end.
    pub fn stop(&mut self) -> BoxFuture<'_, std::process::ExitStatus> {
        self.signal("-TERM");
        self.exited()
    }

    /// Waits until it has ended.
    pub fn exited(&mut self) -> BoxFuture<'_, std::process::ExitStatus> {
        async move {
            let started = Instant::now();
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status;
                }
                assert!(started.elapsed() < DEADLINE, "the service does not end");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        .boxed()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the service\n{}", self.log());
            tell_failure();
        }
    }
}

thread_local! {
    /// What this thread's test failed with, and when. It is told again below each log: who sees the end of a long output
    /// sees what failed.
    static FAILURE: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Says again what this thread's test failed with.
pub fn tell_failure() {
    FAILURE.with_borrow(|failure| eprintln!("--- it failed: {failure}"));
}

/// Has [`FAILURE`] remember each panic, beside what the standard hook does.
fn remember_failures() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            FAILURE.set(format!("at {}: {panic}", chrono::Utc::now()));
            usual(panic);
        }));
    });
}

/// A client for probes, whatever certificate a service shows. Each test has a runtime of its own, which its connections
/// do not outlive.
fn probes() -> &'static reqwest::Client {
    static CLIENT: std::sync::OnceLock<reqwest::Client> = std::sync::OnceLock::new();
    CLIENT.get_or_init(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true);
        builder.pool_max_idle_per_host(0).build().unwrap()
    })
}
