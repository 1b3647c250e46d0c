//! What the service relies on in NATS, verified with nats-server and with the simulated one alike.

use std::future::Future;
use std::time::Duration;

use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, SubjectTransform};
use bytes::Bytes;
use futures::StreamExt as _;
use nats_scheduler::config::nats::{NatsConfig, parse_servers};
use nats_scheduler::jetstream::adapter::JetStream;
use nats_scheduler::jetstream::connect::connect;
use nats_scheduler::port::answers::Answers;
use nats_scheduler::port::{
    Append, Appended, Entry, Nats, Outgoing, Reading, Start, Unanswered, Unstored, Wire,
};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::harness;
use crate::nats::{Server, Simulated};

const DEADLINE: Duration = Duration::from_secs(20);

/// A NATS to ask.
trait Ground {
    type N: Nats;
    async fn begin() -> Self;
    fn nats(&self) -> &Self::N;
    async fn stream(&self, config: Config);
    async fn delete(&self, stream: &str);
    /// Has a worker take the next message of a work queue, and acknowledge it.
    async fn work(&self, stream: &str);
    /// Ends the server.
    async fn down(&mut self);
    /// Starts it again, and returns once there is a connection.
    async fn up(&mut self);
}

struct Real {
    server: harness::Nats,
    nats: JetStream,
}

impl Ground for Real {
    type N = JetStream;

    async fn begin() -> Self {
        let server = harness::Nats::bare().await;
        let servers = parse_servers(&server.url()).unwrap();
        let config = NatsConfig { servers, ..NatsConfig::default() };
        let connection = connect(&config, "conformance", &Answers::default()).await.unwrap();
        Self { server, nats: JetStream::new(connection, config) }
    }

    fn nats(&self) -> &JetStream {
        &self.nats
    }

    async fn stream(&self, config: Config) {
        self.server.js.create_stream(config).await.unwrap();
    }

    async fn delete(&self, stream: &str) {
        self.server.js.delete_stream(stream).await.unwrap();
    }

    async fn work(&self, stream: &str) {
        let stream = self.server.js.get_stream(stream).await.unwrap();
        let config = pull::Config { durable_name: Some("worker".to_owned()), ..Default::default() };
        let worker = stream.get_or_create_consumer("worker", config).await.unwrap();
        let mut messages = worker.fetch().max_messages(1).messages().await.unwrap();
        messages.next().await.unwrap().unwrap().double_ack().await.unwrap();
    }

    async fn down(&mut self) {
        self.server.server.kill();
        while self.nats.is_connected() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn up(&mut self) {
        let known = self.nats.connects();
        self.server.server.restart().await.unwrap();
        soon(self.nats.reconnected(known)).await;
    }
}

struct Sim {
    server: Server,
    nats: Simulated,
}

impl Ground for Sim {
    type N = Simulated;

    async fn begin() -> Self {
        let server = Server::start(1);
        let nats = server.connect();
        Self { server, nats }
    }

    fn nats(&self) -> &Simulated {
        &self.nats
    }

    async fn stream(&self, config: Config) {
        self.server.create_stream(config);
    }

    async fn delete(&self, stream: &str) {
        self.server.delete_stream(stream);
    }

    async fn work(&self, stream: &str) {
        let next = self.server.messages(stream)[0].sequence;
        self.server.acknowledge(stream, next);
    }

    async fn down(&mut self) {
        self.server.restart(Duration::from_secs(1), Duration::ZERO, None);
    }

