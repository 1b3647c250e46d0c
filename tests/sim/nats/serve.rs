//! Requests that the server handles for its clients.

use std::sync::Arc;

use async_nats::jetstream::Error;
use async_nats::{Message, StatusCode};
use nats_scheduler::port::{Append, Appended, Outgoing, Permission, Reading, Refusal};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::connection::{Down, Link, Shown};
use super::faults::{Ack, Trouble};
use super::readers::cut;
use super::stream::{Stream, refusal};
use super::subscriptions::Subscription;
use super::{Found, Frame, NotStored, State};

impl Frame {
    /// What its sender must be allowed to do.
    fn needs(&self) -> (Permission, String) {
        let api = |what: &str, of: &str| (Permission::Publish, format!("$JS.API.{what}{of}"));
        match self {
            Self::Publish(message) => (Permission::Publish, message.subject.clone()),
            Self::Append(message, _) => (Permission::Publish, message.subject.clone()),
            Self::Subscribe { subject, .. } => (Permission::Subscribe, subject.clone()),
            Self::Info(stream, _) => api("STREAM.INFO.", stream),
            Self::Last { stream, .. }
            | Self::Message { stream, .. }
            | Self::Next { stream, .. } => api("STREAM.MSG.GET.", stream),
            Self::MessageOfAny { stream, .. } => api("DIRECT.GET.", stream),
            Self::StreamOf(..) => api("STREAM.NAMES", ""),
            Self::Read { stream, .. } => api("CONSUMER.CREATE.", stream),
        }
    }
}

impl State {
    /// Does what a connection asks for, and sends the answers down it.
    pub fn serve(&mut self, link: &Arc<Link>, frame: Frame) {
        if link.has_forbidden()
            && let (operation, subject) = frame.needs()
            && link.forbids(operation, &subject)
        {
            if operation == Permission::Subscribe {
                link.state().missing.push(frame);
            }
            let refusal = Refusal { operation, subject };
            return self.answer(link, Down::Refused(Arc::clone(link), refusal));
        }
        match frame {
            Frame::Publish(message) => self.publish(message),
            Frame::Subscribe { subject, heard } => {
                self.subscriptions.add(subject, Subscription { link: Arc::clone(link), heard });
            }
            Frame::Append(message, answer) => self.append(link, message, answer),
            Frame::Info(stream, answer) => {
                let now = self.now();
                self.tell(link, &stream, answer, |stream| stream.info(now));
            }
            Frame::Last { stream, subject, answer } => {
                self.tell(link, &stream, answer, |stream| stream.last(&subject));
            }
            Frame::Message { stream, sequence, answer } => {
                self.tell(link, &stream, answer, |stream| stream.message(sequence));
            }
            Frame::Next { stream, subjects, sequence, answer } => {
                self.tell(link, &stream, answer, |stream| stream.next(&subjects, sequence));
            }
            Frame::MessageOfAny { stream, sequence, answer } => {
                self.tell_of_any(link, &stream, sequence, answer);
            }
            Frame::StreamOf(subject, answer) => {
                self.answer(link, Down::answer(answer, self.captured_by(&subject)));
            }
            Frame::Read { stream, what, shown, answer } => {
                self.read(link, stream, what, shown, answer);
            }
        }
    }

