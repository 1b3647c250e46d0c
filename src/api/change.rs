//! Changes a record: reads it, decides, writes, and starts again if another write came first.
//!
//! A requested change is made at most once. A write that was stored, but whose acknowledgement was lost while others
//! wrote too, looks like one that lost a race. So each try first asks the record whether it already contains the change
//! ([`Schedule::fate_of`]). If too much has changed since for the record to tell, the caller is told so and nothing is
//! written.
//!
//! A crash at any point leaves the change either made, with its event still to be announced, or not made.

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
use crate::stored::Pooled;

/// A record as it is now, to the best of this instance's knowledge.
pub(in crate::api) struct Read {
    pub(in crate::api) schedule: Schedule,
    /// Revision at which it may be written.
    pub(in crate::api) revision: u64,
    /// Whether it came from memory, and so may be stale.
    is_known: bool,
}

/// Result of one try.
pub(in crate::api) enum Step<T> {
    /// Nothing needs to be written.
    Done(Option<Box<Schedule>>, Option<T>),
    /// This record is to be written; the second field is what will then be known of the write.
    Write(Box<Schedule>, T),
    /// The record must be read again.
    Again,
}

/// A record as it was found or written, if it exists, and what is known of the write.
pub(in crate::api) struct Rewritten<T> {
    pub(in crate::api) schedule: Option<Box<Schedule>>,
    pub(in crate::api) with: Option<T>,
}

/// A requested change.
pub(in crate::api) struct Wish<'a> {
    /// The schedule to change.
    pub(in crate::api) id: Uuid,
    /// The author of the change.
    pub(in crate::api) author: Author<'a>,
    /// A record that the first try may start from, to save a read.
    pub(in crate::api) known: Option<Arc<Entry>>,
    /// Whether the change counts as done if the record has disappeared since the first try.
    pub(in crate::api) removes: bool,
}

/// What a change decides about a record.
pub(in crate::api) enum Decision<T> {
    /// Write this record, and announce the change with these details.
    Change { schedule: Box<Schedule>, kind: ChangeKind, details: Value, with: T },
    /// It already is what it should be: write nothing.
    Keep(Box<Schedule>),
    /// Somebody else is about to change it; decide again.
    Again,
}

/// Result of a change that awaits nothing: what to announce about it.
pub(in crate::api) type Applied = Result<(ChangeKind, Value), ApiError>;

impl<N: Nats> Api<N> {
    /// Writes a changed record at the revision at which it was read, and shows it to this instance.
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

    /// Shows this instance what was written.
    pub(in crate::api) fn show(&self, schedule: Schedule, revision: u64) {
        if let Ok(trigger) = schedule.spec.timing.plain_trigger(schedule.id) {
            self.index.wrote(Entry { revision, schedule: Arc::new(schedule), trigger });
        }
    }

    /// Reads a record and writes what `step` makes of it, until a write is accepted or nothing needs to be written.
    /// Returns nothing if others always win the race. `step` is given what was known of the previous write.
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
            let group = read.as_ref().and_then(|read| in_group(&read.schedule).cloned());
            let (mut schedule, with) = match step(read, last.take()).await? {
                Step::Write(schedule, with) => (schedule, with),
                Step::Done(schedule, with) => return Ok(Some(Rewritten { schedule, with })),
                Step::Again => continue,
            };
            // What leaves a group keeps the slots that it has.
            let comes_to = in_group(&schedule);
            if comes_to.is_some() && comes_to != group.as_ref() {
                self.seat(&schedule, revision).await?;
            }
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

    /// Makes a change: `decide` turns the current record into the new one, which is written only if nobody changed the
    /// record in the meantime. A change that lost the race is decided again from the new record.
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
                match N::Guards::hold(Guard::Recent)
                    || read.schedule.last_change.as_deref() == Some(&event_id)
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
                // Removed by us or by somebody else: either way the goal is reached.
                _ if removes && last.is_some() => Ok(Step::Done(None, last)),
                // The change may have been made before the record was removed.
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
                    Ok(Decision::Keep(schedule)) => Ok(Step::Done(Some(schedule), None)),
                    Ok(Decision::Again) => Ok(Step::Again),
                    // The known record may be stale.
                    Err(_) if is_known => Ok(Step::Again),
                    Err(error) => Err(error),
                }
            }
        };
        let made = self.rewriting(id, wish.known, step).await?;
        made.ok_or_else(|| WriteError::Conflict.into())
    }

    /// Changes a schedule that is not deleted, without awaiting anything to decide.
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

/// The group that a schedule takes slots of, unless it is deleted.
fn in_group(schedule: &Schedule) -> Option<&Pooled<String>> {
    schedule.spec.group.as_ref().filter(|_| schedule.status != Status::Deleted)
}

/// Refuses a change that expected another revision, and names the current one.
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

/// Error for a change of which nobody knows whether it was made.
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