    async fn up(&mut self) {
        let known = self.nats.connects();
        soon(self.nats.reconnected(known)).await;
    }
}

/// Each question is a test of both.
macro_rules! asked_of_both {
    ($($name:ident),+ $(,)?) => {
        mod real {
            $(#[tokio::test]
            async fn $name() {
                super::$name(<super::Real as super::Ground>::begin().await).await;
            })+
        }
        mod simulated {
            $(#[tokio::test(start_paused = true)]
            async fn $name() {
                super::$name(<super::Sim as super::Ground>::begin().await).await;
            })+
        }
    };
}

asked_of_both!(
    a_write_goes_by_the_revision_that_it_expects,
    a_write_may_expect_the_revision_of_another_subject,
    an_id_is_stored_once_within_its_window,
    a_refused_write_uses_up_no_id,
    what_no_stream_captures_is_not_stored,
    limits_refuse_what_is_new_or_drop_what_is_old,
    what_expires_leaves_a_marker,
    a_time_to_live_needs_leave_and_a_second,
    a_purge_leaves_only_its_marker,
    the_leader_says_what_it_holds,
    streams_and_messages_that_are_not_there,
    a_stream_is_read_in_order_and_on,
    a_stream_is_read_from_where_one_wants,
    messages_reach_those_who_listen,
    a_request_to_nobody_is_refused_at_once,
    a_publish_with_a_reply_is_acknowledged_by_its_stream,
    the_state_of_a_stream_can_be_asked_by_hand,
    a_trace_says_where_a_message_would_go,
    a_line_carries_messages_both_ways,
    a_copy_does_not_make_the_window_longer,
    a_work_queue_gives_up_what_a_worker_has_done,
    a_work_queue_is_read_by_workers_only,
    a_work_queue_is_looked_at_one_message_after_the_other,
    a_stream_that_is_full_says_of_what,
    a_stream_that_acknowledges_nothing_stores_all_the_same,
    who_listens_and_says_nothing_gives_no_answer,
    a_marker_of_a_deletion_is_what_writes_go_by,
    what_expires_without_a_marker_is_gone,
    what_stands_alone_needs_leave,
    a_stream_is_read_on_from_what_is_gone,
    a_stream_that_was_made_anew_is_another,
    a_pattern_has_a_last_message_too,
    what_is_too_old_is_dropped,
    a_stream_may_store_under_another_subject,
    what_is_too_large_is_not_sent,
    a_server_that_comes_back_knows_what_it_has_stored,
    what_was_taken_without_a_connection_is_sent_over_the_next,
    a_reader_goes_on_when_the_server_is_back,
);

fn bucket() -> Config {
    Config {
        name: "B".to_owned(),
        subjects: vec!["b.>".to_owned()],
        max_messages_per_subject: 1,
        allow_rollup: true,
        allow_direct: true,
        allow_message_ttl: true,
        subject_delete_marker_ttl: Some(Duration::from_secs(60)),
        ..Config::default()
    }
}

fn log() -> Config {
    Config { name: "L".to_owned(), subjects: vec!["l.>".to_owned()], ..Config::default() }
}

fn message(subject: &str, body: &str) -> Append {
    Append::new(subject.to_owned(), Bytes::copy_from_slice(body.as_bytes()))
}

/// The number of a refusal.
fn code(stored: Result<Appended, Unstored>) -> u64 {
    match stored {
        Err(Unstored::Refused(error)) => error.error_code().0,
        other => panic!("{other:?}"),
    }
}

async fn stored(nats: &impl Nats, message: Append) -> u64 {
    nats.append(message).await.unwrap().sequence
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(DEADLINE, what).await.expect("it takes too long")
}

fn all(filter: &str) -> Reading {
    Reading { from: Start::First, filter: filter.to_owned(), headers_only: false }
}

fn text(entry: &Entry) -> &str {
    std::str::from_utf8(&entry.body).unwrap()
}

async fn a_write_goes_by_the_revision_that_it_expects(ground: impl Ground) {
    ground.stream(bucket()).await;
    let nats = ground.nats();
    assert_eq!(stored(nats, message("b.x", "1").expecting(0)).await, 1);
    assert_eq!(code(nats.append(message("b.x", "2").expecting(0)).await), 10071);
    assert_eq!(stored(nats, message("b.y", "1").expecting(0)).await, 2);
    assert_eq!(stored(nats, message("b.x", "2").expecting(1)).await, 3);
    assert_eq!(code(nats.append(message("b.x", "3").expecting(1)).await), 10071);
    assert_eq!(code(nats.append(message("b.x", "3").expecting(2)).await), 10071);
    let last = nats.last("B", "b.x").await.unwrap().unwrap();
    assert_eq!((last.sequence, text(&last)), (3, "2"));
}

async fn a_write_may_expect_the_revision_of_another_subject(ground: impl Ground) {
    ground.stream(bucket()).await;
    let nats = ground.nats();
    stored(nats, message("b.x", "1")).await;
    let other = "Nats-Expected-Last-Subject-Sequence-Subject";
    let fenced = |expected| message("b.y", "1").expecting(expected).header(other, "b.x");
    assert_eq!(code(nats.append(fenced(7)).await), 10071);
    assert_eq!(stored(nats, fenced(1)).await, 2);
    assert_eq!(stored(nats, fenced(1)).await, 3, "its own revision does not matter");
}

async fn an_id_is_stored_once_within_its_window(ground: impl Ground) {
    let config = Config { duplicate_window: Duration::from_secs(1), ..log() };
    ground.stream(config).await;
    let nats = ground.nats();
    let send = |body: &str| message("l.x", body).header("Nats-Msg-Id", "one");
    let first = nats.append(send("1")).await.unwrap();
    assert_eq!(first, Appended { sequence: 1, duplicate: false });
    let again = nats.append(send("2")).await.unwrap();
    assert_eq!(again, Appended { sequence: 1, duplicate: true });
    let elsewhere = message("l.y", "1").header("Nats-Msg-Id", "one");
    assert!(nats.append(elsewhere).await.unwrap().duplicate, "its subject does not matter");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let late = nats.append(send("3")).await.unwrap();
    assert_eq!(late, Appended { sequence: 2, duplicate: false });
}

async fn a_refused_write_uses_up_no_id(ground: impl Ground) {
    ground.stream(bucket()).await;
    let nats = ground.nats();
    let send = || message("b.x", "1").header("Nats-Msg-Id", "one");
    assert_eq!(code(nats.append(send().expecting(5)).await), 10071);
    assert!(!nats.append(send().expecting(0)).await.unwrap().duplicate);
    // The condition is looked at before the id.
    assert_eq!(code(nats.append(send().expecting(0)).await), 10071);
}

async fn what_no_stream_captures_is_not_stored(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    let lost = nats.append(message("nowhere.x", "1")).await;
    assert!(matches!(lost, Err(Unstored::NoStream)), "{lost:?}");
    assert_eq!(nats.stream_of("nowhere.x").await.unwrap(), None);
    assert_eq!(nats.stream_of("l.x.y").await.unwrap().as_deref(), Some("L"));
}

async fn limits_refuse_what_is_new_or_drop_what_is_old(ground: impl Ground) {
    let old = Config { max_messages: 2, max_message_size: 100, ..log() };
    ground.stream(old).await;
    let new = Config {
        name: "N".to_owned(),
        subjects: vec!["n.>".to_owned()],
        max_messages: 2,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    ground.stream(new).await;
    let nats = ground.nats();
    for body in ["1", "2", "3"] {
        stored(nats, message("l.x", body)).await;
    }
    let state = nats.info("L").await.unwrap().state;
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (2, 2, 3));
    assert_eq!(code(nats.append(message("l.x", &"x".repeat(200))).await), 10054);
    stored(nats, message("n.x", "1")).await;
    stored(nats, message("n.x", "2")).await;
    let full = nats.append(message("n.x", "3")).await;
    assert!(format!("{full:?}").contains("maximum messages exceeded"), "{full:?}");
    assert_eq!(code(full), 10077);
}

async fn what_expires_leaves_a_marker(ground: impl Ground) {
    ground.stream(bucket()).await;
    let nats = ground.nats();
    let second = Some(Duration::from_secs(1));
    let (mut entries, pending) = nats.read("B", all("b.>")).await.unwrap();
    assert_eq!(pending, 0);
    stored(nats, message("b.x", "1").lasting(second)).await;
    assert!(soon(entries.next()).await.unwrap().unwrap().is_value());
    let marker = soon(entries.next()).await.unwrap().unwrap();
    assert_eq!((marker.subject.as_str(), marker.sequence, marker.is_value()), ("b.x", 2, false));
    assert_eq!(code(nats.append(message("b.x", "2").expecting(0)).await), 10071);
    assert_eq!(stored(nats, message("b.x", "2").expecting(2)).await, 3);
}

async fn a_time_to_live_needs_leave_and_a_second(ground: impl Ground) {
    ground.stream(bucket()).await;
    ground.stream(log()).await;
    let nats = ground.nats();
    let half = Some(Duration::from_millis(500));
    assert_eq!(code(nats.append(message("b.x", "1").lasting(half)).await), 10165);
    let second = Some(Duration::from_secs(1));
    assert_eq!(code(nats.append(message("l.x", "1").lasting(second)).await), 10166);
}

async fn a_purge_leaves_only_its_marker(ground: impl Ground) {
    ground.stream(bucket()).await;
    let nats = ground.nats();
    stored(nats, message("b.x", "1")).await;
    let purge = message("b.x", "").expecting(1).header("KV-Operation", "PURGE");
    stored(nats, purge.header("Nats-Rollup", "sub")).await;
    let last = nats.last("B", "b.x").await.unwrap().unwrap();
    assert_eq!((last.sequence, last.is_value()), (2, false));
    assert!(nats.message("B", 1).await.unwrap().is_none());
    assert_eq!(nats.info("B").await.unwrap().state.messages, 1);
}

async fn the_leader_says_what_it_holds(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    let empty = nats.info("L").await.unwrap();
    assert_eq!((empty.state.messages, empty.state.last_sequence), (0, 0));
    assert_eq!(empty.config.name, "L");
    assert_eq!(empty.config.duplicate_window, Duration::from_secs(120), "the default");
    for body in ["1", "2", "3"] {
        stored(nats, message("l.x", body)).await;
    }
    let info = nats.info("L").await.unwrap();
    let state = info.state;
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (3, 1, 3));
    assert_eq!(info.created, empty.created);
    assert_eq!(nats.last_sequence("L").await.unwrap(), 3);
    let message = nats.message("L", 2).await.unwrap().unwrap();
    let said = info.said_at.unwrap();
    assert!(info.created <= message.stored_at && message.stored_at <= said);
}

