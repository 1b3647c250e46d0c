//! Harness: a real nats-server and real service processes for one test, gone when it ends.
//!
//! The helpers return boxed futures. A future that is awaited as it is becomes a part of the one that awaits it, and is
//! compiled again with each module of tests, down to the client of NATS.

#![allow(dead_code, reason = "each test binary uses a part of it")]

#[path = "harness/service.rs"]
mod service;

use std::future::Future;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use async_nats::jetstream::{self, stream};
use async_nats::{Client, HeaderMap};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use nats_scheduler::dev::server::{RunningServer, ServerBinary, ServerOptions, find};
use serde_json::{Value, json};
use tempfile::TempDir;

pub use service::Service;

/// Time within which everything that a test waits for must happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// The service's executable.
pub const SERVICE: &str = env!("CARGO_BIN_EXE_nats-scheduler");

/// Most lines that are shown of a server's log when a test fails.
const MOST_WARNINGS: usize = 40;

/// The example stream.
const COMMANDS: &str = include_str!("../../streams/COMMANDS.json");

/// A nats-server of a test's own, or a cluster.
pub struct Nats {
    pub server: RunningServer,
    /// The other servers of its cluster.
    pub others: Vec<RunningServer>,
    pub client: Client,
    pub js: jetstream::Context,
    dir: TempDir,
}

