//! One stream, as nats-server keeps it: a log with ids, conditions, limits and times to live.
//!
//! The latest changes can be undone: a server that loses power forgets what it had not written to its disk.

mod undo;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Error;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, State};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use nats_scheduler::names::covers;
use nats_scheduler::port::{Entry, Info, Reading, Start};
use serde_json::json;

use undo::Done;

/// How long a write of a replicated stream is being applied: a rival gets another answer meanwhile.
const APPLYING: TimeDelta = TimeDelta::milliseconds(5);

/// A stream and what it holds.
pub struct Stream {
    config: Config,
    created: DateTime<Utc>,
    messages: BTreeMap<u64, Stored>,
    /// Sequences of each subject, in order.
    subjects: BTreeMap<String, BTreeSet<u64>>,
    /// When messages are forgotten that have a time to live.
    ends: BTreeSet<(DateTime<Utc>, u64)>,
    /// Ids of the duplicate window, with the sequence of their message.
    ids: BTreeMap<String, u64>,
    /// The same in the order in which they are forgotten.
    window: VecDeque<(DateTime<Utc>, String)>,
    /// The server's clock, when it was last told.
    now: DateTime<Utc>,
    /// What was done of late.
    done: VecDeque<Done>,
    last: u64,
    bytes: usize,
    /// What it says of itself; counts are put in when it is asked.
    state: State,
}

pub struct Stored {
    subject: String,
    headers: HeaderMap,
    body: Bytes,
    at: DateTime<Utc>,
}

impl Stored {
    fn size(&self) -> usize {
        self.subject.len() + self.body.len() + size(&self.headers)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.as_str())
    }

    /// When it is to be forgotten, if it has a time to live.
    fn end(&self) -> Option<DateTime<Utc>> {
        Some(self.at + self.header("Nats-TTL").and_then(ttl)?)
    }

    fn entry(&self, sequence: u64) -> Entry {
        Entry {
            sequence,
            subject: self.subject.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            stored_at: self.at,
            pending: 0,
        }
    }
}

/// What the server says where it does not take something.
pub fn refusal(status: u16, code: u64, description: &str) -> Error {
    let error = json!({ "code": status, "err_code": code, "description": description });
    serde_json::from_value(error).unwrap()
}

