//! One stream, as nats-server keeps it: a log with ids, conditions, limits and times to live.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::Error;
use async_nats::jetstream::stream::{Config, DiscardPolicy};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use nats_scheduler::names::covers;
use nats_scheduler::port::{Entry, Info, Reading, Start};
use serde_json::json;

/// A stream and what it holds.
pub struct Stream {
    config: Config,
    created: DateTime<Utc>,
    messages: BTreeMap<u64, Stored>,
    /// Sequences of each subject, in order.
    subjects: BTreeMap<String, BTreeSet<u64>>,
    /// When messages are forgotten that have a time to live.
    ends: BTreeSet<(DateTime<Utc>, u64)>,
    /// Ids of the duplicate window, with the sequence and time of their message.
    ids: BTreeMap<String, (u64, DateTime<Utc>)>,
    last: u64,
}

struct Stored {
    subject: String,
    headers: HeaderMap,
    body: Bytes,
    at: DateTime<Utc>,
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
        let (messages, subjects) = (BTreeMap::new(), BTreeMap::new());
        let (ends, ids) = (BTreeSet::new(), BTreeMap::new());
        Self { config, created: now, messages, subjects, ends, ids, last: 0 }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether it captures a subject.
    pub fn captures(&self, subject: &str) -> bool {
        self.config.subjects.iter().any(|pattern| covers(pattern, subject))
    }

    pub fn info(&self, now: DateTime<Utc>) -> Info {
        let first = self.messages.first_key_value();
        let first_sequence = match first {
            Some((sequence, _)) => *sequence,
            None if self.last == 0 => 0,
            None => self.last + 1,
        };
        let size = |one: &Stored| one.body.len() + one.subject.len();
        let state = json!({
            "messages": self.messages.len(),
            "bytes": self.messages.values().map(size).sum::<usize>(),
            "first_seq": first_sequence,
            "first_ts": first.map_or(DateTime::UNIX_EPOCH, |(_, one)| one.at),
            "last_seq": self.last,
            "last_ts": self.messages.last_key_value().map_or(DateTime::UNIX_EPOCH, |(_, one)| one.at),
            "consumer_count": 0,
            "num_subjects": self.subjects.len(),
        });
        Info {
            created: self.created,
            config: self.config.clone(),
            state: serde_json::from_value(state).unwrap(),
            said_at: Some(now),
        }
    }

    /// Takes a message: where it is, and whether it was there before.
    pub fn append(
        &mut self,
        subject: &str,
        headers: &HeaderMap,
        body: &Bytes,
        now: DateTime<Utc>,
    ) -> Result<(u64, bool), Error> {
        self.expire(now);
        let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        if let Some(expected) = header("Nats-Expected-Last-Subject-Sequence") {
            let of = header("Nats-Expected-Last-Subject-Sequence-Subject");
            let last = self.last_of(of.as_deref().unwrap_or(subject)).unwrap_or(0);
            if expected.parse() != Ok(last) {
                return Err(refusal(400, 10071, &format!("wrong last sequence: {last}")));
            }
        }
        let window = self.config.duplicate_window;
        self.ids.retain(|_, (_, at)| (now - *at).to_std().is_ok_and(|age| age < window));
        let id = header("Nats-Msg-Id");
        if let Some((sequence, _)) = id.as_ref().and_then(|id| self.ids.get(id)) {
            return Ok((*sequence, true));
        }
        self.refuse(subject, headers, body)?;
        let sequence = self.last + 1;
        self.last = sequence;
        if let Some(id) = id {
            self.ids.insert(id, (sequence, now));
        }
        if header("Nats-Rollup").as_deref() == Some("sub") {
            let before = self.subjects.get(subject).cloned().unwrap_or_default();
            before.into_iter().for_each(|sequence| self.remove(sequence));
        }
        if let Some(ttl) = header("Nats-TTL").and_then(|text| ttl(&text)) {
            self.ends.insert((now + ttl, sequence));
        }
        let stored = Stored {
            subject: subject.to_owned(),
            headers: headers.clone(),
            body: body.clone(),
            at: now,
        };
        self.messages.insert(sequence, stored);
        self.subjects.entry(subject.to_owned()).or_default().insert(sequence);
        self.trim(subject);
        Ok((sequence, false))
    }

