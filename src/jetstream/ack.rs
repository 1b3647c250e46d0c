//! What streams answer to what is published to them.

use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;

/// An acknowledgement or a refusal, as streams send them.
#[derive(Deserialize)]
pub(crate) struct Ack {
    /// The stream.
    pub(crate) stream: String,
    /// The sequence of what it acknowledges.
    #[serde(rename = "seq")]
    pub(crate) sequence: u64,
    /// Why it refuses the message.
    pub(crate) error: Option<jetstream::Error>,
    /// Whether it already had a message with that id.
    #[serde(default)]
    pub(crate) duplicate: bool,
}

impl Ack {
    /// Reads an answer; `None` if it is not a stream's.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        let ack: Self = serde_json::from_slice(body).ok()?;
        let is_one = match &ack.error {
            Some(error) => error.error_code() != ErrorCode(0),
            None => ack.sequence > 0,
        };
        (is_one && !ack.stream.is_empty()).then_some(ack)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_streams_send_is_taken_for_theirs() {
        for (body, expected) in [
            (r#"{"stream":"S","seq":7}"#, true),
            (r#"{"stream":"S","seq":7,"domain":"hub","duplicate":true,"val":"3"}"#, true),
            (
                r#"{"error":{"code":503,"err_code":10077,"description":"full"},"stream":"S","seq":0}"#,
                true,
            ),
            (r#"{"error":{"code":503,"description":"full"},"stream":"S","seq":0}"#, false),
            (r#"{"error":"out of paper","stream":"S","seq":1}"#, false),
            (r#"{"error":{"code":500,"err_code":1,"description":"no"}}"#, false),
            (r#"{"stream":"S","seq":0}"#, false),
            (r#"{"stream":"","seq":1}"#, false),
            (r#"{"stream":"S"}"#, false),
            (r#"{"ok":true}"#, false),
            ("", false),
        ] {
            assert_eq!(Ack::read(body.as_bytes()).is_some(), expected, "{body}");
        }
    }
}
