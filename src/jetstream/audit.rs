//! The audit: what was done to schedules, and by whom.
//!
//! A change stays in its schedule's record until it is here, so several instances may send it, and one may send it
//! again after a crash: its id is its `Nats-Msg-Id`, and the stream stores it once. The stream is not searched for it;
//! once it has forgotten the id, after its duplicate window of an hour, the change may be stored twice, under the same
//! `event_id`.
//!
//! The newest changes are also read into an index, once the history has been read, so that they can be searched.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_nats::jetstream::stream::Config;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::Deserialize;
use tokio::sync::watch as state;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};
use uuid::Uuid;

use super::event::{Event, policy};
use super::lines::Lines;
use super::mirror::{Mirror, Mirrored, QueryError};
use super::publish::{Earlier, Fate, Publishing, Sent, until_known};
use super::writes::{OurStream, Writes};
use crate::audit_index::{AuditIndex, MOST, Noted, Wanted};
use crate::clock::Clock;
use crate::names;
use crate::port::headers::Headers;
use crate::port::{Append, Entry, Info, Nats, Start};
use crate::schedule::{Change, ChangeEvent};

/// Interval between checks whether the history has been read.
const LOOK: Duration = Duration::from_millis(100);

/// The audit stream.
#[derive(Clone)]
pub struct Audit<N: Nats> {
    lines: Lines<N>,
    mirror: Arc<Mirror<N, Changes>>,
    writes: Arc<Writes>,
    clock: Clock,
}

/// Which changes are asked for; `None` matches all.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// Of this schedule.
    pub(crate) schedule: Option<Uuid>,
    /// With one of these events.
    pub(crate) events: Option<Vec<String>>,
    /// Made by this user.
    pub(crate) actor: Option<String>,
    /// Made then, in Unix milliseconds.
    pub(crate) at_ms: RangeInclusive<i64>,
}

/// A part of the changes that are asked for.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// These changes, newest first.
    pub(crate) changes: Vec<ChangeEvent>,
    /// How many there are in all.
    pub(crate) total: u64,
    /// Whether the stream may hold older ones, which were not looked at.
    pub(crate) is_cut: bool,
}

/// The changes in memory.
#[derive(Default)]
struct Changes(RwLock<AuditIndex>);

/// A change that is being announced.
struct Announcing<'a, N: Nats> {
    schedule: Uuid,
    change: &'a Change,
    subject: String,
    event: Event<'a, N>,
    headers: Headers,
    body: Bytes,
    is_bare: bool,
    clock: &'a Clock,
}

impl<N: Nats> Audit<N> {
    /// Creates the audit in `nats`, written to over `lines`. Notes the state of its writes in `writes`.
    pub(crate) fn new(nats: N, lines: Lines<N>, writes: Arc<Writes>, clock: Clock) -> Self {
        let mirror = Mirror::new(nats, Changes::default(), clock.clone());
        Self { lines, mirror, writes, clock }
    }

    /// Follows the stream until `stop`, once the history has been read, which firing waits for.
    pub(super) async fn follow(self, history: state::Receiver<bool>, stop: CancellationToken) {
        // Polled, like in [`Mirror::ready`].
        let read = async {
            while !*history.borrow() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if stop.run_until_cancelled(read).await.is_some() {
            self.mirror.follow(stop).await;
        }
    }

    /// The highest place in the stream that was shown.
    pub(crate) fn shown(&self) -> u64 {
        self.mirror.index.seen()
    }

    /// One page of changes, newest first.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub(crate) async fn list(
        &self,
        asked: &Asked,
        offset: usize,
        limit: usize,
    ) -> Result<Found, QueryError> {
        let wanted = Wanted {
            schedule: asked.schedule,
            events: asked.events.clone(),
            actor: asked.actor.as_ref().map(|actor| names::header_text(actor).into_owned()),
            at_ms: asked.at_ms.clone(),
        };
        let look = |changes: &Changes| changes.read(|index| index.page(&wanted, offset, limit));
        let (mut changes, mut total) = self.mirror.page(look, read).await?;
        // The index knows only hashes of actors.
        let found = changes.len();
        changes.retain(|change| asked.actor.as_ref().is_none_or(|actor| *actor == change.actor));
        total = total.saturating_sub((found - changes.len()) as u64);
        Ok(Found { changes, total, is_cut: self.mirror.index.read(AuditIndex::is_cut) })
    }

    /// The newest changes, after making sure that everything announced until now has been read.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub(crate) async fn newest(&self, asked: &Asked, most: usize) -> Result<Found, QueryError> {
        self.mirror.catch_up().await?;
        self.list(asked, 0, most).await
    }

    /// Announces a change; returns once the stream has it, however long that takes, or refuses even its least form.
    pub async fn announce(&self, schedule: Uuid, change: &Change) {
        let subject = names::schedule_subject(change.kind.event(), schedule);
        let mut announcing = Announcing {
            schedule,
            change,
            subject,
            event: Event::new(&self.lines, &self.writes, OurStream::Audit),
            headers: headers(change),
            body: body(change),
            is_bare: false,
            clock: &self.clock,
        };
        let known = until_known(&mut announcing, policy(None)).await;
        if let Ok(known) = known
            && !matches!(known.fate, Fate::Stored { .. })
        {
            let (event, reason) = (change.kind.event(), format!("{:?}", known.fate));
            error!(schedule_id = %schedule, event, reason, "audit refuses a change in its least form: it is lost");
            announcing.event.lost(&reason);
        }
    }
}