async fn streams_and_messages_that_are_not_there(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    let gone = |error: Unanswered| error.is_no_stream();
    assert!(gone(nats.info("X").await.unwrap_err()));
    assert!(gone(nats.last("X", "x").await.unwrap_err()));
    assert!(gone(nats.message("X", 1).await.unwrap_err()));
    assert!(nats.read("X", all("")).await.is_err());
    assert!(nats.last("L", "l.x").await.unwrap().is_none());
    assert!(nats.message("L", 1).await.unwrap().is_none());
}

async fn a_stream_is_read_in_order_and_on(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    for (subject, body) in [("l.x", "1"), ("l.y", "2"), ("l.x", "3")] {
        stored(nats, message(subject, body).header("Own", body)).await;
    }
    let (mut entries, pending) = nats.read("L", all("")).await.unwrap();
    assert_eq!(pending, 3);
    for (sequence, body) in [(1, "1"), (2, "2"), (3, "3")] {
        let entry = soon(entries.next()).await.unwrap().unwrap();
        assert_eq!((entry.sequence, text(&entry), entry.pending), (sequence, body, 3 - sequence));
        assert_eq!(entry.headers.get("Own").unwrap().as_str(), body);
    }
    stored(nats, message("l.z", "4")).await;
    let next = soon(entries.next()).await.unwrap().unwrap();
    assert_eq!((next.sequence, next.subject.as_str(), next.pending), (4, "l.z", 0));
}

