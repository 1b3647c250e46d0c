//! Reserving names, so that no two schedules of one creator share one, even if two instances
//! create them in the same moment.
//!
//! A name is a key that holds the id of its schedule. Creating a schedule is two writes:
//!
//! 1. the name is reserved by a compare-and-swap;
//! 2. the record is written **on condition that the reservation's revision has not moved**.
//!
//! A crash between them leaves a reservation without a record. Whoever wants the name takes such a
//! reservation over once it is [`ORPHAN_AFTER`] old. That moves its revision, so the record of a
//! creator who was only slow is refused by step 2; and once it is moved, a look for that record
//! says for good whether the creator was only slow. The age is a guess, the condition is the proof.
//! A crash after the second write loses only the reply.
//!
//! Renaming is the same: the new name is reserved, then the record is written at the revision that
//! it had. Whoever takes such a reservation over moves the record's revision on before using the
//! name, so a renaming that was only slow is refused and starts again, to find the name taken.
//!
//! Restoring a deleted schedule is the same again: its name is reserved, then the record is written at
//! the revision that it had. So a reservation whose schedule is deleted is one that may be taken over
//! once it is old, like that of a renaming; a crash between deleting a schedule and freeing its name
//! blocks nothing.
//!
//! A reservation also takes a place in the order of those who create, see [`super::limit`].

use std::time::{Duration, Instant};

use bytes::Bytes;
use uuid::Uuid;

use super::super::Api;
use super::super::error::{ApiError, Code};
use crate::clock;
use crate::failpoint::failpoint;
use crate::index::{Reservation, read_record};
use crate::jetstream::names::{name_key, schedule_key};
use crate::jetstream::{WriteError, schedules};
use crate::schedule::{FieldFault, Schedule, Status};

/// Age at which a reservation without a record counts as left behind by a crash.
pub(super) const ORPHAN_AFTER: Duration = Duration::from_secs(10);
/// How long to pursue a name or an unknown write.
pub(super) const PATIENCE: Duration = Duration::from_secs(12);
/// Pause between looks at a name that somebody else is about to use.
pub(super) const PAUSE: Duration = Duration::from_millis(25);

/// A name that is ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    /// The revision of its key.
    pub(super) revision: u64,
    /// The revision at which the schedule reserved it first.
    pub(super) first: u64,
}

/// Who has a name.
enum Holder {
    /// The schedule that wants it.
    Us(Reserved),
    /// Nobody; the key may be written at this revision.
    Nobody(u64),
    /// A schedule.
    Schedule(Uuid),
    /// A creation or renaming that is under way.
    Pending,
    /// A creation or renaming of this schedule that seems to have died; the key may be written at this
    /// revision.
    Orphan(u64, Uuid),
}

