//! Reads and writes schedule records.
//!
//! Every write is conditional on the revision that it was decided from. A write whose acknowledgement is lost is
//! *unknown*: it may be stored, may be lost, and may be stored later, since the client sends what it buffered when it
//! reconnects. [`Store::write_key`] settles that before it returns, for records, names and memos alike:
//!
//! - It reads the key from the stream's leader. If the value carries the token of this write, the write was stored. If
//!   its revision has moved on, the write lost and can never be stored.
//! - If the revision has not moved, the write may still be under way. The same write is then sent again, at the same
//!   revision and with the same token: whichever copy arrives first wins, the other is refused, and both mean the same
//!   value.
//! - A refusal that passes is tried again for a moment, in case it is over by then.
//!
//! A server that lost its power may give the same revision twice. So nothing is written at a revision that was read
//! before the bucket was found to have lost something, nor before the bucket has been checked since the connection was
//! made ([`Sight`]).
//!
//! A crash during any of this leaves a complete value: the new one, the one before, or another writer's.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::time::Instant;
use uuid::Uuid;

use super::adapter::JetStream;
use super::frontier::Frontier;
use super::writes::{self, Writes};
use super::{WriteError, describe};
use crate::guards::{Guard, Guards as _};
use crate::index::{At, Index, Sight};
use crate::names;
use crate::port::{Append, Entry, Nats, Reading, Start, Unanswered, Unstored};
use crate::schedule::{Room, Schedule, TooLarge};

/// The content of a key, read from the leader.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The revision.
    pub revision: u64,
    /// The value; `None` if the key was deleted.
    pub value: Option<Bytes>,
    /// When it was written, by the server's clock, in Unix milliseconds.
    pub written_at_ms: i64,
}

/// An accepted write.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// The new revision.
    pub revision: u64,
    /// The sight that held when it was written.
    pub sight: Sight,
    /// When the accepted write was sent; trust in a claim counts from here.
    pub sent: Instant,
}

impl From<Entry> for Stored {
    fn from(entry: Entry) -> Self {
        Self {
            revision: entry.sequence,
            written_at_ms: entry.stored_at.timestamp_millis(),
            value: entry.is_value().then_some(entry.body),
        }
    }
}

/// A key, and the condition under which it may be written.
#[derive(Clone, Copy, Debug)]
pub struct Condition<'a> {
    /// The key.
    pub key: &'a str,
    /// The revision at which it may be written.
    pub at: At,
    /// Time after which it expires, in whole seconds, if ever.
    pub ttl: Option<Duration>,
}

/// How long the marker of a deletion lasts: long enough for a watcher that is cut off. A watcher that misses it is
/// corrected by the first write that it tries.
pub(super) const MARKER: Duration = Duration::from_secs(3600);
/// How long a refusal that passes is waited for.
const PASSING: Duration = Duration::from_secs(2);
/// Pause before a write is sent again that a rival's may be overtaking.
const SOON: Duration = Duration::from_millis(10);
/// Pause before the next try if the server does not answer or takes nothing.
const LATER: Duration = Duration::from_millis(200);
/// Longest single wait for the bucket to be checked.
const LOOK: Duration = Duration::from_secs(1);

/// Time within which several keys are read.
const READS_WITHIN: Duration = Duration::from_secs(5);

/// The bucket of schedules.
#[derive(Clone)]
pub struct Store<N = JetStream> {
    nats: N,
    /// The largest message that the bucket took when it was opened, in bytes.
    largest: usize,
    frontier: Frontier,
    writes: Arc<Writes>,
    /// Knows whether the bucket has lost something.
    index: Arc<Index>,
}

impl<N: Nats> Store<N> {
    /// Opens the bucket in `nats`, which must exist and which `index` is kept in step with. Notes the state of its
    /// writes in `writes`.
    ///
    /// # Errors
    /// If the stream cannot be found, or used.
    pub async fn open(nats: N, index: Arc<Index>, writes: Arc<Writes>) -> Result<Self, Unanswered> {
        let largest = largest(&describe(&nats, names::SCHEDULES_STREAM).await?.config);
        let frontier = Frontier::new(nats.clone());
        Ok(Self { nats, largest, frontier, writes, index })
    }

    /// The sight for decisions that are made from what is read from now on.
    pub fn sight(&self) -> Sight {
        self.index.sight()
    }

    /// Whether the bucket is known to have lost something since a sight.
    pub fn has_lost(&self, sight: Sight) -> bool {
        self.sight() != sight && N::Guards::hold(Guard::Kept)
    }

    /// Waits until it is known what the bucket has lost, and that a key may still be written at a revision; returns the
    /// sight that holds then.
    async fn still_holds(&self, at: At) -> Result<Sight, WriteError> {
        if !N::Guards::hold(Guard::Kept) {
            return Ok(at.sight);
        }
        match self.index.looked(self.nats.connects(), LOOK).await {
            // A key that must not exist yet was decided from nothing that was read.
            Some(sight) if sight == at.sight || at.revision == 0 => Ok(sight),
            Some(_) => Err(WriteError::Conflict),
            None => {
                Err(WriteError::Passing("nobody knows yet what the bucket has lost".to_owned()))
            }
        }
    }