/// What the index needs of a change.
fn headers(change: &Change) -> Headers {
    #[derive(Deserialize)]
    struct Said<'a> {
        #[serde(borrow)]
        actor: Cow<'a, str>,
        time: DateTime<Utc>,
    }
    let mut headers = Headers::default();
    headers.line(names::MESSAGE_ID, &change.event_id.to_string());
    if let Ok(said) = serde_json::from_str::<Said<'_>>(change.body.get()) {
        headers.text(names::ACTOR, &said.actor);
        let time = said.time.to_rfc3339_opts(SecondsFormat::Millis, true);
        headers.line(names::CHANGED_AT, &time);
    }
    headers
}

fn body(change: &Change) -> Bytes {
    Bytes::copy_from_slice(change.body.get().as_bytes())
}

impl<N: Nats> Publishing for Announcing<'_, N> {
    type Place = ();

    fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    fn is_connected(&self) -> bool {
        self.event.is_connected()
    }

    async fn enter(&self, _: &(impl Fn() -> bool + Sync)) -> Option<()> {
        Some(())
    }

    async fn search(&self, _: DateTime<Utc>) -> Earlier {
        Earlier::Remembered
    }

    async fn send(&self, may: &(impl Fn() -> bool + Sync)) -> Sent {
        let (subject, headers) = (self.subject.clone(), self.headers.clone());
        self.event.send(Append { subject, headers, body: self.body.clone() }, may).await
    }

    /// Drops everything but the common fields: that the change was made matters more than what it was.
    fn reduce(&mut self, _: &str) -> bool {
        if !std::mem::replace(&mut self.is_bare, true) {
            self.body = body(&self.change.bare());
            return true;
        }
        false
    }

    fn failed(&mut self, sent: &Sent) {
        if let Some(error) = self.event.failed(sent) {
            let (schedule_id, event) = (self.schedule, self.change.kind.event());
            warn!(%schedule_id, event, error, "change cannot be announced; will retry");
        }
    }
}

impl Changes {
    fn read<T>(&self, f: impl FnOnce(&AuditIndex) -> T) -> T {
        f(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, f: impl FnOnce(&mut AuditIndex) -> T) -> T {
        f(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Mirrored for Changes {
    const STREAM: OurStream = OurStream::Audit;
    const NAME: &'static str = "audit";

    fn restart(&self, info: &Info) -> Start {
        let first = info.state.first_sequence;
        let newest = info.state.last_sequence.saturating_sub(MOST as u64 - 1);
        let is_cut = newest > first;
        self.write(|index| index.restart(first.max(newest).saturating_sub(1), is_cut));
        if is_cut { Start::Sequence(newest) } else { Start::First }
    }

    fn apply(&self, entry: &Entry) {
        let change = noted(entry);
        self.write(|index| match change {
            Some(change) => index.apply(change),
            None => index.apply_foreign(entry.sequence),
        });
    }

    fn seen(&self) -> u64 {
        self.read(AuditIndex::seen)
    }

    fn len(&self) -> usize {
        self.read(AuditIndex::len)
    }

    fn entries(&self) -> Option<usize> {
        self.read(AuditIndex::entries)
    }

    fn forget_before(&self, first: u64) {
        self.write(|index| index.forget_before(first));
    }

    fn forget(&self, sequence: u64) {
        self.write(|index| index.forget(sequence));
    }

    fn fits(&self, _: &Config) -> bool {
        true
    }
}

/// What the index needs of a message. Earlier versions did not say who made a change, and when: such a change is found
/// by the time at which it was stored, and by no actor.
fn noted(entry: &Entry) -> Option<Noted<'_>> {
    let rest = entry.subject.strip_prefix(names::SCHEDULE_EVENT_PREFIX)?.strip_prefix('.')?;
    let (event, schedule) = rest.split_once('.')?;
    let header = |name: &str| Some(entry.headers.get(name)?.as_str());
    let time = header(names::CHANGED_AT).and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    let at_ms = time.map_or(entry.stored_at.timestamp_millis(), |at| at.timestamp_millis());
    let schedule = Uuid::try_parse(schedule).ok()?;
    let actor = header(names::ACTOR).unwrap_or_default();
    Some(Noted { sequence: entry.sequence, schedule, event, actor, at_ms })
}

fn read(entry: Entry) -> Option<ChangeEvent> {
    let read = serde_json::from_slice(&entry.body);
    if let Err(error) = &read {
        warn!(sequence = entry.sequence, %error, "audit entry cannot be read");
    }
    read.ok()
}
