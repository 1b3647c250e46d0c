//! A simulated NATS in the runtime's time: streams, subjects, and connections with a latency.
//!
//! It stands behind the service's port, so the whole protocol runs over it. The suite in `conformance.rs`, which runs
//! against both, holds its behaviour to that of nats-server. `faults.rs` has what can go wrong.
//!
//! One task carries what is under way (`post.rs`), and each caller waits for its own answer. So a message costs no
//! timer and no task of its own.

mod clock;
mod connection;
mod faults;
mod post;
mod readers;
mod serve;
mod stream;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use async_nats::jetstream::Error;
use async_nats::jetstream::stream::Config;
use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::channel::mpsc::UnboundedSender;
use nats_scheduler::names;
use nats_scheduler::port::{Append, Appended, Entry, Info, Outgoing, Reading, Start};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub use clock::HostClock;
use connection::{Link, Shown};
pub use connection::{Simulated, Way};
use faults::Faults;
pub use faults::{Trouble, full, no_resources, no_storage, too_many_requests};
use post::Post;
use readers::Reader;
use stream::Stream;
use subscriptions::Subscriptions;

/// The largest message, headers and all.
const MAX_PAYLOAD: usize = 1024 * 1024;
/// How long after its time a message is forgotten, if nothing else happens before.
const LATE: Duration = Duration::from_millis(200);
/// What the true time is when the server starts, in seconds: the beginning of 2026.
const BEGIN: i64 = 1_767_225_600;

/// A server. Clones are the same one.
#[derive(Clone)]
pub struct Server(Arc<Shared>);

struct Shared {
    started: Instant,
    state: Mutex<State>,
    /// Rings when something arrives sooner than was thought.
    sooner: Arc<Notify>,
}

struct State {
    started: Instant,
    /// When it was last looked at, which is now: telling the time costs.
    moment: Instant,
    /// By how much its clock is ahead.
    clock_is_off: TimeDelta,
    streams: BTreeMap<String, Stream>,
    /// Of some streams, all that was ever stored.
    remembered: BTreeMap<String, Vec<Entry>>,
    /// How writes to the bucket went.
    writes: Writes,
    subscriptions: Subscriptions,
    readers: BTreeMap<u64, Reader>,
    links: Vec<Weak<Link>>,
    post: Post,
    sooner: Arc<Notify>,
    faults: Faults,
    next: u64,
    chance: StdRng,
}

/// How conditional writes of records went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Writes {
    pub stored: u64,
    /// Those that another one came before.
    pub refused: u64,
}

impl Writes {
    /// Of all, how many another one came before.
    pub fn refused_share(&self) -> f64 {
        self.refused as f64 / (self.refused + self.stored).max(1) as f64
    }

    fn count(&mut self, subject: &str, stored: &Result<(u64, bool), Error>) {
        let records = names::key_subject(names::SCHEDULE_KEY_PREFIX);
        match stored {
            _ if !subject.starts_with(&records) => {}
            Ok(_) => self.stored += 1,
            Err(error) => self.refused += u64::from([10071, 10164].contains(&error.error_code().0)),
        }
    }
}