async fn a_stream_is_read_from_where_one_wants(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    for (subject, body) in [("l.x", "1"), ("l.y", "2"), ("l.x", "3")] {
        stored(nats, message(subject, body)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    stored(nats, message("l.y", "4")).await;
    let later = nats.message("L", 4).await.unwrap().unwrap().stored_at;
    for (from, filter, expected) in [
        (Start::First, "l.x", &[1, 3][..]),
        (Start::LastOfEach, "l.>", &[3, 4]),
        (Start::Sequence(3), "", &[3, 4]),
        (Start::Sequence(3), "l.x", &[3]),
        (Start::Time(later), "", &[4]),
    ] {
        let what = Reading { from, filter: filter.to_owned(), headers_only: true };
        let (entries, pending) = nats.read("L", what).await.unwrap();
        assert_eq!(pending, expected.len() as u64, "{from:?} {filter}");
        let shown: Vec<_> = soon(entries.take(expected.len()).collect()).await;
        let shown: Vec<_> = shown.into_iter().map(Result::unwrap).collect();
        let sequences: Vec<_> = shown.iter().map(|entry| entry.sequence).collect();
        assert_eq!(sequences, expected, "{from:?} {filter}");
        assert!(shown.iter().all(|entry| entry.body.is_empty()), "only headers were asked for");
    }
    let what = Reading { from: Start::Sequence(9), filter: String::new(), headers_only: false };
    let (mut entries, pending) = nats.read("L", what).await.unwrap();
    assert_eq!(pending, 0);
    stored(nats, message("l.x", "5")).await;
    let quiet = timeout(Duration::from_millis(300), entries.next()).await;
    assert!(quiet.is_err(), "it comes before what was asked for");
}

async fn messages_reach_those_who_listen(ground: impl Ground) {
    let nats = ground.nats();
    let mut heard = nats.subscribe("a.*.c".to_owned()).await.unwrap();
    for (subject, body) in [("a.b", "1"), ("a.b.c", "2"), ("a.b.d", "3"), ("a.x.c", "4")] {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let message = Outgoing { subject: subject.to_owned(), body, ..Outgoing::default() };
        nats.publish(message).await.unwrap();
    }
    for (subject, body) in [("a.b.c", "2"), ("a.x.c", "4")] {
        let message = soon(heard.next()).await.unwrap();
        assert_eq!((message.subject.as_str(), &*message.payload), (subject, body.as_bytes()));
    }
    assert_ne!(nats.new_inbox(), nats.new_inbox());
}

async fn a_request_to_nobody_is_refused_at_once(ground: impl Ground) {
    let nats = ground.nats();
    let asked = soon(nats.request("nobody.here".to_owned())).await;
    assert!(matches!(asked, Err(Unanswered::Lost(_))), "{asked:?}");
    let reply = nats.new_inbox();
    let mut answers = nats.subscribe(reply.clone()).await.unwrap();
    let question =
        Outgoing { subject: "nobody.here".to_owned(), reply: Some(reply), ..Outgoing::default() };
    nats.publish(question).await.unwrap();
    let answer = soon(answers.next()).await.unwrap();
    assert_eq!(answer.status, Some(async_nats::StatusCode::NO_RESPONDERS));
}

async fn a_publish_with_a_reply_is_acknowledged_by_its_stream(ground: impl Ground) {
    ground.stream(log()).await;
    ground.stream(Config { name: "B".to_owned(), no_ack: true, ..bucket() }).await;
    let nats = ground.nats();
    let reply = nats.new_inbox();
    let mut answers = nats.subscribe(reply.clone()).await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "one");
    let send = |subject: &str| Outgoing {
        subject: subject.to_owned(),
        reply: Some(reply.clone()),
        headers: headers.clone(),
        body: Bytes::new(),
    };
    // The stream that acknowledges nothing goes first, and is not heard.
    for subject in ["b.x", "l.x", "l.x"] {
        nats.publish(send(subject)).await.unwrap();
    }
    for duplicate in [None, Some(true)] {
        let answer: Value =
            serde_json::from_slice(&soon(answers.next()).await.unwrap().payload).unwrap();
        assert_eq!((answer["stream"].as_str(), answer["seq"].as_u64()), (Some("L"), Some(1)));
        assert_eq!(answer["duplicate"].as_bool(), duplicate, "{answer}");
    }
}

async fn the_state_of_a_stream_can_be_asked_by_hand(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    stored(nats, message("l.x", "1")).await;
    let reply = nats.request("$JS.API.STREAM.INFO.L".to_owned()).await.unwrap();
    let said: Value = serde_json::from_slice(&reply.payload).unwrap();
    assert_eq!(said["state"]["last_seq"], 1);
    assert!(said["ts"].is_string());
}

async fn a_trace_says_where_a_message_would_go(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    for (subject, stream) in [("l.x", Some("L")), ("nowhere.x", None)] {
        let dest = nats.new_inbox();
        let mut reports = nats.subscribe(dest.clone()).await.unwrap();
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Trace-Dest", dest.as_str());
        headers.insert("Nats-Trace-Only", "true");
        let question = Outgoing { subject: subject.to_owned(), headers, ..Outgoing::default() };
        nats.publish(question).await.unwrap();
        let report: Value =
            serde_json::from_slice(&soon(reports.next()).await.unwrap().payload).unwrap();
        let events = report["events"].as_array().unwrap();
        let found = events.iter().find(|event| event["type"] == "js");
        assert_eq!(found.and_then(|event| event["stream"].as_str()), stream, "{report}");
    }
    assert_eq!(nats.info("L").await.unwrap().state.messages, 0, "a question is not stored");
}

async fn a_line_carries_messages_both_ways(ground: impl Ground) {
    let nats = ground.nats();
    let broken = CancellationToken::new();
    let line = nats.line("line", Answers::default(), broken.clone()).await.unwrap();
    assert!(line.is_connected());
    let mut here = nats.subscribe("to.main".to_owned()).await.unwrap();
    let mut there = line.subscribe("to.line".to_owned()).await.unwrap();
    let send = |subject: &str| Outgoing { subject: subject.to_owned(), ..Outgoing::default() };
    // What comes back shows that the server knows what was subscribed before it.
    nats.publish(send("to.main")).await.unwrap();
    soon(here.next()).await.unwrap();
    line.publish(send("to.line")).await.unwrap();
    soon(there.next()).await.unwrap();
    line.publish(send("to.main")).await.unwrap();
    soon(here.next()).await.unwrap();
    nats.publish(send("to.line")).await.unwrap();
    soon(there.next()).await.unwrap();
    broken.cancel();
}

async fn a_copy_does_not_make_the_window_longer(ground: impl Ground) {
    ground.stream(Config { duplicate_window: Duration::from_secs(2), ..log() }).await;
    let nats = ground.nats();
    let send = || message("l.x", "1").header("Nats-Msg-Id", "one");
    stored(nats, send()).await;
    tokio::time::sleep(Duration::from_millis(1400)).await;
    assert!(nats.append(send()).await.unwrap().duplicate);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    let late = nats.append(send()).await.unwrap();
    assert_eq!(late, Appended { sequence: 2, duplicate: false });
}

fn queue() -> Config {
    Config {
        name: "Q".to_owned(),
        subjects: vec!["q.>".to_owned()],
        retention: RetentionPolicy::WorkQueue,
        discard: DiscardPolicy::New,
        max_messages: 2,
        ..Config::default()
    }
}

async fn a_work_queue_gives_up_what_a_worker_has_done(ground: impl Ground) {
    ground.stream(queue()).await;
    let nats = ground.nats();
    let send = || message("q.x", "1").header("Nats-Msg-Id", "one");
    stored(nats, send()).await;
    stored(nats, message("q.x", "2")).await;
    assert_eq!(code(nats.append(message("q.x", "3")).await), 10077);
    ground.work("Q").await;
    assert!(nats.message("Q", 1).await.unwrap().is_none());
    let state = nats.info("Q").await.unwrap().state;
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (1, 2, 2));
    assert_eq!(stored(nats, message("q.x", "3")).await, 3, "there is room again");
    assert!(nats.append(send()).await.unwrap().duplicate, "its id is known all the same");
}

