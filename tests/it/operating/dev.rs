//! The `dev` command as a newcomer runs it.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use futures::StreamExt as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::{Nats, SERVICE, binary, wait_for};

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A `dev` under way, killed with its server at the end of the test.
struct Dev {
    child: Child,
    log: PathBuf,
}

impl Dev {
    /// Starts one with its data in `dir`.
    fn start(port: u16, dir: &Path) -> Self {
        Self::with(port, dir, &["--http-port", "0"], &[])
    }

    fn with(port: u16, dir: &Path, options: &[&str], settings: &[(&str, &OsStr)]) -> Self {
        let log = dir.join(format!("dev-{}.log", uuid::Uuid::new_v4()));
        let child = Command::new(SERVICE)
            .args(["dev", "--port", &port.to_string(), "--data-dir"])
            .arg(dir.join("data"))
            .args(options)
            .env("NATS_SERVER", binary().path)
            // It is another that `dev` starts, whatever this says.
            .env("NATS_URL", "xyz://")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    async fn wait_said(&self, text: &str) {
        wait_for(&format!("{text:?}"), || async { self.said().contains(text).then_some(()) }).await;
    }

    async fn ready(&self) {
        self.wait_said("Ctrl-C stops").await;
    }

    /// What follows a word in the banner, such as the address after `NATS`.
    fn shown(&self, word: &str) -> Option<String> {
        let said = self.said();
        let mut words = said.split_whitespace().skip_while(|one| *one != word);
        words.nth(1).map(|shown| shown.trim_end_matches(',').to_owned())
    }

    fn signal(&self, signal: &str) {
        kill(signal, self.child.id());
    }

    async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait_for("dev to end", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await
    }

    async fn stop(&mut self) {
        self.signal("-INT");
        let status = self.ended().await;
        assert!(status.success(), "{}", self.said());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what dev said\n{}", self.said());
        }
    }
}

fn kill(signal: &str, pid: u32) {
    let done = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(done.success());
}

async fn ask(port: u16, operation: &str, body: Value) -> Option<Value> {
    let client = async_nats::connect(format!("nats://127.0.0.1:{port}")).await.ok()?;
    let subject = format!("cmd.scheduler.{operation}");
    let reply = client.request(subject, body.to_string().into()).await.ok()?;
    serde_json::from_slice(&reply.payload).ok()
}

async fn create_kept(port: u16) {
    let request = json!({ "name": "kept", "schedule_type": "interval", "interval_seconds": 1,
                          "target_command": "cmd.example.kept" });
    let created = ask(port, "schedule.create", request).await.unwrap();
    assert!(created.get("warnings").is_none(), "the example stream captures it: {created}");
}

async fn assert_is_kept(port: u16) {
    let list = wait_for("the schedule", || ask(port, "schedule.list", json!({}))).await;
    assert_eq!(list["data"][0]["name"], "kept", "{list}");
}