impl Api {
    /// Writes the record of a new schedule under its name; returns it as it is stored, which may be
    /// with its first claim already, or as another request wrote it that creates the same schedule.
    ///
    /// # Errors
    /// `already_exists`, `limit_exceeded`, `unavailable`; `conflict` if another request that creates
    /// the same schedule, or wants its name, came between.
    pub(super) async fn store_new(&self, schedule: Schedule) -> Result<(Schedule, u64), ApiError> {
        let name_key = name_key(&schedule.created_by, &schedule.spec.name);
        let key = schedule_key(schedule.id);
        let value = schedules::encode(&schedule)?;
        let reserved = self.reserve_name(&schedule).await?;
        failpoint("after_reserve");
        // Whoever reserved it for the same schedule before us is fenced now.
        if reserved.first != reserved.revision
            && let Some(stored) = self.live_record(schedule.id).await?
        {
            return Ok(stored);
        }
        self.admit(&schedule, reserved).await?;
        let mut reservation = reserved.revision;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.store.put_while(&key, value.clone(), &name_key, reservation).await {
                Ok(revision) => return Ok((schedule, revision)),
                // Somebody took the name over because we were slow; or a replicated stream has not
                // quite applied the reservation yet.
                Err(WriteError::Conflict) => {
                    let moved = self.store.read(&name_key).await?.map(|stored| stored.revision);
                    if moved != Some(reservation) || Instant::now() >= deadline {
                        return Err(WriteError::Conflict.into());
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(error @ WriteError::Refused(_)) => {
                    let _ = self.store.delete(&name_key, reservation).await;
                    return Err(error.into());
                }
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => {}
            }
            // Unknown: it may still arrive. Moving the reservation on refuses it from now on, so
            // what the leader shows afterwards is final.
            let first = Some(reserved.first);
            reservation = self.write_name(&name_key, schedule.id, reservation, first).await?;
            if let Some(stored) = self.live_record(schedule.id).await? {
                return Ok(stored);
            }
        }
    }

    /// Reserves the name of a schedule that is about to have it.
    pub(super) async fn reserve_name(&self, schedule: &Schedule) -> Result<Reserved, ApiError> {
        let key = &name_key(&schedule.created_by, &schedule.spec.name);
        let deadline = Instant::now() + PATIENCE;
        let (mut expected, mut first, mut displaced) = (0, None, None);
        loop {
            match self.write_name(key, schedule.id, expected, first).await {
                Ok(revision) => {
                    let reserved = Reserved { revision, first: first.unwrap_or(revision) };
                    let Some(id) = displaced else { return Ok(reserved) };
                    let has_name = self.has_name(id, Some(&schedule.spec.name)).await;
                    if matches!(has_name, Ok(false)) {
                        return Ok(reserved);
                    }
                    self.write_name(key, id, revision, None).await?;
                    has_name?;
                    return Err(already_exists(&schedule.spec.name, id));
                }
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
            (first, displaced) = (None, None);
            match self.holder(key, schedule).await? {
                // Written anew, so that whoever is about to free it for us sees that it moved.
                Holder::Us(known) => (expected, first) = (known.revision, Some(known.first)),
                Holder::Nobody(revision) => expected = revision,
                Holder::Orphan(revision, id) => (expected, displaced) = (revision, Some(id)),
                Holder::Schedule(id) => return Err(already_exists(&schedule.spec.name, id)),
                Holder::Pending if Instant::now() >= deadline => {
                    return Err(WriteError::Conflict.into());
                }
                Holder::Pending => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// Whether the schedule whose reservation we took over has the name (none: any) after all, now and
    /// for good.
    ///
    /// A creator is fenced by the reservation that we moved: a look at its record is final. A schedule
    /// that was being renamed or restored is fenced by moving its record's revision on, for what it is
    /// to become is written at the revision that it had.
    pub(super) async fn has_name(&self, id: Uuid, name: Option<&str>) -> Result<bool, ApiError> {
        for _ in 0..super::super::CHANGE_TRIES {
            let Some((mut holder, revision)) = self.live_record(id).await? else {
                return Ok(false);
            };
            let named = name.is_none_or(|name| name == holder.spec.name);
            if named && holder.status != Status::Deleted {
                return Ok(true);
            }
            match self.rewrite(&mut holder, revision).await {
                Ok(_) => return Ok(false),
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }

    /// The record of a schedule that exists, from the leader.
    pub(super) async fn live_record(&self, id: Uuid) -> Result<Option<(Schedule, u64)>, ApiError> {
        let Some(stored) = self.store.read(&schedule_key(id)).await? else {
            return Ok(None);
        };
        let record = stored.value.and_then(|value| read_record(Some(id), &value).ok());
        Ok(record.map(|(schedule, _)| (schedule, stored.revision)))
    }

    /// Writes a reservation at an expected revision and settles an unknown outcome: the token says
    /// whether what is stored is ours.
    pub(super) async fn write_name(
        &self,
        key: &str,
        id: Uuid,
        expected: u64,
        first: Option<u64>,
    ) -> Result<u64, WriteError> {
        let reservation = Reservation { schedule_id: id, token: rand::random(), first };
        let value = serde_json::to_vec(&reservation)
            .map(Bytes::from)
            .map_err(|error| WriteError::Refused(error.to_string()))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let error = match self.store.put(key, value.clone(), expected).await {
                Ok(revision) => return Ok(revision),
                Err(error) => error,
            };
            if matches!(error, WriteError::Refused(_)) || Instant::now() >= deadline {
                return Err(error);
            }
            match self.store.read(key).await {
                Ok(Some(stored)) if stored.revision > expected => {
                    let ours = stored.value.as_deref().is_some_and(|value| {
                        serde_json::from_slice::<Reservation>(value).is_ok_and(|r| r == reservation)
                    });
                    return if ours { Ok(stored.revision) } else { Err(WriteError::Conflict) };
                }
                Ok(None) if expected > 0 => return Err(WriteError::Conflict),
                // Not moved: a rival is being applied, or ours is lost or under way.
                Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    async fn holder(&self, key: &str, schedule: &Schedule) -> Result<Holder, ApiError> {
        let Some(stored) = self.store.read(key).await? else {
            return Ok(Holder::Nobody(0));
        };
        let free = Holder::Nobody(stored.revision);
        let Some(value) = stored.value else {
            return Ok(free);
        };
        // Nobody but us writes these keys; what cannot be read reserves nothing.
        let Ok(reservation) = serde_json::from_slice::<Reservation>(&value) else {
            return Ok(free);
        };
        let id = reservation.schedule_id;
        if id == schedule.id {
            let (revision, first) = (stored.revision, reservation.first);
            return Ok(Holder::Us(Reserved { revision, first: first.unwrap_or(revision) }));
        }
        let age_ms = clock::now().timestamp_millis() - stored.written_at_ms;
        let old = u128::try_from(age_ms).is_ok_and(|age| age > ORPHAN_AFTER.as_millis());
        let unused = if old { Holder::Orphan(stored.revision, id) } else { Holder::Pending };
        Ok(match self.store.read(&schedule_key(id)).await?.and_then(|stored| stored.value) {
            Some(record) => match read_record(Some(id), &record) {
                Ok((held, _)) if held.status == Status::Deleted => unused,
                Ok((held, _)) if held.spec.name != schedule.spec.name => unused,
                // A record that cannot be read may be mended: it keeps its name.
                _ => Holder::Schedule(id),
            },
            None => unused,
        })
    }

    /// The revision of the reservation of a schedule's name, if it is that schedule's.
    pub(super) async fn name_revision(&self, schedule: &Schedule) -> Result<Option<u64>, ApiError> {
        let key = name_key(&schedule.created_by, &schedule.spec.name);
        let stored = self.store.read(&key).await?;
        Ok(stored
            .filter(|stored| {
                stored.value.as_deref().is_some_and(|value| {
                    serde_json::from_slice::<Reservation>(value)
                        .is_ok_and(|reservation| reservation.schedule_id == schedule.id)
                })
            })
            .map(|stored| stored.revision))
    }

    /// Frees a name that its schedule has no more, unless the reservation has moved since. Best
    /// effort: a name that stays is free all the same, since its schedule is called otherwise.
    pub(super) async fn free_name_at(&self, schedule: &Schedule, reservation: u64) {
        let key = name_key(&schedule.created_by, &schedule.spec.name);
        let _ = self.store.delete(&key, reservation).await;
    }
}

fn already_exists(name: &str, id: Uuid) -> ApiError {
    let mut error = ApiError::new(
        Code::AlreadyExists,
        format!("this creator has a schedule named {name:?} already: {id}"),
    );
    error.details =
        vec![FieldFault::new("name", "is taken"), FieldFault::new("schedule_id", id.to_string())];
    error
}
