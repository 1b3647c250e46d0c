//! Sends commands and finds out what becomes of them.
//!
//! The message is the same in every mode: the user's payload, untouched, and headers that let a receiver drop what it
//! has already seen. All go over [lines](super::lines), which send nothing later than they should. `request` and `core`
//! commands are sent once: `deliver/once.rs`.
//!
//! A `publish` is repeated until its fate is known ([`publish`](super::publish)): a failure reported too early would be
//! followed by another attempt under another id, and then both could be stored. `deliver/send.rs` decides whose an
//! answer is and what it proves, `deliver/earlier.rs` looks for an earlier copy, `gates.rs` bounds how many commands
//! wait for one stream.
//!
//! (Rare steps are boxed: a firing is a future as large as its largest step, and thousands are under way at once.)
//!
//! # Subjects that we may not publish to
//!
//! NATS drops such a message and reports that separately, naming the subject. In every mode that is the outcome, at
//! once: `not_allowed`. If the account maps the subject, NATS names the other one; so the server is asked where ours
//! goes, as soon as that may be what happened.

mod earlier;
mod once;
mod reply;
mod send;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use tokio_util::sync::CancellationToken;

use super::adapter::JetStream;
use super::gates::{Gate, Gates, Pass};
use super::inbox::Inbox;
use super::lines::{Line, Lines};
use super::publish::{Earlier, Fate, Known, Policy, Publishing, Sent, TrustLost, until_known};
use super::route::{Route, Routes};
use crate::clock::Clock;
use crate::execution::{ErrorType, Execution, Outcome};
use crate::guards::{Guard, Guards as _};
use crate::names;
use crate::port::answers::{Answers, Awaited};
use crate::port::headers::Headers;
use crate::port::{Deaf, Nats};
use crate::schedule::{DeliveryMode, Payload, Schedule};

/// Pause between attempts to publish.
const RETRY: Duration = Duration::from_millis(250);
/// Time spent on unanswered tries, while connected, after which a publish is given up. It is shorter than the shortest
/// lease, so that nobody takes over what is still being tried.
const MAX_UNANSWERED: Duration = Duration::from_secs(240);

/// A command, ready to be sent.
#[derive(Default)]
pub struct Command {
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub body: Bytes,
}

impl Command {
    /// Builds the command of an execution of a schedule.
    pub fn new(
        schedule: &Schedule,
        execution: &Execution,
        payload: &Payload,
        token: Option<&str>,
    ) -> Self {
        Self { headers: Self::headers(schedule, execution, token), body: payload.to_bytes() }
    }

    /// The headers of that command.
    pub fn headers(schedule: &Schedule, execution: &Execution, token: Option<&str>) -> Headers {
        let mut headers = headers(schedule, execution);
        if let Some(token) = token {
            headers.line(names::TOKEN, token);
            headers.line(names::CANCEL_SUBJECT, &names::cancel_subject(execution.id));
        }
        headers
    }
}

/// Sends commands, and finds out what becomes of them.
#[derive(Clone)]
pub struct CommandSender<N: Nats = JetStream>(Arc<Parts<N>>);

struct Parts<N: Nats> {
    nats: N,
    routes: Arc<Routes<N>>,
    lines: Lines<N>,
    gates: Gates,
    clock: Clock,
}

/// Result of sending a command.
pub struct Delivered {
    /// The outcome for its execution.
    pub outcome: Outcome,
    /// Whether its stream had it before this was sent.
    pub was_there: bool,
}

impl From<Outcome> for Delivered {
    fn from(outcome: Outcome) -> Self {
        Self { outcome, was_there: false }
    }
}

/// Whether what is published to a target is kept, as far as NATS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptByStream {
    /// By a stream.
    Yes,
    /// By none.
    No,
    /// NATS does not say, or not at present.
    Unknown,
}

/// A message that is published until its fate is known.
pub(crate) struct Publication<'a> {
    /// The subject to publish it to.
    pub(crate) subject: &'a str,
    /// Its `Nats-Msg-Id`, which is in its headers too.
    pub(crate) id: String,
    /// Its headers, for each try.
    pub(crate) headers: &'a (dyn Fn() -> Headers + Sync),
    pub(crate) body: Bytes,
    /// Since when this or another instance may already have sent it.
    pub(crate) since: Option<DateTime<Utc>>,
}

/// A publication on its way to a target.
struct ToTarget<'a, N: Nats> {
    sender: &'a Parts<N>,
    publication: &'a Publication<'a>,
    /// The line that the latest try went over.
    over: Mutex<Option<Arc<Over<N::Line>>>>,
}

/// A line, and what is heard over it of all tries: an answer to an earlier one counts as much.
struct Over<W> {
    line: Arc<Line<W>>,
    awaited: Awaited,
}

