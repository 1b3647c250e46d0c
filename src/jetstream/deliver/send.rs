//! Sends a message to a target, and finds out whether a stream has it.
//!
//! Any client that listens on a target may answer, before the stream or after it, whatever it likes. So all answers are
//! heard on an inbox of our own, and only one that proves itself decides:
//!
//! | heard | then |
//! |---|---|
//! | an acknowledgement or a refusal from the stream that the server leads the target to | it decides |
//! | one that names another stream | the server is asked; if it names that one, it decides. Where it names none, or cannot see it, an acknowledgement counts if the message is where it says, or cannot be looked at; else it is a stranger's |
//! | anything else: a stranger's | the server is asked at once: none captures the target, then nothing else will come; one does, then its answer is waited for. Nothing is sent again meanwhile |
//! | nobody listens (503) | the server is asked: a stream that is out of reach looks the same |
//! | NATS refuses us the subject | final at once |
//! | that the stream cannot take it now | nobody has it: the next try may succeed |
//! | nothing, for a second | it is sent again where that is likely to help ([`gates`](crate::jetstream::gates)), and the stream is known to drop the copy |
//! | nothing, for five seconds | the fate is unknown; unless no stream captures the target, or the server refuses it under the name that a mapping gave it |

use std::pin::{Pin, pin};

use async_nats::jetstream::{self, ErrorCode};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use super::{RETRY, ToTarget};
use crate::jetstream::ACK_TIMEOUT;
use crate::jetstream::gates::{Gate, SILENT};
use crate::jetstream::inbox::Unsent;
use crate::jetstream::publish::Sent;
use crate::jetstream::refusal::{Class, class};
use crate::jetstream::route::{Held, Route};
use crate::port::Nats;
use crate::port::answers::Heard;

/// An acknowledgement or a refusal, as streams send them.
#[derive(Deserialize)]
struct Ack {
    stream: String,
    #[serde(rename = "seq")]
    sequence: u64,
    error: Option<jetstream::Error>,
    #[serde(default)]
    duplicate: bool,
}

impl Ack {
    /// Reads an answer; `None` if it is not a stream's.
    fn read(body: &[u8]) -> Option<Self> {
        let ack: Self = serde_json::from_slice(body).ok()?;
        let is_one = match &ack.error {
            Some(error) => error.error_code() != ErrorCode(0),
            None => ack.sequence > 0,
        };
        (is_one && !ack.stream.is_empty()).then_some(ack)
    }

    fn verdict(&self) -> Sent {
        let Some(error) = &self.error else {
            return Sent::Stored { duplicate: self.duplicate };
        };
        match class(error) {
            Class::Doubled => Sent::Doubled(error.to_string()),
            Class::Passing => Sent::Passing(error.to_string()),
            // A target that is full fails this attempt: we cannot say when there will be room.
            Class::Full | Class::Final | Class::Rival => Sent::Refused(error.to_string()),
        }
    }
}

