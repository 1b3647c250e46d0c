//! Tests of a line to a server that stops reading.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Line, Message, Replies, Unhanded};
use crate::config::nats::{NatsConfig, parse_servers};
use crate::jetstream::adapter::throwaway;
use crate::port::Wire;
use crate::port::answers::Answers;

const INFO: &str = r#"INFO {"server_id":"S","server_name":"S","version":"2.15.0","proto":1,"go":"","host":"127.0.0.1","port":1,"headers":true,"max_payload":2000000}"#;
const DEADLINE: Duration = Duration::from_secs(10);
/// More messages than all sockets between the two can buffer.
const MESSAGES: usize = 64;
const BODY: usize = 1_000_000;

/// A line to a server that has greeted it and reads no more.
async fn line() -> (Arc<Line<impl Wire>>, TcpListener, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    let servers = parse_servers(&url).unwrap();
    let config = NatsConfig { servers, ..NatsConfig::default() };
    let (answers, broken) = (Answers::default(), CancellationToken::new());
    let opening = async {
        let name = "test".to_owned();
        let wire = throwaway(config, name, answers.clone(), broken.clone()).await.unwrap();
        Line::over(wire, answers, Replies::new("_INBOX.test"), broken).await
    };
    let greeting = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.write_all(format!("{INFO}\r\n").as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"PING\r\n") {
            socket.read_buf(&mut heard).await.unwrap();
        }
        socket.write_all(b"PONG\r\n").await.unwrap();
        socket
    };
    let (line, socket) = tokio::join!(opening, greeting);
    (line.unwrap(), listener, socket)
}

async fn hand_over(
    line: &Line<impl Wire>,
    trusted: &(impl Fn() -> bool + Sync),
) -> Result<(), Unhanded> {
    let body = Bytes::from(vec![b'x'; BODY]);
    let message = Message { subject: "cmd.stuck", headers: HeaderMap::new(), body };
    line.hand_over(message, None, trusted).await
}

/// All bytes that come until the other side ends.
async fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = timeout(DEADLINE, socket.read_to_end(&mut rest)).await.unwrap();
    rest
}

fn commands(bytes: &[u8]) -> usize {
    bytes.windows(14).filter(|part| part == b"HPUB cmd.stuck").count()
}

#[tokio::test]
async fn what_a_stuck_socket_has_not_taken_when_trust_ends_never_leaves() {
    let (line, listener, mut socket) = line().await;
    let trust = AtomicBool::new(true);
    let trusted = || trust.load(Ordering::Relaxed);
    for _ in 0..MESSAGES {
        assert!(hand_over(&line, &trusted).await.is_ok());
    }
    trust.store(false, Ordering::Relaxed);
    let began = Instant::now();
    assert!(!line.arrived(&trusted).await, "nobody has read anything");
    assert!(began.elapsed() < Duration::from_secs(3), "as soon as trust has ended");
    assert!(line.is_broken());
    let sent = commands(&rest(&mut socket).await);
    assert!(sent < MESSAGES, "{sent} of {MESSAGES} were sent");
    let again = timeout(Duration::from_millis(500), listener.accept()).await;
    assert!(again.is_err(), "it connected again");
    let late = hand_over(&line, &|| true).await;
    assert!(matches!(late, Err(Unhanded::Broken)), "a line that is thrown away takes nothing");
}

#[tokio::test]
async fn without_trust_nothing_is_handed_over() {
    let (line, _listener, mut socket) = line().await;
    assert!(matches!(hand_over(&line, &|| false).await, Err(Unhanded::TrustLost)));
    line.throw_away();
    assert_eq!(commands(&rest(&mut socket).await), 0);
}

#[tokio::test]
async fn a_line_that_breaks_says_so_at_once_and_is_not_made_good() {
    let (line, listener, socket) = line().await;
    assert!(hand_over(&line, &|| true).await.is_ok());
    drop(socket);
    let arrived = timeout(Duration::from_secs(2), line.arrived(&|| true)).await;
    assert_eq!(arrived, Ok(false));
    let again = timeout(Duration::from_millis(500), listener.accept()).await;
    assert!(again.is_err(), "it connected again");
}