impl<N: Nats> Publishing for ToTarget<'_, N> {
    type Place = Pass;

    fn now(&self) -> DateTime<Utc> {
        self.sender.clock.now()
    }

    fn is_connected(&self) -> bool {
        self.sender.lines.is_up()
    }

    async fn enter(&self, may: &(impl Fn() -> bool + Sync)) -> Option<Pass> {
        self.gate().enter_while(may).await
    }

    async fn search(&self, since: DateTime<Utc>) -> Earlier {
        if !N::Guards::hold(Guard::Search) {
            return Earlier::Remembered;
        }
        self.earlier_copy(since).await
    }

    async fn send(&self, may: &(impl Fn() -> bool + Sync)) -> Sent {
        match self.send_once(may).await {
            Sent::NoStream { heard: true } if !N::Guards::hold(Guard::NoStream) => {
                Sent::Unknown("no stream".to_owned())
            }
            sent => sent,
        }
    }

    fn reduce(&mut self, _: &str) -> bool {
        false
    }

    fn failed(&mut self, _: &Sent) {}
}

impl<N: Nats> ToTarget<'_, N> {
    /// The line that the next try goes over, if there is one.
    fn over(&self) -> Option<Arc<Over<N::Line>>> {
        let line = self.sender.lines.present()?;
        let mut over = self.over.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(over) = over.as_ref().filter(|over| Arc::ptr_eq(&over.line, &line)) {
            return Some(Arc::clone(over));
        }
        let awaited = line.await_for(self.publication.subject);
        Some(Arc::clone(over.insert(Arc::new(Over { line, awaited }))))
    }

    /// The gate to the target's stream, or to the target itself while its stream is not known.
    fn gate(&self) -> Arc<Gate> {
        self.sender.at_gate(self.publication.subject, Gates::of)
    }
}

impl<N: Nats> CommandSender<N> {
    /// Opens the sender and listens for answers until `stop`. `answers` must be the ones that learn of refused
    /// permissions on the connection of `nats`. Commands go over `lines`.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn open(
        nats: N,
        answers: Answers,
        lines: Lines<N>,
        clock: Clock,
        stop: CancellationToken,
    ) -> Result<Self, Deaf> {
        let inbox = Arc::new(Inbox::open(nats.clone(), answers, stop.clone()).await?);
        let routes = Routes::open(nats.clone(), inbox, stop);
        Ok(Self(Arc::new(Parts { nats, routes, lines, gates: Gates::default(), clock })))
    }

    /// The connection that everything but commands goes over.
    pub(crate) fn nats(&self) -> &N {
        &self.0.nats
    }

    /// Whether a stream keeps what is published to a target.
    pub async fn kept(&self, target: &str) -> KeptByStream {
        match self.0.routes.ask(target).await {
            Route::Stream { .. } => KeptByStream::Yes,
            Route::Nowhere if self.0.routes.is_trusted(target) => KeptByStream::Yes,
            Route::Nowhere => KeptByStream::No,
            Route::Elsewhere | Route::Denied | Route::MayNotAsk | Route::Unknown => {
                KeptByStream::Unknown
            }
        }
    }

    /// Whether the stream behind a target is known to acknowledge, and to drop a copy of a command for long enough.
    pub fn drops_copies(&self, target: &str) -> bool {
        self.0.routes.drops_copies(target)
    }

    /// Whether the stream behind a target has taken nothing that it was sent for a while. A command to it then waits,
    /// and longer than other commands should wait for it.
    pub fn is_silent(&self, target: &str) -> bool {
        self.0.at_gate(target, Gates::is_silent)
    }

    /// Sends the command of an execution and returns its outcome; sends only while it is `trusted`, which is checked
    /// again after every wait.
    ///
    /// `again` makes the command's headers once more, for another try: few need one. `earlier` says that another
    /// instance, or this one under an older claim, may have sent it since the execution started.
    ///
    /// # Errors
    /// If the trust is lost before the fate of the command is known.
    pub async fn deliver(
        &self,
        how: &crate::schedule::Delivery,
        execution: &Execution,
        command: Command,
        again: &(dyn Fn() -> Headers + Sync),
        earlier: bool,
        trusted: impl Fn() -> bool + Sync,
    ) -> Result<Delivered, TrustLost> {
        let subject = &execution.command_sent;
        match how.mode {
            DeliveryMode::Publish | DeliveryMode::Job => {
                let Command { headers, body } = command;
                let started = execution.started_at.unwrap_or(execution.scheduled_for);
                let first = Mutex::new(Some(headers));
                let headers = || {
                    let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
                    first.unwrap_or_else(again)
                };
                let publication = Publication {
                    subject,
                    id: execution.id.to_string(),
                    headers: &headers,
                    body,
                    since: earlier.then_some(started),
                };
                self.publish(publication, trusted).await
            }
            DeliveryMode::Request => {
                Ok(Box::pin(self.request(how, subject, command, &trusted)).await?.into())
            }
            DeliveryMode::Core => Ok(Box::pin(self.core(subject, command, &trusted)).await?.into()),
        }
    }

    /// Publishes a message until a stream has it or refuses it, or it is known that none will.
    ///
    /// # Errors
    /// If the trust is lost before that.
    pub(crate) async fn publish(
        &self,
        publication: Publication<'_>,
        trusted: impl Fn() -> bool + Sync,
    ) -> Result<Delivered, TrustLost> {
        let policy = Policy {
            trusted,
            since: publication.since,
            patience: Some(MAX_UNANSWERED),
            pause: RETRY,
        };
        let mut message =
            ToTarget { sender: &self.0, publication: &publication, over: Mutex::default() };
        let known = until_known(&mut message, policy).await?;
        let was_there = matches!(known.fate, Fate::Stored { duplicate: true });
        Ok(Delivered { outcome: outcome(publication.subject, known), was_there })
    }

    /// Whether NATS refuses us a subject under the name that a mapping gives it; asks only if it has refused something since.
    async fn is_denied(&self, subject: &str, awaited: &Awaited) -> bool {
        awaited.strays() && Box::pin(self.0.routes.ask(subject)).await == Route::Denied
    }
}