impl Stream {
    pub fn new(mut config: Config, now: DateTime<Utc>) -> Self {
        if config.duplicate_window.is_zero() {
            config.duplicate_window = Duration::from_secs(120);
        }
        let state = json!({
            "messages": 0, "bytes": 0, "first_seq": 0, "first_ts": DateTime::UNIX_EPOCH,
            "last_seq": 0, "last_ts": DateTime::UNIX_EPOCH, "consumer_count": 0,
        });
        Self {
            config,
            created: now,
            messages: BTreeMap::new(),
            subjects: BTreeMap::new(),
            ends: BTreeSet::new(),
            ids: BTreeMap::new(),
            window: VecDeque::new(),
            now,
            done: VecDeque::new(),
            last: 0,
            bytes: 0,
            state: serde_json::from_value(state).unwrap(),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether it captures a subject.
    pub fn captures(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|pattern| covers(pattern, subject))
    }

    /// The subject under which it stores a message. Of transforms it knows those of a whole branch.
    pub fn stored_as(&self, subject: &str) -> String {
        let branch = |pattern: &str| pattern.strip_suffix('>').map(str::to_owned);
        let transform = self.config.subject_transform.as_ref();
        let ends = transform.and_then(|t| Some((branch(&t.source)?, branch(&t.destination)?)));
        match ends.and_then(|(from, to)| Some((subject.strip_prefix(&from)?.to_owned(), to))) {
            Some((rest, to)) => to + &rest,
            None => subject.to_owned(),
        }
    }

    pub fn info(&self, now: DateTime<Utc>) -> Info {
        let (first, last) = (self.messages.first_key_value(), self.messages.last_key_value());
        let time =
            |one: Option<(&u64, &Stored)>| one.map_or(DateTime::UNIX_EPOCH, |(_, one)| one.at);
        let mut state = self.state.clone();
        state.messages = self.messages.len() as u64;
        state.bytes = self.bytes as u64;
        state.first_sequence = match first {
            Some((sequence, _)) => *sequence,
            None if self.last == 0 => 0,
            None => self.last + 1,
        };
        (state.first_timestamp, state.last_timestamp) = (time(first), time(last));
        (state.last_sequence, state.subjects_count) = (self.last, self.subjects.len() as u64);
        Info { created: self.created, config: self.config.clone(), state, said_at: Some(now) }
    }

    /// Takes a message: where it is, and whether it was there before.
    pub fn append(
        &mut self,
        subject: &str,
        headers: HeaderMap,
        body: Bytes,
        now: DateTime<Utc>,
    ) -> Result<(u64, bool), Error> {
        self.now = now;
        self.forget_ids();
        let stored = Stored { subject: self.stored_as(subject), headers, body, at: now };
        let known = stored.header("Nats-Msg-Id").and_then(|id| self.ids.get(id)).copied();
        // A replicated stream looks at ids first.
        if let Some(sequence) = known.filter(|_| self.is_replicated()) {
            return Ok((sequence, true));
        }
        self.refuse_condition(&stored)?;
        if let Some(sequence) = known {
            return Ok((sequence, true));
        }
        self.refuse(&stored)?;
        let (sequence, subject) = (self.last + 1, stored.subject.clone());
        self.roll_up(&stored);
        self.insert(sequence, stored);
        self.trim(&subject);
        Ok((sequence, false))
    }

    fn is_replicated(&self) -> bool {
        self.config.num_replicas > 1
    }

    /// Whether another write came before the one that a message expects.
    fn refuse_condition(&self, stored: &Stored) -> Result<(), Error> {
        let Some(expected) = stored.header("Nats-Expected-Last-Subject-Sequence") else {
            return Ok(());
        };
        let of = stored.header("Nats-Expected-Last-Subject-Sequence-Subject");
        let last = self.last_of(of.unwrap_or(&stored.subject)).unwrap_or(0);
        if expected.parse() == Ok(last) {
            return Ok(());
        }
        let applied = self.messages.get(&last).is_none_or(|one| stored.at - one.at >= APPLYING);
        Err(match self.is_replicated() && !applied {
            true => refusal(400, 10164, "wrong last sequence"),
            false => refusal(400, 10071, &format!("wrong last sequence: {last}")),
        })
    }

    /// Whether a message may not be taken.
    fn refuse(&self, stored: &Stored) -> Result<(), Error> {
        let limit = usize::try_from(self.config.max_message_size).unwrap_or(0);
        if limit > 0 && stored.body.len() + size(&stored.headers) > limit {
            return Err(refusal(400, 10054, "message size exceeds maximum allowed"));
        }
        if let Some(text) = stored.header("Nats-TTL") {
            if ttl(text).is_none() {
                return Err(refusal(400, 10165, "invalid per-message TTL"));
            }
            if !self.config.allow_message_ttl {
                return Err(refusal(400, 10166, "per-message TTL is disabled"));
            }
        }
        if stored.header("Nats-Rollup").is_some() && !self.config.allow_rollup {
            return Err(refusal(500, 10111, "rollup not permitted"));
        }
        self.refuse_more(stored)
    }

    /// Whether there is no room, and what is new has to stay out.
    fn refuse_more(&self, stored: &Stored) -> Result<(), Error> {
        if self.config.discard != DiscardPolicy::New {
            return Ok(());
        }
        let full = |limit: i64, n: usize| usize::try_from(limit).is_ok_and(|l| l > 0 && n > l);
        let config = &self.config;
        let of_subject = self.subjects.get(&stored.subject).map_or(0, BTreeSet::len);
        let why = if full(config.max_messages, self.messages.len() + 1) {
            "maximum messages exceeded"
        } else if full(config.max_bytes, self.bytes + stored.size()) {
            "maximum bytes exceeded"
        } else if config.discard_new_per_subject
            && full(config.max_messages_per_subject, of_subject + 1)
        {
            "maximum messages per subject exceeded"
        } else {
            return Ok(());
        };
        Err(refusal(503, 10077, why))
    }

    /// Removes what a message is to stand alone for.
    fn roll_up(&mut self, stored: &Stored) {
        let gone: Vec<u64> = match stored.header("Nats-Rollup") {
            Some("sub") => {
                self.subjects.get(&stored.subject).into_iter().flatten().copied().collect()
            }
            Some("all") => self.messages.keys().copied().collect(),
            _ => return,
        };
        gone.into_iter().for_each(|sequence| self.remove(sequence));
    }

    fn insert(&mut self, sequence: u64, stored: Stored) {
        if let Some(id) = stored.header("Nats-Msg-Id") {
            self.ids.insert(id.to_owned(), sequence);
            self.window.push_back((stored.at, id.to_owned()));
        }
        self.last = sequence;
        self.note(Done::added(self.now, sequence));
        self.put(sequence, stored);
    }

    fn put(&mut self, sequence: u64, stored: Stored) {
        if let Some(end) = stored.end() {
            self.ends.insert((end, sequence));
        }
        self.bytes += stored.size();
        match self.subjects.get_mut(&stored.subject) {
            Some(of_subject) => _ = of_subject.insert(sequence),
            None => _ = self.subjects.insert(stored.subject.clone(), [sequence].into()),
        }
        self.messages.insert(sequence, stored);
    }

    /// Drops what its limits leave no room for.
    fn trim(&mut self, subject: &str) {
        if let Ok(most @ 1..) = usize::try_from(self.config.max_messages_per_subject) {
            while let Some(of_subject) = self.subjects.get(subject)
                && of_subject.len() > most
                && let Some(first) = of_subject.first().copied()
            {
                self.remove(first);
            }
        }
        let limit = |limit: i64| usize::try_from(limit).ok().filter(|limit| *limit > 0);
        let messages = limit(self.config.max_messages).unwrap_or(usize::MAX);
        let bytes = limit(self.config.max_bytes).unwrap_or(usize::MAX);
        while (self.messages.len() > messages || self.bytes > bytes)
            && let Some(first) = self.messages.keys().next().copied()
        {
            self.remove(first);
        }
    }

    fn forget_ids(&mut self) {
        let now = self.now;
        let window = TimeDelta::from_std(self.config.duplicate_window).unwrap_or(TimeDelta::MAX);
        while let Some((_, id)) = self.window.pop_front_if(|(at, _)| now - *at >= window) {
            self.ids.remove(&id);
        }
    }

    /// Forgets what has had its time, and leaves markers where the stream is set up so.
    pub fn expire(&mut self, now: DateTime<Utc>) -> Vec<u64> {
        self.now = now;
        let mut markers = Vec::new();
        while let Some((at, sequence)) = self.ends.first().copied()
            && at <= now
        {
            markers.extend(self.end(sequence));
        }
        while let Some(at) = self.oldest_end()
            && at <= now
            && let Some(first) = self.messages.keys().next().copied()
        {
            markers.extend(self.end(first));
        }
        markers
    }

    /// Ends a message's life; the marker that it leaves.
    fn end(&mut self, sequence: u64) -> Option<u64> {
        let gone = self.messages.get(&sequence)?;
        let is_marker =
            gone.header("Nats-Marker-Reason").is_some() || gone.header("KV-Operation").is_some();
        let subject = gone.subject.clone();
        self.remove(sequence);
        let lasting = self.config.subject_delete_marker_ttl?;
        if is_marker || self.subjects.contains_key(&subject) {
            return None;
        }
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Marker-Reason", "MaxAge");
        headers.insert("Nats-TTL", format!("{}s", lasting.as_secs()).as_str());
        let (sequence, body) = (self.last + 1, Bytes::new());
        self.insert(sequence, Stored { subject, headers, body, at: self.now });
        Some(sequence)
    }

    /// When the oldest message is to be forgotten for its age.
    fn oldest_end(&self) -> Option<DateTime<Utc>> {
        let (_, oldest) =
            self.messages.first_key_value().filter(|_| !self.config.max_age.is_zero())?;
        Some(oldest.at + self.config.max_age)
    }

    /// When something is to be forgotten next.
    pub fn next_end(&self) -> Option<DateTime<Utc>> {
        let timed = self.ends.first().map(|(at, _)| *at);
        [timed, self.oldest_end()].into_iter().flatten().min()
    }

    fn remove(&mut self, sequence: u64) {
        if let Some(gone) = self.take(sequence) {
            self.note(Done::removed(self.now, sequence, gone));
        }
    }

    fn take(&mut self, sequence: u64) -> Option<Stored> {
        let gone = self.messages.remove(&sequence)?;
        self.bytes -= gone.size();
        if let Some(end) = gone.end() {
            self.ends.remove(&(end, sequence));
        }
        if let Some(of_subject) = self.subjects.get_mut(&gone.subject) {
            of_subject.remove(&sequence);
            if of_subject.is_empty() {
                self.subjects.remove(&gone.subject);
            }
        }
        Some(gone)
    }

    /// A worker has dealt with a message: a work queue does not keep it.
    pub fn acknowledge(&mut self, sequence: u64, now: DateTime<Utc>) {
        self.now = now;
        if self.config.retention == RetentionPolicy::WorkQueue {
            self.remove(sequence);
        }
    }

    fn last_of(&self, subject: &str) -> Option<u64> {
        if let Some(of_subject) = self.subjects.get(subject) {
            return of_subject.last().copied();
        }
        if !subject.contains(['*', '>']) {
            return None;
        }
        let covered = self.subjects.iter().filter(|(one, _)| covers(subject, one));
        covered.filter_map(|(_, of_subject)| of_subject.last().copied()).max()
    }

    /// The last message of a subject, or of those that a pattern covers.
    pub fn last(&self, subject: &str) -> Option<Entry> {
        self.message(self.last_of(subject)?)
    }

    /// The first message from a sequence on whose subject a pattern covers.
    pub fn next(&self, subjects: &str, sequence: u64) -> Option<Entry> {
        let mut behind = self.messages.range(sequence..);
        let (sequence, _) = behind.find(|(_, one)| covers(subjects, &one.subject))?;
        self.message(*sequence)
    }

    /// The message at a sequence.
    pub fn message(&self, sequence: u64) -> Option<Entry> {
        self.messages.get(&sequence).map(|one| one.entry(sequence))
    }

    /// Whether it may be read in order: a work queue gives its messages to workers only.
    pub fn refuse_reader(&self) -> Result<(), Error> {
        match self.config.retention {
            RetentionPolicy::WorkQueue => {
                Err(refusal(400, 10098, "workqueue stream requires explicit ack"))
            }
            _ => Ok(()),
        }
    }

    /// What a reader is shown at first, each with how many come after it.
    pub fn shown(&self, what: &Reading) -> Vec<Entry> {
        let reads = |(_, one): &(&u64, &Stored)| is_read(what, &one.subject);
        let entry = |(sequence, one): (&u64, &Stored)| one.entry(*sequence);
        let all = self.messages.iter();
        let mut shown: Vec<_> = match what.from {
            Start::First => all.filter(reads).map(entry).collect(),
            Start::Sequence(from) => self.messages.range(from..).filter(reads).map(entry).collect(),
            Start::Time(from) => {
                all.filter(reads).filter(|(_, one)| one.at >= from).map(entry).collect()
            }
            Start::LastOfEach => {
                let subjects = self.subjects.iter().filter(|(subject, _)| is_read(what, subject));
                let last: BTreeSet<_> = subjects.filter_map(|(_, of)| of.last().copied()).collect();
                last.into_iter().filter_map(|sequence| self.message(sequence)).collect()
            }
        };
        let count = shown.len() as u64;
        for (before, one) in (1..).zip(&mut shown) {
            one.pending = count - before;
        }
        shown
    }
}

/// Whether a reader reads a subject.
fn is_read(what: &Reading, subject: &str) -> bool {
    what.filter.is_empty() || covers(&what.filter, subject)
}

/// Whether a reader is shown what came later.
pub fn is_shown(what: &Reading, entry: &Entry) -> bool {
    let has_begun = match what.from {
        Start::Sequence(from) => entry.sequence >= from,
        Start::Time(from) => entry.stored_at >= from,
        Start::First | Start::LastOfEach => true,
    };
    has_begun && is_read(what, &entry.subject)
}

fn size(headers: &HeaderMap) -> usize {
    headers.iter().flat_map(|(_, values)| values).map(|value| value.as_str().len()).sum()
}

/// Whole seconds, as the server reads them; a second at least.
fn ttl(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}
