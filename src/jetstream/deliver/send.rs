//! Sending a message to a target, and finding out whether a stream has it.
//!
//! Whoever listens on a target may answer, before the stream or after it, whatever it likes. So all
//! answers are heard on an inbox of our own, and only one that proves itself decides:
//!
//! | heard | then |
//! |---|---|
//! | an acknowledgement or a refusal of the stream that the server leads the target to | it decides |
//! | one that names another stream | the server is asked; if it names that one, it decides. Where it names none, or cannot see it, an acknowledgement counts if the message is where it says, or cannot be looked at; else it is a stranger's |
//! | anything else: a stranger's | the server is asked at once: none captures the target, then nothing else will come; one does, then its answer is waited for. Nothing is sent again meanwhile |
//! | nobody listens (503) | the server is asked: a stream that is out of reach looks the same |
//! | NATS refuses us the subject | final at once |
//! | nothing, for five seconds | the fate is unknown; unless no stream captures the target, or the server refuses it under the name that a mapping gave it |

use std::time::Instant;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::timeout_at;

use super::{Delivery, RETRY};
use crate::jetstream::ACK_TIMEOUT;
use crate::jetstream::answers::{Awaited, Heard};
use crate::jetstream::inbox::Unsent;
use crate::jetstream::route::{Held, Route};

/// What became of a message that was sent once.
pub(super) enum Sent {
    /// A stream has it.
    Stored,
    /// No stream captures the target; whether somebody else has the message.
    NoStream { heard: bool },
    /// The user of the service may not publish to the target.
    Denied,
    /// The stream or the client refused it.
    Refused(String),
    /// Nobody has it: the stream that captures the target is out of reach.
    OutOfReach,
    /// It may be stored, or may be yet.
    Unknown(String),
}

/// An acknowledgement or a refusal, as streams send them.
#[derive(Deserialize)]
struct Ack {
    stream: String,
    #[serde(rename = "seq")]
    sequence: u64,
    error: Option<jetstream::Error>,
}

impl Ack {
    /// Reads an answer; `None` if it is no stream's.
    fn read(body: &[u8]) -> Option<Self> {
        let ack: Self = serde_json::from_slice(body).ok()?;
        let is_one = match &ack.error {
            Some(error) => error.error_code() != ErrorCode(0),
            None => ack.sequence > 0,
        };
        (is_one && !ack.stream.is_empty()).then_some(ack)
    }

    fn verdict(&self) -> Sent {
        match &self.error {
            None => Sent::Stored,
            // A copy with the same id is being stored; whether it will be is not known yet.
            Some(error) if error.error_code() == ErrorCode::STREAM_DUPLICATE_MESSAGE_CONFLICT => {
                Sent::Unknown(error.to_string())
            }
            Some(error) => Sent::Refused(format!("refused: {error}")),
        }
    }
}

/// A message, and where it goes.
pub(super) struct Letter<'a> {
    pub(super) subject: &'a str,
    /// Its `Nats-Msg-Id`.
    pub(super) id: &'a str,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Delivery {
    /// Sends a message once. Answers to earlier tries of the same count too: they have its id.
    pub(super) async fn send(&self, letter: &Letter<'_>, awaited: &Awaited) -> Sent {
        let _place = self.0.inbox.place().await;
        let (headers, body) = (letter.headers.clone(), letter.body.clone());
        let sent = Instant::now();
        match self.0.inbox.publish(letter.subject, awaited, headers, body).await {
            Ok(()) => {}
            Err(Unsent::Refused(reason)) => return Sent::Refused(format!("refused: {reason}")),
            Err(Unsent::Stuck(reason)) => return Sent::Unknown(reason),
        }
        let until = tokio::time::Instant::now() + ACK_TIMEOUT;
        let mut heard_others = false;
        while let Ok(heard) = timeout_at(until, awaited.next()).await {
            let ack = match heard {
                Heard::Denied => return Sent::Denied,
                Heard::NoResponders => return Box::pin(self.nobody(letter, sent)).await,
                Heard::Likely(body) => Ack::read(&body),
                Heard::Stranger => None,
            };
            if let Some(ack) = &ack
                && self.0.routes.proves(letter.subject, &ack.stream)
            {
                return ack.verdict();
            }
            let doubt = Box::pin(self.doubt(letter, sent, ack.as_ref()));
            match timeout_at(until, doubt).await {
                Ok(Some(sent)) => return sent,
                Ok(None) => heard_others = true,
                Err(_) => break,
            }
        }
        Box::pin(self.unanswered(letter, sent, heard_others)).await
    }

    /// Asks the server about an answer that does not prove itself; `None` if it is a stranger's, and
    /// the stream's is still to come.
    async fn doubt(&self, letter: &Letter<'_>, sent: Instant, ack: Option<&Ack>) -> Option<Sent> {
        let by = ack.map(|ack| ack.stream.as_str());
        loop {
            let route = self.0.routes.of(letter.subject, sent, by).await;
            match (&route, ack) {
                (Route::Stream { name, .. }, Some(ack)) if *name == ack.stream => {
                    return Some(ack.verdict());
                }
                (Route::Unknown, _) => {}
                (Route::Nowhere, None) => return Some(Sent::NoStream { heard: true }),
                (_, None) => return None,
                // A stream that the server does not name can refuse what it likes.
                (Route::Nowhere, Some(ack)) if ack.error.is_some() => {
                    return Some(Sent::NoStream { heard: true });
                }
                (_, Some(ack)) if ack.error.is_some() => return None,
                (_, Some(ack)) => match self.holds(letter, ack, &route).await {
                    Held::Yes => return Some(Sent::Stored),
                    Held::No if route == Route::Nowhere => {
                        return Some(Sent::NoStream { heard: true });
                    }
                    Held::No | Held::Unreadable => return None,
                    Held::Unknown => {}
                },
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Whether a stream that the server does not name for the target has the message all the same.
    async fn holds(&self, letter: &Letter<'_>, ack: &Ack, route: &Route) -> Held {
        let held = self.0.routes.holds(&ack.stream, ack.sequence, letter.id).await;
        // Where the server names another stream, a stranger's word alone is not enough.
        let unverified = matches!(held, Held::Unreadable) && !matches!(route, Route::Stream { .. });
        if matches!(held, Held::Yes) || unverified {
            self.0.routes.trust(letter.subject, &ack.stream, !unverified);
            return Held::Yes;
        }
        held
    }

    /// Nobody listens to the target, no stream either.
    async fn nobody(&self, letter: &Letter<'_>, sent: Instant) -> Sent {
        match self.0.routes.of(letter.subject, sent, None).await {
            Route::Nowhere | Route::Elsewhere => Sent::NoStream { heard: false },
            Route::Denied => Sent::Denied,
            Route::Stream { .. } | Route::MayNotAsk | Route::Unknown => Sent::OutOfReach,
        }
    }

    /// The answer of a stream did not come.
    async fn unanswered(&self, letter: &Letter<'_>, sent: Instant, heard_others: bool) -> Sent {
        match self.0.routes.of(letter.subject, sent, None).await {
            // The server names the subject after a mapping, so nothing tied it to ours.
            Route::Denied => Sent::Denied,
            Route::Nowhere => Sent::NoStream { heard: true },
            Route::Elsewhere if heard_others => Sent::NoStream { heard: true },
            _ => Sent::Unknown(format!("no acknowledgement within {} s", ACK_TIMEOUT.as_secs())),
        }
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