async fn a_work_queue_is_read_by_workers_only(ground: impl Ground) {
    ground.stream(queue()).await;
    let refused = ground.nats().read("Q", all("")).await.map(|_| ()).unwrap_err();
    assert!(refused.contains("workqueue stream requires explicit ack"), "{refused}");
}

async fn a_work_queue_is_looked_at_one_message_after_the_other(ground: impl Ground) {
    let subjects = vec!["w.>".to_owned()];
    let retention = RetentionPolicy::WorkQueue;
    ground.stream(Config { name: "W".to_owned(), subjects, retention, ..Config::default() }).await;
    let nats = ground.nats();
    for subject in ["w.a", "w.b", "w.a"] {
        stored(nats, message(subject, subject)).await;
    }
    let next = async |subjects, sequence| {
        nats.next("W", subjects, sequence).await.unwrap().map(|entry| entry.sequence)
    };
    assert_eq!((next("w.a", 1).await, next("w.a", 2).await), (Some(1), Some(3)));
    assert_eq!((next("w.*", 2).await, next(">", 3).await), (Some(2), Some(3)));
    assert_eq!((next("w.b", 3).await, next(">", 4).await), (None, None));
    ground.work("W").await;
    assert_eq!((next("w.a", 1).await, next("w.b", 0).await), (Some(3), Some(2)));
    assert!(nats.next("none", ">", 1).await.is_err());
}

