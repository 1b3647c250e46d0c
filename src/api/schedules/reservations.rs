//! Reservation of names, so that no two schedules of one creator share one, even if two instances create them at the
//! same moment.
//!
//! A name is a key that holds the id of its schedule. Creating a schedule takes two writes:
//!
//! 1. the name is reserved by a compare-and-swap;
//! 2. the record is written **on condition that the reservation's revision has not moved**.
//!
//! A crash between them leaves a reservation without a record. A request that wants the name fences such a reservation
//! once it is [`ORPHAN_AFTER`] old, by writing it anew, still as its owner's. That moves its revision, so step 2
//! refuses the record of a creator that was only slow. After the move, a look for that record settles whether the
//! creator was only slow. Only then is the name taken. The age is a guess, the condition is the proof; and a crash in
//! between leaves the name with its owner. A crash after the second write loses only the reply. Of several requests that
//! fence a reservation at once one is first, and the others look again, like a creator that has lost its name: nothing of
//! it is stored.
//!
//! Renaming works the same way: the new name is reserved, then the record is written at the revision that it had.
//! Fencing such a reservation also moves the record's revision on, so a renaming that was only slow is refused, starts
//! again and finds the name taken.
//!
//! So does restoring a deleted schedule: its name is reserved, then the record is written at the revision that it had.
//! A reservation whose schedule is deleted may therefore be taken over once it is old, like that of a renaming, and a
//! crash between deleting a schedule and freeing its name blocks nothing.
//!
//! A reservation also takes a place in the order of creations, see [`super::limit`].

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::warn;
use uuid::Uuid;

use super::super::Api;
use super::super::error::{ApiError, Code};
use crate::failpoint::failpoint;
use crate::guards::{Guard, Guards as _};
use crate::index::{At, Reservation, Unreadable, read_record};
use crate::jetstream::WriteError;
use crate::jetstream::schedules::{Condition, Written};
use crate::metrics::{Lock, LockFailure};
use crate::names::{name_key, schedule_key};
use crate::port::Nats;
use crate::schedule::{FieldFault, Schedule, Status};
use crate::stored::Unknown;

/// Age at which a reservation without a record counts as left behind by a crash.
pub(super) const ORPHAN_AFTER: Duration = Duration::from_secs(10);
/// How long to pursue a name or a write with an unknown outcome.
pub(super) const NAME_WITHIN: Duration = Duration::from_secs(12);
/// Pause between looks at a name that somebody else is about to use.
pub(super) const PAUSE: Duration = Duration::from_millis(25);

/// A name reserved by us.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    /// Position of its key.
    pub(super) at: At,
    /// Revision at which the schedule first reserved it.
    pub(super) first: u64,
    /// Fields added by a newer version.
    pub(super) unknown: Unknown,
}

/// Holder of a name.
enum Holder {
    /// The schedule that wants it.
    Us(Reserved),
    /// Nobody; the key may be written at this revision.
    Nobody(u64),
    /// A schedule.
    Schedule(Uuid),
    /// A creation, renaming or restoration that is under way.
    Pending,
    /// One of these that seems to have died; the id is its schedule's.
    Orphan(Reserved, Uuid),
}

