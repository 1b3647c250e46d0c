//! Changing a record: read it, decide, write, and again where another write came first.
//!
//! A change that was asked for once is made once at most. A write that was stored, and whose acknowledgement
//! was lost while others wrote too, looks like one that another was quicker than: so each try first asks the
//! record whether the change is in it ([`Schedule::fate_of`]). Where the record cannot say, since too much
//! was changed meanwhile, the caller is told so, and nothing is written.
//!
//! A crash at any point leaves the change made, with its event to be announced, or not made.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use super::error::{ApiError, Code};
use super::{Api, CHANGE_TRIES, WRITE_PATIENCE};
use crate::failpoint::{held, reached};
use crate::guards::{Guard, Guards as _};
use crate::index::{At, Entry};
use crate::jetstream::WriteError;
use crate::port::Nats;
use crate::schedule::{Author, Change, ChangeKind, Fate, FieldFault, Schedule, Status};

/// A record as it is now, as far as is known.
pub(in crate::api) struct Read {
    pub(in crate::api) schedule: Schedule,
    /// At which it may be written.
    pub(in crate::api) revision: u64,
    /// Whether it was in memory, and so may be old.
    is_known: bool,
}

/// What one try comes to.
pub(in crate::api) enum Step<T> {
    /// Nothing is to be written.
    Done(Option<Box<Schedule>>, Option<T>),
    /// This is, and then so much is known of it.
    Write(Box<Schedule>, T),
    /// The record must be read again.
    Again,
}

/// A record as it was found or written, if it is there, and what is known of the write.
pub(in crate::api) struct Rewritten<T> {
    pub(in crate::api) schedule: Option<Box<Schedule>>,
    pub(in crate::api) with: Option<T>,
}

/// A change that somebody asks for.
pub(in crate::api) struct Wish<'a> {
    /// Of which schedule.
    pub(in crate::api) id: Uuid,
    /// Whose.
    pub(in crate::api) author: Author<'a>,
    /// What the first try may start from, which saves a read.
    pub(in crate::api) known: Option<Arc<Entry>>,
    /// Whether it is done where the record is gone since the first try.
    pub(in crate::api) removes: bool,
}

/// What a change makes of a record.
pub(in crate::api) enum Decision<T> {
    /// This, which is announced with these details.
    Change { schedule: Box<Schedule>, kind: ChangeKind, details: Value, with: T },
    /// Somebody else is about to change it.
    Again,
}

/// How a schedule is changed where nothing has to be awaited: what is to be said of the change.
pub(in crate::api) type Applied = Result<(ChangeKind, Value), ApiError>;

impl<N: Nats> Api<N> {
    /// Writes a changed record at the revision that it was read at, and shows it to this instance.
    pub(in crate::api) async fn rewrite(
        &self,
        schedule: &mut Schedule,
        at: At,
    ) -> Result<u64, WriteError> {
        schedule.sign(self.writer());
        let deadline = Instant::now() + WRITE_PATIENCE;
        let written = self.store.write(schedule, at, deadline).await?;
        if reached("lost_ack") {
            held("lost_ack").await;
            return Err(WriteError::Conflict);
        }
        self.show(schedule.clone(), written.revision);
        Ok(written.revision)
    }

    /// Shows what was written to this instance.
    pub(in crate::api) fn show(&self, schedule: Schedule, revision: u64) {
        if let Ok(trigger) = schedule.spec.timing.trigger(schedule.id) {
            self.index.wrote(Entry { revision, schedule: Arc::new(schedule), trigger });
        }
    }