fn listens(port: u16) -> bool {
    std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[tokio::test]
async fn it_brings_its_server_keeps_its_data_and_stops_both() {
    let dir = TempDir::new().unwrap();
    let port = free_port();
    for round in 0..2 {
        let mut dev = Dev::start(port, dir.path());
        dev.ready().await;
        if round == 0 {
            create_kept(port).await;
        }
        assert_is_kept(port).await;
        dev.stop().await;
        assert!(!listens(port), "the server is gone too");
    }
}

#[tokio::test]
async fn it_uses_the_nats_that_is_there_and_leaves_it_running() {
    let nats = Nats::bare().await;
    let dir = TempDir::new().unwrap();
    let mut dev = Dev::start(nats.server.port(), dir.path());
    dev.wait_said("already running").await;
    assert_eq!(nats.request("status", &json!({})).await["data"]["status"], "ok");
    dev.stop().await;
    assert!(nats.js.query_account().await.is_ok(), "it was not ours to stop");
    assert!(!dir.path().join("data").exists(), "nothing is kept there");
}

#[tokio::test]
async fn a_second_one_in_the_same_folder_is_refused_and_told_who_has_it() {
    let dir = TempDir::new().unwrap();
    let port = free_port();
    let mut first = Dev::start(port, dir.path());
    first.ready().await;
    create_kept(port).await;
    let mut second = Dev::start(free_port(), dir.path());
    assert!(!second.ended().await.success());
    let said = second.said();
    assert!(said.contains(&format!("process {}", first.child.id())), "{said}");
    assert!(said.contains("--data-dir") && !said.contains("is ready"), "{said}");
    assert_is_kept(port).await;
    first.stop().await;
    // On another port, with what the first one left.
    let port = free_port();
    let mut third = Dev::start(port, dir.path());
    third.ready().await;
    assert_is_kept(port).await;
    third.stop().await;
}

#[tokio::test]
async fn killed_and_started_again_at_once_it_has_its_data() {
    let dir = TempDir::new().unwrap();
    let port = free_port();
    let mut dev = Dev::start(port, dir.path());
    dev.ready().await;
    create_kept(port).await;
    for _ in 0..2 {
        dev.signal("-KILL");
        // The server of the one that was killed is ending, and is not to be taken for one that stays.
        dev = Dev::start(port, dir.path());
        dev.ready().await;
        assert!(dev.said().contains("data in"), "{}", dev.said());
        assert_is_kept(port).await;
    }
    dev.stop().await;
}

#[tokio::test]
async fn a_server_that_outlives_its_dev_keeps_others_out_of_its_store() {
    let dir = TempDir::new().unwrap();
    let port = free_port();
    // Without a shell there is no guard that would end it.
    let no_shell = dir.path().join("no-programs");
    let first =
        Dev::with(port, dir.path(), &["--http-port", "0"], &[("PATH", no_shell.as_os_str())]);
    first.ready().await;
    create_kept(port).await;
    first.signal("-KILL");
    let other_port = free_port();
    let mut second = Dev::start(other_port, dir.path());
    second.wait_said("nats-server of an earlier run").await;
    let pid = std::fs::read_to_string(dir.path().join("data/nats-server.lock")).unwrap();
    assert!(second.said().contains(&format!("process {}", pid.trim())), "{}", second.said());
    kill("-TERM", pid.trim().parse().unwrap());
    second.ready().await;
    assert_is_kept(other_port).await;
    second.stop().await;
}

#[tokio::test]
async fn ready_is_said_once_everything_listens() {
    let nats = Nats::bare().await;
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let http_port = taken.local_addr().unwrap().port().to_string();
    for _ in 0..6 {
        let options = ["--http-port", http_port.as_str()];
        let mut dev = Dev::with(nats.server.port(), dir.path(), &options, &[]);
        assert_eq!(dev.ended().await.code(), Some(1));
        let said = dev.said();
        assert!(!said.contains("is ready"), "{said}");
        let address = format!("cannot listen on 127.0.0.1:{http_port}: another program does");
        assert!(said.contains(&address) && said.contains("--http-port"), "{said}");
    }
}

#[tokio::test]
async fn a_foreign_program_on_the_port_of_nats_is_said_in_one_line() {
    let dir = TempDir::new().unwrap();
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dev = Dev::start(foreign.local_addr().unwrap().port(), dir.path());
    assert_eq!(dev.ended().await.code(), Some(1));
    let said = dev.said();
    assert!(said.contains("no NATS server") && said.contains("--port"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test]
async fn ports_that_were_chosen_are_shown() {
    let dir = TempDir::new().unwrap();
    let mut dev = Dev::start(0, dir.path());
    dev.ready().await;
    let nats = dev.shown("NATS").unwrap();
    let client = async_nats::connect(&nats).await.unwrap();
    assert!(client.request("cmd.scheduler.status", "".into()).await.is_ok(), "{nats}");
    let http = dev.shown("HTTP").unwrap();
    let address: std::net::SocketAddr = http.strip_prefix("http://").unwrap().parse().unwrap();
    assert_ne!(address.port(), 0);
    assert!(listens(address.port()), "{http}");
    assert!(dev.said().contains(&format!("nats -s {nats} req --raw")), "{}", dev.said());
    dev.stop().await;
}

#[tokio::test]
async fn a_signal_says_what_is_waited_for_and_a_second_one_ends_all() {
    let dir = TempDir::new().unwrap();
    let port = free_port();
    let settings = [("SHUTDOWN_GRACE_SECONDS", OsStr::new("3000"))];
    let mut dev = Dev::with(port, dir.path(), &["--http-port", "off"], &settings);
    dev.ready().await;
    assert_eq!(dev.shown("HTTP"), None);
    // Somebody who has the command, and never answers.
    let client = async_nats::connect(format!("nats://127.0.0.1:{port}")).await.unwrap();
    let mut silent = client.subscribe("cmd.silent.work").await.unwrap();
    client.flush().await.unwrap();
    let request = json!({ "name": "silent", "schedule_type": "immediate", "max_retries": 0,
                          "target_command": "cmd.silent.work",
                          "delivery": { "mode": "request", "timeout_seconds": 3000 } });
    ask(port, "schedule.create", request).await.unwrap();
    silent.next().await.unwrap();
    dev.signal("-INT");
    dev.wait_said("waiting up to 3000 s for executions under way (1)").await;
    assert!(dev.said().contains("Ctrl-C again"), "{}", dev.said());
    assert!(listens(port));
    dev.signal("-INT");
    assert_eq!(dev.ended().await.code(), Some(130), "{}", dev.said());
    assert!(!listens(port), "nats-server was left behind");
}

#[test]
fn its_help_has_its_own_options_and_defaults_and_nothing_that_they_override() {
    let help = |command: &str| {
        let output = Command::new(SERVICE).args([command, "--help"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let (serve, dev) = (help("serve"), help("dev"));
    for name in ["NATS_URL", "API_PORT"] {
        let listed = format!("\n  {name}\n");
        assert!(serve.contains(&listed) && !dev.contains(&listed), "{name}: {dev}");
    }
    for part in ["--http-port", "--data-dir", "[default: warn]", "[default: text]"] {
        assert!(dev.contains(part), "{part}: {dev}");
    }
    assert!(serve.contains("[default: json]"), "{serve}");
    let settings = |help: &str| help.lines().filter(|line| line.starts_with("          ")).count();
    assert!(settings(&dev) > 30, "{dev}");
}