async fn a_stream_that_is_full_says_of_what(ground: impl Ground) {
    let subjects = vec!["n.>".to_owned()];
    let new = Config { subjects, discard: DiscardPolicy::New, ..Config::default() };
    let bytes = Config { name: "N".to_owned(), max_bytes: 1000, ..new.clone() };
    let subject = Config {
        name: "S".to_owned(),
        subjects: vec!["s.>".to_owned()],
        max_messages_per_subject: 1,
        discard_new_per_subject: true,
        ..new
    };
    ground.stream(bytes).await;
    ground.stream(subject).await;
    let nats = ground.nats();
    for _ in 0..2 {
        stored(nats, message("n.x", &"x".repeat(300))).await;
    }
    let full = nats.append(message("n.x", &"x".repeat(500))).await;
    assert!(format!("{full:?}").contains("maximum bytes exceeded"), "{full:?}");
    assert_eq!(code(full), 10077);
    stored(nats, message("s.x", "1")).await;
    stored(nats, message("s.y", "1")).await;
    let full = nats.append(message("s.x", "2")).await;
    assert!(format!("{full:?}").contains("maximum messages per subject exceeded"), "{full:?}");
    assert_eq!(code(full), 10077);
    // A publish is told the same.
    let reply = nats.new_inbox();
    let mut answers = nats.subscribe(reply.clone()).await.unwrap();
    let subject = "s.x".to_owned();
    nats.publish(Outgoing { subject, reply: Some(reply), ..Outgoing::default() }).await.unwrap();
    let answer: Value =
        serde_json::from_slice(&soon(answers.next()).await.unwrap().payload).unwrap();
    assert_eq!(
        (&answer["error"]["err_code"], &answer["error"]["code"]),
        (&10077.into(), &503.into())
    );
    assert_eq!(answer["stream"], "S", "{answer}");
}

async fn a_stream_that_acknowledges_nothing_stores_all_the_same(ground: impl Ground) {
    ground.stream(Config { no_ack: true, ..log() }).await;
    let nats = ground.nats();
    let (taken, refused) = futures::join!(
        nats.append(message("l.x", "1")),
        nats.append(message("l.x", "2").expecting(7)),
    );
    for unknown in [taken, refused] {
        assert!(matches!(unknown, Err(Unstored::Unknown(_))), "{unknown:?}");
    }
    assert_eq!(nats.info("L").await.unwrap().state.messages, 1);
}

async fn who_listens_and_says_nothing_gives_no_answer(ground: impl Ground) {
    let nats = ground.nats();
    let mut questions = nats.subscribe("silent".to_owned()).await.unwrap();
    let reply = nats.new_inbox();
    let mut answers = nats.subscribe(reply.clone()).await.unwrap();
    let subject = "silent".to_owned();
    nats.publish(Outgoing { subject, reply: Some(reply), ..Outgoing::default() }).await.unwrap();
    assert!(soon(questions.next()).await.unwrap().reply.is_some());
    assert!(timeout(Duration::from_millis(300), answers.next()).await.is_err());
}

