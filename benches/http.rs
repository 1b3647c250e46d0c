//! Requests per second that the HTTP interface answers, compared with a bare axum handler.
//!
//! `cargo bench --bench http` starts a service that holds 10,000 schedules, and this program again as a bare axum
//! server: one handler that returns the bytes that the service returns for one schedule. `wrk` loads them in turn, so
//! that other activity of the machine affects all alike. The bar: one schedule is answered at half the rate of the bare
//! handler.
//!
//! It needs `wrk` on the `PATH`: Debian, Ubuntu, Fedora and Homebrew have a package of that name.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark fails by panicking")]
#![allow(clippy::print_stdout, reason = "its output is its result")]

#[path = "fill.rs"]
mod fill;
#[path = "../tests/it/harness.rs"]
mod harness;

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::{Router, body::Bytes, routing::get};
use harness::{Nats, wait_within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The service's allocator, also used for the bare handler.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCHEDULES: usize = 10_000;
/// Argument that makes this program the bare server; the file with its reply follows.
const BARE: &str = "bare";
const THREADS: u32 = 1;
const CONNECTIONS: u32 = 32;
const ROUNDS: usize = 7;
const SECONDS: u32 = 4;
const WARM_UP_SECONDS: u32 = 2;
const BAR: f64 = 0.5;

/// Script that makes `wrk` end with the rate, latencies in microseconds, and the number of failed requests.
const SCRIPT: &str = r#"
done = function(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.timeout + errors.status
  io.write(string.format("result %.3f %.0f %.0f %.0f\n", summary.requests * 1e6 / summary.duration,
    latency:percentile(50), latency:percentile(99), failed))
end
"#;

/// A server of one kind and its measurements, round by round.
struct Target {
    what: &'static str,
    url: String,
    rounds: Vec<Round>,
}

/// Result of one run of `wrk`.
#[derive(Clone, Copy)]
struct Round {
    rate: f64,
    p50: Duration,
    p99: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(BARE) {
        serve_bare(&arguments.next().unwrap()).await;
        return ExitCode::SUCCESS;
    }
    let Some(version) = wrk_version() else {
        eprintln!(
            "this benchmark needs the load generator wrk (https://github.com/wg/wrk) on the PATH: \
             apt-get install wrk, dnf install wrk, or brew install wrk"
        );
        return ExitCode::FAILURE;
    };
    measure(&version).await;
    ExitCode::SUCCESS
}

async fn measure(version: &str) {
    let nats = Nats::start().await;
    // Starting the service creates the streams.
    nats.service_with(&[]).await.stop().await;
    fill::fill(&nats, SCHEDULES).await;
    let service = nats.service_with(&[("LOG_LEVEL", "info")]).await;
    let port = service.http().await.port();
    let page = nats.request("schedule.list", &json!({ "limit": 1 })).await;
    assert_eq!(page["pagination"]["total"], SCHEDULES);
    let id = page["data"][0]["id"].as_str().unwrap();
    let one = format!("/api/v1/schedules/{id}");
    let list = "/api/v1/schedules?limit=20";

    let body = body_of(port, &one).await;
    let schedule: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(schedule["data"]["id"], id);
    let list_body = body_of(port, list).await;
    let schedules: Value = serde_json::from_slice(&list_body).unwrap();
    assert_eq!(schedules["data"].as_array().unwrap().len(), 20);
    let reply = nats.dir().join("reply.json");
    std::fs::write(&reply, &body).unwrap();
    let script = nats.dir().join("report.lua");
    std::fs::write(&script, SCRIPT).unwrap();
    let bare = Bare::start(&reply).await;

    println!(
        "{version}: {THREADS} thread, {CONNECTIONS} connections, {ROUNDS} rounds of {SECONDS} s \
         each, in turn, after {WARM_UP_SECONDS} s to warm up; loopback, no tokens"
    );
    println!(
        "{SCHEDULES} schedules; replies have {} bytes (bare and one) and {} bytes (list)",
        body.len(),
        list_body.len()
    );
    let target = |what, port, path: &str| Target {
        what,
        url: format!("http://127.0.0.1:{port}{path}"),
        rounds: Vec::new(),
    };
    let mut targets = [
        target("bare axum handler", bare.port, "/"),
        target("GET one schedule", port, &one),
        target("GET list of 20", port, list),
    ];
    for target in &targets {
        run_wrk(&script, WARM_UP_SECONDS, &target.url).await;
    }
    for _ in 0..ROUNDS {
        for target in &mut targets {
            target.rounds.push(run_wrk(&script, SECONDS, &target.url).await);
        }
    }
    for target in &targets {
        let (low, rate, high) = spread(target.rounds.iter().map(|round| round.rate));
        let p50 = median(target.rounds.iter().map(|round| round.p50));
        let p99 = median(target.rounds.iter().map(|round| round.p99));
        let what = target.what;
        println!(
            "{what:18} {rate:>8.0}/s ({low:.0} to {high:.0})  p50 {p50:>8.2?} p99 {p99:>8.2?}"
        );
    }
    let [bare, one, _] = &targets;
    let ratios = one.rounds.iter().zip(&bare.rounds).map(|(one, bare)| one.rate / bare.rate);
    let (low, ratio, high) = spread(ratios);
    println!(
        "one schedule, of the bare handler's rate: {ratio:.2} ({low:.2} to {high:.2}); the bar: \
         {BAR} or more; of it: {:.2}",
        ratio / BAR
    );
}

/// Name and version of the `wrk` on the `PATH`.
fn wrk_version() -> Option<String> {
    // With `-v` it prints them and then exits with 1.
    let output = Command::new("wrk").arg("-v").output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    Some(text.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

async fn run_wrk(script: &Path, seconds: u32, url: &str) -> Round {
    let output = tokio::process::Command::new("wrk")
        .args(["-t", &THREADS.to_string(), "-c", &CONNECTIONS.to_string()])
        .args(["-d", &format!("{seconds}s"), "-s"])
        .arg(script)
        .arg(url)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let line = text.lines().find_map(|line| line.strip_prefix("result "));
    let numbers: Vec<f64> =
        line.unwrap_or_else(|| panic!("{text}")).split(' ').map(|n| n.parse().unwrap()).collect();
    let [rate, p50, p99, failed] = numbers[..] else { panic!("{text}") };
    assert_eq!(failed, 0.0, "{url}: not all requests were answered with success\n{text}");
    let micros = |n: f64| Duration::from_micros(n as u64);
    Round { rate, p50: micros(p50), p99: micros(p99) }
}

/// Minimum, median and maximum.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

fn median(values: impl Iterator<Item = Duration>) -> Duration {
    let mut values: Vec<Duration> = values.collect();
    values.sort_unstable();
    values[values.len() / 2]
}

/// Body of a reply, which must be JSON with status 200.
async fn body_of(port: u16, path: &str) -> Vec<u8> {
    let (status, body) = request(port, path).await.unwrap();
    assert_eq!(status, 200, "GET {path}: {}", String::from_utf8_lossy(&body));
    body
}

/// Status and body of a reply; none while nothing listens. In HTTP/1.0 the end of the connection ends the body.
async fn request(port: u16, path: &str) -> Option<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    let head = format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.ok()?;
    let end = reply.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let status = str::from_utf8(&reply[..end]).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some((status, reply.split_off(end + 4)))
}

/// This program again, as a bare axum server.
struct Bare {
    child: Child,
    port: u16,
}

impl Bare {
    async fn start(reply: &Path) -> Self {
        let program: PathBuf = std::env::current_exe().unwrap();
        let mut child = Command::new(program)
            .arg(BARE)
            .arg(reply)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let bare = Self { child, port: line.trim().parse().unwrap() };
        let expected = std::fs::read(reply).unwrap();
        let (status, body) =
            wait_within(Duration::from_secs(5), "the bare server", || request(bare.port, "/"))
                .await;
        assert!(status == 200 && body == expected, "the bare server answers something else");
        bare
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers every `GET /` with the bytes of a file, as JSON, and prints its port.
async fn serve_bare(reply: &str) {
    let reply = Bytes::from(std::fs::read(reply).unwrap());
    let handler = move || {
        let reply = reply.clone();
        async move { ([(CONTENT_TYPE, "application/json")], reply) }
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = TcpListener::bind(address).await.unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    axum::serve(listener, Router::new().route("/", get(handler))).await.unwrap();
}