impl<N: Nats> ToTarget<'_, N> {
    /// Sends the message once. Answers to earlier tries count too, since those have the same id.
    pub(super) async fn send_once(&self, may: &(impl Fn() -> bool + Sync)) -> Sent {
        let (gate, sent_at) = (self.gate(), Instant::now());
        let sent = self.try_once(&gate, sent_at, may).await;
        match &sent {
            // By now it may be known which stream it is.
            Sent::Unknown(_) => self.gate().sent(sent_at),
            Sent::Withheld | Sent::Passing(_) => {}
            _ => gate.answered(sent_at),
        }
        sent
    }

    /// Hands the message to the client.
    async fn hand_over(&self, may: &(impl Fn() -> bool + Sync)) -> Result<(), Unsent> {
        let Self { delivery, publication, awaited } = self;
        let (headers, body) = (publication.headers.clone().into(), publication.body.clone());
        delivery.inbox.publish(publication.subject, awaited, headers, body, may).await
    }

    async fn try_once(&self, gate: &Gate, sent: Instant, may: &(impl Fn() -> bool + Sync)) -> Sent {
        let connects = self.delivery.nats.connects();
        match self.hand_over(may).await {
            Ok(()) => gate.sent(sent),
            Err(Unsent::Refused(reason)) => return Sent::Refused(reason),
            Err(Unsent::Stuck(reason)) => return Sent::Unknown(reason),
            Err(Unsent::NoRoom) => {
                return Sent::Passing("the connection takes nothing".to_owned());
            }
            Err(Unsent::Withheld) => return Sent::Withheld,
        }
        let until = Instant::now() + ACK_TIMEOUT;
        let mut answer = pin!(self.answer(sent, until));
        match timeout_at(sent + SILENT, answer.as_mut()).await {
            Ok(sent) => sent,
            Err(_) => Box::pin(self.answer_late(answer, gate, sent, connects, may)).await,
        }
    }

    /// The answer of a stream that did not come at once. The stream is asked again if that is likely to help.
    async fn answer_late(
        &self,
        mut answer: Pin<&mut impl Future<Output = Sent>>,
        gate: &Gate,
        sent: Instant,
        mut connects: u64,
        may: &(impl Fn() -> bool + Sync),
    ) -> Sent {
        let (mut look, mut copies) = (Instant::now(), 0);
        let verdict = loop {
            // The connection that the answer was to come over is gone.
            let is_renewed = self.delivery.nats.connects() != connects;
            if (is_renewed || gate.asks_again(sent))
                && self.delivery.routes.drops_copies(self.publication.subject)
            {
                connects = self.delivery.nats.connects();
                copies += usize::from(self.hand_over(may).await.is_ok());
            }
            look += SILENT;
            if let Ok(verdict) = timeout_at(look, answer.as_mut()).await {
                break verdict;
            }
        };
        match verdict {
            // One of several copies was refused; what became of the others, nobody says.
            Sent::Refused(reason) | Sent::Passing(reason) if copies > 0 => Sent::Unknown(reason),
            Sent::NoStream { .. } | Sent::Denied if copies > 0 => {
                Sent::Unknown("no stream has the last copy".to_owned())
            }
            verdict => verdict,
        }
    }

    /// The answer of a stream, if it comes before `until`.
    async fn answer(&self, sent: Instant, until: Instant) -> Sent {
        let publication = self.publication;
        let mut heard_others = false;
        while let Ok(heard) = timeout_at(until, self.awaited.next()).await {
            let ack = match heard {
                Heard::Denied => return Sent::Denied,
                Heard::NoResponders => return Box::pin(self.nobody(sent)).await,
                Heard::Likely(body) => Ack::read(&body),
                Heard::Stranger => None,
            };
            if let Some(ack) = &ack
                && self.delivery.routes.proves(publication.subject, &ack.stream)
            {
                return ack.verdict();
            }
            let doubt = Box::pin(self.doubt(sent, ack.as_ref()));
            match timeout_at(until, doubt).await {
                Ok(Some(sent)) => return sent,
                Ok(None) => heard_others = true,
                Err(_) => break,
            }
        }
        Box::pin(self.unanswered(sent, heard_others)).await
    }

    /// Asks the server about an answer that does not prove itself; `None` if it is a stranger's, and the stream's is
    /// still to come.
    async fn doubt(&self, sent: Instant, ack: Option<&Ack>) -> Option<Sent> {
        let by = ack.map(|ack| ack.stream.as_str());
        loop {
            let route = self.delivery.routes.of(self.publication.subject, sent, by).await;
            match (&route, ack) {
                (Route::Stream { name, .. }, Some(ack)) if *name == ack.stream => {
                    return Some(ack.verdict());
                }
                (Route::Unknown, _) => {}
                (Route::Nowhere, None) => return Some(Sent::NoStream { heard: true }),
                (_, None) => return None,
                // A stream that the server does not name can refuse whatever it likes.
                (Route::Nowhere, Some(ack)) if ack.error.is_some() => {
                    return Some(Sent::NoStream { heard: true });
                }
                (_, Some(ack)) if ack.error.is_some() => return None,
                (_, Some(ack)) => match self.holds(ack, &route).await {
                    Held::Yes => return Some(Sent::Stored { duplicate: ack.duplicate }),
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
    async fn holds(&self, ack: &Ack, route: &Route) -> Held {
        let Self { delivery, publication, .. } = self;
        let held = delivery.routes.holds(&ack.stream, ack.sequence, &publication.id).await;
        // If the server names another stream, a stranger's word alone is not enough.
        let unverified = matches!(held, Held::Unreadable) && !matches!(route, Route::Stream { .. });
        if matches!(held, Held::Yes) || unverified {
            delivery.routes.trust(publication.subject, &ack.stream, !unverified);
            return Held::Yes;
        }
        held
    }

    /// Decides what it means that nobody listens on the target, not even a stream.
    async fn nobody(&self, sent: Instant) -> Sent {
        match self.delivery.routes.of(self.publication.subject, sent, None).await {
            Route::Nowhere | Route::Elsewhere => Sent::NoStream { heard: false },
            Route::Denied => Sent::Denied,
            Route::Stream { .. } | Route::MayNotAsk | Route::Unknown => {
                Sent::Passing("no stream answered for the subject".to_owned())
            }
        }
    }

    /// Decides what it means that no stream's answer came.
    async fn unanswered(&self, sent: Instant, heard_others: bool) -> Sent {
        match self.delivery.routes.of(self.publication.subject, sent, None).await {
            // The server names the subject after a mapping, so nothing linked the refusal to ours.
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