async fn a_marker_of_a_deletion_is_what_writes_go_by(ground: impl Ground) {
    ground.stream(bucket()).await;
    let nats = ground.nats();
    stored(nats, message("b.x", "1")).await;
    let delete = message("b.x", "").expecting(1).header("KV-Operation", "DEL");
    assert_eq!(stored(nats, delete).await, 2);
    assert_eq!(code(nats.append(message("b.x", "2").expecting(0)).await), 10071);
    assert_eq!(stored(nats, message("b.x", "2").expecting(2)).await, 3);
    let purge = message("b.x", "").header("KV-Operation", "PURGE").header("Nats-Rollup", "sub");
    stored(nats, purge.lasting(Some(Duration::from_secs(1)))).await;
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert!(nats.last("B", "b.x").await.unwrap().is_none(), "a marker leaves no other");
    assert_eq!(stored(nats, message("b.x", "3").expecting(0)).await, 5);
}

async fn what_expires_without_a_marker_is_gone(ground: impl Ground) {
    ground.stream(Config { allow_message_ttl: true, ..log() }).await;
    let nats = ground.nats();
    let second = Some(Duration::from_secs(1));
    stored(nats, message("l.x", "1").lasting(second)).await;
    assert_eq!(code(nats.append(message("l.x", "2").expecting(0)).await), 10071);
    tokio::time::sleep(Duration::from_millis(2200)).await;
    assert!(nats.last("L", "l.x").await.unwrap().is_none());
    let state = nats.info("L").await.unwrap().state;
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (0, 2, 1));
    assert_eq!(stored(nats, message("l.x", "2").expecting(0)).await, 2);
}

async fn what_stands_alone_needs_leave(ground: impl Ground) {
    ground.stream(bucket()).await;
    ground.stream(log()).await;
    let nats = ground.nats();
    let alone = |subject: &str, of: &str| message(subject, "1").header("Nats-Rollup", of);
    assert_eq!(code(nats.append(alone("l.x", "sub")).await), 10111);
    stored(nats, message("b.x", "1")).await;
    stored(nats, message("b.y", "1")).await;
    stored(nats, alone("b.x", "sub")).await;
    assert_eq!(nats.info("B").await.unwrap().state.messages, 2);
    stored(nats, alone("b.z", "all")).await;
    let state = nats.info("B").await.unwrap().state;
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (1, 4, 4));
}

async fn a_stream_is_read_on_from_what_is_gone(ground: impl Ground) {
    ground.stream(bucket()).await;
    let nats = ground.nats();
    for subject in ["b.x", "b.y", "b.x", "b.z"] {
        stored(nats, message(subject, "1")).await;
    }
    let what = Reading { from: Start::Sequence(1), filter: String::new(), headers_only: false };
    let (entries, pending) = nats.read("B", what).await.unwrap();
    assert_eq!(pending, 3);
    let shown: Vec<_> = soon(entries.take(3).collect()).await;
    let shown: Vec<_> = shown.into_iter().map(|entry| entry.unwrap().sequence).collect();
    assert_eq!(shown, [2, 3, 4]);
}

async fn a_stream_that_was_made_anew_is_another(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    let send = || message("l.x", "1").header("Nats-Msg-Id", "one");
    stored(nats, send()).await;
    let before = nats.info("L").await.unwrap().created;
    let (mut entries, _) = nats.read("L", all("")).await.unwrap();
    soon(entries.next()).await.unwrap().unwrap();
    ground.delete("L").await;
    assert!(nats.info("L").await.unwrap_err().is_no_stream());
    assert!(matches!(nats.append(send()).await, Err(Unstored::NoStream)));
    ground.stream(log()).await;
    let first = nats.append(send()).await.unwrap();
    assert_eq!(first, Appended { sequence: 1, duplicate: false });
    assert!(nats.info("L").await.unwrap().created > before);
    let shown = timeout(Duration::from_secs(2), entries.next()).await;
    assert!(shown.is_err(), "who reads the old one is told nothing: {shown:?}");
}

async fn a_pattern_has_a_last_message_too(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    let all = (1..=300).map(|n| nats.append(message(&format!("l.{n}.x"), "1")));
    futures::future::try_join_all(all).await.unwrap();
    for _ in 0..2 {
        stored(nats, message("l.7.x", "2")).await;
    }
    let last =
        async |subject: &str| nats.last("L", subject).await.unwrap().map(|last| last.sequence);
    assert_eq!(last("l.7.x").await, Some(302));
    assert_eq!(last("l.*.x").await, Some(302));
    assert_eq!(last("l.>").await, Some(302));
    assert_eq!(last("l.*").await, None);
    assert_eq!(last("l.1000.x").await, None);
    assert_eq!(nats.info("L").await.unwrap().state.messages, 302);
}