    /// Reads a record and writes what `step` makes of it, until a write is accepted or nothing is to be
    /// written; nothing if others are always quicker. `step` is given what was known of the write before.
    pub(in crate::api) async fn rewriting<T, F>(
        &self,
        id: Uuid,
        mut known: Option<Arc<Entry>>,
        mut step: impl FnMut(Option<Read>, Option<T>) -> F,
    ) -> Result<Option<Rewritten<T>>, ApiError>
    where
        F: Future<Output = Result<Step<T>, ApiError>>,
    {
        let mut last = None;
        for _ in 0..CHANGE_TRIES {
            let sight = self.store.sight();
            let read = match known.take().filter(|entry| self.index.shows(entry)) {
                Some(entry) => {
                    let schedule = Schedule::clone(&entry.schedule);
                    Some(Read { schedule, revision: entry.revision, is_known: true })
                }
                None => self.record(id).await?.map(|(schedule, revision)| Read {
                    schedule,
                    revision,
                    is_known: false,
                }),
            };
            let revision = read.as_ref().map_or(0, |read| read.revision);
            let (mut schedule, with) = match step(read, last.take()).await? {
                Step::Write(schedule, with) => (schedule, with),
                Step::Done(schedule, with) => return Ok(Some(Rewritten { schedule, with })),
                Step::Again => continue,
            };
            match self.rewrite(&mut schedule, sight.at(revision)).await {
                Ok(_) => {
                    let (schedule, with) = (Some(schedule), Some(with));
                    return Ok(Some(Rewritten { schedule, with }));
                }
                Err(WriteError::Conflict) => last = Some(with),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Makes a change: `decide` makes of the record as it is now what it should be, and the write is
    /// accepted only if nobody changed it meanwhile. A change that lost is decided again from the new record.
    pub(in crate::api) async fn change_by<T, F>(
        &self,
        wish: Wish<'_>,
        mut decide: impl FnMut(Schedule, u64, DateTime<Utc>) -> F,
    ) -> Result<Rewritten<T>, ApiError>
    where
        F: Future<Output = Result<Decision<T>, ApiError>>,
    {
        let (id, author, removes) = (wish.id, wish.author, wish.removes);
        let (event_id, mut since) = (self.clock.new_id(), None);
        let step = |read: Option<Read>, last: Option<T>| {
            let now = self.clock.now();
            let fate = read.as_ref().map(|read| {
                let since = *since.get_or_insert(read.schedule.revision);
                match N::Guards::hold(Guard::Recent) || read.schedule.last_change == Some(event_id)
                {
                    true => read.schedule.fate_of(event_id, since),
                    false => Fate::NotMade,
                }
            });
            let mut deciding = None;
            let done = match (read, fate) {
                (Some(read), Some(Fate::Made)) => {
                    Ok(Step::Done(Some(Box::new(read.schedule)), last))
                }
                (_, Some(Fate::Forgotten)) => Err(forgotten(id)),
                (Some(read), _) if !read.schedule.purge => {
                    deciding = Some((read.is_known, decide(read.schedule, read.revision, now)));
                    Ok(Step::Again)
                }
                // Ours, or somebody else's: it is as it should be.
                _ if removes && last.is_some() => Ok(Step::Done(None, last)),
                // It may have been made before the record was removed.
                (None, _) if last.is_some() => Err(forgotten(id)),
                _ => Err(ApiError::no_schedule(id)),
            };
            async move {
                let Some((is_known, deciding)) = deciding else { return done };
                match deciding.await {
                    Ok(Decision::Change { mut schedule, kind, details, with }) => {
                        announce(&mut schedule, event_id, kind, author, now, details);
                        if *schedule.status != Status::Deleted {
                            self.store.room().admits_change(&schedule)?;
                        }
                        Ok(Step::Write(schedule, with))
                    }
                    Ok(Decision::Again) => Ok(Step::Again),
                    // What was known may be old.
                    Err(_) if is_known => Ok(Step::Again),
                    Err(error) => Err(error),
                }
            }
        };
        let made = self.rewriting(id, wish.known, step).await?;
        made.ok_or_else(|| WriteError::Conflict.into())
    }

    /// Changes a schedule that is not deleted, where nothing has to be awaited.
    pub(in crate::api) async fn change(
        &self,
        id: Uuid,
        expected: Option<u64>,
        author: Author<'_>,
        known: Option<Arc<Entry>>,
        apply: impl Fn(&mut Schedule, DateTime<Utc>) -> Applied,
    ) -> Result<Schedule, ApiError> {
        let wish = Wish { id, author, known, removes: false };
        let made = self.change_by(wish, |mut schedule, _, now| {
            let applied = if schedule.status == Status::Deleted {
                Err(ApiError::no_schedule(id))
            } else {
                check_expected(expected, &schedule).and_then(|()| apply(&mut schedule, now))
            };
            std::future::ready(applied.map(|(kind, details)| Decision::Change {
                schedule: Box::new(schedule),
                kind,
                details,
                with: (),
            }))
        });
        let schedule = made.await?.schedule.ok_or_else(|| ApiError::no_schedule(id))?;
        Ok(*schedule)
    }
}

/// Refuses a change that expected another revision, and says the current one.
pub(in crate::api) fn check_expected(
    expected: Option<u64>,
    schedule: &Schedule,
) -> Result<(), ApiError> {
    let (id, revision) = (schedule.id, schedule.revision);
    if expected.is_none_or(|expected| expected == revision) {
        return Ok(());
    }
    let message = format!("schedule {id} has been changed: its revision is {revision}");
    let mut error = ApiError::new(Code::Conflict, message);
    error.details = vec![FieldFault::new("revision", revision.to_string())];
    Err(error)
}

/// What is said where nobody knows whether the change was made.
fn forgotten(id: Uuid) -> ApiError {
    let message = format!(
        "schedule {id} was changed too often, or removed, so nobody can tell whether this change was made; look at it, and ask again \
         if it was not"
    );
    ApiError::new(Code::Unavailable, message)
}

/// Counts a change that is about to be written and puts its event into the record.
fn announce(
    schedule: &mut Schedule,
    event_id: Uuid,
    kind: ChangeKind,
    author: Author<'_>,
    now: DateTime<Utc>,
    details: Value,
) {
    schedule.note_change(event_id);
    let change = Change::new(event_id, kind, schedule, author, now, details);
    schedule.events.push(change);
}