impl<N: Nats> Api<N> {
    /// Writes the record of a new schedule under its name. Returns it as stored, which may already include its first
    /// claim. A `shared` schedule may be created by other requests too, and is then returned as they wrote it.
    ///
    /// # Errors
    /// `already_exists`, `limit_exceeded`, `unavailable`; `conflict` if another request that creates the same schedule
    /// came between, or if others want its name for longer than [`NAME_WITHIN`].
    pub(super) async fn store_new(
        &self,
        schedule: Schedule,
        shared: bool,
    ) -> Result<(Schedule, u64), ApiError> {
        let value = self.store.encode(&schedule)?;
        let deadline = Instant::now() + NAME_WITHIN;
        loop {
            let reserved = self.reserve_name(&schedule, 0).await?;
            failpoint("after_reserve");
            // All others that create this schedule are now fenced: what the read returns is final.
            if shared && let Some((stored, revision)) = self.record(schedule.id).await? {
                if stored.status == Status::Deleted || stored.spec.name != schedule.spec.name {
                    self.free_name_at(&schedule, reserved.at).await;
                }
                return Ok((stored, revision));
            }
            self.admit(&schedule, &reserved).await?;
            if let Some(stored) = self.write_new(&schedule, &value, reserved, deadline).await? {
                self.count_created(&schedule);
                return Ok(stored);
            }
            if shared || Instant::now() >= deadline {
                return Err(WriteError::Conflict.into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes the record of a new schedule whose name is reserved. Returns nothing if it lost its name before that:
    /// then nothing is stored.
    async fn write_new(
        &self,
        schedule: &Schedule,
        value: &Bytes,
        reserved: Reserved,
        deadline: Instant,
    ) -> Result<Option<(Schedule, u64)>, ApiError> {
        let name_key = name_key(&schedule.created_by, &schedule.spec.name);
        let key = schedule_key(schedule.id);
        let mut reservation = reserved.at;
        loop {
            match self.store.put_while(&key, value.clone(), &name_key, reservation).await {
                Ok(revision) => return Ok(Some((schedule.clone(), revision))),
                // Somebody took the name over because we were slow; or a replicated stream has not quite applied the
                // reservation yet.
                Err(WriteError::Conflict) => {
                    let moved = self.store.read(&name_key).await?.map(|stored| stored.revision);
                    if moved != Some(reservation.revision)
                        || self.store.has_lost(reservation.sight)
                        || Instant::now() >= deadline
                    {
                        return Ok(None);
                    }
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                Err(
                    error @ (WriteError::Refused(_)
                    | WriteError::Passing(_)
                    | WriteError::TooLarge(_)),
                ) => {
                    let _ = self.store.delete(&name_key, reservation).await;
                    return Err(error.into());
                }
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                Err(_) => {}
            }
            // The outcome is unknown, and the write may still arrive. Moving the reservation on refuses it from now on,
            // so what the leader shows afterwards is final.
            let moved = Reserved { at: reservation, ..reserved.clone() };
            reservation = self.move_name(&name_key, schedule.id, &moved).await?;
            if let Some(stored) = self.record(schedule.id).await? {
                return Ok(Some(stored));
            }
        }
    }

    fn count_created(&self, schedule: &Schedule) {
        let kind = schedule.spec.timing.schedule_type;
        self.metrics.schedule_created(kind, &schedule.created_by);
    }

    /// Reserves the name for a schedule that is about to have it. A reservation of its own that is no newer than
    /// `since` is left from an earlier life, and gives it no place in the order.
    pub(super) async fn reserve_name(
        &self,
        schedule: &Schedule,
        since: u64,
    ) -> Result<Reserved, ApiError> {
        let key = &name_key(&schedule.created_by, &schedule.spec.name);
        let deadline = Instant::now() + NAME_WITHIN;
        let (mut expected, mut first, mut unknown) = (0, None, Unknown::default());
        let mut sight = self.store.sight();
        loop {
            let at = sight.at(expected);
            match self.write_name(key, schedule.id, at, first, &unknown).await {
                Ok(at) => {
                    if let Some(holder) = self.holder_without_key(schedule).await? {
                        self.write_name(key, holder, at, None, &Unknown::default()).await?;
                        return Err(already_exists(&schedule.spec.name, holder));
                    }
                    self.metrics.claimed(Lock::Name);
                    let first = first.unwrap_or(at.revision);
                    return Ok(Reserved { at, first, unknown });
                }
                Err(WriteError::Conflict) => {
                    self.metrics.claim_failed(Lock::Name, LockFailure::Conflict);
                }
                Err(error) => {
                    self.metrics.claim_failed(Lock::Name, LockFailure::Unavailable);
                    return Err(error.into());
                }
            }
            sight = self.store.sight();
            (expected, first, unknown) = match self.holder(key, schedule).await? {
                // Written anew, so that a request about to free it for us sees that it has moved.
                Holder::Us(known) => {
                    let first = Some(known.first).filter(|first| *first > since);
                    (known.at.revision, first, known.unknown)
                }
                Holder::Nobody(revision) => (revision, None, Unknown::default()),
                Holder::Orphan(orphan, id) => {
                    match self.fence(key, id, &orphan, Some(&schedule.spec.name)).await {
                        Ok(Some(at)) => (at.revision, None, Unknown::default()),
                        Ok(None) => return Err(already_exists(&schedule.spec.name, id)),
                        // Another request that wants the name was first.
                        Err(error) if error.code == Code::Conflict && Instant::now() < deadline => {
                            tokio::time::sleep(PAUSE).await;
                            continue;
                        }
                        Err(error) => return Err(error),
                    }
                }
                Holder::Schedule(id) => return Err(already_exists(&schedule.spec.name, id)),
                Holder::Pending if Instant::now() >= deadline => {
                    return Err(WriteError::Conflict.into());
                }
                Holder::Pending => {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
        }
    }

    /// Another schedule that has the name although its key does not say so: somebody has deleted that. This goes by memory,
    /// which may not know the newest; so it only finds what to look at, and protects nothing that the key protects.
    async fn holder_without_key(&self, schedule: &Schedule) -> Result<Option<Uuid>, ApiError> {
        let (creator, name) = (&schedule.created_by, &schedule.spec.name);
        let Some(id) = self.index.named(creator, name).filter(|id| *id != schedule.id) else {
            return Ok(None);
        };
        let has_it = match self.record(id).await {
            Ok(stored) => stored.is_some_and(|(stored, _)| {
                *stored.spec.name == **name && stored.status != Status::Deleted
            }),
            // An unreadable record may still be mended: it keeps its name.
            Err(error) if error.code == Code::NotAllowed => true,
            Err(error) => return Err(error),
        };
        if has_it {
            warn!(schedule_id = %id, name = &**name, "the key of a name was gone: its schedule has it again");
        }
        Ok(has_it.then_some(id))
    }

    /// Fences a reservation that seems to be left behind. Returns its new revision, at which it may be overwritten or
    /// deleted, or nothing if its schedule has the name (none: any) after all.
    ///
    /// # Errors
    /// `conflict` if the reservation has moved.
    pub(super) async fn fence(
        &self,
        key: &str,
        id: Uuid,
        orphan: &Reserved,
        name: Option<&str>,
    ) -> Result<Option<At>, ApiError> {
        if !N::Guards::hold(Guard::Fence) {
            return Ok(Some(orphan.at));
        }
        let at = self.move_name(key, id, orphan).await?;
        failpoint("after_fence");
        Ok((!self.has_name(id, name).await?).then_some(at))
    }

    /// Whether the schedule whose reservation was fenced has the name (none: any) after all, now and for good.
    ///
    /// A creator is fenced by the moved reservation, so a look at its record is final. A schedule that was being
    /// renamed or restored is fenced by moving its record's revision on, since its new record is written at the old
    /// revision.
    pub(super) async fn has_name(&self, id: Uuid, name: Option<&str>) -> Result<bool, ApiError> {
        for _ in 0..super::super::CHANGE_TRIES {
            let sight = self.store.sight();
            let (mut holder, revision) = match self.record(id).await {
                Ok(Some(stored)) => stored,
                Ok(None) => return Ok(false),
                // An unreadable record may still be mended: it keeps its name.
                Err(error) if error.code == Code::NotAllowed => return Ok(true),
                Err(error) => return Err(error),
            };
            let named = name.is_none_or(|name| *name == *holder.spec.name);
            if named && holder.status != Status::Deleted {
                return Ok(true);
            }
            match self.rewrite(&mut holder, sight.at(revision)).await {
                Ok(_) => return Ok(false),
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(WriteError::Conflict.into())
    }

    /// Writes a reservation anew, which moves its revision.
    async fn move_name(&self, key: &str, id: Uuid, reserved: &Reserved) -> Result<At, WriteError> {
        let Reserved { at, first, unknown } = reserved;
        self.write_name(key, id, *at, Some(*first), unknown).await
    }

    /// Writes a reservation at an expected revision and settles an unknown outcome: the token tells whether the stored
    /// value is ours.
    async fn write_name(
        &self,
        key: &str,
        id: Uuid,
        at: At,
        first: Option<u64>,
        unknown: &Unknown,
    ) -> Result<At, WriteError> {
        let (token, unknown) = (self.chance.number(), unknown.clone());
        let reservation = Reservation { schedule_id: id, token, first, unknown };
        let value = serde_json::to_vec(&reservation)
            .map(Bytes::from)
            .map_err(|error| WriteError::Refused(error.to_string()))?;
        let is_ours =
            |stored: &[u8]| Reservation::read(Some(stored)).is_some_and(|now| now == reservation);
        let (place, deadline) = (Condition { key, at, ttl: None }, Instant::now() + NAME_WITHIN);
        let write = self.store.write_key(place, |_| Ok(value.clone()), is_ours, deadline);
        let Written { revision, sight, .. } = write.await?;
        Ok(sight.at(revision))
    }

    async fn holder(&self, key: &str, schedule: &Schedule) -> Result<Holder, ApiError> {
        let sight = self.store.sight();
        let Some(stored) = self.store.read(key).await? else {
            return Ok(Holder::Nobody(0));
        };
        let free = Holder::Nobody(stored.revision);
        // Nobody but us writes these keys; an unreadable value reserves nothing.
        let Some(reservation) = Reservation::read(stored.value.as_deref()) else {
            return Ok(free);
        };
        let (id, revision) = (reservation.schedule_id, stored.revision);
        let (first, unknown) = (reservation.first.unwrap_or(revision), reservation.unknown);
        let reserved = Reserved { at: sight.at(revision), first, unknown };
        if id == schedule.id {
            return Ok(Holder::Us(reserved));
        }
        let age_ms = self.clock.now().timestamp_millis() - stored.written_at_ms;
        let old = u128::try_from(age_ms).is_ok_and(|age| age > ORPHAN_AFTER.as_millis());
        let unused = if old { Holder::Orphan(reserved, id) } else { Holder::Pending };
        Ok(match self.store.read(&schedule_key(id)).await?.and_then(|stored| stored.value) {
            Some(record) => match read_record(Some(id), &record) {
                Ok((held, _)) if held.status == Status::Deleted => unused,
                Ok((held, _)) if held.spec.name != schedule.spec.name => unused,
                // Only instances that may write the record can tell whether it was just slow.
                Err(Unreadable::Newer(held)) if !held.is_live => unused,
                Err(Unreadable::Newer(held)) if *held.name != *schedule.spec.name => unused,
                // An unreadable record may still be mended: it keeps its name.
                _ => Holder::Schedule(id),
            },
            None => unused,
        })
    }

    /// Revision of the reservation of a schedule's name, if it belongs to that schedule.
    pub(super) async fn name_revision(&self, schedule: &Schedule) -> Result<Option<At>, ApiError> {
        let sight = self.store.sight();
        let key = name_key(&schedule.created_by, &schedule.spec.name);
        let stored = self.store.read(&key).await?;
        Ok(stored
            .filter(|stored| {
                Reservation::read(stored.value.as_deref())
                    .is_some_and(|reservation| reservation.schedule_id == schedule.id)
            })
            .map(|stored| sight.at(stored.revision)))
    }

    /// Frees a name that its schedule no longer has, unless the reservation has moved since. Best effort: a name that
    /// stays may be taken over, since its schedule is deleted or has another name.
    pub(super) async fn free_name_at(&self, schedule: &Schedule, reservation: At) {
        let key = name_key(&schedule.created_by, &schedule.spec.name);
        let _ = self.store.delete(&key, reservation).await;
    }
}

pub(super) fn already_exists(name: &str, id: Uuid) -> ApiError {
    let mut error = ApiError::new(
        Code::AlreadyExists,
        format!("this creator has a schedule named {name:?} already: {id}"),
    );
    error.details =
        vec![FieldFault::new("name", "is taken"), FieldFault::new("schedule_id", id.to_string())];
    error
}