async fn what_is_too_old_is_dropped(ground: impl Ground) {
    let (max_age, duplicate_window) = (Duration::from_secs(1), Duration::from_secs(1));
    ground.stream(Config { max_age, duplicate_window, ..log() }).await;
    let nats = ground.nats();
    stored(nats, message("l.x", "1")).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(nats.message("L", 1).await.unwrap().is_none());
    let state = nats.info("L").await.unwrap().state;
    assert_eq!((state.messages, state.first_sequence, state.last_sequence), (0, 2, 1));
    assert_eq!(stored(nats, message("l.x", "2").expecting(0)).await, 2);
}

async fn a_stream_may_store_under_another_subject(ground: impl Ground) {
    let transform = SubjectTransform { source: "l.>".to_owned(), destination: "kept.>".to_owned() };
    ground.stream(Config { subject_transform: Some(transform), ..log() }).await;
    let nats = ground.nats();
    assert_eq!(stored(nats, message("l.x", "1").expecting(0)).await, 1);
    assert_eq!(code(nats.append(message("l.x", "2").expecting(0)).await), 10071);
    assert!(nats.last("L", "l.x").await.unwrap().is_none());
    assert_eq!(nats.last("L", "kept.x").await.unwrap().unwrap().sequence, 1);
    assert_eq!(nats.message("L", 1).await.unwrap().unwrap().subject, "kept.x");
    assert_eq!(nats.stream_of("l.x").await.unwrap().as_deref(), Some("L"));
    let (_, pending) = nats.read("L", all("kept.>")).await.unwrap();
    assert_eq!(pending, 1);
}

async fn what_is_too_large_is_not_sent(ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats();
    let large = Bytes::from(vec![b'x'; nats.max_payload() + 1]);
    let refused = nats.append(Append::new("l.x".to_owned(), large)).await;
    assert!(matches!(refused, Err(Unstored::TooLarge(_))), "{refused:?}");
    assert_eq!(stored(nats, message("l.x", "1")).await, 1, "the connection is as it was");
}

async fn a_server_that_comes_back_knows_what_it_has_stored(mut ground: impl Ground) {
    ground.stream(queue()).await;
    ground.stream(bucket()).await;
    let nats = ground.nats().clone();
    let send = |subject: &str, id: &str| message(subject, "1").header("Nats-Msg-Id", id);
    stored(&nats, send("q.x", "done")).await;
    ground.work("Q").await;
    stored(&nats, send("q.x", "waits")).await;
    stored(&nats, send("b.x", "gone")).await;
    stored(&nats, send("b.x", "last")).await;
    let created = nats.info("B").await.unwrap().created;
    ground.down().await;
    ground.up().await;
    assert_eq!(nats.info("B").await.unwrap().created, created);
    for (subject, id, sequence, duplicate) in [
        ("q.x", "waits", 2, true),
        ("q.x", "done", 3, false),
        ("b.x", "last", 2, true),
        ("b.x", "gone", 3, false),
    ] {
        let again = nats.append(send(subject, id)).await.unwrap();
        assert_eq!(again, Appended { sequence, duplicate }, "{subject} {id}");
    }
}

async fn what_was_taken_without_a_connection_is_sent_over_the_next(mut ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats().clone();
    let mut heard = nats.subscribe("h.>".to_owned()).await.unwrap();
    nats.flush().await.unwrap();
    ground.down().await;
    assert!(!nats.is_connected());
    let to = |subject: &str| Outgoing { subject: subject.to_owned(), ..Outgoing::default() };
    nats.publish(to("h.x")).await.unwrap();
    nats.publish(to("l.x")).await.unwrap();
    let late = nats.append(message("l.y", "1"));
    assert!(timeout(Duration::from_millis(100), late).await.is_err(), "it waits");
    ground.up().await;
    nats.flush().await.unwrap();
    assert_eq!(soon(heard.next()).await.unwrap().subject.as_str(), "h.x");
    while nats.info("L").await.unwrap().state.messages < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(nats.last("L", "l.y").await.unwrap().is_some(), "nobody waited for it any more");
}

async fn a_reader_goes_on_when_the_server_is_back(mut ground: impl Ground) {
    ground.stream(log()).await;
    let nats = ground.nats().clone();
    let (mut entries, _) = nats.read("L", all("")).await.unwrap();
    stored(&nats, message("l.x", "1")).await;
    assert_eq!(soon(entries.next()).await.unwrap().unwrap().sequence, 1);
    ground.down().await;
    ground.up().await;
    stored(&nats, message("l.x", "2")).await;
    stored(&nats, message("l.x", "3")).await;
    for sequence in [2, 3] {
        let entry = soon(async {
            loop {
                // An error is not its end.
                if let Ok(entry) = entries.next().await.unwrap() {
                    return entry;
                }
            }
        });
        assert_eq!(entry.await.sequence, sequence);
    }
}