/// What a connection asks of the server.
pub enum Frame {
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
    Next {
        stream: String,
        subjects: String,
        sequence: u64,
        answer: oneshot::Sender<Found>,
    },
    MessageOfAny {
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

impl Frame {
    /// Whether it is a message with an id: a command, or an event.
    fn has_id(&self) -> bool {
        match self {
            Self::Publish(message) => message.headers.get(names::MESSAGE_ID).is_some(),
            Self::Append(message, _) => {
                let headers = async_nats::HeaderMap::from(message.headers.clone());
                headers.get(names::MESSAGE_ID).is_some()
            }
            _ => false,
        }
    }
}

type Found = Result<Option<Entry>, Error>;

/// Why a stream has not taken a message.
pub enum NotStored {
    NoStream,
    Refused(Error),
}

impl Server {
    /// A server without any stream; `seed` says how long everything takes.
    pub fn start(seed: u64) -> Self {
        let (started, sooner) = (Instant::now(), Arc::new(Notify::new()));
        let state = Mutex::new(State {
            started,
            moment: started,
            clock_is_off: TimeDelta::zero(),
            streams: BTreeMap::new(),
            remembered: BTreeMap::new(),
            writes: Writes::default(),
            subscriptions: Subscriptions::default(),
            readers: BTreeMap::new(),
            links: Vec::new(),
            post: Post::default(),
            sooner: Arc::clone(&sooner),
            faults: Faults::default(),
            next: 0,
            chance: StdRng::seed_from_u64(seed),
        });
        let server = Self(Arc::new(Shared { started, state, sooner }));
        tokio::spawn(server.clone().carry());
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

    /// Creates a stream, in place of what it was before.
    pub fn create_stream(&self, config: Config) {
        let mut state = self.state();
        let now = state.now();
        state.streams.insert(config.name.clone(), Stream::new(config, now));
    }

    /// The server's clock.
    pub fn now(&self) -> DateTime<Utc> {
        self.state().now()
    }

    /// What the time is, whatever a clock says.
    pub fn true_time(&self) -> DateTime<Utc> {
        true_time(self.0.started, Instant::now())
    }

    /// How writes to the bucket of schedules went.
    pub fn writes(&self) -> Writes {
        self.state().writes
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

    /// From now on remembers all that is stored in a stream, also what leaves it again.
    pub fn remember(&self, stream: &str) {
        self.state().remembered.entry(stream.to_owned()).or_default();
    }

    /// All that was ever stored in a stream since somebody asked for that, and by which clock it was when; what a
    /// restart has forgotten is among it.
    pub fn remembered(&self, stream: &str) -> Vec<Entry> {
        self.state().remembered.get(stream).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.0.state.lock().unwrap();
        state.moment = Instant::now();
        state
    }
}

fn true_time(started: Instant, now: Instant) -> DateTime<Utc> {
    DateTime::from_timestamp(BEGIN, 0).unwrap_or_default() + (now - started)
}

impl State {
    fn now(&self) -> DateTime<Utc> {
        true_time(self.started, self.moment) + self.clock_is_off
    }

    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// When the first message of a stream has had its time.
    fn next_end(&self) -> Option<Instant> {
        let end = self.streams.values().filter_map(Stream::next_end).min()?;
        // A little late, as the server is.
        let left = (end - self.now()).to_std().unwrap_or_default();
        Some(self.moment + left + LATE)
    }

    /// Has all streams forget what has had its time.
    fn expire_all(&mut self) {
        let names: Vec<_> = self.streams.keys().cloned().collect();
        names.iter().for_each(|name| self.expire(name));
    }

    fn expire(&mut self, name: &str) {
        let now = self.now();
        let Some(stream) = self.streams.get_mut(name) else { return };
        if stream.next_end().is_some_and(|end| end <= now) {
            let markers = stream.expire(now);
            markers.into_iter().for_each(|sequence| self.show(name, sequence));
        }
    }

    fn stream(&self, name: &str) -> Result<&Stream, Error> {
        self.streams.get(name).ok_or_else(|| stream::refusal(404, 10059, "stream not found"))
    }

    fn captured_by(&self, subject: &str) -> Option<String> {
        let mut streams = self.streams.iter();
        streams.find(|(_, stream)| stream.captures(subject)).map(|(name, _)| name.clone())
    }

    /// Puts a message into a stream: where it is, and whether it was there before.
    fn store(
        &mut self,
        name: &str,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<(u64, bool), Error> {
        self.expire(name);
        let now = self.now();
        let Some(stream) = self.streams.get_mut(name) else {
            return Err(stream::refusal(404, 10059, "stream not found"));
        };
        let (sequence, duplicate) = stream.append(subject, headers, body, now)?;
        if !duplicate {
            if let Some(all) = self.remembered.get_mut(name) {
                all.extend(stream.message(sequence));
            }
            self.show(name, sequence);
        }
        Ok((sequence, duplicate))
    }
}