    /// Answers a question to a stream's leader.
    fn tell<T: Send + 'static>(
        &mut self,
        link: &Arc<Link>,
        stream: &str,
        answer: oneshot::Sender<Result<T, Error>>,
        say: impl FnOnce(&Stream) -> T,
    ) {
        let said = match self.trouble(stream) {
            Some(Trouble::Silent) => return,
            Some(Trouble::NoLeader) => Err(unavailable()),
            Some(Trouble::Refuses(_)) | None => self.stream(stream).map(say),
        };
        self.answer(link, Down::answer(answer, said));
    }

    fn tell_of_any(
        &mut self,
        link: &Arc<Link>,
        stream: &str,
        sequence: u64,
        answer: oneshot::Sender<Found>,
    ) {
        let then = self.now() - self.lag();
        let found = self.stream(stream).map(|stream| stream.message_then(sequence, then));
        self.answer(link, Down::answer(answer, found));
    }

    fn append(
        &mut self,
        link: &Arc<Link>,
        message: Append,
        answer: oneshot::Sender<Result<Appended, NotStored>>,
    ) {
        let Some(name) = self.captured_by(&message.subject) else {
            return self.answer(link, Down::answer(answer, Err(NotStored::NoStream)));
        };
        let stored = match self.trouble(&name) {
            Some(Trouble::Silent) => return,
            Some(Trouble::NoLeader) => Err(NotStored::NoStream),
            Some(Trouble::Refuses(error)) => Err(NotStored::Refused(error)),
            None => {
                let Append { subject, headers, body } = message;
                let stored = self.store(&name, &subject, headers.into(), body);
                self.writes.count(&subject, &stored);
                stored.map_err(NotStored::Refused)
            }
        };
        if self.stream(&name).is_ok_and(|stream| stream.config().no_ack) {
            return;
        }
        let stored = stored.map(|(sequence, duplicate)| Appended { sequence, duplicate });
        let down = Down::answer(answer, stored);
        match self.ack() {
            Ack::Comes => self.answer(link, down),
            Ack::Late(late) => self.answer_late(link, down, late),
            Ack::Lost => {}
        }
    }

    fn read(
        &mut self,
        link: &Arc<Link>,
        name: String,
        what: Reading,
        shown: Arc<Shown>,
        answer: oneshot::Sender<Result<u64, Error>>,
    ) {
        let trouble = self.trouble(&name);
        let entries = match (trouble, self.stream(&name)) {
            (Some(Trouble::Silent), _) => return,
            (Some(Trouble::NoLeader), _) => Err(unavailable()),
            (_, stream) => stream.and_then(|stream| {
                stream.refuse_reader()?;
                Ok(stream.shown(&what))
            }),
        };
        let pending = entries.as_ref().map(|entries| entries.len() as u64);
        self.answer(link, Down::answer(answer, pending.map_err(Error::clone)));
        let Ok(entries) = entries else { return };
        for entry in entries {
            self.answer(link, Down::Entry(Arc::clone(&shown), cut(&what, entry)));
        }
        self.begin(link, name, what, shown);
    }

    /// Leads a message to all who are to have it.
    fn publish(&mut self, message: Outgoing) {
        if let Some(dest) = message.headers.get("Nats-Trace-Dest") {
            let report = self.trace(&message.subject).to_string();
            return self.deliver(text(dest.as_str(), report));
        }
        if let Some(answer) = self.api(&message.subject) {
            return self.reply(message.reply, answer);
        }
        let stream = self.captured_by(&message.subject);
        let hears = self.subscriptions.to(&message.subject);
        let is_nowhere = stream.is_none() && hears.is_empty();
        match stream {
            Some(name) => self.capture(&name, &message),
            None if is_nowhere => self.nobody(message.reply.clone()),
            None => {}
        }
        self.hand(hears, message);
    }

    /// Has a stream take a message that somebody published.
    fn capture(&mut self, name: &str, message: &Outgoing) {
        let Outgoing { subject, reply, headers, body } = message.clone();
        let stored = match self.trouble(name) {
            Some(Trouble::Silent) => return,
            Some(Trouble::NoLeader) => return self.nobody(reply),
            Some(Trouble::Refuses(error)) => Err(error),
            None => self.store(name, &subject, headers, body),
        };
        let ack = match stored {
            Ok((seq, false)) => json!({ "stream": name, "seq": seq }),
            Ok((seq, true)) => json!({ "stream": name, "seq": seq, "duplicate": true }),
            Err(error) => json!({ "stream": name, "seq": 0, "error": error }),
        };
        if self.stream(name).is_ok_and(|stream| stream.config().no_ack) {
            return;
        }
        match self.ack() {
            Ack::Comes => self.reply(reply, ack),
            Ack::Late(late) => {
                let at = self.moment + late;
                self.do_at(at, move |state| state.reply(reply, ack));
            }
            Ack::Lost => {}
        }
    }

    fn reply(&mut self, to: Option<String>, answer: Value) {
        if let Some(to) = to {
            self.deliver(text(&to, answer.to_string()));
        }
    }

    /// Says that nobody listens.
    fn nobody(&mut self, reply: Option<String>) {
        let Some(reply) = reply else { return };
        let hears = self.subscriptions.to(&reply);
        let status = Some(StatusCode::NO_RESPONDERS);
        let nobody = Message { status, ..message(text(&reply, String::new())) };
        self.send_all(hears, &nobody);
    }

    /// Sends a message that no stream is to have to who listens.
    fn deliver(&mut self, outgoing: Outgoing) {
        let hears = self.subscriptions.to(&outgoing.subject);
        self.hand(hears, outgoing);
    }

    fn hand(&mut self, hears: Vec<Subscription>, outgoing: Outgoing) {
        if !hears.is_empty() {
            self.send_all(hears, &message(outgoing));
        }
    }

    fn send_all(&mut self, hears: Vec<Subscription>, message: &Message) {
        for one in hears {
            self.answer(&one.link, Down::Message(one.heard, message.clone()));
        }
    }

    /// Where a message would go.
    fn trace(&mut self, subject: &str) -> Value {
        let mut events = vec![json!({ "type": "in", "subj": subject })];
        if let Some(name) = self.captured_by(subject) {
            let stored = self.streams[&name].stored_as(subject);
            events.push(json!({ "type": "js", "stream": name, "subject": stored }));
        }
        if !self.subscriptions.to(subject).is_empty() {
            events.push(json!({ "type": "eg" }));
        }
        json!({ "server": {}, "events": events })
    }

    /// What JetStream answers to a request as it comes over the wire, where that is asked by hand.
    fn api(&self, subject: &str) -> Option<Value> {
        let name = subject.strip_prefix("$JS.API.STREAM.INFO.")?;
        Some(match self.stream(name) {
            Ok(stream) => {
                let info = stream.info(self.now());
                json!({ "ts": info.said_at, "state": { "last_seq": info.state.last_sequence } })
            }
            Err(error) => json!({ "error": error }),
        })
    }
}

/// A question to a stream without a leader.
fn unavailable() -> Error {
    refusal(503, 10008, "JetStream system temporarily unavailable")
}

fn text(subject: &str, body: String) -> Outgoing {
    Outgoing { subject: subject.to_owned(), body: body.into(), ..Outgoing::default() }
}

/// A message as who listens has it.
fn message(outgoing: Outgoing) -> Message {
    let Outgoing { subject, reply, headers, body } = outgoing;
    Message {
        length: subject.len() + body.len(),
        subject: subject.into(),
        reply: reply.map(Into::into),
        payload: body,
        headers: (!headers.is_empty()).then_some(headers),
        status: None,
        description: None,
    }
}
