//! Spans as a collector gets them.

use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn span(header: &str) -> Span {
    let start: DateTime<Utc> = "2026-01-01T00:00:00.25Z".parse().unwrap();
    Span {
        name: "execute",
        kind: Kind::Producer,
        context: TraceContext::parse(header).unwrap(),
        parent: None,
        start,
        end: start + chrono::Duration::milliseconds(5),
        attributes: Vec::new(),
        error: None,
    }
}

async fn collector() -> (TcpListener, Exporter, Uuid) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}/", listener.local_addr().unwrap());
    let instance = Uuid::new_v4();
    let exporter = Exporter::new(&endpoint, "reports", instance).unwrap();
    (listener, exporter, instance)
}

/// Takes one request, answers with a status, and returns its head and body.
async fn answer(listener: &TcpListener, status: &str) -> (String, Vec<u8>) {
    let connection = tokio::time::timeout(2 * TIMEOUT, listener.accept()).await;
    let (mut stream, _) = connection.expect("no request").unwrap();
    let (mut head, mut body) = (Vec::new(), Vec::new());
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let (_, length) = head.split_once("content-length: ").unwrap();
    body.resize(length.lines().next().unwrap().parse().unwrap(), 0);
    stream.read_exact(&mut body).await.unwrap();
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(reply.as_bytes()).await.unwrap();
    (head, body)
}

/// A message in protobuf: its fields by number. Numbers are kept as their bytes.
struct Message(Vec<(u64, Vec<u8>)>);

impl Message {
    fn read(mut bytes: &[u8]) -> Self {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let length = match tag & 7 {
                0 => {
                    fields.push((tag >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                    continue;
                }
                1 => 8,
                2 => varint(&mut bytes),
                5 => 4,
                other => panic!("wire type {other}"),
            };
            let (field, rest) = bytes.split_at(usize::try_from(length).unwrap());
            fields.push((tag >> 3, field.to_vec()));
            bytes = rest;
        }
        Self(fields)
    }

    fn all(&self, number: u64) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(move |(n, _)| *n == number).map(|(_, field)| &field[..])
    }

    fn bytes(&self, number: u64) -> &[u8] {
        self.all(number).next().unwrap_or_default()
    }

    fn message(&self, number: u64) -> Self {
        Self::read(self.bytes(number))
    }

    fn text(&self, number: u64) -> String {
        String::from_utf8(self.bytes(number).to_vec()).unwrap()
    }

    fn number(&self, number: u64) -> u64 {
        self.bytes(number).iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte))
    }

    /// Attributes that are texts.
    fn attributes(&self, number: u64) -> Vec<(String, String)> {
        let read = |field| {
            let attribute = Self::read(field);
            (attribute.text(1), attribute.message(2).text(1))
        };
        self.all(number).map(read).collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

#[tokio::test]
async fn a_collector_gets_what_was_exported() {
    let (listener, exporter, instance) = collector().await;
    let second = EXAMPLE.replace("b7-", "b8-");
    let parent = 7_u64.to_be_bytes();
    let attributes = vec![("nats.subject", "cmd.report".to_owned()), ("attempt", "2".to_owned())];
    let error = Some("no reply".to_owned());
    exporter.export(Span { parent: Some(parent), attributes, error, ..span(EXAMPLE) });
    exporter.export(Span { kind: Kind::Internal, parent: Some(parent), ..span(&second) });
    exporter.export(span(&EXAMPLE.replace("-01", "-00")));
    let ((head, body), ()) = tokio::join!(answer(&listener, "200 OK"), exporter.shutdown());

    assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/x-protobuf\r\n"), "{head}");
    let resource_spans = Message::read(&body).message(1);
    let resource = resource_spans.message(1).attributes(1);
    for (name, value) in [
        ("service.name", "reports"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("service.instance.id", &instance.to_string()),
    ] {
        assert!(resource.contains(&(name.to_owned(), value.to_owned())), "{resource:?}");
    }
    let scope_spans = resource_spans.message(2);
    assert_eq!(scope_spans.message(1).text(1), "nats-scheduler");
    let spans: Vec<_> = scope_spans.all(2).map(Message::read).collect();
    let [first, second] = &spans[..] else { panic!("{} spans", spans.len()) };

    let context = TraceContext::parse(EXAMPLE).unwrap();
    assert_eq!(first.bytes(1), context.trace_id());
    assert_eq!(first.bytes(2), context.span_id());
    assert_eq!(first.bytes(4), parent);
    assert_eq!(first.text(5), "execute");
    assert_eq!(first.number(6), 4, "producer");
    assert_eq!(first.number(7), 1_767_225_600_250_000_000);
    assert_eq!(first.number(8), 1_767_225_600_255_000_000);
    let attribute = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let expected = [attribute("nats.subject", "cmd.report"), attribute("attempt", "2")];
    assert_eq!(first.attributes(9), expected);
    let status = first.message(15);
    assert_eq!((status.text(2).as_str(), status.number(3)), ("no reply", 2));
    assert_eq!(first.number(16), 0x301, "sampled, of a parent elsewhere");

    assert_eq!(second.bytes(2)[7], 0xb8);
    assert_eq!(second.number(6), 1, "internal");
    assert_eq!(second.number(16), 0x101, "sampled, of a parent here");
    assert_eq!(second.message(15).number(3), 0, "no error");
    assert_eq!(exporter.lost(), 0);
}

#[tokio::test]
async fn a_collector_that_is_busy_is_asked_again() {
    let (listener, exporter, _) = collector().await;
    exporter.export(span(EXAMPLE));
    let answers = async {
        let (_, first) = answer(&listener, "503 Service Unavailable").await;
        for _ in 0..4 {
            answer(&listener, "503 Service Unavailable").await;
        }
        let (_, last) = answer(&listener, "200 OK").await;
        assert_eq!(first, last);
    };
    tokio::join!(answers, exporter.shutdown());
    assert_eq!(exporter.lost(), 0);
}

#[tokio::test]
async fn spans_that_are_refused_are_counted() {
    let (listener, exporter, _) = collector().await;
    exporter.export(span(EXAMPLE));
    exporter.export(span(EXAMPLE));
    tokio::join!(answer(&listener, "400 Bad Request"), exporter.shutdown());
    assert_eq!(exporter.lost(), 2);
    assert_eq!(exporter.inner.counts.queued.load(Ordering::Relaxed), 0, "there is room again");
}

#[tokio::test]
async fn a_collector_that_hangs_costs_spans_only() {
    let (_listener, exporter, _) = collector().await;
    let began = Instant::now();
    for _ in 0..QUEUE + 10 {
        exporter.export(span(EXAMPLE));
    }
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(exporter.lost(), 10);
    let began = Instant::now();
    exporter.shutdown().await;
    assert!(began.elapsed() < SHUTDOWN + Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn an_endpoint_is_a_url() {
    for endpoint in ["", "localhost:4318", "grpc://localhost:4317", "http://", "http://a b"] {
        assert!(Exporter::new(endpoint, "s", Uuid::nil()).is_err(), "{endpoint}");
    }
}
