//! A NATS that is simulated, in the runtime's time: streams, subjects, and connections with a latency.
//!
//! It stands behind the service's port, so all of the protocol runs over it. What it does is held to what
//! nats-server does by the suite in `conformance.rs`, which runs against both.

mod connection;
mod stream;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_nats::jetstream::Error;
use async_nats::jetstream::stream::Config;
use async_nats::{HeaderMap, Message, StatusCode};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::channel::mpsc::UnboundedSender;
use nats_scheduler::names::covers;
use nats_scheduler::port::{Append, Appended, Entry, Info, Outgoing, Reading, Start};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use connection::{Down, Link, Shown};
pub use connection::{Simulated, Way};
use stream::{Stream, is_shown, refusal};

/// The largest message, headers and all.
const MAX_PAYLOAD: usize = 1024 * 1024;
/// The server's clock when it starts.
const BEGIN: &str = "2026-01-01T00:00:00Z";

/// A server. Clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Mutex<State>>);

struct State {
    started: Instant,
    streams: BTreeMap<String, Stream>,
    subscriptions: BTreeMap<u64, Subscription>,
    readers: BTreeMap<u64, Reader>,
    next: u64,
    chance: StdRng,
}

struct Subscription {
    /// The connection that it is heard over.
    over: u64,
    subject: String,
    down: mpsc::UnboundedSender<Down>,
    heard: UnboundedSender<Message>,
}

struct Reader {
    /// The connection that it is read over.
    over: u64,
    stream: String,
    what: Reading,
    down: mpsc::UnboundedSender<Down>,
    shown: Arc<Shown>,
}

/// What a connection asks of the server.
enum Frame {
    Publish(Outgoing),
    Subscribe {
        subject: String,
        heard: UnboundedSender<Message>,
    },
    Append(Append, oneshot::Sender<Result<Appended, NotStored>>),
    Info(String, oneshot::Sender<Result<Info, Error>>),
    Last {
        stream: String,
        subject: String,
        answer: oneshot::Sender<Found>,
    },
    Message {
        stream: String,
        sequence: u64,
        answer: oneshot::Sender<Found>,
    },
    StreamOf(String, oneshot::Sender<Option<String>>),
    Read {
        stream: String,
        what: Reading,
        shown: Arc<Shown>,
        answer: oneshot::Sender<Result<u64, Error>>,
    },
}

type Found = Result<Option<Entry>, Error>;

/// Why a stream has not taken a message.
enum NotStored {
    NoStream,
    Refused(Error),
}

impl Server {
    /// A server without any stream; `seed` says how long everything takes.
    pub fn start(seed: u64) -> Self {
        let server = Self(Arc::new(Mutex::new(State {
            started: Instant::now(),
            streams: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            readers: BTreeMap::new(),
            next: 0,
            chance: StdRng::seed_from_u64(seed),
        })));
        tokio::spawn(server.clone().expire());
        server
    }

    /// The same with the streams of the service, and one for commands.
    pub fn with_streams(seed: u64) -> Self {
        let server = Self::start(seed);
        for config in [
            include_str!("../../../streams/KV_scheduler_schedules.json"),
            include_str!("../../../streams/SCHEDULER_EXECUTIONS.json"),
            include_str!("../../../streams/SCHEDULER_AUDIT.json"),
            include_str!("../../../streams/COMMANDS.json"),
        ] {
            server.create_stream(serde_json::from_str(config).unwrap());
        }
        server
    }

    /// Creates a stream.
    pub fn create_stream(&self, config: Config) {
        let mut state = self.state();
        let now = state.now();
        state.streams.insert(config.name.clone(), Stream::new(config, now));
    }

