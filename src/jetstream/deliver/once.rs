//! Delivers commands that are sent once: `request` and `core`.
//!
//! Nobody drops a second copy of these. So they go over [lines](crate::jetstream::lines), which send nothing after the
//! trust in the claim has ended, except what the kernel already has.
//!
//! | when the line breaks, or trust ends | outcome |
//! |---|---|
//! | before the command was handed over | none: the claim is renewed, and the command sent under that |
//! | after that, before the server is known to have it | `connection`, `uncertain`, at once |
//! | after that | of a `core` command, success; of a `request`, what the reply says, which may come over the next line. One that comes while there is none is lost: `timeout` |

use std::sync::Arc;
use std::time::Duration;

use async_nats::{HeaderMap, Message as Answer, StatusCode};
use tracing::debug;

use super::reply::replied;
use super::{Command, CommandSender, TrustLost, not_allowed};
use crate::execution::{ErrorType, Outcome};
use crate::failpoint;
use crate::jetstream::lines::{Line, Message, Reply, Unhanded, while_trusted};
use crate::port::answers::Awaited;
use crate::port::{Nats, Wire};
use crate::schedule;

/// A command that was handed over.
struct Handed<W> {
    line: Arc<Line<W>>,
    awaited: Awaited,
    /// The reply, if one was asked for.
    reply: Option<Reply>,
}

/// Why a command was not handed over.
enum NotHanded {
    TrustLost,
    /// The client refuses it.
    Refused(String),
}

impl NotHanded {
    fn outcome(self) -> Result<Outcome, TrustLost> {
        match self {
            Self::TrustLost => Err(TrustLost { maybe_sent: false }),
            Self::Refused(reason) => Ok(Outcome::failed(ErrorType::Connection, reason)),
        }
    }
}

/// What happened first after a request was handed over.
enum Came {
    Reply(Answer),
    Denied,
    /// The line broke before the request is known to have arrived.
    Broken,
    Nothing,
}

impl<N: Nats> CommandSender<N> {
    pub(super) async fn request(
        &self,
        how: &schedule::Delivery,
        subject: &str,
        command: Command,
        trusted: &(impl Fn() -> bool + Sync),
    ) -> Result<Outcome, TrustLost> {
        let timeout = Duration::from_secs(u64::from(how.timeout_seconds));
        let mut handed = match self.hand_over(subject, command, true, trusted).await {
            Ok(handed) => handed,
            Err(not) => return not.outcome(),
        };
        Ok(match handed.first(timeout, trusted).await {
            Came::Reply(reply) if reply.status == Some(StatusCode::NO_RESPONDERS) => {
                Outcome::failed(ErrorType::NoResponders, format!("nobody listens on {subject}"))
            }
            Came::Reply(reply) => replied(subject, &reply),
            Came::Denied => not_allowed(subject, false),
            Came::Broken => {
                let text = "NATS does not say that it has the request".to_owned();
                Outcome::uncertain(ErrorType::Connection, text)
            }
            Came::Nothing if self.is_denied(subject, &handed.awaited).await => {
                not_allowed(subject, false)
            }
            Came::Nothing => {
                let text = format!("no reply within {} s", timeout.as_secs());
                Outcome::failed(ErrorType::Timeout, text)
            }
        })
    }

    pub(super) async fn core(
        &self,
        subject: &str,
        command: Command,
        trusted: &(impl Fn() -> bool + Sync),
    ) -> Result<Outcome, TrustLost> {
        let handed = match self.hand_over(subject, command, false, trusted).await {
            Ok(handed) => handed,
            Err(not) => return not.outcome(),
        };
        let arrived = handed.line.arrived(trusted).await;
        let awaited = &handed.awaited;
        if awaited.was_denied() || self.is_denied(subject, awaited).await {
            return Ok(not_allowed(subject, false));
        }
        if !arrived {
            let text = "NATS does not say that it has the command".to_owned();
            return Ok(Outcome::uncertain(ErrorType::Connection, text));
        }
        Ok(Outcome::success())
    }

    /// Hands a command to a line, waiting for one while the claim is trusted.
    async fn hand_over(
        &self,
        subject: &str,
        command: Command,
        asks: bool,
        trusted: &(impl Fn() -> bool + Sync),
    ) -> Result<Handed<N::Line>, NotHanded> {
        let Command { headers, body } = command;
        let headers = HeaderMap::from(headers);
        failpoint::pause("before_line");
        loop {
            let line = while_trusted(trusted, self.0.lines.proven()).await;
            let line = line.ok_or(NotHanded::TrustLost)?;
            let awaited = line.await_for(subject);
            let (reply, reply_subject) = asks.then(|| line.expect()).unzip();
            let message = Message { subject, headers: headers.clone(), body: body.clone() };
            match line.hand_over(message, reply_subject, trusted).await {
                Ok(()) => {
                    awaited.sent();
                    return Ok(Handed { line, awaited, reply });
                }
                Err(Unhanded::Broken | Unhanded::NoRoom) => {}
                Err(Unhanded::TrustLost) => return Err(NotHanded::TrustLost),
                Err(Unhanded::Refused(reason)) => return Err(NotHanded::Refused(reason)),
            }
        }
    }
}

impl<W: Wire> Handed<W> {
    /// Waits for what happens first: the reply, or anything that means there will be none.
    async fn first(&mut self, timeout: Duration, trusted: &(impl Fn() -> bool + Sync)) -> Came {
        let Self { line, awaited, reply } = self;
        let reply = async {
            match reply {
                Some(reply) => reply.come().await,
                None => std::future::pending().await,
            }
        };
        // Watches that the request leaves while the claim is trusted, or never.
        let lost = async {
            while !line.arrived(trusted).await {
                if line.is_broken() {
                    return;
                }
            }
            debug!("NATS has the request");
            std::future::pending().await
        };
        tokio::select! {
            biased;
            reply = reply => Came::Reply(reply),
            () = awaited.denied() => Came::Denied,
            () = lost => Came::Broken,
            () = tokio::time::sleep(timeout) => Came::Nothing,
        }
    }
}