impl<N: Nats> Parts<N> {
    /// Asks about the gate for commands to a target: that of the target's stream if that is known, otherwise that of
    /// the target.
    fn at_gate<T>(&self, target: &str, ask: impl FnOnce(&Gates, &str) -> T) -> T {
        if !N::Guards::hold(Guard::Bounds) {
            return ask(&self.gates, "");
        }
        self.routes.at_stream_of(target, |stream| ask(&self.gates, stream.unwrap_or(target)))
    }
}

/// The outcome of an execution, given the fate of its message. After a try of unknown fate, no later refusal proves
/// that no copy was stored, so the outcome is uncertain, and the command is not sent again under another id. The same
/// goes if no stream captures the target and somebody else answered or listens: they have the command.
fn outcome(subject: &str, known: Known) -> Outcome {
    let Known { fate, maybe_sent } = known;
    match fate {
        Fate::Stored { .. } => Outcome::success(),
        Fate::NoStream { heard } => no_stream(subject, heard, maybe_sent),
        Fate::Denied => not_allowed(subject, maybe_sent),
        Fate::Refused(reason) => {
            Outcome::failed_after(maybe_sent, ErrorType::Refused, format!("refused: {reason}"))
        }
        Fate::NeverAcknowledged(stream) => {
            let text = format!("stream {stream} acknowledges nothing (no_ack)");
            Outcome::uncertain(ErrorType::Refused, text)
        }
        Fate::GivenUp(reason) => {
            let seconds = MAX_UNANSWERED.as_secs();
            let text = format!("no acknowledgement in {seconds} s of trying: {reason}");
            Outcome::failed_after(maybe_sent, ErrorType::Timeout, text)
        }
    }
}

fn no_stream(subject: &str, heard: bool, maybe_sent: bool) -> Outcome {
    let mut text = format!("no stream captures {subject}");
    if heard {
        text.push_str("; somebody else listens there and may have the command");
    }
    Outcome::failed_after(maybe_sent || heard, ErrorType::NoStream, text)
}

fn not_allowed(subject: &str, maybe_sent: bool) -> Outcome {
    let text = format!("NATS does not let the service publish to {subject} (permissions)");
    Outcome::failed_after(maybe_sent, ErrorType::NotAllowed, text)
}

fn headers(schedule: &Schedule, execution: &Execution) -> Headers {
    let scheduled_for = execution.scheduled_for.to_rfc3339_opts(SecondsFormat::Millis, true);
    let id = execution.id.to_string();
    let mut headers = Headers::default();
    headers.line(names::SCHEDULE_ID, &schedule.id.to_string());
    headers.text(names::SCHEDULE_NAME, &execution.schedule_name);
    headers.line(names::EXECUTION_ID, &id);
    headers.number(names::ATTEMPT, u64::from(execution.attempt_number));
    headers.line(names::SCHEDULED_FOR, &scheduled_for);
    headers.number(names::REVISION, execution.lock_id.revision);
    headers.line(names::CORRELATION_ID, &execution.correlation_id);
    if let Some(trace) = execution.trace {
        headers.line(names::TRACEPARENT, &trace.to_string());
    }
    headers.line(names::MESSAGE_ID, &id);
    headers
}