    /// The server's clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.state().now()
    }

    /// The last message of a subject.
    pub fn last(&self, stream: &str, subject: &str) -> Option<Entry> {
        self.state().streams[stream].last(subject)
    }

    /// All that a stream holds.
    pub fn messages(&self, stream: &str) -> Vec<Entry> {
        let all = Reading { from: Start::First, filter: String::new(), headers_only: false };
        self.state().streams[stream].shown(&all)
    }

    /// Forgets what has had its time, a little late, as the server does.
    async fn expire(self) {
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            self.state().expire();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn now(&self) -> DateTime<Utc> {
        BEGIN.parse::<DateTime<Utc>>().unwrap() + self.started.elapsed()
    }

    /// How long something takes on its way.
    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.chance.random_range(50..1500))
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn expire(&mut self) {
        let now = self.now();
        for name in self.streams.keys().cloned().collect::<Vec<_>>() {
            let Some(stream) = self.streams.get_mut(&name) else { continue };
            if stream.next_end().is_some_and(|end| end <= now) {
                let markers = stream.expire(now);
                markers.into_iter().for_each(|sequence| self.show(&name, sequence));
            }
        }
    }

    /// Does what a connection asks for, and sends the answers down it.
    fn serve(&mut self, link: &Link, down: &mpsc::UnboundedSender<Down>, frame: Frame) {
        let now = self.now();
        let send = |what: Down| drop(down.send(what));
        match frame {
            Frame::Publish(message) => self.publish(message),
            Frame::Subscribe { subject, heard } => {
                let id = self.id();
                let down = down.clone();
                let over = link.id;
                self.subscriptions.insert(id, Subscription { over, subject, down, heard });
            }
            Frame::Append(message, answer) => {
                let stored = self.append(&message);
                send(Down::answer(answer, stored));
            }
            Frame::Info(stream, answer) => {
                let info = self.stream(&stream).map(|stream| stream.info(now));
                send(Down::answer(answer, info));
            }
            Frame::Last { stream, subject, answer } => {
                let found = self.stream(&stream).map(|stream| stream.last(&subject));
                send(Down::answer(answer, found));
            }
            Frame::Message { stream, sequence, answer } => {
                let found = self.stream(&stream).map(|stream| stream.message(sequence));
                send(Down::answer(answer, found));
            }
            Frame::StreamOf(subject, answer) => {
                send(Down::answer(answer, self.captured_by(&subject)));
            }
            Frame::Read { stream, what, shown, answer } => {
                let entries = self.stream(&stream).map(|stream| stream.shown(&what));
                let pending = entries.as_ref().map(|entries| entries.len() as u64);
                send(Down::answer(answer, pending.map_err(Error::clone)));
                let Ok(entries) = entries else { return };
                for entry in entries {
                    send(Down::Entry(Arc::clone(&shown), cut(&what, entry)));
                }
                let (id, down) = (self.id(), down.clone());
                self.readers.insert(id, Reader { over: link.id, stream, what, down, shown });
            }
        }
    }

    fn stream(&self, name: &str) -> Result<&Stream, Error> {
        self.streams.get(name).ok_or_else(|| refusal(404, 10059, "stream not found"))
    }

    fn captured_by(&self, subject: &str) -> Option<String> {
        let mut streams = self.streams.iter();
        streams.find(|(_, stream)| stream.captures(subject)).map(|(name, _)| name.clone())
    }

    fn append(&mut self, message: &Append) -> Result<Appended, NotStored> {
        let name = self.captured_by(&message.subject).ok_or(NotStored::NoStream)?;
        let headers = message.headers.clone().into();
        let stored = self.store(&name, &message.subject, &headers, &message.body);
        let (sequence, duplicate) = stored.map_err(NotStored::Refused)?;
        Ok(Appended { sequence, duplicate })
    }

    fn store(
        &mut self,
        name: &str,
        subject: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(u64, bool), Error> {
        let now = self.now();
        let Some(stream) = self.streams.get_mut(name) else {
            return Err(refusal(404, 10059, "stream not found"));
        };
        let (sequence, duplicate) = stream.append(subject, headers, body, now)?;
        if !duplicate {
            self.show(name, sequence);
        }
        Ok((sequence, duplicate))
    }

    /// Shows a new message to those who read the stream.
    fn show(&mut self, name: &str, sequence: u64) {
        let Some(entry) = self.streams.get(name).and_then(|stream| stream.message(sequence)) else {
            return;
        };
        self.readers.retain(|_, reader| {
            if reader.stream == name && is_shown(&reader.what, &entry) {
                let entry = cut(&reader.what, entry.clone());
                return reader.down.send(Down::Entry(Arc::clone(&reader.shown), entry)).is_ok();
            }
            !reader.shown.to.is_closed()
        });
    }

    /// Forgets who listened over a connection that is closed.
    fn close(&mut self, over: u64) {
        self.subscriptions.retain(|_, one| one.over != over);
        self.readers.retain(|_, reader| reader.over != over);
    }

    /// Shows those who read over a connection that was made again what they have missed.
    fn resume(&mut self, over: u64) {
        for reader in self.readers.values().filter(|reader| reader.over == over) {
            let Some(stream) = self.streams.get(&reader.stream) else { continue };
            let last = *reader.shown.last.lock().unwrap();
            let from = match last {
                0 => reader.what.from,
                last => Start::Sequence(last + 1),
            };
            for entry in stream.shown(&Reading { from, ..reader.what.clone() }) {
                let entry = cut(&reader.what, entry);
                let _ = reader.down.send(Down::Entry(Arc::clone(&reader.shown), entry));
            }
        }
    }

    /// Leads a message to all who are to have it.
    fn publish(&mut self, message: Outgoing) {
        let Outgoing { subject, reply, headers, body } = message;
        if let Some(dest) = headers.get("Nats-Trace-Dest") {
            let report = self.trace(&subject).to_string();
            let dest = dest.as_str().to_owned();
            return self.deliver(&dest, None, HeaderMap::new(), report.into(), None);
        }
        if let Some(answer) = self.api(&subject) {
            if let Some(reply) = reply {
                self.deliver(&reply, None, HeaderMap::new(), answer.to_string().into(), None);
            }
            return;
        }
        let stream = self.captured_by(&subject);
        if let Some(name) = &stream {
            let ack = match self.store(name, &subject, &headers, &body) {
                Ok((seq, false)) => json!({ "stream": name, "seq": seq }),
                Ok((seq, true)) => json!({ "stream": name, "seq": seq, "duplicate": true }),
                Err(error) => json!({ "stream": name, "seq": 0, "error": error }),
            };
            let answers = self.streams.get(name).is_some_and(|stream| !stream.config().no_ack);
            if let Some(reply) = reply.clone().filter(|_| answers) {
                self.deliver(&reply, None, HeaderMap::new(), ack.to_string().into(), None);
            }
        }
        let is_heard = self.subscriptions.values().any(|one| covers(&one.subject, &subject));
        self.deliver(&subject, reply.clone(), headers, body, None);
        if let Some(reply) = reply.filter(|_| stream.is_none() && !is_heard) {
            let nobody = Some(StatusCode::NO_RESPONDERS);
            self.deliver(&reply, None, HeaderMap::new(), Bytes::new(), nobody);
        }
    }

    fn deliver(
        &mut self,
        subject: &str,
        reply: Option<String>,
        headers: HeaderMap,
        body: Bytes,
        status: Option<StatusCode>,
    ) {
        let message = Message {
            subject: subject.into(),
            reply: reply.map(Into::into),
            length: subject.len() + body.len(),
            payload: body,
            headers: (!headers.is_empty()).then_some(headers),
            status,
            description: None,
        };
        self.subscriptions.retain(|_, one| {
            if covers(&one.subject, subject) {
                return one.down.send(Down::Message(one.heard.clone(), message.clone())).is_ok();
            }
            !one.heard.is_closed()
        });
    }

    /// Where a message would go.
    fn trace(&self, subject: &str) -> Value {
        let heard = self.subscriptions.values().any(|one| covers(&one.subject, subject));
        let mut events = vec![json!({ "type": "in", "subj": subject })];
        events.extend(
            self.captured_by(subject)
                .map(|stream| json!({ "type": "js", "stream": stream, "subject": subject })),
        );
        events.extend(heard.then(|| json!({ "type": "eg" })));
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

/// An entry as a reader wants it.
fn cut(what: &Reading, entry: Entry) -> Entry {
    Entry { body: if what.headers_only { Bytes::new() } else { entry.body }, ..entry }
}
