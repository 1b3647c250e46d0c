//! Sends a message to a target, and finds out whether a stream has it.
//!
//! It goes over a [line](crate::jetstream::lines): what a broken connection has not sent must not be sent over the next
//! one, when the stream may have forgotten the copy that another instance has sent.
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
//! | that the line broke, or nothing of what is sent behind it | the fate is unknown; where no stream is known, others may yet answer |
//! | nothing, for five seconds | the fate is unknown; unless no stream captures the target, or the server refuses it under the name that a mapping gave it |

use std::pin::{Pin, pin};

use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Over, Publication, RETRY, ToTarget};
use crate::jetstream::ACK_TIMEOUT;
use crate::jetstream::ack::Ack;
use crate::jetstream::gates::{Gate, SILENT};
use crate::jetstream::lines::{LATE, Message, Unhanded};
use crate::jetstream::publish::Sent;
use crate::jetstream::refusal::{Class, class};
use crate::jetstream::route::{Held, Route};
use crate::port::Nats;
use crate::port::answers::{Awaited, Heard};

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

    /// Hands the message over.
    async fn hand_over(
        &self,
        over: &Over<N::Line>,
        may: &(impl Fn() -> bool + Sync),
    ) -> Result<(), Unhanded> {
        let Publication { subject, headers, body, .. } = self.publication;
        let (headers, body) = (headers().into(), body.clone());
        over.line.publish(Message { subject, headers, body }, &over.awaited, may).await
    }

    async fn try_once(&self, gate: &Gate, sent: Instant, may: &(impl Fn() -> bool + Sync)) -> Sent {
        let Some(over) = self.over() else { return Sent::Withheld };
        // Boxed although each command takes this step: it is over soon, and most of the time is spent waiting for the
        // answer, by thousands at once.
        if let Err(unhanded) = Box::pin(self.hand_over(&over, may)).await {
            return unhanded.into();
        }
        gate.sent(sent);
        let until = Instant::now() + ACK_TIMEOUT;
        let mut answer = pin!(self.answer(&over.awaited, sent, until));
        match timeout_at(sent + LATE, answer.as_mut()).await {
            Ok(sent) => sent,
            Err(_) => Box::pin(self.answer_late(answer, &over, gate, sent, may)).await,
        }
    }

    /// The answer of a stream that did not come at once. The stream is asked again if that is likely to help.
    async fn answer_late(
        &self,
        mut answer: Pin<&mut impl Future<Output = Sent>>,
        over: &Over<N::Line>,
        gate: &Gate,
        sent: Instant,
        may: &(impl Fn() -> bool + Sync),
    ) -> Sent {
        let (mut lost, mut is_lost) = (pin!(over.line.lost(may)), false);
        let (mut look, mut copies) = (sent + SILENT, 0);
        let (subject, routes) = (self.publication.subject, &self.sender.routes);
        let verdict = loop {
            tokio::select! {
                biased;
                verdict = answer.as_mut() => break verdict,
                () = lost.as_mut(), if !is_lost => {
                    // A stream tells whether it has the first copy; who else listens would get a second one.
                    if routes.stream_of(subject).is_some() {
                        return Sent::Unknown("the connection was lost".to_owned());
                    }
                    is_lost = true;
                    continue;
                }
                () = sleep_until(look) => {}
            }
            if gate.asks_again(sent) && routes.drops_copies(subject) {
                copies += usize::from(self.hand_over(over, may).await.is_ok());
            }
            look = Instant::now() + SILENT;
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
    async fn answer(&self, awaited: &Awaited, sent: Instant, until: Instant) -> Sent {
        let publication = self.publication;
        let mut heard_others = false;
        while let Ok(heard) = timeout_at(until, awaited.next()).await {
            let ack = match heard {
                Heard::Denied => return Sent::Denied,
                Heard::NoResponders => return Box::pin(self.nobody(sent)).await,
                Heard::Likely(body) => Ack::read(&body),
                Heard::Stranger => None,
            };
            if let Some(ack) = &ack
                && self.sender.routes.proves(publication.subject, &ack.stream)
            {
                return verdict(ack);
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
            let route = self.sender.routes.of(self.publication.subject, sent, by).await;
            match (&route, ack) {
                (Route::Stream { name, .. }, Some(ack)) if *name == ack.stream => {
                    return Some(verdict(ack));
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
        let Self { sender, publication, .. } = self;
        let held = sender.routes.holds(&ack.stream, ack.sequence, &publication.id).await;
        // If the server names another stream, a stranger's word alone is not enough.
        let unverified = matches!(held, Held::Unreadable) && !matches!(route, Route::Stream { .. });
        if matches!(held, Held::Yes) || unverified {
            sender.routes.trust(publication.subject, &ack.stream, !unverified);
            return Held::Yes;
        }
        held
    }

    /// Decides what it means that nobody listens on the target, not even a stream.
    async fn nobody(&self, sent: Instant) -> Sent {
        match self.sender.routes.of(self.publication.subject, sent, None).await {
            Route::Nowhere | Route::Elsewhere => Sent::NoStream { heard: false },
            Route::Denied => Sent::Denied,
            Route::Stream { .. } | Route::MayNotAsk | Route::Unknown => {
                Sent::Passing("no stream answered for the subject".to_owned())
            }
        }
    }

    /// Decides what it means that no stream's answer came.
    async fn unanswered(&self, sent: Instant, heard_others: bool) -> Sent {
        match self.sender.routes.of(self.publication.subject, sent, None).await {
            // The server names the subject after a mapping, so nothing linked the refusal to ours.
            Route::Denied => Sent::Denied,
            Route::Nowhere => Sent::NoStream { heard: true },
            Route::Elsewhere if heard_others => Sent::NoStream { heard: true },
            _ => Sent::Unknown(format!("no acknowledgement within {} s", ACK_TIMEOUT.as_secs())),
        }
    }
}

/// What an answer means for the message.
fn verdict(ack: &Ack) -> Sent {
    let Some(error) = &ack.error else {
        return Sent::Stored { duplicate: ack.duplicate };
    };
    match class(error) {
        Class::Doubled => Sent::Doubled(error.to_string()),
        Class::Passing => Sent::Passing(error.to_string()),
        // A target that is full fails this attempt: we cannot say when there will be room.
        Class::Full | Class::Final | Class::Rival => Sent::Refused(error.to_string()),
    }
}