impl Nats {
    /// Starts a server with the example stream `COMMANDS`.
    pub fn start() -> BoxFuture<'static, Self> {
        async move {
            let nats = Self::bare().await;
            nats.add_stream(COMMANDS).await;
            nats
        }
        .boxed()
    }

    /// Starts a server without any stream.
    pub fn bare() -> BoxFuture<'static, Self> {
        async move {
            let dir = TempDir::new().unwrap();
            let options = ServerOptions::new(dir.path().join("store"));
            let server = RunningServer::start(&binary(), options).await.unwrap();
            let client = async_nats::connect(server.url()).await.unwrap();
            let js = jetstream::new(client.clone());
            Self::of(server, client, js, dir)
        }
        .boxed()
    }

    /// A server that was started in another way.
    pub fn of(server: RunningServer, client: Client, js: jetstream::Context, dir: TempDir) -> Self {
        Self { server, others: Vec::new(), client, js, dir }
    }

    /// Starts a server with a configuration file, and the example stream.
    pub fn with_config(config: &str) -> BoxFuture<'_, Self> {
        async move {
            let dir = TempDir::new().unwrap();
            let server = configured(dir.path(), config).await;
            let client = async_nats::connect(server.url()).await.unwrap();
            let nats = Self::of(server, client.clone(), jetstream::new(client), dir);
            nats.add_stream(COMMANDS).await;
            nats
        }
        .boxed()
    }

    /// Starts a cluster of three servers, with three replicas of the example stream: the shape of production. Instances
    /// of the service on it keep as many.
    pub fn cluster() -> BoxFuture<'static, Self> {
        async move {
            let dir = TempDir::new().unwrap();
            let routes = free_ports::<3>().map(|port| format!("nats://127.0.0.1:{port}"));
            let mut servers = Vec::new();
            for (n, listen) in routes.iter().enumerate() {
                let mut options = ServerOptions::new(dir.path().join(format!("store-{n}")));
                options.name = Some(format!("n{n}"));
                let routes = routes.join(",");
                let arguments = ["--cluster_name", "c", "--cluster", listen, "--routes", &routes];
                options.extra_args = arguments.iter().map(Into::into).collect();
                servers.push(RunningServer::start(&binary(), options).await.unwrap());
            }
            let urls: Vec<_> = servers.iter().map(RunningServer::url).collect();
            let client = async_nats::connect(urls).await.unwrap();
            let (js, server) = (jetstream::new(client.clone()), servers.remove(0));
            let nats = Self { server, others: servers, client, js, dir };
            let mut config: stream::Config = serde_json::from_str(COMMANDS).unwrap();
            config.num_replicas = nats.replicas();
            wait_for("the cluster to take a stream", || async {
                nats.js.get_or_create_stream(config.clone()).await.ok().map(|_| ())
            })
            .await;
            nats
        }
        .boxed()
    }

    /// Has the server read another configuration.
    pub fn reload(&self, config: &str) {
        std::fs::write(self.dir().join("nats.conf"), config).unwrap();
        let pid = self.server.pid().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    }

    /// How many replicas its streams have.
    pub fn replicas(&self) -> usize {
        1 + self.others.len()
    }

    /// All servers.
    pub fn servers(&self) -> impl Iterator<Item = &RunningServer> {
        std::iter::once(&self.server).chain(&self.others)
    }

    /// The servers' addresses, separated by commas.
    pub fn url(&self) -> String {
        self.servers().map(RunningServer::url).collect::<Vec<_>>().join(",")
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn add_stream<'a>(&'a self, config: &'a str) -> BoxFuture<'a, stream::Stream> {
        async move {
            let config: stream::Config = serde_json::from_str(config).unwrap();
            self.js.create_stream(config).await.unwrap()
        }
        .boxed()
    }

    /// Starts an instance of the service and waits until it is ready.
    pub fn service(&self) -> BoxFuture<'_, Service> {
        self.service_with(&[])
    }

    /// The same with settings.
    pub fn service_with<'a>(
        &'a self,
        settings: &'a [(&'a str, &'a str)],
    ) -> BoxFuture<'a, Service> {
        async move {
            let service = self.spawn(settings);
            service.ready().await;
            service
        }
        .boxed()
    }

    /// Starts an instance without waiting for it.
    pub fn spawn(&self, settings: &[(&str, &str)]) -> Service {
        let replicas = [("STREAM_REPLICAS", "3")];
        let replicas = if self.others.is_empty() { &[][..] } else { &replicas };
        Service::spawn(&self.url(), self.dir(), &[replicas, settings].concat())
    }

    /// Sends a request to `cmd.scheduler.<operation>`; the reply, error or not.
    pub fn request<'a>(&'a self, operation: &'a str, body: &'a Value) -> BoxFuture<'a, Value> {
        async move {
            self.try_request(operation, body)
                .await
                .unwrap_or_else(|| panic!("no reply to {operation} {body}"))
        }
        .boxed()
    }

    async fn try_request(&self, operation: &str, body: &Value) -> Option<Value> {
        let subject = format!("cmd.scheduler.{operation}");
        let payload = serde_json::to_vec(body).unwrap().into();
        let reply = self.client.request(subject, payload).await.ok()?;
        Some(serde_json::from_slice(&reply.payload).unwrap())
    }

    /// Sends a request that kills the instance that gets it, so there is no reply to wait for.
    pub fn ask_the_dying<'a>(&'a self, operation: &'a str, body: &'a Value) -> BoxFuture<'a, ()> {
        async move {
            let (subject, inbox) = (format!("cmd.scheduler.{operation}"), self.client.new_inbox());
            let payload = serde_json::to_vec(body).unwrap().into();
            self.client.publish_with_reply(subject, inbox, payload).await.unwrap();
            self.client.flush().await.unwrap();
        }
        .boxed()
    }

    /// Waits until the server has noticed that an instance died: until then a request may go to that one, and is lost. Each
    /// of those that are asked goes to whichever it draws.
    pub fn forgets_the_dead(&self) -> BoxFuture<'_, ()> {
        async move {
            let (started, mut answered, status) = (Instant::now(), 0, json!({}));
            while answered < 20 {
                assert!(started.elapsed() < DEADLINE, "requests go to the dead");
                let asked = self.try_request("status", &status);
                let answer = tokio::time::timeout(Duration::from_secs(1), asked).await;
                answered = if answer.is_ok_and(|reply| reply.is_some()) { answered + 1 } else { 0 };
            }
        }
        .boxed()
    }

    /// Sends a request that must be done; its data.
    pub fn ask<'a>(&'a self, operation: &'a str, body: Value) -> BoxFuture<'a, Value> {
        async move {
            let reply = self.request(operation, &body).await;
            assert!(reply.get("error").is_none(), "{operation} {body}: {reply}");
            reply["data"].clone()
        }
        .boxed()
    }

    /// Sends a request that must be refused; the error.
    pub fn refused<'a>(&'a self, operation: &'a str, body: Value) -> BoxFuture<'a, Value> {
        async move {
            let reply = self.request(operation, &body).await;
            assert!(reply.get("error").is_some(), "{operation} {body}: {reply}");
            reply["error"].clone()
        }
        .boxed()
    }

    /// Sends a request with headers; the reply's headers and body.
    pub fn request_with_headers<'a>(
        &'a self,
        operation: &'a str,
        headers: &'a [(&'a str, &'a str)],
        body: Value,
    ) -> BoxFuture<'a, (HeaderMap, Value)> {
        async move {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(*name, *value);
            }
            let payload = serde_json::to_vec(&body).unwrap().into();
            let subject = format!("cmd.scheduler.{operation}");
            let reply = self.client.request_with_headers(subject, map, payload).await.unwrap();
            (reply.headers.unwrap_or_default(), serde_json::from_slice(&reply.payload).unwrap())
        }
        .boxed()
    }

    /// Creates a schedule; its id.
    pub fn create(&self, body: Value) -> BoxFuture<'_, String> {
        async move { self.ask("schedule.create", body).await["id"].as_str().unwrap().to_owned() }
            .boxed()
    }

    /// Creates schedules that fire every second; their ids.
    pub fn create_beats<'a>(&'a self, count: usize, target: &'a str) -> BoxFuture<'a, Vec<String>> {
        async move {
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
        .boxed()
    }

    /// All messages of a stream.
    pub fn messages<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, Vec<StreamMessage>> {
        async move {
            let stream = self.js.get_stream(stream).await.unwrap();
            let info = stream.get_info().await.unwrap();
            // A stream that never had a message says 0 for both.
            let range = info.state.first_sequence.max(1)..=info.state.last_sequence;
            futures::stream::iter(range)
                .map(|sequence| message(&stream, sequence))
                .buffered(64)
                .filter_map(std::future::ready)
                .collect()
                .await
        }
        .boxed()
    }

    /// The revision of a schedule's record in the bucket, which the engine's writes move too.
    pub fn record_revision<'a>(&'a self, id: &'a str) -> BoxFuture<'a, u64> {
        async move {
            let bucket = self.js.get_stream("KV_scheduler_schedules").await.unwrap();
            let key = format!("$KV.scheduler_schedules.schedule.{id}");
            bucket.get_last_raw_message_by_subject(&key).await.unwrap().sequence
        }
        .boxed()
    }

    /// The record of a schedule, as it is stored.
    pub fn record<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Value> {
        async move {
            let bucket = self.js.get_stream("KV_scheduler_schedules").await.unwrap();
            let key = format!("$KV.scheduler_schedules.schedule.{id}");
            let stored = bucket.get_last_raw_message_by_subject(&key).await.unwrap();
            serde_json::from_slice(&stored.payload).unwrap()
        }
        .boxed()
    }

    /// How many messages a stream holds.
    pub fn count<'a>(&'a self, stream: &'a str) -> BoxFuture<'a, u64> {
        async move {
            let stream = self.js.get_stream(stream).await.unwrap();
            stream.get_info().await.unwrap().state.messages
        }
        .boxed()
    }

    /// Number of keys in the bucket that hold what users asked for.
    pub fn stored(&self) -> BoxFuture<'_, usize> {
        async move {
            let bucket = self.js.get_key_value("scheduler_schedules").await.unwrap();
            let keys: Vec<String> = bucket.keys().await.unwrap().try_collect().await.unwrap();
            keys.iter().filter(|key| !key.starts_with("instance.")).count()
        }
        .boxed()
    }

    /// Answers every request to a subject with what it sent, from now on.
    pub fn echo<'a>(&'a self, subject: &'static str) -> BoxFuture<'a, ()> {
        async move {
            let client = self.client.clone();
            let mut requests = client.subscribe(subject).await.unwrap();
            client.flush().await.unwrap();
            tokio::spawn(async move {
                while let Some(request) = requests.next().await {
                    if let Some(reply) = request.reply {
                        client.publish(reply, request.payload).await.unwrap();
                    }
                }
            });
        }
        .boxed()
    }

    /// Waits until a stream holds `count` messages.
    pub fn wait_count<'a>(&'a self, stream: &'a str, count: u64) -> BoxFuture<'a, ()> {
        async move {
            wait_for(&format!("{count} messages in {stream}"), || async {
                (self.count(stream).await >= count).then_some(())
            })
            .await;
        }
        .boxed()
    }

    /// Waits until the history holds `count` executions of a schedule that match a filter.
    pub fn wait_executions(&self, filter: Value, count: u64) -> BoxFuture<'_, Vec<Value>> {
        async move {
            wait_for(&format!("{count} executions of {filter}"), || async {
                let reply = self.request("execution.list", &filter).await;
                let total = reply["pagination"]["total"].as_u64()?;
                (total >= count).then(|| reply["data"].as_array().unwrap().clone())
            })
            .await
        }
        .boxed()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for server in self.servers() {
                let log = std::fs::read_to_string(server.log_file()).unwrap_or_default();
                let warnings = log.lines().filter(|line| !line.contains("[INF]"));
                let last: Vec<_> = warnings.rev().take(MOST_WARNINGS).collect();
                eprintln!("--- warnings of {}, the last first\n{}", server.url(), last.join("\n"));
            }
            service::tell_failure();
        }
    }
}

