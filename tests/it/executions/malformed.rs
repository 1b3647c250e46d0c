//! Headers that no client library sends: what they cost their receivers, and what they do not cost the service.

use std::time::Duration;

use async_nats::{ConnectOptions, Event};
use chrono::{DateTime, Utc};
use futures::StreamExt as _;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::faults::crashes::check_ledgers;
use crate::harness::{DEADLINE, Nats, Service, wait_for, wait_within};

/// What async-nats does with a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    /// It delivers it.
    Delivered,
    /// It drops the connection and makes it anew.
    Lost,
    /// It panics: the connection is gone for good.
    Gone,
}
use Fate::{Delivered, Gone, Lost};

/// A kind of malformed message: what it is, its headers, what stands for the reply subject, and what becomes of it.
type Form = (&'static str, &'static [u8], &'static [u8], Fate);

/// As docs/design.md has them. An async-nats that does better fails this, and lets us say less there.
const FORMS: [Form; 21] = [
    ("well formed", b"NATS/1.0\r\nX: y\r\n\r\n", b"r", Delivered),
    ("without an end", b"NATS/1.0\r\nX: y", b"r", Delivered),
    ("only a version", b"NATS/1.0", b"r", Delivered),
    ("an empty name", b"NATS/1.0\r\n: y\r\n\r\n", b"r", Delivered),
    ("a folded value", b"NATS/1.0\r\nX: y\r\n z\r\n\r\n", b"r", Delivered),
    ("a NUL in a value", b"NATS/1.0\r\nX: a\0b\r\n\r\n", b"r", Delivered),
    ("a bare carriage return at an end", b"NATS/1.0\r\nX: y\r\r\n\r\n", b"r", Delivered),
    ("a status of its own", b"NATS/1.0 503 none\r\n\r\n", b"r", Delivered),
    ("no UTF-8", b"NATS/1.0\r\nX: \xff\xfe\r\n\r\n", b"r", Lost),
    ("no colon", b"NATS/1.0\r\nX y\r\n\r\n", b"r", Lost),
    ("a space in a name", b"NATS/1.0\r\nX Y: z\r\n\r\n", b"r", Lost),
    ("a space after a name", b"NATS/1.0\r\nX : y\r\n\r\n", b"r", Lost),
    ("a NUL in a name", b"NATS/1.0\r\nX\0: y\r\n\r\n", b"r", Lost),
    ("a fold without a header", b"NATS/1.0\r\n X: y\r\n\r\n", b"r", Lost),
    ("a status that is no number", b"NATS/1.0 odd\r\n\r\n", b"r", Lost),
    ("another version", b"NATS/9.9\r\nX: y\r\n\r\n", b"r", Lost),
    ("no version", b"X: y\r\n\r\n", b"r", Lost),
    ("a reply subject that is no UTF-8", b"NATS/1.0\r\nX: y\r\n\r\n", b"r\xff", Lost),
    (
        "a reply subject with an odd space",
        b"NATS/1.0\r\nX: y\r\n\r\n",
        "r\u{2003}s".as_bytes(),
        Lost,
    ),
    ("a bare carriage return", b"NATS/1.0\r\nX: a\rb\r\n\r\n", b"r", Gone),
    ("a bare carriage return in a fold", b"NATS/1.0\r\nX: a\r\n\tb\rc\r\n\r\n", b"r", Gone),
];

/// A client that speaks the protocol by hand.
struct Raw(BufReader<TcpStream>);

impl Raw {
    async fn connect(nats: &Nats) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", nats.server.port())).await.unwrap();
        let mut raw = Self(BufReader::new(stream));
        raw.send(b"CONNECT {\"headers\":true,\"verbose\":false,\"no_responders\":true}\r\n").await;
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    async fn publish(&mut self, subject: &str, reply: &[u8], headers: &[u8]) {
        let size = headers.len();
        let (start, end) = (format!("HPUB {subject} "), format!(" {size} {size}\r\n"));
        let parts: [&[u8]; 5] = [start.as_bytes(), reply, end.as_bytes(), headers, b"\r\n"];
        self.send(&parts.concat()).await;
    }

    /// Listens to a subject; returns once the server has seen that.
    async fn listen(&mut self, subject: &str) {
        self.send(format!("SUB {subject} 1\r\nPING\r\n").as_bytes()).await;
        self.line("PONG").await;
    }

    /// Waits for a message; its reply subject.
    async fn hear(&mut self) -> String {
        self.line("HMSG ").await.split(' ').nth(3).unwrap().to_owned()
    }

    /// The next line that begins so.
    async fn line(&mut self, start: &str) -> String {
        loop {
            let mut line = Vec::new();
            timeout(DEADLINE, self.0.read_until(b'\n', &mut line)).await.unwrap().unwrap();
            let line = String::from_utf8_lossy(&line).into_owned();
            if line.starts_with(start) {
                return line;
            }
        }
    }
}

/// What becomes of a client that hears a message.
async fn fate(nats: &Nats, kind: &str, headers: &[u8], reply: &[u8]) -> Fate {
    let (sender, mut events) = mpsc::unbounded_channel();
    let client = ConnectOptions::new()
        .event_callback(move |event| {
            let _ = sender.send(event);
            async {}
        })
        .connect(nats.url())
        .await
        .unwrap();
    let mut heard = client.subscribe("odd").await.unwrap();
    // A round trip: the server has seen the subscription.
    assert!(client.request("nobody", "".into()).await.is_err());
    // It stays: the server may drop what a connection that ends has sent last.
    let mut raw = Raw::connect(nats).await;
    raw.publish("odd", reply, headers).await;
    let looking = async {
        loop {
            tokio::select! {
                message = heard.next() => return if message.is_some() { Delivered } else { Gone },
                Some(event) = events.recv() => if event == Event::Disconnected { return Lost },
            }
        }
    };
    timeout(DEADLINE, looking).await.unwrap_or_else(|_| panic!("{kind}: no fate"))
}

#[tokio::test]
async fn what_the_client_library_does_with_each_kind_is_known() {
    let nats = Nats::bare().await;
    for (kind, headers, reply, expected) in FORMS {
        assert_eq!(fate(&nats, kind, headers, reply).await, expected, "{kind}");
    }
    // As long as the server lets a message be.
    let long = ["NATS/1.0\r\nX: ", &"y".repeat(1_000_000), "\r\n\r\n"].concat();
    assert_eq!(fate(&nats, "a long one", long.as_bytes(), b"r").await, Delivered);
}

/// Waits until requests are answered.
async fn answers(nats: &Nats, within: Duration, after: &str) {
    wait_within(within, &format!("an answer after {after}"), || async {
        let asking = nats.client.request("cmd.scheduler.status", "{}".into());
        timeout(Duration::from_secs(1), asking).await.ok()?.ok()
    })
    .await;
}

/// Each occurrence of a schedule that fires every second has had its command, on time.
async fn check_on_time(nats: &Nats) {
    let mut due: Vec<DateTime<Utc>> = Vec::new();
    for command in nats.messages("COMMANDS").await {
        let at = command.headers.get("Scheduler-Scheduled-For").unwrap().as_str();
        due.push(at.parse().unwrap());
        let late = command.time - due[due.len() - 1];
        assert!(late < chrono::Duration::seconds(1), "{at} was late by {late}");
    }
    for pair in due.windows(2) {
        assert_eq!(pair[1] - pair[0], chrono::Duration::seconds(1), "{} and {}", pair[0], pair[1]);
    }
}

fn assert_engine_undisturbed(service: &Service) {
    let log = service.log();
    let lost = |line: &&str| {
        line.contains("connection to NATS lost") && line.contains(r#"connection="nats-scheduler""#)
    };
    assert_eq!(log.lines().find(lost), None, "the engine's connection");
}

#[tokio::test]
async fn malformed_requests_cost_nothing_that_fires() {
    let nats = Nats::start().await;
    let mut service = nats.service().await;
    nats.create_beats(1, "cmd.example.steady").await;
    nats.wait_count("COMMANDS", 1).await;
    for (kind, headers, reply, _) in FORMS {
        let mut raw = Raw::connect(&nats).await;
        for _ in 0..25 {
            for subject in ["cmd.scheduler.status", "cmd.scheduler.schedule.create", "$SRV.PING"] {
                raw.publish(subject, reply, headers).await;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        answers(&nats, Duration::from_secs(10), kind).await;
    }
    let long = ["NATS/1.0\r\nX: ", &"y".repeat(1_000_000), "\r\n\r\n"].concat();
    let mut raw = Raw::connect(&nats).await;
    raw.publish("cmd.scheduler.status", b"r", long.as_bytes()).await;
    answers(&nats, Duration::from_secs(10), "a long one").await;
    let sent = nats.count("COMMANDS").await;
    nats.wait_count("COMMANDS", sent + 2).await;
    check_on_time(&nats).await;
    assert_engine_undisturbed(&service);
    assert_eq!(nats.ask("status", json!({})).await["problems"], json!([]));
    assert!(service.stop().await.success(), "it was alive, and stops as it should");
}

#[tokio::test]
async fn a_panic_over_a_request_is_said_once_shows_in_health_and_is_mended() {
    let nats = Nats::start().await;
    let mut service = nats.service_with(&[("LOG_FORMAT", "json")]).await;
    let mut raw = Raw::connect(&nats).await;
    raw.publish("cmd.scheduler.status", b"r", b"NATS/1.0\r\nX: a\rb\r\n\r\n").await;
    wait_for("an instance that is not ready", || async {
        let (status, body) = service.probe("/ready").await?;
        (status == 503 && body.contains("requests over NATS are not heard")).then_some(())
    })
    .await;
    service.ready().await;
    answers(&nats, Duration::from_secs(10), "a panic").await;
    let log = service.log();
    for line in
        ["a task panicked", "the connection for requests is gone", "requests are heard again"]
    {
        assert_eq!(log.matches(line).count(), 1, "{line}");
    }
    for line in log.lines() {
        let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "a line of the log is no object: {line}");
    }
    // Discovery is on the same connection.
    let info = nats.client.request("$SRV.INFO.scheduler", "".into()).await.unwrap();
    let info: serde_json::Value = serde_json::from_slice(&info.payload).unwrap();
    assert_eq!(info["name"], "scheduler");
    assert!(service.stop().await.success());
}

#[tokio::test]
async fn a_worker_that_could_not_be_heard_is_not_taken_for_lost() {
    let nats = Nats::start().await;
    let _service = nats.service().await;
    let mut commands = nats.client.subscribe("cmd.example.job").await.unwrap();
    let delivery = json!({ "mode": "job", "timeout_seconds": 60, "heartbeat_seconds": 3 });
    nats.create(
        json!({ "name": "job", "schedule_type": "immediate", "target_command": "cmd.example.job",
                        "delivery": delivery, "max_retries": 0 }),
    )
    .await;
    let command = timeout(DEADLINE, commands.next()).await.unwrap().unwrap();
    let headers = command.headers.unwrap();
    let report = json!({ "execution_id": headers.get("Scheduler-Execution-Id").unwrap().as_str(),
                         "token": headers.get("Scheduler-Token").unwrap().as_str() });
    wait_for("a first heartbeat", || async {
        let reply = nats.request("execution.heartbeat", &report).await;
        (reply["data"]["status"] == "running").then_some(())
    })
    .await;
    let (mut raw, started) = (Raw::connect(&nats).await, std::time::Instant::now());
    while started.elapsed() < Duration::from_secs(8) {
        raw.publish("cmd.scheduler.status", b"r", b"NATS/1.0\r\nX: a\rb\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    answers(&nats, Duration::from_secs(10), "the last").await;
    assert_eq!(nats.ask("execution.heartbeat", report.clone()).await["status"], "running");
    assert_eq!(nats.ask("execution.complete", report).await["status"], "success");
}

/// Whoever answers a `request` writes to an inbox of the engine, but of a connection that costs nothing to lose.
#[tokio::test]
async fn a_panic_over_the_answer_to_a_request_costs_that_request() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let beat = nats.create_beats(1, "cmd.example.beat").await;
    let mut raw = Raw::connect(&nats).await;
    for lives in 1..=2 {
        raw.listen("cmd.evil.answer").await;
        let id = nats.create(answered_badly(lives, "cmd.evil.answer", "request")).await;
        let reply = raw.hear().await;
        raw.publish(&reply, b"", b"NATS/1.0\r\nX: a\rb\r\n\r\n").await;
        let failed = json!({ "schedule_id": id, "status": "failed" });
        let failed = nats.wait_executions(failed, 1).await.remove(0);
        // Whichever comes first: that answer, or that the server has the request.
        let error_type = failed["error_type"].as_str().unwrap();
        assert!(["connection", "timeout"].contains(&error_type), "{failed}");
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 3).await;
    }
    assert!(!service.log().contains("starting again"));
    check_ledgers(&nats, &beat).await;
}

fn answered_badly(lives: usize, target: &str, mode: &str) -> serde_json::Value {
    json!({ "name": format!("answered badly {lives}"), "schedule_type": "immediate",
            "target_command": target, "delivery": { "mode": mode, "timeout_seconds": 2 }, "max_retries": 0 })
}

/// Only instances may publish heartbeats, which all hear over the connection that they live by. A connection that is gone
/// for good must not linger.
#[tokio::test]
async fn a_panic_over_a_heartbeat_costs_seconds_and_not_the_process() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let beat = nats.create_beats(1, "cmd.example.beat").await;
    let mut raw = Raw::connect(&nats).await;
    for lives in 1..=2 {
        raw.publish("scheduler.instance.forged", b"", b"NATS/1.0\r\nX: a\rb\r\n\r\n").await;
        // The same process answers again and goes on firing; what it had claimed is taken over.
        wait_for("the service to start again", || async {
            (service.log().matches("starting again").count() == lives).then_some(())
        })
        .await;
        service.ready().await;
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 3).await;
    }
    check_ledgers(&nats, &beat).await;
}

/// Whoever listens to the target of a `publish` can write to the inbox of its answers, which is one of such a connection
/// too.
#[tokio::test]
async fn a_panic_over_the_answer_to_a_publish_costs_nothing() {
    let nats = Nats::start().await;
    let service = nats.service().await;
    let beat = nats.create_beats(1, "cmd.example.beat").await;
    let mut raw = Raw::connect(&nats).await;
    for lives in 1..=2 {
        raw.listen("cmd.example.answer").await;
        let id = nats.create(answered_badly(lives, "cmd.example.answer", "publish")).await;
        let reply = raw.hear().await;
        raw.publish(&reply, b"", b"NATS/1.0\r\nX: a\rb\r\n\r\n").await;
        nats.wait_executions(json!({ "schedule_id": id, "status": "success" }), 1).await;
        let before = nats.count("COMMANDS").await;
        nats.wait_count("COMMANDS", before + 3).await;
    }
    assert!(!service.log().contains("starting again"));
    check_ledgers(&nats, &beat).await;
}