    /// Tells how far the bucket has been written.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// How large records may be, by the bucket and by the server that we are now connected to.
    pub fn room(&self) -> Room {
        Room::of(self.nats.max_payload().min(self.largest))
    }

    /// The stored form of a record, with less in it if it would be too large.
    ///
    /// # Errors
    /// `TooLarge` if it is too large even with the least in it.
    pub fn encode(&self, schedule: &Schedule) -> Result<Bytes, WriteError> {
        let whole = encode(schedule)?;
        Ok(self.room().fit(schedule, whole)?.into())
    }

    /// Reads a key from the stream's leader: direct reads of a replicated bucket may be stale.
    ///
    /// # Errors
    /// If the leader does not answer.
    pub async fn read(&self, key: &str) -> Result<Option<Stored>, WriteError> {
        let last = self.nats.last(names::SCHEDULES_STREAM, &names::key_subject(key)).await;
        let last = last.map_err(|error| match error.is_no_stream() {
            true => WriteError::NoStream,
            false => WriteError::Unknown(error.to_string()),
        })?;
        Ok(last.map(Stored::from))
    }

    /// Reads all keys that match a pattern, with what they hold.
    ///
    /// # Errors
    /// If the bucket cannot be read.
    pub async fn read_all(&self, pattern: &str) -> Result<Vec<(String, Stored)>, WriteError> {
        let filter = names::key_subject(pattern);
        let what = Reading { from: Start::LastOfEach, filter, headers_only: false };
        let unread = |error: String| WriteError::Unknown(error);
        let reading = async {
            let (entries, count) = self.nats.read(names::SCHEDULES_STREAM, what).await?;
            let entries = entries.take(usize::try_from(count).unwrap_or(usize::MAX));
            entries.try_collect::<Vec<_>>().await
        };
        let read = tokio::time::timeout(READS_WITHIN, reading).await;
        let entries = read.map_err(|_| unread("no answer".to_owned()))?.map_err(unread)?;
        let key = |entry: &Entry| names::subject_key(&entry.subject).to_owned();
        Ok(entries.into_iter().map(|entry| (key(&entry), Stored::from(entry))).collect())
    }

