//! Sending a command.
//!
//! Whatever the mode, the message is the same: the user's payload untouched, and headers that tell
//! a receiver what it needs to drop what it has already seen. `request` and `core` are sent once.
//!
//! # Publishing until its fate is known
//!
//! A `publish` whose acknowledgement does not come may be stored, lost, or stored later. Reporting
//! it as failed would be followed by another attempt under another id, and then both could be
//! stored. So it is sent again under the same `Nats-Msg-Id`, and the stream drops what it has.
//! Whose an answer is and what it proves: `deliver/send.rs`.
//!
//! The stream remembers ids only for its duplicate window. A message that may have been sent longer
//! ago than half of that, by us or by the instance that we took the attempt over from, is first
//! looked for in the stream itself, under the subject that the stream keeps it by. Nothing is sent
//! while the connection is down: the client would queue it and send it whenever it comes back.
//!
//! (What happens rarely is boxed: a firing is a future, thousands are under way at once, and each is
//! as large as its largest step.)
//!
//! Once one try has been of unknown fate, no later refusal proves that none was stored: the attempt
//! then ends as a failure that is not retried, and says so. The same where no stream captures the
//! target and somebody else answered or listens: they have the command.
//!
//! # Subjects that we may not publish to
//!
//! NATS drops such a message and says so beside it, of the subject. That is the outcome in every
//! mode, at once: `not_allowed`. Where the account maps the subject, NATS names the other one; then
//! the server is asked where ours goes, as soon as that can be what happened.

mod earlier;
mod reply;
mod send;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream;
use async_nats::{Client, HeaderMap, HeaderValue, RequestErrorKind, SubscribeError};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::answers::{Answers, Awaited};
use super::inbox::Inbox;
use super::names;
use super::route::{Route, Routes};
use crate::execution::{ErrorType, Execution, Outcome};
use crate::schedule::{DeliveryMode, Payload, Schedule};
use earlier::Earlier;
use reply::replied;
use send::{Letter, Sent};

/// Pause between tries to publish.
const RETRY: Duration = Duration::from_millis(250);
/// Time spent on unanswered tries, while connected, after which a publish is given up: less than the
/// least lease, so that nobody takes over what is still tried.
const MAX_UNANSWERED: Duration = Duration::from_secs(240);

/// A command, ready to be sent.
pub struct Command {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Command {
    /// The command of an execution of a schedule.
    pub fn new(
        schedule: &Schedule,
        execution: &Execution,
        payload: &Payload,
        token: Option<&str>,
    ) -> Self {
        let mut headers = headers(schedule, execution);
        if let Some(token) = token {
            headers.insert(names::TOKEN, token);
            headers.insert(names::CANCEL_SUBJECT, names::cancel_subject(execution.id));
        }
        Self { headers, body: payload.to_bytes() }
    }
}

/// Sends commands, and finds out what becomes of them.
#[derive(Clone)]
pub struct Delivery(Arc<Parts>);

struct Parts {
    js: jetstream::Context,
    inbox: Arc<Inbox>,
    routes: Routes,
}

/// Whether what is published to a target is kept, as far as NATS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// By a stream.
    Yes,
    /// By none.
    No,
    /// NATS does not say, or not now.
    Unknown,
}

/// What is published until its fate is known.
pub(crate) struct Publication<'a> {
    /// Where it goes.
    pub(crate) subject: &'a str,
    /// Its `Nats-Msg-Id`, which is in its headers too.
    pub(crate) id: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Since when it may have been sent before, by whoever had the attempt then.
    pub(crate) since: DateTime<Utc>,
    /// Whether it may have been.
    pub(crate) earlier: bool,
}

impl Delivery {
    /// Listens for answers until `stop`. `answers` must be those that the connection of `js` tells of
    /// refused permissions.
    ///
    /// # Errors
    /// If the connection is closed.
    pub async fn open(
        js: jetstream::Context,
        answers: Answers,
        stop: CancellationToken,
    ) -> Result<Self, SubscribeError> {
        let inbox = Arc::new(Inbox::open(js.client(), answers, stop).await?);
        let routes = Routes::new(js.clone(), Arc::clone(&inbox));
        Ok(Self(Arc::new(Parts { js, inbox, routes })))
    }

    /// The connection that commands are sent on.
    pub(crate) fn js(&self) -> &jetstream::Context {
        &self.0.js
    }

    /// Whether a stream keeps what is published to a target.
    pub async fn kept(&self, target: &str) -> Kept {
        match self.0.routes.ask(target).await {
            Route::Stream { .. } => Kept::Yes,
            Route::Nowhere if self.0.routes.is_trusted(target) => Kept::Yes,
            Route::Nowhere => Kept::No,
            Route::Elsewhere | Route::Denied | Route::MayNotAsk | Route::Unknown => Kept::Unknown,
        }
    }

    /// Sends the command of an execution and reports what became of it.
    ///
    /// `earlier` says that another instance, or this one under an older claim, may have sent it since
    /// the execution started.
    pub async fn deliver(
        &self,
        how: &crate::schedule::Delivery,
        execution: &Execution,
        command: Command,
        earlier: bool,
    ) -> Outcome {
        let subject = &execution.command_sent;
        match how.mode {
            DeliveryMode::Publish | DeliveryMode::Job => {
                let Command { headers, body } = command;
                let publication = Publication {
                    subject,
                    id: execution.id.to_string(),
                    headers,
                    body,
                    since: execution.started_at.unwrap_or(execution.scheduled_for),
                    earlier,
                };
                self.publish(publication).await
            }
            DeliveryMode::Request => Box::pin(self.request(how, subject, command)).await,
            DeliveryMode::Core => Box::pin(self.core(subject, command)).await,
        }
    }