/// Starts a server with a configuration, in the file `nats.conf` of a test's folder.
pub fn configured<'a>(dir: &'a Path, config: &'a str) -> BoxFuture<'a, RunningServer> {
    async move {
        let file = dir.join("nats.conf");
        std::fs::write(&file, config).unwrap();
        let mut options = ServerOptions::new(dir.join("store"));
        options.config = Some(file);
        RunningServer::start(&binary(), options).await.unwrap()
    }
    .boxed()
}

/// The nats-server that all tests use.
pub fn binary() -> ServerBinary {
    static BINARY: std::sync::OnceLock<ServerBinary> = std::sync::OnceLock::new();
    BINARY.get_or_init(|| find(&mut |line| eprintln!("{line}")).unwrap()).clone()
}

/// Ports that nothing listens on, and that the system hands out to nobody: a server that starts again finds its own free.
fn free_ports<const N: usize>() -> [u16; N] {
    const FIRST: u16 = 20_000;
    const COUNT: u32 = 8_000;
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(rand::random()));
    let mut next = || FIRST + (NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) as u16;
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    [(); N].map(|()| std::iter::repeat_with(&mut next).find(is_free).unwrap())
}

/// The message of a sequence, if the stream has one. That nobody answers says nothing of it: a leader may just have gone.
async fn message(stream: &stream::Stream, sequence: u64) -> Option<StreamMessage> {
    wait_for("a stream to say what it has", || async {
        match stream.get_raw_message(sequence).await {
            Ok(message) => Some(Some(message)),
            Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Some(None),
            Err(error) => {
                eprintln!("message {sequence}: {error}");
                None
            }
        }
    })
    .await
}

/// Waits until `look` finds something; fails after [`DEADLINE`].
pub fn wait_for<'a, T, F>(what: &'a str, look: impl FnMut() -> F + Send + 'a) -> BoxFuture<'a, T>
where
    T: Send + 'a,
    F: Future<Output = Option<T>> + Send + 'a,
{
    wait_within(DEADLINE, what, look)
}

/// The same with a deadline of its own.
pub fn wait_within<'a, T, F>(
    deadline: Duration,
    what: &'a str,
    mut look: impl FnMut() -> F + Send + 'a,
) -> BoxFuture<'a, T>
where
    T: Send + 'a,
    F: Future<Output = Option<T>> + Send + 'a,
{
    look_until_found(deadline, what, Box::new(move || look().boxed()))
}

type Look<'a, T> = Box<dyn FnMut() -> BoxFuture<'a, Option<T>> + Send + 'a>;

fn look_until_found<'a, T: Send + 'a>(
    deadline: Duration,
    what: &'a str,
    mut look: Look<'a, T>,
) -> BoxFuture<'a, T> {
    async move {
        let started = Instant::now();
        loop {
            if let Some(found) = look().await {
                return found;
            }
            assert!(started.elapsed() < deadline, "waited {deadline:?} for {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    .boxed()
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