    /// Writes a key that nobody else writes, unconditionally, with one try.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn note(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), WriteError> {
        let message = Append::new(names::key_subject(key), value).lasting(Some(ttl));
        self.send(message).await.map(drop)
    }

    async fn put(&self, place: Condition<'_>, value: Bytes) -> Result<At, WriteError> {
        let Condition { key, at, ttl } = place;
        let sight = self.still_holds(at).await?;
        let mut message = Append::new(names::key_subject(key), value);
        if N::Guards::hold(Guard::Condition) {
            message = message.expecting(at.revision);
        }
        Ok(sight.at(self.send(message.lasting(ttl)).await?))
    }

    /// Writes a key on condition that another key still has a given revision.
    ///
    /// # Errors
    /// See [`WriteError`]; `Unknown` is not settled here.
    pub async fn put_while(
        &self,
        key: &str,
        value: Bytes,
        other: &str,
        other_at: At,
    ) -> Result<u64, WriteError> {
        self.still_holds(other_at).await?;
        let message = Append::new(names::key_subject(key), value).expecting(other_at.revision);
        self.send(message.header(names::EXPECTED_SUBJECT, &names::key_subject(other))).await
    }

    /// Deletes a key at an expected revision, leaving a marker for watchers.
    ///
    /// # Errors
    /// See [`WriteError`]; `Unknown` is not settled here.
    pub async fn delete(&self, key: &str, at: At) -> Result<u64, WriteError> {
        self.still_holds(at).await?;
        let message = Append::new(names::key_subject(key), Bytes::new())
            .expecting(at.revision)
            .header(names::KV_OPERATION, "PURGE")
            .header("Nats-Rollup", "sub")
            .lasting(Some(MARKER));
        self.send(message).await
    }

    async fn send(&self, message: Append) -> Result<u64, WriteError> {
        let bytes = message.body.len();
        let sent = match self.nats.append(message).await {
            // The author can reduce the value, whoever refuses it.
            Err(error) if is_too_large(&error) => Err(self.too_large(bytes).await.into()),
            sent => sent.map_err(WriteError::from),
        };
        match &sent {
            Ok(_) => self.writes.done(writes::OurStream::Schedules),
            Err(error) => self.writes.failed(writes::OurStream::Schedules, error),
        }
        Ok(sent?.sequence)
    }

    /// The error for a value that the server, or the bucket as it is now configured, does not take.
    async fn too_large(&self, bytes: usize) -> TooLarge {
        let info = self.nats.info(names::SCHEDULES_STREAM).await;
        let limit = info.map_or(usize::MAX, |info| largest(&info.config));
        let max_payload = limit.min(self.nats.max_payload());
        let most = Room::of(max_payload).record();
        TooLarge { what: "the record", bytes, most, max_payload }
    }

    /// Writes a record at the revision it was decided from, and settles an unknown outcome.
    ///
    /// # Errors
    /// See [`Store::write_key`]. `TooLarge` if the server takes no record of that size.
    pub async fn write(
        &self,
        schedule: &Schedule,
        at: At,
        deadline: Instant,
    ) -> Result<Written, WriteError> {
        let key = names::schedule_key(schedule.id);
        let place = Condition { key: &key, at, ttl: None };
        let is_ours = |stored: &[u8]| written_by(stored, schedule);
        let value = |room: Room| Ok(room.fit(schedule, encode(schedule)?)?.into());
        self.write_key(place, value, is_ours, deadline).await
    }

    /// Writes a key at an expected revision, and settles an unknown outcome: `is_ours` recognizes a value of this write
    /// by its token. `value` is called again if its result is too large: the server that we are connected to then may
    /// take less.
    ///
    /// # Errors
    /// `Conflict` if another write came first. `Passing` and `Refused` only if nothing was stored. `Unknown` and
    /// `NoStream` only once NATS has been out of reach until `deadline`, or `NoStream` where there is no bucket: reading
    /// the key then shows whether the write was stored.
    pub async fn write_key(
        &self,
        place: Condition<'_>,
        value: impl Fn(Room) -> Result<Bytes, WriteError>,
        is_ours: impl Fn(&[u8]) -> bool,
        deadline: Instant,
    ) -> Result<Written, WriteError> {
        let (key, at) = (place.key, place.at);
        let mut body = value(self.room())?;
        let mut doubt = None;
        let first_sent = Instant::now();
        let is_long = || first_sent.elapsed() >= PASSING;
        loop {
            let sent = Instant::now();
            let error = match self.put(place, body.clone()).await {
                Ok(At { revision, sight }) => return Ok(Written { revision, sight, sent }),
                Err(error) => error,
            };
            let mut pause = SOON;
            match &error {
                WriteError::Unknown(reason) => doubt = Some(reason.clone()),
                // The server that we are now connected to takes less, or the bucket does.
                WriteError::TooLarge(found) if doubt.is_none() => {
                    let lesser = value(Room::of(found.max_payload))?;
                    if lesser.len() >= body.len() {
                        return Err(error);
                    }
                    body = lesser;
                    continue;
                }
                WriteError::Refused(_) if doubt.is_none() => return Err(error),
                WriteError::Passing(_) if doubt.is_none() && is_long() => return Err(error),
                WriteError::Passing(_)
                | WriteError::Refused(_)
                | WriteError::TooLarge(_)
                | WriteError::Newer(_) => pause = LATER,
                WriteError::Conflict | WriteError::NoStream => {}
            }
            let sight = self.sight();
            match Box::pin(self.read(key)).await {
                Ok(Some(stored)) if stored.revision > at.revision || self.has_lost(at.sight) => {
                    // Ours can be stored although its acknowledgement was lost, and then a repetition is refused: the
                    // token tells.
                    return match stored.value.as_deref().is_some_and(&is_ours) {
                        true => Ok(Written { revision: stored.revision, sight, sent: first_sent }),
                        false => Err(WriteError::Conflict),
                    };
                }
                Ok(None) if at.revision > 0 => return Err(WriteError::Conflict),
                // The bucket has lost what this was decided from; or we asked a former leader.
                Ok(Some(stored)) if stored.revision < at.revision => {
                    if is_long() {
                        return Err(WriteError::Conflict);
                    }
                    tokio::time::sleep(LATER).await;
                }
                // There is no bucket, so nothing was stored and nothing will be.
                Err(gone @ WriteError::NoStream) if doubt.is_none() && is_long() => {
                    return Err(gone);
                }
                Ok(_) | Err(_) if Instant::now() >= deadline => {
                    return Err(doubt.map_or(error, WriteError::Unknown));
                }
                // Not moved: send the same write again. If it was refused, a rival is being applied, or we asked a
                // former leader.
                Ok(_) => tokio::time::sleep(pause).await,
                Err(_) => tokio::time::sleep(LATER).await,
            }
        }
    }
}

/// The stored form of a record.
///
/// # Errors
/// `Refused` if it cannot be encoded, which cannot happen to a valid record.
fn encode(schedule: &Schedule) -> Result<Vec<u8>, WriteError> {
    crate::stored::encode(schedule).map_err(|error| WriteError::Refused(error.to_string()))
}

/// The largest message that a stream takes.
fn largest(config: &Config) -> usize {
    usize::try_from(config.max_message_size).ok().filter(|most| *most > 0).unwrap_or(usize::MAX)
}

/// Whether a write was refused for its size.
fn is_too_large(error: &Unstored) -> bool {
    match error {
        Unstored::TooLarge(_) => true,
        Unstored::Refused(error) => error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM,
        Unstored::NoStream | Unstored::Unknown(_) => false,
    }
}

/// Whether a stored record was written by the same write as `schedule`.
fn written_by(stored: &[u8], schedule: &Schedule) -> bool {
    #[derive(serde::Deserialize)]
    struct Token {
        id: Uuid,
        writer: crate::schedule::Writer,
    }
    serde_json::from_slice::<Token>(stored)
        .is_ok_and(|token| token.id == schedule.id && token.writer == schedule.writer)
}