    /// Publishes a message until a stream has it or refuses it, or it is known that none will.
    pub(crate) async fn publish(&self, publication: Publication<'_>) -> Outcome {
        let Publication { subject, id, headers, body, since, earlier } = publication;
        let letter = Letter { subject, id: &id, headers, body };
        // Of all tries: an answer to an earlier one says as much.
        let awaited = self.0.inbox.await_for(subject);
        let mut maybe_sent = earlier;
        let mut unanswered = Duration::ZERO;
        loop {
            connected(&self.0.js.client()).await;
            let tried = Instant::now();
            let copy = match maybe_sent {
                true => Box::pin(self.earlier_copy(&letter, since)).await,
                false => Earlier::Remembered,
            };
            let sent = match copy {
                Earlier::Remembered => self.send(&letter, &awaited).await,
                Earlier::Stored => return Outcome::success(),
                Earlier::NeverAcknowledged(stream) => {
                    let text = format!("stream {stream} acknowledges nothing (no_ack)");
                    return Outcome::uncertain(ErrorType::Refused, text);
                }
                Earlier::Unknown => {
                    Sent::Unknown("the stream does not say whether it has the command".to_owned())
                }
            };
            let reason = match sent {
                Sent::Stored => return Outcome::success(),
                Sent::NoStream { heard } => return no_stream(subject, heard, maybe_sent),
                Sent::Denied => return not_allowed(subject, maybe_sent),
                Sent::Refused(reason) => {
                    return Outcome::failed_after(maybe_sent, ErrorType::Refused, reason);
                }
                Sent::OutOfReach => "no stream answered for the subject".to_owned(),
                Sent::Unknown(reason) => {
                    maybe_sent = true;
                    reason
                }
            };
            debug!(subject, reason, "publishing again under the same id");
            tokio::time::sleep(RETRY).await;
            unanswered += tried.elapsed();
            if unanswered >= MAX_UNANSWERED {
                return given_up(&reason);
            }
        }
    }

    async fn request(
        &self,
        how: &crate::schedule::Delivery,
        subject: &str,
        command: Command,
    ) -> Outcome {
        let timeout = Duration::from_secs(u64::from(how.timeout_seconds));
        let request = async_nats::Request::new()
            .headers(command.headers)
            .payload(command.body)
            .timeout(Some(timeout));
        let (client, awaited) = (self.0.js.client(), self.0.inbox.await_for(subject));
        let reply = tokio::select! {
            reply = client.send_request(subject.to_owned(), request) => reply,
            () = awaited.denied() => return not_allowed(subject, false),
        };
        match reply {
            Ok(reply) => replied(subject, &reply),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => {
                    Outcome::failed(ErrorType::NoResponders, format!("nobody listens on {subject}"))
                }
                RequestErrorKind::TimedOut if self.is_denied(subject, &awaited).await => {
                    not_allowed(subject, false)
                }
                RequestErrorKind::TimedOut => {
                    let text = format!("no reply within {} s", timeout.as_secs());
                    Outcome::failed(ErrorType::Timeout, text)
                }
                _ => Outcome::failed(ErrorType::Connection, error.to_string()),
            },
        }
    }

    async fn core(&self, subject: &str, command: Command) -> Outcome {
        let client = self.0.js.client();
        connected(&client).await;
        let awaited = self.0.inbox.await_for(subject);
        let connects = || client.statistics().connects.load(Ordering::Relaxed);
        let before = connects();
        let sent = client.publish_with_headers(subject.to_owned(), command.headers, command.body);
        if let Err(error) = sent.await {
            return Outcome::failed(ErrorType::Connection, error.to_string());
        }
        let answered = self.0.inbox.round_trip().await;
        if awaited.was_denied() || self.is_denied(subject, &awaited).await {
            return not_allowed(subject, false);
        }
        // What a connection held when it broke is lost, though another one answers.
        if !answered || connects() != before {
            let text = "NATS does not say that it has the command".to_owned();
            return Outcome::uncertain(ErrorType::Connection, text);
        }
        Outcome::success()
    }

    /// Whether NATS refuses us a subject under another name, if it has refused anything since.
    async fn is_denied(&self, subject: &str, awaited: &Awaited) -> bool {
        awaited.strays() && Box::pin(self.0.routes.ask(subject)).await == Route::Denied
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

fn given_up(reason: &str) -> Outcome {
    let seconds = MAX_UNANSWERED.as_secs();
    let text = format!("no acknowledgement in {seconds} s of trying: {reason}");
    Outcome::uncertain(ErrorType::Timeout, text)
}

/// Waits until the connection is up.
pub(crate) async fn connected(client: &Client) {
    while client.connection_state() != State::Connected {
        tokio::time::sleep(RETRY).await;
    }
}

fn headers(schedule: &Schedule, execution: &Execution) -> HeaderMap {
    let scheduled_for = execution.scheduled_for.to_rfc3339_opts(SecondsFormat::Millis, true);
    let id = execution.id.to_string();
    let mut headers = HeaderMap::new();
    headers.insert(names::SCHEDULE_ID, schedule.id.to_string());
    headers.insert(names::SCHEDULE_NAME, names::header_text(&execution.schedule_name).as_ref());
    headers.insert(names::EXECUTION_ID, id.as_str());
    headers.insert(names::ATTEMPT, HeaderValue::from(u64::from(execution.attempt_number)));
    headers.insert(names::SCHEDULED_FOR, scheduled_for);
    headers.insert(names::REVISION, HeaderValue::from(execution.lock_id.revision));
    headers.insert(names::CORRELATION_ID, execution.correlation_id.as_str());
    if let Some(trace) = execution.trace {
        headers.insert(names::TRACEPARENT, trace.to_string());
    }
    headers.insert(names::MESSAGE_ID, id);
    headers
}