    /// Whether a message may not be taken.
    fn refuse(&self, subject: &str, headers: &HeaderMap, body: &Bytes) -> Result<(), Error> {
        let limit = usize::try_from(self.config.max_message_size).unwrap_or(0);
        let size: usize =
            headers.iter().flat_map(|(_, values)| values).map(|value| value.as_str().len()).sum();
        if limit > 0 && body.len() + size > limit {
            return Err(refusal(400, 10054, "message size exceeds maximum allowed"));
        }
        if let Some(text) = headers.get("Nats-TTL") {
            if !self.config.allow_message_ttl {
                return Err(refusal(400, 10166, "per-message TTL is disabled"));
            }
            if ttl(text.as_str()).is_none() {
                return Err(refusal(400, 10165, "invalid per-message TTL"));
            }
        }
        if self.config.discard == DiscardPolicy::New {
            let full = |limit: i64, n: usize| usize::try_from(limit).is_ok_and(|l| l > 0 && n >= l);
            if full(self.config.max_messages, self.messages.len()) {
                return Err(refusal(503, 10077, "maximum messages exceeded"));
            }
            let of_subject = self.subjects.get(subject).map_or(0, BTreeSet::len);
            if self.config.discard_new_per_subject
                && full(self.config.max_messages_per_subject, of_subject)
            {
                return Err(refusal(503, 10077, "maximum messages per subject exceeded"));
            }
        }
        Ok(())
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
        if let Ok(most @ 1..) = usize::try_from(self.config.max_messages) {
            while self.messages.len() > most
                && let Some(first) = self.messages.first_key_value().map(|(first, _)| *first)
            {
                self.remove(first);
            }
        }
    }

    /// Forgets what has had its time, and leaves markers where the stream is set up so.
    pub fn expire(&mut self, now: DateTime<Utc>) -> Vec<u64> {
        let mut markers = Vec::new();
        while let Some((at, sequence)) = self.ends.first().copied()
            && at <= now
        {
            self.ends.pop_first();
            let Some(gone) = self.messages.get(&sequence) else { continue };
            let subject = gone.subject.clone();
            let is_marker = gone.headers.get("Nats-Marker-Reason").is_some()
                || gone.headers.get("KV-Operation").is_some();
            self.remove(sequence);
            let has_more = self.subjects.contains_key(&subject);
            if let Some(lasting) = self.config.subject_delete_marker_ttl
                && !has_more
                && !is_marker
            {
                let mut headers = HeaderMap::new();
                headers.insert("Nats-Marker-Reason", "MaxAge");
                headers.insert("Nats-TTL", format!("{}s", lasting.as_secs()).as_str());
                if let Ok((marker, _)) = self.append(&subject, &headers, &Bytes::new(), now) {
                    markers.push(marker);
                }
            }
        }
        if !self.config.max_age.is_zero() {
            while let Some((first, one)) = self.messages.first_key_value()
                && (now - one.at).to_std().is_ok_and(|age| age >= self.config.max_age)
            {
                let first = *first;
                self.remove(first);
            }
        }
        markers
    }

    /// When something is to be forgotten next that has a time to live.
    pub fn next_end(&self) -> Option<DateTime<Utc>> {
        self.ends.first().map(|(at, _)| *at)
    }

    fn remove(&mut self, sequence: u64) {
        let Some(gone) = self.messages.remove(&sequence) else { return };
        if let Some(of_subject) = self.subjects.get_mut(&gone.subject) {
            of_subject.remove(&sequence);
            if of_subject.is_empty() {
                self.subjects.remove(&gone.subject);
            }
        }
    }

    fn last_of(&self, subject: &str) -> Option<u64> {
        self.subjects.get(subject)?.last().copied()
    }

    /// The last message of a subject.
    pub fn last(&self, subject: &str) -> Option<Entry> {
        self.message(self.last_of(subject)?)
    }

    /// The message at a sequence.
    pub fn message(&self, sequence: u64) -> Option<Entry> {
        self.messages.get(&sequence).map(|one| entry(sequence, one))
    }

    /// What a reader is shown at first, each with how many come after it.
    pub fn shown(&self, what: &Reading) -> Vec<Entry> {
        let is_last = |sequence: u64, one: &Stored| self.last_of(&one.subject) == Some(sequence);
        let mut shown: Vec<_> = self
            .messages
            .iter()
            .filter(|(_, one)| is_read(what, &one.subject))
            .filter(|(sequence, one)| match what.from {
                Start::First => true,
                Start::LastOfEach => is_last(**sequence, one),
                Start::Sequence(from) => **sequence >= from,
                Start::Time(from) => one.at >= from,
            })
            .map(|(sequence, one)| entry(*sequence, one))
            .collect();
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

fn entry(sequence: u64, one: &Stored) -> Entry {
    Entry {
        sequence,
        subject: one.subject.clone(),
        headers: one.headers.clone(),
        body: one.body.clone(),
        stored_at: one.at,
        pending: 0,
    }
}

/// Whole seconds, as the server reads them; a second at least.
fn ttl(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok()?;
    (seconds > 0).then(|| Duration::from_secs(seconds))
}
