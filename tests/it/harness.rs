//! Harness: a real nats-server and real service processes for one test, gone when it ends.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use futures::StreamExt as _;
use nats_scheduler::dev::server::{RunningServer, ServerBinary, ServerOptions, find};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Time within which everything that a test waits for must happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The service's executable.
pub const SERVICE: &str = env!("CARGO_BIN_EXE_nats-scheduler");

/// A nats-server of a test's own.
pub struct Nats {
    pub server: RunningServer,
    pub client: Client,
    pub js: jetstream::Context,
    dir: TempDir,
}

impl Nats {
    /// Starts a server with the example stream `COMMANDS`.
    pub async fn start() -> Self {
        let nats = Self::bare().await;
        nats.add_stream(include_str!("../../streams/COMMANDS.json")).await;
        nats
    }

    /// Starts a server without any stream.
    pub async fn bare() -> Self {
        let dir = TempDir::new().unwrap();
        let options = ServerOptions::new(dir.path().join("store"));
        let server = RunningServer::start(&binary(), options).await.unwrap();
        let client = async_nats::connect(server.url()).await.unwrap();
        let js = jetstream::new(client.clone());
        Self { server, client, js, dir }
    }

    /// A server that was started in another way.
    pub fn of(server: RunningServer, client: Client, js: jetstream::Context, dir: TempDir) -> Self {
        Self { server, client, js, dir }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub async fn add_stream(&self, config: &str) -> stream::Stream {
        let config: stream::Config = serde_json::from_str(config).unwrap();
        self.js.create_stream(config).await.unwrap()
    }

    /// Starts an instance of the service and waits until it answers.
    pub async fn service(&self) -> Service {
        self.service_with(&[]).await
    }

    /// The same with settings.
    pub async fn service_with(&self, settings: &[(&str, &str)]) -> Service {
        let service = self.spawn(settings);
        self.wait_ready(&service).await;
        service
    }

    /// Starts an instance without waiting for it.
    pub fn spawn(&self, settings: &[(&str, &str)]) -> Service {
        Service::spawn(&self.url(), self.dir(), settings)
    }

    /// Waits until an instance answers.
    pub async fn wait_ready(&self, service: &Service) {
        service.wait_log("answering requests").await;
    }

    /// Sends a request to `cmd.scheduler.<operation>`; the reply, error or not.
    pub async fn request(&self, operation: &str, body: &Value) -> Value {
        self.try_request(operation, body)
            .await
            .unwrap_or_else(|| panic!("no reply to {operation} {body}"))
    }

    async fn try_request(&self, operation: &str, body: &Value) -> Option<Value> {
        let subject = format!("cmd.scheduler.{operation}");
        let payload = serde_json::to_vec(body).unwrap().into();
        let reply = self.client.request(subject, payload).await.ok()?;
        Some(serde_json::from_slice(&reply.payload).unwrap())
    }

    /// Sends a request to who dies of it, and does not wait for the reply.
    pub async fn ask_the_dying(&self, operation: &str, body: &Value) {
        let (subject, inbox) = (format!("cmd.scheduler.{operation}"), self.client.new_inbox());
        let payload = serde_json::to_vec(body).unwrap().into();
        self.client.publish_with_reply(subject, inbox, payload).await.unwrap();
        self.client.flush().await.unwrap();
    }

    /// Sends a request that must be done; its data.
    pub async fn ask(&self, operation: &str, body: Value) -> Value {
        let reply = self.request(operation, &body).await;
        assert!(reply.get("error").is_none(), "{operation} {body}: {reply}");
        reply["data"].clone()
    }

    /// Sends a request that must be refused; the error.
    pub async fn refused(&self, operation: &str, body: Value) -> Value {
        let reply = self.request(operation, &body).await;
        assert!(reply.get("error").is_some(), "{operation} {body}: {reply}");
        reply["error"].clone()
    }

    /// Sends a request with headers; the reply's headers and body.
    pub async fn request_with_headers(
        &self,
        operation: &str,
        headers: &[(&str, &str)],
        body: Value,
    ) -> (HeaderMap, Value) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, *value);
        }
        let payload = serde_json::to_vec(&body).unwrap().into();
        let subject = format!("cmd.scheduler.{operation}");
        let reply = self.client.request_with_headers(subject, map, payload).await.unwrap();
        (reply.headers.unwrap_or_default(), serde_json::from_slice(&reply.payload).unwrap())
    }

    /// Creates a schedule; its id.
    pub async fn create(&self, body: Value) -> String {
        self.ask("schedule.create", body).await["id"].as_str().unwrap().to_owned()
    }

    /// Creates schedules that fire every second; their ids.
    pub async fn create_beats(&self, count: usize, target: &str) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0..count {
            let name = format!("beat {n}");
            ids.push(
                self.create(json!({ "name": name, "schedule_type": "interval",
                                    "interval_seconds": 1, "target_command": target }))
                    .await,
            );
        }
        ids
    }

    /// All messages of a stream.
    pub async fn messages(
        &self,
        stream: &str,
    ) -> Vec<async_nats::jetstream::message::StreamMessage> {
        let stream = self.js.get_stream(stream).await.unwrap();
        let info = stream.get_info().await.unwrap();
        let range = info.state.first_sequence..=info.state.last_sequence;
        futures::stream::iter(range)
            .map(|sequence| stream.get_raw_message(sequence))
            .buffered(64)
            .filter_map(|message| async move { message.ok() })
            .collect()
            .await
    }

    /// The revision of a schedule's record in the bucket, which the engine's writes move too.
    pub async fn record_revision(&self, id: &str) -> u64 {
        let bucket = self.js.get_stream("KV_scheduler_schedules").await.unwrap();
        let key = format!("$KV.scheduler_schedules.schedule.{id}");
        bucket.get_last_raw_message_by_subject(&key).await.unwrap().sequence
    }

    /// How many messages a stream holds.
    pub async fn count(&self, stream: &str) -> u64 {
        let stream = self.js.get_stream(stream).await.unwrap();
        stream.get_info().await.unwrap().state.messages
    }

    /// Waits until a stream holds `count` messages.
    pub async fn wait_count(&self, stream: &str, count: u64) {
        wait_for(&format!("{count} messages in {stream}"), || async {
            (self.count(stream).await >= count).then_some(())
        })
        .await;
    }

    /// Waits until the history holds `count` executions of a schedule that match a filter.
    pub async fn wait_executions(&self, filter: Value, count: u64) -> Vec<Value> {
        wait_for(&format!("{count} executions of {filter}"), || async {
            let reply = self.request("execution.list", &filter).await;
            let total = reply["pagination"]["total"].as_u64()?;
            (total >= count).then(|| reply["data"].as_array().unwrap().clone())
        })
        .await
    }
}

