//! The greeting that a NATS server sends to every client before any login.

use std::io;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpStream;

/// Fields of the server's greeting that show whether it can be used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerInfo {
    /// The server's version without a leading `v`.
    pub version: String,
    /// The server's name.
    pub server_name: String,
    /// Whether JetStream is enabled; the server omits this when it is not.
    #[serde(default)]
    pub jetstream: bool,
}

impl ServerInfo {
    /// Connects to `host:port`, reads the greeting and hangs up.
    ///
    /// The other side may never greet: put a deadline around this. A listener that sends something else is an error of
    /// kind [`InvalidData`](io::ErrorKind::InvalidData), one that hangs up first of kind
    /// [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
    pub async fn ask(host: &str, port: u16) -> io::Result<Self> {
        /// Far more than a greeting needs; keeps a chatty stranger from filling the memory.
        const LONGEST_GREETING: u64 = 64 * 1024;
        let stream = TcpStream::connect((host, port)).await?;
        let mut line = String::new();
        BufReader::new(stream.take(LONGEST_GREETING)).read_line(&mut line).await?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        parse(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a NATS server"))
    }
}

fn parse(line: &str) -> Option<ServerInfo> {
    serde_json::from_str(line.strip_prefix("INFO ")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_greeting_without_jetstream_means_that_it_is_off() {
        let info = parse("INFO {\"version\":\"2.15.1\",\"server_name\":\"a\",\"port\":4222}\r\n");
        assert!(!info.expect("a greeting").jetstream);
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for line in ["220 mail.example ESMTP\r\n", "INFO nothing\r\n", "INFO {}"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