/// One running instance of the service.
pub struct Service {
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts an instance against a server; its log is shown if the test fails.
    pub fn spawn(url: &str, dir: &Path, settings: &[(&str, &str)]) -> Self {
        let log = dir.join(format!("service-{}.log", uuid::Uuid::new_v4()));
        let output = std::fs::File::create(&log).unwrap();
        let child = Command::new(SERVICE)
            .arg("serve")
            .env_clear()
            .env("NATS_URL", url)
            .env("LOG_LEVEL", "nats_scheduler=debug,info")
            .env("LOG_FORMAT", "text")
            .env("NO_COLOR", "1")
            .env("API_PORT", "0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where HTTP listens, once it does.
    pub async fn http(&self) -> SocketAddr {
        wait_for("HTTP", || async {
            let log = self.log();
            let (_, rest) = log.split_once("listening on http")?;
            let end = |letter: char| letter.is_whitespace() || letter == '"';
            let address = rest.split_once("://")?.1.split(end).next()?;
            address.parse().ok()
        })
        .await
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log contains a text.
    pub async fn wait_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || async {
            self.log().contains(text).then_some(())
        })
        .await;
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
    pub async fn stop(&mut self) -> std::process::ExitStatus {
        self.signal("-TERM");
        self.exited().await
    }

    /// Waits until it has ended.
    pub async fn exited(&mut self) -> std::process::ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < DEADLINE, "the service does not end");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the service\n{}", self.log());
        }
    }
}

/// The nats-server that all tests use.
pub fn binary() -> ServerBinary {
    static BINARY: std::sync::OnceLock<ServerBinary> = std::sync::OnceLock::new();
    BINARY.get_or_init(|| find(&mut |line| eprintln!("{line}")).unwrap()).clone()
}

/// Waits until `look` finds something; fails after [`DEADLINE`].
pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, look: impl FnMut() -> F) -> T {
    wait_within(DEADLINE, what, look).await
}

/// The same with a deadline of its own.
pub async fn wait_within<T, F: Future<Output = Option<T>>>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> F,
) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < deadline, "waited {deadline:?} for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A time so many milliseconds from now, as requests take it.
pub fn in_ms(ms: i64) -> String {
    (chrono::Utc::now() + chrono::Duration::milliseconds(ms)).to_rfc3339()
}

/// A request to create a schedule that does not fire during the test.
pub fn far(name: &str) -> Value {
    json!({ "name": name, "schedule_type": "one_time", "scheduled_at": in_ms(3_600_000),
            "target_command": "cmd.example.far" })
}
